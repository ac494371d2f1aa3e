//! One client: its address, its cookies and its connections.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{GetAll, HeaderValue};
use hyper_util::rt::TokioIo;
use tidegate_cli::replay::jar::Jar;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clients::http::connect;

/// The body of a request.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Where a client says that it came to: nobody is at the address.
const DESTINATION: &str = "10.255.255.254";

/// A client.
#[derive(Debug)]
pub(super) struct Session {
    address: String,
    jar: Option<Mutex<Jar>>,
    /// When the cookies' time begins.
    since: Instant,
    idle: Mutex<Vec<Connection>>,
}

/// A connection to the proxy; dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<Body>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    pub(super) fn new(address: &str, keeps_cookies: bool) -> Self {
        Self {
            address: address.to_owned(),
            jar: keeps_cookies.then(Mutex::default),
            since: Instant::now(),
            idle: Mutex::default(),
        }
    }

    /// Returns the connection that the client has, or another one while that is busy.
    ///
    /// # Errors
    /// The proxy takes none.
    pub(super) async fn connection(&self, edge: SocketAddr) -> Result<Connection> {
        loop {
            let idle = lock(&self.idle).pop();
            let Some(mut idle) = idle else {
                break;
            };
            if idle.sender.ready().await.is_ok() {
                return Ok(idle);
            }
        }
        let mut stream = connect(edge, None).await?;
        let address: SocketAddr = self
            .address
            .parse()
            .with_context(|| format!("`{}` is no address of a client", self.address))?;
        let preface = match address {
            SocketAddr::V4(_) => {
                format!(
                    "PROXY TCP4 {} {DESTINATION} {} 80\r\n",
                    address.ip(),
                    address.port()
                )
            }
            SocketAddr::V6(_) => {
                format!(
                    "PROXY TCP6 {} ::ffff:{DESTINATION} {} 80\r\n",
                    address.ip(),
                    address.port()
                )
            }
        };
        stream.write_all(preface.as_bytes()).await?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        // How the connection ended is seen by the request that is on it.
        let driver = tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        sender.ready().await?;
        Ok(Connection { sender, driver })
    }

    /// Keeps a connection for the next request, if it can have one.
    pub(super) async fn keep(&self, mut connection: Connection) {
        if connection.sender.ready().await.is_ok() {
            lock(&self.idle).push(connection);
        }
    }

    /// Takes over the cookies of an answer to a request for this path.
    pub(super) fn store(&self, set: GetAll<'_, HeaderValue>, path: &str) {
        let Some(jar) = &self.jar else {
            return;
        };
        for value in set {
            lock(jar).set(value.as_bytes(), path.as_bytes(), self.now_ns());
        }
    }

    /// Returns the `cookie` header of a request for this path that has these of its own.
    pub(super) fn cookies(&self, path: &str, own: &[&[u8]]) -> Option<Vec<u8>> {
        lock(self.jar.as_ref()?).header(path.as_bytes(), false, own, self.now_ns())
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
