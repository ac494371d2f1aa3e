//! Who is ejected, who is tried, who is readmitted.

use alloc::{collections::BTreeMap, vec::Vec};
use core::{cmp::Reverse, mem, time::Duration};

use super::{
    change::{Cause, Change, Counters, Full, MAX_ENDPOINTS, Start},
    combine::{Verdict, after},
    config::Config,
    machine::{Event, State},
    pool::{self, Pool, Rows, Window},
};
use crate::{
    panic_mode::{Census, Fitness, Rule},
    snapshot::{Counts, Endpoint, Failures, State as Published},
    units::{Ppm, WallTime},
};

/// Judges the endpoints of one cluster. `K` names an endpoint, such as its address.
///
/// Contract, on each tick of the leader: what was merged goes to [`Self::on_attempts`], then
/// [`Self::on_tick`] says what changed.
#[derive(Clone, Debug)]
pub struct Judge<K> {
    config: Config,
    /// Is the sum of the differences of `now`: it never goes back.
    elapsed: Duration,
    last_now: Option<WallTime>,
    records: BTreeMap<K, Record>,
    /// Says that somebody failed since the last tick.
    has_failures: bool,
    /// Is how many are not settled, so that a tick has something to do.
    unsettled: usize,
    /// Is used again on each tick.
    rates: Vec<Ppm>,
    counters: Counters,
}

/// Is one endpoint.
#[derive(Clone, Copy, Debug)]
struct Record {
    state: State,
    /// Is how it stands but for its traffic.
    others: Fitness,
    until: WallTime,
    readmitted: Option<WallTime>,
    window: Window,
    gateway_row: u8,
    local_row: u8,
    /// Say what came since the last tick.
    failed: bool,
    succeeded: bool,
}

impl Record {
    const fn new(state: State) -> Self {
        Self {
            state,
            others: Fitness::Available,
            until: WallTime::from_ns(0),
            readmitted: None,
            window: Window::NEW,
            gateway_row: 0,
            local_row: 0,
            failed: false,
            succeeded: false,
        }
    }

    /// Is how it stands in all.
    const fn fitness(&self) -> Fitness {
        match (self.others, self.state) {
            (Fitness::Available, State::Ejected { .. }) => Fitness::Ejected,
            (Fitness::Available, State::Trial { .. }) => Fitness::Probing,
            (others, _) => others,
        }
    }

    const fn verdict(&self) -> Verdict {
        Verdict::of(self.state, self.until, self.readmitted)
    }
}

