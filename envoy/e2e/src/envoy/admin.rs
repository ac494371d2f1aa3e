//! Envoy's admin interface.
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that has no such field is null, not a panic"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::clients::http::Client;

#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
}

impl Admin {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns status and body.
    pub(crate) async fn get(&self, path: &str) -> Result<(u16, String)> {
        let answer = Client::new(self.address).get(path).await?;
        Ok((answer.status, answer.text()))
    }

    /// Returns the listeners' addresses by name.
    pub(crate) async fn listeners(&self) -> Result<BTreeMap<String, SocketAddr>> {
        let (_, body) = self.get("/listeners?format=json").await?;
        let parsed: Value = serde_json::from_str(&body).context("the admin lists no listeners")?;
        let mut listeners = BTreeMap::new();
        for status in parsed["listener_statuses"].as_array().into_iter().flatten() {
            let socket = &status["local_address"]["socket_address"];
            let name = status["name"]
                .as_str()
                .context("a listener without a name")?;
            let ip = socket["address"]
                .as_str()
                .context("a listener without an address")?
                .parse()?;
            let port = socket["port_value"]
                .as_u64()
                .context("a listener without a port")?;
            listeners.insert(name.to_owned(), SocketAddr::new(ip, u16::try_from(port)?));
        }
        Ok(listeners)
    }
}
