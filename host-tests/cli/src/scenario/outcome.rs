//! Runs a scenario with each of its seeds, and its baselines, and compares what came out with what was expected.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::{Serialize, Serializer};
use tidegate_model::report::{Collector, Expectation, Report, Row, Sink, Verdict};

use super::load::LoadedScenario;
use crate::exit::ExitCode;
use crate::output::{Progress, thousands};
use crate::replay::Trap;

/// What came of a scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: String,
    /// What it is about.
    pub what: String,
    /// A run for each seed.
    pub runs: Vec<Run>,
}

/// What came of a scenario with one seed.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// What came of it.
    pub report: Report,
    /// What came of its baselines, in the order of the scenario.
    #[serde(serialize_with = "in_order")]
    pub baselines: Vec<(String, Report)>,
    /// What was expected, and whether it holds.
    pub expectations: Vec<Verdict>,
    /// The first traps, at most [`TRAPS`].
    pub traps: Vec<Trap>,
}

/// So many traps of a run are kept: the first ones say why.
const TRAPS: usize = 3;

impl Outcome {
    /// Returns the expectations that don't hold.
    pub fn missed(&self) -> impl Iterator<Item = &Verdict> {
        self.runs
            .iter()
            .flat_map(|run| &run.expectations)
            .filter(|verdict| !verdict.holds)
    }

    /// Returns how often guests trapped though nothing was expected of that.
    #[must_use]
    pub fn unexpected_traps(&self) -> f64 {
        let expects_some = |run: &Run| {
            run.expectations
                .iter()
                .filter_map(|verdict| Expectation::parse(&verdict.expectation).ok())
                .any(|expectation| expectation.is_about_traps())
        };
        self.runs
            .iter()
            .filter(|run| !expects_some(run))
            .filter_map(|run| run.report.figure("traps", None))
            .sum()
    }

    /// Returns how the outcome ends the command.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        if self.unexpected_traps() > 0.0 {
            ExitCode::GuestTrapped
        } else if self.missed().next().is_some() {
            ExitCode::CaseFailed
        } else {
            ExitCode::Passed
        }
    }
}

/// Runs a scenario once, with one seed: in the model or in the real Envoy.
pub type Runner<'a> = &'a mut dyn FnMut(&LoadedScenario, u64, &mut dyn Sink) -> anyhow::Result<()>;

/// Runs a scenario with each of its seeds, and its baselines. `requests` gets a line of JSON for each request.
///
/// # Errors
/// The runner fails, `requests` can't be written.
pub fn outcome(
    loaded: &LoadedScenario,
    runner: Runner<'_>,
    mut requests: Option<&mut dyn Write>,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    let expectations: Vec<Expectation> = loaded
        .scenario
        .expect
        .iter()
        .filter_map(|text| Expectation::parse(text).ok())
        .collect();
    let mut runs = Vec::new();
    for seed in &loaded.scenario.seeds {
        let mut one = |scenario: &LoadedScenario, baseline: Option<&str>| {
            let mut counting = Counting {
                collector: Collector::with_expectations(&scenario.scenario, &expectations),
                // Borrowed anew for each run.
                requests: match &mut requests {
                    Some(requests) => Some(&mut **requests),
                    None => None,
                },
                scenario: &scenario.name,
                seed: *seed,
                baseline,
                progress,
                count: 0,
                traps: Vec::new(),
            };
            runner(scenario, *seed, &mut counting)?;
            progress.advance(1);
            anyhow::Ok((counting.collector.report(*seed), counting.traps))
        };
        let (report, traps) = one(loaded, None)?;
        let mut baselines = Vec::new();
        for baseline in &loaded.scenario.baselines {
            let (report, _) = one(&loaded.baseline(baseline), Some(&baseline.name))?;
            baselines.push((baseline.name.clone(), report));
        }
        let by_name: BTreeMap<String, Report> = baselines.iter().cloned().collect();
        let expectations = expectations
            .iter()
            .map(|expectation| expectation.evaluate(&report, &by_name))
            .collect();
        runs.push(Run {
            seed: *seed,
            report,
            baselines,
            expectations,
            traps,
        });
    }
    Ok(Outcome {
        scenario: loaded.name.clone(),
        what: loaded.scenario.what.clone(),
        runs,
    })
}

/// Counts rows, writes them, and shows that they come.
struct Counting<'a> {
    collector: Collector,
    requests: Option<&'a mut dyn Write>,
    scenario: &'a str,
    seed: u64,
    baseline: Option<&'a str>,
    progress: &'a Progress,
    count: u64,
    traps: Vec<Trap>,
}

/// A line of `--requests`.
#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<&'a str>,
    request: &'a Row,
}

impl Sink for Counting<'_> {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        self.collector.add(row);
        self.count += 1;
        if self.count.is_multiple_of(10_000) {
            let (name, count) = (self.scenario, thousands(self.count));
            self.progress.flicker(format!("{name}: {count} requests"));
        }
        let Some(requests) = &mut self.requests else {
            return Ok(());
        };
        let line = Line {
            scenario: self.scenario,
            seed: self.seed,
            baseline: self.baseline,
            request: row,
        };
        serde_json::to_writer(&mut *requests, &line)?;
        requests.write_all(b"\n")
    }

    fn in_flight(&mut self, endpoint: &str, now_ns: u64, count: u32) {
        self.collector.in_flight(endpoint, now_ns, count);
    }

    fn figure(&mut self, name: &str, value: f64) {
        self.collector.figure(name, value);
    }

    fn trap(&mut self, plugin: &str, callback: &str, thread: &str, message: &str) {
        if self.traps.len() < TRAPS {
            self.traps.push(Trap {
                plugin: plugin.to_owned(),
                callback: callback.to_owned(),
                thread: thread.to_owned(),
                message: message.to_owned(),
            });
        }
    }
}

fn in_order<S: Serializer>(
    baselines: &[(String, Report)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(baselines.iter().map(|(name, report)| (name, report)))
}
