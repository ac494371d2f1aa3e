//! T6: one of three zones is down. Who failed isn't asked again: the second attempt goes to another zone.

use std::collections::BTreeMap;

use tidegate_model::scenario::{Scenario, State};

use super::lab::{Lab, Mode, measure};
use super::{Claim, Evidence, Options, Target, claim};

const RATIO: &str = "ratio";

const LEAST: Target = Target::AtLeast(0.999);

pub(super) const ZONES: &[Claim] = &[
    claim(
        "T6.attempts.refused",
        "second attempts that succeed while one of 3 zones refuses connections, 4 workers; every attempt is seen",
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
];

const BASELINES: [&str; 2] = ["round_robin", "finagle"];

/// What came of the second attempts of a run.
#[derive(Debug, Clone, Copy)]
struct Second {
    attempts: f64,
    successes: f64,
}

pub(super) fn zones(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let refused = Lab::new()?.load("zone-down")?;
    let hangs = refused.change(|scenario| {
        replace(scenario, &State::Hangs);
    });
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
    let runs = measure(&scenarios, options, |_, record| {
        let second = record
            .requests
            .iter()
            .filter(|seen| seen.endpoints.len() == 2);
        let mut counted = Second {
            attempts: 0.0,
            successes: 0.0,
        };
        for seen in second {
            counted.attempts += 1.0;
            counted.successes += f64::from(u8::from(seen.succeeded));
        }
        counted
    })?;
    // A run in which nobody needed a second attempt shows nothing: it is no number.
    let share = |second: &Second| second.successes / second.attempts;
    let mut evidence = Vec::new();
    for (variant, _) in &variants {
        for mode in Mode::BOTH {
            let name = format!("{mode:?}.{variant}");
            let mut ours = runs.mean(&name, share)?;
            ours = ours.beside(
                "second attempts",
                runs.mean(&name, |it| it.attempts)?.figure,
            );
            let ours = runs.beside(ours, &format!("{variant}."), &BASELINES, share)?;
            evidence.push(ours);
        }
    }
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
