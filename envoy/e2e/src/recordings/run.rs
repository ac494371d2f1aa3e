//! Carries a plan out against a running Envoy.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use hyper::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::plan::{Live, LiveEnd, Session, Step, Upload};
use crate::clients::http::{Body, Client, Request};
use crate::clients::python;
use crate::clients::raw::Raw;
use crate::clients::websocket::{Event, WebSocket};
use crate::wait;

/// What was sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sent {
    /// Exchanges, upgrades and aborted ones included.
    pub exchanges: u64,
    /// Upgrades.
    pub websockets: u64,
}

/// Runs all sessions at the same time against the listener.
///
/// # Errors
/// A session finds something other than the plan foresees.
pub async fn run(listener: SocketAddr, sessions: &[Session]) -> Result<Sent> {
    let mut running = JoinSet::new();
    for session in sessions.iter().cloned() {
        running.spawn(async move {
            let number = session.number;
            play(listener, session).await.with_context(|| format!("session {number}"))
        });
    }
    let mut total = Sent::default();
    while let Some(finished) = running.join_next().await {
        let sent = finished??;
        total.exchanges += sent.exchanges;
        total.websockets += sent.websockets;
    }
    Ok(total)
}

async fn play(listener: SocketAddr, session: Session) -> Result<Sent> {
    let mut client =
        Client::new(listener).from_address(session.address).with_header("user-agent", session.user_agent);
    if session.keeps_cookies {
        client = client.with_header("accept-language", "en");
        client.jar.set("consent", "yes");
    }
    let mut sent = Sent::default();
    for step in &session.steps {
        if !session.keeps_cookies {
            client.jar = crate::clients::jar::Jar::default();
        }
        match step {
            Step::Think(time) => {
                wait::think(*time).await;
                continue;
            }
            Step::Disconnect => {
                client.disconnect();
                continue;
            }
            Step::Request { method, path, body } => request(&mut client, &session, method, path, body).await?,
            Step::AbortUpload => {
                let head = format!(
                    "POST /api/cart HTTP/1.1\r\nhost: {listener}\r\nuser-agent: {}\r\ncontent-length: 500\r\n\r\n",
                    session.user_agent
                );
                let mut raw = Raw::connect(listener, Some(session.address)).await?;
                raw.send(head.as_bytes()).await?;
                raw.send(&[b'x'; 100]).await?;
                // Envoy needs a moment to read what the reset would throw away.
                wait::think(std::time::Duration::from_millis(30)).await;
                raw.reset()?;
            }
            Step::AbortWait => {
                let head = format!(
                    "GET /api/stuck/1 HTTP/1.1\r\nhost: {listener}\r\nuser-agent: {}\r\n\r\n",
                    session.user_agent
                );
                let mut raw = Raw::connect(listener, Some(session.address)).await?;
                raw.send(head.as_bytes()).await?;
                wait::think(std::time::Duration::from_millis(30)).await;
                raw.reset()?;
            }
            Step::WebSocket(live) => {
                let socket = WebSocket::open(&mut client, "/ws/live", &[("user-agent", session.user_agent)]).await?;
                speak(socket, *live).await?;
                sent.websockets += 1;
            }
            Step::WebSocketPython(live) => {
                speak_python(&client, *live).await?;
                sent.websockets += 1;
            }
        }
        sent.exchanges += 1;
    }
    Ok(sent)
}

async fn request(client: &mut Client, session: &Session, method: &str, path: &str, body: &Upload) -> Result<()> {
    let mut request = Request::new(Method::from_bytes(method.as_bytes())?, path).header("accept", "*/*");
    request = match body {
        Upload::None => request,
        Upload::Whole(size) => request
            .header("content-type", "application/json")
            .body(Body::Whole(Bytes::from(format!("{{\"note\":\"{}\"}}", "x".repeat(size.saturating_sub(11)))))),
        Upload::Chunked(sizes) => {
            let pieces = sizes.iter().map(|size| Bytes::from("y".repeat(*size))).collect();
            let trailers = vec![("x-upload-checksum".to_owned(), "5d41402a".to_owned())];
            request.header("content-type", "text/plain").header("trailer", "x-upload-checksum").body(Body::Chunked(pieces, trailers))
        }
    };
    if path == "/login" {
        request = request.header("x-user", format!("user-{}", session.number));
    }
    if path.starts_with("/api/reports") {
        // A server sends trailers only to those who say that they take them.
        request = request.header("te", "trailers");
    }
    if path == "/goodbye" {
        // Latin-1, which HTTP allows and UTF-8 does not.
        request = request.header("x-greeting", b"au revoir, \xe0 bient\xf4t");
    }
    let broken = path.starts_with("/downloads");
    match client.send(request).await {
        Ok(_) => {}
        // The endpoint resets in the middle of the body: the client sees it too.
        Err(_) if broken => {}
        Err(error) => return Err(error).with_context(|| format!("{method} {path}")),
    }
    Ok(())
}

async fn speak(mut socket: WebSocket, live: Live) -> Result<()> {
    for round in 0..live.rounds {
        let text = format!("hello {round}");
        socket.text(&text).await?;
        expect(&mut socket, &Event::Text(text)).await?;
        socket.fragments(false, &[b"one message ", b"in ", b"three frames"]).await?;
        expect(&mut socket, &Event::Text("one message in three frames".to_owned())).await?;
        socket.binary(&[0, 159, 146, 150]).await?;
        expect(&mut socket, &Event::Binary(vec![0, 159, 146, 150])).await?;
        socket.ping(b"still there?").await?;
        expect(&mut socket, &Event::Pong(b"still there?".to_vec())).await?;
        socket.text("ping").await?;
        expect(&mut socket, &Event::Text("pinged".to_owned())).await?;
        socket.text("fragments:3:from the endpoint in pieces").await?;
        expect(&mut socket, &Event::Text("from the endpoint in pieces".to_owned())).await?;
    }
    match live.end {
        LiveEnd::Client => socket.close(1000).await,
        LiveEnd::ClientReset => socket.reset(),
        LiveEnd::Endpoint => {
            socket.text("close:1012").await?;
            expect(&mut socket, &Event::Close(1012)).await?;
            expect(&mut socket, &Event::End).await
        }
        LiveEnd::EndpointReset => {
            socket.text("reset").await?;
            expect(&mut socket, &Event::End).await
        }
    }
}

async fn speak_python(client: &Client, live: Live) -> Result<()> {
    let mut steps = Vec::new();
    for round in 0..live.rounds {
        steps.extend([
            json!({ "text": format!("hello {round}") }),
            json!({ "fragments": ["one message ", "in ", "three frames"] }),
            json!({ "binary": "009f9296" }),
            json!({ "ping": "still there?" }),
            json!({ "text": "fragments:3:from the endpoint in pieces" }),
            json!({ "receive": 4 }),
        ]);
    }
    steps.push(match live.end {
        LiveEnd::ClientReset => json!({ "reset": true }),
        _ => json!({ "close": 1000 }),
    });
    let from = client.source().map(|ip| ip.to_string());
    let cookies = client.jar.header();
    python::websocket(client.address(), "/ws/live", cookies.as_deref(), from.as_deref(), &json!(steps)).await?;
    Ok(())
}

async fn expect(socket: &mut WebSocket, expected: &Event) -> Result<()> {
    let found = socket.next().await?;
    anyhow::ensure!(found == *expected, "the WebSocket brings {found:?} instead of {expected:?}");
    Ok(())
}
