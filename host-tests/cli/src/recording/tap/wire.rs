//! The JSON of Envoy's `envoy.data.tap.v3.TraceWrapper`.
//!
//! Fields that aren't known are skipped: a newer Envoy may write more. Both spellings of protobuf's JSON are read.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, Visitor};

use super::super::event::{Body, Field};
use super::super::text::{Base64, Lenient, Text};

#[derive(Debug, serde::Deserialize)]
#[serde(expecting = "a trace, an object")]
pub(super) struct Wrapper<'a> {
    #[serde(borrow, alias = "httpBufferedTrace")]
    pub(super) http_buffered_trace: Option<Buffered<'a>>,
    #[serde(borrow, alias = "httpStreamedTraceSegment")]
    pub(super) http_streamed_trace_segment: Option<Segment<'a>>,
    /// When it arrived from a running Envoy, in nanoseconds since the Unix epoch: not Envoy's, added on arrival.
    pub(super) arrived_ns: Option<u64>,
    #[serde(alias = "socketBufferedTrace")]
    pub(super) socket_buffered_trace: Option<IgnoredAny>,
    #[serde(alias = "socketStreamedTraceSegment")]
    pub(super) socket_streamed_trace_segment: Option<IgnoredAny>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(expecting = "a buffered trace, an object")]
pub(super) struct Buffered<'a> {
    #[serde(borrow)]
    pub(super) request: Option<Message<'a>>,
    #[serde(borrow)]
    pub(super) response: Option<Message<'a>>,
    #[serde(borrow, alias = "downstreamConnection")]
    pub(super) downstream_connection: Option<Connection<'a>>,
    #[serde(borrow, alias = "upstreamConnection")]
    pub(super) upstream_connection: Option<Connection<'a>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(expecting = "a message, an object")]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub(super) headers: Vec<HeaderValue<'a>>,
    #[serde(borrow)]
    pub(super) body: Option<RawBody<'a>>,
    #[serde(borrow, default)]
    pub(super) trailers: Vec<HeaderValue<'a>>,
    #[serde(alias = "headersReceivedTime")]
    pub(super) headers_received_time: Option<Time>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(expecting = "a segment, an object")]
pub(super) struct Segment<'a> {
    #[serde(alias = "traceId")]
    pub(super) trace_id: TraceId,
    #[serde(borrow, alias = "requestHeaders")]
    pub(super) request_headers: Option<HeaderList<'a>>,
    #[serde(borrow, alias = "requestBodyChunk")]
    pub(super) request_body_chunk: Option<RawBody<'a>>,
    #[serde(borrow, alias = "requestTrailers")]
    pub(super) request_trailers: Option<HeaderList<'a>>,
    #[serde(borrow, alias = "responseHeaders")]
    pub(super) response_headers: Option<HeaderList<'a>>,
    #[serde(borrow, alias = "responseBodyChunk")]
    pub(super) response_body_chunk: Option<RawBody<'a>>,
    #[serde(borrow, alias = "responseTrailers")]
    pub(super) response_trailers: Option<HeaderList<'a>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(expecting = "a list of headers in an object")]
pub(super) struct HeaderList<'a> {
    #[serde(borrow, default)]
    pub(super) headers: Vec<HeaderValue<'a>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(expecting = "a header, an object")]
pub(super) struct HeaderValue<'a> {
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow)]
    value: Option<Lenient<'a>>,
    #[serde(alias = "rawValue")]
    raw_value: Option<Base64>,
}

impl HeaderValue<'_> {
    /// Says whether it is this header with this value.
    pub(super) fn is(&self, name: &str, value: &[u8]) -> bool {
        self.key.0 == name
            && self
                .value
                .as_ref()
                .is_some_and(|own| own.0.as_ref() == value)
    }
}

/// Makes owned fields of what Envoy wrote; names in lower case, as filters see them.
pub(super) fn fields(values: Vec<HeaderValue<'_>>) -> Vec<Field<'static>> {
    values
        .into_iter()
        .map(|header| {
            let raw = header
                .raw_value
                .map(|Base64(bytes)| bytes)
                .filter(|bytes| !bytes.is_empty());
            let value = raw.unwrap_or_else(|| {
                header
                    .value
                    .map(|value| value.0.into_owned())
                    .unwrap_or_default()
            });
            let mut name = header.key.0.into_owned().into_bytes();
            name.make_ascii_lowercase();
            (Cow::Owned(name), Cow::Owned(value))
        })
        .collect()
}

#[derive(Debug, serde::Deserialize)]
#[serde(expecting = "a body, an object")]
pub(super) struct RawBody<'a> {
    #[serde(alias = "asBytes")]
    as_bytes: Option<Base64>,
    #[serde(borrow, alias = "asString")]
    as_string: Option<Lenient<'a>>,
    #[serde(default)]
    truncated: bool,
}

