//! Reads what Envoy's tap filter wrote: `envoy.data.tap.v3` as JSON, buffered and streamed.
//!
//! Inputs: one object per trace or segment, in any layout; a file per stream, or many in one file.
//! Limits: a tap holds no cluster, route or protocol, and a streamed one no time and no address either. What is
//! missing comes from an access log where one is given, else it stays unknown; an unknown time is a millisecond after
//! the one before. `FORMAT.md` beside the recordings lists the mapping field by field.

mod buffered;
mod streamed;
mod wire;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;

use self::streamed::Streamed;
use self::wire::{Beginning, Wrapper};
use super::access_log::{AccessLog, LogEntry};
use super::entries::Entries;
use super::error::{RecordingError, RecordingProblem};
use super::event::{Close, CloseReason, Event, EventKind, Headers, Open};
use super::reader::{ClusterRule, ReadOptions, Statistics};
use super::reorder::Reorder;
use super::session::SessionKey;

/// The time of the first event where nothing says when it was: a round number that is clearly made up.
const UNKNOWN_START_NS: u64 = 1_700_000_000_000_000_000;
/// How far apart events are put whose time isn't known.
const UNKNOWN_STEP_NS: u64 = 1_000_000;

/// A file of traces that is still to be read.
#[derive(Debug)]
pub(super) enum TapFile {
    /// It is opened when its turn comes: there may be more files than may be open.
    Closed(PathBuf),
    /// It was opened to look at its first entry, and can't be opened twice.
    Open(Entries),
}

/// All taps of a recording.
#[derive(Debug)]
pub(super) struct Tap {
    files: VecDeque<TapFile>,
    entries: Option<Entries>,
    max_entry_bytes: usize,
    context: Context,
    streamed: Streamed,
    /// Numbers that open streams were given when they came out in the order of time.
    numbers: HashMap<u64, u64>,
    last_number: u64,
    used: Used,
}

/// What the traces need while they become events.
#[derive(Debug)]
struct Context {
    reorder: Reorder,
    log: AccessLog,
    rules: Vec<ClusterRule>,
    session: SessionKey,
    clock_ns: u64,
    next_id: u64,
    statistics: Statistics,
}

#[derive(Debug, Default)]
struct Used {
    bytes: u64,
    peak: usize,
    buffered: bool,
    streamed: bool,
}

impl Tap {
    /// Makes a source of these files, in the order in which they begin.
    pub(super) fn new(files: VecDeque<TapFile>, log: AccessLog, options: &ReadOptions) -> Self {
        Self {
            files,
            entries: None,
            max_entry_bytes: options.max_entry_bytes,
            context: Context {
                reorder: Reorder::new(options.reorder_window_ns),
                log,
                rules: options.clusters.clone(),
                session: options.session.clone(),
                clock_ns: UNKNOWN_START_NS - UNKNOWN_STEP_NS,
                next_id: 1,
                statistics: Statistics::default(),
            },
            streamed: Streamed::default(),
            numbers: HashMap::new(),
            last_number: 0,
            used: Used::default(),
        }
    }

    /// Says when the first stream of a file began, from its first entry.
    pub(super) fn beginning(entry: &[u8], log: &AccessLog) -> Option<u64> {
        let (time, request_id) = Beginning::of(entry);
        time.or_else(|| {
            log.find(request_id.as_deref()?)
                .and_then(|entry| entry.start_ns)
        })
    }

    /// Adds what was counted so far to `statistics`.
    pub(super) fn add_to(&self, statistics: &mut Statistics) {
        let entries = self.entries.as_ref();
        statistics.bytes += self.used.bytes + entries.map_or(0, Entries::bytes);
        let peak = self.used.peak.max(entries.map_or(0, Entries::peak_bytes));
        statistics.peak_buffered_bytes += peak + self.context.reorder.peak_bytes();
        statistics.late_events += self.context.reorder.late();
        statistics.open_streams += self.numbers.len();
        for (what, count) in &self.context.statistics.skipped {
            *statistics.skipped.entry(what).or_default() += count;
        }
        statistics.without_log_entry += self.context.statistics.without_log_entry;
    }

