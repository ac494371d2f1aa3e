//! Speaks to Envoy's admin.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::error::LiveError;

/// How long the admin may take to begin its answer. It answers from its main thread, which a slow `/clusters` of thousands of
/// endpoints holds for some hundred milliseconds.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The most that is read of an answer that ends: a list of 50 000 endpoints.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where an Envoy's admin listens: a name or an address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminAddress(String);

/// An address that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `HOST:PORT`, as `127.0.0.1:9901`; the admin speaks plain HTTP")]
pub struct AdminAddressError;

impl FromStr for AdminAddress {
    type Err = AdminAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_prefix("http://").unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        let (host, port) = text.rsplit_once(':').ok_or(AdminAddressError)?;
        let is_bare_v6 = host.contains(':') && !host.starts_with('[');
        let is_whole = !host.is_empty() && !host.contains(['/', '@', ' ']) && !is_bare_v6;
        if !is_whole || port.parse::<u16>().map_or(true, |port| port == 0) {
            return Err(AdminAddressError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

pub(super) fn runtime() -> Result<Runtime, LiveError> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LiveError::Signals)
}

/// Attaches a tap and returns the answer that holds what it sees.
pub(super) async fn attach(
    address: &AdminAddress,
    tap_id: &str,
    request: String,
) -> Result<Incoming, LiveError> {
    let response = send(address, Method::POST, "/tap", request).await?;
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response.into_body());
    }
    let text = text(address, response).await?;
    Err(LiveError::of_answer(address, tap_id, status, &text))
}

/// Returns what the admin answers to a GET with 200; `None` for any other status.
pub(super) async fn get(address: &AdminAddress, path: &str) -> Result<Option<String>, LiveError> {
    let response = send(address, Method::GET, path, String::new()).await?;
    if response.status() != StatusCode::OK {
        return Ok(None);
    }
    text(address, response).await.map(Some)
}

async fn send(
    address: &AdminAddress,
    method: Method,
    path: &str,
    body: String,
) -> Result<Response<Incoming>, LiveError> {
    let answered = timeout(ANSWER_TIME, async {
        let mut sender = connect(address).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| LiveError::no_http(address, &error))?;
        let answered = sender.send_request(request).await;
        answered.map_err(|error| LiveError::no_http(address, &error))
    });
    answered.await.map_err(|_elapsed| LiveError::Silent {
        address: address.to_string(),
    })?
}

async fn connect(address: &AdminAddress) -> Result<SendRequest<String>, LiveError> {
    let stream = TcpStream::connect(&address.0)
        .await
        .map_err(|source| LiveError::Unreachable {
            address: address.to_string(),
            source,
        })?;
    let handshake = handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| LiveError::no_http(address, &error))?;
    // How it ends is seen by who reads the answer.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn text(address: &AdminAddress, response: Response<Incoming>) -> Result<String, LiveError> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
    let body = timeout(ANSWER_TIME, body).await;
    let body = body.map_err(|_elapsed| LiveError::Silent {
        address: address.to_string(),
    })?;
    let body = body.map_err(|error| LiveError::no_http(address, error.as_ref()))?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, expected) in [
            ("127.0.0.1:9901", "127.0.0.1:9901"),
            ("http://localhost:15000/", "localhost:15000"),
            ("[::1]:9901", "[::1]:9901"),
        ] {
            assert_eq!(text.parse::<AdminAddress>().unwrap().to_string(), expected);
        }
        for text in [
            "",
            "9901",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:99999",
            ":9901",
            "::1:9901",
            "https://127.0.0.1:9901",
            "127.0.0.1:9901/tap",
        ] {
            assert_eq!(
                text.parse::<AdminAddress>(),
                Err(AdminAddressError),
                "{text}"
            );
        }
    }
}
