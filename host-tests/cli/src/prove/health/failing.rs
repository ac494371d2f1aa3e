//! T2: an endpoint that fails quickly is the most attractive to whoever goes by latency or load alone.

use std::collections::BTreeMap;

use super::lab::{Lab, Mode, measure};
use super::{Claim, Evidence, Options, Target, claim};

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
        ("w1", setting.workers(1), &BASELINES[..]),
        ("w16", setting.workers(16), &["finagle"]),
        ("100rps", setting.workers(1).rate(100.0), &BASELINES),
    ];
    let mut scenarios = BTreeMap::new();
    for (variant, setting, baselines) in &variants {
        for mode in Mode::BOTH {
            scenarios.insert(format!("{mode:?}.{variant}"), setting.ours(mode));
        }
        for (name, baseline) in setting.baselines(baselines) {
            scenarios.insert(format!("{variant}.{name}"), baseline);
        }
    }
    let runs = measure(&scenarios, options, |_, record| {
        record.share(|seen| !seen.succeeded)
    })?;
    let mut evidence = Vec::new();
    for (variant, _, baselines) in &variants {
        for mode in Mode::BOTH {
            let ours = runs.mean(&format!("{mode:?}.{variant}"), |share| *share)?;
            evidence.push(runs.beside(ours, &format!("{variant}."), baselines, |share| *share)?);
        }
    }
    Ok(evidence)
}
