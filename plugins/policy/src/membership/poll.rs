//! Decides what to ask Envoy's admin, and when.
//!
//! Why: the list costs Envoy's main thread 27 ms for 1000 endpoints, the counters about 1 ms. So
//! the counters are polled, and the list is asked for when they moved.
//! Model: a table `state x event -> state` per cluster ([`next_want`](super::next_want)). A change between counters
//! and list makes the next counters differ from those before the list: it costs a second list and
//! is never missed. A list is `Stale` again after [`Pace::refresh`], or after
//! [`Pace::blind_refresh`] where Envoy does not count the cluster.
//! Limits: one question at a time. Two lists of a cluster are at least `max(min_gap, endpoints x
//! 2.7 ms)` apart, so that lists take at most 1 % of the main thread per cluster. After k errors
//! in a row the next try waits `min(wait x 2^k, max_backoff)`. An answer that never comes counts as
//! an error at its time-out. A clock that stands still asks nothing new; after a step back waits
//! begin anew; after a jump of a year everything is due, once.
//! Scope: whoever holds the lease. Cost: O(clusters) per call, about 200 bytes per cluster.
//! Source: measured on Envoy 1.40.0, which also counts under `_` for `://`, `:/` and `:`.

use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::{mem, time::Duration};

use super::{
    listing::MAX_CLUSTERS,
    question::{COUNTERS_END, COUNTERS_START, encode, list_path, re2_literal, stat_name},
    stats::Counters,
    timer::{Timer, backoff, jitter},
    want::{Happening, Unexpected, Want, next_want},
};
use crate::units::WallTime;

/// Is the longest path of a question that asks for several clusters; Envoy takes up to 60 KiB of
/// headers. A single cluster is asked for however long its name is.
pub const MAX_PATH_BYTES: usize = 8192;

/// Is what one listed endpoint costs Envoy's main thread: 27 ms for 1000, measured.
const ENDPOINT_COST: Duration = Duration::from_micros(27);

/// Is one over the share of the main thread that lists of one cluster may take.
const COST_SHARE: u32 = 100;

/// Is how long an answer may be read in slices: 12 MiB in slices of 64 KiB every 250 ms are 48 s.
const READ_LIMIT: Duration = Duration::from_secs(60);

/// Says how often to ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// Is how far apart two questions for the counters are, on average; jittered by a quarter.
    pub interval: Duration,
    /// Is how old a list gets when nothing seems to change.
    pub refresh: Duration,
    /// Is the same for a cluster that Envoy does not count.
    pub blind_refresh: Duration,
    /// Is how far apart two lists of a cluster are at least.
    pub min_gap: Duration,
    /// Is the longest wait after errors.
    pub max_backoff: Duration,
    /// Is the time-out of a question for the counters.
    pub counters_timeout: Duration,
    /// Is the time-out of a question for a list.
    pub list_timeout: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            refresh: Duration::from_secs(30),
            blind_refresh: Duration::from_secs(5),
            min_gap: Duration::from_secs(1),
            max_backoff: Duration::from_secs(30),
            counters_timeout: Duration::from_secs(1),
            list_timeout: Duration::from_secs(5),
        }
    }
}

/// Is what a question is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Subject {
    /// The membership counters of some clusters: give the answer to
    /// [`StatsParser`](super::StatsParser).
    Counters,
    /// The endpoints of one cluster: give the answer to [`ClustersParser`](super::ClustersParser).
    List {
        /// Is the cluster's name.
        cluster: String,
    },
}

/// Is a question to Envoy's admin: a `GET`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// Is what it is about.
    pub subject: Subject,
    /// Is the path with its query, percent-encoded.
    pub path: String,
    /// Is the time-out of the call-out.
    pub timeout: Duration,
    /// Is when [`Poll`] gives it up by itself: `now` and the time-out.
    pub deadline: WallTime,
}

#[derive(Debug)]
struct Polled {
    stat_name: String,
    want: Want,
    counters: Option<Counters>,
    /// Is whether Envoy did not count it when it was asked last.
    is_blind: bool,
    errors: u32,
    /// Is the earliest moment of the next list.
    gap: Timer,
    /// Is when the list was asked for that is current.
    asked_at: WallTime,
    endpoints: usize,
}

