//! Measures what a request costs: how many are replayed in a second on one core, and how much work a plugin makes.
//!
//! Time is the processor's, of the one thread that replays: what else runs on the machine takes none of it, though it
//! slows caches down. It is measured several times over and shown with its spread. Fuel (about one unit per instruction)
//! and host calls are counted: they are the same on every machine.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use cpu_time::ThreadTime;
use serde::Serialize;
use tidegate_host::{Engine, FailurePolicy, LogLevel};

use crate::engine::engine;
use crate::output::Output;
use crate::replay::{self, Cost, Detail, Options, Plugin, Replay, Totals, Vm};
use crate::workspace;

pub mod closed_loop;
mod corpus;
pub mod importers;
pub mod requests;
pub mod ticks;

use corpus::Corpus;

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// How often time is measured, at least 1.
    pub runs: u32,
    /// Seed of all that looks random.
    pub seed: u64,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: u32,
    /// The recording, below the checkout.
    pub recording: &'static str,
    /// How often it was replayed in a row, in one run.
    pub rounds: u64,
    /// Requests of one run.
    pub requests: u64,
    /// How often time was measured.
    pub runs: u32,
    /// Seed of all that looks random.
    pub seed: u64,
    /// Threads that the replay used.
    pub cores: u32,
    /// Whether this binary checks for overflow and such; it does unless it was built otherwise.
    pub debug_assertions: bool,
    /// What was measured with each plugin.
    pub plugins: Vec<Measured>,
}

/// What was measured with one plugin.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Its name; `none` for the runner without any.
    pub plugin: &'static str,
    /// Requests per second, the events being in memory already.
    pub replayed_per_second: Spread,
    /// Requests per second, reading included.
    pub read_and_replayed_per_second: Spread,
    /// What the first of the two should at least be.
    pub goal_per_second: Option<u64>,
    /// Whether its median is.
    pub met: Option<bool>,
    /// Fuel of all callbacks, per request.
    pub fuel_per_request: f64,
    /// Calls of the plugin into the host, per request.
    pub host_calls_per_request: f64,
    /// The same by function.
    pub host_calls: BTreeMap<&'static str, f64>,
    /// Fuel per callback.
    pub callbacks: Vec<Callback>,
    /// Linear memory of each VM at the end.
    pub vms: Vec<VmMemory>,
}

/// The smallest, the middle and the largest of several measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: u64,
    /// As many are smaller as are larger.
    pub median: u64,
    /// The largest.
    pub max: u64,
}

/// What a callback cost, in fuel.
#[derive(Debug, Serialize)]
pub struct Callback {
    /// The callback.
    pub name: &'static str,
    /// How often it ran in one run.
    pub calls: u64,
    /// Its cheapest call.
    pub fuel_min: u64,
    /// The mean.
    pub fuel_mean: u64,
    /// Its dearest call.
    pub fuel_max: u64,
}

/// The memory of a VM.
#[derive(Debug, Serialize)]
pub struct VmMemory {
    /// The thread that it belongs to.
    pub thread: String,
    /// Its linear memory.
    pub memory_bytes: u64,
}

/// A plugin to measure, with its configuration below the checkout and its goal in requests per second on one core.
struct Subject {
    plugin: Option<&'static str>,
    configuration: Option<&'static str>,
    goal: Option<u64>,
}

const RECORDING: &str = "host-tests/recordings/round-robin";

const SUBJECTS: [Subject; 3] = [
    Subject {
        plugin: None,
        configuration: None,
        goal: None,
    },
    Subject {
        plugin: Some("no-op"),
        configuration: None,
        goal: Some(100_000),
    },
    Subject {
        plugin: Some("sticky-session"),
        configuration: Some("host-tests/recordings/sticky-session/trial-config.json"),
        goal: Some(40_000),
    },
];

/// Measures every subject.
///
/// # Errors
/// A plugin doesn't build or start, or the recording can't be read.
pub fn run(request: &Request, output: &Output) -> anyhow::Result<Report> {
    let engine = engine()?;
    let root = workspace::root();
    let corpus = Corpus::load(&root.join(RECORDING))
        .with_context(|| format!("failed to load `{RECORDING}`"))?;
    let text = corpus.text()?;
    let bench = Bench {
        engine: &engine,
        corpus: &corpus,
        text: &text,
        request,
    };
    let progress = output.progress("measuring", Some(SUBJECTS.len() as u64));
    let mut plugins = Vec::new();
    for subject in &SUBJECTS {
        progress.message(subject.plugin.unwrap_or("the runner alone"));
        let plugin = subject
            .plugin
            .map(|name| {
                let configuration = subject.configuration.map(|path| root.join(path));
                replay::plugin(
                    &engine,
                    name,
                    configuration.as_deref(),
                    &[],
                    FailurePolicy::FailClosed,
                    output,
                )
            })
            .transpose()?;
        plugins.push(bench.measure(subject, plugin.as_ref())?);
        progress.advance(1);
    }
    progress.finish();
    Ok(Report {
        schema: 1,
        recording: RECORDING,
        rounds: corpus.rounds,
        requests: corpus.requests,
        runs: request.runs.max(1),
        seed: request.seed,
        cores: 1,
        debug_assertions: cfg!(debug_assertions),
        plugins,
    })
}

struct Bench<'a> {
    engine: &'a Engine,
    corpus: &'a Corpus,
    text: &'a [u8],
    request: &'a Request,
}

