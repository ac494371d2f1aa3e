//! A complete list of a cluster's endpoints, as a source gave it.

use alloc::{
    collections::{BTreeMap, btree_map::Entry},
    string::String,
    vec::Vec,
};
use core::{net::SocketAddr, num::NonZeroU32};

use super::refusal::Why;

/// Is how many endpoints one answer, and one [`Membership`](super::Membership), may list.
///
/// More than the 10 000 that a feed is made for would need slices of the decisions as well.
pub const MAX_ENDPOINTS: usize = 10_000;

/// Is how many clusters one answer, and one [`Membership`](super::Membership), may have: as many
/// as a configuration may name.
pub const MAX_CLUSTERS: usize = 1024;

/// Is how many zones a cluster may have. A cloud's region has fewer than ten.
pub const MAX_ZONES: usize = 64;

/// Is the longest zone in bytes; Kubernetes' label values end at 63.
pub const MAX_ZONE_BYTES: usize = 128;

/// Is the longest name of a cluster in bytes.
pub const MAX_NAME_BYTES: usize = 1024;

/// Is what discovery (EDS) said about an endpoint.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Discovered {
    /// Serves, at less than its full strength.
    Degraded,
    /// Finishes what it has and takes nothing new.
    Draining,
    /// Serves; also where discovery said nothing.
    #[default]
    Healthy,
    /// Does not serve. Envoy shows its `TIMEOUT` like this.
    Unhealthy,
}

/// Is all that a source says about an endpoint's health.
///
/// The fields are those of Envoy's `HostHealthStatus`, each `false` where it is absent; a feed and a
/// static list have `discovered` only.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Health {
    /// Is `eds_health_status`.
    pub discovered: Discovered,
    /// Is `failed_active_health_check`.
    pub failed_active_health_check: bool,
    /// Is `failed_outlier_check`: Envoy's own outlier detection ejected it.
    pub failed_outlier_check: bool,
    /// Is `failed_active_degraded_check`: an active check called it degraded.
    pub failed_active_degraded_check: bool,
    /// Is `pending_dynamic_removal`: discovery has removed it, active checks still keep it.
    pub pending_dynamic_removal: bool,
    /// Is `pending_active_hc`: it waits for its first active check.
    pub pending_active_hc: bool,
    /// Is `excluded_via_immediate_hc_fail`: a response asked to take it out at once.
    pub excluded_via_immediate_hc_fail: bool,
    /// Is `active_hc_timeout`: the last active check failed by its time-out.
    pub active_hc_timeout: bool,
}

/// Sums an endpoint's health up; where several hold, the first in this order does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Takes nothing new and keeps what it has: EDS `DRAINING`, or a removal that is pending.
    Draining,
    /// Is not to be used: unhealthy by EDS, by an active check, by a response that said so, or
    /// not checked yet.
    Unhealthy,
    /// Was taken out by Envoy's outlier detection.
    Ejected,
    /// Serves where nothing better does.
    Degraded,
    /// Serves.
    Available,
}

impl Health {
    /// Sums it up.
    #[must_use]
    pub const fn standing(self) -> Standing {
        if matches!(self.discovered, Discovered::Draining) || self.pending_dynamic_removal {
            return Standing::Draining;
        }
        if matches!(self.discovered, Discovered::Unhealthy)
            || self.failed_active_health_check
            || self.excluded_via_immediate_hc_fail
            || self.pending_active_hc
        {
            return Standing::Unhealthy;
        }
        if self.failed_outlier_check {
            return Standing::Ejected;
        }
        if matches!(self.discovered, Discovered::Degraded) || self.failed_active_degraded_check {
            return Standing::Degraded;
        }
        Standing::Available
    }
}

/// Names a zone of one listing or of one cluster; it means nothing in another.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct ZoneId(pub(super) Option<u8>);

/// Is a list of the different zones.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Zones(Vec<String>);

impl Zones {
    /// Finds a zone or adds it; the empty one is none. `None` where there are too many.
    pub(super) fn id(&mut self, zone: &str) -> Option<ZoneId> {
        if zone.is_empty() {
            return Some(ZoneId(None));
        }
        let index = self
            .0
            .iter()
            .position(|known| known == zone)
            .unwrap_or(self.0.len());
        if index >= MAX_ZONES {
            return None;
        }
        if index == self.0.len() {
            self.0.push(String::from(zone));
        }
        u8::try_from(index).ok().map(|index| ZoneId(Some(index)))
    }

    /// Is the zone's name; empty for none.
    pub(super) fn name(&self, id: ZoneId) -> &str {
        id.0.and_then(|index| self.0.get(usize::from(index)))
            .map_or("", String::as_str)
    }
}

