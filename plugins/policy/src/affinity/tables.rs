//! The tables that keys are looked up in, one for each cluster that needs one.
//!
//! A table is built in slices on ticks, one cluster after the other, and again only when a
//! membership changes: addresses and weights of all endpoints that are there, available or not, and
//! of the lowest priority.
//! While it is built the former one stays in use.
//!
//! Scope: per VM; tables of equal memberships are equal everywhere. Memory: 2 bytes for each entry
//! of [`MAX_TABLES`] tables at most, and two of one cluster while it is built.

use alloc::{collections::BTreeMap, vec::Vec};
use core::ops::Bound;

use crate::{
    digest::xxh64,
    endpoints::{Known, Picture},
    snapshot::State,
    successor::{Builder, Candidate, Progress, Table, TableSize},
};

/// Is how many clusters may have tables: 8 MiB of the default size. Requests to more are balanced.
pub const MAX_TABLES: usize = 64;

/// Holds the tables of one VM.
#[derive(Debug, Default)]
pub struct Tables {
    clusters: BTreeMap<Vec<u8>, ClusterTable>,
    /// Is the one that is built at the moment.
    building: Option<Building>,
    /// Is the cluster whose table was begun last. The next one is another's, if one is due, so that
    /// one that changes all the time does not keep the others waiting.
    last: Vec<u8>,
}

#[derive(Debug)]
struct ClusterTable {
    size: TableSize,
    /// Is the picture that was last compared: epoch and generation.
    seen: Option<(u64, u64)>,
    /// Is the membership that the table is of, or the one that is built.
    members: Option<u64>,
    /// Says that the membership was seen to differ from the table's.
    is_due: bool,
    table: Option<Table>,
}

#[derive(Debug)]
struct Building {
    cluster: Vec<u8>,
    builder: Builder,
}

impl Tables {
    /// Starts without tables.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            clusters: BTreeMap::new(),
            building: None,
            last: Vec::new(),
        }
    }

    /// Asks for a cluster's table; it is built on the ticks that follow. O(log clusters); allocates
    /// at the first time. Nothing where there is no room.
    pub fn want(&mut self, cluster: &[u8], size: TableSize) {
        if self.clusters.contains_key(cluster) || self.clusters.len() >= MAX_TABLES {
            return;
        }
        self.clusters.insert(
            cluster.to_vec(),
            ClusterTable {
                size,
                seen: None,
                members: None,
                is_due: false,
                table: None,
            },
        );
    }

    /// Is a cluster's table; `None` as long as there is none.
    #[must_use]
    pub fn get(&self, cluster: &[u8]) -> Option<&Table> {
        self.clusters.get(cluster)?.table.as_ref()
    }

    /// Works for one tick: notes which memberships changed, and builds for `steps` steps.
    ///
    /// O(endpoints) for each cluster whose picture changed, else O(clusters · log clusters).
    pub fn on_tick<'p>(&mut self, picture: impl Fn(&[u8]) -> Picture<'p>, steps: u32) {
        for (cluster, table) in &mut self.clusters {
            if let Picture::Known(known) = picture(cluster) {
                table.compare(&known);
            }
        }
        if self.building.is_none() {
            self.building = self.begin(picture);
        }
        let Some(Building { cluster, builder }) = self.building.take() else {
            return;
        };
        match builder.advance(steps) {
            Progress::More(builder) => {
                self.building = Some(Building { cluster, builder });
            }
            Progress::Done(table) => {
                if let Some(place) = self.clusters.get_mut(&cluster) {
                    place.table = Some(table);
                }
            }
        }
    }

    /// Begins the first table that is due. A membership of nobody has none, and its table goes.
    fn begin<'p>(&mut self, picture: impl Fn(&[u8]) -> Picture<'p>) -> Option<Building> {
        let is_due = |(_, place): &(&Vec<u8>, &ClusterTable)| place.is_due;
        let behind = (Bound::Excluded(self.last.as_slice()), Bound::Unbounded);
        let mut order = self.clusters.range::<[u8], _>(behind).chain(&self.clusters);
        let cluster = order.find(is_due)?.0.clone();
        let place = self.clusters.get_mut(&cluster)?;
        self.last.clone_from(&cluster);
        // A picture that is stale by now is compared again once it is not.
        place.is_due = false;
        place.seen = None;
        let Picture::Known(known) = picture(&cluster) else {
            return None;
        };
        place.seen = Some(version(&known));
        place.members = Some(digest(&known));
        let Ok(builder) = Builder::try_new(candidates(&known), place.size) else {
            place.table = None;
            return None;
        };
        Some(Building { cluster, builder })
    }
}

impl ClusterTable {
    /// Notes whether a picture's membership is another than the table's.
    fn compare(&mut self, known: &Known<'_>) {
        if self.seen == Some(version(known)) {
            return;
        }
        self.seen = Some(version(known));
        self.is_due = self.members != Some(digest(known));
    }
}

/// Names a picture of one cluster.
const fn version(known: &Known<'_>) -> (u64, u64) {
    (known.version.epoch, known.version.generation)
}

/// Lists all members of the lowest priority, available or not.
fn candidates<'p>(known: &Known<'p>) -> impl Iterator<Item = Candidate<'p>> + use<'p> {
    let is_member = |state| !matches!(state, State::Vanished { .. });
    let members = known.view.iter().map(|entry| entry.endpoint);
    let level = members
        .filter(|endpoint| is_member(endpoint.state))
        .map(|endpoint| endpoint.priority)
        .min();
    known.view.iter().filter_map(move |entry| {
        let endpoint = &entry.endpoint;
        let is_candidate = is_member(endpoint.state) && Some(endpoint.priority) == level;
        is_candidate.then_some(Candidate {
            name: entry.name,
            weight: entry.endpoint.weight.get(),
        })
    })
}

/// Names a membership: addresses and weights, in the order of the addresses.
fn digest(known: &Known<'_>) -> u64 {
    candidates(known).fold(0, |digest, candidate| {
        let seed = digest ^ u64::from(candidate.weight).rotate_left(32);
        xxh64(candidate.name, seed)
    })
}
