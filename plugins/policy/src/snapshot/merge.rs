//! Brings the workers' reports into the leader's snapshot.
//!
//! Why: a worker of sixteen sees a sixteenth of the failures and would notice late; estimates of
//! all are those of one estimator that saw every sample. In-flight counts are never merged.
//! Model: the estimate is the largest of the old one and all reported ones, each projected from its
//! own time to now, because the estimator is one of peaks: a mean over sixteen workers would make
//! 282 ms of 2 s that one of them met and 167 ms of the others. Ties take the later, then the larger one.
//! A row of failures grows by all workers' failures while none reports a success; after a success
//! of anybody it is the longest row that a worker which failed since then has itself. Order among
//! workers within one report is not known: a row is thus noticed at most one report later than by
//! one observer, and never later than by isolated workers.
//! Totals: reports say how much in all, and what is merged is the difference to the same worker's
//! last report, so that a report that was overwritten unread loses nothing. An endpoint stays in a
//! worker's reports for a while after its last news; one that was left out begins again from zero,
//! with the sequence of that report. Whoever sees one report in every five counts everything once.
//! Limits: reports of another configuration or cluster, stale ones and repeated ones are counted
//! and left out; so is what was seen of an endpoint that is no member or of an earlier generation.
//! A worker whose first report that is seen has a sequence above 1 may have been counted by the
//! leader before: its estimates are taken, its failures from the next report on. Times ahead of the
//! clock count as now, so that an estimate from the future decays.
//! Cost: O(entries · log endpoints). Of each slot the totals of the last report are kept: at most
//! 1 024 of 36 bytes, 2.4 MB for 64 slots that all report as many; endpoints that leave the
//! membership leave the reports soon after. 34 bytes for each endpoint with news while it merges.

use alloc::{collections::BTreeMap, vec::Vec};
use core::{num::NonZeroU32, time::Duration};

use super::{
    address::EndpointAddress,
    endpoint::{Endpoint, Latency},
    picture::Snapshot,
    report::{Counts, Observed, ReportView},
    view::is_stale,
};
use crate::units::WallTime;

/// Is how many slots workers report into.
pub const MAX_SLOTS: usize = 64;

/// Remembers what the last reports on one cluster said.
#[derive(Clone, Debug, Default)]
pub struct Merger {
    /// Is the last report of each slot.
    last: BTreeMap<usize, Last>,
}

/// Is what a slot's last report said.
#[derive(Clone, Debug)]
struct Last {
    worker: u64,
    sequence: u64,
    /// Are first report and totals of each endpoint, sorted by address.
    totals: Vec<(EndpointAddress, u32, Counts)>,
}

/// Says what a merge did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Merged {
    /// Are the outcomes of all workers for each member with news, sorted by address: what a failure
    /// rate is taken from.
    pub counts: Vec<(EndpointAddress, Counts)>,
    /// Are the members whose failures changed.
    pub failures_changed: u32,
    /// Are the members whose estimate changed.
    pub latencies_changed: u32,
    /// Are the reports that were merged.
    pub reports: u32,
    /// Are the reports of another configuration, cluster or a slot that does not exist.
    pub foreign: u32,
    /// Are the reports that were merged before.
    pub repeated: u32,
    /// Are the reports as old as the limit, or as far ahead.
    pub stale: u32,
    /// Are the reports that were overwritten before they were read.
    pub lost: u64,
    /// Are the entries of addresses that are no members.
    pub unknown_endpoints: u32,
    /// Are the entries of another generation of a member.
    pub other_generations: u32,
}

/// Is the news of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
struct News {
    counts: Counts,
    /// Is the longest row of a worker that failed since its last report.
    gateway_row: u8,
    local_row: u8,
    /// Is the best estimate and what it is projected to now.
    latency: Option<(u32, Latency)>,
}

impl Merger {
    /// Starts without having seen a report.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            last: BTreeMap::new(),
        }
    }

    /// Merges reports, each with the index of its slot (0 to 63), in any order.
    ///
    /// A report as old as `limit` is left out. `project` says what an estimate in microseconds is
    /// worth after a time, as the estimator does; it must not rise.
    pub fn merge<'a>(
        &mut self,
        snapshot: &mut Snapshot,
        reports: impl IntoIterator<Item = (usize, ReportView<'a>)>,
        limit: Duration,
        project: impl Fn(NonZeroU32, Duration) -> u32,
        now: WallTime,
    ) -> Merged {
        let mut merged = Merged::default();
        let mut news: BTreeMap<EndpointAddress, News> = BTreeMap::new();
        for (slot, report) in reports {
            let Some(last) = self.admit(snapshot, slot, &report, limit, now, &mut merged) else {
                continue;
            };
            for (address, observed) in report.iter() {
                let counts = last.difference(&address, &observed);
                match snapshot.get(&address) {
                    None => bump(&mut merged.unknown_endpoints),
                    Some(endpoint)
                        if observed.generation != 0
                            && endpoint.since.generation != observed.generation =>
                    {
                        bump(&mut merged.other_generations);
                    }
                    Some(_) => {
                        let news = news.entry(address).or_default();
                        news.add(&observed, counts, &project, now);
                    }
                }
            }
        }
        for (address, news) in news {
            news.apply(snapshot, &address, &project, now, &mut merged);
            merged.counts.push((address, news.counts));
        }
        merged
    }

    /// Says whether a report is merged, and if so what its totals are compared with.
    fn admit(
        &mut self,
        snapshot: &Snapshot,
        slot: usize,
        report: &ReportView<'_>,
        limit: Duration,
        now: WallTime,
        merged: &mut Merged,
    ) -> Option<Base> {
        let header = report.header();
        let ours = header.configuration == snapshot.header.configuration
            && header.cluster == snapshot.header.cluster;
        if !ours || slot >= MAX_SLOTS {
            bump(&mut merged.foreign);
            return None;
        }
        if is_stale(header.reported_at, now, limit) {
            bump(&mut merged.stale);
            return None;
        }
        let seen = self
            .last
            .get(&slot)
            .filter(|last| last.worker == header.worker)
            .map(|last| last.sequence);
        if let Some(sequence) = seen {
            if header.sequence <= sequence {
                bump(&mut merged.repeated);
                return None;
            }
            let between = header.sequence.saturating_sub(sequence).saturating_sub(1);
            merged.lost = merged.lost.saturating_add(between);
        }
        bump(&mut merged.reports);
        let last = Last {
            worker: header.worker,
            sequence: header.sequence,
            totals: report
                .iter()
                .map(|(address, observed)| (address, observed.since, observed.counts))
                .collect(),
        };
        let before = self.last.insert(slot, last);
        Some(match before {
            Some(before) if seen.is_some() => Base::Totals(before.totals),
            _ if header.sequence <= 1 => Base::Totals(Vec::new()),
            _ => Base::Unknown,
        })
    }
}

