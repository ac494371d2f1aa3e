//! The client: one connection for one request.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tidegate_cli::fidelity::{Data, Protocol, Received, Request, Text};
use tokio::net::TcpStream;

use super::http1::{Kind, Message};
use super::wire::{Shared, State, Wire, look, read_message};
use super::{frame, http2};
use crate::wait;

/// A request under way.
#[derive(Debug)]
pub(super) struct Client {
    state: Shared,
    connection: Option<Connection>,
}

#[derive(Debug)]
enum Connection {
    Http1 { wire: Wire, chunked: bool },
    Http2(http2::Client),
}

impl Client {
    pub(super) async fn request(
        address: SocketAddr,
        protocol: Protocol,
        request: &Request,
    ) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .context("cannot connect to Envoy")?;
        stream.set_nodelay(true)?;
        let state = State::shared();
        let connection = match protocol {
            Protocol::Http2 => Connection::Http2(
                http2::Client::request(stream, request, Arc::clone(&state)).await?,
            ),
            Protocol::Http1 => {
                let stream = Arc::new(stream);
                let (reading, into) = (Arc::clone(&stream), Arc::clone(&state));
                let message = Message::new(Kind::Response(request.method == "HEAD"));
                let reader = tokio::spawn(async move {
                    read_message(&reading, message, Vec::new(), &into).await;
                });
                let wire = Wire::new(stream, Some(reader));
                wire.send(&frame::request(request)).await?;
                Connection::Http1 {
                    wire,
                    chunked: request.chunked,
                }
            }
        };
        Ok(Self {
            state,
            connection: Some(connection),
        })
    }

    fn connection(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().context("the client has left")
    }

    pub(super) async fn data(&mut self, data: &Data) -> Result<()> {
        match self.connection()? {
            Connection::Http1 { wire, chunked } => {
                wire.send(&frame::data(*chunked, data.text.bytes(), data.end, &[]))
                    .await
            }
            Connection::Http2(client) => client.data(data),
        }
    }

    pub(super) async fn trailers(&mut self, trailers: &[Text]) -> Result<()> {
        match self.connection()? {
            Connection::Http1 {
                wire,
                chunked: true,
            } => wire.send(&frame::data(true, b"", true, trailers)).await,
            Connection::Http1 { .. } => bail!("only a chunked body has trailers"),
            Connection::Http2(client) => client.trailers(trailers),
        }
    }

    /// Waits until the body has this in it.
    pub(super) async fn read(&self, text: &[u8]) -> Result<()> {
        wait::until("the client has read it", async || {
            let body = self.received().body;
            Ok(body
                .windows(text.len())
                .any(|part| part == text)
                .then_some(()))
        })
        .await
    }

    /// Waits until the answer, or the connection, is at its end.
    pub(super) async fn receive(&self) -> Result<()> {
        wait::until("the client has the whole answer", async || {
            let over = look(&self.state, |state| state.ended || state.received.complete);
            Ok(over.then_some(()))
        })
        .await
    }

    /// Goes away: with a reset, or by closing the connection.
    pub(super) fn leave(&mut self, reset: bool) -> Result<()> {
        match &mut self.connection {
            Some(Connection::Http1 { wire, .. }) if reset => wire.reset()?,
            Some(Connection::Http2(client)) if reset => {
                // The stream is reset; the connection goes later.
                client.reset();
                return Ok(());
            }
            _ => {}
        }
        self.connection = None;
        Ok(())
    }

    pub(super) fn received(&self) -> Received {
        look(&self.state, |state| state.received.clone())
    }
}
