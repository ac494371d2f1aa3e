//! What one VM saw of the endpoints: totals, for its slot.
//!
//! Why: each VM sees its part of the traffic; the leader must hear of all of it, may miss a report,
//! and must neither count twice nor wait for it.
//! Model: per endpoint outcomes in all, the row of failures that this VM met, and its own estimate
//! of the latency. An endpoint with news is in the VM's reports from then on, until it had none for
//! [`KEPT_REPORTS`] reports; then its totals begin again. Only a success is a sample of latency. A
//! success ends both rows, a gateway failure the row of local ones: it was reached. Where an attempt
//! waits for longer than the estimate, its age is what is reported, so that the others know of a hang
//! before it ends: what `balance::Pool::latency` says, at the default decay.
//! Cold start: nothing; no report has bytes before the first attempt.
//! Limits: 64 clusters for good, 10 000 endpoints in all, until they had no attempt for 5 minutes;
//! a report of 64 KiB: 1 024 endpoints of one cluster, about 1 280 in all. Where more have
//! news, those go first that were left out last time, then the most recent; of one that is left out
//! nothing is lost but by a leader who missed the report before. What finds no room at all is
//! counted. In-flight counts are in no report.
//! Scope: per VM. Cost: an attempt O(log clusters + log endpoints + others under way there); a report
//! O(endpoints + all under way); 150 bytes for each endpoint, 8 for each attempt.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::{cmp::Reverse, time::Duration};

use crate::{
    balance::{Decay, PeakEwma},
    endpoints::under_way::UnderWay,
    slots::MAX_REPORT_BYTES,
    snapshot::{
        Counts, EndpointAddress, Latency, MAX_REPORT_ENTRIES, Observed, REPORT_ENTRY_BYTES,
        REPORT_OVERHEAD_BYTES, Report, ReportHeader, cluster_digest,
    },
    units::WallTime,
};

/// Is how many reports say again what was said: 4, so that each is there for five ticks or 1.25 s.
/// A leader that reads none of five has lost its lease; more would make reports longer for nobody.
pub const KEPT_REPORTS: u8 = 4;

/// Is how many clusters are observed: as many as a VM follows.
const MAX_CLUSTERS: usize = super::MAX_FOLLOWED;

/// Is how many endpoints are observed over all clusters: 1.2 MB, as many as one snapshot has.
const MAX_OBSERVED: usize = 10_000;

/// Is how long an endpoint without attempts is remembered: 5 minutes, the longest ejection. Its
/// estimate is worth nothing by then.
const FORGET_AFTER: Duration = Duration::from_secs(300);

/// Is after how many reports it is looked who is to be forgotten: every 16 s.
const SWEEP_EVERY: u64 = 64;

/// Is how one attempt ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attempt {
    /// Answered with something that is no gateway failure, after this long.
    Success {
        /// Is the time to the response's headers, in microseconds.
        latency_us: u32,
    },
    /// Answered as well, but nobody saw when the attempt began: no sample of the latency.
    UntimedSuccess,
    /// Answered by the endpoint with a status that the block counts as its failure.
    GatewayFailure,
    /// Given up by the proxy: connect failure, reset, time-out.
    LocalFailure,
    /// Says nothing about the endpoint, but that it is there: 429, an answer of another filter.
    Neutral,
}

/// Is an attempt that began, to be kept until its answer comes.
#[derive(Debug)]
#[must_use = "an attempt whose end is not told seems to wait for minutes"]
pub struct Started {
    cluster: u64,
    address: EndpointAddress,
    at: WallTime,
}

/// Counts what an observer could not take in. Saturates.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ObserverCounts {
    /// Attempts that found no room.
    pub left_out: u64,
    /// Endpoints with news that found no room in a report, by report.
    pub waited: u64,
}

/// Collects what one VM sees.
#[derive(Debug)]
pub struct Observer {
    configuration: u64,
    worker: u64,
    clusters: BTreeMap<u64, Cluster>,
    /// Is how many endpoints there are in all.
    endpoints: usize,
    /// Counts attempts, so that the most recent are known.
    attempts: u64,
    reports: u64,
    counts: ObserverCounts,
}

