//! Keeps what one VM knows of a cluster's endpoints, and picks one for a request.
//!
//! Why: the parts know endpoints by their seats, snapshots by their addresses, and streams outlive
//! both: an attempt that ends after its endpoint left must neither be lost nor counted at the one
//! that has the seat by then.
//! Model: an address keeps its seat while it is listed or has something under way. An address that
//! joined again (another generation) keeps the seat and begins without an estimate.
//! Inputs / Output: the entries of a snapshot that may take requests, each with its share; attempts
//! and how they went; draws. A [`Picked`].
//! Cold start: without entries nothing is picked.
//! Limits: as many endpoints as a snapshot has, and as many more as have something under way.
//! Scope: per worker VM and cluster. Cost: [`Pool::prepare`] O(endpoints + former ones), without
//! allocation once that many were there; everything else O(1) but for [`Pool::seat`], O(log n).

use alloc::vec::Vec;
use core::{num::NonZeroU32, time::Duration};

use super::{
    choice::{Candidate, Candidates, DRAWS, NotPicked, Picked, Sight},
    in_flight::{Ended, InFlight, MAX_STREAMS, Seat, Ticket},
    peak_ewma::{Decay, PeakEwma, nanoseconds},
    slow_start::{SlowStart, drain_share},
    zones::{Spill, Zone},
};
use crate::{
    digest::fnv1a_64,
    fallback::ZoneDigest,
    panic_mode::Fitness,
    passive::{Outcome, Recent},
    snapshot::{EndpointAddress, Entry, Latency, State},
    units::WallTime,
};

/// Are the numbers that a pool goes by.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Is how fast estimates decay.
    pub decay: Decay,
    /// Is how the share of one that joined rises.
    pub slow_start: SlowStart,
    /// Is how long an endpoint drains: its share falls over that time.
    pub drain_window: Duration,
    /// Is when requests leave the own zone.
    pub spill: Spill,
    /// Is how long a failure is recent; zero: never.
    pub recent_failure: Duration,
}

/// Is how much of its share an endpoint gets, and before whom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Is from 0, for nothing, to 1.
    pub factor: f64,
    /// Says whether it rises.
    pub newcomer: bool,
    /// Is how it ranks: the fittest are taken first. All that are chosen among by availability rank
    /// alike; only whoever overrules the states ranks by them.
    pub rank: Fitness,
}

impl Share {
    /// Is all of it.
    pub const FULL: Self = Self {
        factor: 1.0,
        newcomer: false,
        rank: Fitness::Available,
    };

    /// Is nothing.
    pub const NONE: Self = Self {
        factor: 0.0,
        newcomer: false,
        rank: Fitness::Available,
    };

    /// Is the share of an endpoint by its state alone; whoever overrules the states, as in a panic,
    /// doesn't ask.
    #[must_use]
    pub fn of(state: State, settings: &Settings, now: WallTime) -> Self {
        match state {
            State::Unknown => Self::FULL,
            State::Available { slow_start } => {
                let factor = settings.slow_start.factor_at(slow_start, now);
                Self {
                    factor,
                    newcomer: factor < 1.0,
                    ..Self::FULL
                }
            }
            State::Draining { until } => Self {
                factor: drain_share(until, settings.drain_window, now),
                ..Self::FULL
            },
            State::Ejected { .. } | State::Probing | State::Vanished { .. } => Self::NONE,
        }
    }
}

/// Is what is known of the endpoint at a seat.
#[derive(Clone, Copy, Debug)]
struct Seated {
    address: EndpointAddress,
    generation: u32,
    estimate: PeakEwma,
    recent: Recent,
    zone: ZoneDigest,
    stay: Stay,
}

/// Says why an endpoint has a seat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stay {
    /// A snapshot lists it.
    Listed,
    /// It is no longer listed, and has something under way.
    Leaving,
    /// It has none: the seat is free.
    Gone,
}

/// Is an endpoint's turn until the next tick.
#[derive(Clone, Copy, Debug)]
struct Turn {
    address: EndpointAddress,
    candidate: Candidate,
    fitness: Fitness,
}

/// Is how a listed endpoint stands until the next tick.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Listed {
    /// Is its place in the tables of the VM.
    pub seat: Seat,
    /// Says how it stands.
    pub fitness: Fitness,
}

