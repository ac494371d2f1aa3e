//! Counts the requests of one period.

use std::collections::BTreeMap;

use super::Row;
use super::figures::{EndpointFigures, Figures, SessionsFigures, SocketsFigures, SourceFigures};
use super::sessions::Counted;
use super::times::Times;
use crate::router::{HANDSHAKE_FAILED, VIA_UPSTREAM};
use crate::scenario::Scenario;
use crate::units::Span;

/// So many different details are told apart; what a filter says of its own answers may be anything.
const DETAILS: usize = 100;
/// What the details of all others are counted as.
const OTHER: &str = "other";

/// A stretch of time in which requests begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) from_ns: u64,
    pub(super) until_ns: u64,
}

impl Period {
    pub(super) const fn contains(self, at_ns: u64) -> bool {
        self.from_ns <= at_ns && at_ns < self.until_ns
    }
}

/// What rows refer to: everything that figures are told of, by position.
#[derive(Debug)]
pub(super) struct Names {
    /// Endpoints with their cluster and their weight.
    pub(super) endpoints: Vec<(String, usize, u32)>,
    pub(super) sources: Vec<String>,
    /// Bounds that requests may be slower than.
    pub(super) bounds: Vec<Span>,
}

impl Names {
    pub(super) fn new(scenario: &Scenario, bounds: Vec<Span>) -> Self {
        Self {
            endpoints: super::endpoints(scenario),
            sources: super::sources(scenario),
            bounds,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: u64,
    answered: u64,
    errors: u64,
    attempts: u64,
    retries: u64,
    local_replies: u64,
    statuses: BTreeMap<u16, u64>,
    flags: BTreeMap<u64, u64>,
    details: BTreeMap<String, u64>,
    latency: Times,
    total: Times,
    slow: Vec<u64>,
    endpoints: Vec<EndpointTally>,
    sources: Vec<SourceTally>,
    sockets: SocketsFigures,
}

#[derive(Debug, Clone, Default)]
struct EndpointTally {
    requests: u64,
    attempts: u64,
    errors: u64,
    latency: Times,
    max_in_flight: Option<u32>,
}

#[derive(Debug, Clone, Default)]
struct SourceTally {
    requests: u64,
    errors: u64,
    attempts: u64,
    latency: Times,
}

impl Tally {
    /// Adds a row; `endpoints` are the positions of those of its attempts.
    pub(super) fn add(&mut self, row: &Row, endpoints: &[Option<usize>], names: &Names) {
        let is_error = row.is_error();
        let attempts = u64::from(row.attempts);
        self.requests += 1;
        self.answered += u64::from(row.status.is_some());
        self.errors += u64::from(is_error);
        self.attempts += attempts;
        self.retries += attempts.saturating_sub(1);
        if let Some(status) = row.status {
            *self.statuses.entry(status).or_default() += 1;
            self.local_replies += u64::from(is_local(&row.details));
        }
        *self.flags.entry(row.flags.0).or_default() += 1;
        self.detail(&row.details);
        if let Some(ns) = row.first_byte_ns {
            self.latency.add(ns);
        }
        self.total.add(row.total_ns);
        // Who never got an answer waited until the end.
        let waited_ns = row.first_byte_ns.unwrap_or(row.total_ns);
        self.slow.resize(names.bounds.len(), 0);
        for (slow, bound) in self.slow.iter_mut().zip(&names.bounds) {
            *slow += u64::from(waited_ns > bound.ns());
        }
        for endpoint in endpoints.iter().flatten() {
            self.endpoint(*endpoint).attempts += 1;
        }
        if let Some(Some(last)) = endpoints.last() {
            let endpoint = self.endpoint(*last);
            endpoint.requests += 1;
            endpoint.errors += u64::from(is_error);
            if let Some(ns) = row.first_byte_ns {
                endpoint.latency.add(ns);
            }
        }
        self.sources
            .resize(names.sources.len(), SourceTally::default());
        if let Some(source) = self.sources.get_mut(row.source) {
            source.requests += 1;
            source.errors += u64::from(is_error);
            source.attempts += attempts;
            if let Some(ns) = row.first_byte_ns {
                source.latency.add(ns);
            }
        }
        self.socket(row);
    }

    pub(super) fn in_flight(&mut self, endpoint: usize, count: u32) {
        let max = &mut self.endpoint(endpoint).max_in_flight;
        *max = (*max).max(Some(count));
    }

    fn endpoint(&mut self, index: usize) -> &mut EndpointTally {
        if self.endpoints.len() <= index {
            self.endpoints.resize(index + 1, EndpointTally::default());
        }
        // It is there now.
        #[expect(
            clippy::indexing_slicing,
            reason = "the line above makes it long enough"
        )]
        &mut self.endpoints[index]
    }

