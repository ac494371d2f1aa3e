//! What readers see while leaders and a neighbour write: every order of single host calls is possible.
//!
//! A run has two leaders (one is replaced and may write late), two readers and a neighbour; each step is one host call
//! of one of them, drawn at random. Leaders write as the module does: they read the versions, write the snapshots that
//! changed as they are, and the versions with the cas of that read, unless a newer leader has written. The neighbour
//! writes nonsense, what belongs elsewhere, and what was there before. After each call of a reader all that it shows is
//! compared with what was written under that version.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tidegate_policy::endpoints::{Follower, Picture};
use tidegate_policy::snapshot::{
    Endpoint, EndpointAddress, Header, Since, Snapshot, SnapshotView, Version, Versions,
    VersionsView, cluster_digest,
};
use tidegate_policy::units::WallTime;

use crate::prove::random::Random;

/// Is the digest of the configuration that all but the neighbour have.
const CONFIGURATION: u64 = 7;

/// Are the clusters.
const CLUSTERS: [&str; 2] = ["echo", "chat"];

/// Is how old a picture may get.
const STALE_AFTER: Duration = Duration::from_secs(60);

/// Are the epochs of both leaders.
const EPOCHS: [u64; 2] = [5, 6];

/// What came of all runs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Interleavings {
    /// Runs, each with an order of its own.
    pub(super) runs: u64,
    /// Host calls.
    pub(super) calls: u64,
    /// Pictures that were looked at.
    pub(super) shown: u64,
    /// Among them those that no leader wrote under their version.
    pub(super) torn: u64,
    /// Those of another configuration or cluster.
    pub(super) foreign: u64,
    /// Those that were older than what the same reader had shown before, and which was fresh.
    pub(super) backwards: u64,
    /// Snapshots that their version did not name, so that a reader waited.
    pub(super) waited: u64,
    /// Versions that were older than what was held.
    pub(super) older: u64,
    /// Values that were not of this configuration and cluster, or none at all.
    pub(super) refused: u64,
}

/// Reads what leaders publish.
trait Reads {
    fn on_versions(&mut self, bytes: &[u8], now: WallTime) -> Vec<String>;
    fn on_snapshot(&mut self, cluster: &str, bytes: &[u8]);
    fn picture(&self, cluster: &str, now: WallTime) -> Option<(Version, SnapshotView<'_>)>;
    /// Snapshots that waited, older versions, refused values.
    fn counts(&self) -> [u64; 3];
}

impl Reads for Follower {
    fn on_versions(&mut self, bytes: &[u8], now: WallTime) -> Vec<String> {
        Self::on_versions(self, bytes, CLUSTERS, now).unwrap_or_default()
    }

    fn on_snapshot(&mut self, cluster: &str, bytes: &[u8]) {
        // What is refused is counted.
        let _ = Self::on_snapshot(self, cluster, bytes.to_vec());
    }

    fn picture(&self, cluster: &str, now: WallTime) -> Option<(Version, SnapshotView<'_>)> {
        match Self::picture(self, cluster.as_bytes(), now) {
            Picture::Known(known) => Some((known.version, known.view)),
            Picture::Unknown(_) => None,
        }
    }

    fn counts(&self) -> [u64; 3] {
        let counts = Self::counts(self);
        [counts.mismatched, counts.older, counts.refused]
    }
}

/// Lets so many orders happen to readers as every VM has one.
pub(super) fn run(runs: u64, seed: u64) -> Interleavings {
    run_with(runs, seed, || Follower::new(CONFIGURATION, STALE_AFTER))
}

fn run_with<R: Reads>(runs: u64, seed: u64, reader: impl Fn() -> R) -> Interleavings {
    let mut random = Random::new(seed);
    let mut written = Written::default();
    let mut found = Interleavings::default();
    for _ in 0..runs {
        let mut world = World::new(&mut random, &reader);
        while world.step(&mut random, &mut written, &mut found) {}
        found.runs += 1;
        for reader in &world.readers {
            let [waited, older, refused] = reader.reads.counts();
            found.waited += waited;
            found.older += older;
            found.refused += refused;
        }
    }
    found
}

/// Is what a key holds.
#[derive(Debug, Clone)]
struct Value {
    bytes: Rc<[u8]>,
    cas: u32,
}

/// Is the host's map.
#[derive(Debug, Default)]
struct Shared {
    versions: Option<Value>,
    snapshots: [Option<Value>; 2],
    last_cas: u32,
    /// Are values that were overwritten.
    old_versions: Vec<Rc<[u8]>>,
    old_snapshots: Vec<(usize, Rc<[u8]>)>,
}

impl Shared {
    fn put_versions(&mut self, bytes: Rc<[u8]>) {
        self.last_cas += 1;
        let cas = self.last_cas;
        if let Some(old) = self.versions.replace(Value { bytes, cas }) {
            self.old_versions.push(old.bytes);
        }
    }

