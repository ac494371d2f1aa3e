//! Workers around a leader: each reports what it sees and reads what is published.

use tidegate_policy::{
    endpoints::{Attempt, Follower, KEY_PLUGIN, Observer, Picture},
    slots::{SlotIndex, SlotReport},
    snapshot::{Endpoint, snapshot_key},
};

use crate::world::{World, address, at};

/// Is an attempt that was answered in 20 ms.
pub(crate) const OK: Attempt = Attempt::Success { latency_us: 20_000 };

/// Is a worker with a slot.
pub(crate) struct Worker {
    pub(crate) observer: Observer,
    pub(crate) follower: Follower,
    slot: SlotIndex,
    id: u64,
    beat: u64,
}

impl Worker {
    pub(crate) fn new(world: &World, number: u8) -> Self {
        let id = u64::from(number) + 1;
        let (digest, stale_after) = (world.config.digest(), world.config.stale_after());
        Self {
            observer: Observer::new(digest, id),
            follower: Follower::new(digest, stale_after),
            slot: SlotIndex::all().nth(usize::from(number)).unwrap(),
            id,
            beat: 0,
        }
    }

    /// Sees an attempt at an endpoint of the first cluster, as far as it knows that.
    pub(crate) fn saw(&mut self, world: &World, number: u8, attempt: Attempt) {
        let generation = self
            .endpoint(world, number)
            .map_or(1, |endpoint| endpoint.since.generation);
        let now = at(world.now_ms);
        let place = address(number);
        self.observer
            .on_attempt(b"app", place, generation, attempt, now);
    }

    /// Is what it knows of an endpoint.
    pub(crate) fn endpoint(&self, world: &World, number: u8) -> Option<Endpoint> {
        match self.follower.picture(b"app", at(world.now_ms)) {
            Picture::Known(known) => Some(known.view.get(&address(number))?.endpoint),
            Picture::Unknown(_) => None,
        }
    }

    /// Is what lies in the slot after the worker's tick.
    fn report(&mut self, world: &World) -> Vec<u8> {
        self.beat += 1;
        let mut report = Vec::new();
        self.observer.report(&mut report, at(world.now_ms));
        let slot = SlotReport {
            holder: self.id,
            beat: self.beat,
            written: at(world.now_ms),
            saw_stream: true,
            report: &report,
        };
        slot.encode().unwrap()
    }

    /// Reads what was published.
    fn follow(&mut self, world: &World) {
        let Some(versions) = world.shared.get(&world.versions_key()) else {
            return;
        };
        let now = at(world.now_ms);
        let changed = self.follower.on_versions(versions, ["app"], now).unwrap();
        for cluster in changed {
            let key = snapshot_key(KEY_PLUGIN, world.config.digest(), cluster.as_bytes());
            let bytes = world.shared[&key].clone();
            assert_eq!(self.follower.on_snapshot(&cluster, bytes), Ok(true));
        }
    }
}

/// Lets workers report, and the leader read and tick; then they read what it published.
pub(crate) fn step(world: &mut World, workers: &mut [Worker]) {
    let slots: Vec<(SlotIndex, Vec<u8>)> = workers
        .iter_mut()
        .map(|worker| (worker.slot, worker.report(world)))
        .collect();
    let read = slots
        .iter()
        .map(|(slot, bytes)| (*slot, Some(bytes.as_slice())));
    world.lead.on_reports(read, at(world.now_ms));
    world.tick();
    for worker in workers {
        worker.follow(world);
    }
}

/// Lets so much time pass.
pub(crate) fn run(world: &mut World, workers: &mut [Worker], ms: u64) {
    for _ in 0..ms / crate::world::TICK {
        step(world, workers);
    }
}
