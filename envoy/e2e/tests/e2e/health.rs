//! Routing by health in the real Envoy with two workers: every request goes to an endpoint that will serve it soon.
//!
//! What is promised of latencies and shares is tried beside `least_request` in the same Envoy, under the same load, and judged by
//! the ratio of the two: a machine that is busy is busy for both.

#![expect(
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too, and a JSON value gets a field that it lacks"
)]

mod honour;
mod panic;
mod proofs;
mod sessions;
mod sockets;

use std::collections::BTreeMap;

use anyhow::Result;
use tidegate_e2e::endpoints::Rig;

/// Returns the sum of the counters of a kind by their label: `requests_total.reason` or `answers_total.honoured`.
async fn counted(rig: &Rig, kind: &str) -> Result<BTreeMap<String, u64>> {
    let prefix = format!("wasmcustom.tidegate_health_routing_{kind}.");
    let stats = rig.envoy.stats().await?;
    let labelled = stats
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(&prefix)?.to_owned(), *value)));
    Ok(labelled.filter(|(_, value)| *value > 0).collect())
}
