//! When to ask which endpoint, and what its answers made of it.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::time::Duration;

use thiserror::Error;

use super::{
    answer::{Announcement, Answer, Failure, Outcome},
    config::{Config, Initial},
    machine::{Event, State},
    verdict::Verdict,
};
use crate::units::WallTime;

/// Is how many endpoints are probed, as many as a snapshot has. More would take memory that a
/// source of members chooses.
pub const MAX_ENDPOINTS: usize = 10_000;

/// Is how far the economy stretches the interval. Further, three failures would take a minute.
pub const MAX_STRETCH: u8 = 3;

/// Is the part of the interval that jitter adds at most: a tenth. Less lets probes of many gateways
/// fall into step; more delays the third failure.
const JITTER_PART: u32 = 10;

/// Is how long after its timeout a probe is given up: the proxy times it out first and says so with
/// the next event. Less would count one that was answered in time but is read a tick later.
const GRACE: Duration = Duration::from_secs(1);

/// Names one probe. A later one has a larger number.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(u64);

/// Is a probe to send now: [`Config::headers`] to this endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Probe<K> {
    /// Names the endpoint.
    pub key: K,
    /// Names the probe: bring it back with the answer.
    pub ticket: Ticket,
    /// Is how long the answer may take.
    pub timeout: Duration,
}

/// Is what one answer, or none, made of an endpoint. Both verdicts are of the same moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Change<K> {
    /// Names the endpoint.
    pub key: K,
    /// Is how it stood.
    pub before: Verdict,
    /// Is how it stands.
    pub after: Verdict,
    /// Is what it answered.
    pub outcome: Outcome,
    /// Is the instance that is there now, where one was ever announced.
    pub instance: Option<u64>,
    /// Says that it is another instance than before: sessions of the former are refused.
    pub replaced: bool,
}

/// Is what a tick brought. Each list is at most `probes_per_tick` long.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub struct Tick<K> {
    /// Are the probes to send, who was due longest first.
    pub probes: Vec<Probe<K>>,
    /// Are the probes that nobody answered, the oldest first.
    pub timed_out: Vec<Change<K>>,
}

/// Says with what an endpoint begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// With what a former leader published about it: verdict and instance.
    Known(Verdict, Option<u64>),
    /// With nothing.
    New,
}

/// Is what the traffic of an endpoint did since it was told last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traffic {
    /// Says that at least one attempt succeeded.
    pub succeeded: bool,
    /// Says that at least one attempt failed.
    pub failed: bool,
}

/// Says that no more endpoints are probed: this one is not.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("{MAX_ENDPOINTS} endpoints are probed already")]
pub struct Full;

/// Counts what should not happen. All saturate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Is how often `now` was earlier than before.
    pub clock_regressions: u64,
    /// Is how many answers nobody waited for: too late, twice, or of a former member.
    pub late_answers: u64,
    /// Is how many 503 had a drain header that is no number.
    pub malformed_drains: u64,
    /// Is how many answers named an instance that is none.
    pub malformed_instances: u64,
    /// Is how often an endpoint was another one.
    pub replacements: u64,
}

/// Probes the endpoints of one Envoy. `K` names an endpoint, such as cluster and address.
#[derive(Clone, Debug)]
pub struct Prober<K> {
    config: Config,
    /// Is the sum of the differences of `now`: it never goes back.
    elapsed: Duration,
    last_now: Option<WallTime>,
    records: BTreeMap<K, Record>,
    /// Holds who has no probe outstanding. INVARIANT: every record is in exactly one of the two.
    due: BTreeSet<(Duration, K)>,
    /// Is by number and so by age and by deadline.
    outstanding: BTreeMap<Ticket, Outstanding<K>>,
    next_ticket: u64,
    counters: Counters,
}

/// Is one endpoint.
#[derive(Clone, Copy, Debug)]
struct Record {
    state: State,
    instance: Option<u64>,
    /// Is when the next probe is due, also while one is outstanding.
    due: Duration,
    /// Is when the last probe was started; when it was added, before the first.
    started: Duration,
    ticket: Option<Ticket>,
    stretch: u8,
    traffic: Traffic,
}

/// Is a probe on its way.
#[derive(Clone, Copy, Debug)]
struct Outstanding<K> {
    key: K,
    deadline: Duration,
}

