//! Bad answers of the admin, and bad neighbours: the last good picture stays, ages visibly, and requests do without it at last.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::Method;
use serde_json::json;
use tidegate_e2e::bootstrap::Bootstrap;
use tidegate_e2e::clients::http::{Client, Request};
use tidegate_e2e::discovery::Health::Healthy;
use tidegate_e2e::endpoints::{Plan, Rig};
use tidegate_e2e::upstream::{Answer, Received, Script, Upstream};
use tidegate_e2e::{sticky, wait};

use super::{cookie, sessions_on};
use crate::affinity::served_by;

/// A way in which an admin may be wrong, and what it says then.
struct Fault {
    name: &'static str,
    play: fn(&Received) -> Option<Answer>,
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "garbage",
        play: |_| Some(Answer::new(200, vec![0xa5; 5_000])),
    },
    Fault {
        name: "truncated",
        play: |_| {
            let list = r#"{"cluster_statuses":[{"name":"echo","host_statuses":[{"address":{"socket_address":{"address":"10.0.0."#;
            Some(Answer::new(200, list))
        },
    },
    Fault {
        name: "10 MB",
        play: |_| Some(Answer::new(200, vec![b' '; 10 << 20])),
    },
    Fault {
        name: "503",
        play: |_| Some(Answer::new(503, "no")),
    },
    Fault {
        name: "never",
        play: |_| {
            Some(Answer {
                delay: Duration::from_secs(3600),
                ..Answer::new(200, "")
            })
        },
    },
    Fault {
        name: "another cluster",
        play: |received| {
            // The counters too are another's.
            let list = json!({ "cluster_statuses": [{ "name": "other", "host_statuses": [] }] });
            let text = if received.path.starts_with("/clusters") {
                list.to_string()
            } else {
                "cluster.other.membership_total: 7\n".to_owned()
            };
            Some(Answer::new(200, text))
        },
    },
];

/// One fault from its beginning to the recovery.
async fn endures(fault: &Fault) -> Result<()> {
    let plan = Plan::of(3).with_block(&json!({
        "stale_after": "5s",
        "source": { "admin": { "interval": "1s", "refresh": "5s" } },
    }));
    let mut rig = Rig::start(&plan).await?;
    rig.picture_is(&[0, 1, 2].map(|index| (index, "available")))
        .await?;
    let mut session = sessions_on(&rig, 1, 1).await?.remove(0);
    let home = rig.backends[1].address().to_string();
    rig.admin.play(fault.play);
    // Whatever is said, nobody is moved: neither while the picture is young enough nor later.
    let (stale, before) = (sticky::requests("pinned_stale_picture"), cookie(&session)?);
    wait::until(
        "requests do without a picture that is too old",
        async || {
            session.disconnect();
            assert_eq!(served_by(&mut session, "/").await?, home);
            let stats = rig.envoy.stats().await?;
            let stale = stats
                .iter()
                .any(|(name, value)| name.ends_with(&stale) && *value > 0);
            Ok(stale.then_some(()))
        },
    )
    .await?;
    assert_eq!(cookie(&session)?, before);
    rig.admin.play_no_more();
    rig.publish(&[(0, Healthy), (1, Healthy)])?;
    rig.picture_is(&[(0, "available"), (1, "available"), (2, "vanished")])
        .await?;
    assert_eq!(served_by(&mut session, "/").await?, home);
    rig.envoy.stop().await
}

#[tokio::test]
async fn an_admin_that_is_wrong_costs_the_picture_its_youth_and_nothing_else() -> Result<()> {
    // All at a time, since what they do most is wait.
    let all = FAULTS
        .iter()
        .map(async |fault| endures(fault).await.context(fault.name));
    for outcome in futures_util::future::join_all(all).await {
        outcome?;
    }
    Ok(())
}

/// Puts the neighbour in front of the plugin, with the same `vm_id` and the same `endpoints` block.
pub(super) fn with_neighbour(bootstrap: &mut Bootstrap) -> Result<()> {
    let module = tidegate_cli::build::module_path("neighbour")?;
    let block = bootstrap.plugin_configuration(tidegate_e2e::bootstrap::STICKY_SESSION)?;
    let block = block.get("endpoints").context("no `endpoints`")?.clone();
    let filters = bootstrap.http_filters()?;
    let at = filters
        .iter()
        .position(|filter| filter["name"] == tidegate_e2e::bootstrap::STICKY_SESSION)
        .context("no plugin")?;
    let mut neighbour = filters[at].clone();
    neighbour["name"] = json!("neighbour");
    let plugin = &mut neighbour["typed_config"]["config"];
    plugin["name"] = json!("neighbour");
    plugin["root_id"] = json!("neighbour");
    plugin["vm_config"]["code"]["local"]["filename"] = json!(module);
    plugin["configuration"]["value"] = json!(block.to_string());
    filters.insert(at, neighbour);
    Ok(())
}

/// Orders the neighbour about.
pub(super) async fn order(client: &mut Client, order: &str) -> Result<()> {
    let request = Request::new(Method::GET, "/").header("x-neighbour", order);
    assert_eq!(client.send(request).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_neighbour_that_writes_nonsense_under_our_keys_moves_nobody() -> Result<()> {
    let mut rig = Rig::start_edited(&Plan::of(3), with_neighbour).await?;
    rig.picture_is(&[0, 1, 2].map(|index| (index, "available")))
        .await?;
    let mut session = sessions_on(&rig, 2, 1).await?.remove(0);
    let (home, before) = (rig.backends[2].address().to_string(), cookie(&session)?);
    order(&mut session, "scribble").await?;
    let probes: usize = rig.backends[0].probes().len();
    wait::until("it has scribbled for some seconds", async || {
        session.disconnect();
        assert_eq!(served_by(&mut session, "/").await?, home);
        Ok((rig.backends[0].probes().len() > probes + 4).then_some(()))
    })
    .await?;
    assert_eq!(cookie(&session)?, before);
    order(&mut session, "rest").await?;
    rig.publish(&[(0, Healthy), (2, Healthy)])?;
    rig.picture_is(&[(0, "available"), (1, "vanished"), (2, "available")])
        .await?;
    assert!(
        !rig.envoy.log().contains("Function: proxy_on_"),
        "a VM died"
    );
    rig.envoy.stop().await
}

/// A server that says the same to everybody.
pub(super) async fn says(
    answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
) -> Result<Upstream> {
    let script: Script = Arc::new(answer);
    Upstream::scripted(script).await
}
