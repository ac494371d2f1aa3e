//! Endpoints that a server lists.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use serde_json::{Value, json};
use tidegate_e2e::bootstrap::Bootstrap;
use tidegate_e2e::endpoints::{ADMIN_CLUSTER, Plan, Rig};
use tidegate_e2e::upstream::Answer;
use tidegate_e2e::wait;

use super::faults::says;
use super::{cookie, sessions_on, spread};
use crate::affinity::served_by;

/// As many endpoints as a feed may list.
const MANY: usize = 10_000;

/// Adds a cluster that leads to the feed, like the one that leads to the admin.
fn with_feed(bootstrap: &mut Bootstrap, address: SocketAddr) -> Result<()> {
    let mut cluster = bootstrap.cluster(ADMIN_CLUSTER)?.clone();
    cluster["name"] = json!("endpoint_feed");
    cluster["load_assignment"]["cluster_name"] = json!("endpoint_feed");
    if let Some(clusters) = bootstrap.at("/static_resources/clusters")?.as_array_mut() {
        clusters.push(cluster);
    }
    bootstrap.endpoints("endpoint_feed", &[address])?;
    Ok(())
}

/// Lists the backends, one of them with this health, and strangers that serve nobody.
fn list(backends: &[SocketAddr], last_is: &str) -> String {
    let own = backends.iter().enumerate().map(|(index, address)| {
        let health = if index + 1 == backends.len() {
            last_is
        } else {
            "healthy"
        };
        json!({ "address": address.to_string(), "health": health })
    });
    let strangers = (0..MANY - backends.len()).map(|index| {
        let address = format!("10.{}.{}.1:80", index / 250, index % 250);
        json!({ "address": address, "health": "unhealthy" })
    });
    let endpoints: Vec<Value> = own.chain(strangers).collect();
    json!({ "version": 1, "clusters": [{ "name": "echo", "endpoints": endpoints }] }).to_string()
}

#[tokio::test]
async fn a_feed_of_ten_thousand_endpoints_is_followed() -> Result<()> {
    let text = Arc::new(Mutex::new(String::new()));
    let feed = {
        let text = Arc::clone(&text);
        says(move |_| {
            Answer::new(
                200,
                text.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            )
        })
    };
    let feed = feed.await?;
    let plan = Plan::of(4).with_block(&json!({
        "source": { "feed": { "cluster": "endpoint_feed", "path": "/endpoints", "interval": "1s", "timeout": "1s" } },
        "probe": null,
    }));
    let mut rig =
        Rig::start_edited(&plan, |bootstrap| with_feed(bootstrap, feed.address())).await?;
    let backends: Vec<SocketAddr> = rig
        .backends
        .iter()
        .map(tidegate_e2e::endpoints::Backend::address)
        .collect();
    let say = |last_is: &str| {
        *text.lock().unwrap_or_else(PoisonError::into_inner) = list(&backends, last_is);
    };
    say("healthy");
    wait::until("the picture has all of them", async || {
        let picture = rig.picture().await?;
        Ok((picture["clusters"][0]["endpoints_total"] == MANY).then_some(()))
    })
    .await?;
    let mut session = sessions_on(&rig, 3, 1).await?.remove(0);
    let home = backends[3].to_string();
    say("draining");
    let before = cookie(&session)?;
    wait::until("the session is handed over", async || {
        served_by(&mut session, "/").await?;
        Ok((cookie(&session)? != before).then_some(()))
    })
    .await?;
    assert_ne!(served_by(&mut session, "/").await?, home);
    assert!(!spread(&rig, 20).await?.contains_key(&home));
    assert!(
        rig.admin.asked().is_empty(),
        "the admin is nobody's business here"
    );
    rig.envoy.stop().await
}
