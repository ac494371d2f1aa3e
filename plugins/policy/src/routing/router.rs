//! Routes the requests to one cluster in one VM: all parts of the policy together.
//!
//! Why: whom to choose among, whom of them, and who serves the attempts after the first are decided
//! from the same picture and the same memory, in one order.
//! Model: a tick takes the picture: a census, the [`Mode`], the candidates with their shares, the
//! spares. A request goes, in this order, to: the endpoint of its session, if that takes requests;
//! an endpoint on trial whose turn it is; the pick of `balance`. Its list is filled up with spares.
//! What an answer shows is concluded by `passive`, and remembered: latency, recent failures,
//! whether the list was honoured.
//! Inputs / Output: pictures, proposals, draws, answers. [`Routed`], then [`Concluded`].
//! Cold start: without a picture nothing is decided.
//! Limits: what a picture says holds until the next tick, 250 ms at most.
//! Scope: per worker VM and cluster. Cost: a request and an answer O(log endpoints), without
//! allocation; a tick O(endpoints).

use alloc::vec::Vec;
use core::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
    time::Duration,
};

use super::{reason::Reason, rules::Rule};
use crate::{
    balance::{DRAWS, Decay, Picked, Pool, Settings, Share, SlowStart, Spill, Ticket},
    digest::fnv1a_64,
    endpoints::{Known, Picture, Unknown},
    fallback::{List, MAX_ENTRIES, Spares},
    panic_mode::{Census, Fitness, Mode, utilisation_ppm},
    passive::{
        Conclusion, Honour, Honoured, LastAttempt, MAX_TRIALS, Notice, Outcome, Trials, conclude,
    },
    plan::{Bond, Proposal},
    snapshot::EndpointAddress,
    units::WallTime,
};

/// Routes to one cluster.
#[derive(Debug)]
pub struct Router {
    rule: Rule,
    pool: Pool,
    spares: Spares<EndpointAddress>,
    trials: Trials,
    honour: Honour,
    /// Says whom to choose among; `Err` where there is no picture.
    mode: Result<Mode, Unknown>,
    now: WallTime,
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

/// Is what was decided about a request, to be kept until it ends.
#[derive(Debug)]
#[must_use = "a request that is lost counts as under way for ever"]
pub struct Routed {
    /// Says why.
    pub reason: Reason,
    /// Is how the endpoint was picked, with its numbers; `None` where nothing was compared.
    pub picked: Option<Picked>,
    list: Option<List<EndpointAddress>>,
    ticket: Option<Ticket>,
    began_at: WallTime,
}

/// Is how a request was answered, as a filter sees it which runs once for each.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// Is how many attempts there were; `None` where the proxy does not say.
    pub attempts: Option<u64>,
    /// Is who served the last one.
    pub served_by: Option<EndpointAddress>,
    /// Is how it ended.
    pub outcome: Outcome,
    /// Says that it became a stream that lives on.
    pub is_upgrade: bool,
}

/// Is what an answer showed.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Concluded {
    /// Is what each endpoint did: see [`Conclusion::attempts`], with [`Routed::addresses`].
    pub conclusion: Conclusion,
    /// Is worth a line in the log.
    pub notice: Option<Notice>,
}

impl Routed {
    /// Was decided about a request that is left alone.
    pub const fn alone(reason: Reason, now: WallTime) -> Self {
        Self {
            reason,
            picked: None,
            list: None,
            ticket: None,
            began_at: now,
        }
    }

    /// Lists the endpoints of its attempts; none where the request is left alone.
    pub fn addresses(&self) -> impl Iterator<Item = EndpointAddress> + use<'_> {
        self.list.iter().flat_map(List::iter)
    }
}

