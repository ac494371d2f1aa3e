//! T7: pools of every size and in every state.

use std::collections::BTreeMap;

use tidegate_model::scenario::{Endpoint, Errors, Failure, Health, Phase, Scenario, State};
use tidegate_model::units::{Ratio, Span};

use super::lab::{Lab, Measured, Mode, Setting, measure};
use super::record::{Number, Record};
use super::{Claim, Evidence, Options, SECOND_NS, Target, as_figure, claim};

/// A claim about a number of endpoints that are ejected: so many that half of them stay.
const fn ejects(id: &'static str, what: &'static str, safe: f64) -> Claim {
    claim(id, what, "endpoints", Target::Exactly(safe))
}

/// A claim that something is true of all requests, or of none.
const fn share(id: &'static str, what: &'static str, target: f64) -> Claim {
    claim(id, what, "ratio", Target::Exactly(target))
}

pub(super) const EJECTED: &[Claim] = &[
    ejects(
        "T7.n1.attempts",
        "ejected of 1 endpoint that fails: never the last one; every attempt is seen",
        0.0,
    ),
    ejects("T7.n1.requests", "the same; the last attempt is seen", 0.0),
    ejects(
        "T7.n2.attempts",
        "ejected of 2, one of which fails; every attempt",
        1.0,
    ),
    ejects("T7.n2.requests", "the same; the last attempt", 1.0),
    ejects(
        "T7.n3.attempts",
        "ejected of 3, one of which fails; every attempt",
        1.0,
    ),
    ejects("T7.n3.requests", "the same; the last attempt", 1.0),
    ejects(
        "T7.n9.attempts",
        "ejected of 9, four of which fail; every attempt",
        4.0,
    ),
    ejects("T7.n9.requests", "the same; the last attempt", 4.0),
    ejects(
        "T7.n10.attempts",
        "ejected of 10, five of which fail; every attempt",
        5.0,
    ),
    ejects("T7.n10.requests", "the same; the last attempt", 5.0),
    claim(
        "T7.errors",
        "requests that fail from 15 s after the first failure on, of 2 to 10 endpoints, in both modes",
        "requests",
        Target::Exactly(0.0),
    ),
    claim(
        "T7.n1.sent",
        "requests to the only endpoint that don't reach it because it fails, in both modes",
        "requests",
        Target::Exactly(0.0),
    ),
];

/// Of two distinct endpoints out of 100 both are among the 51 unavailable ones: 51·50 / (100·99).
const BOTH_UNAVAILABLE: f64 = 51.0 * 50.0 / (100.0 * 99.0);

pub(super) const STATES: &[Claim] = &[
    share(
        "T7.available51",
        "requests to the 49 unready ones of 100, 51 being available",
        0.0,
    ),
    share(
        "T7.available50",
        "requests to the 50 unready ones of 100: half is enough",
        0.0,
    ),
    claim(
        "T7.available49",
        "requests to the 51 unready ones of 100: all are chosen among, the least bad of two first",
        "ratio",
        Target::Within {
            value: BOTH_UNAVAILABLE,
            tolerance: 0.0,
        },
    ),
    share(
        "T7.available49.said",
        "requests whose reason is panic, then",
        1.0,
    ),
    claim(
        "T7.new",
        "the largest deviation of an endpoint's share from a tenth, ten having joined at once, in standard deviations of a \
         fair draw",
        "σ",
        Target::AtMost(4.0),
    ),
    share(
        "T7.draining",
        "requests that succeed while all ten drain",
        1.0,
    ),
    share(
        "T7.draining.said",
        "requests whose reason is that nobody is available, then",
        1.0,
    ),
    share(
        "T7.none",
        "requests of an empty cluster that the proxy answers itself",
        1.0,
    ),
    share(
        "T7.none.said",
        "requests whose reason is that there is nobody, then",
        1.0,
    ),
    claim(
        "T7.traps",
        "callbacks that trapped in all of these",
        "traps",
        Target::Exactly(0.0),
    ),
];

/// When requests come.
const FROM_NS: u64 = 5 * SECOND_NS;

/// Ejected is whoever failed five times in a row, which takes a while where little is sent.
const LATE_NS: u64 = FROM_NS + 15 * SECOND_NS;

