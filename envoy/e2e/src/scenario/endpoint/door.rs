//! Whether connections to an endpoint can be made, and the connections that there are.
//!
//! Why: a port that nobody listens on refuses at once. One whose queue is full drops what comes, so that a connection
//! neither succeeds nor fails: that is the unreachable endpoint, without another machine and without being root.
//! Limits: the queue's part is Linux's; elsewhere such an endpoint may refuse instead.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use socket2::{Domain, SockRef, Socket, Type};
use tidegate_model::endpoint::Connects;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Shared;
use super::answer::connection;

/// How many connections may wait to be accepted, as usual.
const QUEUE: i32 = 1024;

/// How long a connection may take before the queue counts as full: on loopback it takes microseconds.
const FULL: Duration = Duration::from_millis(20);

/// A port of this machine that stays this endpoint's also while nobody listens on it.
#[derive(Debug)]
pub(super) struct Port {
    address: SocketAddr,
    // Bound and never listening: what keeps the number.
    _reserved: Socket,
}

impl Port {
    /// Takes a port that the kernel chooses.
    pub(super) fn reserve() -> Result<Self> {
        let socket = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = socket.local_addr()?.as_socket();
        Ok(Self {
            address: address.ok_or_else(|| anyhow::anyhow!("a socket without an address"))?,
            _reserved: socket,
        })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    fn listen(&self) -> Result<TcpListener> {
        let socket = bound(self.address)?;
        socket.listen(QUEUE)?;
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from_std(socket.into())?)
    }
}

fn bound(address: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Two sockets may have one address as long as only one of them listens.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Takes connections as the timeline says, until it is aborted.
pub(super) async fn keep(port: Port, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut listener = None;
    let mut fill = Vec::new();
    let mut door = Connects::Refused;
    let mut changes = shared.changes.iter().copied();
    loop {
        let now = shared.connects();
        if now != door || listener.is_none() {
            fill.clear();
            match now {
                Connects::Yes => open(&port, &mut listener),
                Connects::Refused => {
                    listener = None;
                    connections.shutdown().await;
                }
                Connects::Never => {
                    open(&port, &mut listener);
                    fill = fill_up(listener.as_ref(), port.address).await;
                }
            }
            door = now;
        }
        let change = changes.next();
        let changed = async {
            match change {
                Some(time) => shared.clock.until(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(changed);
        loop {
            tokio::select! {
                biased;
                () = &mut changed => break,
                stream = accept(listener.as_ref()), if door == Connects::Yes => {
                    connections.spawn(connection(stream, Arc::clone(&shared)));
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
    }
}

/// Listens, with a queue as usual.
fn open(port: &Port, listener: &mut Option<TcpListener>) {
    match listener {
        Some(listening) => {
            let _ = SockRef::from(&*listening).listen(QUEUE);
        }
        // Nobody else can have the port: it is reserved.
        None => *listener = port.listen().ok(),
    }
}

/// Makes the queue as short as can be and fills it.
async fn fill_up(listener: Option<&TcpListener>, address: SocketAddr) -> Vec<TcpStream> {
    let mut fill = Vec::new();
    if let Some(listener) = listener {
        let _ = SockRef::from(listener).listen(0);
    }
    while let Ok(Ok(stream)) = tokio::time::timeout(FULL, TcpStream::connect(address)).await {
        fill.push(stream);
    }
    fill
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        // What goes wrong with one connection is no reason to take no other.
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            return stream;
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_refuses_until_it_is_listened_on_and_takes_nothing_once_it_is_full() {
        let port = Port::reserve().unwrap();
        let connect = || tokio::time::timeout(10 * FULL, TcpStream::connect(port.address()));
        assert!(connect().await.unwrap().is_err());
        let mut listener = None;
        open(&port, &mut listener);
        connect().await.unwrap().unwrap();
        let fill = fill_up(listener.as_ref(), port.address()).await;
        assert!(connect().await.is_err(), "a full queue took a connection");
        drop(fill);
        open(&port, &mut listener);
        let listening = listener.as_ref();
        let (client, _server) = tokio::join!(connect(), accept(listening));
        client.unwrap().unwrap();
        drop(listener);
        assert!(connect().await.unwrap().is_err());
    }
}
