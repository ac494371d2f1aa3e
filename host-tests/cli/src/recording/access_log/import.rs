//! Makes events of an access log that is all there is: requests and answers without bodies.
//!
//! Limits: headers that aren't logged don't exist here, bodies neither; their sizes are kept where the line has them. A line is
//! written when its stream ends: what began long before it is put in order as far as the reorder window reaches.

use super::super::entries::Entries;
use super::super::error::RecordingError;
use super::super::event::{CloseReason, EventKind, Field, Headers, Upstream};
use super::super::import::{Context, Converter, Opening, close};
use super::super::scan::Recovery;
use super::{FieldMap, LogEntry, LogMessages};

/// Access logs that are read alone.
#[derive(Debug)]
pub(in super::super) struct LogLines {
    fields: FieldMap,
    layout: Layout,
}

/// How the objects of a log are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// The first one tells.
    Unknown,
    /// One on each line, as Envoy writes them: found much faster.
    Lines,
    /// In some other way.
    Objects,
}

impl LogLines {
    pub(in super::super) const fn new(fields: FieldMap) -> Self {
        Self {
            fields,
            layout: Layout::Unknown,
        }
    }

    fn events(&self, entry: LogEntry, messages: LogMessages, context: &mut Context) {
        if messages.method.is_none() && messages.path.is_none() {
            context.statistics.skip("lines without method and path");
            return;
        }
        let stream = context.new_id();
        let is_upgraded = messages.status == Some(101);
        let headers = Headers {
            fields: self.request_fields(&entry, &messages),
            // Nothing of an upgraded stream was kept, and still it didn't end here.
            end_stream: !is_upgraded,
            ..Headers::default()
        };
        let open = context.open(
            &headers,
            Opening {
                connection: entry.connection,
                source: entry.source.clone(),
                destination: entry.destination.clone(),
                protocol: entry.protocol.clone(),
                cluster: entry.cluster.clone(),
                route: entry.route.clone(),
                upstream: entry.upstream.clone(),
            },
        );
        let begun_ns = entry.start_ns.unwrap_or_else(|| context.tick());
        let ended_ns = entry.end_ns().unwrap_or(begun_ns).max(begun_ns);
        let answered_ns = entry
            .answered_ns()
            .unwrap_or(ended_ns)
            .clamp(begun_ns, ended_ns);
        context.push(begun_ns, stream, EventKind::Open(Box::new(open)));
        context.push(begun_ns, stream, EventKind::RequestHeaders(headers));
        if let Some(address) = entry.upstream.clone() {
            let upstream = Upstream {
                address: address.into(),
                attempts: entry.attempts,
            };
            context.push(answered_ns, stream, EventKind::Upstream(upstream));
        }
        // Envoy writes 0 where there was no answer.
        let status = messages.status.filter(|status| *status != 0);
        let mut close = close(&entry, status.is_some());
        if let Some(status) = status {
            let headers = Headers {
                fields: self.response_fields(status, &messages),
                end_stream: !is_upgraded && close.reason == CloseReason::Complete,
                details: entry.local_reply().map(|details| details.to_owned().into()),
            };
            context.push(answered_ns, stream, EventKind::ResponseHeaders(headers));
        }
        close.request_bytes = messages.bytes_received;
        close.response_bytes = messages.bytes_sent;
        context.push(ended_ns, stream, EventKind::Close(close));
    }

    fn request_fields(&self, entry: &LogEntry, messages: &LogMessages) -> Vec<Field<'static>> {
        let known = [
            (":authority", &messages.authority),
            (":path", &messages.path),
            (":method", &messages.method),
            (":scheme", &messages.scheme),
            ("x-request-id", &entry.request_id),
        ];
        let known = known.into_iter().filter_map(|(name, value)| {
            let value = value.clone()?.into_bytes();
            Some((name.as_bytes().into(), value.into()))
        });
        known
            .chain(named(
                &self.fields.request_headers,
                &messages.request_headers,
            ))
            .collect()
    }

    fn response_fields(&self, status: u64, messages: &LogMessages) -> Vec<Field<'static>> {
        let status = (
            b":status".as_slice().into(),
            status.to_string().into_bytes().into(),
        );
        std::iter::once(status)
            .chain(named(
                &self.fields.response_headers,
                &messages.response_headers,
            ))
            .collect()
    }
}

impl Converter for LogLines {
    fn source(&self) -> &'static str {
        "envoy-access-log"
    }

    fn recovery(&self) -> Recovery {
        match self.layout {
            Layout::Lines => Recovery::Line,
            Layout::Objects | Layout::Unknown => Recovery::LineStart,
        }
    }

    fn cut(&mut self, entries: &mut Entries) -> Result<bool, RecordingError> {
        match self.layout {
            Layout::Lines => entries.next_line(),
            Layout::Objects => entries.next_object(),
            Layout::Unknown => {
                let found = entries.next_object()?;
                self.layout = if memchr::memchr(b'\n', entries.entry()).is_some() {
                    Layout::Objects
                } else {
                    Layout::Lines
                };
                Ok(found)
            }
        }
    }

    fn convert(&mut self, entries: &Entries, context: &mut Context) -> Result<(), RecordingError> {
        let (entry, messages) = self.fields.read(entries)?;
        self.events(entry, messages, context);
        Ok(())
    }

    fn end_file(&mut self, _context: &mut Context) {
        self.layout = Layout::Unknown;
    }
}

fn named<'a>(
    names: &'a [String],
    values: &'a [(usize, String)],
) -> impl Iterator<Item = Field<'static>> + 'a {
    values.iter().filter_map(|(place, value)| {
        let name = names.get(*place)?.clone().into_bytes();
        Some((name.into(), value.clone().into_bytes().into()))
    })
}
