//! Proves what Tidegate claims: every figure comes from a run of the real modules, never from a
//! file.
//!
//! An area holds proofs; a proof runs once and yields one figure per claim. A claim states a
//! target, and holds or misses. With the same seed the same figures come out, on every machine.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;

use crate::output::Output;

mod lab;
mod random;
mod sticky;

/// A part of Tidegate with claims of its own.
#[derive(Debug)]
pub struct Area {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about, in a few words.
    pub what: &'static str,
    /// Its proofs.
    pub proofs: &'static [Proof],
}

/// A run that yields the figures of its claims.
#[derive(Debug)]
pub struct Proof {
    /// What it claims, in the order of the figures.
    pub claims: &'static [Claim],
    run: fn(Options) -> anyhow::Result<Vec<Evidence>>,
}

/// A statement that can turn out to be false.
#[derive(Debug)]
pub struct Claim {
    /// Names it within its area.
    pub id: &'static str,
    /// What the figure is.
    pub what: &'static str,
    /// The figure's unit.
    pub unit: &'static str,
    /// What the figure must be.
    pub target: Target,
}

/// What a figure must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// Exactly this.
    Exactly(f64),
}

/// How a proof is run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Begins every random sequence.
    pub seed: u64,
    /// Takes ten times as many samples, which takes longer than a minute.
    pub long: bool,
}

/// What a run yields for one claim.
#[derive(Debug, Default)]
struct Evidence {
    figure: f64,
    /// How many cases the figure is about.
    cases: u64,
    /// The same figure for the obvious alternatives, from the same run.
    baseline: BTreeMap<&'static str, f64>,
}

/// What was proven.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: u32,
    area: &'static str,
    /// The claims with their figures.
    pub proofs: Vec<Finding>,
}

/// A claim with its figure.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// Names the claim within its area.
    pub id: &'static str,
    /// What the figure is.
    pub what: &'static str,
    /// The figure.
    pub figure: f64,
    /// The figure's unit.
    pub unit: &'static str,
    /// What the figure must be.
    pub target: String,
    /// The interval that holds the true value with 95 % confidence; none for a figure that is
    /// counted.
    pub ci95: Option<[f64; 2]>,
    /// Whether the figure is what it must be.
    pub holds: bool,
    /// The same figure for the obvious alternatives.
    pub baseline: BTreeMap<&'static str, f64>,
    /// How many cases the figure is about.
    pub cases: u64,
    /// The seed of the run.
    pub seed: u64,
    /// Runs it again.
    pub command: String,
    /// How long the proof took, all its claims together; no part of the data, which is the same at
    /// every run.
    #[serde(skip)]
    pub elapsed: Duration,
}

/// All areas.
pub const AREAS: &[Area] = &[sticky::AREA];

/// Finds an area by its name.
#[must_use]
pub fn area(name: &str) -> Option<&'static Area> {
    AREAS.iter().find(|area| area.name == name)
}

impl Area {
    /// Runs every proof of the area.
    ///
    /// # Errors A module can't be built, or the host can't run it. A figure that misses its target
    /// is no error.
    pub fn prove(&self, options: Options, output: &Output) -> anyhow::Result<Report> {
        let total = self
            .proofs
            .iter()
            .map(|proof| proof.claims.len())
            .sum::<usize>();
        let progress = output.progress("proving", u64::try_from(total).ok());
        let mut command = format!("cargo tidegate prove {} --seed {}", self.name, options.seed);
        if options.long {
            command.push_str(" --long");
        }
        let mut proofs = Vec::new();
        for proof in self.proofs {
            progress.message(
                proof
                    .claims
                    .iter()
                    .map(|claim| claim.id)
                    .collect::<Vec<_>>()
                    .join(", "),
            );
            let begin = Instant::now();
            let evidence = (proof.run)(options)?;
            ensure!(
                evidence.len() == proof.claims.len(),
                "a proof has another number of figures than of claims"
            );
            for (
                claim,
                Evidence {
                    figure,
                    cases,
                    baseline,
                },
            ) in proof.claims.iter().zip(evidence)
            {
                proofs.push(Finding {
                    id: claim.id,
                    what: claim.what,
                    figure,
                    unit: claim.unit,
                    target: claim.target.to_string(),
                    ci95: None,
                    // A claim about nothing is not proven.
                    holds: cases > 0 && claim.target.admits(figure),
                    baseline,
                    cases,
                    seed: options.seed,
                    command: command.clone(),
                    elapsed: begin.elapsed(),
                });
                progress.advance(1);
            }
        }
        Ok(Report {
            schema: 1,
            area: self.name,
            proofs,
        })
    }
}

impl Report {
    /// Whether every claim holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.proofs.iter().all(|finding| finding.holds)
    }
}

impl Target {
    fn admits(self, figure: f64) -> bool {
        match self {
            // Both are counts, which 64-bit floats hold exactly.
            Self::Exactly(target) => figure.total_cmp(&target).is_eq(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(target) => write!(formatter, "== {target}"),
        }
    }
}

impl Evidence {
    /// Takes a count out of so many cases.
    fn count(figure: u64, cases: u64) -> Self {
        Self {
            figure: as_figure(figure),
            cases,
            baseline: BTreeMap::new(),
        }
    }

    /// Adds the figure of an alternative.
    fn against(mut self, alternative: &'static str, figure: u64) -> Self {
        self.baseline.insert(alternative, as_figure(figure));
        self
    }
}

/// Turns a count into a figure; all of ours are far below the 2^53 that a float holds exactly.
fn as_figure(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn claims_of_an_area_have_names_of_their_own() {
        for area in AREAS {
            let claims = || area.proofs.iter().flat_map(|proof| proof.claims);
            let names: BTreeSet<&str> = claims().map(|claim| claim.id).collect();
            assert_eq!(names.len(), claims().count(), "{}", area.name);
        }
    }

    #[test]
    fn figure_that_is_not_its_target_misses_it() {
        let target = Target::Exactly(0.0);
        assert!(target.admits(0.0));
        for figure in [1.0, 1e-9, f64::NAN, f64::INFINITY] {
            assert!(!target.admits(figure), "{figure}");
        }
        assert_eq!(target.to_string(), "== 0");
    }
}
