//! T1, T1b and T5: an endpoint that is slow for half of the time.

use std::collections::BTreeMap;

use tidegate_model::scenario::{Errors, Failure, Latency, Scenario};
use tidegate_model::units::{Ratio, Span};

use super::lab::{Lab, Mode, in_both_modes, measure, next_to};
use super::record::{Number, Record};
use super::{Claim, Evidence, Options, SECOND_NS, SEEDS, Target, as_figure, claim};

const RATIO: &str = "ratio";

/// The endpoint that is slow.
const SLOW_ONE: Number = 11;

/// The share that was published of peak EWMA without the age of the oldest request, 0.079 %, and the next digit.
const MOST: Target = Target::AtMost(0.0009);

pub(super) const SLOW: &[Claim] = &[
    claim(
        "T1.attempts.w1",
        "requests over 1 s, one of 11 endpoints at 2 s for half of the time; every attempt is seen, 1 worker",
        RATIO,
        MOST,
    ),
    claim(
        "T1.requests.w1",
        "the same; the last attempt is seen",
        RATIO,
        MOST,
    ),
    claim("T1.attempts.w4", "every attempt, 4 workers", RATIO, MOST),
    claim("T1.requests.w4", "the last attempt, 4 workers", RATIO, MOST),
    claim("T1.attempts.w16", "every attempt, 16 workers", RATIO, MOST),
    claim(
        "T1.requests.w16",
        "the last attempt, 16 workers",
        RATIO,
        MOST,
    ),
    claim(
        "T1.attempts.scattered",
        "every attempt, 4 workers, latencies that scatter by σ = 0.3 instead of 0.05",
        RATIO,
        Target::Stated,
    ),
    claim(
        "T1.requests.scattered",
        "the last attempt, likewise",
        RATIO,
        Target::Stated,
    ),
];

pub(super) const WITH_ERRORS: &[Claim] = &[
    claim(
        "T1b.attempts",
        "the same, 4 workers; every endpoint fails 1 % of its requests in 1 ms; every attempt is seen",
        RATIO,
        MOST,
    ),
    claim(
        "T1b.requests",
        "the same; the last attempt is seen",
        RATIO,
        MOST,
    ),
];

pub(super) const IDLE: &[Claim] = &[
    claim(
        "T5.attempts",
        "the longest time without a request to the endpoint at 2 s, at 20 to 300 a second with 1 to 16 workers; every attempt is seen",
        "s",
        Target::AtMost(25.0),
    ),
    claim(
        "T5.requests",
        "the same; the last attempt is seen",
        "s",
        Target::AtMost(25.0),
    ),
];

/// Share of requests that took longer than a second.
fn over_a_second(record: &Record) -> f64 {
    record.share(|seen| seen.total_ns > SECOND_NS)
}

/// The other balancers, and the one of them that is run wherever ours is: the others don't depend on workers.
const BASELINES: [&str; 5] = [
    "round_robin",
    "least_request",
    "least_loaded",
    "ingress_nginx",
    "finagle",
];
const FINAGLE: [&str; 1] = ["finagle"];

pub(super) fn slow(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let setting = Lab::new()?.load("slow-endpoint")?;
    let wide = setting.change(|scenario| scatter(scenario, 0.3));
    let variants = [
        (setting.workers(1), &BASELINES[..], SEEDS),
        (setting.workers(4), &FINAGLE, SEEDS),
        // Each of so many workers meets the slow endpoint by itself: how often depends more on chance.
        (setting.workers(16), &FINAGLE, 2 * SEEDS),
        (wide.workers(4), &FINAGLE, SEEDS),
    ];
    let mut evidence = Vec::new();
    for (setting, baselines, seeds) in &variants {
        let runs = in_both_modes(setting, baselines, *seeds, options, over_a_second)?;
        evidence.extend(next_to(&runs, baselines)?);
    }
    Ok(evidence)
}

/// Changes how much the latencies of all endpoints scatter.
fn scatter(scenario: &mut Scenario, wanted: f64) {
    for endpoint in scenario
        .clusters
        .iter_mut()
        .flat_map(|cluster| &mut cluster.endpoints)
    {
        if let Latency::LogNormal { sigma, .. } = &mut endpoint.latency {
            *sigma = wanted;
        }
    }
}

pub(super) fn with_errors(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let setting = Lab::new()?.load("slow-endpoint")?.workers(4);
    let errors = Errors {
        ratio: Ratio::try_new(0.01).map_err(anyhow::Error::msg)?,
        with: Failure::Status(503),
        after: Some(Span::ms(1)),
    };
    let setting = setting.change(|scenario| {
        for cluster in &mut scenario.clusters {
            for endpoint in &mut cluster.endpoints {
                endpoint.errors.push(errors.clone());
            }
        }
    });
    let runs = in_both_modes(&setting, &FINAGLE, SEEDS, options, over_a_second)?;
    Ok(Vec::from(next_to(&runs, &FINAGLE)?))
}

pub(super) fn idle(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let setting = Lab::new()?.load("slow-endpoint")?;
    let mut scenarios = BTreeMap::new();
    for (rate, workers) in [(20.0, 1), (20.0, 16), (100.0, 4), (300.0, 1)] {
        // An endpoint that is not tried again before the end is not tried again.
        let setting = setting.rate(rate).workers(workers).change(|scenario| {
            scenario.duration = Span::ms(85_000);
        });
        for mode in Mode::BOTH {
            scenarios.insert(format!("{mode:?}.{rate}.{workers}"), setting.ours(mode));
        }
        let finagle = setting.baselines(&FINAGLE).into_iter();
        scenarios
            .extend(finagle.map(|(name, finagle)| (format!("{name}.{rate}.{workers}"), finagle)));
    }
    let runs = measure(&scenarios, options, |_, record| longest_gap_seconds(record))?;
    let longest = |beginning: &str| -> anyhow::Result<Evidence> {
        let names = runs.names().filter(|name| name.starts_with(beginning));
        let mut longest = Evidence::default();
        for name in names {
            let of = runs.most(name, |gap| *gap)?;
            longest.figure = longest.figure.max(of.figure);
            longest.cases += of.cases;
        }
        Ok(longest)
    };
    let finagle = longest("finagle")?.figure;
    Mode::BOTH
        .iter()
        .map(|mode| Ok(longest(&format!("{mode:?}"))?.beside("finagle", finagle)))
        .collect()
}

/// The longest time between two requests to the slow endpoint, or from the last one to the end.
fn longest_gap_seconds(record: &Record) -> f64 {
    let mut starts = record.starts_at(SLOW_ONE);
    let ends = record.requests.iter().map(|seen| seen.started_ns).max();
    starts.extend(ends);
    let gaps = starts.iter().zip(starts.iter().skip(1));
    let longest_ns = gaps.map(|(from, to)| to.saturating_sub(*from)).max();
    as_figure(longest_ns.unwrap_or(u64::MAX) / 1_000_000) / 1_000.0
}
