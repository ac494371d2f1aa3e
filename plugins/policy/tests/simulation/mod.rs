//! A world of VMs that tick over one compare-and-set map, in virtual time.

mod map;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

use tidegate_policy::{
    lease::{CasMismatch, Fence, Lease, Step},
    slots::{SLOTS, SlotClaim, SlotIndex, SlotStep, SlotTable},
    units::WallTime,
};

use map::{Key, Map, Random};

const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;
const TICK_US: u64 = 250 * MS;
const JITTER_US: u64 = 75 * MS;
/// Is the longest gap between two ticks that the bound of a takeover is stated for.
const GAP_US: u64 = 333 * MS;
const LEASE_US: u64 = SECOND;
/// Is the wall clock at the beginning of the world.
const EPOCH_US: u64 = 1_700_000_000 * SECOND;

/// Is how often something goes wrong: one in so many steps; zero: never.
#[derive(Clone, Copy)]
pub(crate) struct Faults {
    deaths: u64,
    stalls: u64,
    clock_steps: u64,
    garbage: u64,
}

impl Faults {
    pub(crate) const DEATHS_AND_STALLS: Self = Self {
        deaths: 1_000,
        stalls: 500,
        clock_steps: 0,
        garbage: 0,
    };
    pub(crate) const ALL: Self = Self {
        deaths: 1_000,
        stalls: 500,
        clock_steps: 300,
        garbage: 1_000,
    };
    const NONE: Self = Self {
        deaths: 0,
        stalls: 0,
        clock_steps: 0,
        garbage: 0,
    };
}

/// Is what happened in a world.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    pub(crate) deaths: u64,
    pub(crate) clock_steps: u64,
    pub(crate) garbage: u64,
    pub(crate) takeovers: u64,
    pub(crate) most_believers: usize,
    /// Is the longest time from a renewal to the takeover after it, by a VM that ticked in time.
    pub(crate) latest_takeover_us: u64,
    /// Are writes of leaders that were refused because a newer one had written.
    pub(crate) refused_publications: u64,
    pub(crate) publications: u64,
    pub(crate) without_slot: u64,
    pub(crate) slots: usize,
    pub(crate) virtual_seconds: u64,
}

/// Is what a VM does next: one access to the map, or one decision.
enum Phase {
    ReadLease,
    Decide(Option<(Vec<u8>, u32)>),
    WriteLease(Step),
    WriteSlot(SlotStep),
    Publish { epoch: u64, cas: u32 },
}

struct Vm {
    lease: Lease,
    claim: SlotClaim,
    fence: Fence,
    phase: Phase,
    /// Sees streams, sooner or later: the first VM is the main thread's and never does.
    worker: bool,
    saw_stream: bool,
    clock_offset_us: i64,
    last_decision: Option<u64>,
    /// Is since when this VM has ticked in time.
    regular_since: u64,
    steps_back: Vec<u64>,
    generation: u64,
}

impl Vm {
    fn clock(&self, now: u64) -> WallTime {
        let us = (EPOCH_US + now).saturating_add_signed(self.clock_offset_us);
        WallTime::from_ns(us * 1_000)
    }

    fn term(&self, now: u64) -> Option<u64> {
        self.lease.term(self.clock(now))
    }
}

pub(crate) struct World {
    now: u64,
    random: Random,
    faults: Faults,
    map: Map,
    vms: Vec<Vm>,
    events: BinaryHeap<Reverse<(u64, u64, usize, u64)>>,
    sequence: u64,
    /// Is when a holder last wrote the lease.
    last_renewal: u64,
    /// Are the writes of others since then: each may refuse a takeover once.
    disturbances: Vec<u64>,
    table: SlotTable,
    run: Run,
}

