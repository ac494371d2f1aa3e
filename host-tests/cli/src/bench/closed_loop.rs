//! Measures how fast a scenario runs in virtual time, and in how much memory.
//!
//! Model: the committed scenario with the no-op filter, at a thousand requests per second for as long as the number of requests
//! needs. Each number of workers is run by a process of its own, on one thread. Time is that of its processor; memory is how far its
//! resident set grows from before the proxy starts to its highest (`VmHWM` of Linux).

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use cpu_time::ThreadTime;
use serde::{Deserialize, Serialize};
use tidegate_model::report::{Collector, Sink};
use tidegate_model::units::Span;

use super::importers::memory;
use crate::closed_loop;
use crate::engine::engine;
use crate::output::Output;
use crate::scenario::LoadedScenario;
use crate::workspace;

/// A million requests in less than a minute.
const GOAL_PER_SECOND: u64 = 1_000_000 / 60;

/// Requests per second of virtual time, as the scenario has it.
const RATE: u64 = 1_000;

/// Numbers of workers that are measured.
const WORKERS: [u32; 2] = [1, 16];

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// About how many requests.
    pub requests: u64,
    /// Seed of the scenario.
    pub seed: u64,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: u32,
    /// The scenario, below the checkout.
    pub scenario: &'static str,
    /// Seed of the scenario.
    pub seed: u64,
    /// Whether this binary checks for overflow and such; it does unless it was built otherwise.
    pub debug_assertions: bool,
    /// What was measured with each number of workers.
    pub runs: Vec<Measured>,
}

/// What was measured with one number of workers.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Workers; each has a VM, and the main thread has one.
    pub workers: u32,
    /// What its process measured.
    #[serde(flatten)]
    pub measurement: Measurement,
    /// Requests per second of processor time.
    pub requests_per_second: u64,
    /// What they should at least be.
    pub goal_per_second: u64,
    /// Whether they are.
    pub met: bool,
}

/// What running the scenario took.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measurement {
    /// Requests that came.
    pub requests: u64,
    /// Requests that were answered 5xx or not at all.
    pub errors: u64,
    /// Processor time, in nanoseconds.
    pub nanoseconds: u64,
    /// How far the resident set grew at its highest, in bytes; `None` where the system doesn't say.
    pub peak_growth_bytes: Option<u64>,
}

const SCENARIO: &str = "host-tests/scenarios/bench/no-op.yaml";

/// Measures every number of workers.
///
/// # Errors
/// The scenario or its module can't be loaded, or a process fails.
pub fn run(request: Request, output: &Output) -> anyhow::Result<Report> {
    // The module is built and compiled before anything is measured.
    load(output)?;
    let progress = output.progress("measuring", Some(WORKERS.len() as u64));
    let mut runs = Vec::new();
    for workers in WORKERS {
        progress.message(format!("{workers} workers"));
        let child = Command::new(std::env::current_exe()?)
            .args(["bench", "closed-loop", "--measure", &workers.to_string()])
            .args(["--requests", &request.requests.to_string()])
            .args(["--seed", &request.seed.to_string()])
            .output()?;
        ensure!(
            child.status.success(),
            "{}",
            String::from_utf8_lossy(&child.stderr)
        );
        let measurement: Measurement = serde_json::from_slice(&child.stdout)?;
        let rate = u128::from(measurement.requests) * 1_000_000_000
            / u128::from(measurement.nanoseconds.max(1));
        let requests_per_second = u64::try_from(rate).unwrap_or(u64::MAX);
        runs.push(Measured {
            workers,
            measurement,
            requests_per_second,
            goal_per_second: GOAL_PER_SECOND,
            met: requests_per_second >= GOAL_PER_SECOND,
        });
        progress.advance(1);
    }
    progress.finish();
    Ok(Report {
        schema: 1,
        scenario: SCENARIO,
        seed: request.seed,
        debug_assertions: cfg!(debug_assertions),
        runs,
    })
}

/// Runs the scenario once in this process.
///
/// # Errors
/// As [`run`].
pub fn measure(workers: u32, request: Request, output: &Output) -> anyhow::Result<Measurement> {
    let mut loaded = load(output)?;
    loaded.scenario.workers = workers;
    loaded.scenario.duration = Span::ms(request.requests.saturating_mul(1_000) / RATE);
    let before = memory("VmRSS:");
    let begin = ThreadTime::now();
    let mut collector = Collector::new(&loaded.scenario);
    closed_loop::run(&loaded, request.seed, &mut collector as &mut dyn Sink)?;
    let report = collector.report(request.seed);
    let elapsed = begin.elapsed();
    let highest = memory("VmHWM:");
    Ok(Measurement {
        requests: report.overall.requests,
        errors: report.overall.errors,
        nanoseconds: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
        peak_growth_bytes: before
            .zip(highest)
            .map(|(before, highest)| highest.saturating_sub(before)),
    })
}

fn load(output: &Output) -> anyhow::Result<LoadedScenario> {
    let path: PathBuf = workspace::root().join(SCENARIO);
    LoadedScenario::load(&engine()?, &path, output)
        .with_context(|| format!("failed to load `{SCENARIO}`"))
}
