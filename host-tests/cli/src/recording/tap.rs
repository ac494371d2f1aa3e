//! Reads what Envoy's tap filter wrote: `envoy.data.tap.v3` as JSON, buffered and streamed.
//!
//! Inputs: one object per trace or segment, in any layout; a file per stream, or many in one file.
//! Limits: a tap holds no cluster, route or protocol, and a streamed one no time and no address either. What is
//! missing comes from an access log where one is given, else it stays unknown; an unknown time is a millisecond after
//! the one before. `FORMAT.md` beside the recordings lists the mapping field by field.

mod buffered;
mod streamed;
mod wire;

use self::streamed::Streamed;
use self::wire::{Beginning, Wrapper};
use super::access_log::{AccessLog, LogEntry};
use super::entries::Entries;
use super::error::{RecordingError, RecordingProblem};
use super::event::Headers;
use super::import::{Context, Converter, Opening};
use super::scan::Recovery;

/// The keys that an object of a tap begins with.
const FIRST_KEYS: &[&str] = &[
    "http_buffered_trace",
    "http_streamed_trace_segment",
    "socket_buffered_trace",
    "socket_streamed_trace_segment",
    "httpBufferedTrace",
    "httpStreamedTraceSegment",
    "socketBufferedTrace",
    "socketStreamedTraceSegment",
];

/// What is known of the taps while they are read.
#[derive(Debug)]
pub(super) struct Tap {
    streamed: Streamed,
    log: AccessLog,
    has_buffered: bool,
    has_streamed: bool,
}

impl Tap {
    pub(super) fn new(log: AccessLog) -> Self {
        Self {
            streamed: Streamed::default(),
            log,
            has_buffered: false,
            has_streamed: false,
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
}

impl Converter for Tap {
    fn source(&self) -> &'static str {
        match (self.has_buffered, self.has_streamed) {
            (true, false) => "envoy-tap-buffered",
            (false, true) => "envoy-tap-streamed",
            _ => "envoy-tap",
        }
    }

    fn recovery(&self) -> Recovery {
        Recovery::Object(FIRST_KEYS)
    }

    fn cut(&mut self, entries: &mut Entries) -> Result<bool, RecordingError> {
        entries.next_object()
    }

    fn convert(&mut self, entries: &Entries, context: &mut Context) -> Result<(), RecordingError> {
        let wrapper = serde_json::from_slice::<Wrapper<'_>>(entries.entry()).map_err(|error| {
            RecordingError::of_json::<Wrapper<'_>>(
                entries.name(),
                entries.entry(),
                entries.start(),
                &error,
            )
        })?;
        context.arrived_ns = wrapper.arrived_ns;
        if let Some(trace) = wrapper.http_buffered_trace {
            self.has_buffered = true;
            buffered::convert(trace, &mut self.log, context);
        } else if let Some(segment) = wrapper.http_streamed_trace_segment {
            self.has_streamed = true;
            self.streamed.convert(segment, &mut self.log, context);
        } else if wrapper.socket_buffered_trace.is_some()
            || wrapper.socket_streamed_trace_segment.is_some()
        {
            context.statistics.skip("traces of sockets");
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

    fn end_file(&mut self, context: &mut Context) {
        self.streamed.close_all(context);
    }
}

/// Takes what the access log knows of a request.
fn log_entry(log: &mut AccessLog, headers: &Headers<'_>, context: &mut Context) -> LogEntry {
    if !log.was_read() {
        return LogEntry::default();
    }
    let entry = headers.value("x-request-id").and_then(|id| log.take(id));
    entry.unwrap_or_else(|| {
        context.statistics.without_log_entry += 1;
        LogEntry::default()
    })
}

/// Returns what opens a stream: what the trace has, else what the log has. The log's number of the connection wins.
fn opening(log: &LogEntry, source: Option<String>, destination: Option<String>) -> Opening {
    Opening {
        connection: log.connection,
        source: source.or_else(|| log.source.clone()),
        destination: destination.or_else(|| log.destination.clone()),
        protocol: log.protocol.clone(),
        cluster: log.cluster.clone(),
        upstream: log.upstream.clone(),
        route: log.route.clone(),
    }
}

/// Reads a time as protobuf's JSON writes it.
fn parse_time(text: &str) -> Option<u64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}