/// Picks among a cluster's endpoints.
#[derive(Clone, Debug)]
pub struct Pool {
    settings: Settings,
    seats: Vec<Seated>,
    /// Are the seats that are free.
    free: Vec<Seat>,
    /// Are the seats of endpoints that are no longer listed, with something under way.
    leaving: Vec<Seat>,
    /// Are the listed endpoints, sorted by address.
    turns: Vec<Turn>,
    /// Is where the next ones are put together.
    next_turns: Vec<Turn>,
    in_flight: InFlight,
    candidates: Candidates,
    clock_regressions: u64,
}

impl Pool {
    /// Starts without endpoints.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            seats: Vec::new(),
            free: Vec::new(),
            leaving: Vec::new(),
            turns: Vec::new(),
            next_turns: Vec::new(),
            in_flight: InFlight::new(MAX_STREAMS),
            candidates: Candidates::new(settings.spill),
            clock_regressions: 0,
        }
    }

    /// Are the numbers that it goes by.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes all endpoints of a snapshot with their shares, sorted by address as it lists them; for
    /// each tick, since shares change with time. What is out of order is left out.
    ///
    /// `own_zone` is the name of the proxy's zone; empty where it is in none. `workers` is how many
    /// VMs of the proxy take requests, 1 where that is not known.
    pub fn prepare<'a>(
        &mut self,
        entries: impl IntoIterator<Item = (Entry<'a>, Share)>,
        own_zone: &[u8],
        workers: NonZeroU32,
        now: WallTime,
    ) {
        let seats = &self.seats;
        self.leaving.retain(|seat| {
            seats
                .get(index(*seat))
                .is_some_and(|seated| seated.stay == Stay::Leaving)
        });
        let mut known = core::mem::take(&mut self.turns);
        let mut turns = core::mem::take(&mut self.next_turns);
        turns.clear();
        let mut before = known.iter().copied().peekable();
        for (entry, share) in entries {
            if turns
                .last()
                .is_some_and(|last| last.address >= entry.address)
            {
                continue;
            }
            while let Some(left) = before.next_if(|turn| turn.address < entry.address) {
                self.unlist(left.candidate.seat);
            }
            let seat = match before.next_if(|turn| turn.address == entry.address) {
                Some(turn) => turn.candidate.seat,
                None => self.seat_down(&entry),
            };
            self.update(seat, &entry, now);
            turns.push(Turn {
                address: entry.address,
                candidate: Candidate {
                    seat,
                    weight: entry.endpoint.weight.get(),
                    factor: share.factor,
                    newcomer: share.newcomer,
                    zone: Zone::of(entry.zone, own_zone),
                    fitness: share.rank,
                },
                fitness: Fitness::of(entry.endpoint.state, now),
            });
        }
        for left in before {
            self.unlist(left.candidate.seat);
        }
        known.clear();
        self.next_turns = known;
        self.turns = turns;
        self.in_flight.reserve(self.seats.len());
        let (seats, in_flight, settings) = (&self.seats, &self.in_flight, &self.settings);
        let candidates = self.turns.iter().map(|turn| turn.candidate);
        self.candidates.prepare(candidates, workers, |seat| {
            sight(seats, in_flight, seat, settings, now)
        });
    }

    /// Picks an endpoint for a request.
    ///
    /// # Errors
    /// No endpoint has a share.
    pub fn pick(&self, draws: [u64; DRAWS], now: WallTime) -> Result<Picked, NotPicked> {
        let (seats, in_flight, settings) = (&self.seats, &self.in_flight, &self.settings);
        self.candidates
            .pick(|seat| sight(seats, in_flight, seat, settings, now), draws)
    }

    /// Takes that an attempt went to an endpoint, picked here or by others. At a seat that is free
    /// by now it is counted nowhere, and gives no sample.
    pub fn on_start(&mut self, seat: Seat, now: WallTime) -> Ticket {
        let seat = match self.stay(seat) {
            Stay::Listed | Stay::Leaving => seat,
            Stay::Gone => Seat::NONE,
        };
        self.in_flight.on_start(seat, now)
    }

    /// Takes that an attempt was answered without a failure after this long. One that failed has no
    /// sample.
    pub fn on_sample(&mut self, ticket: &Ticket, latency: Duration, now: WallTime) {
        let decay = self.settings.decay;
        if let Some(seated) = self.seats.get_mut(index(ticket.seat())) {
            seated.estimate.on_sample(latency, decay, now);
        }
    }

    /// Takes that an attempt's headers came: it stays under way, and its age counts no more.
    pub fn on_answer(&mut self, ticket: &mut Ticket) {
        self.in_flight.on_answer(ticket);
    }

    /// Takes that another endpoint serves what went to the ticket's: it is under way there from now
    /// on, without an age. At a seat that is free by now it is counted nowhere.
    pub fn on_move(&mut self, ticket: &mut Ticket, seat: Seat) {
        let seat = match self.stay(seat) {
            Stay::Listed | Stay::Leaving => seat,
            Stay::Gone => Seat::NONE,
        };
        let former = ticket.seat();
        if self.in_flight.on_move(ticket, seat) == Ended::Idle {
            self.stand_up(former);
        }
    }

    /// Takes how an attempt at an endpoint ended, for the order in which endpoints are taken.
    pub fn on_outcome(&mut self, seat: Seat, outcome: Outcome, now: WallTime) {
        if let Some(seated) = self.seats.get_mut(index(seat)) {
            seated.recent.on_outcome(outcome, now);
        }
    }

    /// Takes that an endpoint said that it drains: it is spared as if it had failed.
    pub fn on_drain(&mut self, seat: Seat, now: WallTime) {
        if let Some(seated) = self.seats.get_mut(index(seat)) {
            seated.recent.on_drain(now);
        }
    }

    /// Says whether an endpoint failed a moment ago, and did not succeed since.
    #[must_use]
    pub fn has_failed(&self, seat: Seat, now: WallTime) -> bool {
        let limit = self.settings.recent_failure;
        let seated = self.seats.get(index(seat));
        seated.is_some_and(|seated| seated.recent.has_failed(now, limit))
    }

    /// Takes that an attempt was answered by an upgrade after this long, its only sample; `None`
    /// where the time is not the endpoint's.
    pub fn on_upgrade(&mut self, ticket: &mut Ticket, latency: Option<Duration>, now: WallTime) {
        if let Some(latency) = latency.filter(|_| !ticket.is_upgraded()) {
            self.on_sample(ticket, latency, now);
        }
        self.in_flight.on_upgrade(ticket);
    }

    /// Takes that an attempt ended, or the stream that it became.
    pub fn on_end(&mut self, ticket: Ticket) {
        let seat = ticket.seat();
        if self.in_flight.on_end(ticket) == Ended::Idle {
            self.stand_up(seat);
        }
    }

    /// Is the address at a seat; `None` for one that was never given.
    #[must_use]
    pub fn address(&self, seat: Seat) -> Option<EndpointAddress> {
        self.seats.get(index(seat)).map(|seated| seated.address)
    }

    /// Is the seat of a listed address, for attempts that others sent there. O(log n).
    #[must_use]
    pub fn seat(&self, address: &EndpointAddress) -> Option<Seat> {
        self.find(address).map(|listed| listed.seat)
    }

    /// Finds a listed address, whether or not it may be picked. O(log n).
    #[must_use]
    pub fn find(&self, address: &EndpointAddress) -> Option<Listed> {
        let found = self
            .turns
            .binary_search_by(|turn| turn.address.cmp(address))
            .ok()?;
        self.turns.get(found).map(|turn| Listed {
            seat: turn.candidate.seat,
            fitness: turn.fitness,
        })
    }

    /// Is the zone of the endpoint at a seat; zero where it has none.
    #[must_use]
    pub fn zone(&self, seat: Seat) -> ZoneDigest {
        self.seats.get(index(seat)).map_or(0, |seated| seated.zone)
    }

    /// Lists who may serve an attempt after the first, with their zones.
    pub fn spares(&self) -> impl Iterator<Item = (Seat, ZoneDigest)> + use<'_> {
        let turns = self.turns.iter().map(|turn| turn.candidate);
        turns
            .filter(Candidate::may_be_picked)
            .map(|candidate| (candidate.seat, self.zone(candidate.seat)))
    }

    /// Is what this VM sees of an endpoint.
    #[must_use]
    pub fn sight(&self, seat: Seat, now: WallTime) -> Sight {
        sight(&self.seats, &self.in_flight, seat, &self.settings, now)
    }

    /// Is what a report says of an endpoint's latency; `None` before the first sample. The age of
    /// the oldest request is told where it is more than the average of peaks: of a hang the others
    /// know before it ends.
    #[must_use]
    pub fn latency(&self, seat: Seat, now: WallTime) -> Option<Latency> {
        let estimate = &self.seats.get(index(seat))?.estimate;
        let cost_ns = estimate.cost_ns_at(self.settings.decay, now)?;
        let oldest_age = self.in_flight.oldest_age(seat, now);
        if nanoseconds(oldest_age) > cost_ns {
            return Some(Latency::new(oldest_age, now));
        }
        estimate.to_latency()
    }

    /// Is what is under way.
    #[must_use]
    pub const fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// Is the number of endpoints that may be picked.
    #[must_use]
    pub fn candidates(&self) -> usize {
        self.candidates.len()
    }

    /// Is how many estimates were ahead of the clock on a tick: it stepped back.
    #[must_use]
    pub const fn clock_regressions(&self) -> u64 {
        self.clock_regressions
    }

    /// Gives a seat to an address that is not listed yet: its own, if it still has one.
    fn seat_down(&mut self, entry: &Entry<'_>) -> Seat {
        let seated = Seated {
            address: entry.address,
            generation: entry.endpoint.since.generation,
            estimate: PeakEwma::default(),
            recent: Recent::default(),
            zone: zone_digest(entry.zone),
            stay: Stay::Listed,
        };
        let seats = &mut self.seats;
        let left = self.leaving.iter().position(|seat| {
            seats
                .get(index(*seat))
                .is_some_and(|seated| seated.address == entry.address)
        });
        if let Some(seat) = left.map(|left| self.leaving.swap_remove(left)) {
            if let Some(seated) = seats.get_mut(index(seat)) {
                seated.stay = Stay::Listed;
            }
            return seat;
        }
        if let Some(seat) = self.free.pop() {
            if let Some(free) = seats.get_mut(index(seat)) {
                *free = seated;
            }
            return seat;
        }
        let seat = Seat(u32::try_from(seats.len()).unwrap_or(u32::MAX));
        seats.push(seated);
        seat
    }

    /// Takes what a snapshot says of an endpoint.
    fn update(&mut self, seat: Seat, entry: &Entry<'_>, now: WallTime) {
        let decay = self.settings.decay;
        let Some(seated) = self.seats.get_mut(index(seat)) else {
            return;
        };
        if seated.generation != entry.endpoint.since.generation {
            seated.generation = entry.endpoint.since.generation;
            seated.estimate = PeakEwma::default();
            seated.recent = Recent::default();
        }
        seated.zone = zone_digest(entry.zone);
        if seated.estimate.on_clock(now) {
            self.clock_regressions = self.clock_regressions.saturating_add(1);
        }
        if let Some(latency) = entry.endpoint.latency {
            seated.estimate.merge(latency, decay, now);
        }
    }

    /// Takes that an endpoint is no longer listed.
    fn unlist(&mut self, seat: Seat) {
        let Some(seated) = self.seats.get_mut(index(seat)) else {
            return;
        };
        if self.in_flight.is_busy(seat) {
            seated.stay = Stay::Leaving;
            self.leaving.push(seat);
        } else {
            seated.stay = Stay::Gone;
            self.free.push(seat);
        }
    }

    /// Frees the seat of an endpoint that is no longer listed, after its last attempt. `leaving`
    /// names it until the next tick, which looks there first.
    fn stand_up(&mut self, seat: Seat) {
        if let Some(seated) = self.seats.get_mut(index(seat))
            && seated.stay == Stay::Leaving
        {
            seated.stay = Stay::Gone;
            self.free.push(seat);
        }
    }

    /// Says why an endpoint has the seat; without an endpoint it is free.
    fn stay(&self, seat: Seat) -> Stay {
        self.seats
            .get(index(seat))
            .map_or(Stay::Gone, |seated| seated.stay)
    }
}

/// Is what is seen of the endpoint at a seat: reading changes nothing.
fn sight(
    seats: &[Seated],
    in_flight: &InFlight,
    seat: Seat,
    settings: &Settings,
    now: WallTime,
) -> Sight {
    let seated = seats.get(index(seat));
    Sight {
        cost_ns: seated.and_then(|seated| seated.estimate.known_ns_at(settings.decay, now)),
        oldest_age_ns: nanoseconds(in_flight.oldest_age(seat, now)),
        in_flight: in_flight.requests(seat),
        has_failed: seated
            .is_some_and(|seated| seated.recent.has_failed(now, settings.recent_failure)),
    }
}

/// Is the digest of a zone's name; zero for none.
fn zone_digest(zone: &[u8]) -> ZoneDigest {
    if zone.is_empty() { 0 } else { fnv1a_64(zone) }
}

/// Is an index into the table of seats.
fn index(seat: Seat) -> usize {
    usize::try_from(seat.0).unwrap_or(usize::MAX)
}
