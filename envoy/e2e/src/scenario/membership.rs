//! Clusters' members, as files that Envoy watches.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Map, Value, json};
use tidegate_model::scenario::Health;

use super::clock::Clock;
use super::endpoint::Endpoint;
use crate::discovery;

/// One cluster's members in the course of a scenario.
#[derive(Debug)]
pub(super) struct Membership {
    name: String,
    folder: PathBuf,
}

impl Membership {
    pub(super) fn new(name: &str, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
        }
    }

    /// Writes the members at a time.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn write(&self, endpoints: &[Endpoint], now_ns: u64) -> Result<()> {
        let members = endpoints.iter().filter_map(|endpoint| {
            let health = endpoint.membership(now_ns)?;
            let member = member(
                endpoint.address(),
                endpoint.real(),
                endpoint.weight(),
                health,
            );
            Some((endpoint.zone(), member))
        });
        self.publish(members)
    }

    /// Writes one member that is an address of this machine.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn write_plain(&self, address: SocketAddr) -> Result<()> {
        let member = member(address, address, 1, Health::Healthy);
        self.publish([("", member)].into_iter())
    }

    /// Writes the members whenever they change.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) async fn follow(&self, endpoints: &[Endpoint], clock: &Clock) -> Result<()> {
        let times: BTreeSet<u64> = endpoints
            .iter()
            .flat_map(Endpoint::changes)
            .copied()
            .collect();
        for time in times {
            clock.until(time).await;
            self.write(endpoints, time)?;
        }
        Ok(())
    }

    fn publish<'a>(&self, members: impl Iterator<Item = (&'a str, Value)>) -> Result<()> {
        // By zone, in the order in which zones come first.
        let mut zones: Vec<(&str, Vec<Value>)> = Vec::new();
        for (zone, member) in members {
            match zones.iter_mut().find(|(known, _)| *known == zone) {
                Some((_, members)) => members.push(member),
                None => zones.push((zone, vec![member])),
            }
        }
        let endpoints: Vec<Value> = zones
            .into_iter()
            .map(|(zone, members)| json!({ "locality": locality(zone), "lb_endpoints": members }))
            .collect();
        discovery::publish(&self.folder, &self.name, &endpoints.into())
    }
}

fn locality(zone: &str) -> Value {
    let mut locality = Map::new();
    if !zone.is_empty() {
        locality.insert("zone".to_owned(), json!(zone));
    }
    locality.into()
}

/// A member that Envoy knows by one address and reaches at another.
fn member(known: SocketAddr, real: SocketAddr, weight: u32, health: Health) -> Value {
    let health = match health {
        Health::Healthy => "HEALTHY",
        Health::Degraded => "DEGRADED",
        Health::Unhealthy => "UNHEALTHY",
        Health::Draining => "DRAINING",
    };
    let mut member = json!({
        "endpoint": { "address": super::bootstrap::socket(known) },
        "health_status": health,
        "load_balancing_weight": weight,
    });
    if let (true, Some(member)) = (known != real, member.as_object_mut()) {
        // Where a connection is made to this key's address is decided before any transport socket, so that nothing else of
        // the HTTP proxy that the key is meant for comes into play.
        let mut address = super::bootstrap::socket(real);
        if let Some(address) = address.as_object_mut() {
            let kind = json!("type.googleapis.com/envoy.config.core.v3.Address");
            address.insert("@type".to_owned(), kind);
        }
        let metadata = json!({
            "typed_filter_metadata": { "envoy.http11_proxy_transport_socket.proxy_address": address },
        });
        member.insert("metadata".to_owned(), metadata);
    }
    member
}
