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

mod health;
mod lab;
mod leader;
mod model;
mod random;
mod runs;
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
    /// This or less; of a sampled figure the whole interval.
    AtMost(f64),
    /// This or more; of a sampled figure the whole interval.
    AtLeast(f64),
    /// Whatever it is: it is told because it belongs to the others.
    Stated,
    /// A value that theory gives, of which it may be so far off: a sampled figure within four standard errors more.
    Within {
        /// The value.
        value: f64,
        /// How far off it may be.
        tolerance: f64,
    },
    /// A figure that somebody published, which is itself one rounded sample: within four standard deviations of the
    /// difference between one sample and the mean of ours.
    Published {
        /// The published figure.
        value: f64,
        /// Half of its last digit.
        rounding: f64,
    },
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
    /// What is known of a sampled figure's chance.
    sampled: Option<Sampled>,
    /// The same figure for the obvious alternatives, from the same run.
    baseline: BTreeMap<&'static str, f64>,
}

/// How a figure that is a mean of several runs, or a share of several cases, scatters.
#[derive(Debug, Clone, Copy)]
struct Sampled {
    /// Standard deviation of one run, or case.
    deviation: f64,
    /// Runs, or cases.
    runs: f64,
    /// The interval that holds the true value with 95 % confidence.
    ci95: [f64; 2],
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
    /// Whether it need not be anything: it is told because it belongs to the others.
    #[serde(skip)]
    pub is_told: bool,
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
pub const AREAS: &[Area] = &[health::AREA, leader::AREA, model::AREA, sticky::AREA];

/// Finds an area by its name.
#[must_use]
pub fn area(name: &str) -> Option<&'static Area> {
    AREAS.iter().find(|area| area.name == name)
}

impl Area {
    /// Runs every proof of the area; with `only`, those that have a claim whose name begins like that.
    ///
    /// # Errors A module can't be built, or the host can't run it. A figure that misses its target
    /// is no error.
    pub fn prove(
        &self,
        options: Options,
        only: Option<&str>,
        output: &Output,
    ) -> anyhow::Result<Report> {
        let proofs = || self.proofs.iter().filter(|proof| proof.has(only));
        let total = proofs().map(|proof| proof.claims.len()).sum::<usize>();
        let progress = output.progress("proving", u64::try_from(total).ok());
        let mut command = format!("cargo tidegate prove {} --seed {}", self.name, options.seed);
        if options.long {
            command.push_str(" --long");
        }
        let mut findings = Vec::new();
        for proof in proofs() {
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
            for (claim, evidence) in proof.claims.iter().zip(evidence) {
                findings.push(Finding {
                    id: claim.id,
                    what: claim.what,
                    figure: evidence.figure,
                    unit: claim.unit,
                    target: claim.target.to_string(),
                    ci95: evidence.ci95(),
                    // A claim about nothing is not proven.
                    holds: evidence.cases > 0 && claim.target.admits(&evidence),
                    is_told: claim.target == Target::Stated,
                    baseline: evidence.baseline,
                    cases: evidence.cases,
                    seed: options.seed,
                    command: format!("{command} --only {}", claim.id),
                    elapsed: begin.elapsed(),
                });
                progress.advance(1);
            }
        }
        Ok(Report {
            schema: 1,
            area: self.name,
            proofs: findings,
        })
    }
}