/// Is what a listing says about one endpoint besides its address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Listed {
    /// Is its share of the traffic in relation to the others'.
    pub weight: NonZeroU32,
    /// Is where it runs.
    pub zone: ZoneId,
    /// Is Envoy's priority: 0 first.
    pub priority: u32,
    /// Is its health.
    pub health: Health,
}

impl Default for Listed {
    /// Is an endpoint of which nothing but the address is known: weight 1, no zone, healthy.
    fn default() -> Self {
        Self {
            weight: NonZeroU32::MIN,
            zone: ZoneId::default(),
            priority: 0,
            health: Health::default(),
        }
    }
}

/// Is a complete list of one cluster's endpoints, ordered by address.
///
/// Bounded by [`MAX_ENDPOINTS`]; an address is there once. About 100 bytes per endpoint.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Listing {
    pub(super) cluster: String,
    pub(super) observability_name: String,
    pub(super) endpoints: BTreeMap<SocketAddr, Listed>,
    pub(super) zones: Zones,
    pub(super) unusable: usize,
    pub(super) repeated: usize,
}

impl Listing {
    /// Starts an empty list of a cluster.
    #[must_use]
    pub fn new(cluster: &str) -> Self {
        Self {
            cluster: String::from(cluster),
            ..Self::default()
        }
    }

    /// Is the cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Is the name under which Envoy counts the cluster (`alt_stat_name`); empty where the source
    /// says none.
    #[must_use]
    pub fn observability_name(&self) -> &str {
        &self.observability_name
    }

    /// Goes through the endpoints, ordered by address.
    pub fn endpoints(&self) -> impl ExactSizeIterator<Item = (SocketAddr, &Listed)> {
        self.endpoints
            .iter()
            .map(|(address, listed)| (*address, listed))
    }

    /// Is the name of an endpoint's zone; empty for none.
    #[must_use]
    pub fn zone(&self, id: ZoneId) -> &str {
        self.zones.name(id)
    }

    /// Is the number of endpoints that no filter can choose: Unix sockets, internal addresses, and
    /// endpoints without an IP or a port. They are left out.
    #[must_use]
    pub const fn unusable(&self) -> usize {
        self.unusable
    }

    /// Is how often an address was there again, in another priority or locality; the first holds.
    #[must_use]
    pub const fn repeated(&self) -> usize {
        self.repeated
    }

    /// Adds an endpoint; its zone is a name.
    pub(super) fn add(
        &mut self,
        address: SocketAddr,
        zone: &str,
        mut listed: Listed,
    ) -> Result<(), Why> {
        if zone.len() > MAX_ZONE_BYTES {
            return Err(Why::TooLong { field: "zone" });
        }
        listed.zone = self.zones.id(zone).ok_or(Why::TooManyZones)?;
        match self.endpoints.entry(address) {
            Entry::Occupied(_) => return Err(Why::EndpointTwice),
            Entry::Vacant(place) => place.insert(listed),
        };
        Ok(())
    }
}

/// Collects the clusters of an answer.
#[derive(Debug, Default)]
pub(super) struct Listings {
    done: Vec<Listing>,
    /// Is the cluster that is being read.
    pub(super) current: Listing,
    /// Is how many endpoints of it were begun.
    pub(super) begun: usize,
    endpoints: usize,
}

impl Listings {
    pub(super) fn begin_cluster(&mut self) -> Result<(), Why> {
        if self.done.len() >= MAX_CLUSTERS {
            return Err(Why::TooManyClusters);
        }
        self.begun = 0;
        self.current = Listing::default();
        Ok(())
    }

    pub(super) fn begin_endpoint(&mut self) -> Result<(), Why> {
        self.begun = self.begun.saturating_add(1);
        if self.endpoints >= MAX_ENDPOINTS {
            return Err(Why::TooManyEndpoints);
        }
        self.endpoints = self.endpoints.saturating_add(1);
        Ok(())
    }

    pub(super) fn name(&mut self, name: &str) -> Result<(), Why> {
        if name.len() > MAX_NAME_BYTES {
            return Err(Why::TooLong { field: "name" });
        }
        self.current.cluster = String::from(name);
        Ok(())
    }

    /// Ends a cluster, in its place by name.
    pub(super) fn end_cluster(&mut self) -> Result<(), Why> {
        if self.current.cluster.is_empty() {
            return Err(Why::Missing { field: "name" });
        }
        let name = &self.current.cluster;
        match self
            .done
            .binary_search_by(|done| done.cluster.as_str().cmp(name))
        {
            Ok(_) => Err(Why::ClusterTwice),
            Err(place) => {
                self.done.insert(place, core::mem::take(&mut self.current));
                Ok(())
            }
        }
    }

    pub(super) fn take(&mut self) -> Vec<Listing> {
        core::mem::take(&mut self.done)
    }
}