impl World {
    pub(crate) fn new(vms: usize, faults: Faults, seed: u64) -> Self {
        let mut world = Self {
            now: 0,
            random: Random(seed),
            faults,
            map: Map::default(),
            vms: Vec::new(),
            events: BinaryHeap::new(),
            sequence: 0,
            last_renewal: 0,
            disturbances: Vec::new(),
            table: SlotTable::new(),
            run: Run::default(),
        };
        for index in 0..vms {
            let vm = world.birth(index, 0);
            world.vms.push(vm);
            let delay = world.random.below(TICK_US);
            world.schedule(index, delay);
        }
        world
    }

    pub(crate) fn run(&self) -> Run {
        let slots = self
            .map
            .values
            .keys()
            .filter(|key| matches!(key, Key::Slot(_)));
        Run {
            slots: slots.count(),
            virtual_seconds: self.now / SECOND,
            ..self.run
        }
    }

    pub(crate) fn run_steps(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step();
        }
    }

    /// Ends the faults and waits until every effect of theirs must be over.
    pub(crate) fn calm_down(&mut self) {
        self.faults = Faults::NONE;
        self.run_until(self.now + 40 * SECOND);
    }

    /// Checks for 10 s more that there is one leader, always the same and without streams, and that
    /// every VM has a slot of its own.
    pub(crate) fn check_the_calm(&mut self) {
        let end = self.now + 10 * SECOND;
        let leader = self.believers();
        assert_eq!(leader.len(), 1, "{leader:?}");
        while self.now < end {
            self.run_until(self.now + TICK_US);
            assert_eq!(self.believers(), leader);
            self.table.on_tick(self.vms[0].clock(self.now));
            for index in SlotIndex::all() {
                let value = self.map.values.get(&Key::Slot(index));
                let _ = self
                    .table
                    .on_read(index, value.map(|(bytes, _)| bytes.as_slice()));
            }
        }
        assert!(!self.vms[leader[0].1].saw_stream, "{leader:?}");
        let held: BTreeSet<_> = self.vms.iter().filter_map(|vm| vm.claim.held()).collect();
        assert_eq!(held.len(), self.vms.len().min(SLOTS));
        assert_eq!(self.table.live(), held.len());
        let busy = self
            .vms
            .iter()
            .filter(|vm| vm.claim.held().is_some() && vm.saw_stream);
        assert_eq!(self.table.live_with_streams(), busy.count());
    }

    fn run_until(&mut self, end: u64) {
        while self
            .events
            .peek()
            .is_some_and(|Reverse((at, ..))| *at <= end)
        {
            self.step();
        }
        self.now = end;
    }

    /// Is a VM that starts; nobody remembers the one before.
    fn birth(&mut self, index: usize, generation: u64) -> Vm {
        let offset = self.random.below(2 * SECOND);
        Vm {
            lease: Lease::new(self.random.draw()),
            claim: SlotClaim::new(self.random.draw()),
            fence: Fence::new(),
            phase: Phase::ReadLease,
            worker: index != 0,
            saw_stream: false,
            clock_offset_us: i64::try_from(offset).unwrap(),
            last_decision: None,
            regular_since: self.now,
            steps_back: Vec::new(),
            generation,
        }
    }

    fn schedule(&mut self, index: usize, delay: u64) {
        self.sequence += 1;
        let generation = self.vms[index].generation;
        let event = (self.now + delay, self.sequence, index, generation);
        self.events.push(Reverse(event));
    }

    /// Lets the next VM do the next thing, or die in the middle of it.
    fn step(&mut self) {
        let Some(Reverse((at, _, index, generation))) = self.events.pop() else {
            return;
        };
        self.now = at;
        if self.vms[index].generation != generation {
            return;
        }
        self.step_clocks(index);
        self.write_garbage();
        if self.random.one_in(self.faults.deaths) {
            self.die(index);
        } else if self.random.one_in(self.faults.deaths * 10) {
            // Leaders die more often than others do.
            if let Some((_, leader)) = self.believers().first().copied() {
                self.die(leader);
            }
        }
        if self.vms[index].generation == generation {
            self.act(index);
        }
    }

    fn die(&mut self, index: usize) {
        self.run.deaths += 1;
        self.run.without_slot += self.vms[index].claim.counts().without_slot;
        let generation = self.vms[index].generation + 1;
        self.vms[index] = self.birth(index, generation);
        let delay = self.random.below(5 * SECOND);
        self.vms[index].regular_since = self.now + delay;
        self.schedule(index, delay);
    }

    fn step_clocks(&mut self, index: usize) {
        if !self.random.one_in(self.faults.clock_steps) {
            return;
        }
        self.run.clock_steps += 1;
        let range = if self.random.one_in(2) {
            3 * SECOND
        } else {
            7_200 * SECOND
        };
        let by = self.random.below(range).cast_signed() - (range / 2).cast_signed();
        let all = self.random.one_in(10);
        for (other, vm) in self.vms.iter_mut().enumerate() {
            if all || other == index {
                vm.clock_offset_us += by;
                if by < 0 {
                    vm.steps_back.push(self.now);
                }
            }
        }
        self.check_beliefs();
    }

    fn write_garbage(&mut self) {
        if !self.random.one_in(self.faults.garbage) {
            return;
        }
        self.run.garbage += 1;
        let length = usize::try_from(self.random.below(80)).unwrap();
        let garbage: Vec<u8> = (0..length)
            .map(|_| self.random.draw().to_le_bytes()[0])
            .collect();
        let slot = usize::try_from(self.random.below(64)).unwrap();
        let key = match self.random.below(3) {
            0 => Key::Lease,
            1 => Key::Snapshot,
            _ => Key::Slot(SlotIndex::all().nth(slot).unwrap()),
        };
        // Nothing is written where we never wrote: a stranger's key is no slot of ours.
        if self.map.values.contains_key(&key) {
            self.map.put(key, &garbage);
            if key == Key::Lease {
                self.disturbances.push(self.now);
            }
        }
    }

    /// Does one phase of a VM's tick.
    fn act(&mut self, index: usize) {
        let now = self.now;
        let draw = self.random.draw();
        let vm = &mut self.vms[index];
        let clock = vm.clock(now);
        let mut delay = 1 + draw % (MS / 5);
        let phase = std::mem::replace(&mut vm.phase, Phase::ReadLease);
        let next = match phase {
            Phase::ReadLease => {
                if let (Some(epoch), _) = self.map.published() {
                    // What is refused here is an old leader's: it is not used.
                    let _ = vm.fence.admit(epoch);
                }
                Phase::Decide(self.map.read(Key::Lease))
            }
            Phase::Decide(read) => {
                vm.saw_stream |= vm.worker && draw.is_multiple_of(20);
                if vm.last_decision.is_none_or(|last| now - last > GAP_US) {
                    vm.regular_since = now;
                }
                vm.last_decision = Some(now);
                let read = read.as_ref().map(|(bytes, cas)| (bytes.as_slice(), *cas));
                Phase::WriteLease(vm.lease.on_tick(read, vm.saw_stream, clock, draw))
            }
            Phase::WriteLease(step) => {
                self.write_lease(index, step);
                let (vm, map) = (&mut self.vms[index], &self.map);
                let read = |slot| Ok::<_, ()>(map.read(Key::Slot(slot)));
                let step = vm.claim.on_tick(read, vm.saw_stream, b"report", clock);
                Phase::WriteSlot(step.unwrap())
            }
            Phase::WriteSlot(step) => {
                if let Some(write) = step.write() {
                    let outcome = self
                        .map
                        .write(Key::Slot(write.index), &write.bytes, write.cas);
                    vm.claim.on_written(outcome);
                }
                let (published, cas) = self.map.published();
                if let Some(epoch) = published {
                    let _ = vm.fence.admit(epoch);
                }
                match vm.lease.term(clock) {
                    Some(epoch) => match vm.fence.check(epoch) {
                        Ok(()) => Phase::Publish { epoch, cas },
                        Err(fenced) => {
                            self.run.refused_publications += 1;
                            vm.lease.learn(fenced.newest);
                            delay = TICK_US;
                            Phase::ReadLease
                        }
                    },
                    None => {
                        delay = TICK_US + draw % JITTER_US;
                        Phase::ReadLease
                    }
                }
            }
            Phase::Publish { epoch, cas } => {
                self.publish(epoch, cas);
                delay = TICK_US + draw % JITTER_US;
                Phase::ReadLease
            }
        };
        self.vms[index].phase = next;
        if self.random.one_in(self.faults.stalls) {
            delay += self.random.below(5 * SECOND);
        }
        self.schedule(index, delay);
    }

    fn write_lease(&mut self, index: usize, step: Step) {
        let vm = &mut self.vms[index];
        if let Some(write) = step.write() {
            let outcome = self.map.write(Key::Lease, &write.bytes, write.cas);
            vm.lease.on_written(outcome);
            match step {
                _ if outcome.is_err() => {}
                Step::Ask(_) => self.disturbances.push(self.now),
                _ => {
                    if matches!(step, Step::TakeOver(_)) {
                        self.run.takeovers += 1;
                        let base = self.last_renewal.max(vm.regular_since);
                        let calm = self.disturbances.is_empty()
                            && vm.steps_back.is_empty()
                            && vm.last_decision.is_some_and(|last| self.now - last <= MS);
                        if calm && self.now - base > self.run.latest_takeover_us {
                            self.run.latest_takeover_us = self.now - base;
                        }
                    }
                    self.last_renewal = self.now;
                    self.disturbances.clear();
                    self.check_beliefs();
                }
            }
        }
        self.check_liveness(index);
    }

    /// A leader's write counts only if nobody wrote since its look, so what is stored never goes
    /// back to an older epoch.
    fn publish(&mut self, epoch: u64, cas: u32) {
        let (before, _) = self.map.published();
        match self.map.write(Key::Snapshot, &epoch.to_be_bytes(), cas) {
            Ok(()) => {
                assert!(
                    before.is_none_or(|before| before <= epoch),
                    "{before:?} {epoch}"
                );
                self.run.publications += 1;
            }
            Err(CasMismatch) => self.run.refused_publications += 1,
        }
    }

    /// Are the epochs and the VMs that believe to lead in them.
    fn believers(&self) -> Vec<(u64, usize)> {
        let vms = self.vms.iter().enumerate();
        vms.filter_map(|(index, vm)| Some((vm.term(self.now)?, index)))
            .collect()
    }

    /// At most one believes in each epoch; with sane clocks and no neighbour, at most one at all.
    fn check_beliefs(&mut self) {
        let believers = self.believers();
        let epochs: BTreeSet<_> = believers.iter().map(|(epoch, _)| epoch).collect();
        assert_eq!(epochs.len(), believers.len(), "{believers:?}");
        self.run.most_believers = self.run.most_believers.max(believers.len());
    }

    /// A VM that ticked in time has seen the lease renewed, or has taken it: within `LEASE` and two
    /// gaps, and one more for each step of its clock and each write that came in between.
    fn check_liveness(&mut self, index: usize) {
        let vm = &mut self.vms[index];
        if vm.last_decision.is_none_or(|last| self.now - last > MS) {
            // It was stalled between its decision and this write.
            vm.regular_since = self.now;
        }
        let base = self.last_renewal.max(vm.regular_since);
        vm.steps_back.retain(|at| *at >= base);
        let disturbances = self.disturbances.iter().filter(|at| **at >= base).count();
        let allowed = u64::try_from(2 + disturbances + vm.steps_back.len()).unwrap();
        let silence = self.now - base;
        assert!(
            silence <= LEASE_US + allowed * GAP_US + MS,
            "{silence} us after the last renewal VM {index} has not taken the lease"
        );
    }
}
