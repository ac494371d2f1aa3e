//! What can happen to a recorded stream.
//!
//! Everything borrows from the entry that it was read from where it can: a header costs no allocation until a
//! replay needs a copy of it.

use std::borrow::Cow;

/// Bytes of a header, a body or an address: borrowed from the recording where it holds them literally.
pub type Bytes<'a> = Cow<'a, [u8]>;

/// One thing that happened to one stream at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// When it happened, in nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Which stream it happened to: unique in the recording while the stream is open.
    pub stream: u64,
    /// What happened.
    pub kind: EventKind<'a>,
}

/// What happened to a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind<'a> {
    /// The stream was opened. The first event of every stream.
    Open(Box<Open<'a>>),
    /// The client sent its request headers.
    RequestHeaders(Headers<'a>),
    /// The client sent a piece of the request's body, or of an upgraded stream.
    RequestBody(Body<'a>),
    /// The client sent trailers, which end its request.
    RequestTrailers(Trailers<'a>),
    /// The proxy chose an upstream and connected to it.
    Upstream(Upstream<'a>),
    /// The response headers arrived.
    ResponseHeaders(Headers<'a>),
    /// A piece of the response's body arrived, or of an upgraded stream.
    ResponseBody(Body<'a>),
    /// The response's trailers arrived, which end it.
    ResponseTrailers(Trailers<'a>),
    /// The stream is over. The last event of every stream.
    Close(Close<'a>),
}

impl EventKind<'_> {
    /// Returns the name that the event has in a recording.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::RequestHeaders(_) => "request_headers",
            Self::RequestBody(_) => "request_body",
            Self::RequestTrailers(_) => "request_trailers",
            Self::Upstream(_) => "upstream",
            Self::ResponseHeaders(_) => "response_headers",
            Self::ResponseBody(_) => "response_body",
            Self::ResponseTrailers(_) => "response_trailers",
            Self::Close(_) => "close",
        }
    }

    /// Returns about how many bytes of memory a copy takes.
    pub(super) fn weight_bytes(&self) -> usize {
        let fields = |fields: &[Field<'_>]| -> usize {
            fields
                .iter()
                .map(|(name, value)| name.len() + value.len() + size_of::<Field<'_>>())
                .sum()
        };
        let text = |text: &Option<Cow<'_, str>>| text.as_ref().map_or(0, |text| text.len());
        size_of::<Self>()
            + match self {
                Self::Open(open) => {
                    text(&open.source)
                        + text(&open.destination)
                        + text(&open.protocol)
                        + text(&open.cluster)
                        + text(&open.route)
                        + text(&open.session)
                }
                Self::RequestHeaders(headers) | Self::ResponseHeaders(headers) => {
                    fields(&headers.fields) + text(&headers.details)
                }
                Self::RequestBody(body) | Self::ResponseBody(body) => body.bytes.len(),
                Self::RequestTrailers(trailers) | Self::ResponseTrailers(trailers) => {
                    fields(&trailers.fields)
                }
                Self::Upstream(upstream) => upstream.address.len(),
                Self::Close(close) => text(&close.details) + text(&close.flags),
            }
    }
}

/// What is known of a stream when it opens. What the source did not record is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Open<'a> {
    /// Number of the client's connection; streams with the same number shared one.
    pub connection: Option<u64>,
    /// The client's address as `ip:port`.
    pub source: Option<Cow<'a, str>>,
    /// The proxy's address that the client connected to, as `ip:port`.
    pub destination: Option<Cow<'a, str>>,
    /// The protocol as Envoy names it: `HTTP/1.1`, `HTTP/2`.
    pub protocol: Option<Cow<'a, str>>,
    /// Name of the cluster that the route chose.
    pub cluster: Option<Cow<'a, str>>,
    /// Name of the route.
    pub route: Option<Cow<'a, str>>,
    /// Which client it was, where the recording knows better than its connections do.
    pub session: Option<Cow<'a, str>>,
}

/// A header's or trailer's name and value.
pub type Field<'a> = (Bytes<'a>, Bytes<'a>);

/// Request or response headers, pseudo-headers first, in the recorded order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    /// The fields.
    pub fields: Vec<Field<'a>>,
    /// Whether nothing follows in this direction.
    pub end_stream: bool,
    /// Envoy's response code details, of a response that the proxy made itself; `None` for an upstream's.
    pub details: Option<Cow<'a, str>>,
}

impl Headers<'_> {
    /// Returns the first value of a header; names are compared as they are, in lower case.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.fields
            .iter()
            .find(|(key, _)| key.as_ref() == name.as_bytes())
            .map(|(_, value)| value.as_ref())
    }
}

/// Trailers, in the recorded order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trailers<'a> {
    /// The fields.
    pub fields: Vec<Field<'a>>,
}

/// A piece of a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body<'a> {
    /// The bytes.
    pub bytes: Bytes<'a>,
    /// Whether nothing follows in this direction.
    pub end_stream: bool,
    /// Whether the source kept only the beginning of this piece.
    pub truncated: bool,
}

