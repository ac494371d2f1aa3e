//! One cluster as the leader knows and publishes it.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use super::{
    Publication,
    state::{Readiness, eds_health_of, since_of, start_of, state_of},
    traffic::{Bench, judged},
};
use crate::{
    ejection::{self, Judge, combine, others_of},
    endpoints::KEY_PLUGIN,
    membership::{Cluster, Member, Presence},
    probe::{Prober, Start},
    snapshot::{
        Endpoint, EndpointAddress, Header, Merger, Snapshot, SnapshotView, cluster_digest,
        snapshot_key,
    },
    units::WallTime,
};

/// Names an endpoint of a board: its index, and the address.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Target {
    pub(super) board: usize,
    pub(super) address: EndpointAddress,
}

/// Is how old a snapshot's bytes get until they are looked at: a neighbour may have damaged them, or
/// a stalled leader have written late, and a VM that starts finds nothing else.
const HEAL_AFTER: Duration = Duration::from_secs(30);

/// Is one cluster.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) name: String,
    /// Is the digest of the name.
    pub(super) cluster: u64,
    pub(super) snapshot: Snapshot,
    pub(super) merger: Merger,
    pub(super) bench: Bench,
    /// Is when the source last vouched for the membership; `None`: nothing is known.
    pub(super) confirmed_at: Option<WallTime>,
    /// Says that the membership changed since the snapshot was made of it.
    pub(super) is_outdated: bool,
    /// Says that the snapshot differs from what was written, or was never written in this term.
    pub(super) is_changed: bool,
    /// Says that its write was not made in this tick.
    pub(super) is_refused: bool,
    /// Is when it was written in this term; `None`: not, so that no version names it.
    pub(super) written_at: Option<WallTime>,
}

impl Board {
    /// Knows nothing of a cluster yet.
    pub(super) fn new(
        name: &str,
        configuration: u64,
        epoch: u64,
        ejection: Option<ejection::Config>,
    ) -> Self {
        let cluster = cluster_digest(name.as_bytes());
        Self {
            name: String::from(name),
            cluster,
            snapshot: Snapshot::new(Header {
                configuration,
                cluster,
                epoch,
                generation: 0,
                published_at: WallTime::default(),
            }),
            merger: Merger::new(),
            bench: ejection.map(Judge::new),
            confirmed_at: None,
            is_outdated: false,
            is_changed: false,
            is_refused: false,
            written_at: None,
        }
    }

    /// Begins with what a predecessor published.
    pub(super) fn restore(&mut self, view: &SnapshotView<'_>) {
        let header = Header {
            epoch: self.snapshot.header.epoch,
            ..*view.header()
        };
        self.snapshot = view.to_snapshot();
        self.snapshot.header = header;
        self.is_outdated = true;
        self.is_changed = true;
    }

    /// Takes note that the source vouched for the membership as it is.
    pub(super) fn confirm(&mut self, now: WallTime) {
        // The first one publishes, also where there is nobody: a cluster is known to be empty.
        self.is_changed |= self.confirmed_at.is_none();
        self.confirmed_at = Some(now);
    }

    /// Makes the snapshot of the membership anew. What was measured of an endpoint stays with it
    /// while it is the same life of the address. O(n log n).
    pub(super) fn rebuild(
        &mut self,
        index: usize,
        cluster: &Cluster,
        mut prober: Option<&mut Prober<Target>>,
        drain_window: Duration,
        now: WallTime,
        draw: &mut dyn FnMut() -> u64,
    ) {
        self.is_outdated = false;
        let header = self.snapshot.header;
        let before = core::mem::replace(&mut self.snapshot, Snapshot::new(header));
        let is_vanished = |member: &Member| matches!(member.presence, Presence::Vanished { .. });
        // Where there is no room for all, those who left find none.
        let present = cluster.members().filter(|(_, member)| !is_vanished(member));
        let vanished = cluster.members().filter(|(_, member)| is_vanished(member));
        let mut kept = 0_usize;
        for (address, member) in present.chain(vanished) {
            let address = EndpointAddress::from(address);
            let target = Target {
                board: index,
                address,
            };
            let since = since_of(member);
            let former = before.get(&address);
            let known = former.filter(|endpoint| endpoint.since.generation == since.generation);
            if let Some(prober) = prober.as_deref_mut() {
                if is_vanished(member) {
                    prober.remove(&target);
                } else if known.is_none() || prober.verdict(&target).is_none() {
                    let start = known.map_or(Start::New, |known| {
                        // Not its readiness made traffic eject it.
                        let state = others_of(known.state, now);
                        start_of(&Endpoint { state, ..*known }, now)
                    });
                    // Whoever finds no room is never asked and stays unproven.
                    let _ = prober.add(target, start, now, draw());
                }
            }
            let mut endpoint = Endpoint {
                weight: member.listed.weight,
                // Nobody has so many levels.
                priority: u8::try_from(member.listed.priority).unwrap_or(u8::MAX),
                eds_health: eds_health_of(member.listed.health),
                since,
                ..known.copied().unwrap_or(Endpoint::new(since))
            };
            let others = state_of(
                member,
                readiness(prober.as_deref(), &target),
                known.map(|known| known.state),
                drain_window,
                now,
            );
            endpoint.state = judged(&mut self.bench, address, known, others, now);
            let zone = cluster.zone(member.listed.zone).as_bytes();
            let mut pushed = self.snapshot.try_push(address, endpoint, zone);
            if pushed.is_err() && !zone.is_empty() {
                // A zone whose name is longer than a snapshot's may be is none.
                pushed = self.snapshot.try_push(address, endpoint, b"");
            }
            let is_kept = former.is_some() && pushed.is_ok();
            kept = kept.saturating_add(usize::from(is_kept));
        }
        // Mostly nobody is forgotten, and nobody has to be looked for.
        let forgotten = before.iter().filter(|_| kept < before.len());
        for (address, _) in forgotten {
            if self.snapshot.get(&address).is_some() {
                continue;
            }
            if let Some(prober) = prober.as_deref_mut() {
                prober.remove(&Target {
                    board: index,
                    address,
                });
            }
            if let Some(judge) = &mut self.bench {
                judge.remove(&address);
            }
        }
        self.is_changed |= before != self.snapshot;
    }

