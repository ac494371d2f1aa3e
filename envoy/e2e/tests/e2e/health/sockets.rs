//! WebSockets through the filter.

use std::collections::BTreeSet;

use anyhow::Result;
use tidegate_e2e::clients::websocket::{Event, WebSocket};
use tidegate_e2e::endpoints::Readiness;
use tidegate_e2e::health::{self, Observe, alone};

async fn who(socket: &mut WebSocket) -> Result<String> {
    socket.text("who").await?;
    match socket.next().await? {
        Event::Text(address) => Ok(address),
        other => anyhow::bail!("{other:?} instead of an address"),
    }
}

#[tokio::test]
async fn websockets_go_to_available_endpoints_and_live_on_when_theirs_is_ejected() -> Result<()> {
    let mut rig = alone(&health::plan(5, Observe::Attempts)).await?;
    rig.picture_is(&[0, 1, 2, 3, 4].map(|index| (index, "available")))
        .await?;
    let mut sockets = Vec::new();
    let mut endpoints = BTreeSet::new();
    for _ in 0..20 {
        let mut socket = WebSocket::open(&mut rig.client()?, "/ws", &[]).await?;
        let endpoint = who(&mut socket).await?;
        endpoints.insert(endpoint.clone());
        sockets.push((socket, endpoint));
    }
    assert!(endpoints.len() > 2, "{endpoints:?}");
    rig.backends[0].set(Readiness::NotReady);
    let sick =
        [0, 1, 2, 3, 4].map(|index| (index, if index == 0 { "ejected" } else { "available" }));
    rig.picture_is(&sick).await?;
    for (socket, endpoint) in &mut sockets {
        assert_eq!(&who(socket).await?, endpoint);
    }
    let ejected = rig.backends[0].address().to_string();
    for _ in 0..10 {
        let mut socket = WebSocket::open(&mut rig.client()?, "/ws", &[]).await?;
        assert_ne!(who(&mut socket).await?, ejected);
        socket.close(1000).await?;
    }
    for (socket, _) in sockets {
        socket.close(1000).await?;
    }
    let honoured = "tidegate_health_routing_answers_total.honoured.yes";
    rig.envoy.stat_reaches(honoured, 30).await?;
    let log = rig.envoy.log();
    assert!(
        !log.contains("panicked") && !log.contains("Function: proxy_on_"),
        "a VM died"
    );
    rig.envoy.stop().await
}