impl Proof {
    fn has(&self, only: Option<&str>) -> bool {
        let is_meant = |claim: &Claim| only.is_none_or(|only| claim.id.starts_with(only));
        self.claims.iter().any(is_meant)
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
    fn admits(self, evidence: &Evidence) -> bool {
        let figure = evidence.figure;
        let [low, high] = evidence.ci95().unwrap_or([figure, figure]);
        let (deviation, runs) = evidence.sampled.map_or((0.0, 1.0), |sampled| {
            (sampled.deviation, sampled.runs.max(1.0))
        });
        match self {
            // Both are counts, which 64-bit floats hold exactly.
            Self::Exactly(target) => figure.total_cmp(&target).is_eq(),
            Self::AtMost(most) => high <= most,
            Self::AtLeast(least) => low >= least,
            Self::Stated => figure.is_finite(),
            Self::Within { value, tolerance } => {
                let error = deviation / runs.sqrt();
                (figure - value).abs() <= tolerance + 4.0 * error
            }
            Self::Published { value, rounding } => {
                let difference = deviation * (1.0 + 1.0 / runs).sqrt();
                (figure - value).abs() <= rounding + 4.0 * difference
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(target) => write!(formatter, "== {target}"),
            Self::AtMost(most) => write!(formatter, "<= {most}"),
            Self::AtLeast(least) => write!(formatter, ">= {least}"),
            Self::Stated => write!(formatter, "none"),
            Self::Within { value, tolerance } if *tolerance <= 0.0 => {
                write!(formatter, "{value} ± 4σ")
            }
            Self::Within { value, tolerance } => write!(formatter, "{value} ± {tolerance} ± 4σ"),
            Self::Published { value, rounding } => {
                write!(formatter, "published {value} ± {rounding} ± 4σ")
            }
        }
    }
}

impl Evidence {
    /// Takes a count out of so many cases.
    fn count(figure: u64, cases: u64) -> Self {
        Self {
            figure: as_figure(figure),
            cases,
            ..Self::default()
        }
    }

    /// Takes the mean of the same figure of several independent runs, which have so many cases together.
    fn mean(runs: &[f64], cases: u64) -> Self {
        let count = as_figure(u64::try_from(runs.len()).unwrap_or(u64::MAX));
        let figure = runs.iter().sum::<f64>() / count;
        let squares: f64 = runs.iter().map(|run| (run - figure).powi(2)).sum();
        let deviation = (squares / (count - 1.0)).sqrt();
        let quantile = STUDENT_975
            .get(runs.len().saturating_sub(2))
            .copied()
            .unwrap_or(2.042);
        let half_width = quantile * deviation / count.sqrt();
        Self {
            figure,
            cases,
            sampled: Some(Sampled {
                deviation,
                runs: count,
                ci95: [figure - half_width, figure + half_width],
            }),
            baseline: BTreeMap::new(),
        }
    }

    /// Takes the share of independent cases that something is true of. Also where it is true of all of them, more may be
    /// known of it with more cases.
    ///
    /// SOURCE: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    fn share(of: u64, cases: u64) -> Self {
        const NORMAL_975: f64 = 1.96;
        let count = as_figure(cases);
        let figure = as_figure(of) / count;
        let variance = figure * (1.0 - figure);
        let square = NORMAL_975.powi(2) / count;
        let center = (figure + square / 2.0) / (1.0 + square);
        let half_width =
            NORMAL_975 * (variance / count + square / count / 4.0).sqrt() / (1.0 + square);
        Self {
            figure,
            cases,
            sampled: Some(Sampled {
                deviation: variance.sqrt(),
                runs: count,
                ci95: [center - half_width, center + half_width],
            }),
            baseline: BTreeMap::new(),
        }
    }

    fn ci95(&self) -> Option<[f64; 2]> {
        Some(self.sampled?.ci95)
    }

    /// Adds the figure of an alternative.
    fn against(self, alternative: &'static str, figure: u64) -> Self {
        self.beside(alternative, as_figure(figure))
    }

    /// Adds another figure to compare with.
    fn beside(mut self, alternative: &'static str, figure: f64) -> Self {
        self.baseline.insert(alternative, figure);
        self
    }
}

/// The quantile of Student's distribution that 97.5 % lie below, from one degree of freedom on; beyond the end it is
/// at most the last.
const STUDENT_975: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

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
        let counted = |figure| Evidence {
            figure,
            ..Evidence::default()
        };
        assert!(target.admits(&counted(0.0)));
        for figure in [1.0, 1e-9, f64::NAN, f64::INFINITY] {
            assert!(!target.admits(&counted(figure)), "{figure}");
        }
        assert_eq!(target.to_string(), "== 0");
    }

    #[test]
    fn mean_of_runs_has_the_interval_of_students_distribution() {
        // Mean 3, standard deviation 1.5811, standard error 0.7071, and 2.776 of it.
        let evidence = Evidence::mean(&[1.0, 2.0, 3.0, 4.0, 5.0], 5);
        let [low, high] = evidence.ci95().unwrap();
        assert!(
            (low - 1.037).abs() < 1e-3 && (high - 4.963).abs() < 1e-3,
            "{low} {high}"
        );
        let many = Evidence::mean(&[0.0, 1.0].repeat(500), 1_000);
        let [low, high] = many.ci95().unwrap();
        assert!(
            (low - 0.468).abs() < 1e-3 && (high - 0.532).abs() < 1e-3,
            "{low} {high}"
        );
    }

    #[test]
    fn share_of_all_cases_is_as_certain_as_they_are_many() {
        // Of none of n failing nothing above 3.84 / (n + 3.84) is known: 0.99904 for 4000, 0.99872 for 3000.
        let least = Target::AtLeast(0.999);
        assert!(least.admits(&Evidence::share(4_000, 4_000)));
        assert!(!least.admits(&Evidence::share(3_000, 3_000)));
        assert!(!least.admits(&Evidence::share(0, 0)));
        let [low, high] = Evidence::share(5, 10).ci95().unwrap();
        assert!(
            (low - 0.2366).abs() < 1e-3 && (high - 0.7634).abs() < 1e-3,
            "{low} {high}"
        );
    }

    #[test]
    fn sampled_figure_misses_beyond_its_chance() {
        let evidence = Evidence::mean(&[1.0, 2.0, 3.0, 4.0, 5.0], 5);
        let (value, rounding) = (3.0 + 4.0 * 1.5811 * 1.2_f64.sqrt(), 0.1);
        let cases = [
            (Target::AtMost(4.964), Target::AtMost(4.962)),
            (Target::AtLeast(1.036), Target::AtLeast(1.038)),
            (
                Target::Within {
                    value: 3.0 + 4.0 * 0.5_f64.sqrt(),
                    tolerance: 0.001,
                },
                Target::Within {
                    value: 3.0 - 4.001 * 0.5_f64.sqrt(),
                    tolerance: 0.0,
                },
            ),
            (
                Target::Published {
                    value: value + 0.099,
                    rounding,
                },
                Target::Published {
                    value: value + 0.101,
                    rounding,
                },
            ),
        ];
        for (met, missed) in cases {
            assert!(met.admits(&evidence), "{met}");
            assert!(!missed.admits(&evidence), "{missed}");
        }
        let nothing = Evidence::mean(&[f64::NAN; 5], 5);
        assert!(cases.iter().all(|(met, _)| !met.admits(&nothing)));
    }
}
