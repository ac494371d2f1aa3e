//! Makes requests from templates.

use super::Request;
use super::websocket;
use crate::scenario::RequestTemplate;

/// Makes the request of a template. Every request of it is this one.
pub(super) fn request(template: &RequestTemplate) -> Request {
    let field = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let mut headers = vec![
        field(":method", &template.method),
        field(":path", &template.path),
        field(":scheme", "http"),
        field(":authority", &template.authority),
    ];
    for (name, value) in &template.headers {
        headers.push(field(&name.to_lowercase(), value));
    }
    if template.websocket.is_some() {
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            // Sixteen bytes in base64, as the handshake wants them.
            ("sec-websocket-key", "dGlkZWdhdGUtc2NlbmFyaQ=="),
        ] {
            headers.push(field(name, value));
        }
    }
    let mut body = Vec::new();
    if template.body_bytes > 0 {
        headers.push(field("content-length", &template.body_bytes.to_string()));
        let bytes = usize::try_from(template.body_bytes).unwrap_or(usize::MAX);
        body.push((0, vec![b'.'; bytes]));
    }
    Request {
        headers,
        body,
        trailers: Vec::new(),
        frames: template.websocket.as_ref().map(websocket::frames),
    }
}
