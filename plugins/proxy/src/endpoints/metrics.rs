//! What operators see of the picture.
//!
//! Why: a picture that ages, a source that answers nonsense and a VM that leads in another's place
//! are seen nowhere else.
//! Model: counters are told what is new at each tick, gauges what changed; gauges belong to the VM
//! that leads, and the cluster is the last part of their names, because it may have dots.
//! Limits: gauges for 64 clusters, seven each. A gauge outlives its cluster, with zeros.
//! Cost: a tick without news makes no call; once a second the leader counts all endpoints. A request
//! makes none.

use std::collections::BTreeMap;

use tidegate_policy::{
    endpoints::{FollowCounts, Happened, Lead, MAX_FOLLOWED, ObserverCounts, SourceError, Unknown},
    probe::{Failure, Outcome},
    snapshot::{EjectionCause, State},
};

use crate::{
    error::HostError,
    metric::{Counter, Gauge},
};

/// Begins the names of the counters of attempts at probing; the outcome follows.
pub const PROBES: &str = "tidegate_endpoints_probes_total.outcome.";
/// Begins the names of the counters of answers of a source that were not used; the reason follows.
pub const SOURCE_ERRORS: &str = "tidegate_endpoints_source_errors_total.reason.";
/// Begins the names of the counters of shared values that were not taken; the reason follows.
pub const NOT_READ: &str = "tidegate_endpoints_not_read_total.reason.";
/// Begins the names of the counters of requests that went on without a picture; the reason follows.
pub const WITHOUT_PICTURE: &str = "tidegate_endpoints_requests_without_picture_total.reason.";
/// Begins the names of the counters of ejections for the traffic's failures; the cause follows.
pub const EJECTIONS: &str = "tidegate_endpoints_ejections_total.cause.";
/// Counts endpoints that were readmitted after an ejection.
pub const READMISSIONS: &str = "tidegate_endpoints_readmissions_total";
/// Counts how often an endpoint was not ejected because too few others were available.
pub const EJECTIONS_SPARED: &str = "tidegate_endpoints_ejections_spared_total";
/// Counts terms that began: one for the start of the proxy, one for each takeover.
pub const TERMS: &str = "tidegate_endpoints_terms_total";
/// Counts snapshots that were published.
pub const PUBLISHED: &str = "tidegate_endpoints_published_total";
/// Counts reports of VMs that were overwritten before they were read; what they said is in later
/// ones.
pub const REPORTS_LOST: &str = "tidegate_endpoints_reports_lost_total";
/// Counts attempts that found no room in the report of their VM.
pub const ATTEMPTS_LEFT_OUT: &str = "tidegate_endpoints_attempts_left_out_total";
/// Is the epoch of the VM that leads.
pub const EPOCH: &str = "tidegate_endpoints_epoch";
/// Says whether the VM that leads serves requests (1), or is the main thread's (0).
pub const LEADER_SERVES: &str = "tidegate_endpoints_leader_serves";
/// Begins the names of the gauges of the time at which a source last vouched for a cluster, in
/// seconds since 1970; the cluster follows.
pub const CONFIRMED: &str = "tidegate_endpoints_confirmed_seconds.cluster.";
/// Begins the names of the gauges of endpoints: the state follows, then `.cluster.` and the cluster.
pub const MEMBERS: &str = "tidegate_endpoints_members.state.";

/// Are the reasons for which a shared value was not taken.
pub const NOT_READ_REASONS: [&str; 3] = ["damaged", "older", "between_writes"];

/// Is how many ticks pass between two counts of the endpoints.
const COUNT_EVERY: u8 = 4;

/// Names the outcomes of probes, in the order of their counters.
pub fn probe_outcomes() -> impl Iterator<Item = &'static str> {
    let failures = Failure::ALL.iter().map(|failure| failure.as_str());
    ["success", "draining"].into_iter().chain(failures)
}

/// Is a counter and how much of a total it was told.
#[derive(Debug)]
struct Total {
    counter: Counter,
    told: u64,
}

/// Is a gauge and what it was set to last by this VM.
#[derive(Debug)]
struct Level {
    gauge: Gauge,
    last: Option<u64>,
}

