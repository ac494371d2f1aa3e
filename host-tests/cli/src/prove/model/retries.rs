//! Retries without plugins: how many attempts they make of a request, and how many requests they save.

use std::collections::BTreeMap;

use anyhow::Context;
use tidegate_model::units::Ratio;

use super::{Runs, Tally, derived, load, published, run, variants};
use crate::prove::{Claim, Evidence, Options, Target};

const ATTEMPTS: &str = "attempts per request";
const SUCCESS: &str = "ratio";

/// With failures at a rate `p` and `n` retries: attempts (1 − p^(n+1)) / (1 − p), success 1 − p^(n+1).
///
/// The published figures of plain retries (1.011, 1.111, 1.248, 1.877, 4.000; 100, 99.98, 99.85, 93.8, 0; and 1.11,
/// 99.89, 3.0 with two) are one simulated run: what the formula gives instead is in each claim. gRPC's have no
/// formula.
pub(super) const AMPLIFICATION: &[Claim] = &[
    derived(
        "retries.plain_3.1",
        "attempts with 1 % failures and 3 retries; published as 1.011, one run's chance",
        ATTEMPTS,
        1.010_101,
    ),
    Claim {
        id: "retries.plain_3.1.success",
        what: "success with them, 1 − 10⁻⁸",
        unit: SUCCESS,
        target: Target::Within {
            value: 1.0,
            tolerance: 1e-5,
        },
    },
    derived("retries.plain_3.10", "attempts with 10 %", ATTEMPTS, 1.111),
    derived(
        "retries.plain_3.10.success",
        "success with them; published as 99.98 %, one run's chance",
        SUCCESS,
        0.9999,
    ),
    derived("retries.plain_3.20", "attempts with 20 %", ATTEMPTS, 1.248),
    derived(
        "retries.plain_3.20.success",
        "success with them; published as 99.85 %",
        SUCCESS,
        0.9984,
    ),
    derived(
        "retries.plain_3.50",
        "attempts with 50 %; published as 1.877, one run's chance",
        ATTEMPTS,
        1.875,
    ),
    derived(
        "retries.plain_3.50.success",
        "success with them; published as 93.8 %",
        SUCCESS,
        0.9375,
    ),
    derived("retries.plain_3.100", "attempts with 100 %", ATTEMPTS, 4.0),
    derived(
        "retries.plain_3.100.success",
        "success with them",
        SUCCESS,
        0.0,
    ),
    derived(
        "retries.plain_2.10",
        "attempts with 10 % and 2 retries",
        ATTEMPTS,
        1.11,
    ),
    derived(
        "retries.plain_2.10.success",
        "success with them; published as 99.89 %, one run's chance",
        SUCCESS,
        0.999,
    ),
    derived(
        "retries.plain_2.100",
        "attempts with 100 % and 2 retries",
        ATTEMPTS,
        3.0,
    ),
    published(
        "retries.grpc.1",
        "attempts with 1 % and gRPC's throttling (10 tokens, ratio 0.1)",
        ATTEMPTS,
        1.011,
        0.001,
    ),
    published(
        "retries.grpc.1.success",
        "success with them",
        SUCCESS,
        1.0,
        0.01,
    ),
    published(
        "retries.grpc.10",
        "attempts with 10 % and gRPC's throttling",
        ATTEMPTS,
        1.023,
        0.001,
    ),
    published(
        "retries.grpc.10.success",
        "success with them",
        SUCCESS,
        0.920,
        0.001,
    ),
    published(
        "retries.grpc.20",
        "attempts with 20 % and gRPC's throttling",
        ATTEMPTS,
        1.000,
        0.001,
    ),
    published(
        "retries.grpc.20.success",
        "success with them",
        SUCCESS,
        0.800,
        0.001,
    ),
    published(
        "retries.grpc.50",
        "attempts with 50 % and gRPC's throttling",
        ATTEMPTS,
        1.000,
        0.001,
    ),
    published(
        "retries.grpc.50.success",
        "success with them",
        SUCCESS,
        0.501,
        0.001,
    ),
    published(
        "retries.grpc.100",
        "attempts with 100 % and gRPC's throttling",
        ATTEMPTS,
        1.000,
        0.001,
    ),
    published(
        "retries.grpc.100.success",
        "success with them",
        SUCCESS,
        0.0,
        0.001,
    ),
];

