//! Writes HTTP/1.1 messages as a case says, whether they make sense or not.

use tidegate_cli::fidelity::{HOST, Protocol, Request, Response, Text, framing};

/// Writes the head of a request with what is sent together with it.
pub(super) fn request(request: &Request) -> Vec<u8> {
    let mut bytes = format!("{} {} HTTP/1.1\r\n", request.method, request.path).into_bytes();
    let own_host = request
        .headers
        .iter()
        .any(|header| header.header().0.eq_ignore_ascii_case(b"host"));
    if !own_host {
        header(&mut bytes, b"host", HOST.as_bytes());
    }
    headers(&mut bytes, &request.headers);
    let (body, chunked) = (&request.body, request.chunked);
    let framing = framing(
        &request.headers,
        Protocol::Http1,
        chunked,
        body,
        request.end,
        true,
    );
    if let Some((name, value)) = framing {
        header(&mut bytes, name.as_bytes(), value.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend(data(chunked, body.bytes(), request.end, &request.trailers));
    bytes
}

/// Writes the head of an answer with what is sent together with it.
pub(super) fn response(response: &Response, is_head: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for interim in &response.interim {
        bytes.extend_from_slice(format!("HTTP/1.1 {interim} Interim\r\n\r\n").as_bytes());
    }
    bytes.extend_from_slice(format!("HTTP/1.1 {} Answer\r\n", response.status).as_bytes());
    headers(&mut bytes, &response.headers);
    let bodiless = is_head || matches!(response.status, 100..=199 | 204 | 304);
    let (body, chunked) = (&response.body, response.chunked);
    let framing = framing(
        &response.headers,
        Protocol::Http1,
        chunked,
        body,
        response.end,
        bodiless,
    );
    if let Some((name, value)) = framing {
        header(&mut bytes, name.as_bytes(), value.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    if !bodiless {
        bytes.extend(data(
            chunked,
            body.bytes(),
            response.end,
            &response.trailers,
        ));
    }
    bytes
}

/// Writes a part of a body; where it ends, its end.
pub(super) fn data(chunked: bool, body: &[u8], end: bool, trailers: &[Text]) -> Vec<u8> {
    if !chunked {
        return body.to_vec();
    }
    let mut bytes = Vec::new();
    if !body.is_empty() {
        bytes.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(b"\r\n");
    }
    if end {
        bytes.extend_from_slice(b"0\r\n");
        headers(&mut bytes, trailers);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn headers(bytes: &mut Vec<u8>, headers: &[Text]) {
    for text in headers {
        let (name, value) = text.header();
        header(bytes, name, value);
    }
}

fn header(bytes: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        bytes.extend_from_slice(part);
    }
}
