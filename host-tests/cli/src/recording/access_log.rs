//! What Envoy's access log knows of a stream and a tap doesn't.
//!
//! Why: a tap has no cluster, protocol or details, and a streamed one no time. The log has one line per stream, written at
//! its end; the two are joined by `x-request-id`, which Envoy makes unique.
//! Limits: the whole log is in memory while the taps are read, some 300 bytes per line.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::entries::Entries;
use super::error::RecordingError;

/// The lines of access logs, by the identity of the request.
#[derive(Debug, Default)]
pub(super) struct AccessLog {
    by_request: HashMap<Vec<u8>, VecDeque<LogEntry>>,
    was_read: bool,
}

/// What a line says; the fields that are read have the names of Envoy's operators in lower case.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(expecting = "a line of an access log, an object")]
pub(super) struct LogEntry {
    #[serde(default, alias = "x_request_id", alias = "x-request-id")]
    request_id: Option<String>,
    #[serde(default, rename = "start_time", deserialize_with = "time")]
    pub(super) start_ns: Option<u64>,
    #[serde(default, alias = "duration", deserialize_with = "number")]
    duration_ms: Option<u64>,
    #[serde(default, alias = "response_duration", deserialize_with = "number")]
    response_duration_ms: Option<u64>,
    #[serde(
        default,
        alias = "downstream_connection_id",
        rename = "connection_id",
        deserialize_with = "number"
    )]
    pub(super) connection: Option<u64>,
    #[serde(
        default,
        rename = "downstream_remote_address",
        deserialize_with = "text"
    )]
    pub(super) source: Option<String>,
    #[serde(
        default,
        rename = "downstream_local_address",
        deserialize_with = "text"
    )]
    pub(super) destination: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) protocol: Option<String>,
    #[serde(default, rename = "upstream_cluster", deserialize_with = "text")]
    pub(super) cluster: Option<String>,
    #[serde(default, rename = "route_name", deserialize_with = "text")]
    pub(super) route: Option<String>,
    #[serde(
        default,
        alias = "upstream_remote_address",
        rename = "upstream_host",
        deserialize_with = "text"
    )]
    pub(super) upstream: Option<String>,
    #[serde(
        default,
        alias = "attempts",
        rename = "upstream_request_attempt_count",
        deserialize_with = "number"
    )]
    pub(super) attempts: Option<u64>,
    #[serde(default, rename = "response_flags", deserialize_with = "text")]
    pub(super) flags: Option<String>,
    #[serde(default, rename = "response_code_details", deserialize_with = "text")]
    pub(super) details: Option<String>,
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
        Some(
            self.start_ns?
                .saturating_add(self.response_duration_ms?.saturating_mul(1_000_000)),
        )
    }

    /// Returns when the stream ended, to the millisecond.
    pub(super) fn end_ns(&self) -> Option<u64> {
        Some(
            self.start_ns?
                .saturating_add(self.duration_ms?.saturating_mul(1_000_000)),
        )
    }
}

impl AccessLog {
    /// Reads a log, one JSON object per stream, and adds it.
    pub(super) fn read(&mut self, path: &Path, limit: usize) -> Result<(), RecordingError> {
        self.was_read = true;
        let mut entries = Entries::open(path, limit)?;
        while entries.next_object()? {
            let entry: LogEntry = serde_json::from_slice(entries.entry()).map_err(|error| {
                RecordingError::of_json::<LogEntry>(
                    entries.name(),
                    entries.entry(),
                    entries.start(),
                    &error,
                )
            })?;
            if let Some(id) = entry.request_id.clone() {
                self.by_request
                    .entry(id.into_bytes())
                    .or_default()
                    .push_back(entry);
            }
        }
        Ok(())
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

/// Envoy writes `-` or `null` for what it doesn't know.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| text != "-" && !text.is_empty()))
}

/// A number, or one in a string.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    struct NumberVisitor;
    impl<'de> de::Visitor<'de> for NumberVisitor {
        type Value = Option<u64>;
        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a whole number")
        }
        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
            Ok(Some(number))
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            if text == "-" {
                return Ok(None);
            }
            text.parse()
                .map(Some)
                .map_err(|_error| E::invalid_value(de::Unexpected::Str(text), &self))
        }
        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_some<D: Deserializer<'de>>(
            self,
            deserializer: D,
        ) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_any(self)
        }
    }
    deserializer.deserialize_option(NumberVisitor)
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(text) = text(deserializer)? else {
        return Ok(None);
    };
    super::tap::parse_time(&text).map(Some).ok_or_else(|| {
        de::Error::invalid_value(
            de::Unexpected::Str(&text),
            &"a time as `2026-11-23T22:29:16.728996Z`",
        )
    })
}
