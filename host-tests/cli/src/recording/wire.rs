//! The lines of a recording as JSON.
//!
//! Reading borrows what stands literally in the line: a header without an escape costs no allocation.
//! Writing is canonical: the same event is always the same bytes, and what wasn't recorded is left out.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeMap, SerializeStruct, Serializer};

use super::event::{
    Body, Close, CloseReason, Event, EventKind, Field, Headers, Open, Trailers, Upstream,
};
use super::text::{Base64, Octets, Text};

/// What a line holds besides its time and stream.
pub(super) const KINDS: &str = "one of `open`, `request_headers`, `request_body`, `request_trailers`, `upstream`, \
                                `response_headers`, `response_body`, `response_trailers`, `close`";

/// A line as it stands in the file: an event, or that it says not exactly one thing.
///
/// Read by hand: a derived reader would hold a place for each of the nine kinds and move them all about.
#[derive(Debug)]
pub(super) struct RawEvent<'a>(pub(super) Option<Event<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for RawEvent<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EventVisitor;
        impl<'de> Visitor<'de> for EventVisitor {
            type Value = RawEvent<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an event")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut time_ns, mut stream, mut kind, mut kinds) = (None, None, None, 0);
                while let Some(name) = map.next_key::<EventField>()? {
                    match name {
                        EventField::T if time_ns.is_some() => {
                            return Err(de::Error::duplicate_field("t"));
                        }
                        EventField::T => time_ns = Some(map.next_value()?),
                        EventField::Stream if stream.is_some() => {
                            return Err(de::Error::duplicate_field("stream"));
                        }
                        EventField::Stream => stream = Some(map.next_value()?),
                        name => {
                            kinds += 1;
                            kind = Some(read_kind(name, &mut map)?);
                        }
                    }
                }
                let time_ns = time_ns.ok_or_else(|| de::Error::missing_field("t"))?;
                let stream = stream.ok_or_else(|| de::Error::missing_field("stream"))?;
                let kind = kind.filter(|_| kinds == 1);
                Ok(RawEvent(kind.map(|kind| Event {
                    time_ns,
                    stream,
                    kind,
                })))
            }
        }
        deserializer.deserialize_map(EventVisitor)
    }
}

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum EventField {
    T,
    Stream,
    Open,
    RequestHeaders,
    RequestBody,
    RequestTrailers,
    Upstream,
    ResponseHeaders,
    ResponseBody,
    ResponseTrailers,
    Close,
}