/// Share of failures in percent.
const PERCENTS: [u8; 5] = [1, 10, 20, 50, 100];

fn attempts(tally: &Tally) -> f64 {
    tally.per_request(tally.attempts)
}

fn success(tally: &Tally) -> f64 {
    tally.per_request(tally.succeeded)
}

pub(super) fn amplification(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let loaded = load("amplification")?;
    let mut scenarios = BTreeMap::new();
    for percent in PERCENTS {
        let mut changed = loaded.clone();
        let ratio = Ratio::try_new(f64::from(percent) / 100.0).map_err(anyhow::Error::msg)?;
        let endpoints = changed
            .scenario
            .clusters
            .iter_mut()
            .flat_map(|cluster| &mut cluster.endpoints);
        for errors in endpoints.flat_map(|endpoint| &mut endpoint.errors) {
            errors.ratio = ratio;
        }
        for (name, variant) in variants(&changed) {
            if !name.is_empty() {
                scenarios.insert((name, percent), variant);
            }
        }
    }
    let runs = run(&scenarios, 5, options)?;
    let of = |name: &str, percent, figure: fn(&Tally) -> f64| -> anyhow::Result<Evidence> {
        let runs: &Runs = runs
            .get(&(name.to_owned(), percent))
            .context("no such baseline")?;
        Ok(runs.mean(figure))
    };
    let mut evidence = Vec::new();
    for percent in PERCENTS {
        for figure in [attempts, success] {
            evidence.push(
                of("plain_3", percent, figure)?
                    .beside("Envoy's budget", of("envoy", percent, figure)?.figure)
                    .beside("Finagle's budget", of("finagle", percent, figure)?.figure),
            );
        }
    }
    evidence.push(of("plain_2", 10, attempts)?);
    evidence.push(of("plain_2", 10, success)?);
    evidence.push(of("plain_2", 100, attempts)?);
    for percent in PERCENTS {
        for figure in [attempts, success] {
            evidence.push(of("grpc", percent, figure)?);
        }
    }
    Ok(evidence)
}

/// Three retries at a time that take `S` each, of failures that come independently, are Erlang's loss system with
/// three servers: of `λ` failures a second `λ·(1 − B)` are repeated, `B = (a³/6) / (1 + a + a²/2 + a³/6)`, `a = λ·S`.
/// Envoy draws a back-off of 0 to 24 whole milliseconds, 12 ms in the mean: `S` is 13 ms and 5.012 s.
///
/// The published 222 and 0.6 are 3 / 13.5 ms and 3 / 5.0125 s: what passes if failures never end (which at 5 s would
/// raise the share above the floor), and with a back-off of 12.5 ms.
pub(super) const FLOOR: &[Claim] = &[
    derived(
        "floor.1ms",
        "retries that Envoy's floor of 3 lets through of 1000 failures/s of 1 ms; published as 222, its limit",
        "retries per second",
        211.980,
    ),
    derived(
        "floor.5s",
        "the same of 1 failure/s of 5 s; published as 0.6, its limit",
        "retries per second",
        0.469_52,
    ),
];

pub(super) fn floor(options: Options) -> anyhow::Result<Vec<Evidence>> {
    ["retry-floor-1ms", "retry-floor-5s"]
        .into_iter()
        .map(|name| {
            let loaded = load(name)?;
            let seconds = loaded.scenario.duration.seconds();
            let runs = run(&BTreeMap::from([((), loaded)]), 5, options)?;
            let runs = runs.get(&()).context("nothing was run")?;
            Ok(runs.mean(|tally| super::as_figure(tally.attempts - tally.requests) / seconds))
        })
        .collect()
}