impl<K: Clone + Ord> Prober<K> {
    /// Begins with no endpoints.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self {
            config,
            elapsed: Duration::ZERO,
            last_now: None,
            records: BTreeMap::new(),
            due: BTreeSet::new(),
            outstanding: BTreeMap::new(),
            next_ticket: 0,
            counters: Counters {
                clock_regressions: 0,
                late_answers: 0,
                malformed_drains: 0,
                malformed_instances: 0,
                replacements: 0,
            },
        }
    }

    /// Takes a member in. One that is there already begins again: it was away, or its address was
    /// re-used, and the answer to its outstanding probe is late.
    ///
    /// Its first probe is due within the interval from now on, where `draw` says. O(log n).
    ///
    /// # Errors
    /// [`MAX_ENDPOINTS`] are there, and this is none of them: `Full`.
    pub fn add(&mut self, key: K, start: Start, now: WallTime, draw: u64) -> Result<(), Full> {
        self.observe(now);
        self.remove(&key);
        if self.records.len() >= MAX_ENDPOINTS {
            return Err(Full);
        }
        let (state, instance) = match start {
            Start::New => (State::NEW, None),
            Start::Known(verdict, instance) => (verdict.to_state(self.elapsed), instance),
        };
        let due = self
            .elapsed
            .saturating_add(fraction(self.config.interval(), draw));
        let record = Record {
            state,
            instance,
            due,
            started: self.elapsed,
            ticket: None,
            stretch: 1,
            traffic: Traffic::default(),
        };
        self.records.insert(key.clone(), record);
        self.due.insert((due, key));
        Ok(())
    }

    /// Forgets a member, and says whether it was one. The answer to its outstanding probe is late.
    /// O(log n).
    pub fn remove(&mut self, key: &K) -> bool {
        let Some(record) = self.records.remove(key) else {
            return false;
        };
        match record.ticket {
            Some(ticket) => {
                self.outstanding.remove(&ticket);
            }
            None => {
                self.due.remove(&(record.due, key.clone()));
            }
        }
        true
    }

    /// Gives up probes that nobody answered, and starts those that are due.
    ///
    /// Takes one draw for each probe that it starts, in their order. O(log n) for each one started or
    /// given up, at most `probes_per_tick` of both; what is left is first in the next tick.
    pub fn tick(&mut self, now: WallTime, mut draw: impl FnMut() -> u64) -> Tick<K> {
        self.observe(now);
        let most = usize::try_from(self.config.probes_per_tick()).unwrap_or(usize::MAX);
        let mut timed_out = Vec::new();
        while timed_out.len() < most
            && let Some(entry) = self.outstanding.first_entry()
            && entry.get().deadline <= self.elapsed
        {
            let key = entry.remove().key;
            let answer = Answer {
                outcome: Outcome::Failure(Failure::Timeout),
                instance: Announcement::Absent,
            };
            timed_out.extend(self.settle(key, answer));
        }
        let mut probes = Vec::new();
        while probes.len() < most
            && self
                .due
                .first()
                .is_some_and(|(due, _)| *due <= self.elapsed)
            && let Some((_, key)) = self.due.pop_first()
        {
            probes.extend(self.start(key, draw()));
        }
        Tick { probes, timed_out }
    }

    /// Takes an answer. `None` where nobody waits for it: nothing changes, and it is counted.
    /// O(log n).
    pub fn on_answer(
        &mut self,
        ticket: Ticket,
        answer: Answer,
        now: WallTime,
    ) -> Option<Change<K>> {
        self.observe(now);
        let Some(outstanding) = self.outstanding.remove(&ticket) else {
            self.counters.late_answers = self.counters.late_answers.saturating_add(1);
            return None;
        };
        self.settle(outstanding.key, answer)
    }

    /// Takes back a probe that the host did not send, and says whether it was outstanding: it says
    /// nothing about the endpoint, which is asked again when its next is due. O(log n).
    pub fn on_not_sent(&mut self, ticket: Ticket) -> bool {
        let Some(outstanding) = self.outstanding.remove(&ticket) else {
            return false;
        };
        self.release(&outstanding.key);
        true
    }

    /// Takes what the traffic of an endpoint did; of one that is no member it is nothing. Without
    /// `probe_economy` it changes nothing. O(log n).
    pub fn on_traffic(&mut self, key: &K, traffic: Traffic) {
        let (economy, interval) = (self.config.has_probe_economy(), self.config.interval());
        let Some(record) = self.records.get_mut(key).filter(|_| economy) else {
            return;
        };
        record.traffic.succeeded |= traffic.succeeded;
        record.traffic.failed |= traffic.failed;
        if !traffic.failed || record.stretch == 1 {
            return;
        }
        let earlier = record.due.min(record.started.saturating_add(interval));
        let later = core::mem::replace(&mut record.due, earlier);
        record.stretch = 1;
        // Not there while a probe is outstanding: then it is due where its record says.
        if self.due.remove(&(later, key.clone())) {
            self.due.insert((earlier, key.clone()));
        }
    }

    /// Says how an endpoint stands at the last `now`; `None` for one that is no member.
    #[must_use]
    pub fn verdict(&self, key: &K) -> Option<Verdict> {
        Some(self.judge(self.records.get(key)?.state))
    }

    /// Lists how all endpoints stand at the last `now`, and their instances, by key. O(n).
    pub fn verdicts(&self) -> impl Iterator<Item = (&K, Verdict, Option<u64>)> {
        self.records
            .iter()
            .map(|(key, record)| (key, self.judge(record.state), record.instance))
    }

    /// Is how long after the last `now` the next tick has something to do; `None` without members.
    #[must_use]
    pub fn next_work(&self) -> Option<Duration> {
        let due = self.due.first().map(|(due, _)| *due);
        let deadline = self
            .outstanding
            .first_key_value()
            .map(|(_, probe)| probe.deadline);
        let next = due.into_iter().chain(deadline).min()?;
        Some(next.saturating_sub(self.elapsed))
    }

    /// Is how many endpoints there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Says whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Is how many probes are on their way: at most one per endpoint.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Is the oldest probe that is on its way: answers to older ones are late.
    #[must_use]
    pub fn oldest_outstanding(&self) -> Option<Ticket> {
        self.outstanding
            .first_key_value()
            .map(|(ticket, _)| *ticket)
    }

    /// Are the counts of what should not happen.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Moves the own time line by what `now` is later than before.
    fn observe(&mut self, now: WallTime) {
        if let Some(last) = self.last_now {
            self.elapsed = self.elapsed.saturating_add(now.saturating_since(last));
            if now < last {
                self.counters.clock_regressions = self.counters.clock_regressions.saturating_add(1);
            }
        }
        self.last_now = Some(now);
    }

    /// Starts a probe of a member that was due.
    fn start(&mut self, key: K, draw: u64) -> Option<Probe<K>> {
        let record = self.records.get_mut(&key)?;
        let interval = self.config.interval();
        record.started = self.elapsed;
        record.due = self
            .elapsed
            .saturating_add(interval)
            .saturating_add(fraction(jitter_of(interval), draw));
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.saturating_add(1);
        record.ticket = Some(ticket);
        let timeout = self.config.timeout();
        let outstanding = Outstanding {
            key: key.clone(),
            deadline: self.elapsed.saturating_add(timeout).saturating_add(GRACE),
        };
        self.outstanding.insert(ticket, outstanding);
        Some(Probe {
            key,
            ticket,
            timeout,
        })
    }

    /// Applies what came of a probe that is not outstanding any more.
    fn settle(&mut self, key: K, answer: Answer) -> Option<Change<K>> {
        let (before, instance) = {
            let record = self.records.get(&key)?;
            (record.state, record.instance)
        };
        let failed = matches!(answer.outcome, Outcome::Failure(_));
        let mut state = before;
        let mut replaced = false;
        let announced = match answer.instance {
            Announcement::Absent => instance,
            Announcement::Malformed => {
                let count = &mut self.counters.malformed_instances;
                *count = count.saturating_add(1);
                instance
            }
            Announcement::Digest(digest) => {
                replaced = instance.is_some_and(|known| known != digest);
                Some(digest)
            }
        };
        if replaced {
            self.counters.replacements = self.counters.replacements.saturating_add(1);
        }
        if answer.outcome == Outcome::Failure(Failure::DrainMalformed) {
            self.counters.malformed_drains = self.counters.malformed_drains.saturating_add(1);
        }
        let event = match answer.outcome {
            Outcome::Draining { seconds } => Event::Drain { seconds },
            Outcome::Failure(failure) => Event::Failure(failure),
            Outcome::Success => Event::Success,
        };
        let thresholds = self.config.thresholds();
        for event in (replaced && !failed)
            .then_some(Event::Replaced)
            .into_iter()
            .chain([event])
        {
            // Members are never absent, so nothing is rejected; if it were, the state would stay.
            state = state.next(event, thresholds, self.elapsed).unwrap_or(state);
        }
        let economy = self.config.has_probe_economy();
        let interval = self.config.interval();
        let record = self.records.get_mut(&key)?;
        record.state = state;
        record.instance = announced;
        let quiet = economy
            && answer.outcome == Outcome::Success
            && matches!(state, State::Healthy { .. })
            && record.traffic.succeeded
            && !record.traffic.failed;
        record.stretch = if quiet {
            record.stretch.saturating_add(1).min(MAX_STRETCH)
        } else {
            1
        };
        let longer = interval.saturating_mul(u32::from(record.stretch.saturating_sub(1)));
        record.due = record.due.saturating_add(longer);
        record.traffic = Traffic::default();
        self.release(&key);
        Some(Change {
            key,
            before: self.judge(before),
            after: self.judge(state),
            outcome: answer.outcome,
            instance: announced,
            replaced,
        })
    }

    /// Lets a member be probed again when it is due.
    fn release(&mut self, key: &K) {
        if let Some(record) = self.records.get_mut(key) {
            record.ticket = None;
            self.due.insert((record.due, key.clone()));
        }
    }

    fn judge(&self, state: State) -> Verdict {
        match state {
            // Members are never absent.
            State::Absent | State::Unhealthy { .. } => Verdict::Unhealthy,
            State::Draining { until, .. } => match until.saturating_sub(self.elapsed) {
                Duration::ZERO => Verdict::Drained,
                remaining => Verdict::Draining { remaining },
            },
            State::Healthy { .. } => Verdict::Healthy,
            State::Unproven { .. } => Verdict::Unproven {
                available: self.config.initial() == Initial::Healthy,
            },
        }
    }
}

/// Is the most that jitter adds to an interval.
fn jitter_of(interval: Duration) -> Duration {
    interval.checked_div(JITTER_PART).unwrap_or(Duration::ZERO)
}

/// Is the part `draw / 2⁶⁴` of `whole`, rounded down to a nanosecond.
fn fraction(whole: Duration, draw: u64) -> Duration {
    let whole = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    let part = u128::from(whole).wrapping_mul(u128::from(draw)) >> 64;
    Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}
