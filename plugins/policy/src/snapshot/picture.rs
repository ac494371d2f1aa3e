//! The snapshot as its one writer, the leader, builds it.

use alloc::{
    collections::{BTreeMap, btree_map},
    vec::Vec,
};

use super::{
    address::EndpointAddress,
    endpoint::{Endpoint, MAX_RECORD_BYTES, RECORD_BYTES, put_record},
    fields::Fields,
    frame::{Kind, PREFIX_BYTES},
};
use crate::units::WallTime;

/// Is how many endpoints a snapshot holds: 620 kB, which every worker copies once for each change.
///
/// It is what the largest sources of membership list; more would grow the memory of every worker.
pub const MAX_ENDPOINTS: usize = 10_000;

/// Is how many zones a snapshot names. A cluster in more zones than that has its zones wrong.
pub const MAX_ZONES: usize = 128;

/// Is the longest name of a zone, in bytes. Clouds' names have up to 30; the whole table stays below
/// 9 kB.
pub const MAX_ZONE_BYTES: usize = 64;

/// Is what prefix and header of a snapshot take: configuration, cluster, epoch, generation, time
/// (8 each), zones and their bytes (2 each).
const HEADER_BYTES: usize = PREFIX_BYTES + 44;

/// Is what makes bytes a snapshot.
pub(super) const SNAPSHOT: Kind = Kind {
    magic: *b"TgSnapsh",
    header_bytes: HEADER_BYTES,
    record_bytes: RECORD_BYTES,
    max_record_bytes: MAX_RECORD_BYTES,
    max_records: MAX_ENDPOINTS,
};

/// Says which picture this is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Is the digest of the configuration it was made under; another one's is not to be used.
    pub configuration: u64,
    /// Is the digest of the cluster's name (`cluster_digest`).
    pub cluster: u64,
    /// Is the fencing epoch of the leader that wrote it.
    pub epoch: u64,
    /// Counts the writer's snapshots of this cluster.
    pub generation: u64,
    /// Is when it was written, in nanoseconds of the clock that all VMs share.
    pub published_at: WallTime,
}

impl Header {
    fn put(&self, out: &mut Vec<u8>) {
        for field in [
            self.configuration,
            self.cluster,
            self.epoch,
            self.generation,
            self.published_at.as_ns(),
        ] {
            out.extend_from_slice(&field.to_be_bytes());
        }
    }

    pub(super) fn take(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            configuration: fields.u64()?,
            cluster: fields.u64()?,
            epoch: fields.u64()?,
            generation: fields.u64()?,
            published_at: fields.exact_moment()?,
        })
    }
}

/// Says why an endpoint was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The address is there already; the earlier one stays.
    #[error("endpoint {0} is there already")]
    Duplicate(EndpointAddress),
    /// There are [`MAX_ENDPOINTS`].
    #[error("must have at most {MAX_ENDPOINTS} endpoints")]
    Full,
    /// The zone's name is longer than [`MAX_ZONE_BYTES`].
    #[error("must have a zone of at most {MAX_ZONE_BYTES} bytes, got {bytes}")]
    ZoneTooLong {
        /// Is its length.
        bytes: usize,
    },
    /// There are [`MAX_ZONES`] others.
    #[error("must be in at most {MAX_ZONES} zones")]
    ZonesFull,
}

/// Is what is known of one cluster's endpoints, sorted by address. Two that were filled in another
/// order are equal, and so are their bytes.
///
/// Cost: pushing and finding O(log n); a zone that is new O(n). About 130 bytes for each endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot {
    /// Says which picture this is. The writer sets it before it encodes.
    pub header: Header,
    /// Are the names, sorted.
    zones: Vec<Vec<u8>>,
    endpoints: BTreeMap<EndpointAddress, Placed>,
}

/// Is an endpoint and the index of its zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Placed {
    endpoint: Endpoint,
    zone: Option<u8>,
}

impl Snapshot {
    /// Starts a picture without endpoints.
    #[must_use]
    pub const fn new(header: Header) -> Self {
        Self {
            header,
            zones: Vec::new(),
            endpoints: BTreeMap::new(),
        }
    }

