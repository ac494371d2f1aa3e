//! What converters need while they make events.

use std::collections::HashMap;

use super::super::access_log::LogEntry;
use super::super::event::{Close, CloseReason, Event, EventKind, Headers, Open};
use super::super::header::Cluster;
use super::super::reader::{ClusterRule, ReadOptions, Statistics};
use super::super::reorder::Reorder;
use super::super::session::SessionKey;

/// The time of the first event where nothing says when it was: a round number that is clearly made up.
const UNKNOWN_START_NS: u64 = 1_700_000_000_000_000_000;
/// How far apart events are put whose time isn't known.
pub(in super::super) const UNKNOWN_STEP_NS: u64 = 1_000_000;

/// Events that wait for their turn, and what is the same for all entries.
#[derive(Debug)]
pub(in super::super) struct Context {
    pub(in super::super) reorder: Reorder,
    pub(in super::super) statistics: Statistics,
    /// When the entry that is being read arrived, where it came from a running Envoy.
    pub(in super::super) arrived_ns: Option<u64>,
    rules: Vec<ClusterRule>,
    /// The cluster of each endpoint that is known; `None` of one that several clusters have.
    cluster_of: HashMap<String, Option<String>>,
    session: SessionKey,
    clock_ns: u64,
    next_id: u64,
}

/// What a source knows of a stream when it opens.
#[derive(Debug, Default)]
pub(in super::super) struct Opening {
    pub(in super::super) connection: Option<u64>,
    pub(in super::super) source: Option<String>,
    pub(in super::super) destination: Option<String>,
    pub(in super::super) protocol: Option<String>,
    pub(in super::super) cluster: Option<String>,
    pub(in super::super) route: Option<String>,
    /// The endpoint that served, from which the cluster follows where nothing names it.
    pub(in super::super) upstream: Option<String>,
}

impl Context {
    pub(super) fn new(options: &ReadOptions) -> Self {
        Self {
            reorder: Reorder::new(options.reorder_window_ns),
            statistics: Statistics::default(),
            arrived_ns: None,
            rules: options.clusters.clone(),
            cluster_of: clusters_by_endpoint(&options.known_clusters),
            session: options.session.clone(),
            clock_ns: UNKNOWN_START_NS - UNKNOWN_STEP_NS,
            next_id: 1,
        }
    }

    pub(super) fn add_to(&self, statistics: &mut Statistics) {
        statistics.peak_buffered_bytes += self.reorder.peak_bytes();
        statistics.late_events += self.reorder.late();
        for (what, count) in &self.statistics.skipped {
            *statistics.skipped.entry(what).or_default() += count;
        }
        statistics.without_log_entry += self.statistics.without_log_entry;
        statistics.malformed.add(&self.statistics.malformed);
    }

    pub(super) fn pop(&mut self, at_end: bool) -> Option<Event<'static>> {
        self.reorder.pop(at_end)
    }

    /// Returns a time for an event that has none: that of its arrival, where it arrived while it was recorded.
    pub(in super::super) fn tick(&mut self) -> u64 {
        self.clock_ns = match self.arrived_ns {
            Some(arrived_ns) => self.clock_ns.max(arrived_ns),
            None => self.clock_ns + UNKNOWN_STEP_NS,
        };
        self.clock_ns
    }

    /// Returns a number for a stream, different from all others.
    pub(in super::super) const fn new_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Takes an event. Those of one stream come in their order.
    pub(in super::super) fn push(&mut self, time_ns: u64, stream: u64, kind: EventKind<'static>) {
        self.clock_ns = self.clock_ns.max(time_ns);
        self.reorder.push(Event {
            time_ns,
            stream,
            kind,
        });
    }

    /// Makes what opens a stream, with its cluster and its session as far as they are known.
    pub(in super::super) fn open(&self, headers: &Headers<'_>, opening: Opening) -> Open<'static> {
        let owned = |text: Option<String>| text.map(Into::into);
        let mut open = Open {
            connection: opening
                .connection
                .or_else(|| opening.source.as_deref().and_then(connection_number)),
            source: owned(opening.source),
            destination: owned(opening.destination),
            protocol: owned(opening.protocol),
            cluster: owned(
                opening
                    .cluster
                    .or_else(|| self.cluster(headers, opening.upstream.as_deref())),
            ),
            route: owned(opening.route),
            session: None,
        };
        open.session = owned(self.session.of(&open, headers));
        open
    }

    fn cluster(&self, headers: &Headers<'_>, upstream: Option<&str>) -> Option<String> {
        let path = headers.value(":path").unwrap_or_default();
        self.rules
            .iter()
            .find(|rule| path.starts_with(rule.prefix.as_bytes()))
            .map(|rule| rule.name.clone())
            .or_else(|| self.cluster_of.get(upstream?)?.clone())
    }
}

/// Finds out which cluster an endpoint stands for.
fn clusters_by_endpoint(clusters: &[Cluster]) -> HashMap<String, Option<String>> {
    let mut cluster_of = HashMap::new();
    for cluster in clusters {
        for endpoint in &cluster.endpoints {
            cluster_of
                .entry(endpoint.clone())
                .and_modify(|known: &mut Option<String>| {
                    if known.as_ref() != Some(&cluster.name) {
                        *known = None;
                    }
                })
                .or_insert_with(|| Some(cluster.name.clone()));
        }
    }
    cluster_of
}

/// Says how a stream ended, from the access log where there is one.
pub(in super::super) fn close(log: &LogEntry, is_whole: bool) -> Close<'static> {
    let has_flag = |flag: &str| {
        log.flags
            .as_deref()
            .is_some_and(|flags| flags.split(',').any(|one| one == flag))
    };
    let details = log.details.as_deref().unwrap_or_default();
    let reason = if has_flag("DC") {
        CloseReason::ClientReset
    } else if details.starts_with("upstream_reset_after_response_started") {
        CloseReason::UpstreamReset
    } else if is_whole {
        CloseReason::Complete
    } else {
        CloseReason::ClientReset
    };
    Close {
        details: log.details.clone().map(Into::into),
        flags: log.flags.clone().map(Into::into),
        reason,
        ..Close::default()
    }
}

/// Makes a number of a client's address and port, which tell its connections apart. Without a table, so that a
/// long recording costs no memory: IPv4 and port are the number, of IPv6 it is a hash.
fn connection_number(address: &str) -> Option<u64> {
    let address: std::net::SocketAddr = address.parse().ok()?;
    Some(match address.ip() {
        std::net::IpAddr::V4(ip) => u64::from(ip.to_bits()) << 16 | u64::from(address.port()),
        std::net::IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            let [high, low] = [bits >> 64, bits & u128::from(u64::MAX)]
                .map(|half| u64::try_from(half).unwrap_or(0));
            mixed_number(high, low ^ u64::from(address.port()))
        }
    })
}

/// Makes a number for a connection of two that name it: below 2⁵³, the largest whole number that every JSON reader keeps,
/// and with bit 51 set, which no number of an IPv4 address and port has.
pub(in super::super) const fn mixed_number(high: u64, low: u64) -> u64 {
    let mixed = crate::replay::mix(high ^ crate::replay::mix(low));
    mixed >> 12 | 1 << 51
}