    fn put_snapshot(&mut self, cluster: usize, bytes: Rc<[u8]>) {
        self.last_cas += 1;
        let cas = self.last_cas;
        if let Some(place) = self.snapshots.get_mut(cluster)
            && let Some(old) = place.replace(Value { bytes, cas })
        {
            self.old_snapshots.push((cluster, old.bytes));
        }
    }
}

/// Are the bytes of snapshots, each made once.
#[derive(Debug, Default)]
struct Written(BTreeMap<(usize, u64, u64), Rc<[u8]>>);

impl Written {
    fn snapshot(&mut self, cluster: usize, epoch: u64, generation: u64) -> Rc<[u8]> {
        let made = || {
            let mut snapshot = Snapshot::new(Header {
                configuration: CONFIGURATION,
                cluster: digest(cluster),
                epoch,
                generation,
                published_at: WallTime::from_seconds(1),
            });
            for address in addresses(cluster, epoch, generation) {
                let endpoint = Endpoint::new(Since {
                    generation: 1,
                    at: WallTime::from_seconds(1),
                });
                // The addresses are few and different.
                let _ = snapshot.try_push(address, endpoint, b"");
            }
            let mut bytes = Vec::new();
            snapshot.encode(&mut bytes);
            Rc::from(bytes)
        };
        let key = (cluster, epoch, generation);
        Rc::clone(self.0.entry(key).or_insert_with(made))
    }
}

/// Are the endpoints of a snapshot: another set for each, so that whatever is shown can be told.
fn addresses(cluster: usize, epoch: u64, generation: u64) -> impl Iterator<Item = EndpointAddress> {
    let byte = |number: u64| u8::try_from(number % 256).unwrap_or(0);
    let cluster = u8::try_from(cluster).unwrap_or(0);
    (0..generation % 4).map(move |place| EndpointAddress {
        ip: [10, cluster, byte(epoch), byte(generation)].into(),
        port: u16::from(byte(place)),
    })
}

fn digest(cluster: usize) -> u64 {
    cluster_digest(
        CLUSTERS
            .get(cluster)
            .copied()
            .unwrap_or_default()
            .as_bytes(),
    )
}

/// Is a VM that leads, or believes so.
#[derive(Debug)]
struct Leader {
    epoch: u64,
    generations: [u64; 2],
    ticks_left: usize,
    /// Is what this tick still has to write; `None` between two ticks.
    tick: Option<Tick>,
}

/// Is a tick of a leader that has begun.
#[derive(Debug)]
struct Tick {
    /// Is the cas of the versions, as they were read.
    cas: Option<u32>,
    snapshots: Vec<usize>,
    began_at: WallTime,
}

impl Leader {
    fn new(epoch: u64, random: &mut Random) -> Self {
        let generation = |random: &mut Random| u64::try_from(random.below(3)).unwrap_or(0);
        Self {
            epoch,
            generations: [generation(random), generation(random)],
            ticks_left: 2,
            tick: None,
        }
    }