    /// Is the number of endpoints.
    #[must_use]
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Says whether there is no endpoint.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Adds an endpoint. `zone` is the name of its zone, empty where it has none. Times are rounded
    /// down to milliseconds.
    ///
    /// # Errors
    /// See [`PushError`]; the snapshot is then as it was.
    pub fn try_push(
        &mut self,
        address: EndpointAddress,
        endpoint: Endpoint,
        zone: &[u8],
    ) -> Result<(), PushError> {
        if self.endpoints.contains_key(&address) {
            return Err(PushError::Duplicate(address));
        }
        if self.endpoints.len() >= MAX_ENDPOINTS {
            return Err(PushError::Full);
        }
        let zone = if zone.is_empty() {
            None
        } else {
            Some(self.zone_index(zone)?)
        };
        let endpoint = endpoint.rounded();
        self.endpoints.insert(address, Placed { endpoint, zone });
        Ok(())
    }

    /// Is what is known of an endpoint; `None` where it is no member.
    #[must_use]
    pub fn get(&self, address: &EndpointAddress) -> Option<&Endpoint> {
        self.endpoints.get(address).map(|placed| &placed.endpoint)
    }

    /// Changes what is known of an endpoint, and says whether that made a difference. `None` where
    /// it is no member.
    pub fn update(
        &mut self,
        address: &EndpointAddress,
        change: impl FnOnce(&mut Endpoint),
    ) -> Option<bool> {
        let placed = self.endpoints.get_mut(address)?;
        let before = placed.endpoint;
        change(&mut placed.endpoint);
        placed.endpoint = placed.endpoint.rounded();
        Some(placed.endpoint != before)
    }

    /// Takes an endpoint out, and its zone if it was the last there; `None` where it was no member.
    /// Cost: O(n) for an endpoint with a zone.
    pub fn remove(&mut self, address: &EndpointAddress) -> Option<Endpoint> {
        let Placed { endpoint, zone } = self.endpoints.remove(address)?;
        if let Some(zone) = zone
            && !self
                .endpoints
                .values()
                .any(|placed| placed.zone == Some(zone))
        {
            self.zones.remove(usize::from(zone));
            for placed in self.endpoints.values_mut() {
                placed.zone = placed
                    .zone
                    .map(|other| other.saturating_sub(u8::from(other > zone)));
            }
        }
        Some(endpoint)
    }

    /// Lists endpoints in the order of their addresses.
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.endpoints.iter())
    }

    /// Replaces `out` by the snapshot's bytes; its capacity is used again.
    pub fn encode(&self, out: &mut Vec<u8>) {
        SNAPSHOT.begin(out, self.endpoints.len());
        self.header.put(out);
        let zone_bytes = self.zones.iter().fold(0_usize, |sum, zone| {
            sum.saturating_add(zone.len()).saturating_add(1)
        });
        for size in [self.zones.len(), zone_bytes] {
            out.extend_from_slice(&u16::try_from(size).unwrap_or(u16::MAX).to_be_bytes());
        }
        for (address, placed) in &self.endpoints {
            put_record(out, *address, &placed.endpoint, placed.zone);
        }
        for zone in &self.zones {
            out.push(u8::try_from(zone.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(zone);
        }
        SNAPSHOT.finish(out);
    }

    /// Finds or adds a zone. The table stays sorted, so that the order of pushes leaves no trace.
    fn zone_index(&mut self, name: &[u8]) -> Result<u8, PushError> {
        if name.len() > MAX_ZONE_BYTES {
            return Err(PushError::ZoneTooLong { bytes: name.len() });
        }
        let place = match self
            .zones
            .binary_search_by(|zone| zone.as_slice().cmp(name))
        {
            Ok(place) => return u8::try_from(place).map_err(|_| PushError::ZonesFull),
            Err(place) => place,
        };
        if self.zones.len() >= MAX_ZONES {
            return Err(PushError::ZonesFull);
        }
        let index = u8::try_from(place).map_err(|_| PushError::ZonesFull)?;
        self.zones.insert(place, name.to_vec());
        for placed in self.endpoints.values_mut() {
            placed.zone = placed
                .zone
                .map(|zone| zone.saturating_add(u8::from(zone >= index)));
        }
        Ok(index)
    }
}

/// Lists a snapshot's endpoints in the order of their addresses.
#[derive(Clone, Debug)]
pub struct Iter<'a>(btree_map::Iter<'a, EndpointAddress, Placed>);

impl<'a> Iterator for Iter<'a> {
    type Item = (EndpointAddress, &'a Endpoint);

    fn next(&mut self) -> Option<Self::Item> {
        self.0
            .next()
            .map(|(address, placed)| (*address, &placed.endpoint))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<'a> IntoIterator for &'a Snapshot {
    type Item = (EndpointAddress, &'a Endpoint);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}
