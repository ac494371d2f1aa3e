//! Compares every case and says what came out.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use anyhow::{Context, Result, ensure};
use tidegate_cli::build::module_path;
use tidegate_cli::engine::engine;
use tidegate_cli::fidelity::{
    Case, Comparison, Coverage, ENVOY_VERSION, Line, Proofs, cases, compare, golden, parse_golden,
    run, write_golden,
};
use tidegate_cli::output::{Align, Table};
use tidegate_host::Module;

use super::play::play;
use crate::fetch;

/// What to compare.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// These cases; none means all.
    pub only: Vec<String>,
    /// Keep what Envoy says as what it has to say.
    pub bless: bool,
    /// Compare with what is kept even though an Envoy is there.
    pub kept: bool,
}

/// What came out.
#[derive(Debug)]
pub struct Proven {
    /// The claims with their figures.
    pub proofs: Proofs,
    /// Each case's comparison.
    pub comparisons: Vec<Comparison>,
    /// Files that were written.
    pub blessed: Vec<String>,
}

/// Plays the cases in Envoy and in the runner, and compares.
///
/// # Errors
/// A case cannot be read or played to its end, or the module cannot be built.
pub async fn prove(options: &Options) -> Result<Proven> {
    let mut cases = cases()?;
    cases.retain(|case| options.only.is_empty() || options.only.contains(&case.name));
    ensure!(!cases.is_empty(), "there is no case of that name");
    let (against, mut logs) = logs(&cases, options).await?;
    let mut blessed = Vec::new();
    let engine = engine()?;
    let probe = Module::compile(&engine, "probe", &fs::read(module_path("probe")?)?)?;
    let mut comparisons = Vec::new();
    let mut coverage = Coverage::default();
    for case in &cases {
        let envoy = logs.remove(&case.name).context("a case without a log")?;
        if options.bless {
            let text = write_golden(&envoy);
            let path = golden(&case.name);
            if !fs::read_to_string(&path).is_ok_and(|kept| kept == text) {
                fs::write(&path, text)?;
                blessed.push(case.name.clone());
            }
        }
        coverage.add(&envoy);
        comparisons.push(compare(case, &envoy, &run(&engine, &probe, case)?));
    }
    let titles: BTreeMap<String, String> = cases
        .into_iter()
        .map(|case| (case.name, case.what))
        .collect();
    Ok(Proven {
        proofs: Proofs::of(
            against,
            &comparisons,
            &titles,
            options.only.is_empty().then_some(&coverage),
        ),
        comparisons,
        blessed,
    })
}

/// What Envoy said to each case: the real one, or the one of which logs are kept.
async fn logs(cases: &[Case], options: &Options) -> Result<(String, BTreeMap<String, Vec<Line>>)> {
    let reachable = if options.kept {
        None
    } else {
        Some(fetch::envoy())
    };
    match reachable {
        Some(Ok(_)) => {
            let mut logs = BTreeMap::new();
            for (name, outcome) in play(cases, &module_path("probe")?).await? {
                logs.insert(name, outcome?);
            }
            Ok((format!("the real Envoy {ENVOY_VERSION}"), logs))
        }
        missing => {
            ensure!(!options.bless, "there is no Envoy to keep a log of");
            let why = match missing {
                Some(Err(error)) => format!("no Envoy can be had: {error:#}"),
                _ => "as asked for".to_owned(),
            };
            let mut logs = BTreeMap::new();
            for case in cases {
                logs.insert(case.name.clone(), kept(&case.name)?);
            }
            Ok((
                format!("the logs kept of Envoy {ENVOY_VERSION} ({why})"),
                logs,
            ))
        }
    }
}

/// Reads the log that is kept of a case.
///
/// # Errors
/// There is none, or it is not one.
pub fn kept(case: &str) -> Result<Vec<Line>> {
    let path = golden(case);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    parse_golden(&text).with_context(|| path.display().to_string())
}

impl fmt::Display for Proven {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for comparison in &self.comparisons {
            write!(formatter, "{comparison}")?;
        }
        for name in &self.blessed {
            writeln!(formatter, "kept anew: {name}")?;
        }
        let mut table = Table::new(&[
            ("", Align::Left),
            ("claim", Align::Left),
            ("figure", Align::Right),
            ("of", Align::Right),
            ("unit", Align::Left),
            ("target", Align::Left),
            ("what", Align::Left),
        ]);
        for proof in &self.proofs.proofs {
            table.row([
                if proof.holds { "holds" } else { "MISSED" },
                &proof.id,
                &proof.figure.to_string(),
                &proof.cases.to_string(),
                proof.unit,
                &proof.target,
                &proof.what,
            ]);
        }
        writeln!(formatter, "{table}")?;
        let held = self
            .proofs
            .proofs
            .iter()
            .filter(|proof| proof.holds)
            .count();
        write!(
            formatter,
            "{held} of {} claims hold, compared with {}",
            self.proofs.proofs.len(),
            self.proofs.against
        )
    }
}
