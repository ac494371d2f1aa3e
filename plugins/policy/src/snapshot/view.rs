//! The snapshot as workers read it: in place.

use alloc::vec::Vec;
use core::{ops::Range, time::Duration};

use super::{
    address::{ADDRESS_BYTES, EndpointAddress},
    endpoint::{Endpoint, State, read_record},
    fields::Fields,
    frame::{PREFIX_BYTES, Records, SnapshotError},
    picture::{Header, MAX_ZONE_BYTES, MAX_ZONES, SNAPSHOT, Snapshot},
};
use crate::units::WallTime;

/// Is a snapshot's bytes that were found whole; reading them allocates nothing.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotView<'a> {
    header: Header,
    /// Is where the records begin.
    records_at: usize,
    records: Records<'a>,
    zones: &'a [u8],
    turns_away: bool,
    has_levels: bool,
}

/// Is one endpoint of a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry<'a> {
    /// Is its address.
    pub address: EndpointAddress,
    /// Is its address as bytes, in place: what replicas hash it by ([`EndpointAddress::from_name`]).
    pub name: &'a [u8],
    /// Is what is known of it.
    pub endpoint: Endpoint,
    /// Is the name of its zone; empty where it has none.
    pub zone: &'a [u8],
}

impl<'a> SnapshotView<'a> {
    /// Checks a snapshot's bytes: all of them, so once for each change and not for each request.
    ///
    /// # Errors
    /// See [`SnapshotError`]: magic, major version, length, checksum, sizes, zones, order of the
    /// records and their fields, in that order.
    pub fn open(bytes: &'a [u8]) -> Result<Self, SnapshotError> {
        let frame = SNAPSHOT.open(bytes)?;
        let mut fields = Fields(frame.header);
        let mut parts = || Some((Header::take(&mut fields)?, fields.u16()?, fields.u16()?));
        let (header, zone_count, zone_bytes) = parts().ok_or(SnapshotError::Header)?;
        let zones = frame
            .tail
            .get(..usize::from(zone_bytes))
            .ok_or(SnapshotError::Zones)?;
        check_zones(zones, zone_count)?;
        frame.records.check_order::<ADDRESS_BYTES>()?;
        let (mut turns_away, mut has_levels) = (false, false);
        for (index, record) in frame.records.iter().enumerate() {
            let (_, endpoint, zone) = read_record(record).ok_or(SnapshotError::Record { index })?;
            turns_away |= matches!(
                endpoint.state,
                State::Draining { .. } | State::Ejected { .. }
            );
            has_levels |= endpoint.priority > 0;
            if zone.is_some_and(|zone| u16::from(zone) >= zone_count) {
                return Err(SnapshotError::Record { index });
            }
        }
        Ok(Self {
            header,
            records_at: PREFIX_BYTES.saturating_add(frame.header.len()),
            records: frame.records,
            zones,
            turns_away,
            has_levels,
        })
    }

    /// Says which picture this is.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Is the number of endpoints.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Says whether the cluster is known to have no endpoint.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says whether a member takes nothing new, as the proxy's own balancing may not know: it drains or
    /// is ejected. One that vanished is no member. Cost: O(1).
    #[must_use]
    pub const fn turns_away(&self) -> bool {
        self.turns_away
    }

    /// Says whether an endpoint has another priority than 0. Cost: O(1).
    #[must_use]
    pub const fn has_levels(&self) -> bool {
        self.has_levels
    }