fn read_kind<'de, A: MapAccess<'de>>(
    name: EventField,
    map: &mut A,
) -> Result<EventKind<'de>, A::Error> {
    Ok(match name {
        EventField::T | EventField::Stream | EventField::Open => {
            EventKind::Open(Box::new(map.next_value::<RawOpen<'de>>()?.into()))
        }
        EventField::RequestHeaders => {
            EventKind::RequestHeaders(map.next_value::<RawHeaders<'de>>()?.into())
        }
        EventField::RequestBody => EventKind::RequestBody(map.next_value::<RawBody<'de>>()?.0),
        EventField::RequestTrailers => {
            EventKind::RequestTrailers(map.next_value::<RawTrailers<'de>>()?.into())
        }
        EventField::Upstream => EventKind::Upstream(map.next_value::<RawUpstream<'de>>()?.into()),
        EventField::ResponseHeaders => {
            EventKind::ResponseHeaders(map.next_value::<RawHeaders<'de>>()?.into())
        }
        EventField::ResponseBody => EventKind::ResponseBody(map.next_value::<RawBody<'de>>()?.0),
        EventField::ResponseTrailers => {
            EventKind::ResponseTrailers(map.next_value::<RawTrailers<'de>>()?.into())
        }
        EventField::Close => EventKind::Close(map.next_value::<RawClose<'de>>()?.into()),
    })
}

/// The time and stream of a line, for merging several files without reading the rest.
#[derive(Debug, serde::Deserialize)]
pub(super) struct RawTime {
    pub(super) t: u64,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct RawOpen<'a> {
    connection: Option<u64>,
    #[serde(borrow)]
    source: Option<Text<'a>>,
    #[serde(borrow)]
    destination: Option<Text<'a>>,
    #[serde(borrow)]
    protocol: Option<Text<'a>>,
    #[serde(borrow)]
    cluster: Option<Text<'a>>,
    #[serde(borrow)]
    route: Option<Text<'a>>,
    #[serde(borrow)]
    session: Option<Text<'a>>,
}

impl<'a> From<RawOpen<'a>> for Open<'a> {
    fn from(raw: RawOpen<'a>) -> Self {
        Self {
            connection: raw.connection,
            source: raw.source.map(|text| text.0),
            destination: raw.destination.map(|text| text.0),
            protocol: raw.protocol.map(|text| text.0),
            cluster: raw.cluster.map(|text| text.0),
            route: raw.route.map(|text| text.0),
            session: raw.session.map(|text| text.0),
        }
    }
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct RawHeaders<'a> {
    #[serde(borrow)]
    headers: Vec<Pair<'a>>,
    #[serde(default)]
    end_stream: bool,
    #[serde(borrow)]
    details: Option<Text<'a>>,
}

impl<'a> From<RawHeaders<'a>> for Headers<'a> {
    fn from(raw: RawHeaders<'a>) -> Self {
        Self {
            fields: fields(raw.headers),
            end_stream: raw.end_stream,
            details: raw.details.map(|text| text.0),
        }
    }
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct RawTrailers<'a> {
    #[serde(borrow)]
    trailers: Vec<Pair<'a>>,
}

impl<'a> From<RawTrailers<'a>> for Trailers<'a> {
    fn from(raw: RawTrailers<'a>) -> Self {
        Self {
            fields: fields(raw.trailers),
        }
    }
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct RawUpstream<'a> {
    #[serde(borrow)]
    address: Text<'a>,
    attempts: Option<u64>,
}

impl<'a> From<RawUpstream<'a>> for Upstream<'a> {
    fn from(raw: RawUpstream<'a>) -> Self {
        Self {
            address: raw.address.0,
            attempts: raw.attempts,
        }
    }
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct RawClose<'a> {
    #[serde(borrow)]
    details: Option<Text<'a>>,
    #[serde(borrow)]
    flags: Option<Text<'a>>,
    #[serde(default)]
    reason: RawReason,
    request_bytes: Option<u64>,
    response_bytes: Option<u64>,
}

impl<'a> From<RawClose<'a>> for Close<'a> {
    fn from(raw: RawClose<'a>) -> Self {
        Self {
            details: raw.details.map(|text| text.0),
            flags: raw.flags.map(|text| text.0),
            reason: match raw.reason {
                RawReason::ClientReset => CloseReason::ClientReset,
                RawReason::Complete => CloseReason::Complete,
                RawReason::UpstreamReset => CloseReason::UpstreamReset,
            },
            request_bytes: raw.request_bytes,
            response_bytes: raw.response_bytes,
        }
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case", expecting = "the reason of an end")]
enum RawReason {
    ClientReset,
    #[default]
    Complete,
    UpstreamReset,
}

/// A name and a value.
#[derive(Debug, serde::Deserialize)]
#[serde(expecting = "a pair of name and value")]
struct Pair<'a>(#[serde(borrow)] Octets<'a>, #[serde(borrow)] Octets<'a>);

fn fields(pairs: Vec<Pair<'_>>) -> Vec<Field<'_>> {
    // The same layout on both sides: the allocation is used again.
    pairs
        .into_iter()
        .map(|Pair(name, value)| (name.0, value.0))
        .collect()
}

/// `{"text": …}` or `{"base64": …}`, with what is known of the end.
#[derive(Debug)]
struct RawBody<'a>(Body<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for RawBody<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields, expecting = "an object")]
        struct Fields<'a> {
            #[serde(borrow)]
            text: Option<Text<'a>>,
            base64: Option<Base64>,
            #[serde(default)]
            end_stream: bool,
            #[serde(default)]
            truncated: bool,
        }
        let Fields {
            text,
            base64,
            end_stream,
            truncated,
        } = Fields::deserialize(deserializer)?;
        let bytes = match (text, base64) {
            (Some(Text(Cow::Borrowed(text))), None) => Cow::Borrowed(text.as_bytes()),
            (Some(Text(Cow::Owned(text))), None) => Cow::Owned(text.into_bytes()),
            (None, Some(Base64(bytes))) => Cow::Owned(bytes),
            _ => {
                return Err(de::Error::custom(
                    "expected exactly one of `text` and `base64`",
                ));
            }
        };
        Ok(RawBody(Body {
            bytes,
            end_stream,
            truncated,
        }))
    }
}

/// An event as a line, without the line end.
#[derive(Debug)]
pub(super) struct Line<'a>(pub(super) &'a Event<'a>);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("t", &self.0.time_ns)?;
        map.serialize_entry("stream", &self.0.stream)?;
        map.serialize_entry(self.0.kind.name(), &Kind(&self.0.kind))?;
        map.end()
    }
}

struct Kind<'a>(&'a EventKind<'a>);

impl Serialize for Kind<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            EventKind::Open(open) => {
                if let Some(connection) = open.connection {
                    map.serialize_entry("connection", &connection)?;
                }
                let texts = [
                    ("source", &open.source),
                    ("destination", &open.destination),
                    ("protocol", &open.protocol),
                    ("cluster", &open.cluster),
                    ("route", &open.route),
                    ("session", &open.session),
                ];
                for (name, text) in texts {
                    if let Some(text) = text {
                        map.serialize_entry(name, text)?;
                    }
                }
            }
            EventKind::RequestHeaders(headers) | EventKind::ResponseHeaders(headers) => {
                map.serialize_entry("headers", &Fields(&headers.fields))?;
                map.serialize_entry("end_stream", &headers.end_stream)?;
                if let Some(details) = &headers.details {
                    map.serialize_entry("details", details)?;
                }
            }
            EventKind::RequestBody(body) | EventKind::ResponseBody(body) => {
                match std::str::from_utf8(&body.bytes) {
                    Ok(text) => map.serialize_entry("text", text)?,
                    Err(_) => map.serialize_entry("base64", &STANDARD.encode(&body.bytes))?,
                }
                map.serialize_entry("end_stream", &body.end_stream)?;
                if body.truncated {
                    map.serialize_entry("truncated", &true)?;
                }
            }
            EventKind::RequestTrailers(trailers) | EventKind::ResponseTrailers(trailers) => {
                map.serialize_entry("trailers", &Fields(&trailers.fields))?;
            }
            EventKind::Upstream(upstream) => {
                map.serialize_entry("address", &upstream.address)?;
                if let Some(attempts) = upstream.attempts {
                    map.serialize_entry("attempts", &attempts)?;
                }
            }
            EventKind::Close(close) => {
                for (name, text) in [("details", &close.details), ("flags", &close.flags)] {
                    if let Some(text) = text {
                        map.serialize_entry(name, text)?;
                    }
                }
                let reason = CloseReason::ALL
                    .into_iter()
                    .find_map(|(reason, name)| (reason == close.reason).then_some(name))
                    .ok_or_else(|| S::Error::custom("a reason without a name"))?;
                map.serialize_entry("reason", reason)?;
                let sizes = [
                    ("request_bytes", close.request_bytes),
                    ("response_bytes", close.response_bytes),
                ];
                for (name, size) in sizes {
                    if let Some(size) = size {
                        map.serialize_entry(name, &size)?;
                    }
                }
            }
        }
        map.end()
    }
}

struct Fields<'a>(&'a [Field<'a>]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0
                .iter()
                .map(|(name, value)| (Value(name), Value(value))),
        )
    }
}

struct Value<'a>(&'a [u8]);

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = std::str::from_utf8(self.0) {
            return serializer.serialize_str(text);
        }
        let mut object = serializer.serialize_struct("Base64", 1)?;
        object.serialize_field("base64", &STANDARD.encode(self.0))?;
        object.end()
    }
}
