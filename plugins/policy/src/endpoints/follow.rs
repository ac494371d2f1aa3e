//! What every VM reads, and what its requests see.
//!
//! Why: a request must not wait for shared data, and what lies there may be torn between two
//! writes, a stalled leader's, a neighbour's, or nobody's any more.
//! Model: per tick the versions are read once, and a snapshot where its version is another one than
//! that which is held. A snapshot is taken only if it is whole, of this configuration and cluster,
//! and has exactly the epoch and generation that its version names; one that does not waits for
//! the next tick. Versions never go back while the held one is fresh.
//! Cold start: no snapshot, [`Unknown::NotYet`].
//! Limits: [`MAX_FOLLOWED`] clusters, each with one snapshot (620 kB at most). What nobody vouched
//! for in `stale_after` is [`Unknown::Stale`]; once the leader knows the cluster no more, or nobody
//! here asks for it, it goes. Any bytes are legal input.
//! Scope: one per configuration and VM. Cost: a request O(log clusters), no allocation; a tick
//! O(clusters + bytes of the versions), and O(bytes) for each snapshot that changed.

use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::{num::NonZeroU32, time::Duration};

use crate::{
    snapshot::{
        Checked, Offer, SnapshotError, SnapshotView, Version, VersionsView, cluster_digest,
    },
    units::WallTime,
};

/// Is how many clusters one VM knows. Each costs it a snapshot's memory and 24 bytes of versions on
/// every tick; an Envoy that routes to more than this names those that matter.
pub const MAX_FOLLOWED: usize = 64;

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
    /// No snapshot came yet, or the leader knows the cluster no more.
    NotYet,
    /// Nobody vouched for it for `stale_after`.
    Stale,
}

impl Unknown {
    /// Lists all, in the order of [`Self::index`].
    pub const ALL: [Self; 3] = [Self::NotConfigured, Self::NotYet, Self::Stale];

    /// Is the reason as a metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotConfigured => "not_configured",
            Self::NotYet => "not_yet",
            Self::Stale => "stale",
        }
    }

    /// Is its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Counts what a follower read, since it started. All saturate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FollowCounts {
    /// Snapshots that are held or were.
    pub taken: u64,
    /// Versions or snapshots that were not ours: damaged, foreign, of another format.
    pub refused: u64,
    /// Snapshots that their version did not name: read between two writes.
    pub mismatched: u64,
    /// Versions that were older than the held one, by cluster and tick: a leader that was replaced.
    pub older: u64,
}

/// Holds the newest snapshot of every cluster.
///
/// Contract, at every tick: [`Self::on_versions`], then [`Self::on_snapshot`] for each cluster that
/// it names.
#[derive(Debug)]
pub struct Follower {
    configuration: u64,
    stale_after: Duration,
    held: BTreeMap<String, (Version, Checked)>,
    /// Are the versions whose snapshots are to be read at this tick.
    offered: BTreeMap<String, Version>,
    workers: NonZeroU32,
    counts: FollowCounts,
}

impl Follower {
    /// Starts without snapshots. `configuration` is the block's digest.
    #[must_use]
    pub const fn new(configuration: u64, stale_after: Duration) -> Self {
        Self {
            configuration,
            stale_after,
            held: BTreeMap::new(),
            offered: BTreeMap::new(),
            workers: NonZeroU32::MIN,
            counts: FollowCounts {
                taken: 0,
                refused: 0,
                mismatched: 0,
                older: 0,
            },
        }
    }

