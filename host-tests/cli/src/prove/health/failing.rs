//! T2: an endpoint that fails quickly is the most attractive to whoever goes by latency or load alone.

use super::lab::{Lab, in_both_modes, next_to};
use super::{Claim, Evidence, Options, SEEDS, Target, claim};

const RATIO: &str = "ratio";

const MOST: Target = Target::AtMost(0.0005);

pub(super) const FAILING: &[Claim] = &[
    claim(
        "T2.attempts.w1",
        "requests that fail, one of 10 endpoints failing in 1 ms, the others taking 50 ms; every attempt is seen, 1 worker",
        RATIO,
        MOST,
    ),
    claim(
        "T2.requests.w1",
        "the same; the last attempt is seen",
        RATIO,
        MOST,
    ),
    claim("T2.attempts.w16", "every attempt, 16 workers", RATIO, MOST),
    claim(
        "T2.requests.w16",
        "the last attempt, 16 workers",
        RATIO,
        MOST,
    ),
    claim(
        "T2.attempts.100rps",
        "every attempt, 1 worker, a tenth of the requests: as many fail until it is ejected",
        RATIO,
        Target::Stated,
    ),
    claim(
        "T2.requests.100rps",
        "the last attempt, likewise",
        RATIO,
        Target::Stated,
    ),
];

const BASELINES: [&str; 6] = [
    "round_robin",
    "least_request",
    "least_loaded",
    "ingress_nginx",
    "finagle",
    "traefik",
];

pub(super) fn failing(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let setting = Lab::new()?.load("failing-endpoint")?;
    let variants = [
        (setting.workers(1), &BASELINES[..], SEEDS),
        // Each of so many workers meets the failing endpoint by itself: how often depends more on chance.
        (setting.workers(16), &["finagle"], 2 * SEEDS),
        (setting.workers(1).rate(100.0), &BASELINES, SEEDS),
    ];
    let mut evidence = Vec::new();
    for (setting, baselines, seeds) in &variants {
        let runs = in_both_modes(setting, baselines, *seeds, options, |record| {
            record.share(|seen| !seen.succeeded)
        })?;
        evidence.extend(next_to(&runs, baselines)?);
    }
    Ok(evidence)
}
