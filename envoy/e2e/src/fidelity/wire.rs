//! A TCP connection whose parts are read in the background and that can be reset at any time.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tidegate_cli::fidelity::Received;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::http1::Message;

/// What has arrived so far; the reader adds to it.
pub(super) type Shared = Arc<Mutex<State>>;

/// A message on its way in.
#[derive(Debug)]
pub(super) struct State {
    pub(super) received: Received,
    pub(super) has_head: bool,
    /// Whether the connection has ended.
    pub(super) ended: bool,
    /// Whether this side has ended it.
    pub(super) cut: bool,
}

impl State {
    pub(super) fn shared() -> Shared {
        Arc::new(Mutex::new(Self {
            received: Received::default(),
            has_head: false,
            ended: false,
            cut: false,
        }))
    }
}

/// Looks at a shared value.
pub(super) fn look<T>(shared: &Shared, look: impl FnOnce(&mut State) -> T) -> T {
    look(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A connection that is written to here and read elsewhere.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Arc<TcpStream>,
    reader: Option<JoinHandle<()>>,
}

impl Wire {
    pub(super) fn new(stream: Arc<TcpStream>, reader: Option<JoinHandle<()>>) -> Self {
        Self { stream, reader }
    }

    /// Writes all bytes at once, so that they arrive together.
    pub(super) async fn send(&self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("cannot send"),
            }
        }
        Ok(())
    }

    /// Makes the end of the connection a reset.
    pub(super) fn reset(&self) -> Result<()> {
        self.stream.set_zero_linger().context("cannot reset")
    }

    /// Ends the connection for both directions, whoever else still holds it.
    pub(super) fn cut(self, reset: bool) -> Result<()> {
        // Whoever reads sees the end and lets go; the last one to let go sends the reset.
        let socket = socket2::SockRef::from(&*self.stream);
        if reset {
            self.reset()?;
            socket.shutdown(std::net::Shutdown::Read)?;
        } else {
            socket.shutdown(std::net::Shutdown::Both)?;
        }
        Ok(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.abort();
        }
    }
}

/// Reads what there is; nothing is the end.
pub(super) async fn read(stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut bytes) {
            Ok(count) => {
                bytes.truncate(count);
                return Ok(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads one message until it or the connection ends; returns what came behind it, or nothing at the end of the
/// connection.
pub(super) async fn read_message(
    stream: &TcpStream,
    mut message: Message,
    mut bytes: Vec<u8>,
    into: &Shared,
) -> Option<Vec<u8>> {
    loop {
        let rest = message.feed(&bytes).ok()?;
        look(into, |state| {
            state.received = message.received.clone();
            state.has_head = message.has_head();
        });
        if message.received.complete {
            return Some(rest);
        }
        bytes = read(stream).await.unwrap_or_default();
        if bytes.is_empty() {
            message.end();
            look(into, |state| {
                state.received = message.received.clone();
                state.ended = true;
            });
            return None;
        }
    }
}