/// Is what was seen of one cluster.
#[derive(Debug, Default)]
struct Cluster {
    /// Counts the reports of it.
    sequence: u64,
    endpoints: BTreeMap<EndpointAddress, Seen>,
    /// Are the endpoints that have news, had some lately, or wait for room.
    told: BTreeSet<EndpointAddress>,
}

/// Is what was seen of one endpoint.
#[derive(Debug)]
struct Seen {
    generation: u32,
    estimate: PeakEwma,
    under_way: UnderWay,
    /// Are the outcomes since it is in the reports.
    totals: Counts,
    /// Are those of them that no report has yet.
    unreported: Counts,
    gateway_row: u8,
    local_row: u8,
    /// Is the sequence of the first report that it is in; `None` while it is in none.
    since: Option<u64>,
    /// Says that it had an attempt since its last report.
    has_news: bool,
    /// Says that the present report has no room for it.
    waits: bool,
    /// Is how many reports in a row had it without news.
    quiet: u8,
    /// Is the number of its last attempt.
    attempt: u64,
    seen_at: WallTime,
}

impl Observer {
    /// Starts without having seen anything. `worker` is a draw; `configuration` the block's digest.
    #[must_use]
    pub const fn new(configuration: u64, worker: u64) -> Self {
        Self {
            configuration,
            worker,
            clusters: BTreeMap::new(),
            endpoints: 0,
            attempts: 0,
            reports: 0,
            counts: ObserverCounts {
                left_out: 0,
                waited: 0,
            },
        }
    }

    /// Takes how an attempt ended. `generation` is the endpoint's in the picture, zero where that
    /// does not have it: what was seen of an earlier one is forgotten. Bounded: what finds no room
    /// is counted and left out.
    pub fn on_attempt(
        &mut self,
        cluster: &[u8],
        address: EndpointAddress,
        generation: u32,
        attempt: Attempt,
        now: WallTime,
    ) {
        self.attempts = self.attempts.saturating_add(1);
        let number = self.attempts;
        let digest = cluster_digest(cluster);
        let Some(cluster) = self.look_up(digest, address, generation, now) else {
            self.counts.left_out = self.counts.left_out.saturating_add(1);
            return;
        };
        cluster.told.insert(address);
        if let Some(seen) = cluster.endpoints.get_mut(&address) {
            seen.on_attempt(attempt, now);
            seen.attempt = number;
        }
    }

    /// Takes that an attempt begins, whose end [`Self::on_end`] is told; `None` where that is not
    /// followed. `generation` is that of [`Self::on_attempt`].
    pub fn on_start(
        &mut self,
        cluster: &[u8],
        address: EndpointAddress,
        generation: u32,
        now: WallTime,
    ) -> Option<Started> {
        let digest = cluster_digest(cluster);
        let cluster = self.look_up(digest, address, generation, now)?;
        let seen = cluster.endpoints.get_mut(&address)?;
        seen.seen_at = now;
        seen.under_way.on_start(now).then_some(Started {
            cluster: digest,
            address,
            at: now,
        })
    }

    /// Takes that the headers of its answer came, or that it was given up: an upgrade or a body that
    /// goes on says nothing more. How it ended is for [`Self::on_attempt`].
    pub fn on_end(&mut self, started: &Started) {
        let cluster = self.clusters.get_mut(&started.cluster);
        let seen = cluster.and_then(|cluster| cluster.endpoints.get_mut(&started.address));
        if let Some(seen) = seen {
            seen.under_way.on_end(started.at);
        }
    }

    /// Is the cluster, with the endpoint in it; `None` where there is no room. What was seen of an
    /// earlier generation goes.
    fn look_up(
        &mut self,
        digest: u64,
        address: EndpointAddress,
        generation: u32,
        now: WallTime,
    ) -> Option<&mut Cluster> {
        let has_room = self.clusters.len() < MAX_CLUSTERS;
        if !has_room && !self.clusters.contains_key(&digest) {
            return None;
        }
        let cluster = self.clusters.entry(digest).or_default();
        if !cluster.endpoints.contains_key(&address) {
            if self.endpoints >= MAX_OBSERVED {
                return None;
            }
            self.endpoints = self.endpoints.saturating_add(1);
        }
        let seen = cluster
            .endpoints
            .entry(address)
            .or_insert_with(|| Seen::new(generation, now));
        if generation != 0 && generation != seen.generation {
            if seen.generation == 0 {
                seen.generation = generation;
            } else {
                *seen = Seen::new(generation, now);
            }
        }
        Some(cluster)
    }

