//! The way to Envoy's admin for a cluster of Envoy's own: its address is known only once Envoy has started, and the cluster
//! has to lead somewhere before.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Passes connections on to the admin; those that come before it is known wait. Dropping it cuts them.
#[derive(Debug)]
pub(super) struct Relay {
    address: SocketAddr,
    admin: watch::Sender<Option<SocketAddr>>,
    task: JoinHandle<()>,
}

impl Relay {
    /// # Errors
    /// No port is free.
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (admin, known) = watch::channel(None);
        let task = tokio::spawn(pass(listener, known));
        Ok(Self {
            address,
            admin,
            task,
        })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn lead_to(&self, admin: SocketAddr) {
        self.admin.send_replace(Some(admin));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(listener: TcpListener, known: watch::Receiver<Option<SocketAddr>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((mut client, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let mut known = known.clone();
        connections.spawn(async move {
            let admin = known
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|admin| *admin);
            let Some(admin) = admin else {
                return;
            };
            if let Ok(mut server) = TcpStream::connect(admin).await {
                // Who ends the connection, and how, is theirs.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
