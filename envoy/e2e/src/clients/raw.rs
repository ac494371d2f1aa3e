//! What no library does: half a request, and a connection that is reset.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http::connect;

/// A connection that takes any bytes.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
}

impl Raw {
    /// Connects.
    ///
    /// # Errors
    /// The address cannot be reached.
    pub async fn connect(address: SocketAddr, from: Option<IpAddr>) -> Result<Self> {
        Ok(Self {
            stream: connect(address, from).await?,
        })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.context("cannot send")
    }

    /// Reads until `end` has arrived, and returns everything read.
    ///
    /// # Errors
    /// The connection ends before that.
    pub async fn read_until(&mut self, end: &[u8]) -> Result<Vec<u8>> {
        let mut seen = Vec::new();
        while !seen.windows(end.len()).any(|window| window == end) {
            let mut piece = [0; 4096];
            let size = self.stream.read(&mut piece).await?;
            anyhow::ensure!(size > 0, "the connection ended after {} bytes", seen.len());
            seen.extend_from_slice(piece.get(..size).unwrap_or_default());
        }
        Ok(seen)
    }

    /// Resets the connection (RST instead of FIN).
    ///
    /// # Errors
    /// The socket is gone.
    pub fn reset(self) -> Result<()> {
        self.stream.set_zero_linger().context("cannot reset")
    }
}
