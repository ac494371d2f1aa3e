//! A real gRPC server over HTTP/2, for bytes instead of messages.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Compression flag and length of a message.
const PREFIX_BYTES: usize = 5;

/// A running server. The last part of a request's path says what it does:
///
/// | method | answer |
/// | --- | --- |
/// | `Echo` | the message, with `RE:` before it, and status 0 |
/// | `Deny` | status 7, `no entry`, in headers alone |
/// | `Talk` | each message with `S:` before it, `END` after the client's last, status 0 |
/// | `Die` | each message with `S:` before it, then status 10, `died` |
///
/// Initial metadata has `x-initial: 1`. Dropping it closes its port.
#[derive(Debug)]
pub struct GrpcUpstream {
    address: SocketAddr,
    acceptor: JoinHandle<()>,
}

impl GrpcUpstream {
    /// Starts a server.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let acceptor = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket));
            }
        });
        Ok(Self { address, acceptor })
    }

    /// Returns the server's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for GrpcUpstream {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn serve(socket: TcpStream) {
    let Ok(mut connection) = h2::server::handshake(socket).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        // A client that goes away is its own affair.
        tokio::spawn(async move { drop(answer(request, respond).await) });
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<()> {
    let method = request.uri().path().rsplit('/').next().map(str::to_owned);
    let method = method.unwrap_or_default();
    let head = Response::builder().header("content-type", "application/grpc");
    if method == "Deny" {
        let head = head
            .header("grpc-status", "7")
            .header("grpc-message", "no entry");
        respond.send_response(head.body(())?, true)?;
        return Ok(());
    }
    let head = head.header("x-initial", "1").body(())?;
    let mut stream = respond.send_response(head, false)?;
    let mut body = request.into_body();
    let mut pending = BytesMut::new();
    let prefix = if method == "Echo" { "RE:" } else { "S:" };
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        pending.extend_from_slice(&part);
        while let Some(message) = take(&mut pending) {
            send(&mut stream, &[prefix.as_bytes(), &message].concat())?;
            if method == "Die" {
                return end(&mut stream, "10", Some("died"));
            }
        }
    }
    if method == "Talk" {
        send(&mut stream, b"END")?;
    }
    end(&mut stream, "0", None)
}

fn take(pending: &mut BytesMut) -> Option<Bytes> {
    let mut prefix = pending.get(..PREFIX_BYTES)?;
    prefix.advance(1);
    let size = usize::try_from(prefix.get_u32()).ok()?;
    if pending.len() < PREFIX_BYTES + size {
        return None;
    }
    pending.advance(PREFIX_BYTES);
    Some(pending.split_to(size).freeze())
}

fn send(stream: &mut SendStream<Bytes>, message: &[u8]) -> Result<()> {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).context("a message is too long")?);
    framed.extend_from_slice(message);
    stream.send_data(framed.freeze(), false)?;
    Ok(())
}

fn end(stream: &mut SendStream<Bytes>, status: &'static str, message: Option<&str>) -> Result<()> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    if let Some(message) = message {
        trailers.insert("grpc-message", message.parse()?);
    }
    stream.send_trailers(trailers)?;
    Ok(())
}