impl Polled {
    /// Moves on; what is not expected is counted.
    fn on(&mut self, happening: Happening, unexpected: &mut u64) -> bool {
        match next_want(self.want, happening) {
            Ok(want) => {
                self.want = want;
                true
            }
            Err(Unexpected) => {
                *unexpected = unexpected.saturating_add(1);
                false
            }
        }
    }
}

/// Is the call-out that is under way.
#[derive(Debug)]
struct Call {
    subject: Subject,
    /// Are the clusters whose counters were asked for.
    names: Vec<String>,
    timer: Timer,
}

/// Decides what to ask next.
///
/// Contract: call [`on_tick`](Self::on_tick) on every tick, then ask what
/// [`poll_question`](Self::poll_question) says; report exactly one of `on_counters`, `on_listed`
/// and `on_failed` for it. Before the first tick it asks nothing, because a call-out in a start-up
/// callback crashes Envoy.
#[derive(Debug)]
pub struct Poll {
    pace: Pace,
    clusters: BTreeMap<String, Polled>,
    is_started: bool,
    call: Option<Call>,
    /// Is the list that has come and is read in slices.
    reading: Option<(String, Timer)>,
    counters: Timer,
    errors: u32,
    /// Is the cluster after which the next counters are asked for.
    counted: Option<String>,
    /// Is the cluster after which the next list is asked for.
    listed: Option<String>,
    failed: u64,
    unexpected: u64,
}

impl Poll {
    /// Starts without clusters and without a question.
    #[must_use]
    pub const fn new(pace: Pace) -> Self {
        Self {
            pace,
            clusters: BTreeMap::new(),
            is_started: false,
            call: None,
            reading: None,
            counters: Timer::new(WallTime::from_ns(0), Duration::ZERO),
            errors: 0,
            counted: None,
            listed: None,
            failed: 0,
            unexpected: 0,
        }
    }

    /// Adds a cluster to those that are asked for; its list is wanted at once. `false` where there
    /// are [`MAX_CLUSTERS`] already. A cluster that is there stays as it is.
    pub fn add(&mut self, cluster: &str) -> bool {
        if self.clusters.contains_key(cluster) {
            return true;
        }
        if self.clusters.len() >= MAX_CLUSTERS {
            return false;
        }
        self.clusters.insert(
            String::from(cluster),
            Polled {
                stat_name: stat_name(cluster),
                want: Want::Stale,
                counters: None,
                is_blind: false,
                errors: 0,
                gap: Timer::default(),
                asked_at: WallTime::default(),
                endpoints: 0,
            },
        );
        true
    }

    /// Asks for a cluster no more; an answer that is under way will be unexpected.
    pub fn remove(&mut self, cluster: &str) {
        self.clusters.remove(cluster);
        if self
            .reading
            .as_ref()
            .is_some_and(|(name, _)| name == cluster)
        {
            self.reading = None;
        }
    }

    /// Is what is wanted of a cluster; `None` where it is not asked for.
    #[must_use]
    pub fn want(&self, cluster: &str) -> Option<Want> {
        self.clusters.get(cluster).map(|polled| polled.want)
    }

    /// Is the number of questions that failed, those without an answer included; it saturates.
    #[must_use]
    pub const fn failed(&self) -> u64 {
        self.failed
    }

    /// Is the number of answers that nobody waited for any more; it saturates.
    #[must_use]
    pub const fn unexpected(&self) -> u64 {
        self.unexpected
    }

    /// Gives up what has waited too long for its answer; the first call is the start. It takes one
    /// draw.
    pub fn on_tick(&mut self, draw: u64, now: WallTime) {
        self.is_started = true;
        self.counters.observe(now);
        for polled in self.clusters.values_mut() {
            polled.gap.observe(now);
            polled.asked_at = polled.asked_at.min(now);
        }
        if let Some(call) = &mut self.call {
            call.timer.observe(now);
            if call.timer.is_over(now) {
                let subject = call.subject.clone();
                self.on_failed(&subject, draw, now);
            }
        }
        if let Some((cluster, timer)) = &mut self.reading {
            timer.observe(now);
            if timer.is_over(now) {
                let cluster = cluster.clone();
                self.on_failed(&Subject::List { cluster }, draw, now);
            }
        }
    }