    /// Replaces `out` by this tick's report, for the slot: at most its 64 KiB.
    pub fn report(&mut self, out: &mut Vec<u8>, now: WallTime) {
        out.clear();
        self.reports = self.reports.saturating_add(1);
        if self.reports.is_multiple_of(SWEEP_EVERY) {
            self.forget(now);
        }
        self.look_who_waits(now);
        self.make_room();
        let mut bytes = Vec::new();
        for (digest, cluster) in &mut self.clusters {
            if cluster.told.is_empty() {
                continue;
            }
            let sequence = cluster.sequence.saturating_add(1);
            let mut report = Report::new(ReportHeader {
                configuration: self.configuration,
                cluster: *digest,
                worker: self.worker,
                sequence,
                reported_at: now,
            });
            let Cluster {
                endpoints, told, ..
            } = cluster;
            told.retain(|address| {
                let Some(seen) = endpoints.get_mut(address) else {
                    return false;
                };
                if core::mem::take(&mut seen.waits) {
                    return true;
                }
                // There is room: `make_room` saw to it.
                let _ = report.try_push(*address, seen.tell(sequence, now));
                seen.stays()
            });
            if !report.is_empty() {
                cluster.sequence = sequence;
                report.encode(&mut bytes);
                out.extend_from_slice(&bytes);
            }
        }
    }

    /// Is what was counted.
    #[must_use]
    pub const fn counts(&self) -> ObserverCounts {
        self.counts
    }

    /// Takes those into the report where an attempt waits for longer than their estimate.
    fn look_who_waits(&mut self, now: WallTime) {
        for cluster in self.clusters.values_mut() {
            let Cluster {
                endpoints, told, ..
            } = cluster;
            for (address, seen) in endpoints {
                if seen.wait_beyond_estimate(now).is_some() {
                    seen.has_news = true;
                    told.insert(*address);
                }
            }
        }
    }

    /// Lets endpoints wait for the next report where this one has no room for all.
    fn make_room(&mut self) {
        let sizes = self.clusters.values().map(|cluster| cluster.told.len());
        let sizes = sizes.filter(|told| *told > 0);
        let fits = sizes.clone().all(|told| told <= MAX_REPORT_ENTRIES)
            && sizes.fold(0, |bytes, told| room_after(bytes, told, told)) <= MAX_REPORT_BYTES;
        if fits {
            return;
        }
        // Those that waited last time go first, then the most recent.
        let mut order = Vec::new();
        for (digest, cluster) in &self.clusters {
            for address in &cluster.told {
                if let Some(seen) = cluster.endpoints.get(address) {
                    let place = (seen.since.is_some(), Reverse(seen.attempt));
                    order.push((place, *digest, *address));
                }
            }
        }
        order.sort_unstable();
        let mut bytes = 0;
        let mut told: BTreeMap<u64, usize> = BTreeMap::new();
        for (_, digest, address) in order {
            let in_cluster = told.entry(digest).or_default();
            let after = room_after(bytes, in_cluster.saturating_add(1), 1);
            if after <= MAX_REPORT_BYTES && *in_cluster < MAX_REPORT_ENTRIES {
                bytes = after;
                *in_cluster = in_cluster.saturating_add(1);
                continue;
            }
            self.counts.waited = self.counts.waited.saturating_add(1);
            let cluster = self.clusters.get_mut(&digest);
            if let Some(seen) = cluster.and_then(|cluster| cluster.endpoints.get_mut(&address)) {
                seen.wait();
            }
        }
    }

