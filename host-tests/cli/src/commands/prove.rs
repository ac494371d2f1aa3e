//! `tidegate prove`.

use serde::Serialize;

use crate::exit::{ExitCode, Failure};
use crate::output::{Align, Output, Table, bold, dim, green, red, thousands};
use crate::prove::{AREAS, Area, Finding, Options, Report, area};

/// Arguments of `tidegate prove`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to prove; without one, the areas and their claims are listed.
    #[arg(value_name = "AREA")]
    area: Option<String>,
    /// Take ten times as many samples, which takes longer than a minute.
    #[arg(long)]
    long: bool,
    /// Begins the random sequences; with the same seed the same figures come out.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What `--json` prints without an area.
#[derive(Debug, Serialize)]
struct Listing {
    schema: u32,
    areas: Vec<ListedArea>,
}

#[derive(Debug, Serialize)]
struct ListedArea {
    area: &'static str,
    what: &'static str,
    claims: Vec<ListedClaim>,
}

#[derive(Debug, Serialize)]
struct ListedClaim {
    id: &'static str,
    what: &'static str,
    unit: &'static str,
    target: String,
}

/// Proves an area, or lists them.
///
/// # Errors
/// There is no such area (usage), or a module can't be built or run.
pub fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<ExitCode> {
    let Some(name) = &arguments.area else {
        return list(output);
    };
    let Some(area) = area(name) else {
        let known: Vec<&str> = AREAS.iter().map(|area| area.name).collect();
        let known = known.join(", ");
        return Err(Failure::usage(format_args!(
            "there is no area `{name}`; there are: {known}"
        ))
        .into());
    };
    let options = Options {
        seed: arguments.seed,
        long: arguments.long,
    };
    let report = area.prove(options, output)?;
    if output.is_json() {
        output.json(&report)?;
    } else {
        print(area, &report, options, output)?;
    }
    Ok(if report.holds() {
        ExitCode::Passed
    } else {
        ExitCode::Internal
    })
}

fn list(output: &Output) -> anyhow::Result<ExitCode> {
    let areas = AREAS.iter().map(|area| ListedArea {
        area: area.name,
        what: area.what,
        claims: area
            .proofs
            .iter()
            .flat_map(|proof| proof.claims)
            .map(|claim| ListedClaim {
                id: claim.id,
                what: claim.what,
                unit: claim.unit,
                target: claim.target.to_string(),
            })
            .collect(),
    });
    let listing = Listing {
        schema: 1,
        areas: areas.collect(),
    };
    if output.is_json() {
        output.json(&listing)?;
        return Ok(ExitCode::Passed);
    }
    for area in &listing.areas {
        output.line(format_args!(
            "{}: {}",
            bold().apply_to(area.area),
            area.what
        ))?;
        let mut table = Table::new(&[
            ("claim", Align::Left),
            ("figure", Align::Left),
            ("target", Align::Right),
        ]);
        for claim in &area.claims {
            table.row([claim.id, claim.what, &claim.target]);
        }
        output.line(table)?;
    }
    Ok(ExitCode::Passed)
}

fn print(area: &Area, report: &Report, options: Options, output: &Output) -> anyhow::Result<()> {
    output.line(format_args!(
        "{}: {}",
        bold().apply_to(area.name),
        area.what
    ))?;
    output.line("")?;
    let mut table = Table::new(&[
        ("", Align::Left),
        ("claim", Align::Left),
        ("figure", Align::Left),
        ("of", Align::Right),
        ("measured", Align::Right),
        ("target", Align::Right),
        ("instead", Align::Left),
    ]);
    for finding in &report.proofs {
        let verdict = if finding.holds {
            green().apply_to("holds")
        } else {
            red().apply_to("MISSED")
        };
        table.row([
            verdict.to_string(),
            finding.id.to_owned(),
            finding.what.to_owned(),
            thousands(finding.cases),
            finding.figure.to_string(),
            finding.target.clone(),
            instead(finding),
        ]);
    }
    output.line(table)?;
    let held = report.proofs.iter().filter(|finding| finding.holds).count();
    output.line(format_args!(
        "{held} of {} claims hold, with seed {}",
        report.proofs.len(),
        options.seed
    ))?;
    for finding in report.proofs.iter().filter(|finding| !finding.holds) {
        output.line(format_args!(
            "{} again: {}",
            finding.id,
            dim().apply_to(&finding.command)
        ))?;
    }
    Ok(())
}

/// Writes what the obvious alternatives come to.
fn instead(finding: &Finding) -> String {
    let written = finding
        .baseline
        .iter()
        .map(|(name, figure)| format!("{name}: {figure}"));
    written.collect::<Vec<_>>().join(", ")
}