impl<K: Clone + Ord> Judge<K> {
    /// Begins with no endpoints.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self {
            config,
            elapsed: Duration::ZERO,
            last_now: None,
            records: BTreeMap::new(),
            has_failures: false,
            unsettled: 0,
            rates: Vec::new(),
            counters: Counters {
                clock_regressions: 0,
                ejections: 0,
                readmissions: 0,
                shared_failures: 0,
                spared: 0,
            },
        }
    }

    /// Takes a member in. One that is there already begins again. O(log n).
    ///
    /// # Errors
    /// [`MAX_ENDPOINTS`] are there, and this is none of them: `Full`.
    pub fn add(&mut self, key: K, start: Start, now: WallTime) -> Result<(), Full> {
        self.observe(now);
        self.remove(&key);
        if self.records.len() >= MAX_ENDPOINTS {
            return Err(Full);
        }
        let since = self.elapsed;
        let serving = |ejections| State::Serving { ejections, since };
        let record = match start {
            Start::New => Record::new(serving(0)),
            Start::Restored(endpoint) => self.restored(&endpoint, now),
        };
        self.unsettled = self
            .unsettled
            .saturating_add(usize::from(!record.state.is_settled()));
        self.records.insert(key, record);
        Ok(())
    }

    /// Forgets a member; `false` where it was none. O(log n).
    pub fn remove(&mut self, key: &K) -> bool {
        let Some(record) = self.records.remove(key) else {
            return false;
        };
        let unsettled = usize::from(!record.state.is_settled());
        self.unsettled = self.unsettled.saturating_sub(unsettled);
        true
    }

    /// Takes what membership, control plane and probes make of an endpoint, and is what its traffic
    /// says of it; `None` where it is no member. O(log n).
    pub fn on_others(&mut self, key: &K, state: Published, now: WallTime) -> Option<Verdict> {
        let record = self.records.get_mut(key)?;
        record.others = match Fitness::of(state, now) {
            // Traffic alone puts anybody on trial, and only until it is heard.
            Fitness::Probing => Fitness::Available,
            others => others,
        };
        Some(record.verdict())
    }

    /// Takes what the workers reported of an endpoint since the last merge, and its rows after it.
    /// O(log n).
    pub fn on_attempts(&mut self, key: &K, counts: Counts, rows: Failures, now: WallTime) {
        self.observe(now);
        let half = pool::half_of(self.elapsed, self.config.window);
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        record.window.add(half, counts);
        record.gateway_row = rows.gateway_in_row;
        record.local_row = rows.local_in_row;
        record.succeeded |= counts.successes > 0;
        if pool::failures(counts) > 0 {
            record.failed = true;
            self.has_failures = true;
        }
    }

    /// Takes whether an endpoint answered a probe that it is ready. Only a trial goes by it: the
    /// probes' own streaks are another's matter. O(log n).
    pub fn on_probe(&mut self, key: &K, is_ready: bool, now: WallTime) {
        self.observe(now);
        if let Some(record) = self.records.get_mut(key)
            && matches!(record.state, State::Trial { .. })
        {
            record.succeeded |= is_ready;
            record.failed |= !is_ready;
        }
    }

    /// Judges. `utilisation_ppm` is what all members together would have, where that is known;
    /// `draw` gives random numbers, one for each ejection.
    pub fn on_tick(
        &mut self,
        utilisation_ppm: Option<u32>,
        now: WallTime,
        draw: &mut dyn FnMut() -> u64,
    ) -> Vec<Change<K>> {
        self.observe(now);
        let mut changes = Vec::new();
        if !self.has_failures && self.unsettled == 0 {
            return changes;
        }
        self.move_on(now, draw, &mut changes);
        if mem::take(&mut self.has_failures) {
            self.eject(utilisation_ppm, now, draw, &mut changes);
        }
        let mut unsettled = 0_usize;
        for record in self.records.values_mut() {
            (record.failed, record.succeeded) = (false, false);
            unsettled = unsettled.saturating_add(usize::from(!record.state.is_settled()));
        }
        self.unsettled = unsettled;
        changes
    }

    /// Is what is said of an endpoint, and how often it was ejected; `None` where it is no member.
    /// O(log n).
    #[must_use]
    pub fn verdict(&self, key: &K) -> Option<(Verdict, u8)> {
        let record = self.records.get(key)?;
        Some((record.verdict(), record.state.ejections()))
    }

    /// Is how many endpoints are judged.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Says whether nobody is judged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Is what was counted.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Lets time and trials do their work.
    fn move_on(
        &mut self,
        now: WallTime,
        draw: &mut dyn FnMut() -> u64,
        changes: &mut Vec<Change<K>>,
    ) {
        for (key, record) in &mut self.records {
            let before = record.state;
            if before.is_settled() {
                continue;
            }
            let event = match before {
                State::Trial { .. } if record.succeeded => Event::Succeeded,
                // One that is not ready has its trial once it is.
                State::Trial { .. } if record.failed && record.others == Fitness::Available => {
                    Event::Failed { draw: draw() }
                }
                _ => Event::Tick,
            };
            let Ok(after) = before.next(event, &self.config.times, self.elapsed) else {
                continue;
            };
            record.state = after;
            let mut cause = None;
            match after {
                State::Ejected { until, .. } if event != Event::Tick => {
                    record.until = wall(until, self.elapsed, now);
                    cause = Some(Cause::TrialFailed);
                    bump(&mut self.counters.ejections);
                }
                State::Serving { .. } if event == Event::Succeeded => {
                    record.readmitted = Some(now);
                    record.window = Window::NEW;
                    bump(&mut self.counters.readmissions);
                }
                _ => {}
            }
            let changed = mem::discriminant(&before) != mem::discriminant(&after)
                || before.ejections() != after.ejections();
            if changed {
                changes.push(Change {
                    key: key.clone(),
                    verdict: record.verdict(),
                    ejections: after.ejections(),
                    cause,
                });
            }
        }
    }

    /// Ejects whom the rules name, the worst first, as long as enough are available.
    fn eject(
        &mut self,
        utilisation_ppm: Option<u32>,
        now: WallTime,
        draw: &mut dyn FnMut() -> u64,
        changes: &mut Vec<Change<K>>,
    ) {
        let half = pool::half_of(self.elapsed, self.config.window);
        let (pool, census) = self.look(half);
        let mut named = Vec::new();
        for (key, record) in &self.records {
            if !record.failed || record.fitness() != Fitness::Available {
                continue;
            }
            match self.config.judge(record, half, pool) {
                Ok(Some(cause)) => named.push((severity(record, half), key.clone(), cause)),
                Ok(None) => {}
                Err(Shared) => bump(&mut self.counters.shared_failures),
            }
        }
        named.sort_by(|left, right| (Reverse(left.0), &left.1).cmp(&(Reverse(right.0), &right.1)));
        let rule = Rule {
            min_available: self.config.min_available,
            ..Rule::default()
        };
        let safe = rule.safe_ejections(census.members(), utilisation_ppm);
        let mut room = safe.saturating_sub(census.unavailable);
        for (_, key, cause) in named {
            if room == 0 {
                bump(&mut self.counters.spared);
                continue;
            }
            let Some(record) = self.records.get_mut(&key) else {
                continue;
            };
            let event = Event::Crossed { draw: draw() };
            let Ok(state) = record.state.next(event, &self.config.times, self.elapsed) else {
                continue;
            };
            room = room.saturating_sub(1);
            record.state = state;
            if let State::Ejected { until, .. } = state {
                record.until = wall(until, self.elapsed, now);
            }
            bump(&mut self.counters.ejections);
            changes.push(Change {
                verdict: record.verdict(),
                ejections: state.ejections(),
                cause: Some(cause),
                key,
            });
        }
    }

    /// Says what is usual in the pool, and how many there are of which kind.
    fn look(&mut self, half: u64) -> (Pool, Census) {
        self.rates.clear();
        let (mut rows, mut census) = (Rows::default(), Census::default());
        let mut pool = Pool::default();
        for record in self.records.values() {
            let fitness = record.fitness();
            census.count(fitness);
            let (attempts, failures) = record.window.totals(half);
            if fitness.is_leaving() || attempts == 0 {
                continue;
            }
            pool.attempts = pool.attempts.saturating_add(u64::from(attempts));
            pool.failures = pool.failures.saturating_add(u64::from(failures));
            rows.members = rows.members.saturating_add(1);
            let in_row = record.gateway_row > 0 || record.local_row > 0;
            rows.in_row = rows.in_row.saturating_add(u32::from(in_row));
            if attempts >= self.config.min_requests
                && let Some(rate) = Ppm::of(u64::from(failures), u64::from(attempts))
            {
                self.rates.push(rate);
            }
        }
        let known = u32::try_from(self.rates.len()).unwrap_or(u32::MAX);
        if known.saturating_mul(2) >= rows.members {
            pool.median = pool::lower_median(&mut self.rates);
        }
        pool.shares_rows = rows.are_shared();
        (pool, census)
    }

    /// Is the record of an endpoint that a former leader published.
    fn restored(&self, endpoint: &Endpoint, now: WallTime) -> Record {
        let (ejections, since) = (endpoint.failures.ejections, self.elapsed);
        let state = match endpoint.state {
            Published::Probing => State::Trial { ejections },
            // A moment that no ejection reaches is another's: its probe or its source readmits it.
            Published::Ejected { until }
                if Fitness::of(endpoint.state, now) == Fitness::Ejected =>
            {
                let remaining = until.saturating_since(now);
                State::Ejected {
                    ejections,
                    until: since.saturating_add(remaining.min(self.config.times.max_time)),
                }
            }
            _ => State::Serving { ejections, since },
        };
        let until = match state {
            State::Ejected { until, .. } => wall(until, self.elapsed, now),
            _ => WallTime::default(),
        };
        Record {
            until,
            readmitted: match endpoint.state {
                Published::Available { slow_start } if ejections > 0 => slow_start,
                _ => None,
            },
            gateway_row: endpoint.failures.gateway_in_row,
            local_row: endpoint.failures.local_in_row,
            ..Record::new(state)
        }
    }

    /// Lets time pass, never back.
    fn observe(&mut self, now: WallTime) {
        if let Some(last) = self.last_now {
            self.elapsed = self.elapsed.saturating_add(now.saturating_since(last));
            if now < last {
                bump(&mut self.counters.clock_regressions);
            }
        }
        self.last_now = Some(now);
    }
}