impl Bench<'_> {
    fn measure(&self, subject: &Subject, plugin: Option<&Plugin>) -> anyhow::Result<Measured> {
        // The first run warms caches up, and is where everything is counted that is the same in every run.
        let (_, totals) = self.time_replay(plugin)?;
        let mut in_memory = Vec::new();
        let mut with_reading = Vec::new();
        for _ in 0..self.request.runs.max(1) {
            in_memory.push(self.rate(self.time_replay(plugin)?.0));
            with_reading.push(self.rate(self.time_reading(plugin)?));
        }
        let replayed_per_second = Spread::of(in_memory);
        let cost = totals.cost.into_iter().next();
        let per_request = |count: u64| ratio(count, totals.requests);
        let host_calls = cost
            .as_ref()
            .map(|cost| cost.host_calls.clone())
            .unwrap_or_default();
        Ok(Measured {
            plugin: subject.plugin.unwrap_or("none"),
            replayed_per_second,
            read_and_replayed_per_second: Spread::of(with_reading),
            goal_per_second: subject.goal,
            met: subject.goal.map(|goal| replayed_per_second.median >= goal),
            fuel_per_request: per_request(cost.as_ref().map_or(0, fuel)),
            host_calls_per_request: per_request(host_calls.iter().map(|(_, calls)| calls).sum()),
            host_calls: host_calls
                .into_iter()
                .map(|(name, calls)| (name, per_request(calls)))
                .collect(),
            callbacks: cost.map(callbacks).unwrap_or_default(),
            vms: totals.vms.into_iter().map(memory).collect(),
        })
    }

    /// Replays events that are in memory, and says how much of the processor's time that took; starting the proxy is not part of it.
    fn time_replay(&self, plugin: Option<&Plugin>) -> anyhow::Result<(Duration, Totals)> {
        let mut replay = Replay::start(
            self.engine,
            self.options(plugin),
            &self.corpus.header,
            self.corpus.first_time_ns(),
        )?;
        let events = self.corpus.events.clone();
        let begin = ThreadTime::now();
        for event in events {
            replay.event(event, &mut |_| Ok(()))?;
        }
        let elapsed = begin.elapsed();
        Ok((elapsed, replay.finish(&mut |_| Ok(()))?))
    }

    /// The same with reading.
    fn time_reading(&self, plugin: Option<&Plugin>) -> anyhow::Result<Duration> {
        let mut reader = corpus::reader(self.text)?;
        let mut replay = Replay::start(
            self.engine,
            self.options(plugin),
            &self.corpus.header,
            self.corpus.first_time_ns(),
        )?;
        let begin = ThreadTime::now();
        while let Some(event) = reader.next()? {
            replay.event(event, &mut |_| Ok(()))?;
        }
        Ok(begin.elapsed())
    }

    fn options(&self, plugin: Option<&Plugin>) -> Options {
        Options {
            plugins: plugin.cloned().into_iter().collect(),
            workers: 1,
            seed: self.request.seed,
            detail: Detail::Totals,
            log_level: LogLevel::Warn,
            ..Options::default()
        }
    }

    fn rate(&self, elapsed: Duration) -> u64 {
        let nanoseconds = elapsed.as_nanos().max(1);
        let rate = u128::from(self.corpus.requests) * 1_000_000_000 / nanoseconds;
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

impl Spread {
    /// Takes measurements in any order; all are 0 where there is none.
    #[must_use]
    pub fn of(mut measurements: Vec<u64>) -> Self {
        measurements.sort_unstable();
        let at = |index: usize| measurements.get(index).copied().unwrap_or_default();
        Self {
            min: at(0),
            median: at(measurements.len() / 2),
            max: at(measurements.len().saturating_sub(1)),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a run are far below 2^52"
)]
fn ratio(count: u64, of: u64) -> f64 {
    count as f64 / of.max(1) as f64
}

fn fuel(cost: &Cost) -> u64 {
    cost.callbacks
        .iter()
        .map(|callback| callback.fuel_mean * callback.calls)
        .sum()
}

fn callbacks(cost: Cost) -> Vec<Callback> {
    cost.callbacks
        .into_iter()
        .map(|callback| Callback {
            name: callback.name,
            calls: callback.calls,
            fuel_min: callback.fuel_min,
            fuel_mean: callback.fuel_mean,
            fuel_max: callback.fuel_max,
        })
        .collect()
}

fn memory(vm: Vm) -> VmMemory {
    VmMemory {
        thread: vm.thread,
        memory_bytes: vm.memory_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_smallest_the_middle_and_the_largest() {
        assert_eq!(
            Spread::of(vec![5, 1, 9, 3, 7]),
            Spread {
                min: 1,
                median: 5,
                max: 9
            }
        );
        assert_eq!(
            Spread::of(vec![4]),
            Spread {
                min: 4,
                median: 4,
                max: 4
            }
        );
        assert_eq!(
            Spread::of(Vec::new()),
            Spread {
                min: 0,
                median: 0,
                max: 0
            }
        );
    }

    #[test]
    fn every_round_has_streams_connections_and_times_of_its_own() {
        let corpus =
            Corpus::load(&workspace::root().join(RECORDING)).expect("the recording is there");
        assert!(corpus.rounds > 1 && corpus.requests >= 20_000);
        let times: Vec<u64> = corpus.events.iter().map(|event| event.time_ns).collect();
        assert!(times.is_sorted(), "time goes on from round to round");
        let opened = |event: &&crate::recording::Event<'_>| {
            matches!(event.kind, crate::recording::EventKind::Open(_))
        };
        let streams: std::collections::BTreeSet<u64> = corpus
            .events
            .iter()
            .filter(opened)
            .map(|event| event.stream)
            .collect();
        assert_eq!(streams.len(), corpus.events.iter().filter(opened).count());
    }
}