    /// Makes one host call; `false`: it is done.
    fn step(
        &mut self,
        shared: &mut Shared,
        random: &mut Random,
        written: &mut Written,
        now: WallTime,
    ) -> bool {
        let Some(mut tick) = self.tick.take() else {
            if self.ticks_left == 0 {
                return false;
            }
            let is_first = self.ticks_left == 2;
            self.ticks_left -= 1;
            let newest = shared.versions.as_ref().and_then(|value| {
                let view = VersionsView::open(&value.bytes).ok()?;
                (view.configuration() == CONFIGURATION).then(|| view.epoch())
            });
            if newest.is_some_and(|newest| newest > self.epoch) {
                self.ticks_left = 0;
                return true;
            }
            self.tick = Some(Tick {
                cas: shared.versions.as_ref().map(|value| value.cas),
                snapshots: (0..CLUSTERS.len())
                    .filter(|_| is_first || random.below(2) == 0)
                    .collect(),
                began_at: now,
            });
            return true;
        };
        if let Some(cluster) = tick.snapshots.pop() {
            if let Some(generation) = self.generations.get_mut(cluster) {
                *generation += 1;
                let bytes = written.snapshot(cluster, self.epoch, *generation);
                shared.put_snapshot(cluster, bytes);
            }
            self.tick = Some(tick);
            return true;
        }
        if tick.cas == shared.versions.as_ref().map(|value| value.cas) {
            let mut versions = Versions::new(CONFIGURATION, self.epoch);
            for (cluster, generation) in self.generations.iter().enumerate() {
                // There are two clusters.
                let _ = versions.try_set(digest(cluster), *generation, tick.began_at);
            }
            let mut bytes = Vec::new();
            versions.encode(&mut bytes);
            shared.put_versions(Rc::from(bytes));
        }
        true
    }
}

/// Is a VM that reads.
#[derive(Debug)]
struct Reader<R> {
    reads: R,
    ticks_left: usize,
    to_read: Vec<String>,
    /// Is what was shown last of each cluster.
    shown: [Option<Version>; 2],
}

impl<R: Reads> Reader<R> {
    /// Makes one host call; `false`: it is done.
    fn step(&mut self, shared: &Shared, now: WallTime) -> bool {
        if let Some(cluster) = self.to_read.pop() {
            let place = CLUSTERS.iter().position(|name| *name == cluster);
            let value = place.and_then(|place| shared.snapshots.get(place)?.as_ref());
            if let Some(value) = value {
                self.reads.on_snapshot(&cluster, &value.bytes);
            }
            return true;
        }
        if self.ticks_left == 0 {
            return false;
        }
        self.ticks_left -= 1;
        if let Some(value) = &shared.versions {
            self.to_read = self.reads.on_versions(&value.bytes, now);
        }
        true
    }

    /// Compares what is shown with what was written.
    fn look(&mut self, now: WallTime, found: &mut Interleavings) {
        for ((cluster, name), last) in CLUSTERS.iter().enumerate().zip(&mut self.shown) {
            let Some((version, view)) = self.reads.picture(name, now) else {
                continue;
            };
            found.shown += 1;
            let header = view.header();
            let order = (version.epoch, version.generation);
            if header.configuration != CONFIGURATION || header.cluster != digest(cluster) {
                found.foreign += 1;
            } else if (header.epoch, header.generation) != order
                || !view.iter().map(|entry| entry.address).eq(addresses(
                    cluster,
                    version.epoch,
                    version.generation,
                ))
            {
                found.torn += 1;
            }
            if last.is_some_and(|last| {
                order < (last.epoch, last.generation) && !last.is_stale(now, STALE_AFTER)
            }) {
                found.backwards += 1;
            }
            *last = Some(version);
        }
    }
}

/// Is one run.
struct World<R> {
    shared: Shared,
    leaders: Vec<Leader>,
    readers: Vec<Reader<R>>,
    /// Is how many values the neighbour will write.
    nonsense: usize,
    now_ms: u64,
    /// Says that the clock jumps now and then, so that pictures get stale.
    jumps: bool,
}

impl<R: Reads> World<R> {
    fn new(random: &mut Random, reader: &impl Fn() -> R) -> Self {
        Self {
            shared: Shared::default(),
            leaders: EPOCHS
                .iter()
                .map(|epoch| Leader::new(*epoch, random))
                .collect(),
            readers: (0..2)
                .map(|_| Reader {
                    reads: reader(),
                    ticks_left: 3,
                    to_read: Vec::new(),
                    shown: [None; 2],
                })
                .collect(),
            nonsense: random.below(3),
            now_ms: 1_700_000_000_000,
            jumps: random.below(8) == 0,
        }
    }