    /// Returns the name of the source, as far as the files that were read show it.
    pub(super) const fn source(&self) -> &'static str {
        match (self.used.buffered, self.used.streamed) {
            (true, false) => "envoy-tap-buffered",
            (false, true) => "envoy-tap-streamed",
            _ => "envoy-tap",
        }
    }

    /// Returns the next event in the order of time; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Event<'static>>, RecordingError> {
        loop {
            let at_end = self.entries.is_none() && self.files.is_empty();
            if let Some(event) = self.context.reorder.pop(at_end) {
                return Ok(Some(self.number(event)));
            }
            if at_end {
                return Ok(None);
            }
            self.read()?;
        }
    }

    /// Reads one entry, or goes to the next file.
    fn read(&mut self) -> Result<(), RecordingError> {
        let Some(entries) = &mut self.entries else {
            self.entries = match self.files.pop_front() {
                Some(TapFile::Open(entries)) => Some(entries),
                Some(TapFile::Closed(path)) => Some(Entries::open(&path, self.max_entry_bytes)?),
                None => None,
            };
            return Ok(());
        };
        if !entries.next_object()? {
            self.used.bytes += entries.bytes();
            self.used.peak = self.used.peak.max(entries.peak_bytes());
            self.entries = None;
            self.streamed.close_all(&mut self.context);
            return Ok(());
        }
        let wrapper = serde_json::from_slice::<Wrapper<'_>>(entries.entry()).map_err(|error| {
            RecordingError::of_json::<Wrapper<'_>>(
                entries.name(),
                entries.entry(),
                entries.start(),
                &error,
            )
        })?;
        if let Some(trace) = wrapper.http_buffered_trace {
            self.used.buffered = true;
            buffered::convert(trace, &mut self.context);
        } else if let Some(segment) = wrapper.http_streamed_trace_segment {
            self.used.streamed = true;
            self.streamed.convert(segment, &mut self.context);
        } else if wrapper.socket_buffered_trace.is_some()
            || wrapper.socket_streamed_trace_segment.is_some()
        {
            self.context.statistics.skip("traces of sockets");
        } else {
            let message =
                "expected `http_buffered_trace` or `http_streamed_trace_segment`".to_owned();
            let problem = RecordingProblem::Shape {
                path: "$".to_owned(),
                message,
            };
            return Err(RecordingError::of_entry(
                entries.name(),
                entries.entry(),
                entries.start(),
                (1, 1),
                problem,
            ));
        }
        Ok(())
    }

    /// Numbers the streams from 1 in the order in which they open.
    fn number(&mut self, mut event: Event<'static>) -> Event<'static> {
        let id = event.stream;
        event.stream = match event.kind {
            EventKind::Open(_) => {
                self.last_number += 1;
                self.numbers.insert(id, self.last_number);
                self.last_number
            }
            EventKind::Close(_) => self.numbers.remove(&id).unwrap_or(id),
            _ => self.numbers.get(&id).copied().unwrap_or(id),
        };
        event
    }
}

impl Context {
    /// Returns a time for an event that has none.
    const fn tick(&mut self) -> u64 {
        self.clock_ns += UNKNOWN_STEP_NS;
        self.clock_ns
    }

    const fn new_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn push(&mut self, time_ns: u64, stream: u64, kind: EventKind<'static>) {
        self.clock_ns = self.clock_ns.max(time_ns);
        self.reorder.push(Event {
            time_ns,
            stream,
            kind,
        });
    }

    /// Takes what the access log knows of a request.
    fn log_entry(&mut self, headers: &Headers<'_>) -> LogEntry {
        if !self.log.was_read() {
            return LogEntry::default();
        }
        let entry = headers
            .value("x-request-id")
            .and_then(|id| self.log.take(id));
        entry.unwrap_or_else(|| {
            self.statistics.without_log_entry += 1;
            LogEntry::default()
        })
    }

    fn cluster(&self, headers: &Headers<'_>) -> Option<String> {
        let path = headers.value(":path").unwrap_or_default();
        self.rules
            .iter()
            .find(|rule| path.starts_with(rule.prefix.as_bytes()))
            .map(|rule| rule.name.clone())
    }

    fn open(
        &self,
        headers: &Headers<'_>,
        log: &LogEntry,
        source: Option<String>,
        destination: Option<String>,
    ) -> Open<'static> {
        let source = source.or_else(|| log.source.clone());
        let owned = |text: Option<String>| text.map(Into::into);
        let mut open = Open {
            connection: log
                .connection
                .or_else(|| source.as_deref().and_then(connection_number)),
            source: owned(source),
            destination: owned(destination.or_else(|| log.destination.clone())),
            protocol: owned(log.protocol.clone()),
            cluster: owned(log.cluster.clone().or_else(|| self.cluster(headers))),
            route: owned(log.route.clone()),
            session: None,
        };
        open.session = owned(self.session.of(&open, headers));
        open
    }
}

/// Says how a stream ended, from the access log where there is one.
fn close(log: &LogEntry, is_whole: bool) -> Close<'static> {
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
            // 2⁵³ is the largest whole number that every JSON reader keeps; bit 52 keeps them apart from IPv4.
            let mixed =
                crate::replay::mix(high ^ crate::replay::mix(low ^ u64::from(address.port())));
            mixed >> 12 | 1 << 51
        }
    })
}

/// Reads a time as protobuf's JSON and Envoy's access log write it.
pub(super) fn parse_time(text: &str) -> Option<u64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}