impl RawBody<'_> {
    pub(super) fn into_body(self, end_stream: bool) -> Body<'static> {
        let bytes = self
            .as_bytes
            .map(|Base64(bytes)| bytes)
            .or_else(|| self.as_string.map(|text| text.0.into_owned()))
            .unwrap_or_default();
        Body {
            bytes: Cow::Owned(bytes),
            end_stream,
            truncated: self.truncated,
        }
    }
}

#[derive(Debug, serde::Deserialize)]
#[serde(expecting = "a connection, an object")]
pub(super) struct Connection<'a> {
    #[serde(borrow, alias = "localAddress")]
    pub(super) local_address: Option<Address<'a>>,
    #[serde(borrow, alias = "remoteAddress")]
    pub(super) remote_address: Option<Address<'a>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(expecting = "an address, an object")]
pub(super) struct Address<'a> {
    #[serde(borrow, alias = "socketAddress")]
    socket_address: Option<SocketAddress<'a>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(expecting = "a socket address, an object")]
struct SocketAddress<'a> {
    #[serde(borrow)]
    address: Option<Text<'a>>,
    #[serde(alias = "portValue")]
    port_value: Option<u16>,
}

impl Address<'_> {
    /// Writes it as `ip:port`, as Envoy does in properties; `None` for a pipe or an internal listener.
    pub(super) fn to_text(&self) -> Option<String> {
        let socket = self.socket_address.as_ref()?;
        let address = socket.address.as_ref()?.0.as_ref();
        let port = socket.port_value?;
        Some(if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        })
    }
}

/// A number that protobuf's JSON writes as a string, because it may exceed 2⁵³.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TraceId(pub(super) u64);

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TraceIdVisitor;
        impl Visitor<'_> for TraceIdVisitor {
            type Value = TraceId;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a whole number, or one in a string")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(TraceId(number))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse()
                    .map(TraceId)
                    .map_err(|_error| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(TraceIdVisitor)
    }
}

/// A time as protobuf's JSON writes it, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time(pub(super) u64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        super::parse_time(&text).map(Time).ok_or_else(|| {
            de::Error::invalid_value(
                de::Unexpected::Str(&text),
                &"a time as `2026-11-23T22:29:16.728996Z`",
            )
        })
    }
}

/// Only the part of a first trace that says when it began.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Beginning<'a> {
    #[serde(borrow, alias = "httpBufferedTrace")]
    http_buffered_trace: Option<BeginningOfTrace<'a>>,
    #[serde(borrow, alias = "httpStreamedTraceSegment")]
    http_streamed_trace_segment: Option<BeginningOfSegment<'a>>,
}

#[derive(Debug, serde::Deserialize)]
struct BeginningOfTrace<'a> {
    #[serde(borrow)]
    request: Option<BeginningOfRequest<'a>>,
}

#[derive(Debug, serde::Deserialize)]
struct BeginningOfSegment<'a> {
    #[serde(borrow, alias = "requestHeaders")]
    request_headers: Option<BeginningOfRequest<'a>>,
}

#[derive(Debug, serde::Deserialize)]
struct BeginningOfRequest<'a> {
    #[serde(alias = "headersReceivedTime")]
    headers_received_time: Option<Time>,
    #[serde(borrow, default)]
    headers: Vec<HeaderValue<'a>>,
}

impl Beginning<'_> {
    /// Returns the time that the trace itself has, and the request's identity, under which an access log may have one.
    pub(super) fn of(entry: &[u8]) -> (Option<u64>, Option<Vec<u8>>) {
        let Ok(beginning) = serde_json::from_slice::<Beginning<'_>>(entry) else {
            // Whatever is wrong is reported when the trace is read in full.
            return (None, None);
        };
        let request = beginning
            .http_buffered_trace
            .and_then(|trace| trace.request)
            .or_else(|| {
                beginning
                    .http_streamed_trace_segment
                    .and_then(|segment| segment.request_headers)
            });
        let Some(request) = request else {
            return (None, None);
        };
        let time = request.headers_received_time.map(|time| time.0);
        let id = fields(request.headers)
            .into_iter()
            .find_map(|(name, value)| {
                (name.as_ref() == b"x-request-id").then(|| value.into_owned())
            });
        (time, id)
    }
}
