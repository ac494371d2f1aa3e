//! T8: one VM of the proxy asks, however many there are, and what it hears counts while traffic still succeeds.

use std::collections::BTreeMap;

use super::lab::{Lab, Measured, Mode, measure};
use super::record::{Number, Record};
use super::{Claim, Evidence, Options, SECOND_NS, Target, as_figure, claim};

/// One probe of an endpoint in an interval, whoever asks.
const ONE: Target = Target::AtMost(1.0);

/// Three intervals of 5 s and a tenth each until the third probe in a row has failed, and a tick of 250 ms each to send it,
/// to publish and to read what it says.
const NOTICED: Target = Target::AtMost(17.25);

pub(super) const PROBES: &[Claim] = &[
    claim(
        "T8.attempts.w1",
        "probes of an endpoint in an interval, while it serves; the module behind the router as well, 1 worker",
        "probes",
        ONE,
    ),
    claim(
        "T8.requests.w1",
        "the same; in front of it alone",
        "probes",
        ONE,
    ),
    claim(
        "T8.attempts.w16",
        "behind it as well, 16 workers",
        "probes",
        ONE,
    ),
    claim(
        "T8.requests.w16",
        "in front alone, 16 workers",
        "probes",
        ONE,
    ),
    claim(
        "T8.attempts.noticed",
        "from the moment that an endpoint's readiness fails to the last request to it, its traffic succeeding; every attempt \
         is seen",
        "s",
        NOTICED,
    ),
    claim(
        "T8.requests.noticed",
        "the same; the last attempt is seen",
        "s",
        NOTICED,
    ),
    claim(
        "T8.errors",
        "requests that failed meanwhile, in both modes",
        "requests",
        Target::Exactly(0.0),
    ),
];

/// The endpoint whose readiness fails, and since when.
const UNREADY: Number = 10;
const FAILS_NS: u64 = 30 * SECOND_NS;

/// Endpoints, and the scenario's time in intervals of five seconds.
const ENDPOINTS: f64 = 10.0;
const INTERVALS: f64 = 25.0;

#[derive(Debug, Clone, Copy)]
struct Asked {
    probes: f64,
    noticed_seconds: f64,
    errors: f64,
}

pub(super) fn probes(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let setting = Lab::new()?.load("unready-endpoint")?;
    let mut scenarios = BTreeMap::new();
    for workers in [1, 16] {
        let setting = setting.workers(workers);
        for mode in Mode::BOTH {
            scenarios.insert(format!("{mode:?}.w{workers}"), setting.ours(mode));
        }
    }
    let runs = measure(&scenarios, options, |_, record| asked(record))?;
    let mut evidence = Vec::new();
    for workers in ["w1", "w16"] {
        for mode in Mode::BOTH {
            let name = format!("{mode:?}.{workers}");
            evidence.push(runs.most(&name, |asked| asked.probes)?);
        }
    }
    for mode in Mode::BOTH {
        evidence.push(worst(&runs, &format!("{mode:?}"), |asked| {
            asked.noticed_seconds
        })?);
    }
    evidence.push(worst(&runs, "", |asked| asked.errors)?);
    Ok(evidence)
}

/// The largest value in any run of the scenarios whose names begin like this.
fn worst(
    runs: &Measured<(Asked, u64)>,
    beginning: &str,
    figure: fn(&Asked) -> f64,
) -> anyhow::Result<Evidence> {
    let mut worst = Evidence::default();
    for name in runs.names().filter(|name| name.starts_with(beginning)) {
        let most = runs.most(name, figure)?;
        worst.figure = worst.figure.max(most.figure);
        worst.cases += most.cases;
    }
    Ok(worst)
}

fn asked(record: &Record) -> Asked {
    let sent = record.metrics("tidegate_endpoints_probes_total.outcome.");
    let last_ns = record
        .starts_at(UNREADY)
        .last()
        .copied()
        .unwrap_or(u64::MAX);
    let noticed_ns = last_ns.saturating_sub(FAILS_NS);
    let errors = record
        .requests
        .iter()
        .filter(|seen| !seen.succeeded)
        .count();
    Asked {
        // Without a probe nothing was asked, and that is no good news.
        probes: if sent > 0.0 {
            sent / ENDPOINTS / INTERVALS
        } else {
            f64::INFINITY
        },
        noticed_seconds: as_figure(noticed_ns / 1_000_000) / 1_000.0,
        errors: as_figure(errors as u64),
    }
}