    /// Brings one endpoint's readiness into the snapshot. O(log n).
    pub(super) fn on_probed(
        &mut self,
        target: &Target,
        member: &Member,
        prober: &Prober<Target>,
        instance: Option<u64>,
        drain_window: Duration,
        now: WallTime,
    ) {
        let readiness = readiness(Some(prober), target);
        let generation = since_of(member).generation;
        let changed = self.snapshot.update(&target.address, |endpoint| {
            // One that is listed and not in the picture yet waits for the rebuilding.
            if endpoint.since.generation != generation {
                return;
            }
            let before = Some(endpoint.state);
            let others = state_of(member, readiness, before, drain_window, now);
            let known = *endpoint;
            endpoint.state = judged(&mut self.bench, target.address, Some(&known), others, now);
            endpoint.instance = instance.and_then(core::num::NonZeroU64::new);
        });
        self.is_changed |= changed.unwrap_or(false);
    }

    /// Brings what the judge says of one endpoint into the snapshot. O(log n).
    pub(super) fn on_judged(
        &mut self,
        change: &ejection::Change<EndpointAddress>,
        member: &Member,
        readiness: Readiness,
        drain_window: Duration,
        now: WallTime,
    ) {
        let generation = since_of(member).generation;
        let changed = self.snapshot.update(&change.key, |endpoint| {
            if endpoint.since.generation != generation {
                return;
            }
            let before = Some(endpoint.state);
            let others = state_of(member, readiness, before, drain_window, now);
            endpoint.state = combine(others, change.verdict);
            endpoint.failures.ejections = change.ejections;
            if let Some(cause) = change.cause {
                endpoint.ejected_for = cause.kind();
            }
        });
        self.is_changed |= changed.unwrap_or(false);
    }

    /// Is the snapshot to write now.
    pub(super) fn publication(&mut self, now: WallTime) -> Option<Publication> {
        let is_waiting = self.is_outdated || self.is_refused;
        if !self.is_changed || is_waiting || self.confirmed_at.is_none() {
            return None;
        }
        self.is_changed = false;
        let header = &mut self.snapshot.header;
        header.generation = header.generation.saturating_add(1);
        header.published_at = now;
        Some(self.write(now, false))
    }

    /// Is the snapshot to write again where something else stands under its key, once it is old
    /// enough for that.
    pub(super) fn healing(&mut self, now: WallTime) -> Option<Publication> {
        let written = self.written_at.filter(|_| !self.is_changed)?;
        let is_due = now < written || now.saturating_since(written) >= HEAL_AFTER;
        is_due.then(|| self.write(now, true))
    }

    /// Is the key of the snapshot.
    pub(super) fn key(&self) -> String {
        let configuration = self.snapshot.header.configuration;
        snapshot_key(KEY_PLUGIN, configuration, self.name.as_bytes())
    }

    /// Takes note that a write was not made.
    pub(super) fn on_not_written(&mut self) {
        self.is_changed = true;
        self.is_refused = true;
        self.written_at = None;
    }

    fn write(&mut self, now: WallTime, is_repair: bool) -> Publication {
        self.written_at = Some(now);
        let mut bytes = Vec::new();
        self.snapshot.encode(&mut bytes);
        Publication {
            key: self.key(),
            bytes,
            is_repair,
        }
    }
}

/// Is what is known of an endpoint's readiness.
pub(super) fn readiness(prober: Option<&Prober<Target>>, target: &Target) -> Readiness {
    match prober {
        None => Readiness::NotProbed,
        Some(prober) => Readiness::Probed(
            prober
                .verdict(target)
                .unwrap_or(crate::probe::Verdict::Unproven { available: true }),
        ),
    }
}