/// Holds the gauges of one cluster.
#[derive(Debug)]
struct OfCluster {
    confirmed: Level,
    states: Vec<Level>,
}

/// Holds the metrics of one picture. Scope: the proxy sums counters over all VMs.
#[derive(Debug)]
pub(super) struct Metrics {
    probes: Vec<Counter>,
    source_errors: Vec<Counter>,
    ejections: Vec<Counter>,
    readmissions: Counter,
    ejections_spared: Total,
    not_read: Vec<Total>,
    without_picture: Vec<Total>,
    terms: Counter,
    published: Total,
    reports_lost: Total,
    attempts_left_out: Total,
    epoch: Level,
    leader_serves: Level,
    clusters: BTreeMap<String, OfCluster>,
    ticks: u8,
}

impl Metrics {
    /// Defines all that does not depend on clusters.
    ///
    /// # Errors
    /// The host said no.
    pub(super) fn define() -> Result<Self, HostError> {
        let counters = |prefix: &str, names: &mut dyn Iterator<Item = &'static str>| {
            names
                .map(|name| Counter::define(&format!("{prefix}{name}")))
                .collect::<Result<Vec<_>, _>>()
        };
        let totals = |prefix: &str, names: &mut dyn Iterator<Item = &'static str>| {
            names
                .map(|name| Total::define(&format!("{prefix}{name}")))
                .collect::<Result<Vec<_>, _>>()
        };
        let source_errors = &mut SourceError::ALL.iter().map(|reason| reason.as_str());
        let causes = &mut EjectionCause::ALL.iter().map(|cause| cause.as_str());
        let unknown = &mut Unknown::ALL.iter().map(|reason| reason.as_str());
        Ok(Self {
            probes: counters(PROBES, &mut probe_outcomes())?,
            source_errors: counters(SOURCE_ERRORS, source_errors)?,
            ejections: counters(EJECTIONS, causes)?,
            readmissions: Counter::define(READMISSIONS)?,
            ejections_spared: Total::define(EJECTIONS_SPARED)?,
            not_read: totals(NOT_READ, &mut NOT_READ_REASONS.into_iter())?,
            without_picture: totals(WITHOUT_PICTURE, unknown)?,
            terms: Counter::define(TERMS)?,
            published: Total::define(PUBLISHED)?,
            reports_lost: Total::define(REPORTS_LOST)?,
            attempts_left_out: Total::define(ATTEMPTS_LEFT_OUT)?,
            epoch: Level::define(EPOCH)?,
            leader_serves: Level::define(LEADER_SERVES)?,
            clusters: BTreeMap::new(),
            ticks: 0,
        })
    }

    /// Tells what every VM counts.
    pub(super) fn on_tick(
        &mut self,
        read: FollowCounts,
        observed: Option<ObserverCounts>,
        without_picture: &[u64],
    ) {
        let not_read = [read.refused, read.older, read.mismatched];
        for (total, count) in self.not_read.iter_mut().zip(not_read) {
            total.advance(count);
        }
        for (total, count) in self.without_picture.iter_mut().zip(without_picture) {
            total.advance(*count);
        }
        if let Some(observed) = observed {
            self.attempts_left_out.advance(observed.left_out);
        }
    }

    /// Tells that this VM leads from now on.
    pub(super) fn on_term(&mut self) {
        // There is nowhere to report to that a counter could not be counted.
        let _ = self.terms.increment(1);
        // What a term counts begins again with it.
        self.published.told = 0;
        self.reports_lost.told = 0;
        self.ejections_spared.told = 0;
        // Another VM may have set them since.
        self.epoch.last = None;
        self.leader_serves.last = None;
        for of_cluster in self.clusters.values_mut() {
            of_cluster.confirmed.last = None;
            for level in &mut of_cluster.states {
                level.last = None;
            }
        }
        self.ticks = 0;
    }

    /// Tells what the VM counts that leads.
    pub(super) fn on_led(&mut self, lead: &mut Lead, serves: bool) {
        // Hundreds of probes may have been answered since the last tick: one call for each outcome.
        let mut probes = vec![0_u32; self.probes.len()];
        let mut source_errors = vec![0_u32; self.source_errors.len()];
        let mut ejections = vec![0_u32; self.ejections.len()];
        let mut readmissions = 0_u32;
        while let Some(happened) = lead.poll_happened() {
            let count = match happened {
                Happened::Probed(outcome) => {
                    let name = match outcome {
                        Outcome::Success => "success",
                        Outcome::Draining { .. } => "draining",
                        Outcome::Failure(failure) => failure.as_str(),
                    };
                    let place = probe_outcomes().position(|outcome| outcome == name);
                    place.and_then(|place| probes.get_mut(place))
                }
                Happened::SourceFailed(error) => {
                    let place = SourceError::ALL.iter().position(|other| *other == error);
                    place.and_then(|place| source_errors.get_mut(place))
                }
                Happened::Ejected { cause } => ejections.get_mut(cause.kind().index()),
                Happened::Readmitted => Some(&mut readmissions),
            };
            if let Some(count) = count {
                *count = count.saturating_add(1);
            }
        }
        let counters = self.probes.iter().chain(&self.source_errors);
        let counters = counters.chain(&self.ejections).chain([&self.readmissions]);
        let counts = probes.into_iter().chain(source_errors).chain(ejections);
        for (counter, count) in counters.zip(counts.chain([readmissions])) {
            // There is nowhere to report to that a counter could not be counted.
            let _ = counter.increment(count);
        }
        let counts = lead.counts();
        self.published.advance(counts.published);
        self.reports_lost.advance(counts.reports_lost);
        self.ejections_spared.advance(counts.ejections_spared);
        self.epoch.set(lead.epoch());
        self.leader_serves.set(u64::from(serves));
        if self.ticks == 0 {
            self.count(lead);
        }
        self.ticks = self.ticks.wrapping_add(1) % COUNT_EVERY;
    }

    /// Counts the endpoints of each cluster.
    fn count(&mut self, lead: &Lead) {
        for (cluster, confirmed_at, endpoints) in lead.clusters() {
            if !self.clusters.contains_key(cluster) {
                if self.clusters.len() >= MAX_FOLLOWED {
                    continue;
                }
                // One that cannot be defined is tried again the next time.
                let Ok(of_cluster) = OfCluster::define(cluster) else {
                    continue;
                };
                self.clusters.insert(cluster.to_owned(), of_cluster);
            }
            let Some(of_cluster) = self.clusters.get_mut(cluster) else {
                continue;
            };
            let mut counts = [0_u64; State::NAMES.len()];
            for endpoint in endpoints {
                if let Some(count) = counts.get_mut(endpoint.state.index()) {
                    *count = count.saturating_add(1);
                }
            }
            of_cluster.confirmed.set(confirmed_at.as_seconds());
            for (level, count) in of_cluster.states.iter_mut().zip(counts) {
                level.set(count);
            }
        }
    }
}

