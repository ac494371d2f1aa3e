//! Carries a plan out against a running Envoy.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use hyper::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::plan::{Live, LiveEnd, Session, Step, Upload};
use crate::clients::http::{Body, Client, Request};
use crate::clients::jar::Jar;
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

/// One session under way.
#[derive(Debug)]
struct Playing {
    session: Session,
    client: Client,
    sent: Sent,
}

/// Runs all sessions at the same time against the listener, in three acts: after the first and the second, when every
/// session has done its share, `intermission` is called with 1 and 2.
///
/// # Errors
/// A session finds something other than the plan foresees, or what `intermission` fails with.
pub async fn run(
    listener: SocketAddr,
    sessions: &[Session],
    mut intermission: impl AsyncFnMut(u32) -> Result<()>,
) -> Result<Sent> {
    let mut cast: Vec<Playing> = sessions
        .iter()
        .map(|session| enter(listener, session))
        .collect();
    for act in 0..3 {
        if act > 0 {
            intermission(act).await?;
        }
        let mut running = JoinSet::new();
        for mut playing in cast.drain(..) {
            running.spawn(async move {
                let number = playing.session.number;
                play(listener, &mut playing, act)
                    .await
                    .with_context(|| format!("session {number}"))?;
                anyhow::Ok(playing)
            });
        }
        while let Some(finished) = running.join_next().await {
            cast.push(finished??);
        }
    }
    let mut total = Sent::default();
    for playing in &cast {
        total.exchanges += playing.sent.exchanges;
        total.websockets += playing.sent.websockets;
    }
    Ok(total)
}

fn enter(listener: SocketAddr, session: &Session) -> Playing {
    let mut client = Client::new(listener)
        .from_address(session.address)
        .with_header("user-agent", session.user_agent);
    if session.keeps_cookies {
        client = client.with_header("accept-language", "en");
        client.jar.set("consent", "yes");
    }
    Playing {
        session: session.clone(),
        client,
        sent: Sent::default(),
    }
}

async fn play(listener: SocketAddr, playing: &mut Playing, act: u32) -> Result<()> {
    let Playing {
        session,
        client,
        sent,
    } = playing;
    let share = session.steps.len().div_ceil(3);
    for step in session.steps.iter().skip(act as usize * share).take(share) {
        if !session.keeps_cookies {
            client.jar = Jar::default();
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
            Step::Request { method, path, body } => {
                request(client, session, method, path, body).await?
            }
            Step::AbortUpload => {
                let head = format!(
                    "POST /api/cart HTTP/1.1\r\nhost: {listener}\r\ncontent-length: 500\r\n"
                );
                let head = format!(
                    "{head}user-agent: {}\r\n\r\n{}",
                    session.user_agent,
                    "x".repeat(100)
                );
                abort(client, &head).await?;
            }
            Step::AbortWait => {
                let head = format!("GET /api/stuck/1 HTTP/1.1\r\nhost: {listener}\r\n");
                abort(
                    client,
                    &format!("{head}user-agent: {}\r\n\r\n", session.user_agent),
                )
                .await?;
            }
            Step::WebSocket(live) => {
                let socket =
                    WebSocket::open(client, "/ws/live", &[("user-agent", session.user_agent)])
                        .await?;
                speak(socket, *live).await?;
                sent.websockets += 1;
            }
            Step::WebSocketPython(live) => {
                speak_python(client, *live).await?;
                sent.websockets += 1;
            }
        }
        sent.exchanges += 1;
    }
    Ok(())
}

/// Sends what is less than a request or less than patient, and resets the connection.
async fn abort(client: &Client, bytes: &str) -> Result<()> {
    let mut raw = Raw::connect(client.address(), client.source()).await?;
    raw.send(bytes.as_bytes()).await?;
    // A reset throws away what Envoy has not read yet, and there is nothing to poll for.
    wait::think(Duration::from_millis(30)).await;
    raw.reset()
}

async fn request(
    client: &mut Client,
    session: &Session,
    method: &str,
    path: &str,
    body: &Upload,
) -> Result<()> {
    let mut request =
        Request::new(Method::from_bytes(method.as_bytes())?, path).header("accept", "*/*");
    request = match body {
        Upload::None => request,
        Upload::Whole(size) => {
            request
                .header("content-type", "application/json")
                .body(Body::Whole(Bytes::from(format!(
                    "{{\"note\":\"{}\"}}",
                    "x".repeat(size.saturating_sub(11))
                ))))
        }
        Upload::Chunked(sizes) => {
            let pieces = sizes
                .iter()
                .map(|size| Bytes::from("y".repeat(*size)))
                .collect();
            let trailers = vec![("x-upload-checksum".to_owned(), "5d41402a".to_owned())];
            request
                .header("content-type", "text/plain")
                .header("trailer", "x-upload-checksum")
                .body(Body::Chunked(pieces, trailers))
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
        socket
            .fragments(false, &[b"one message ", b"in ", b"three frames"])
            .await?;
        expect(
            &mut socket,
            &Event::Text("one message in three frames".to_owned()),
        )
        .await?;
        socket.binary(&[0, 159, 146, 150]).await?;
        expect(&mut socket, &Event::Binary(vec![0, 159, 146, 150])).await?;
        socket.ping(b"still there?").await?;
        expect(&mut socket, &Event::Pong(b"still there?".to_vec())).await?;
        socket.text("ping").await?;
        expect(&mut socket, &Event::Text("pinged".to_owned())).await?;
        socket
            .text("fragments:3:from the endpoint in pieces")
            .await?;
        expect(
            &mut socket,
            &Event::Text("from the endpoint in pieces".to_owned()),
        )
        .await?;
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
    python::websocket(
        client.address(),
        "/ws/live",
        cookies.as_deref(),
        from.as_deref(),
        &json!(steps),
    )
    .await?;
    Ok(())
}

async fn expect(socket: &mut WebSocket, expected: &Event) -> Result<()> {
    let found = socket.next().await?;
    anyhow::ensure!(
        found == *expected,
        "the WebSocket brings {found:?} instead of {expected:?}"
    );
    Ok(())
}