    /// Lets one of those who are not done make a call; `false`: all are done.
    fn step(
        &mut self,
        random: &mut Random,
        written: &mut Written,
        found: &mut Interleavings,
    ) -> bool {
        let jump = if self.jumps && random.below(6) == 0 {
            random.below(70_000)
        } else {
            random.below(100)
        };
        self.now_ms += u64::try_from(jump).unwrap_or(0);
        let now = WallTime::from_ns(self.now_ms * 1_000_000);
        let chosen = random.below(self.leaders.len() + self.readers.len() + 1);
        let made_call = if let Some(leader) = self.leaders.get_mut(chosen) {
            leader.step(&mut self.shared, random, written, now)
        } else if let Some(reader) = self.readers.get_mut(chosen - self.leaders.len()) {
            let made_call = reader.step(&self.shared, now);
            if made_call {
                reader.look(now, found);
            }
            made_call
        } else {
            self.write_nonsense(random, written)
        };
        found.calls += u64::from(made_call);
        self.nonsense > 0
            || self
                .leaders
                .iter()
                .any(|leader| leader.ticks_left > 0 || leader.tick.is_some())
            || self
                .readers
                .iter()
                .any(|reader| reader.ticks_left > 0 || !reader.to_read.is_empty())
    }

    fn write_nonsense(&mut self, random: &mut Random, written: &mut Written) -> bool {
        if self.nonsense == 0 {
            return false;
        }
        self.nonsense -= 1;
        let shared = &mut self.shared;
        match random.below(5) {
            0 => shared.put_versions(Rc::from(random.bytes::<48>())),
            1 => {
                let mut versions = Versions::new(CONFIGURATION + 1, 9);
                let _ = versions.try_set(digest(0), 9, WallTime::from_ns(self.now_ms * 1_000_000));
                let mut bytes = Vec::new();
                versions.encode(&mut bytes);
                shared.put_versions(Rc::from(bytes));
            }
            2 => {
                let cluster = random.below(2);
                let generation = u64::try_from(random.below(4)).unwrap_or(0);
                let epoch = random.pick(&EPOCHS).copied().unwrap_or_default();
                // Right, but of the other cluster.
                let bytes = written.snapshot(1 - cluster, epoch, generation);
                shared.put_snapshot(cluster, bytes);
            }
            3 => {
                if let Some(old) = random.pick(&shared.old_versions).cloned() {
                    shared.put_versions(old);
                }
            }
            _ => {
                if let Some((cluster, old)) = random.pick(&shared.old_snapshots).cloned() {
                    shared.put_snapshot(cluster, old);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use tidegate_policy::snapshot::{Checked, Offer};

    use super::*;

    #[test]
    fn readers_never_show_what_nobody_wrote_and_never_go_back() {
        let found = run(100_000, 1);
        assert_eq!((found.torn, found.foreign, found.backwards), (0, 0, 0));
        // The faults did what they are for.
        assert!(found.shown > 500_000, "{found:?}");
        assert!(found.waited > 1_000, "{found:?}");
        assert!(found.older > 1_000, "{found:?}");
        assert!(found.refused > 1_000, "{found:?}");
    }

    /// Takes every whole snapshot at once and whatever version is offered.
    #[derive(Default)]
    struct Naive(BTreeMap<String, (Version, Option<Checked>)>);

    impl Reads for Naive {
        fn on_versions(&mut self, bytes: &[u8], now: WallTime) -> Vec<String> {
            let Ok(versions) = VersionsView::open(bytes) else {
                return Vec::new();
            };
            let mut to_read = Vec::new();
            for cluster in CLUSTERS {
                if let Some(version) = versions.get(cluster_digest(cluster.as_bytes())) {
                    let held = self.0.entry(cluster.to_owned()).or_insert((version, None));
                    let changed = version.offered_to(Some(held.0), now, STALE_AFTER);
                    held.0 = version;
                    if changed != Offer::Confirmed || held.1.is_none() {
                        to_read.push(cluster.to_owned());
                    }
                }
            }
            to_read
        }

        fn on_snapshot(&mut self, cluster: &str, bytes: &[u8]) {
            if let (Ok(checked), Some(held)) =
                (Checked::try_new(bytes.to_vec()), self.0.get_mut(cluster))
            {
                held.1 = Some(checked);
            }
        }

        fn picture(&self, cluster: &str, _: WallTime) -> Option<(Version, SnapshotView<'_>)> {
            let (version, checked) = self.0.get(cluster)?;
            Some((*version, checked.as_ref()?.view()))
        }

        fn counts(&self) -> [u64; 3] {
            [0; 3]
        }
    }

    #[test]
    fn reader_that_trusts_what_it_reads_shows_all_three_faults() {
        let found = run_with(2_000, 1, Naive::default);
        assert!(found.torn > 0, "{found:?}");
        assert!(found.foreign > 0, "{found:?}");
        assert!(found.backwards > 0, "{found:?}");
    }
}
