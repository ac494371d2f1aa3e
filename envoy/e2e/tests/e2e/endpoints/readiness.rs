//! How endpoints fare: probes that go past the traffic.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use tidegate_e2e::endpoints::{NOTICED_AFTER, Plan, Readiness, Rig};
use tidegate_e2e::{sticky, wait};

use super::{cookie, sessions_on, spread};
use crate::affinity::served_by;

/// The documented thresholds, which the shipped configuration has.
fn documented() -> Plan {
    Plan::of(3).with_block(&json!({
        "probe": { "interval": "5s", "timeout": "3s", "unhealthy_after": 3, "healthy_after": 2 },
    }))
}

/// Sends a new session, and the requests of old ones, and says whether none of them reached the backend.
async fn avoids(
    rig: &Rig,
    backend: usize,
    old: &mut [tidegate_e2e::clients::http::Client],
) -> Result<bool> {
    let address = rig.backends[backend].address().to_string();
    let mut avoided = true;
    for client in old {
        client.disconnect();
        avoided &= served_by(client, "/").await? != address;
    }
    for _ in 0..6 {
        let mut client = rig.client()?;
        avoided &= served_by(&mut client, "/").await? != address;
    }
    Ok(avoided)
}

#[tokio::test]
async fn an_endpoint_that_is_not_ready_gets_no_request_after_16_seconds_and_is_back_after_2_successes()
-> Result<()> {
    let mut rig = Rig::start(&documented()).await?;
    rig.picture_is(&[0, 1, 2].map(|index| (index, "available")))
        .await?;
    let mut old = sessions_on(&rig, 0, 2).await?;
    let sick = &rig.backends[0];
    sick.set(Readiness::NotReady);
    let probes_before = sick.probes().len();
    // Its traffic succeeds all the while: nothing but its own word speaks against it.
    let mut rounds = 0;
    wait::until(
        "nobody is sent to an endpoint that is not ready",
        async || {
            rounds = if avoids(&rig, 0, &mut old).await? {
                rounds + 1
            } else {
                0
            };
            Ok((rounds > 20).then_some(()))
        },
    )
    .await?;
    let failed: Vec<Instant> = sick
        .probes()
        .iter()
        .skip(probes_before)
        .map(|probe| probe.at)
        .collect();
    let last = sick.requests().last().context("it was never used")?.at;
    let first = *failed.first().context("no probe failed")?;
    let used_for = last.saturating_duration_since(first);
    println!(
        "failed probes: {}, used for {used_for:?} after the first",
        failed.len()
    );
    assert!(failed.len() >= 3, "one failure is no proof");
    assert!(
        used_for <= NOTICED_AFTER,
        "used for {used_for:?} after its first failed probe"
    );
    assert!(
        used_for > Duration::from_secs(5),
        "after {used_for:?} there cannot have been three failures"
    );
    // It is ready again.
    let probes_before = sick.probes().len();
    sick.set(Readiness::Ready);
    let address = sick.address().to_string();
    wait::until("the endpoint gets new sessions again", async || {
        Ok(spread(&rig, 6).await?.contains_key(&address).then_some(()))
    })
    .await?;
    assert!(
        sick.probes().len() >= probes_before + 2,
        "it was back too early"
    );
    // Those who left stay where they are.
    assert!(avoids_old(&mut old, &address).await?);
    rig.envoy.stop().await
}

async fn avoids_old(
    old: &mut [tidegate_e2e::clients::http::Client],
    address: &str,
) -> Result<bool> {
    for client in old {
        client.disconnect();
        if served_by(client, "/").await? == address {
            return Ok(false);
        }
    }
    Ok(true)
}

#[tokio::test]
async fn probes_come_once_an_interval_from_an_envoy_however_many_workers_it_has() -> Result<()> {
    const PROBES: u32 = 6;
    let mut plan = Plan::of(3);
    plan.workers = 4;
    let mut rig = Rig::start(&plan).await?;
    wait::until("each endpoint was probed several times", async || {
        let all = rig
            .backends
            .iter()
            .all(|backend| backend.probes().len() > PROBES as usize);
        Ok(all.then_some(()))
    })
    .await?;
    for backend in &rig.backends {
        let probes = backend.probes();
        // The first one may be the last of a leader that was relieved.
        let (first, last) = (probes[1].at, probes[PROBES as usize].at);
        let between = last.saturating_duration_since(first) / (PROBES - 1);
        println!("one probe in {between:?}");
        assert!(
            between >= Duration::from_millis(900),
            "one probe in {between:?}"
        );
    }
    rig.envoy.stop().await
}

#[tokio::test]
async fn an_endpoint_that_says_that_it_drains_gets_nothing_new_and_hands_over() -> Result<()> {
    let mut rig = Rig::start(&Plan::of(3)).await?;
    rig.picture_is(&[0, 1, 2].map(|index| (index, "available")))
        .await?;
    let mut old = sessions_on(&rig, 0, 4).await?;
    rig.backends[0].set(Readiness::Draining(60));
    rig.picture_is(&[(0, "draining"), (1, "available"), (2, "available")])
        .await?;
    let home = rig.backends[0].address().to_string();
    assert!(
        !spread(&rig, 30).await?.contains_key(&home),
        "a new session on an endpoint that drains"
    );
    for client in &mut old {
        let before = cookie(client)?;
        assert_eq!(
            served_by(client, "/").await?,
            home,
            "one request more, where the session is"
        );
        assert_ne!(cookie(client)?, before);
        client.disconnect();
        assert_ne!(
            served_by(client, "/").await?,
            home,
            "and then the successor"
        );
    }
    assert_eq!(
        rig.envoy
            .stat_reaches(&sticky::responses("handed_over"), 4)
            .await?,
        4
    );
    // It is restarted and ready: available again.
    rig.backends[0].set(Readiness::Ready);
    rig.picture_is(&[0, 1, 2].map(|index| (index, "available")))
        .await?;
    rig.envoy.stop().await
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_probes_is_ejected() -> Result<()> {
    let mut rig = Rig::start(&Plan::of(2)).await?;
    rig.picture_is(&[(0, "available"), (1, "available")])
        .await?;
    rig.backends[1].set(Readiness::Silent);
    rig.picture_is(&[(0, "available"), (1, "ejected")]).await?;
    rig.envoy.stop().await
}

#[tokio::test]
async fn another_instance_behind_the_address_gets_none_of_the_old_sessions() -> Result<()> {
    let plan = Plan::of(2);
    let mut rig = Rig::start(&plan).await?;
    rig.backends[1].announce("first");
    wait::until("the instance is in the picture", async || {
        let picture = rig.picture().await?.to_string();
        Ok(picture.contains("instance\":\"").then_some(()))
    })
    .await?;
    rig.picture_is(&[(0, "available"), (1, "available")])
        .await?;
    let mut old = sessions_on(&rig, 1, 4).await?;
    // Sessions learn who serves them with a response.
    for client in &mut old {
        served_by(client, "/").await?;
    }
    let probes = rig.backends[1].probes().len();
    rig.backends[1].announce("second");
    wait::until("the new instance was asked", async || {
        Ok((rig.backends[1].probes().len() > probes + 2).then_some(()))
    })
    .await?;
    for client in &mut old {
        let before = cookie(client)?;
        served_by(client, "/").await?;
        assert_ne!(cookie(client)?, before);
    }
    let refused = sticky::requests("refused_other_instance");
    assert_eq!(rig.envoy.stat_reaches(&refused, 4).await?, 4);
    rig.envoy.stop().await
}
