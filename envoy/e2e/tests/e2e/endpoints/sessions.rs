//! What the picture does to sessions.

use anyhow::Result;
use serde_json::json;
use tidegate_e2e::clients::websocket::{Event, WebSocket};
use tidegate_e2e::discovery::Health::{Draining, Healthy};
use tidegate_e2e::endpoints::{Plan, Readiness, Rig};
use tidegate_e2e::sticky;
use tidegate_e2e::upstream::Answer;

use super::{cookie, sessions_on};
use crate::affinity::served_by;

#[tokio::test]
async fn two_gateways_send_a_session_to_the_same_successor() -> Result<()> {
    let mut rig = Rig::start(&Plan::of(5)).await?;
    // The same endpoints, seen by another Envoy with an admin of its own.
    let mut other = rig.another().await?;
    let all = [0, 1, 2, 3, 4].map(|index| (index, "available"));
    rig.picture_is(&all).await?;
    rig.picture_of(&other.envoy, &all).await?;
    let mut sessions = sessions_on(&rig, 0, 10).await?;
    rig.backends[0].set(Readiness::NotReady);
    let sick =
        [0, 1, 2, 3, 4].map(|index| (index, if index == 0 { "ejected" } else { "available" }));
    rig.picture_is(&sick).await?;
    rig.picture_of(&other.envoy, &sick).await?;
    for client in &mut sessions {
        let before = client.jar.clone();
        let here = served_by(client, "/").await?;
        client.jar = before;
        client.move_to(other.envoy.listener("edge")?);
        assert_eq!(served_by(client, "/").await?, here);
    }
    other.envoy.stop().await?;
    rig.envoy.stop().await
}

#[tokio::test]
async fn a_websocket_outlives_the_hand_over_of_its_session() -> Result<()> {
    let mut rig = Rig::start(&Plan::of(3)).await?;
    rig.picture_is(&[0, 1, 2].map(|index| (index, "available")))
        .await?;
    let mut client = sessions_on(&rig, 2, 1).await?.remove(0);
    let mut socket = WebSocket::open(&mut client, "/ws", &[]).await?;
    rig.publish(&[(0, Healthy), (1, Healthy), (2, Draining)])?;
    rig.picture_is(&[(0, "available"), (1, "available"), (2, "draining")])
        .await?;
    let home = rig.backends[2].address().to_string();
    // A plain request is served once more where the session is, and gets the successor's cookie.
    assert_eq!(served_by(&mut client, "/").await?, home);
    assert_ne!(served_by(&mut client, "/").await?, home);
    socket.text("who").await?;
    let Event::Text(endpoint) = socket.next().await? else {
        anyhow::bail!("the socket did not live")
    };
    assert_eq!(endpoint, home);
    // A new one opens where the session is now.
    let mut second = WebSocket::open(&mut client, "/ws", &[]).await?;
    second.text("who").await?;
    let Event::Text(endpoint) = second.next().await? else {
        anyhow::bail!("no answer")
    };
    assert_ne!(endpoint, home);
    second.close(1000).await?;
    socket.close(1000).await?;
    rig.envoy.stop().await
}

#[tokio::test]
async fn a_rule_may_keep_sessions_or_move_them_at_once() -> Result<()> {
    for (mode, stays) in [("keep", true), ("move", false)] {
        let plan = Plan::of(3).with_rule(&json!({ "when_draining": mode }));
        let mut rig = Rig::start(&plan).await?;
        rig.picture_is(&[0, 1, 2].map(|index| (index, "available")))
            .await?;
        let mut client = sessions_on(&rig, 2, 1).await?.remove(0);
        rig.publish(&[(0, Healthy), (1, Healthy), (2, Draining)])?;
        rig.picture_is(&[(0, "available"), (1, "available"), (2, "draining")])
            .await?;
        let home = rig.backends[2].address().to_string();
        for _ in 0..4 {
            client.disconnect();
            assert_eq!(served_by(&mut client, "/").await? == home, stays, "{mode}");
        }
        rig.envoy.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn no_session_is_lost_when_the_gateway_restarts_not_even_before_its_first_picture()
-> Result<()> {
    let mut rig = Rig::start(&Plan::of(4)).await?;
    rig.picture_is(&[0, 1, 2, 3].map(|index| (index, "available")))
        .await?;
    let mut sessions = Vec::new();
    for _ in 0..16 {
        let mut client = rig.client()?;
        let home = served_by(&mut client, "/").await?;
        sessions.push((client, home));
    }
    // The admin answers nothing at first, so that requests come before any picture.
    rig.admin.play(|_| Some(Answer::new(503, "not yet")));
    rig.restart().await?;
    for (client, home) in &mut sessions {
        let before = cookie(client)?;
        client.move_to(rig.envoy.listener("edge")?);
        assert_eq!(&served_by(client, "/").await?, home);
        assert_eq!(cookie(client)?, before);
    }
    let unknown = sticky::requests("pinned_no_picture");
    assert_eq!(rig.envoy.stat_reaches(&unknown, 16).await?, 16);
    rig.admin.play_no_more();
    rig.picture_is(&[0, 1, 2, 3].map(|index| (index, "available")))
        .await?;
    for (client, home) in &mut sessions {
        let before = cookie(client)?;
        client.disconnect();
        assert_eq!(&served_by(client, "/").await?, home);
        assert_eq!(cookie(client)?, before);
    }
    rig.envoy.stop().await
}