    fn detail(&mut self, details: &str) {
        if details.is_empty() {
            return;
        }
        if let Some(count) = self.details.get_mut(details) {
            *count += 1;
        } else if self.details.len() < DETAILS {
            self.details.insert(details.to_owned(), 1);
        } else {
            *self.details.entry(OTHER.to_owned()).or_default() += 1;
        }
    }

    fn socket(&mut self, row: &Row) {
        let Some(socket) = &row.socket else { return };
        if row.status != Some(101) {
            self.sockets.refused += 1;
            return;
        }
        self.sockets.opened += 1;
        self.sockets.sent += socket.sent;
        self.sockets.received += socket.received;
        match socket.close_code {
            Some(code) => *self.sockets.closes.entry(code).or_default() += 1,
            None => self.sockets.cut += 1,
        }
    }

    pub(super) fn figures(&self, names: &Names, sessions: Counted) -> Figures {
        let slow = names.bounds.iter().zip(&self.slow);
        let attempted: u64 = self.endpoints.iter().map(|it| it.attempts).sum();
        Figures {
            requests: self.requests,
            answered: self.answered,
            errors: self.errors,
            error_ratio: ratio(self.errors, self.requests),
            status: self.statuses.clone(),
            attempts: self.attempts,
            attempts_per_request: ratio(self.attempts, self.requests),
            retries: self.retries,
            latency_ms: self.latency.figures(),
            total_ms: self.total.figures(),
            slower_than: slow
                .filter_map(|(bound, count)| {
                    Some((bound.to_string(), ratio(*count, self.requests)?))
                })
                .collect(),
            flags: self.flag_figures(),
            details: self.details.clone(),
            local_replies: self.local_replies,
            balance: self.balance(names),
            sessions: SessionsFigures {
                count: sessions.count,
                moved: sessions.moved,
                moves: sessions.moves,
            },
            websockets: self.sockets.clone(),
            sources: names
                .sources
                .iter()
                .enumerate()
                .map(|(index, name)| (name.clone(), self.source_figures(index)))
                .collect(),
            endpoints: names
                .endpoints
                .iter()
                .enumerate()
                .map(|(index, (name, ..))| (name.clone(), self.endpoint_figures(index, attempted)))
                .collect(),
        }
    }

    fn flag_figures(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (bits, count) in &self.flags {
            let names = crate::router::Flags(*bits).names();
            for name in names.split(',').filter(|name| *name != "-") {
                *all.entry(name.to_owned()).or_default() += count;
            }
        }
        all
    }

    fn source_figures(&self, index: usize) -> SourceFigures {
        let nothing = SourceTally::default();
        let tally = self.sources.get(index).unwrap_or(&nothing);
        SourceFigures {
            requests: tally.requests,
            errors: tally.errors,
            error_ratio: ratio(tally.errors, tally.requests),
            attempts: tally.attempts,
            attempts_per_request: ratio(tally.attempts, tally.requests),
            latency_ms: tally.latency.figures(),
        }
    }

    fn endpoint_figures(&self, index: usize, attempted: u64) -> EndpointFigures {
        let nothing = EndpointTally::default();
        let tally = self.endpoints.get(index).unwrap_or(&nothing);
        EndpointFigures {
            requests: tally.requests,
            attempts: tally.attempts,
            share: ratio(tally.attempts, attempted),
            errors: tally.errors,
            latency_ms: tally.latency.figures(),
            max_in_flight: tally.max_in_flight,
        }
    }

    /// Of the clusters that had attempts: how many times its fair share the busiest endpoint had, by weight.
    fn balance(&self, names: &Names) -> Option<f64> {
        let mut totals: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
        let attempts = |index: usize| self.endpoints.get(index).map_or(0, |it| it.attempts);
        for (index, (_, cluster, weight)) in names.endpoints.iter().enumerate() {
            let total = totals.entry(*cluster).or_default();
            total.0 += attempts(index);
            total.1 += u64::from(*weight);
        }
        let mut worst: Option<f64> = None;
        for (index, (_, cluster, weight)) in names.endpoints.iter().enumerate() {
            let (of, weights) = totals.get(cluster).copied().unwrap_or_default();
            let share = ratio(attempts(index), of);
            let fair = ratio(u64::from(*weight), weights);
            if let (Some(share), Some(fair)) = (share, fair)
                && fair > 0.0
            {
                let times = share / fair;
                worst = Some(worst.map_or(times, |worst| worst.max(times)));
            }
        }
        worst
    }
}

/// `None` of nothing.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts stay far below 2^53, where floats are exact"
)]
pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Whether an answer with these response code details is the proxy's or a filter's own, rather than an endpoint's, whole or cut.
fn is_local(details: &str) -> bool {
    let is_endpoints = [VIA_UPSTREAM, HANDSHAKE_FAILED].contains(&details)
        || details.starts_with("upstream_reset_after_response_started")
        || details.starts_with("downstream_");
    !details.is_empty() && !is_endpoints
}