impl Router {
    /// Starts without a picture. `drain_window` is how long an endpoint drains.
    #[must_use]
    pub fn new(rule: &Rule, drain_window: Duration) -> Self {
        let balance = &rule.balance;
        Self {
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
            }),
            spares: Spares::new(),
            trials: Trials::new(),
            honour: Honour::new(),
            mode: Err(Unknown::NotYet),
            now: WallTime::default(),
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
        self.mode.ok()
    }

    /// Takes what is known of the endpoints now: at each tick, since shares change with time.
    pub fn on_tick(
        &mut self,
        picture: &Picture<'_>,
        surroundings: Surroundings<'_>,
        draw: &mut dyn FnMut() -> u64,
    ) {
        self.now = surroundings.now;
        match picture {
            Picture::Unknown(unknown) => self.mode = Err(*unknown),
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
        let fitness = |state| Fitness::of(state, now);
        let mut census = Census::default();
        for entry in known.view.iter() {
            census.count(fitness(entry.endpoint.state));
        }
        let utilisation = self.rule.concurrency.and_then(|concurrency| {
            let in_flight = self.pool.in_flight().all_requests();
            utilisation_ppm(
                in_flight,
                census.members(),
                concurrency,
                self.rule.gateway_share,
            )
        });
        let mode = self.rule.panic.mode(&census, utilisation);
        let settings = *self.pool.settings();
        let candidates = known.view.iter().filter_map(|entry| {
            let fitness = fitness(entry.endpoint.state);
            mode.admits(fitness).then(|| {
                let share = match mode {
                    Mode::Normal => Share::of(entry.endpoint.state, &settings, now),
                    _ => Share::FULL,
                };
                (entry, share)
            })
        });
        self.pool
            .prepare(candidates, surroundings.own_zone, surroundings.workers, now);
        let spares = known.view.iter().filter_map(|entry| {
            mode.admits(fitness(entry.endpoint.state))
                .then(|| (entry.address, zone_digest(entry.zone)))
        });
        self.spares.prepare(spares);
        let probing: Vec<EndpointAddress> = known
            .view
            .iter()
            .filter(|entry| fitness(entry.endpoint.state) == Fitness::Probing)
            .map(|entry| entry.address)
            .take(MAX_TRIALS)
            .collect();
        self.trials.on_picture(probing.iter().copied(), now, draw);
        self.mode = Ok(mode);
    }

    /// Decides about a request. `proposal` is what a filter in front wants.
    pub fn on_request(
        &mut self,
        proposal: Option<Proposal>,
        now: WallTime,
        draw: &mut dyn FnMut() -> u64,
    ) -> Routed {
        let mode = match self.mode {
            Ok(Mode::Nobody) => return Routed::alone(Reason::Nobody, now),
            Ok(mode) => mode,
            Err(unknown) => return Routed::alone(Reason::of_unknown(unknown), now),
        };
        let session = proposal.filter(|proposal| proposal.bond == Bond::Session);
        if let Some(session) = session
            && let Some(seat) = self.pool.seat(&session.address)
        {
            let ticket = self.pool.on_start(seat, now);
            return self.list(session.address, Reason::Session, None, ticket, draw);
        }
        let draws: [u64; DRAWS] = [draw(), draw(), draw()];
        let Ok(picked) = self.pool.pick(draws, now) else {
            return Routed::alone(Reason::Nobody, now);
        };
        let Some(address) = self.pool.address(picked.endpoint.seat) else {
            return Routed::alone(Reason::Nobody, now);
        };
        let reason = match session {
            Some(_) => Reason::SessionReplaced,
            None => Reason::of_pick(mode, picked.reason),
        };
        let ticket = self.pool.on_start(picked.endpoint.seat, now);
        self.list(address, reason, Some(picked), ticket, draw)
    }

    fn list(
        &self,
        first: EndpointAddress,
        reason: Reason,
        picked: Option<Picked>,
        ticket: Ticket,
        draw: &mut dyn FnMut() -> u64,
    ) -> Routed {
        let mut list = List::new(first, 0);
        self.spares
            .fill(&mut list, self.rule.attempts, |_| false, draw);
        Routed {
            reason,
            picked,
            list: Some(list),
            began_at: ticket.started_at(),
            ticket: Some(ticket),
        }
    }

    /// Takes the answer to a request: its headers came, or it was given up.
    pub fn on_answer(
        &mut self,
        routed: &mut Routed,
        answered: &Answered,
        now: WallTime,
    ) -> Concluded {
        let (list, len) = listed(routed);
        let latency = now.saturating_since(routed.began_at);
        let last = LastAttempt {
            attempts: answered.attempts,
            served_by: answered.served_by,
            outcome: answered.outcome,
            latency: Some(latency),
        };
        let conclusion = conclude(
            list.get(..len).unwrap_or_default(),
            &last,
            self.honour.is_believed(),
        );
        let notice = match conclusion.honoured {
            Honoured::Unclear => None,
            honoured => self.honour.on_answer(honoured),
        };
        if let Some(ticket) = &mut routed.ticket
            && answered.outcome == Outcome::Success
            && answered.attempts.unwrap_or(1) == 1
        {
            if answered.is_upgrade {
                self.pool.on_upgrade(ticket, latency, now);
            } else {
                self.pool.on_sample(ticket, latency, now);
            }
        }
        Concluded { conclusion, notice }
    }

    /// Takes that a request ended, or the stream that it became.
    pub fn on_end(&mut self, routed: Routed) {
        if let Some(ticket) = routed.ticket {
            self.pool.on_end(ticket);
        }
    }
}

/// Is the list of a request as a slice, without an allocation: the entries, and how many there are.
fn listed(routed: &Routed) -> ([EndpointAddress; MAX_ENTRIES], usize) {
    let mut entries = [NOBODY; MAX_ENTRIES];
    let mut len = 0_usize;
    for (place, address) in entries.iter_mut().zip(routed.addresses()) {
        *place = address;
        len = len.saturating_add(1);
    }
    (entries, len)
}

/// Fills places that are not looked at.
const NOBODY: EndpointAddress = EndpointAddress {
    ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    port: 0,
};

/// Is the digest of a zone's name; zero for none.
fn zone_digest(zone: &[u8]) -> u64 {
    if zone.is_empty() { 0 } else { fnv1a_64(zone) }
}
