//! T6: one of three zones is down. Who failed isn't asked again: the second attempt goes to another zone.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_model::scenario::{Scenario, State};

use super::lab::{Lab, Mode, measure};
use super::{Claim, Evidence, Options, Target, claim};

const RATIO: &str = "ratio";

const LEAST: Target = Target::AtLeast(0.999);

pub(super) const ZONES: &[Claim] = &[
    claim(
        "T6.attempts.refused",
        "second attempts that succeed while one of 3 zones refuses connections, 8 workers; every attempt is seen",
        RATIO,
        LEAST,
    ),
    claim(
        "T6.requests.refused",
        "the same; the last attempt is seen",
        RATIO,
        LEAST,
    ),
    claim(
        "T6.attempts.hangs",
        "the same while it takes requests and answers none, with tries of a second; every attempt is seen",
        RATIO,
        LEAST,
    ),
    claim(
        "T6.requests.hangs",
        "the same; the last attempt is seen",
        RATIO,
        LEAST,
    ),
    claim(
        "T6.needed",
        "requests of a minute that need a second attempt while a zone refuses connections and its endpoints are ejected;          every attempt is seen",
        RATIO,
        Target::Stated,
    ),
];

const BASELINES: [&str; 2] = ["round_robin", "finagle"];

/// What came of the second attempts of a run.
#[derive(Debug, Clone, Copy)]
struct Second {
    requests: u64,
    attempts: u64,
    successes: u64,
}

pub(super) fn zones(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let ejecting = Lab::new()?.load("zone-down")?.workers(8);
    // Ejection makes second attempts so rare that nothing could be said of them.
    let refused = ejecting.endpoints(|endpoints| {
        endpoints.insert("ejection".to_owned(), Value::Null);
    });
    let hangs = refused.change(|scenario| replace(scenario, &State::Hangs));
    let variants = [("refused", refused), ("hangs", hangs)];
    let mut scenarios = BTreeMap::new();
    for (variant, setting) in &variants {
        for mode in Mode::BOTH {
            scenarios.insert(format!("{mode:?}.{variant}"), setting.ours(mode));
        }
        for (name, baseline) in setting.baselines(&BASELINES) {
            scenarios.insert(format!("{variant}.{name}"), baseline);
        }
    }
    scenarios.insert("ejecting".to_owned(), ejecting.ours(Mode::Attempts));
    let runs = measure(&scenarios, options, |_, record| {
        let second = || {
            record
                .requests
                .iter()
                .filter(|seen| seen.endpoints.len() == 2)
        };
        Second {
            requests: record.count(),
            attempts: second().count() as u64,
            successes: second().filter(|seen| seen.succeeded).count() as u64,
        }
    })?;
    let sum = |name: &str, count: fn(&Second) -> u64| -> anyhow::Result<u64> {
        Ok(runs.of(name)?.iter().map(|(second, _)| count(second)).sum())
    };
    let attempts = |second: &Second| second.attempts;
    let share = |name: &str| {
        let successes = sum(name, |second| second.successes)?;
        anyhow::Ok(Evidence::share(successes, sum(name, attempts)?))
    };
    let mut evidence = Vec::new();
    for (variant, _) in &variants {
        for mode in Mode::BOTH {
            let mut ours = share(&format!("{mode:?}.{variant}"))?;
            for name in BASELINES {
                ours = ours.beside(name, share(&format!("{variant}.{name}"))?.figure);
            }
            evidence.push(ours);
        }
    }
    let requests = sum("ejecting", |second| second.requests)?;
    evidence.push(Evidence::share(sum("ejecting", attempts)?, requests));
    Ok(evidence)
}

/// Lets something else happen to the endpoints.
fn replace(scenario: &mut Scenario, state: &State) {
    let endpoints = scenario
        .clusters
        .iter_mut()
        .flat_map(|cluster| &mut cluster.endpoints);
    for phase in endpoints.flat_map(|endpoint| &mut endpoint.timeline) {
        phase.state = state.clone();
    }
}