/// The upstream that served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream<'a> {
    /// Its address as `ip:port`.
    pub address: Cow<'a, str>,
    /// How many attempts were made, this one included; `None` when it isn't known.
    pub attempts: Option<u64>,
}

/// How a stream ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Close<'a> {
    /// Envoy's response code details, as `via_upstream`.
    pub details: Option<Cow<'a, str>>,
    /// Envoy's response flags in their short form, as `UC`; `-` for none.
    pub flags: Option<Cow<'a, str>>,
    /// Who ended it.
    pub reason: CloseReason,
    /// Size of the request's body, in bytes, where the source knows it and didn't keep the body.
    pub request_bytes: Option<u64>,
    /// Size of the response's body, in bytes, where the source knows it and didn't keep the body.
    pub response_bytes: Option<u64>,
}

/// Who ended a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CloseReason {
    /// The client went away before the end.
    ClientReset,
    /// Both sides were done.
    #[default]
    Complete,
    /// The upstream went away before the end.
    UpstreamReset,
}

impl CloseReason {
    /// Every reason, with its name in a recording.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::ClientReset, "client_reset"),
        (Self::Complete, "complete"),
        (Self::UpstreamReset, "upstream_reset"),
    ];
}

impl Event<'_> {
    /// Copies what is borrowed, so that the event outlives its entry.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        let kind = match self.kind {
            EventKind::Open(open) => EventKind::Open(Box::new(Open {
                connection: open.connection,
                source: owned(open.source),
                destination: owned(open.destination),
                protocol: owned(open.protocol),
                cluster: owned(open.cluster),
                route: owned(open.route),
                session: owned(open.session),
            })),
            EventKind::RequestHeaders(headers) => EventKind::RequestHeaders(owned_headers(headers)),
            EventKind::RequestBody(body) => EventKind::RequestBody(owned_body(body)),
            EventKind::RequestTrailers(trailers) => EventKind::RequestTrailers(Trailers {
                fields: owned_fields(trailers.fields),
            }),
            EventKind::Upstream(upstream) => EventKind::Upstream(Upstream {
                address: Cow::Owned(upstream.address.into_owned()),
                attempts: upstream.attempts,
            }),
            EventKind::ResponseHeaders(headers) => {
                EventKind::ResponseHeaders(owned_headers(headers))
            }
            EventKind::ResponseBody(body) => EventKind::ResponseBody(owned_body(body)),
            EventKind::ResponseTrailers(trailers) => EventKind::ResponseTrailers(Trailers {
                fields: owned_fields(trailers.fields),
            }),
            EventKind::Close(close) => EventKind::Close(Close {
                details: owned(close.details),
                flags: owned(close.flags),
                ..close
            }),
        };
        Event {
            time_ns: self.time_ns,
            stream: self.stream,
            kind,
        }
    }

    /// Returns about how many bytes of memory a copy of the event takes.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        size_of::<Self>() - size_of::<EventKind<'_>>() + self.kind.weight_bytes()
    }
}

fn owned(text: Option<Cow<'_, str>>) -> Option<Cow<'static, str>> {
    text.map(|text| Cow::Owned(text.into_owned()))
}

fn owned_fields(fields: Vec<Field<'_>>) -> Vec<Field<'static>> {
    fields
        .into_iter()
        .map(|(name, value)| {
            (
                Cow::Owned(name.into_owned()),
                Cow::Owned(value.into_owned()),
            )
        })
        .collect()
}

fn owned_headers(headers: Headers<'_>) -> Headers<'static> {
    Headers {
        fields: owned_fields(headers.fields),
        end_stream: headers.end_stream,
        details: owned(headers.details),
    }
}

fn owned_body(body: Body<'_>) -> Body<'static> {
    Body {
        bytes: Cow::Owned(body.bytes.into_owned()),
        end_stream: body.end_stream,
        truncated: body.truncated,
    }
}
