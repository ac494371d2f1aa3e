//! What the workers report.

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use super::{Lead, board::Target};
use crate::{
    balance::Decay,
    endpoints::Source,
    probe::Traffic,
    slots::{Sight, SlotIndex, SlotReport},
    snapshot::{Endpoint, EndpointAddress, Latency, ReportView, ReportViews},
    units::WallTime,
};

/// Is how old a report may be: as old as a slot gets until its VM counts as dead.
const REPORT_LIMIT: Duration = crate::slots::SLOT_EXPIRY;

/// Is one over the part by which an estimate must exceed the published one to be published.
///
/// An estimate decays by an eighth in 1.2 s: a cluster under a steady load publishes about as often
/// as the versions are written. With a smaller part it would at every tick, for nothing; with a
/// larger one workers prefer an endpoint that is slower than they know.
const NEWS_PART: u32 = 8;

/// Is the shortest row of failures that is published as it grows. A single failure now and then is
/// what every cluster has, and would have it published at every tick.
const NEWS_ROW: u8 = 2;

impl Lead {
    /// Takes what lies in the slots, in their order, `None` for one that nobody ever wrote; what was
    /// merged before is nothing. A slot that could not be read is left out.
    pub fn on_reports<'r>(
        &mut self,
        reports: impl IntoIterator<Item = (SlotIndex, Option<&'r [u8]>)>,
        now: WallTime,
    ) {
        self.slots.on_tick(now);
        let mut of_cluster: BTreeMap<u64, Vec<(usize, ReportView<'r>)>> = BTreeMap::new();
        for (index, bytes) in reports {
            let report = match self.slots.on_read(index, bytes) {
                Sight::First(SlotReport { report, .. })
                | Sight::Fresh {
                    slot: SlotReport { report, .. },
                    ..
                } => report,
                Sight::Expired | Sight::Missing | Sight::Unchanged | Sight::Unreadable => continue,
            };
            for view in ReportViews::new(report).flatten() {
                let cluster = of_cluster.entry(view.header().cluster).or_default();
                cluster.push((usize::from(index.number()), view));
            }
        }
        for index in 0..self.boards.len() {
            let reports = self
                .boards
                .get(index)
                .and_then(|board| of_cluster.remove(&board.cluster));
            if let Some(reports) = reports {
                self.merge(index, &reports, now);
            }
        }
    }

    fn merge(&mut self, index: usize, reports: &[(usize, ReportView<'_>)], now: WallTime) {
        let is_learned = matches!(self.config.source(), Source::Learned);
        let Some(board) = self.boards.get_mut(index) else {
            return;
        };
        if is_learned {
            let ours = reports
                .iter()
                .filter(|(_, view)| view.header().configuration == self.configuration);
            for (address, _) in ours.flat_map(|(_, view)| view.iter()) {
                if board.snapshot.get(&address).is_none() {
                    // One that finds no room is not known.
                    let learned = self.membership.learn(&board.name, address.into(), now);
                    board.is_outdated |= learned.is_ok();
                    board.confirm(now);
                }
            }
        }
        let reported = reports.iter().flat_map(|(_, view)| view.iter());
        let before: BTreeMap<EndpointAddress, Endpoint> = reported
            .filter_map(|(address, _)| Some((address, *board.snapshot.get(&address)?)))
            .collect();
        let merged = board.merger.merge(
            &mut board.snapshot,
            reports.iter().copied(),
            REPORT_LIMIT,
            |estimate_us, passed| Decay::DEFAULT.project(estimate_us, passed),
            now,
        );
        self.counts.reports_lost = self.counts.reports_lost.saturating_add(merged.lost);
        for (address, before) in before {
            let mut is_news = false;
            board.snapshot.update(&address, |endpoint| {
                if !is_latency_news(before.latency, endpoint.latency, now) {
                    endpoint.latency = before.latency;
                }
                is_news = endpoint.latency != before.latency || rows(&before) != rows(endpoint);
            });
            board.is_changed |= is_news;
        }
        for (address, counts) in &merged.counts {
            let traffic = Traffic {
                succeeded: counts.successes > 0,
                failed: counts.gateway_failures > 0 || counts.local_failures > 0,
            };
            if traffic == Traffic::default() {
                continue;
            }
            if let Some(prober) = &mut self.prober {
                let target = Target {
                    board: index,
                    address: *address,
                };
                prober.on_traffic(&target, traffic);
            }
            if let Some(judge) = &mut board.bench
                && let Some(endpoint) = board.snapshot.get(address)
            {
                judge.on_attempts(address, *counts, endpoint.failures, now);
            }
            if is_learned {
                let _ = self.membership.learn(&board.name, (*address).into(), now);
            }
        }
    }
}

/// Says whether an estimate is so much larger than the published one that readers want it.
fn is_latency_news(before: Option<Latency>, after: Option<Latency>, now: WallTime) -> bool {
    let worth = |latency: Option<Latency>| {
        latency.map_or(0, |latency| {
            let passed = now.saturating_since(latency.at);
            Decay::DEFAULT.project(latency.estimate_us, passed)
        })
    };
    let published = worth(before);
    worth(after) > published.saturating_add(published / NEWS_PART)
}

/// Are the rows of failures as far as they are news.
fn rows(endpoint: &Endpoint) -> [u8; 2] {
    let failures = endpoint.failures;
    [failures.gateway_in_row, failures.local_in_row].map(|row| if row < NEWS_ROW { 0 } else { row })
}
