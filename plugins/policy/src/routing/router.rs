//! Routes the requests to one cluster in one VM: all parts of the policy together.
//!
//! Why: whom to choose among, whom of them, and who serves the attempts after the first are decided
//! from the same picture and the same memory, in one order.
//! Model: a tick takes the picture: the level that serves and its [`Mode`], the candidates with
//! their shares, the spares. A request goes, in this order, to: the endpoint of its session, as
//! [`Router::on_request`] says; an endpoint on trial whose turn it is; the pick of `balance`. Its
//! list is filled up with spares, none of which failed lately, so that whatever is tried, the next
//! attempt is elsewhere. What an answer shows is concluded by `passive`, and remembered: latency,
//! recent failures, who has it under way, whether the list was honoured.
//! Inputs / Output: pictures, proposals, draws, answers. [`Routed`], then
//! [`Concluded`](super::Concluded).
//! Draws: three for a pick, none for a session or a trial; then one for each spare that is looked
//! for. One for each endpoint that is on trial since this tick.
//! Cold start: without a picture nothing is decided.
//! Limits: what a picture says holds until the next tick, 250 ms at most. In panic neither zones nor
//! slow starts count: they would send everything to the few that are left.
//! An endpoint that answers with a drain header is spared as if it had failed, for as long: it gets
//! a request of each VM in each such time until the picture says that it drains.
//! Scope: per worker VM and cluster. Cost: a request and an answer O(log endpoints), without
//! allocation; a tick O(endpoints · log endpoints).

use alloc::vec::Vec;
use core::{num::NonZeroU32, time::Duration};

use super::{
    levels::{Levels, Served},
    reason::Reason,
    routed::{Answered, Concluded, Listing, Routed, RouterId},
    rules::Rule,
};
use crate::{
    balance::{DRAWS, Decay, Listed, Picked, Pool, Seat, Settings, Share, SlowStart, Spill},
    endpoints::{Known, Picture, Unknown},
    fallback::{List, Spares},
    panic_mode::{Fitness, Mode, utilisation_ppm},
    passive::{Honour, Honoured, LastAttempt, MAX_TRIALS, Outcome, Trials, conclude},
    plan::{Bond, Proposal},
    snapshot::{EndpointAddress, Entry, State},
    units::WallTime,
};

/// Routes to one cluster.
#[derive(Debug)]
pub struct Router {
    id: RouterId,
    rule: Rule,
    pool: Pool,
    spares: Spares<Seat>,
    trials: Trials,
    honour: Honour,
    levels: Levels,
    /// Says who serves; `Err` where there is no picture.
    served: Result<Served, Unknown>,
}

/// Is what the surroundings of a tick are.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Is the name of the proxy's zone; empty where it is in none.
    pub own_zone: &'a [u8],
    /// Is how many VMs of the proxy take requests; 1 where that is not known.
    pub workers: NonZeroU32,
    /// Is the time.
    pub now: WallTime,
}

/// Is where a session's request goes.
enum Home {
    /// To its endpoint; `None`: one that the picture does not have.
    At(Option<Seat>),
    /// Its endpoint takes no requests.
    Lost,
}

impl Router {
    /// Starts without a picture. `drain_window` is how long an endpoint drains; `id` names the
    /// router: what another one decided means nothing to it.
    #[must_use]
    pub fn new(rule: &Rule, drain_window: Duration, id: u64) -> Self {
        let balance = &rule.balance;
        Self {
            id: RouterId(id),
            rule: rule.clone(),
            pool: Pool::new(Settings {
                decay: Decay::new(balance.latency_decay),
                slow_start: SlowStart::new(
                    balance.slow_start_window,
                    balance.slow_start_aggression_ppm,
                    balance.slow_start_min.as_u32(),
                ),
                drain_window,
                spill: Spill::new(balance.zone_spill_ppm),
                recent_failure: rule.recent_failure,
            }),
            spares: Spares::new(),
            trials: Trials::new(),
            honour: Honour::new(),
            levels: Levels::default(),
            served: Err(Unknown::NotYet),
        }
    }

