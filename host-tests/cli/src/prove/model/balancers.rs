//! Load balancers without plugins, at a slow endpoint and at one that fails quickly.

use std::collections::BTreeMap;

use anyhow::Context;
use tidegate_model::scenario::Latency;

use super::{Runs, Tally, load, published, run, variants};
use crate::prove::{Claim, Evidence, Options};
use crate::scenario::LoadedScenario;

pub(super) const SLOW: &[Claim] = &[
    published(
        "T1.round_robin",
        "requests over 1 s, one of 11 endpoints at 2 s for half of the time: Envoy's round robin",
        "ratio",
        0.0455,
        0.0001,
    ),
    published(
        "T1.least_loaded",
        "the same: the less loaded of two distinct choices",
        "ratio",
        0.0051,
        0.0001,
    ),
    published(
        "T1.ingress_nginx",
        "the same: the EWMA of ingress-nginx",
        "ratio",
        0.0120,
        0.0001,
    ),
    published(
        "T1.finagle",
        "the same: Finagle's peak EWMA; with latencies that scatter by σ = 0.05, for it depends on them",
        "ratio",
        0.000_79,
        0.000_01,
    ),
    published(
        "T1.finagle.w16",
        "the same with 16 workers that know nothing of each other",
        "ratio",
        0.001_32,
        0.000_01,
    ),
];

/// Share of requests that took longer than a second.
fn slow_share(tally: &Tally) -> f64 {
    tally.per_request(tally.slow)
}

pub(super) fn slow(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let loaded = load("slow-endpoint")?;
    let mut scenarios = variants(&loaded);
    let finagle = scenarios
        .get("finagle")
        .context("no such baseline")?
        .clone();
    let mut add = |name: &str, workers, sigma| {
        let mut changed = finagle.clone();
        changed.scenario.workers = workers;
        if let Some(sigma) = sigma {
            scatter(&mut changed, sigma);
        }
        scenarios.insert(name.to_owned(), changed);
    };
    add("finagle.w16", 16, None);
    add("finagle.constant", 1, Some(0.0));
    add("finagle.scattered", 1, Some(0.3));
    let runs = run(&scenarios, 5, options)?;
    let share = |name| evidence(&runs, name, slow_share);
    let least_request = share("least_request")?.figure;
    Ok(vec![
        share("")?,
        share("least_loaded")?.beside("Envoy's least_request", least_request),
        share("ingress_nginx")?,
        share("finagle")?
            .beside("σ = 0", share("finagle.constant")?.figure)
            .beside("σ = 0.3", share("finagle.scattered")?.figure),
        share("finagle.w16")?,
    ])
}

/// Changes how much the latencies of all endpoints scatter.
fn scatter(loaded: &mut LoadedScenario, wanted: f64) {
    for endpoint in loaded
        .scenario
        .clusters
        .iter_mut()
        .flat_map(|cluster| &mut cluster.endpoints)
    {
        if let Latency::LogNormal { sigma, .. } = &mut endpoint.latency {
            *sigma = wanted;
        }
    }
}

pub(super) const FAILING: &[Claim] = &[
    published(
        "T2.round_robin",
        "requests that fail, one of 10 endpoints failing in 1 ms, the others taking 50 ms: Envoy's round robin",
        "ratio",
        0.10,
        0.01,
    ),
    published(
        "T2.finagle",
        "the same: Finagle's peak EWMA",
        "ratio",
        0.20,
        0.01,
    ),
    published(
        "T2.ingress_nginx",
        "the same: the EWMA of ingress-nginx",
        "ratio",
        0.20,
        0.01,
    ),
    published(
        "T2.traefik",
        "the same: Traefik's least time; until each endpoint has answered once it takes turns",
        "ratio",
        1.00,
        0.01,
    ),
];

/// Share of requests that failed.
fn failed_share(tally: &Tally) -> f64 {
    1.0 - tally.per_request(tally.succeeded)
}

pub(super) fn failing(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let runs = run(&variants(&load("failing-endpoint")?), 5, options)?;
    let share = |name| evidence(&runs, name, failed_share);
    let least_request = share("least_request")?.figure;
    Ok(vec![
        share("")?.beside("Envoy's least_request", least_request),
        share("finagle")?.beside("least loaded", share("least_loaded")?.figure),
        share("ingress_nginx")?,
        share("traefik")?,
    ])
}

fn evidence(
    runs: &BTreeMap<String, Runs>,
    name: &str,
    figure: fn(&Tally) -> f64,
) -> anyhow::Result<Evidence> {
    let runs = runs
        .get(name)
        .with_context(|| format!("no baseline `{name}`"))?;
    Ok(runs.mean(figure))
}