    /// Takes the bytes of the versions, which are read on every tick; says of which clusters the
    /// snapshot is to be read now. `clusters` are those that this VM wants to know, the first
    /// [`MAX_FOLLOWED`] of them.
    ///
    /// # Errors
    /// The bytes are not versions of ours: what is held stays and ages.
    pub fn on_versions<'c>(
        &mut self,
        bytes: &[u8],
        clusters: impl IntoIterator<Item = &'c str>,
        now: WallTime,
    ) -> Result<Vec<String>, SnapshotError> {
        self.offered.clear();
        let versions = VersionsView::open(bytes)
            .and_then(|versions| {
                if versions.configuration() == self.configuration {
                    Ok(versions)
                } else {
                    Err(SnapshotError::OtherConfiguration)
                }
            })
            .inspect_err(|_| increment(&mut self.counts.refused))?;
        self.workers = versions.workers();
        let wanted: BTreeMap<&str, Option<Version>> = clusters
            .into_iter()
            .take(MAX_FOLLOWED)
            .map(|cluster| (cluster, versions.get(cluster_digest(cluster.as_bytes()))))
            .collect();
        self.confirm(&wanted);
        self.let_go(&wanted, now);
        let mut to_read = Vec::new();
        for (cluster, offered) in wanted {
            let Some(offered) = offered else {
                continue;
            };
            let held = self.held.get(cluster).map(|(version, _)| *version);
            match offered.offered_to(held, now, self.stale_after) {
                Offer::Confirmed => {}
                Offer::Older => increment(&mut self.counts.older),
                Offer::Replaces => {
                    self.offered.insert(String::from(cluster), offered);
                    to_read.push(String::from(cluster));
                }
            }
        }
        Ok(to_read)
    }

    /// Takes the bytes of a snapshot that [`Self::on_versions`] asked for; says whether it is held
    /// now. One that its version does not name waits for the next tick.
    ///
    /// # Errors
    /// The bytes are no snapshot of ours: what is held stays and ages.
    pub fn on_snapshot(&mut self, cluster: &str, bytes: Vec<u8>) -> Result<bool, SnapshotError> {
        let Some((cluster, offered)) = self.offered.remove_entry(cluster) else {
            return Ok(false);
        };
        let checked = self
            .check(&cluster, bytes)
            .inspect_err(|_| increment(&mut self.counts.refused))?;
        let view = checked.view();
        let header = view.header();
        if (header.epoch, header.generation) != (offered.epoch, offered.generation) {
            increment(&mut self.counts.mismatched);
            return Ok(false);
        }
        // Never more than were asked for: whoever is not wanted any more was let go, or is fresh
        // and waits for that.
        if self.held.len() >= MAX_FOLLOWED && !self.held.contains_key(&cluster) {
            return Ok(false);
        }
        increment(&mut self.counts.taken);
        self.held.insert(cluster, (offered, checked));
        Ok(true)
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

    /// Lists what is held, stale or not, in the order of names.
    pub fn held(&self) -> impl Iterator<Item = (&str, Known<'_>)> {
        self.held.iter().map(|(cluster, (version, checked))| {
            let known = Known {
                view: checked.view(),
                version: *version,
            };
            (cluster.as_str(), known)
        })
    }

    /// Is how many VMs of the proxy take requests, by the last versions that were read; 1 until
    /// that is known.
    #[must_use]
    pub const fn workers(&self) -> NonZeroU32 {
        self.workers
    }

    /// Is what was counted.
    #[must_use]
    pub const fn counts(&self) -> FollowCounts {
        self.counts
    }

    /// Lets the age of what is held count from when it was last confirmed.
    fn confirm(&mut self, wanted: &BTreeMap<&str, Option<Version>>) {
        for (cluster, (version, _)) in &mut self.held {
            if let Some(Some(offered)) = wanted.get(cluster.as_str())
                && (offered.epoch, offered.generation) == (version.epoch, version.generation)
            {
                version.confirmed_at = offered.confirmed_at;
            }
        }
    }

    /// Forgets what is stale and will not be fresh again.
    fn let_go(&mut self, wanted: &BTreeMap<&str, Option<Version>>, now: WallTime) {
        let limit = self.stale_after;
        self.held.retain(|cluster, (version, _)| {
            matches!(wanted.get(cluster.as_str()), Some(Some(_))) || !version.is_stale(now, limit)
        });
    }

    /// Checks that bytes are a snapshot of this configuration and cluster.
    fn check(&self, cluster: &str, bytes: Vec<u8>) -> Result<Checked, SnapshotError> {
        let checked = Checked::try_new(bytes)?;
        let header = *checked.view().header();
        if header.configuration != self.configuration {
            return Err(SnapshotError::OtherConfiguration);
        }
        if header.cluster != cluster_digest(cluster.as_bytes()) {
            return Err(SnapshotError::OtherCluster);
        }
        Ok(checked)
    }
}

fn increment(count: &mut u64) {
    *count = count.saturating_add(1);
}
