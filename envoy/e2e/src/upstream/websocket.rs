//! The server's end of a WebSocket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::Received;
use crate::clients::websocket::frames;

/// Accepts an upgrade. `/ws/frames` reports every frame as it came ([`report_frames`]); everything else under `/ws`
/// echoes ([`echo`]).
pub(super) fn accept(
    request: &mut Request<Incoming>,
    received: &Received,
    reset: Arc<AtomicBool>,
) -> Response<()> {
    let own = received.upstream.to_string();
    let frames_only = received.path.starts_with("/ws/frames");
    let upgrade = hyper::upgrade::on(&mut *request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let stream = TokioIo::new(upgraded);
            if frames_only {
                let _ = report_frames(stream).await;
            } else {
                echo(stream, own, reset).await;
            }
        }
    });
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let key = received.header("sec-websocket-key").unwrap_or_default();
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// Echoes messages; pings are answered. Some texts are commands: `who` is answered with the server's address,
/// `fragments:N:TEXT` with the text cut into N frames and a ping between the first two, `ping` with a ping and
/// the text `pinged` once the pong is there, `close:CODE` with a Close, `reset` with a reset.
async fn echo(stream: TokioIo<Upgraded>, own: String, reset: Arc<AtomicBool>) {
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let mut pinged = false;
    while let Some(Ok(message)) = socket.next().await {
        let sent = match message {
            Message::Text(text) => match text.split_once(':').unwrap_or((text.as_str(), "")) {
                ("who", _) => socket.send(Message::text(own.clone())).await,
                ("reset", _) => {
                    reset.store(true, Ordering::Relaxed);
                    return;
                }
                ("ping", _) => {
                    pinged = true;
                    socket.send(Message::Ping("from the endpoint".into())).await
                }
                ("close", code) => {
                    let code = code.parse().unwrap_or(1000).into();
                    socket
                        .close(Some(CloseFrame {
                            code,
                            reason: "asked for".into(),
                        }))
                        .await
                }
                ("fragments", rest) => fragments(&mut socket, rest).await,
                _ => socket.send(Message::Text(text)).await,
            },
            Message::Binary(bytes) => socket.send(Message::Binary(bytes)).await,
            Message::Pong(_) if pinged => {
                pinged = false;
                socket.send(Message::text("pinged")).await
            }
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => Ok(()),
        };
        if sent.is_err() {
            break;
        }
    }
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

async fn fragments(
    socket: &mut Socket,
    rest: &str,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let (count, text) = rest.split_once(':').unwrap_or(("2", rest));
    let count = count.parse::<usize>().unwrap_or(2).max(1);
    let pieces: Vec<&[u8]> = text
        .as_bytes()
        .chunks(text.len().div_ceil(count).max(1))
        .collect();
    for (index, frame) in frames(false, &pieces, false).into_iter().enumerate() {
        socket.send(Message::Frame(frame)).await?;
        if index == 0 {
            socket
                .send(Message::Ping("between fragments".into()))
                .await?;
        }
    }
    Ok(())
}

/// Answers every frame with a text frame that says what it was, `fin=F opcode=O bytes=N`, and a Close with a Close.
/// Written by hand, since a library puts the fragments of a message together before anybody can see them.
async fn report_frames(mut stream: TokioIoStream) -> std::io::Result<()> {
    loop {
        let [first, second] = {
            let mut head = [0; 2];
            stream.read_exact(&mut head).await?;
            head
        };
        let size = match second & 0x7f {
            126 => u64::from(stream.read_u16().await?),
            127 => stream.read_u64().await?,
            small => u64::from(small),
        };
        let mut mask = [0; 4];
        if second & 0x80 != 0 {
            stream.read_exact(&mut mask).await?;
        }
        let mut payload = vec![0; usize::try_from(size).map_err(std::io::Error::other)?];
        stream.read_exact(&mut payload).await?;
        for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
        let (fin, opcode) = (first >> 7, first & 0x0f);
        if opcode == 8 {
            stream.write_all(&[0x88, 0]).await?;
            return stream.shutdown().await;
        }
        let report = format!("fin={fin} opcode={opcode} bytes={size}");
        let length = u8::try_from(report.len()).map_err(std::io::Error::other)?;
        stream.write_all(&[0x81, length]).await?;
        stream.write_all(report.as_bytes()).await?;
    }
}

type TokioIoStream = TokioIo<Upgraded>;