    /// Forgets endpoints that nobody tried for long.
    fn forget(&mut self, now: WallTime) {
        for cluster in self.clusters.values_mut() {
            let Cluster {
                endpoints, told, ..
            } = cluster;
            endpoints.retain(|address, seen| {
                told.contains(address) || now.saturating_since(seen.seen_at) < FORGET_AFTER
            });
        }
        let counts = self
            .clusters
            .values()
            .map(|cluster| cluster.endpoints.len());
        self.endpoints = counts.fold(0, usize::saturating_add);
    }
}

impl Seen {
    fn new(generation: u32, now: WallTime) -> Self {
        Self {
            generation,
            estimate: PeakEwma::default(),
            under_way: UnderWay::default(),
            totals: NONE,
            unreported: NONE,
            gateway_row: 0,
            local_row: 0,
            since: None,
            has_news: false,
            waits: false,
            quiet: 0,
            attempt: 0,
            seen_at: now,
        }
    }

    fn on_attempt(&mut self, attempt: Attempt, now: WallTime) {
        self.has_news = true;
        self.seen_at = now;
        let mut one = NONE;
        match attempt {
            Attempt::Success { latency_us } => {
                one.successes = 1;
                (self.gateway_row, self.local_row) = (0, 0);
                let latency = Duration::from_micros(u64::from(latency_us));
                self.estimate.on_sample(latency, Decay::DEFAULT, now);
            }
            Attempt::UntimedSuccess => {
                one.successes = 1;
                (self.gateway_row, self.local_row) = (0, 0);
            }
            Attempt::GatewayFailure => {
                one.gateway_failures = 1;
                self.gateway_row = self.gateway_row.saturating_add(1);
                self.local_row = 0;
            }
            Attempt::LocalFailure => {
                one.local_failures = 1;
                self.local_row = self.local_row.saturating_add(1);
            }
            Attempt::Neutral => {}
        }
        self.totals = self.totals.wrapping_add(one);
        self.unreported = self.unreported.wrapping_add(one);
    }

    /// Is how long the oldest attempt waits, where that is more than the estimate. One without a
    /// sample has none to exceed.
    fn wait_beyond_estimate(&self, now: WallTime) -> Option<Latency> {
        if self.under_way.is_empty() {
            return None;
        }
        let cost_ns = self.estimate.cost_ns_at(Decay::DEFAULT, now)?;
        let age = self.under_way.oldest_age(now);
        let age_ns = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        (age_ns as f64 > cost_ns).then(|| Latency::new(age, now))
    }

    /// Is its entry in the report with this sequence.
    fn tell(&mut self, sequence: u64, now: WallTime) -> Observed {
        self.quiet = if core::mem::take(&mut self.has_news) {
            0
        } else {
            self.quiet.saturating_add(1)
        };
        self.unreported = NONE;
        let since = *self.since.get_or_insert(sequence);
        Observed {
            generation: self.generation,
            latency: self
                .wait_beyond_estimate(now)
                .or_else(|| self.estimate.to_latency()),
            since: u32::try_from(since % (1 << 32)).unwrap_or(0),
            counts: self.totals,
            gateway_row: self.gateway_row,
            local_row: self.local_row,
        }
    }

    /// Says whether the next report has it as well; if not, its totals begin again.
    fn stays(&mut self) -> bool {
        let stays = self.quiet < KEPT_REPORTS;
        if !stays {
            self.since = None;
            self.totals = NONE;
        }
        stays
    }

    /// Leaves it out of the present report: in the next it begins again with what is not reported.
    const fn wait(&mut self) {
        self.waits = true;
        self.has_news = true;
        self.since = None;
        self.totals = self.unreported;
    }
}

/// Is no outcome.
const NONE: Counts = Counts {
    successes: 0,
    gateway_failures: 0,
    local_failures: 0,
};

/// Is the length of a slot's report with `more` endpoints of a cluster that then has `in_cluster`.
const fn room_after(bytes: usize, in_cluster: usize, more: usize) -> usize {
    let overhead = if in_cluster == more {
        REPORT_OVERHEAD_BYTES
    } else {
        0
    };
    let entries = more.saturating_mul(REPORT_ENTRY_BYTES);
    bytes.saturating_add(overhead).saturating_add(entries)
}