/// Is what a report's totals are compared with.
enum Base {
    /// Those of the worker's last report.
    Totals(Vec<(EndpointAddress, u32, Counts)>),
    /// Nobody knows what was counted before: this report is what later ones are compared with.
    Unknown,
}

impl Base {
    /// Is what came since the last report.
    fn difference(&self, address: &EndpointAddress, observed: &Observed) -> Counts {
        let Self::Totals(totals) = self else {
            return Counts::default();
        };
        let before = totals
            .binary_search_by(|(other, ..)| other.cmp(address))
            .ok()
            .and_then(|place| totals.get(place))
            .filter(|(_, since, _)| *since == observed.since)
            .map_or(Counts::default(), |(.., counts)| *counts);
        observed.counts.wrapping_since(before)
    }
}

impl News {
    fn add(
        &mut self,
        observed: &Observed,
        counts: Counts,
        project: &impl Fn(NonZeroU32, Duration) -> u32,
        now: WallTime,
    ) {
        self.latency = self
            .latency
            .max_by_order(projected(observed.latency, project, now));
        self.counts = self.counts.saturating_add(counts);
        if counts.gateway_failures > 0 {
            self.gateway_row = self.gateway_row.max(observed.gateway_row);
        }
        if counts.local_failures > 0 {
            self.local_row = self.local_row.max(observed.local_row);
        }
    }

    fn apply(
        &self,
        snapshot: &mut Snapshot,
        address: &EndpointAddress,
        project: &impl Fn(NonZeroU32, Duration) -> u32,
        now: WallTime,
        merged: &mut Merged,
    ) {
        let counts = self.counts;
        // Whoever answers with a gateway failure was reached.
        let reached = counts.successes.saturating_add(counts.gateway_failures);
        let mut before: Option<Endpoint> = None;
        let mut after: Option<Endpoint> = None;
        snapshot.update(address, |endpoint| {
            before = Some(*endpoint);
            let failures = &mut endpoint.failures;
            failures.gateway_in_row = row(
                failures.gateway_in_row,
                counts.successes > 0,
                counts.gateway_failures,
                self.gateway_row,
            );
            failures.local_in_row = row(
                failures.local_in_row,
                reached > 0,
                counts.local_failures,
                self.local_row,
            );
            endpoint.latency = projected(endpoint.latency, project, now)
                .max_by_order(self.latency)
                .map(|(_, latency)| latency.rounded());
            after = Some(*endpoint);
        });
        if let (Some(before), Some(after)) = (before, after) {
            if before.failures != after.failures {
                bump(&mut merged.failures_changed);
            }
            if before.latency != after.latency {
                bump(&mut merged.latencies_changed);
            }
        }
    }
}

/// Picks the larger of two projected estimates.
trait MaxByOrder {
    fn max_by_order(self, other: Self) -> Self;
}

impl MaxByOrder for Option<(u32, Latency)> {
    fn max_by_order(self, other: Self) -> Self {
        let order = |estimate: &Self| {
            estimate.map(|(projected, latency)| (projected, latency.at, latency.estimate_us))
        };
        if order(&other) > order(&self) {
            other
        } else {
            self
        }
    }
}

/// Is an estimate and what it is worth now.
fn projected(
    latency: Option<Latency>,
    project: &impl Fn(NonZeroU32, Duration) -> u32,
    now: WallTime,
) -> Option<(u32, Latency)> {
    let latency = latency?;
    let at = latency.at.min(now);
    let worth = project(latency.estimate_us, now.saturating_since(at));
    Some((worth, Latency { at, ..latency }))
}

/// Is the row of failures after all workers reported: see the header.
fn row(before: u8, anybody_succeeded: bool, failures: u32, longest_own: u8) -> u8 {
    let grown = if anybody_succeeded {
        0
    } else {
        u32::from(before).saturating_add(failures)
    };
    u8::try_from(grown).unwrap_or(u8::MAX).max(longest_own)
}

fn bump(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}
