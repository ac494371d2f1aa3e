//! The closed loop against what is known: figures that others published of load balancers and retry budgets, and
//! values that follow from a formula.
//!
//! Each figure is a mean over seeds; the scenarios are the files of `host-tests/scenarios/model`. Where a published
//! figure doesn't come out, the claim's text says why, and `host-tests/model/README.md` the rest.

use std::collections::BTreeMap;
use std::io;

use tidegate_model::report::{Row, Sink};

use super::{Area, Claim, Evidence, Options, Proof, Target, as_figure, runs};
use crate::scenario::{self, LoadedScenario};
use crate::workspace;

mod balancers;
mod retries;

pub(super) const AREA: Area = Area {
    name: "model",
    what: "the closed loop against published figures and formulae",
    proofs: &[
        Proof {
            claims: balancers::SLOW,
            run: balancers::slow,
        },
        Proof {
            claims: balancers::FAILING,
            run: balancers::failing,
        },
        Proof {
            claims: retries::AMPLIFICATION,
            run: retries::amplification,
        },
        Proof {
            claims: retries::FLOOR,
            run: retries::floor,
        },
    ],
};

/// A claim about a figure that was published, whose last digit counts this much.
const fn published(
    id: &'static str,
    what: &'static str,
    unit: &'static str,
    value: f64,
    digit: f64,
) -> Claim {
    Claim {
        id,
        what,
        unit,
        target: Target::Published {
            value,
            rounding: digit / 2.0,
        },
    }
}

/// A claim about a figure that a formula gives.
const fn derived(id: &'static str, what: &'static str, unit: &'static str, value: f64) -> Claim {
    Claim {
        id,
        what,
        unit,
        target: Target::Within {
            value,
            tolerance: 0.0,
        },
    }
}

/// Reads one of the scenarios, which have neither plugins nor recordings.
fn load(name: &str) -> anyhow::Result<LoadedScenario> {
    let path = workspace::root()
        .join("host-tests/scenarios/model")
        .join(name)
        .with_extension("yaml");
    let scenario = scenario::read(&path)?;
    Ok(LoadedScenario {
        name: name.to_owned(),
        path,
        filters: Vec::new(),
        upstream_filters: vec![Vec::new(); scenario.clusters.len()],
        recordings: BTreeMap::new(),
        scenario,
    })
}

/// Returns a scenario's baselines by name, without their seeds' order mattering; its own form is `""`.
fn variants(loaded: &LoadedScenario) -> BTreeMap<String, LoadedScenario> {
    let own = [(String::new(), loaded.clone())];
    let baselines = loaded.scenario.baselines.iter();
    baselines
        .map(|baseline| (baseline.name.clone(), loaded.baseline(baseline)))
        .chain(own)
        .collect()
}

/// What is counted of a run.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    requests: u64,
    attempts: u64,
    /// Answered with a status below 500.
    succeeded: u64,
    /// Took longer than a second.
    slow: u64,
}

impl Tally {
    fn per_request(&self, count: u64) -> f64 {
        as_figure(count) / as_figure(self.requests)
    }
}

impl Sink for Tally {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        const SECOND_NS: u64 = 1_000_000_000;
        self.requests += 1;
        self.attempts += u64::from(row.attempts);
        self.succeeded += u64::from(row.status.is_some_and(|status| status < 500));
        self.slow += u64::from(row.total_ns > SECOND_NS);
        Ok(())
    }

    fn in_flight(&mut self, _endpoint: &str, _now_ns: u64, _count: u32) {}

    fn figure(&mut self, _name: &str, _value: f64) {}
}

/// The runs of one scenario, one per seed.
struct Runs(Vec<Tally>);

impl Runs {
    /// Makes a figure of each run the evidence of their mean.
    fn mean(&self, figure: impl Fn(&Tally) -> f64) -> Evidence {
        let figures: Vec<f64> = self.0.iter().map(figure).collect();
        Evidence::mean(&figures, self.0.iter().map(|tally| tally.requests).sum())
    }
}

/// Runs each scenario with so many seeds.
fn run<Key: Ord + Sync + Clone>(
    scenarios: &BTreeMap<Key, LoadedScenario>,
    seeds: u64,
    options: Options,
) -> anyhow::Result<BTreeMap<Key, Runs>> {
    let taken = runs::of(scenarios, seeds, options, |_, tally: Tally| tally)?;
    let runs = taken.into_iter();
    Ok(runs.map(|(key, tallies)| (key, Runs(tallies))).collect())
}
