//! Sessions and health together: a session stays where it began for as long as its endpoint serves, and everybody else goes by health.

use std::collections::BTreeMap;

use anyhow::Result;
use tidegate_e2e::clients::http::Client;
use tidegate_e2e::endpoints::{Conduct, Plan, Rig, Shipped};
use tidegate_e2e::health::chain;
use tidegate_e2e::wait;

use crate::affinity::served_by;

/// Begins sessions until each backend has so many.
async fn sessions(rig: &Rig, each: usize) -> Result<Vec<(Client, String)>> {
    let mut counts = BTreeMap::<String, usize>::new();
    let mut sessions = Vec::new();
    wait::until("every endpoint has sessions", async || {
        let mut client = rig.client()?;
        let home = served_by(&mut client, "/").await?;
        let count = counts.entry(home.clone()).or_default();
        if *count < each {
            *count += 1;
            sessions.push((client, home));
        }
        Ok((sessions.len() == each * rig.backends.len()).then_some(()))
    })
    .await?;
    Ok(sessions)
}

/// Sessions stay, and those of an endpoint that fails move to one that does not, and stay there.
async fn sessions_follow(mut rig: Rig) -> Result<()> {
    let all = [0, 1, 2, 3, 4];
    rig.picture_is(&all.map(|index| (index, "available")))
        .await?;
    let mut sessions = sessions(&rig, 4).await?;
    for (client, home) in &mut sessions {
        for _ in 0..4 {
            client.disconnect();
            assert_eq!(&served_by(client, "/").await?, home);
        }
    }
    let sick = rig.backends[0].address().to_string();
    rig.backends[0].behave(Conduct {
        status: 500,
        ..Conduct::takes_ms(1)
    });
    // Its own sessions find out: its probes say nothing.
    wait::until("the endpoint is ejected", async || {
        for (client, _) in sessions.iter_mut().filter(|(_, home)| *home == sick) {
            client.get("/").await?;
        }
        let picture = rig.picture().await?;
        let endpoints = picture["clusters"][0]["endpoints"].as_array().cloned();
        let is_out = endpoints
            .iter()
            .flatten()
            .any(|endpoint| endpoint["address"] == sick.as_str() && endpoint["state"] == "ejected");
        Ok(is_out.then_some(()))
    })
    .await?;
    let ejected = all.map(|index| (index, if index == 0 { "ejected" } else { "available" }));
    rig.picture_is(&ejected).await?;
    for (client, home) in &mut sessions {
        client.disconnect();
        let now = served_by(client, "/").await?;
        if *home == sick {
            assert_ne!(now, sick);
            *home = now;
        }
        for _ in 0..4 {
            client.disconnect();
            assert_eq!(&served_by(client, "/").await?, home);
        }
    }
    let counted = super::counted(&rig, "requests_total.reason").await?;
    assert!(
        counted.get("session") >= Some(&100),
        "sessions are not known as such: {counted:?}"
    );
    let log = rig.envoy.log();
    assert!(
        !log.contains("panicked") && !log.contains("Function: proxy_on_"),
        "a VM died"
    );
    rig.envoy.stop().await
}

#[tokio::test]
async fn two_modules_agree_by_the_plan_of_the_stream() -> Result<()> {
    sessions_follow(chain::start(&Plan::of(5)).await?).await
}

#[tokio::test]
async fn both_filters_in_one_module_agree_in_memory() -> Result<()> {
    let plan = Plan::shipped(Shipped::STACK, 5);
    sessions_follow(Rig::start(&plan).await?).await
}
