//! What a worker reads on every tick: which snapshots there are, and since when they hold.

use alloc::{collections::BTreeMap, vec::Vec};
use core::{num::NonZeroU32, time::Duration};

use super::{
    fields::Fields,
    frame::{Kind, PREFIX_BYTES, Records, SnapshotError},
    view::is_stale,
};
use crate::units::WallTime;

/// Is how many clusters have snapshots: 6 kB that every worker copies on every tick.
pub const MAX_CLUSTERS: usize = 256;

/// Is the length of a cluster's digest, its generation and the time of the last confirmation.
const ENTRY_BYTES: usize = 24;

/// Is what makes bytes versions. The header is configuration, epoch and workers.
const VERSIONS: Kind = Kind {
    magic: *b"TgVersio",
    header_bytes: PREFIX_BYTES + 20,
    record_bytes: ENTRY_BYTES,
    max_record_bytes: 64,
    max_records: MAX_CLUSTERS,
};

/// Is the version of one cluster's snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Version {
    /// Is the fencing epoch of the leader that vouches for it.
    pub epoch: u64,
    /// Is the snapshot's generation.
    pub generation: u64,
    /// Is when the leader last knew that the snapshot holds, also where it published nothing.
    pub confirmed_at: WallTime,
}

/// Says what a worker does about an offered version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Offer {
    /// It is the held one: keep the snapshot, and its age counts from the offered confirmation.
    Confirmed,
    /// It is older than the held one, which a stalled leader's late write is: ignore it.
    Older,
    /// Read the snapshot.
    Replaces,
}

impl Version {
    /// Compares an offered version with the one that is held.
    ///
    /// A higher epoch goes before a lower one, and a higher generation within an epoch. Once the
    /// held one is stale, any other one replaces it: a lease that was lost starts again at a lower
    /// epoch.
    #[must_use]
    pub fn offered_to(self, held: Option<Self>, now: WallTime, limit: Duration) -> Offer {
        let Some(held) = held else {
            return Offer::Replaces;
        };
        let order = |version: Self| (version.epoch, version.generation);
        match order(self).cmp(&order(held)) {
            core::cmp::Ordering::Equal => Offer::Confirmed,
            core::cmp::Ordering::Less if !held.is_stale(now, limit) => Offer::Older,
            core::cmp::Ordering::Less | core::cmp::Ordering::Greater => Offer::Replaces,
        }
    }

    /// Is how long ago it was confirmed; zero where the clock stepped back behind that.
    #[must_use]
    pub const fn age(self, now: WallTime) -> Duration {
        now.saturating_since(self.confirmed_at)
    }

    /// Says whether it was confirmed `limit` ago or longer, or is as far ahead of `now`.
    #[must_use]
    pub fn is_stale(self, now: WallTime, limit: Duration) -> bool {
        is_stale(self.confirmed_at, now, limit)
    }
}

/// Says that there are [`MAX_CLUSTERS`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must have at most {MAX_CLUSTERS} clusters")]
pub struct VersionsFull;

/// Are the versions of all clusters, as the leader writes them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Versions {
    /// Is the digest of the configuration.
    pub configuration: u64,
    /// Is the leader's fencing epoch; all entries have it.
    pub epoch: u64,
    /// Is how many VMs of the proxy take requests, as far as they report; 1 where that is not known.
    pub workers: NonZeroU32,
    /// Are generation and confirmation, by the cluster's digest.
    entries: BTreeMap<u64, (u64, WallTime)>,
}

impl Versions {
    /// Starts without clusters.
    #[must_use]
    pub const fn new(configuration: u64, epoch: u64) -> Self {
        Self {
            configuration,
            epoch,
            workers: NonZeroU32::MIN,
            entries: BTreeMap::new(),
        }
    }

    /// Sets the generation of a cluster's snapshot and when it was confirmed.
    ///
    /// # Errors
    /// There is no room for another cluster.
    pub fn try_set(
        &mut self,
        cluster: u64,
        generation: u64,
        confirmed_at: WallTime,
    ) -> Result<(), VersionsFull> {
        if self.entries.len() >= MAX_CLUSTERS && !self.entries.contains_key(&cluster) {
            return Err(VersionsFull);
        }
        self.entries.insert(cluster, (generation, confirmed_at));
        Ok(())
    }

    /// Takes a cluster out; says whether it was there.
    pub fn remove(&mut self, cluster: u64) -> bool {
        self.entries.remove(&cluster).is_some()
    }

    /// Replaces `out` by the bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        VERSIONS.begin(out, self.entries.len());
        out.extend_from_slice(&self.configuration.to_be_bytes());
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.workers.get().to_be_bytes());
        for (cluster, (generation, confirmed_at)) in &self.entries {
            for field in [*cluster, *generation, confirmed_at.as_ns()] {
                out.extend_from_slice(&field.to_be_bytes());
            }
        }
        VERSIONS.finish(out);
    }
}

/// Is versions' bytes that were found whole; reading them allocates nothing.
#[derive(Clone, Copy, Debug)]
pub struct VersionsView<'a> {
    configuration: u64,
    epoch: u64,
    workers: NonZeroU32,
    records: Records<'a>,
}

impl<'a> VersionsView<'a> {
    /// Checks the bytes. Cost: O(bytes).
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn open(bytes: &'a [u8]) -> Result<Self, SnapshotError> {
        let frame = VERSIONS.open(bytes)?;
        frame.records.check_order::<8>()?;
        let mut fields = Fields(frame.header);
        let mut parts = || {
            Some(Self {
                configuration: fields.u64()?,
                epoch: fields.u64()?,
                // Nobody divides by none, whatever was written.
                workers: NonZeroU32::new(fields.u32()?).unwrap_or(NonZeroU32::MIN),
                records: frame.records,
            })
        };
        parts().ok_or(SnapshotError::Header)
    }

    /// Is the digest of the configuration.
    #[must_use]
    pub const fn configuration(&self) -> u64 {
        self.configuration
    }

    /// Is the leader's fencing epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Is how many VMs of the proxy take requests; 1 where that is not known.
    #[must_use]
    pub const fn workers(&self) -> NonZeroU32 {
        self.workers
    }

    /// Is the version of a cluster's snapshot; `None` where the leader knows nothing of the
    /// cluster. Cost: O(log n).
    #[must_use]
    pub fn get(&self, cluster: u64) -> Option<Version> {
        let mut fields = Fields(self.records.find(&cluster.to_be_bytes())?);
        fields.u64()?;
        Some(Version {
            epoch: self.epoch,
            generation: fields.u64()?,
            confirmed_at: fields.exact_moment()?,
        })
    }
}