    /// Finds an endpoint by its address; `None` where it is no member.
    /// Cost: O(log n + zones).
    #[must_use]
    pub fn get(&self, address: &EndpointAddress) -> Option<Entry<'a>> {
        let record = self.records.find(&address.to_key())?;
        self.entry(record)
    }

    /// Is the endpoint at a position in the order of addresses; `None` behind the last.
    /// Cost: O(zones).
    #[must_use]
    pub fn at(&self, index: usize) -> Option<Entry<'a>> {
        self.entry(self.records.at(index)?)
    }

    /// Lists endpoints in the order of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let view = *self;
        self.records
            .iter()
            .filter_map(move |record| view.entry(record))
    }

    /// Is how long ago it was written; zero where the clock stepped back behind that.
    ///
    /// A leader publishes on change only: what it vouches for without writing is in `Versions`.
    #[must_use]
    pub const fn age(&self, now: WallTime) -> Duration {
        now.saturating_since(self.header.published_at)
    }

    /// Says whether it is as old as `limit` or older; with a limit of zero it always is.
    ///
    /// One that is as far ahead of `now` is stale too: after a step back of the clock nobody
    /// could say how old it gets.
    #[must_use]
    pub fn is_stale(&self, now: WallTime, limit: Duration) -> bool {
        is_stale(self.header.published_at, now, limit)
    }

    /// Copies it into a snapshot to go on with, as a new leader does with its predecessor's.
    #[must_use]
    pub fn to_snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::new(self.header);
        for entry in self.iter() {
            // No push fails: `open` checked order and count, and the table of zones.
            let pushed = snapshot.try_push(entry.address, entry.endpoint, entry.zone);
            debug_assert!(pushed.is_ok());
        }
        snapshot
    }

    fn entry(&self, record: &'a [u8]) -> Option<Entry<'a>> {
        let (address, endpoint, zone) = read_record(record)?;
        let zone = match zone {
            Some(zone) => Zones(self.zones).nth(usize::from(zone))?,
            None => &[],
        };
        Some(Entry {
            address,
            name: record.get(..ADDRESS_BYTES)?,
            endpoint,
            zone,
        })
    }
}

/// Is a snapshot's bytes with the proof that they are whole, for a worker to keep.
#[derive(Clone, Debug)]
pub struct Checked {
    bytes: Vec<u8>,
    header: Header,
    stride: usize,
    records: Range<usize>,
    zones: Range<usize>,
    turns_away: bool,
    has_levels: bool,
}

impl Checked {
    /// Checks bytes and keeps them. Cost: O(bytes); they are neither copied nor changed.
    ///
    /// # Errors
    /// Those of [`SnapshotView::open`]; the bytes are then gone, and what was held before stays.
    pub fn try_new(bytes: Vec<u8>) -> Result<Self, SnapshotError> {
        let view = SnapshotView::open(&bytes)?;
        let records_end = view.records_at.saturating_add(view.records.byte_len());
        let zones_end = records_end.saturating_add(view.zones.len());
        Ok(Self {
            header: view.header,
            stride: view.records.stride(),
            records: view.records_at..records_end,
            zones: records_end..zones_end,
            turns_away: view.turns_away,
            has_levels: view.has_levels,
            bytes,
        })
    }

    /// Reads them. Cost: O(1).
    #[must_use]
    pub fn view(&self) -> SnapshotView<'_> {
        let part = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
        SnapshotView {
            header: self.header,
            records_at: self.records.start,
            records: Records::new(part(&self.records), self.stride),
            zones: part(&self.zones),
            turns_away: self.turns_away,
            has_levels: self.has_levels,
        }
    }
}

/// Says whether `moment` is `limit` or more away from `now`, in either direction.
pub(super) fn is_stale(moment: WallTime, now: WallTime, limit: Duration) -> bool {
    now.saturating_since(moment)
        .max(moment.saturating_since(now))
        >= limit
}

/// Lists the names in a table of zones, up to the first that is none.
#[derive(Clone, Debug)]
struct Zones<'a>(&'a [u8]);

impl<'a> Iterator for Zones<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        self.0 = rest;
        Some(name)
    }
}

/// Checks that a table has as many names as stated, each of a legal length, sorted.
fn check_zones(table: &[u8], count: u16) -> Result<(), SnapshotError> {
    let mut zones = Zones(table);
    let mut names = 0_usize;
    let mut last: &[u8] = &[];
    // The first name is longer than nothing, so a name without bytes is out of order.
    for name in zones.by_ref() {
        if name <= last || name.len() > MAX_ZONE_BYTES {
            return Err(SnapshotError::Zones);
        }
        last = name;
        names = names.saturating_add(1);
    }
    if names != usize::from(count) || names > MAX_ZONES || !zones.0.is_empty() {
        return Err(SnapshotError::Zones);
    }
    Ok(())
}
