//! One request and its answer, as far as they have come.

use tidegate_host::{HeaderMap, StreamId};

use crate::fidelity::case::{Protocol, Request};
use crate::fidelity::received::Received;

/// A part of a request on its way to an upstream; kept, since the router may try again.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Headers(HeaderMap, bool),
    Body(Vec<u8>, bool),
    Trailers(HeaderMap),
}

/// An exchange under way.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) request: Request,
    pub(super) stream: StreamId,
    /// The stream through the upstream filters, if the cluster has some.
    pub(super) attempt: Option<StreamId>,
    pub(super) attempts: u32,
    /// What has left the listener's filters.
    pub(super) parts: Vec<Part>,
    pub(super) at_upstream: Received,
    pub(super) at_client: Received,
    /// Whether headers of an answer reached the listener's filters.
    pub(super) answered: bool,
    /// Whether the answer is cut into chunks.
    pub(super) chunked: bool,
    /// Whether the router has given the request to an upstream.
    pub(super) routed: bool,
    /// Whether the route leads to another cluster than `upstream`.
    pub(super) elsewhere: bool,
    /// Whether the upstream's connection had time to come up.
    pub(super) connected: bool,
    /// Whether the client has sent its whole request.
    pub(super) complete: bool,
    /// Whether the protocol closes a connection whose request is not complete.
    closes: bool,
    /// Whether the client has everything that it will get.
    pub(super) over: bool,
}

impl Exchange {
    pub(super) fn new(request: &Request, stream: StreamId, protocol: Protocol) -> Self {
        Self {
            request: request.clone(),
            stream,
            attempt: None,
            attempts: 0,
            parts: Vec::new(),
            at_upstream: Received::default(),
            at_client: Received::default(),
            answered: false,
            chunked: false,
            routed: false,
            connected: false,
            elsewhere: false,
            complete: false,
            closes: protocol == Protocol::Http1,
            over: false,
        }
    }

    /// Whether an answer now comes before the request's end, so that HTTP/1.1 has to close the connection.
    pub(super) fn early_close(&self) -> bool {
        !self.complete && self.closes
    }

    pub(super) fn is_upgrade(&self) -> bool {
        let mut headers = self.request.headers.iter();
        headers.any(|header| header.header().0.eq_ignore_ascii_case(b"upgrade"))
    }

    pub(super) fn is_head(&self) -> bool {
        self.request.method == "HEAD"
    }
}

/// The router keeps a request for another attempt with its body in one piece.
pub(super) fn together(parts: &[Part]) -> Vec<Part> {
    let mut whole: Vec<Part> = Vec::new();
    for part in parts {
        match (whole.last_mut(), part) {
            (Some(Part::Body(bytes, end)), Part::Body(more, ends)) => {
                bytes.extend_from_slice(more);
                *end = *ends;
            }
            _ => whole.push(part.clone()),
        }
    }
    whole
}

/// Notes a part of a request that an upstream received.
pub(super) fn note_request(received: &mut Received, part: &Part) {
    match part {
        Part::Headers(headers, end) => {
            let text = |name: &str| headers.get_str(name).unwrap_or_default().to_owned();
            received.head = format!("{} {}", text(":method"), text(":path"));
            for (name, value) in headers.iter() {
                received.header(name, value);
            }
            received.complete = *end;
        }
        Part::Body(bytes, end) => {
            received.body.extend_from_slice(bytes);
            received.complete = *end;
        }
        Part::Trailers(trailers) => {
            for (name, value) in trailers.iter() {
                received.trailer(name, value);
            }
            received.complete = true;
        }
    }
}

/// Notes headers of an answer that the client received.
pub(super) fn note_response(received: &mut Received, headers: &HeaderMap) {
    received.head = headers.get_str(":status").unwrap_or_default().to_owned();
    for (name, value) in headers.iter() {
        received.header(name, value);
    }
}