impl OfCluster {
    fn define(cluster: &str) -> Result<Self, HostError> {
        let states = State::NAMES.iter();
        let states =
            states.map(|state| Level::define(&format!("{MEMBERS}{state}.cluster.{cluster}")));
        Ok(Self {
            confirmed: Level::define(&format!("{CONFIRMED}{cluster}"))?,
            states: states.collect::<Result<_, _>>()?,
        })
    }
}

impl Total {
    fn define(name: &str) -> Result<Self, HostError> {
        Ok(Self {
            counter: Counter::define(name)?,
            told: 0,
        })
    }

    /// Tells what is new of a total.
    fn advance(&mut self, total: u64) {
        let news = u32::try_from(total.saturating_sub(self.told)).unwrap_or(u32::MAX);
        // There is nowhere to report to that a counter could not be counted.
        if self.counter.increment(news).is_ok() {
            self.told = total;
        }
    }
}

impl Level {
    fn define(name: &str) -> Result<Self, HostError> {
        Ok(Self {
            gauge: Gauge::define(name)?,
            last: None,
        })
    }

    /// Sets the gauge where this VM set it to something else before.
    fn set(&mut self, value: u64) {
        if self.last != Some(value) && self.gauge.set(value).is_ok() {
            self.last = Some(value);
        }
    }
}
