//! A real HTTP server on a free port that answers as it is told and remembers what it was asked.

mod answer;
pub mod grpc;
mod server;
mod websocket;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use hyper::header::HeaderMap;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use answer::{Answer, Ending};

/// One request as it arrived at an upstream.
#[derive(Clone, Debug)]
pub struct Received {
    /// The upstream's own address.
    pub upstream: SocketAddr,
    /// When its headers had arrived.
    pub at: Instant,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The size of the body in bytes; 0 for a WebSocket.
    pub body_bytes: usize,
}

impl Received {
    /// Returns the first value of a header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What an upstream does with a request.
pub type Script = Arc<dyn Fn(&Received) -> Answer + Send + Sync>;

/// A running server. Dropping it closes its port and its connections.
pub struct Upstream {
    address: SocketAddr,
    seen: Seen,
    acceptor: JoinHandle<()>,
}

type Seen = Arc<Mutex<Vec<Received>>>;

impl std::fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Upstream")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Upstream {
    /// Starts a server that answers as the request asks ([`Answer::asked_by`]), by default with its own address.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> Result<Self> {
        Self::scripted(Arc::new(Answer::asked_by)).await
    }

    /// Starts a server that answers as `script` says. A path under `/ws` is a WebSocket for a client that upgrades.
    ///
    /// # Errors
    /// No port is free.
    pub async fn scripted(script: Script) -> Result<Self> {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), script).await
    }

    /// Starts a server at a given address, such as the one of a server that was dropped.
    ///
    /// # Errors
    /// The address is in use.
    pub async fn at(address: SocketAddr, script: Script) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let seen = Seen::default();
        let acceptor = tokio::spawn(server::serve(listener, address, script, Arc::clone(&seen)));
        Ok(Self {
            address,
            seen,
            acceptor,
        })
    }

    /// Starts several servers.
    ///
    /// # Errors
    /// As [`Upstream::start`].
    pub async fn several(count: usize) -> Result<Vec<Self>> {
        let mut servers = Vec::with_capacity(count);
        for _ in 0..count {
            servers.push(Self::start().await?);
        }
        Ok(servers)
    }

    /// Returns the server's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what has arrived so far, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// Returns the addresses of servers.
#[must_use]
pub fn addresses(upstreams: &[Upstream]) -> Vec<SocketAddr> {
    upstreams.iter().map(Upstream::address).collect()
}
