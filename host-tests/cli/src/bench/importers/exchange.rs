//! The exchanges of the committed recording, one by one.

use std::collections::BTreeMap;
use std::path::Path;

use crate::recording::{Event, EventKind, ReadOptions, RecordingReader};

/// An exchange: its events, and what is looked up in them.
#[derive(Debug, Clone, Default)]
pub(super) struct Exchange {
    /// In the order of time, as they are in the recording.
    pub(super) events: Vec<Event<'static>>,
    pub(super) request: Vec<(String, String)>,
    pub(super) request_body: Vec<u8>,
    pub(super) response: Vec<(String, String)>,
    pub(super) response_body: Vec<u8>,
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) connection: u64,
    pub(super) upstream: String,
    /// From the beginning to the answer and to the end, in nanoseconds.
    pub(super) answered_ns: u64,
    pub(super) ended_ns: u64,
}

impl Exchange {
    /// Reads a folder with a buffered tap and its access log.
    pub(super) fn load(folder: &Path) -> anyhow::Result<Vec<Self>> {
        let options = ReadOptions {
            access_logs: vec![folder.join("access-log.jsonl")],
            ..ReadOptions::default()
        };
        let mut reader = RecordingReader::open(&[folder.join("tap-buffered.json")], &options)?;
        let mut streams: BTreeMap<u64, Vec<Event<'static>>> = BTreeMap::new();
        while let Some(event) = reader.next()? {
            streams
                .entry(event.stream)
                .or_default()
                .push(event.into_owned());
        }
        Ok(streams.into_values().map(Self::of).collect())
    }

    fn of(events: Vec<Event<'static>>) -> Self {
        let mut exchange = Self::default();
        let begun_ns = events.first().map_or(0, |event| event.time_ns);
        for event in &events {
            let after_ns = event.time_ns - begun_ns;
            exchange.ended_ns = after_ns;
            match &event.kind {
                EventKind::Open(open) => {
                    let text = |text: &Option<std::borrow::Cow<'static, str>>| {
                        text.as_deref().unwrap_or_default().to_owned()
                    };
                    exchange.source = text(&open.source);
                    exchange.destination = text(&open.destination);
                    exchange.connection = open.connection.unwrap_or_default();
                }
                EventKind::RequestHeaders(headers) => exchange.request = texts(&headers.fields),
                EventKind::RequestBody(body) => exchange.request_body.extend(body.bytes.iter()),
                EventKind::Upstream(upstream) => exchange.upstream = upstream.address.to_string(),
                EventKind::ResponseHeaders(headers) => {
                    exchange.response = texts(&headers.fields);
                    exchange.answered_ns = after_ns;
                }
                EventKind::ResponseBody(body) => exchange.response_body.extend(body.bytes.iter()),
                EventKind::RequestTrailers(_)
                | EventKind::ResponseTrailers(_)
                | EventKind::Close(_) => {}
            }
        }
        exchange.events = events;
        exchange
    }

    pub(super) fn requested(&self, name: &str) -> &str {
        value(&self.request, name)
    }

    /// Returns the status; 0 where there was no answer.
    pub(super) fn status(&self) -> u16 {
        value(&self.response, ":status").parse().unwrap_or_default()
    }
}

fn value<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    fields
        .iter()
        .find(|(other, _)| other == name)
        .map_or("", |(_, value)| value)
}

fn texts(fields: &[crate::recording::Field<'static>]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields
        .iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}