/// The sizes, and how many fail: as many as may be ejected, or the only one.
const SIZES: [(u32, u32); 5] = [(1, 1), (2, 1), (3, 1), (9, 4), (10, 5)];

#[derive(Debug, Clone, Copy)]
struct Ejected {
    ejected: f64,
    late_errors: f64,
    unsent: f64,
}

pub(super) fn ejected(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let setting = Lab::new()?.load("pool")?;
    let mut scenarios = BTreeMap::new();
    for (size, failing) in SIZES {
        let pool = setting.change(|scenario| fill(scenario, size, failing, &State::Fails(fast())));
        for mode in Mode::BOTH {
            scenarios.insert(format!("n{size}.{mode:?}"), pool.ours(mode));
        }
    }
    let runs = measure(&scenarios, options, |_, record| Ejected {
        ejected: record.metric("tidegate_endpoints_members.state.ejected.cluster.shop"),
        late_errors: count(record, |seen| seen.started_ns >= LATE_NS && !seen.succeeded),
        unsent: count(record, |seen| seen.endpoints.first() != Some(&Some(1))),
    })?;
    let mut evidence = Vec::new();
    for (size, failing) in SIZES {
        for mode in Mode::BOTH {
            let safe = if size == 1 { 0.0 } else { f64::from(failing) };
            evidence.push(farthest(&runs, &format!("n{size}.{mode:?}"), safe)?);
        }
    }
    let mut errors = Evidence::default();
    for name in runs.names().filter(|name| !name.starts_with("n1.")) {
        let most = runs.most(name, |run| run.late_errors)?;
        errors.figure += most.figure;
        errors.cases += most.cases;
    }
    evidence.push(errors);
    let mut unsent = Evidence::default();
    for mode in Mode::BOTH {
        let most = runs.most(&format!("n1.{mode:?}"), |run| run.unsent)?;
        unsent.figure += most.figure;
        unsent.cases += most.cases;
    }
    evidence.push(unsent);
    Ok(evidence)
}

/// The number of ejected ones in the run in which it is the farthest from what it should be.
fn farthest(runs: &Measured<(Ejected, u64)>, name: &str, safe: f64) -> anyhow::Result<Evidence> {
    let all = runs.of(name)?;
    let figures = all.iter().map(|(run, _)| run.ejected);
    let off = |figure: f64| (figure - safe).abs();
    let farthest = figures.max_by(|one, other| off(*one).total_cmp(&off(*other)));
    Ok(Evidence {
        figure: farthest.unwrap_or(f64::NAN),
        cases: all.iter().map(|(_, requests)| requests).sum(),
        ..Evidence::default()
    })
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    /// The share of requests to those beyond the first ones, which are available.
    to_unready: f64,
    panic: f64,
    nobody_available: f64,
    nobody: f64,
    succeeded: f64,
    unserved: f64,
    deviation: f64,
    traps: f64,
}

