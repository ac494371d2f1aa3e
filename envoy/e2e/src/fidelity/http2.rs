//! HTTP/2 without TLS, frame by frame.

use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_cli::fidelity::{Data, HOST, Request, Response, Text};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use super::servers;
use super::wire::{Shared, State, look};

/// The way back of a request.
#[derive(Debug)]
pub(super) struct Answering {
    head: SendResponse<Bytes>,
    body: Option<SendStream<Bytes>>,
}

/// Serves a connection.
pub(super) async fn connection(stream: TcpStream, sender: UnboundedSender<servers::Incoming>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, head))) = connection.accept().await {
        let state = State::shared();
        let (parts, body) = request.into_parts();
        look(&state, |state| {
            let path = parts.uri.path_and_query().map(ToString::to_string);
            state.received.head = format!("{} {}", parts.method, path.unwrap_or_default());
            for (name, value) in &parts.headers {
                state
                    .received
                    .header(name.as_str().as_bytes(), value.as_bytes());
            }
            state.has_head = true;
            state.received.complete = body.is_end_stream();
        });
        let incoming = servers::Incoming {
            state: Arc::clone(&state),
            answer: servers::Answering::Http2(Answering { head, body: None }),
        };
        tokio::spawn(read(body, state));
        if sender.send(incoming).is_err() {
            return;
        }
    }
}

async fn read(mut body: RecvStream, into: Shared) {
    while let Some(data) = body.data().await {
        let Ok(data) = data else {
            look(&into, |state| state.ended = true);
            return;
        };
        let _ = body.flow_control().release_capacity(data.len());
        look(&into, |state| state.received.body.extend_from_slice(&data));
    }
    let trailers = body.trailers().await;
    look(&into, |state| match trailers {
        Ok(trailers) => {
            for (name, value) in trailers.iter().flatten() {
                state
                    .received
                    .trailer(name.as_str().as_bytes(), value.as_bytes());
            }
            state.received.complete = true;
        }
        Err(_) => state.ended = true,
    });
}

fn headers(texts: &[Text]) -> Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for text in texts {
        let (name, value) = text.header();
        map.append(
            HeaderName::from_bytes(name)?,
            HeaderValue::from_bytes(value)?,
        );
    }
    Ok(map)
}

fn bytes(text: &Text) -> Bytes {
    Bytes::copy_from_slice(text.bytes())
}

impl Answering {
    pub(super) fn respond(&mut self, response: &Response, is_head: bool) -> Result<()> {
        let mut head = http::Response::new(());
        *head.status_mut() = response.status.try_into()?;
        *head.headers_mut() = headers(&response.headers)?;
        let nothing = response.body.bytes().is_empty() && response.trailers.is_empty();
        let ends = is_head || (response.end && nothing);
        let mut body = self.head.send_response(head, ends)?;
        if !ends {
            let last = response.end && response.trailers.is_empty();
            if !response.body.bytes().is_empty() {
                body.send_data(bytes(&response.body), last)?;
            }
            if !response.trailers.is_empty() {
                body.send_trailers(headers(&response.trailers)?)?;
            }
        }
        self.body = Some(body);
        Ok(())
    }

    fn body(&mut self) -> Result<&mut SendStream<Bytes>> {
        self.body.as_mut().context("the head comes first")
    }

    pub(super) fn data(&mut self, data: &Data) -> Result<()> {
        Ok(self.body()?.send_data(bytes(&data.text), data.end)?)
    }

    pub(super) fn trailers(&mut self, trailers: &[Text]) -> Result<()> {
        Ok(self.body()?.send_trailers(headers(trailers)?)?)
    }

    pub(super) fn cut(mut self) {
        match &mut self.body {
            Some(body) => body.send_reset(Reason::INTERNAL_ERROR),
            None => self.head.send_reset(Reason::INTERNAL_ERROR),
        }
    }
}

/// A client with one request on one connection.
#[derive(Debug)]
pub(super) struct Client {
    body: SendStream<Bytes>,
    tasks: [JoinHandle<()>; 2],
}

impl Client {
    pub(super) async fn request(
        stream: TcpStream,
        request: &Request,
        into: Shared,
    ) -> Result<Self> {
        let (sender, connection) = h2::client::handshake(stream).await?;
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        let mut sender = sender.ready().await?;
        let mut head = http::Request::new(());
        *head.method_mut() = request.method.parse()?;
        *head.uri_mut() = format!("http://{HOST}{}", request.path).parse()?;
        *head.headers_mut() = headers(&request.headers)?;
        let nothing = request.body.bytes().is_empty() && request.trailers.is_empty();
        let (answer, mut body) = sender.send_request(head, request.end && nothing)?;
        if !(request.end && nothing) {
            let last = request.end && request.trailers.is_empty();
            if !request.body.bytes().is_empty() {
                body.send_data(bytes(&request.body), last)?;
            }
            if !request.trailers.is_empty() {
                body.send_trailers(headers(&request.trailers)?)?;
            }
        }
        let reader = tokio::spawn(async move {
            let Ok(answer) = answer.await else {
                look(&into, |state| state.ended = true);
                return;
            };
            let (parts, body) = answer.into_parts();
            look(&into, |state| {
                state.received.head = parts.status.as_u16().to_string();
                for (name, value) in &parts.headers {
                    state
                        .received
                        .header(name.as_str().as_bytes(), value.as_bytes());
                }
                state.has_head = true;
            });
            read(body, into).await;
        });
        Ok(Self {
            body,
            tasks: [driver, reader],
        })
    }

    pub(super) fn data(&mut self, data: &Data) -> Result<()> {
        Ok(self.body.send_data(bytes(&data.text), data.end)?)
    }

    pub(super) fn trailers(&mut self, trailers: &[Text]) -> Result<()> {
        Ok(self.body.send_trailers(headers(trailers)?)?)
    }

    /// Resets the stream.
    pub(super) fn reset(&mut self) {
        self.body.send_reset(Reason::CANCEL);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