/// Says that the pool is as bad as the endpoint.
struct Shared;

impl Config {
    /// Says why an endpoint is to be ejected, if it is.
    fn judge(&self, record: &Record, half: u64, pool: Pool) -> Result<Option<Cause>, Shared> {
        let rows = [
            (record.gateway_row, self.gateway_in_row, true),
            (record.local_row, self.local_in_row, false),
        ];
        let totals = record.window.totals(half);
        let usual = pool.usual_rate(totals);
        let mut is_shared = false;
        for (row, threshold, is_gateway) in rows {
            if row < threshold.get() {
                continue;
            }
            if pool.shares_rows || !pool::is_rare_row(row, usual) {
                is_shared = true;
            } else if is_gateway {
                return Ok(Some(Cause::GatewayRow { row }));
            } else {
                return Ok(Some(Cause::LocalRow { row }));
            }
        }
        let (attempts, failures) = totals;
        if attempts >= self.min_requests
            && pool::is_excess(attempts, failures, usual, self.excess_failure)
        {
            let rate = Ppm::of(u64::from(failures), u64::from(attempts)).unwrap_or_default();
            return Ok(Some(Cause::ExcessRate { rate, usual }));
        }
        if is_shared { Err(Shared) } else { Ok(None) }
    }
}

/// Orders endpoints by how bad they are: failure rate, then the longer row.
fn severity(record: &Record, half: u64) -> (Ppm, u8) {
    let (attempts, failures) = record.window.totals(half);
    let rate = Ppm::of(u64::from(failures), u64::from(attempts)).unwrap_or_default();
    (rate, record.gateway_row.max(record.local_row))
}

/// Is a moment of the judge's time line on the wall.
fn wall(moment: Duration, elapsed: Duration, now: WallTime) -> WallTime {
    after(now, moment.saturating_sub(elapsed))
}

fn bump(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
