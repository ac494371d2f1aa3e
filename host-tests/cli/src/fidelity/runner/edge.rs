//! Header maps as Envoy's codecs and its connection manager make them.
//!
//! SOURCE: seen in Envoy 1.40 with the settings of the end-to-end tests: no request id, no forwarded-for.

use tidegate_host::HeaderMap;

use crate::fidelity::case::{Protocol, Request, Response, Text};

/// The endpoint of every cluster; the port is masked in the log.
pub(super) const UPSTREAM: &str = "127.0.0.1:8080";

/// The client's and the listener's address.
pub(super) const CLIENT: &str = "127.0.0.1:50000";
pub(super) const LISTENER: &str = "127.0.0.1:10000";

/// The host that every request asks for.
pub const HOST: &str = "probe.test";

/// Makes the map of a request that came in.
pub(super) fn request(request: &Request, protocol: Protocol) -> HeaderMap {
    let mut map = HeaderMap::new();
    match protocol {
        Protocol::Http1 => {
            map.add(":authority", HOST);
            map.add(":path", &request.path);
            map.add(":method", &request.method);
            map.add(":scheme", "http");
        }
        Protocol::Http2 => {
            map.add(":method", &request.method);
            map.add(":scheme", "http");
            map.add(":authority", HOST);
            map.add(":path", &request.path);
        }
    }
    add(&mut map, true, &request.headers);
    let framing = framing(
        &request.headers,
        protocol,
        request.chunked,
        &request.body,
        request.end,
        true,
    );
    // Of a request's body the codec keeps to itself how it is cut.
    if let Some(("content-length", length)) = framing {
        map.add("content-length", length);
    }
    map.add("x-forwarded-proto", "http");
    map
}

/// Makes the map of an answer that came from the upstream.
pub(super) fn response(response: &Response, protocol: Protocol, bodiless: bool) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.add(":status", response.status.to_string());
    add(&mut map, false, &response.headers);
    let optional = bodiless || matches!(response.status, 100..=199 | 204 | 304);
    let framing = framing(
        &response.headers,
        protocol,
        response.chunked,
        &response.body,
        response.end,
        optional,
    );
    if let Some((name, value)) = framing {
        map.add(name, value);
    }
    map
}

/// Returns the header by which HTTP/1.1 tells where a body ends, if a message needs one.
pub fn framing(
    headers: &[Text],
    protocol: Protocol,
    chunked: bool,
    body: &Text,
    end: bool,
    optional: bool,
) -> Option<(&'static str, String)> {
    let given = headers
        .iter()
        .any(|header| header.header().0.eq_ignore_ascii_case(b"content-length"));
    if protocol == Protocol::Http2 || given {
        return None;
    }
    if chunked {
        return Some(("transfer-encoding", "chunked".to_owned()));
    }
    let size = body.bytes().len();
    if !end || (optional && size == 0) {
        return None;
    }
    Some(("content-length", size.to_string()))
}

/// Makes the map of an answer that goes to the client: what the connection manager does after the filters.
pub(super) fn sent(response: &HeaderMap, closes: bool) -> HeaderMap {
    let mut map = response.clone();
    map.remove("transfer-encoding");
    if map.get_str(":status") != Some("101") {
        map.remove("connection");
    }
    if map.get("date").is_none() {
        map.add("date", "Tue, 24 Nov 2026 00:00:00 GMT");
    }
    if closes {
        map.add("connection", "close");
    }
    map
}

/// Makes a map of trailers.
pub(super) fn trailers(trailers: &[Text]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for trailer in trailers {
        let (name, value) = trailer.header();
        map.add(name, value);
    }
    map
}

fn add(map: &mut HeaderMap, is_request: bool, headers: &[Text]) {
    for header in headers {
        let (name, value) = header.header();
        // The host became a pseudo-header; the connection manager answers what is expected itself.
        let kept = !name.eq_ignore_ascii_case(b"host") && !name.eq_ignore_ascii_case(b"expect");
        if kept || !is_request {
            map.add(name, value);
        }
    }
}