/// The pools, each with how many are well at the beginning of its addresses.
fn states(setting: &Setting) -> [(&'static str, Setting); 6] {
    let unready = |of, unready| {
        let state = State::Membership(Health::Unhealthy);
        setting.change(|scenario| fill(scenario, of, unready, &state))
    };
    let draining = State::Membership(Health::Draining);
    let joins = setting.change(|scenario| {
        fill(scenario, 10, 10, &State::Absent);
        for phase in timeline(scenario) {
            phase.until = Some(Span::ms(3_000));
        }
    });
    [
        ("available51", unready(100, 49)),
        ("available50", unready(100, 50)),
        ("available49", unready(100, 51)),
        ("new", joins),
        (
            "draining",
            setting.change(|scenario| fill(scenario, 10, 10, &draining)),
        ),
        (
            "none",
            setting.change(|scenario| fill(scenario, 1, 1, &State::Absent)),
        ),
    ]
}

pub(super) fn states_of_pools(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let setting = Lab::new()?.load("pool")?;
    let mut scenarios = BTreeMap::new();
    for (name, setting) in states(&setting) {
        // What a pool's state leads to doesn't depend on what is seen of attempts.
        scenarios.insert(name.to_owned(), setting.ours(Mode::Requests));
    }
    let runs = measure(&scenarios, options, sent)?;
    let exactly = |name: &str, wanted: f64, figure: fn(&Sent) -> f64| {
        let all = runs.of(name)?;
        let off = |figure: &f64| (figure - wanted).abs();
        let figures = all.iter().map(|(sent, _)| figure(sent));
        let farthest = figures.max_by(|one, other| off(one).total_cmp(&off(other)));
        anyhow::Ok(Evidence {
            figure: farthest.unwrap_or(f64::NAN),
            cases: all.iter().map(|(_, requests)| requests).sum(),
            ..Evidence::default()
        })
    };
    let mut traps = Evidence::default();
    for name in runs.names() {
        let most = runs.most(name, |sent| sent.traps)?;
        traps.figure += most.figure;
        traps.cases += most.cases;
    }
    Ok(vec![
        exactly("available51", 0.0, |sent| sent.to_unready)?,
        exactly("available50", 0.0, |sent| sent.to_unready)?,
        runs.mean("available49", |sent| sent.to_unready)?,
        exactly("available49", 1.0, |sent| sent.panic)?,
        runs.most("new", |sent| sent.deviation)?,
        exactly("draining", 1.0, |sent| sent.succeeded)?,
        exactly("draining", 1.0, |sent| sent.nobody_available)?,
        exactly("none", 1.0, |sent| sent.unserved)?,
        exactly("none", 1.0, |sent| sent.nobody)?,
        traps,
    ])
}

fn sent(name: &str, record: &Record) -> Sent {
    let well: Number = match name {
        "available51" => 51,
        "available50" => 50,
        "available49" => 49,
        _ => Number::MAX,
    };
    let reason = |reason: &str| {
        let counted = format!("tidegate_health_routing_requests_total.reason.{reason}");
        record.metric(&counted) / as_figure(record.count())
    };
    Sent {
        to_unready: record.share(|seen| seen.last_endpoint().is_some_and(|at| at > well)),
        panic: reason("panic"),
        nobody_available: reason("nobody_available"),
        nobody: reason("nobody"),
        succeeded: record.share(|seen| seen.succeeded),
        unserved: record.share(|seen| !seen.succeeded && seen.last_endpoint().is_none()),
        deviation: deviation(record),
        traps: record.traps(),
    }
}

/// How far an endpoint's share of ten is from a tenth at most, in standard deviations of a fair draw.
fn deviation(record: &Record) -> f64 {
    let requests = as_figure(record.count());
    let deviation = (requests * 0.1 * 0.9).sqrt();
    let mut counts = BTreeMap::new();
    for seen in &record.requests {
        *counts.entry(seen.last_endpoint()).or_insert(0.0) += 1.0;
    }
    (1..=10)
        .map(|number: Number| {
            let count = counts.get(&Some(number)).copied().unwrap_or_default();
            (count - requests * 0.1).abs() / deviation
        })
        .fold(0.0, f64::max)
}

/// How many requests something is true of.
fn count(record: &Record, is: impl Fn(&super::record::Seen) -> bool) -> f64 {
    as_figure(record.requests.iter().filter(|seen| is(seen)).count() as u64)
}

/// Fails at once, whatever is asked.
fn fast() -> Errors {
    Errors {
        ratio: Ratio::ONE,
        with: Failure::Status(503),
        after: Some(Span::ms(1)),
    }
}

/// Makes a pool of so many endpoints, the last ones of which are in a state from the beginning on.
fn fill(scenario: &mut Scenario, size: u32, of: u32, state: &State) {
    let Some(shop) = scenario.clusters.first_mut() else {
        return;
    };
    let Some(first) = shop.endpoints.first().cloned() else {
        return;
    };
    let each = Endpoint {
        count: size,
        ..first
    };
    shop.endpoints = (1..)
        .zip(each.each())
        .map(|(number, mut endpoint)| {
            if number > size - of {
                endpoint.timeline.push(Phase {
                    from: Span::ZERO,
                    until: None,
                    state: state.clone(),
                });
            }
            endpoint
        })
        .collect();
}

fn timeline(scenario: &mut Scenario) -> impl Iterator<Item = &mut Phase> {
    let endpoints = scenario
        .clusters
        .iter_mut()
        .flat_map(|cluster| &mut cluster.endpoints);
    endpoints.flat_map(|endpoint| &mut endpoint.timeline)
}