    /// Is the rule that it goes by.
    #[must_use]
    pub const fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Says whom is chosen among; `None` where there is no picture.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.served.ok().map(|served| served.mode)
    }

    /// Is the priority level that serves; `None` where there is no picture.
    #[must_use]
    pub fn priority(&self) -> Option<u8> {
        self.served.ok().map(|served| served.priority)
    }

    /// Is what this VM knows of the endpoints.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Takes what is known of the endpoints now: at each tick, since shares change with time.
    pub fn on_tick(
        &mut self,
        picture: &Picture<'_>,
        surroundings: Surroundings<'_>,
        draw: &mut dyn FnMut() -> u64,
    ) {
        match picture {
            Picture::Unknown(unknown) => self.served = Err(*unknown),
            Picture::Known(known) => self.take(known, surroundings, draw),
        }
    }

    fn take(
        &mut self,
        known: &Known<'_>,
        surroundings: Surroundings<'_>,
        draw: &mut dyn FnMut() -> u64,
    ) {
        let now = surroundings.now;
        self.levels.clear();
        for entry in known.view.iter() {
            let fitness = Fitness::of(entry.endpoint.state, now);
            self.levels.count(priority(&entry), fitness);
        }
        let in_flight = self.pool.in_flight().all_requests();
        let rule = &self.rule;
        let served = self.levels.decide(|census| {
            let utilisation = rule.concurrency.and_then(|concurrency| {
                let share = rule.gateway_share;
                utilisation_ppm(in_flight, census.members(), concurrency, share)
            });
            rule.panic.mode(census, utilisation)
        });
        let own_zone = match served.mode {
            Mode::Normal => surroundings.own_zone,
            Mode::Panic | Mode::NobodyAvailable | Mode::Nobody => &[],
        };
        let settings = *self.pool.settings();
        let entries = known.view.iter().map(|entry| {
            let share = share_of(&entry, served, &settings, now);
            (entry, share)
        });
        self.pool
            .prepare(entries, own_zone, surroundings.workers, now);
        self.spares.prepare(self.pool.spares());
        let probing: Vec<EndpointAddress> = known
            .view
            .iter()
            .filter(|entry| {
                let fitness = Fitness::of(entry.endpoint.state, now);
                fitness == Fitness::Probing && priority(entry) <= served.priority
            })
            .map(|entry| entry.address)
            .take(MAX_TRIALS)
            .collect();
        self.trials.on_picture(probing.iter().copied(), now, draw);
        self.served = Ok(served);
    }

    /// Decides about a request. `proposal` is what a filter in front wants.
    ///
    /// A session stays where it is while its endpoint
    ///
    /// | is | in `Normal` | in panic, or with nobody available |
    /// | --- | --- | --- |
    /// | available, at whatever level | stays | stays |
    /// | draining | stays: who keeps sessions decided so | stays |
    /// | on trial | stays, as the trial | stays |
    /// | ejected, unhealthy | replaced | stays: others are no better |
    /// | drained, vanished | replaced | replaced |
    /// | not in the picture | stays: it may be younger | stays |
    pub fn on_request(
        &mut self,
        proposal: Option<Proposal>,
        now: WallTime,
        draw: &mut dyn FnMut() -> u64,
    ) -> Routed {
        let mode = match self.served {
            Ok(Served {
                mode: Mode::Nobody, ..
            }) => return self.alone(Reason::Nobody, now),
            Ok(served) => served.mode,
            Err(unknown) => return self.alone(Reason::of_unknown(unknown), now),
        };
        let session = proposal.filter(|proposal| proposal.bond == Bond::Session);
        if let Some(session) = session
            && let Home::At(seat) = self.home(&session.address, mode)
        {
            let first = seat.unwrap_or(Seat::NONE);
            let named = Some(session.address);
            return self.send(first, named, Reason::Session, None, now, draw);
        }
        if session.is_none()
            && let Some(seat) = self.trial(now)
        {
            return self.send(seat, None, Reason::Trial, None, now, draw);
        }
        let draws: [u64; DRAWS] = [draw(), draw(), draw()];
        let Ok(picked) = self.pool.pick(draws, now) else {
            return self.alone(Reason::Nobody, now);
        };
        let reason = match session {
            Some(_) => Reason::SessionReplaced,
            None => Reason::of_pick(mode, picked.reason),
        };
        self.send(picked.endpoint.seat, None, reason, Some(picked), now, draw)
    }

    const fn alone(&self, reason: Reason, now: WallTime) -> Routed {
        let mut routed = Routed::alone(reason, now);
        routed.router = self.id;
        routed
    }

    /// Says where a session's request goes whose endpoint this is.
    fn home(&self, address: &EndpointAddress, mode: Mode) -> Home {
        let Some(Listed { seat, fitness }) = self.pool.find(address) else {
            return Home::At(None);
        };
        let stays = match fitness {
            Fitness::Available | Fitness::Draining | Fitness::Probing => true,
            Fitness::Ejected | Fitness::Unhealthy => mode.admits(fitness),
            Fitness::Gone => false,
        };
        if stays {
            Home::At(Some(seat))
        } else {
            Home::Lost
        }
    }

    /// Is the endpoint on trial whose turn it is.
    fn trial(&mut self, now: WallTime) -> Option<Seat> {
        let address = self.trials.take(now)?;
        self.pool.seat(&address)
    }

    /// Sends a request to an endpoint, with spares behind it. `named` is its address where the pool
    /// may not have it.
    fn send(
        &mut self,
        first: Seat,
        named: Option<EndpointAddress>,
        reason: Reason,
        picked: Option<Picked>,
        now: WallTime,
        draw: &mut dyn FnMut() -> u64,
    ) -> Routed {
        let pool = &self.pool;
        let mut list = List::new(first, pool.zone(first));
        let failed = |seat| pool.has_failed(seat, now);
        self.spares
            .fill(&mut list, self.rule.attempts, failed, draw);
        let list = Listing::of(&list, |seat| {
            named
                .filter(|_| seat == first)
                .or_else(|| pool.address(seat))
        });
        let other = picked
            .and_then(|picked| picked.other)
            .and_then(|load| pool.address(load.seat));
        let ticket = (first != Seat::NONE).then(|| self.pool.on_start(first, now));
        Routed {
            reason,
            picked,
            other,
            list,
            ticket,
            began_at: now,
            router: self.id,
        }
    }

    /// Takes the answer to a request: its headers came, or it was given up.
    pub fn on_answer(
        &mut self,
        routed: &mut Routed,
        answered: &Answered,
        now: WallTime,
    ) -> Concluded {
        if routed.router != self.id {
            return Concluded::NOTHING;
        }
        let latency = now.saturating_since(routed.began_at);
        let last = LastAttempt {
            attempts: answered.attempts,
            served_by: answered.served_by,
            outcome: answered.outcome,
            latency: Some(latency),
        };
        let believed = self.honour.is_believed();
        let mut conclusion = conclude(routed.list.addresses(), &last, believed);
        if self.honour.is_ignored() {
            // Whoever served was the proxy's choice, and so was whoever failed before.
            conclusion.failed = 0;
        }
        let notice = match conclusion.honoured {
            Honoured::Unclear => None,
            honoured => self.honour.on_answer(honoured),
        };
        for (address, seat) in routed.list.entries().take(conclusion.failed) {
            if self.pool.address(seat) == Some(address) {
                self.pool.on_outcome(seat, Outcome::GatewayFailure, now);
            }
        }
        if let Some((address, _)) = conclusion.last {
            let timed = Answered::timed(&conclusion, latency);
            self.serve(routed, address, answered, timed, now);
        } else if let Some(ticket) = &mut routed.ticket {
            self.pool.on_answer(ticket);
        }
        Concluded { conclusion, notice }
    }

    /// Takes who served, and how.
    fn serve(
        &mut self,
        routed: &mut Routed,
        address: EndpointAddress,
        answered: &Answered,
        timed: Option<Duration>,
        now: WallTime,
    ) {
        let seat = self.seat_of(routed, &address);
        if seat != Seat::NONE {
            self.pool.on_outcome(seat, answered.outcome, now);
            if answered.says_draining {
                self.pool.on_drain(seat, now);
            }
        }
        let ticket = match &mut routed.ticket {
            Some(ticket) => {
                if ticket.seat() != seat {
                    self.pool.on_move(ticket, seat);
                }
                ticket
            }
            empty => empty.insert(self.pool.on_start(seat, now)),
        };
        match timed {
            latency if answered.is_upgrade => self.pool.on_upgrade(ticket, latency, now),
            Some(latency) => self.pool.on_sample(ticket, latency, now),
            None => {}
        }
        self.pool.on_answer(ticket);
    }

    /// Is the seat of an address that a request may have gone to.
    fn seat_of(&self, routed: &Routed, address: &EndpointAddress) -> Seat {
        // A seat may have another endpoint since.
        let listed = routed
            .list
            .entries()
            .find(|(entry, seat)| entry == address && self.pool.address(*seat) == Some(*entry));
        listed
            .map(|(_, seat)| seat)
            .or_else(|| self.pool.seat(address))
            .unwrap_or(Seat::NONE)
    }

    /// Takes that a request ended, or the stream that it became.
    pub fn on_end(&mut self, routed: Routed) {
        if routed.router != self.id {
            return;
        }
        if let Some(ticket) = routed.ticket {
            self.pool.on_end(ticket);
        }
    }
}

/// Is an endpoint's share until the next tick.
fn share_of(entry: &Entry<'_>, served: Served, settings: &Settings, now: WallTime) -> Share {
    let state = entry.endpoint.state;
    let rank = Fitness::of(state, now);
    if !served.admits(priority(entry), rank) {
        return Share::NONE;
    }
    let share = match (served.mode, state) {
        // Of all that drain, those that have longer get more.
        (Mode::Normal, _) | (Mode::NobodyAvailable, State::Draining { .. }) => {
            Share::of(state, settings, now)
        }
        _ => Share::FULL,
    };
    Share { rank, ..share }
}

/// Is an endpoint's priority level.
const fn priority(entry: &Entry<'_>) -> u8 {
    entry.endpoint.priority
}
