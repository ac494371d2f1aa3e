//! Answers that the proxy gives itself, and streams that are cut.

use crate::headers::HeaderMap;
use crate::output::{Output, StreamId};
use crate::vm::run::Run;
use crate::world::streams::{Body, Direction, LocalReply, Stream, StreamKind};

impl Run<'_> {
    /// Answers a stream. Before a response began the answer passes the response filters; while the
    /// response's headers are still in the chain it replaces them and passes nobody; after they left
    /// the stream is cut.
    pub(crate) fn send_local_reply(&mut self, id: StreamId, reply: Box<LocalReply>) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if stream.finished || stream.closed {
            return;
        }
        let in_request = stream.request.calling > 0;
        if in_request {
            stream.request.aborted = true;
        } else if stream.response.calling > 0 {
            stream.response.aborted = true;
        }
        stream
            .response_facts
            .code_details
            .clone_from(&reply.details);
        if stream.kind != StreamKind::Listener {
            // The router answers downstream; the attempt's own filters do not see it.
            stream.request.aborted = true;
            stream.response.aborted = true;
            if stream.response.emitted {
                self.reset_stream(id);
            } else {
                self.reply_directly(id, reply);
            }
        } else if !stream.response.started {
            if in_request {
                // The first answer wins; the details are the last one's.
                stream.prepared.get_or_insert(reply);
            } else {
                self.reply_through_filters(id, reply);
            }
        } else if !stream.response.emitted {
            self.reply_directly(id, reply);
        } else {
            self.reset_stream(id);
        }
    }

    /// Sends the answer that waited for a filter's callback to return.
    pub(super) fn run_prepared_reply(&mut self, id: StreamId) {
        let prepared = self
            .streams
            .get_mut(id)
            .and_then(|stream| stream.prepared.take());
        if let Some(reply) = prepared {
            self.reply_through_filters(id, reply);
        }
    }

    fn reply_through_filters(&mut self, id: StreamId, mut reply: Box<LocalReply>) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let (headers, body) = encode(stream, &mut reply);
        let end_stream = body.is_empty();
        stream.response_code = headers.get_str(":status").and_then(|it| it.parse().ok());
        reply
            .details
            .clone_from(&stream.response_facts.code_details);
        stream.local = Some(reply);
        stream.response.started = true;
        stream.response.headers = headers;
        stream.response.complete = end_stream;
        self.pass_headers(id, Direction::Response, 0, end_stream);
        if end_stream {
            return;
        }
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if stream.finished {
            return;
        }
        stream.response.complete = true;
        stream.response.passing = body;
        self.pass_body(id, Direction::Response, 0, Body::Passing, true);
        if let Some(stream) = self.streams.get_mut(id) {
            stream.response.passing.clear();
        }
    }

    fn reply_directly(&mut self, id: StreamId, mut reply: Box<LocalReply>) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let (headers, body) = encode(stream, &mut reply);
        stream.response.started = true;
        stream.response.headers = headers.clone();
        stream.response.emitted = true;
        stream.response_code = Some(reply.status);
        stream.response.bytes = stream.response.bytes.saturating_add(body.len() as u64);
        reply.sent = headers;
        reply.sent_body = body;
        stream.local = Some(reply);
        self.finish_response(id);
    }

    /// The response is complete.
    pub(super) fn finish_response(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if stream.finished {
            return;
        }
        stream.finished = true;
        stream.response.ended = true;
        if let Some(local) = &mut stream.local {
            let headers = std::mem::take(&mut local.sent);
            stream.outputs.push_back(Output::LocalResponse {
                status: headers
                    .get_str(":status")
                    .and_then(|status| status.parse().ok())
                    .unwrap_or(local.status),
                headers,
                body: std::mem::take(&mut local.sent_body),
                details: local.details.clone(),
                grpc_status: local.grpc_status,
            });
        }
    }

    /// Cuts a stream.
    pub(crate) fn reset_stream(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if stream.finished || stream.closed {
            return;
        }
        stream.finished = true;
        stream.request.aborted = true;
        stream.response.aborted = true;
        let details = stream.response_facts.code_details.clone();
        stream.outputs.push_back(Output::Reset { details });
    }
}

/// Makes headers and body of an answer as the proxy writes them. The body stays away for `HEAD`.
fn encode(stream: &Stream, reply: &mut LocalReply) -> (HeaderMap, Vec<u8>) {
    let mut body = std::mem::take(&mut reply.body);
    let mut headers = HeaderMap::new();
    if stream.is_grpc {
        let status = reply
            .grpc_status
            .unwrap_or_else(|| i32::from(grpc_status_of(reply.status)));
        headers.add(":status", "200");
        headers.add("content-type", "application/grpc");
        headers.add("grpc-status", status.to_string());
        if !body.is_empty() && !stream.is_head {
            headers.add("grpc-message", percent_encode(&body));
        }
        headers.extend(reply.headers.iter());
        return (headers, Vec::new());
    }
    headers.add(":status", reply.status.to_string());
    headers.extend(reply.headers.iter());
    if body.is_empty() {
        headers.remove("content-length");
        headers.remove("content-type");
    } else {
        headers.set("content-length", body.len().to_string());
        if headers.get("content-type").is_none() {
            headers.add("content-type", "text/plain");
        }
    }
    if stream.is_head {
        body.clear();
    }
    (headers, body)
}

/// SOURCE: the mapping of HTTP to gRPC status codes in gRPC's documentation, which Envoy follows.
pub(crate) const fn grpc_status_of(status: u32) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// SOURCE: gRPC over HTTP/2: a message keeps printable ASCII but for the percent sign.
fn percent_encode(message: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(message.len());
    for byte in message {
        match byte {
            b' '..=b'~' if *byte != b'%' => encoded.push(char::from(*byte)),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}
