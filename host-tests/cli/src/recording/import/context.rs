//! What converters need while they make events.

use super::super::access_log::LogEntry;
use super::super::event::{Close, CloseReason, Event, EventKind, Headers, Open};
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
    rules: Vec<ClusterRule>,
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
}

impl Context {
    pub(super) fn new(options: &ReadOptions) -> Self {
        Self {
            reorder: Reorder::new(options.reorder_window_ns),
            statistics: Statistics::default(),
            rules: options.clusters.clone(),
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

    /// Returns a time for an event that has none.
    pub(in super::super) const fn tick(&mut self) -> u64 {
        self.clock_ns += UNKNOWN_STEP_NS;
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
            cluster: owned(opening.cluster.or_else(|| self.cluster(headers))),
            route: owned(opening.route),
            session: None,
        };
        open.session = owned(self.session.of(&open, headers));
        open
    }

    fn cluster(&self, headers: &Headers<'_>) -> Option<String> {
        let path = headers.value(":path").unwrap_or_default();
        self.rules
            .iter()
            .find(|rule| path.starts_with(rule.prefix.as_bytes()))
            .map(|rule| rule.name.clone())
    }
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
