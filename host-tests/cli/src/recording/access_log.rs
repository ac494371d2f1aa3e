//! Envoy's access log as JSON: what it knows of a stream, joined to a tap or as a recording of its own.
//!
//! Why: a tap has no cluster, protocol or details, and a streamed one no time. The log has one line per stream, written at
//! its end; the two are joined by `x-request-id`, which Envoy makes unique. Where nobody taps, the log is all there is.
//! Limits: a log that is joined is in memory while the taps are read, some 500 bytes per line; one that is read alone is not.

mod fields;
mod import;
mod line;
mod time;

use std::collections::{HashMap, VecDeque};
use std::path::Path;

pub(super) use self::fields::FieldMap;
pub(super) use self::import::LogLines;
use super::entries::Entries;
use super::error::RecordingError;
use super::malformed::Malformed;
use super::scan::Recovery;

/// The lines of access logs, by the identity of the request.
#[derive(Debug, Default)]
pub(super) struct AccessLog {
    by_request: HashMap<Vec<u8>, VecDeque<LogEntry>>,
    was_read: bool,
}

/// What a line says of the stream and of how the proxy served it.
#[derive(Debug, Default, Clone)]
pub(super) struct LogEntry {
    request_id: Option<String>,
    pub(super) start_ns: Option<u64>,
    duration_ms: Option<u64>,
    response_duration_ms: Option<u64>,
    upstream_service_ms: Option<u64>,
    pub(super) connection: Option<u64>,
    pub(super) source: Option<String>,
    pub(super) destination: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) route: Option<String>,
    pub(super) upstream: Option<String>,
    pub(super) attempts: Option<u64>,
    pub(super) flags: Option<String>,
    pub(super) details: Option<String>,
}

/// What a line says of the messages. A tap knows better.
#[derive(Debug, Default)]
struct LogMessages {
    method: Option<String>,
    authority: Option<String>,
    path: Option<String>,
    scheme: Option<String>,
    status: Option<u64>,
    bytes_received: Option<u64>,
    bytes_sent: Option<u64>,
    /// Place in the field map's list of headers, and value.
    request_headers: Vec<(usize, String)>,
    response_headers: Vec<(usize, String)>,
}

impl LogEntry {
    /// Returns the details if they say that the proxy made the response itself, and not only how it ended.
    pub(super) fn local_reply(&self) -> Option<&str> {
        const OF_AN_UPSTREAM: [&str; 4] = [
            "via_upstream",
            "upstream_reset_after_response_started",
            "downstream_",
            "max_duration_timeout",
        ];
        self.details.as_deref().filter(|details| {
            !OF_AN_UPSTREAM
                .iter()
                .any(|start| details.starts_with(start))
        })
    }

    /// Returns when the response began, to the millisecond.
    pub(super) fn answered_ns(&self) -> Option<u64> {
        let after_ms = self.response_duration_ms.or(self.upstream_service_ms)?;
        self.after_ms(after_ms)
    }

    /// Returns when the stream ended, to the millisecond.
    pub(super) fn end_ns(&self) -> Option<u64> {
        self.after_ms(self.duration_ms?)
    }

    fn after_ms(&self, milliseconds: u64) -> Option<u64> {
        Some(
            self.start_ns?
                .saturating_add(milliseconds.saturating_mul(1_000_000)),
        )
    }
}

impl AccessLog {
    /// Reads a log, one JSON object per stream, and adds it. What is malformed goes to `malformed` where there is one, and
    /// is passed over.
    pub(super) fn read(
        &mut self,
        path: &Path,
        limit: usize,
        fields: &FieldMap,
        mut malformed: Option<&mut Malformed>,
    ) -> Result<(), RecordingError> {
        self.was_read = true;
        let mut entries = Entries::open(path, limit)?;
        loop {
            let read = match entries.next_object() {
                Ok(false) => return Ok(()),
                Ok(true) => fields.read(&entries).map(|(entry, _)| entry),
                Err(error) => Err(error),
            };
            match (read, &mut malformed) {
                (Ok(entry), _) => self.add(entry),
                (Err(error), Some(malformed)) if error.is_recoverable() => {
                    malformed.note(&error);
                    if !entries.recover(Recovery::LineStart, error.is_syntax())? {
                        return Ok(());
                    }
                }
                (Err(error), _) => return Err(error),
            }
        }
    }

    fn add(&mut self, entry: LogEntry) {
        if let Some(id) = entry.request_id.clone() {
            self.by_request
                .entry(id.into_bytes())
                .or_default()
                .push_back(entry);
        }
    }

    /// Says whether there is a log at all.
    pub(super) const fn was_read(&self) -> bool {
        self.was_read
    }

    /// Looks at the line of a request.
    pub(super) fn find(&self, request_id: &[u8]) -> Option<&LogEntry> {
        self.by_request.get(request_id)?.front()
    }

    /// Takes the line of a request; of several with the same identity, the one that was logged first.
    pub(super) fn take(&mut self, request_id: &[u8]) -> Option<LogEntry> {
        let entries = self.by_request.get_mut(request_id)?;
        let entry = entries.pop_front();
        if entries.is_empty() {
            self.by_request.remove(request_id);
        }
        entry
    }
}
