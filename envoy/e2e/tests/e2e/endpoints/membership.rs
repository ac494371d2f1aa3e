//! Who the endpoints are: Envoy's discovery, seen through its admin.

use anyhow::Result;
use hyper::Method;
use tidegate_e2e::clients::http::Request;
use tidegate_e2e::discovery::Health::{Draining, Healthy, Unhealthy};
use tidegate_e2e::endpoints::{Plan, Rig};
use tidegate_e2e::{sticky, wait};

use super::{cookie, sessions_on, spread};
use crate::affinity::served_by;

#[tokio::test]
async fn the_picture_follows_discovery_without_a_restart() -> Result<()> {
    let mut rig = Rig::start(&Plan::of(4).with_members(2)).await?;
    rig.picture_is(&[(0, "available"), (1, "available")])
        .await?;
    // Two join: a new session in four is theirs each.
    rig.publish(&[(0, Healthy), (1, Healthy), (2, Healthy), (3, Healthy)])?;
    let all = [0, 1, 2, 3].map(|index| (index, "available"));
    rig.picture_is(&all).await?;
    assert_eq!(spread(&rig, 80).await?.len(), 4);
    // One drains, one is not healthy any more: neither gets a new session.
    rig.publish(&[(0, Healthy), (1, Healthy), (2, Draining), (3, Unhealthy)])?;
    rig.picture_is(&[
        (0, "available"),
        (1, "available"),
        (2, "draining"),
        (3, "ejected"),
    ])
    .await?;
    let before = rig.backends[2].requests().len() + rig.backends[3].requests().len();
    assert_eq!(spread(&rig, 40).await?.len(), 2);
    let after = rig.backends[2].requests().len() + rig.backends[3].requests().len();
    assert_eq!(after, before, "somebody who left got a new session");
    // They go, and are remembered while what they have may live.
    rig.publish(&[(0, Healthy), (1, Healthy)])?;
    rig.picture_is(&[
        (0, "available"),
        (1, "available"),
        (2, "vanished"),
        (3, "vanished"),
    ])
    .await?;
    rig.envoy.stop().await
}

#[tokio::test]
async fn sessions_of_an_endpoint_that_leaves_move_and_no_other_does() -> Result<()> {
    let mut rig = Rig::start(&Plan::of(4)).await?;
    rig.picture_is(&[0, 1, 2, 3].map(|index| (index, "available")))
        .await?;
    let mut moving = sessions_on(&rig, 3, 8).await?;
    let mut staying = sessions_on(&rig, 1, 8).await?;
    rig.publish(&[(0, Healthy), (1, Healthy), (2, Healthy)])?;
    rig.picture_is(&[
        (0, "available"),
        (1, "available"),
        (2, "available"),
        (3, "vanished"),
    ])
    .await?;
    let gone = rig.backends[3].address().to_string();
    for client in &mut moving {
        let before = cookie(client)?;
        let successor = served_by(client, "/").await?;
        assert_ne!(successor, gone);
        assert_ne!(
            cookie(client)?,
            before,
            "the session has its successor's cookie"
        );
        client.disconnect();
        assert_eq!(served_by(client, "/").await?, successor, "and stays there");
    }
    let home = rig.backends[1].address().to_string();
    for client in &mut staying {
        let before = cookie(client)?;
        assert_eq!(served_by(client, "/").await?, home);
        assert_eq!(cookie(client)?, before);
    }
    assert_eq!(
        rig.envoy
            .stat_reaches(&sticky::requests("successor_gone"), 8)
            .await?,
        8
    );
    rig.envoy.stop().await
}

#[tokio::test]
async fn a_session_of_an_address_that_left_and_came_back_is_refused() -> Result<()> {
    let mut rig = Rig::start(&Plan::of(3)).await?;
    rig.picture_is(&[0, 1, 2].map(|index| (index, "available")))
        .await?;
    let mut old = sessions_on(&rig, 2, 4).await?;
    rig.publish(&[(0, Healthy), (1, Healthy)])?;
    rig.picture_is(&[(0, "available"), (1, "available"), (2, "vanished")])
        .await?;
    rig.publish(&[(0, Healthy), (1, Healthy), (2, Healthy)])?;
    rig.picture_is(&[0, 1, 2].map(|index| (index, "available")))
        .await?;
    for client in &mut old {
        let before = cookie(client)?;
        served_by(client, "/").await?;
        assert_ne!(
            cookie(client)?,
            before,
            "whoever has the address now is another one"
        );
    }
    let refused = sticky::requests("refused_reused_address");
    assert_eq!(rig.envoy.stat_reaches(&refused, 4).await?, 4);
    // Cookies count in whole seconds: one of the second of its return may still be refused.
    let home = rig.backends[2].address().to_string();
    wait::until("a new session of the address is kept", async || {
        let mut client = sessions_on(&rig, 2, 1).await?.remove(0);
        let before = cookie(&client)?;
        client.disconnect();
        let kept = served_by(&mut client, "/").await? == home && cookie(&client)? == before;
        Ok(kept.then_some(()))
    })
    .await?;
    rig.envoy.stop().await
}

#[tokio::test]
async fn the_upstream_filter_reports_and_leaves_probes_alone() -> Result<()> {
    let mut rig = Rig::start(&Plan::of(2)).await?;
    rig.picture_is(&[(0, "available"), (1, "available")])
        .await?;
    // What a client sends under our names does not get to an endpoint, and steers nobody.
    for _ in 0..8 {
        let request = Request::new(Method::GET, "/")
            .header("x-tidegate-endpoint", "127.0.0.1:1")
            .header("x-tidegate-drain", "60")
            .header("x-tidegate-instance", "me")
            .header("x-tidegate-anything", "at all")
            .header("x-envoy-max-retries", "9")
            .header("x-envoy-attempt-count", "9");
        assert_eq!(rig.client()?.send(request).await?.status, 200);
    }
    for backend in &rig.backends {
        for request in backend.requests() {
            let names = request.headers.keys().map(|name| name.as_str());
            let ours: Vec<&str> = names
                .filter(|name| name.starts_with("x-tidegate-") || *name == "x-envoy-max-retries")
                .filter(|name| *name != "x-tidegate-endpoint")
                .collect();
            assert_eq!(ours, [""; 0]);
            assert_ne!(request.header("x-tidegate-endpoint"), Some("127.0.0.1:1"));
        }
        for probe in backend.probes() {
            assert_eq!(probe.header("user-agent"), Some("tidegate-probe/1"));
            assert_eq!(probe.method, "GET");
        }
    }
    rig.envoy.stop().await
}

#[tokio::test]
async fn an_endpoint_that_fails_is_seen_to_fail_by_the_upstream_filter() -> Result<()> {
    let mut rig = Rig::start(&Plan::of(1)).await?;
    rig.picture_is(&[(0, "available")]).await?;
    let mut client = rig.client()?;
    wait::until("the failures are in the picture", async || {
        client.get("/?status=503").await?;
        let picture = rig.picture().await?;
        let failures = &picture["clusters"][0]["endpoints"][0]["gateway_failures_in_row"];
        Ok((failures.as_u64() > Some(2)).then_some(()))
    })
    .await?;
    rig.envoy.stop().await
}
