//! A WebSocket client (tokio-tungstenite).

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::header::{COOKIE, HeaderMap, HeaderName, HeaderValue};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};

use super::http::{Client, connect};
use crate::wait::DEADLINE;

/// What arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A binary message, put together from its fragments.
    Binary(Vec<u8>),
    /// The other side closes, with this code.
    Close(u16),
    /// The connection ended, with or without a closing handshake.
    End,
    /// An answer to a ping.
    Pong(Vec<u8>),
    /// A text message, put together from its fragments.
    Text(String),
}

/// An open WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    stream: WebSocketStream<TcpStream>,
    /// The headers of the 101.
    pub headers: HeaderMap,
}

impl WebSocket {
    /// Opens a WebSocket as the client would: same address, same cookies (those of the 101 are taken over).
    ///
    /// # Errors
    /// The server cannot be reached or does not upgrade.
    pub async fn open(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> Result<Self> {
        let (address, from): (SocketAddr, Option<IpAddr>) = (client.address(), client.source());
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        if let Some(cookies) = client.jar.header() {
            request
                .headers_mut()
                .insert(COOKIE, HeaderValue::from_str(&cookies)?);
        }
        for (name, value) in headers {
            request.headers_mut().append(
                HeaderName::from_bytes(name.as_bytes())?,
                HeaderValue::from_str(value)?,
            );
        }
        let stream = connect(address, from).await?;
        let (stream, response) = tokio_tungstenite::client_async(request, stream)
            .await
            .context("the upgrade failed")?;
        for value in response.headers().get_all("set-cookie") {
            client.jar.store(value.to_str()?);
        }
        Ok(Self {
            stream,
            headers: response.headers().clone(),
        })
    }

    /// Sends a text message in one frame.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn text(&mut self, text: &str) -> Result<()> {
        Ok(self.stream.send(Message::text(text)).await?)
    }

    /// Sends a binary message in one frame.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn binary(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.send(Message::binary(bytes.to_vec())).await?)
    }

    /// Sends one message as several frames.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn fragments(&mut self, binary: bool, fragments: &[&[u8]]) -> Result<()> {
        for frame in frames(binary, fragments, true) {
            self.stream.send(Message::Frame(frame)).await?;
        }
        Ok(())
    }

    /// Sends a ping.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn ping(&mut self, payload: &[u8]) -> Result<()> {
        Ok(self
            .stream
            .send(Message::Ping(Bytes::copy_from_slice(payload)))
            .await?)
    }

    /// Returns what arrives next, pings excepted: they are answered.
    ///
    /// # Errors
    /// Nothing arrives in time.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            let next = tokio::time::timeout(DEADLINE, self.stream.next()).await;
            let Ok(next) = next else {
                bail!("nothing arrives on the WebSocket")
            };
            return Ok(match next {
                Some(Ok(Message::Text(text))) => Event::Text(text.to_string()),
                Some(Ok(Message::Binary(bytes))) => Event::Binary(bytes.to_vec()),
                Some(Ok(Message::Pong(bytes))) => Event::Pong(bytes.to_vec()),
                Some(Ok(Message::Close(frame))) => {
                    Event::Close(frame.map_or(1005, |frame| frame.code.into()))
                }
                Some(Ok(Message::Ping(_) | Message::Frame(_))) => continue,
                Some(Err(_)) | None => Event::End,
            });
        }
    }

    /// Closes with a code and waits for the answer.
    ///
    /// # Errors
    /// The other side does not answer the Close.
    pub async fn close(mut self, code: u16) -> Result<()> {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: "".into(),
        };
        self.stream.send(Message::Close(Some(frame))).await?;
        loop {
            match self.next().await? {
                Event::Close(_) => return Ok(()),
                Event::End => bail!("the connection ended before the Close was answered"),
                _ => {}
            }
        }
    }

    /// Resets the connection (RST), without a closing handshake.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn reset(self) -> Result<()> {
        self.stream
            .get_ref()
            .set_zero_linger()
            .context("cannot reset")
    }
}

/// Cuts a message into frames. What a client sends is masked when it is written, with a mask that the library draws.
pub(crate) fn frames(binary: bool, fragments: &[&[u8]], masked: bool) -> Vec<Frame> {
    let first = if binary { Data::Binary } else { Data::Text };
    let last = fragments.len().saturating_sub(1);
    fragments
        .iter()
        .enumerate()
        .map(|(index, piece)| {
            let opcode = OpCode::Data(if index == 0 { first } else { Data::Continue });
            let mut frame = Frame::message(piece.to_vec(), opcode, index == last);
            if masked {
                frame.header_mut().mask = Some([0x12, 0x34, 0x56, 0x78]);
            }
            frame
        })
        .collect()
}