    /// Is what to ask now; `None` where something is under way or nothing is due. It takes one
    /// draw.
    ///
    /// Call it after every tick and after every answer: then one tick can do several questions.
    pub fn poll_question(&mut self, draw: u64, now: WallTime) -> Option<Question> {
        if !self.is_started || self.call.is_some() {
            return None;
        }
        let (subject, path, names) = if self.counters.is_over(now) && !self.clusters.is_empty() {
            self.ask_counters(draw, now)
        } else {
            self.ask_list(now)?
        };
        let timeout = match subject {
            Subject::Counters => self.pace.counters_timeout,
            Subject::List { .. } => self.pace.list_timeout,
        };
        self.call = Some(Call {
            subject: subject.clone(),
            names,
            timer: Timer::new(now, timeout),
        });
        let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        Some(Question {
            subject,
            path,
            timeout,
            deadline: WallTime::from_ns(now.as_ns().saturating_add(timeout_ns)),
        })
    }

    /// Says whether a question waits for its answer.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.call.is_some()
    }

    /// Says whether a list is read in slices.
    #[must_use]
    pub const fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Takes the counters that were asked for, by the name that Envoy counts under. Returns the
    /// clusters whose list they vouch for: counted, unchanged, and the list is current.
    pub fn on_counters(
        &mut self,
        counters: &BTreeMap<String, Counters>,
        now: WallTime,
    ) -> Vec<String> {
        let mut vouched = Vec::new();
        let names = match &mut self.call {
            Some(call) if call.subject == Subject::Counters => mem::take(&mut call.names),
            _ => {
                self.unexpected = self.unexpected.saturating_add(1);
                return vouched;
            }
        };
        self.call = None;
        self.errors = 0;
        for name in &names {
            let Some(polled) = self.clusters.get_mut(name) else {
                continue;
            };
            let found = counters.get(&polled.stat_name).copied();
            polled.is_blind = found.is_none();
            // A list that is older than the first counters may be older than a change, too.
            if found.is_some() && polled.counters != found {
                polled.on(Happening::Moved, &mut self.unexpected);
            }
            polled.counters = found.or(polled.counters);
            if found.is_some() && polled.want == Want::Current {
                vouched.push(name.clone());
            }
        }
        if names.last() < self.clusters.keys().next_back() {
            // The next part of the clusters follows at once.
            self.counters = Timer::new(now, Duration::ZERO);
            self.counted = names.last().cloned();
        } else {
            self.counted = None;
        }
        vouched
    }

    /// Says that a list has come whole and is read in slices: other questions may go on.
    ///
    /// It is not needed where the list is read within one call.
    pub fn on_reading(&mut self, now: WallTime) {
        match self.call.take() {
            Some(Call {
                subject: Subject::List { cluster },
                ..
            }) => self.reading = Some((cluster, Timer::new(now, READ_LIMIT))),
            call => {
                self.call = call;
                self.unexpected = self.unexpected.saturating_add(1);
            }
        }
    }

    /// Takes note that a list was applied: with how many endpoints, and the name that Envoy counts
    /// the cluster under ([`Listing::observability_name`](super::Listing::observability_name)).
    pub fn on_listed(&mut self, cluster: &str, endpoints: usize, observability_name: &str) {
        if !self.finish(cluster) {
            return;
        }
        let Some(polled) = self.clusters.get_mut(cluster) else {
            return;
        };
        polled.on(Happening::Listed, &mut self.unexpected);
        polled.errors = 0;
        polled.endpoints = endpoints;
        polled.gap.wait = gap(&self.pace, endpoints);
        if !observability_name.is_empty() {
            let stat_name = stat_name(observability_name);
            if stat_name != polled.stat_name {
                polled.stat_name = stat_name;
                polled.counters = None;
            }
        }
    }

    /// Takes note that a question came to nothing: no answer, another status than 200, an answer
    /// that was refused or not applied. It takes one draw.
    pub fn on_failed(&mut self, subject: &Subject, draw: u64, now: WallTime) {
        match subject {
            Subject::Counters => {
                if self.call.take_if(|call| call.subject == *subject).is_none() {
                    self.unexpected = self.unexpected.saturating_add(1);
                    return;
                }
                self.errors = self.errors.saturating_add(1);
                let wait = backoff(self.pace.max_backoff, self.pace.interval, self.errors, draw);
                self.counters = Timer::new(now, wait);
            }
            Subject::List { cluster } => {
                if !self.finish(cluster) {
                    return;
                }
                if let Some(polled) = self.clusters.get_mut(cluster) {
                    polled.on(Happening::Failed, &mut self.unexpected);
                    polled.errors = polled.errors.saturating_add(1);
                    let gap = gap(&self.pace, polled.endpoints);
                    let wait = backoff(self.pace.max_backoff, gap, polled.errors, draw);
                    polled.gap = Timer::new(now, wait);
                }
            }
        }
        self.failed = self.failed.saturating_add(1);
    }

    /// Ends the list of a cluster, be it called for or read; `false` where there is none.
    fn finish(&mut self, cluster: &str) -> bool {
        let is_called = |call: &mut Call| matches!(&call.subject, Subject::List { cluster: name } if name == cluster);
        let is_done = self.call.take_if(is_called).is_some()
            || self.reading.take_if(|(name, _)| name == cluster).is_some();
        if !is_done {
            self.unexpected = self.unexpected.saturating_add(1);
        }
        is_done
    }

    fn ask_counters(&mut self, draw: u64, now: WallTime) -> (Subject, String, Vec<String>) {
        let mut path = String::from(COUNTERS_START);
        let mut names = Vec::new();
        let mut after = self.counted.take();
        if self.clusters.keys().next_back() <= after.as_ref() {
            after = None;
        }
        for (name, polled) in &self.clusters {
            if after.as_ref().is_some_and(|after| name <= after) {
                continue;
            }
            let literal = encode(&re2_literal(&polled.stat_name));
            let length = path.len().saturating_add(literal.len());
            let is_long = length.saturating_add(COUNTERS_END.len()) >= MAX_PATH_BYTES;
            if is_long && !names.is_empty() {
                break;
            }
            if !names.is_empty() {
                path.push_str("%7C");
            }
            path.push_str(&literal);
            names.push(name.clone());
        }
        path.push_str(COUNTERS_END);
        self.counters = Timer::new(now, jitter(self.pace.interval, draw));
        (Subject::Counters, path, names)
    }

    fn ask_list(&mut self, now: WallTime) -> Option<(Subject, String, Vec<String>)> {
        if self.reading.is_some() {
            return None;
        }
        let mut first = None;
        let mut following = None;
        for (name, polled) in &mut self.clusters {
            let limit = if polled.is_blind {
                self.pace.blind_refresh
            } else {
                self.pace.refresh
            };
            let is_due = now.saturating_since(polled.asked_at) >= limit;
            if polled.want == Want::Current && is_due {
                polled.on(Happening::Due, &mut self.unexpected);
            }
            if polled.want != Want::Stale || !polled.gap.is_over(now) {
                continue;
            }
            first = first.or_else(|| Some(name.clone()));
            if following.is_none() && Some(name) > self.listed.as_ref() {
                following = Some(name.clone());
            }
        }
        let cluster = following.or(first)?;
        let polled = self.clusters.get_mut(&cluster)?;
        polled.on(Happening::Asked, &mut self.unexpected);
        polled.asked_at = now;
        polled.gap = Timer::new(now, gap(&self.pace, polled.endpoints));
        self.listed = Some(cluster.clone());
        let path = list_path(&cluster);
        Some((Subject::List { cluster }, path, Vec::new()))
    }
}

/// Is how far apart two lists of a cluster are at least.
fn gap(pace: &Pace, endpoints: usize) -> Duration {
    let endpoints = u32::try_from(endpoints).unwrap_or(u32::MAX);
    let cost = ENDPOINT_COST.saturating_mul(endpoints);
    cost.saturating_mul(COST_SHARE).clamp(
        pace.min_gap.min(pace.refresh),
        pace.refresh.max(pace.min_gap),
    )
}
