//! WebSockets are pinned like other requests, and what is on them is not touched.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tidegate_e2e::clients::http::{Client, set_cookie};
use tidegate_e2e::clients::python;
use tidegate_e2e::clients::websocket::{Event, WebSocket};
use tidegate_e2e::envoy::Envoy;
use tidegate_e2e::sticky;
use tidegate_e2e::upstream::Upstream;

use crate::affinity::served_by;

async fn who(socket: &mut WebSocket) -> Result<String> {
    socket.text("who").await?;
    match socket.next().await? {
        Event::Text(address) => Ok(address),
        other => anyhow::bail!("{other:?} instead of an address"),
    }
}

#[tokio::test]
async fn a_websocket_goes_to_the_endpoint_of_its_session() -> Result<()> {
    let upstreams = Upstream::several(4).await?;
    let mut envoy = Envoy::start(sticky::scenario(&upstreams)?).await?;
    for _ in 0..8 {
        let mut client = Client::new(envoy.listener("edge")?);
        let endpoint = served_by(&mut client, "/").await?;
        let mut socket = WebSocket::open(&mut client, "/ws", &[]).await?;
        assert_eq!(who(&mut socket).await?, endpoint);
        assert_eq!(
            set_cookie(&socket.headers, sticky::COOKIE),
            None,
            "the session had its cookie already"
        );
        socket.close(1000).await?;
    }
    envoy.stop().await
}

#[tokio::test]
async fn a_session_that_begins_with_a_websocket_gets_its_cookie_on_the_101() -> Result<()> {
    let upstreams = Upstream::several(4).await?;
    let mut envoy = Envoy::start(sticky::scenario(&upstreams)?).await?;
    let mut client = Client::new(envoy.listener("edge")?);
    let mut socket = WebSocket::open(&mut client, "/ws?set=app:1", &[]).await?;
    let endpoint = who(&mut socket).await?;
    let cookie = set_cookie(&socket.headers, sticky::COOKIE).context("no cookie on the 101")?;
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax") || cookie.contains("HttpOnly"),
        "attributes missing"
    );
    assert!(
        set_cookie(&socket.headers, "app").is_some(),
        "the endpoint's own cookie is gone"
    );
    for _ in 0..5 {
        client.disconnect();
        assert_eq!(served_by(&mut client, "/").await?, endpoint);
    }
    socket.close(1000).await?;
    envoy.stop().await
}

#[tokio::test]
async fn messages_pass_unchanged_in_both_directions() -> Result<()> {
    let upstreams = Upstream::several(2).await?;
    let mut envoy = Envoy::start(sticky::scenario(&upstreams)?).await?;
    let mut client = Client::new(envoy.listener("edge")?);
    let mut socket = WebSocket::open(&mut client, "/ws", &[]).await?;
    socket
        .fragments(false, &[b"one ", b"message ", b"in three frames"])
        .await?;
    assert_eq!(
        socket.next().await?,
        Event::Text("one message in three frames".to_owned())
    );
    let every_byte: Vec<u8> = (0..=255).collect();
    socket
        .fragments(true, &[&every_byte, &[], &every_byte])
        .await?;
    assert_eq!(
        socket.next().await?,
        Event::Binary([every_byte.clone(), every_byte].concat())
    );
    socket.ping(b"from the client").await?;
    assert_eq!(
        socket.next().await?,
        Event::Pong(b"from the client".to_vec())
    );
    socket.text("ping").await?;
    assert_eq!(
        socket.next().await?,
        Event::Text("pinged".to_owned()),
        "the endpoint's ping was not answered"
    );
    // Several reads of a socket, several windows of flow control.
    let large: Vec<u8> = (0_u8..251).cycle().take(3_000_000).collect();
    socket.binary(&large).await?;
    assert_eq!(socket.next().await?, Event::Binary(large));
    socket.text("close:4321").await?;
    assert_eq!(socket.next().await?, Event::Close(4321));
    envoy.stop().await
}

#[tokio::test]
async fn fragments_stay_the_fragments_that_they_were() -> Result<()> {
    let upstreams = Upstream::several(2).await?;
    let mut envoy = Envoy::start(sticky::scenario(&upstreams)?).await?;
    let edge = envoy.listener("edge")?;
    // The endpoint reports each frame of the client …
    let sent = json!([
        { "fragments": ["abc", "de", "f"] },
        { "binary_fragments": ["00ff", "11"] },
        { "text": "whole" },
        // The library ends a fragmented message with an empty frame: 4 + 3 + 1 frames.
        { "receive": 8 },
        { "close": 1000 },
    ]);
    let report = python::websocket(edge, "/ws/frames", None, None, &sent).await?;
    let frames: Vec<&str> = report["events"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|event| event["text"].as_str())
        .collect();
    assert_eq!(
        frames,
        [
            "fin=0 opcode=1 bytes=3",
            "fin=0 opcode=0 bytes=2",
            "fin=0 opcode=0 bytes=1",
            "fin=1 opcode=0 bytes=0",
            "fin=0 opcode=2 bytes=2",
            "fin=0 opcode=0 bytes=1",
            "fin=1 opcode=0 bytes=0",
            "fin=1 opcode=1 bytes=5",
        ]
    );
    // … and the client those of the endpoint.
    let asked = json!([
        { "text": "fragments:4:abcdefgh" },
        { "receive": 1 },
        { "ping": "still there?" },
        { "binary": "00ff10" },
        { "receive": 1 },
        { "close": 1000 },
    ]);
    let report = python::websocket(edge, "/ws", None, None, &asked).await?;
    assert_eq!(report["status"], 101);
    assert_eq!(
        report["events"],
        json!([
            { "text": "abcdefgh", "fragments": [2, 2, 2, 2] },
            { "pong": "still there?" },
            { "binary": "00ff10", "fragments": [3] },
            { "closed": 1000 },
        ])
    );
    let issued = report["set_cookie"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    assert_eq!(
        issued
            .filter(|value| value.starts_with("tidegate-echo="))
            .count(),
        1
    );
    envoy.stop().await
}

#[tokio::test]
async fn a_reset_on_either_side_ends_the_other_side_too() -> Result<()> {
    let upstreams = Upstream::several(2).await?;
    let mut envoy = Envoy::start(sticky::scenario(&upstreams)?).await?;
    let mut client = Client::new(envoy.listener("edge")?);
    let mut socket = WebSocket::open(&mut client, "/ws", &[]).await?;
    let endpoint = who(&mut socket).await?;
    socket.text("reset").await?;
    assert_eq!(socket.next().await?, Event::End);
    let socket = WebSocket::open(&mut client, "/ws", &[]).await?;
    socket.reset()?;
    tidegate_e2e::wait::until("Envoy has no upgraded stream left", async || {
        let stats = envoy.stats().await?;
        Ok((stats.get("http.edge.downstream_cx_upgrades_active") == Some(&0)).then_some(()))
    })
    .await?;
    // The session is where it was.
    client.disconnect();
    assert_eq!(served_by(&mut client, "/").await?, endpoint);
    envoy.stop().await
}
