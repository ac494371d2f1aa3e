//! The cheapest endpoint that will do.
//!
//! Why: endpoints share the machine with the Envoy that is measured, so that what they cost is heat and cache misses for it.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What every request is answered: as many headers as a small service gives.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    content-type: application/json\r\n\
    content-length: 66\r\n\
    cache-control: no-store\r\n\
    etag: \"5f2b6c01\"\r\n\
    date: Tue, 24 Nov 2026 10:00:00 GMT\r\n\
    \r\n\
    {\"status\":\"ok\",\"padding\":\"as many bytes as a small service sends\"}";

/// A running endpoint: it answers 200 to everything that has no body. Dropping it closes its port and its connections.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    acceptor: JoinHandle<()>,
}

impl Server {
    /// Starts one.
    ///
    /// # Errors
    /// No port is free.
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?;
        let acceptor = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(serve(stream));
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, acceptor })
    }

    /// Returns its address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// Answers each end of a request's headers until the peer is gone.
async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    const END: &[u8] = b"\r\n\r\n";
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    loop {
        buffer.clear();
        while !buffer.ends_with(END) {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        stream.write_all(ANSWER).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_has_the_body_that_it_announces() {
        let text = std::str::from_utf8(ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
    }
}
