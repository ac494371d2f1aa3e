//! The same module behind the router: what it sees of attempts, in a VM of its own and in one that it shares with the listener's.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tidegate_e2e::bootstrap::Bootstrap;
use tidegate_e2e::endpoints::{Plan, Rig};
use tidegate_e2e::{sticky, wait};

use super::sessions_on;
use crate::affinity::served_by;

/// Counts callbacks that came while another one ran in the same VM.
const REENTERED: &str = "wasmcustom.tidegate_sticky_session_reentered_total";

/// Three endpoints that are probed every second.
fn probed() -> Plan {
    Plan::of(3).with_block(&json!({ "probe": { "interval": "1s", "timeout": "500ms" } }))
}

/// Gives the cluster's filter the VM of the listener's.
fn share_the_vm(bootstrap: &mut Bootstrap) -> Result<()> {
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let cluster = bootstrap.cluster(sticky::CLUSTER)?;
    let plugin = &mut cluster["typed_extension_protocol_options"][options]["http_filters"][0]["typed_config"]
        ["config"];
    let name = plugin
        .pointer_mut("/vm_config/configuration/value")
        .context("the VM has no configuration")?;
    *name = json!("listener");
    Ok(())
}

/// The latencies that the picture has, of those endpoints that have one.
async fn latencies(rig: &Rig) -> Result<usize> {
    let picture = rig.picture().await?;
    let endpoints = picture["clusters"][0]["endpoints"].as_array().cloned();
    let known = |endpoint: &Value| endpoint.get("latency_us").is_some_and(Value::is_u64);
    Ok(endpoints
        .unwrap_or_default()
        .iter()
        .filter(|e| known(e))
        .count())
}

#[tokio::test]
async fn attempts_are_seen_behind_the_router_and_probes_are_not() -> Result<()> {
    let mut rig = Rig::start(&probed()).await?;
    rig.picture_is(&[0, 1, 2].map(|index| (index, "available")))
        .await?;
    wait::until("every endpoint was probed three times", async || {
        Ok((rig.probes().len() >= 9).then_some(()))
    })
    .await?;
    assert_eq!(latencies(&rig).await?, 0, "a probe counted as an attempt");
    let mut sessions = sessions_on(&rig, 1, 2).await?;
    wait::until(
        "the picture has the latency of an endpoint that served",
        async || {
            for client in &mut sessions {
                served_by(client, "/").await?;
            }
            Ok((latencies(&rig).await? > 0).then_some(()))
        },
    )
    .await?;
    let stats = rig.envoy.stats().await?;
    assert_eq!(stats.get(REENTERED).copied().unwrap_or_default(), 0);
    rig.envoy.stop().await
}

#[tokio::test]
async fn probes_that_enter_the_vm_that_sent_them_trap_nothing() -> Result<()> {
    let mut rig = Rig::start_edited(&probed(), share_the_vm).await?;
    let mut sessions = sessions_on(&rig, 1, 2).await?;
    wait::until(
        "callbacks came while others ran, and every request was served",
        async || {
            for client in &mut sessions {
                served_by(client, "/").await?;
            }
            let stats = rig.envoy.stats().await?;
            Ok((stats.get(REENTERED) > Some(&6)).then_some(()))
        },
    )
    .await?;
    let log = rig.envoy.log();
    assert!(!log.contains("panicked"), "a VM died");
    assert!(!log.contains("proxy_on_tick failed"), "a VM died");
    rig.envoy.stop().await
}
