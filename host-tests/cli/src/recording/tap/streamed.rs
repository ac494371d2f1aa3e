//! Makes events of the segments of streamed traces.
//!
//! Why: a segment says what came, and neither when nor whether it was the last. The end of a direction is known when
//! its `content-length` is reached, when trailers come, when the method or status allow no body; the request's at the
//! latest when its response begins (gRPC excepted: its streams go both ways). Otherwise the end of the file ends it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::access_log::{AccessLog, LogEntry};
use super::super::event::{Body, CloseReason, EventKind, Headers, Trailers, Upstream};
use super::super::import::{Context, UNKNOWN_STEP_NS, close};
use super::wire::{self, HeaderList, RawBody, Segment};
use super::{log_entry, opening};

/// Streams that may be unfinished in one file. A stream without an end is a few hundred bytes; the oldest is ended
/// when there are more.
const UNFINISHED_MAX: usize = 100_000;

/// The streams that aren't over.
#[derive(Debug, Default)]
pub(super) struct Streamed {
    /// In the order of their numbers, which is that of their beginnings.
    streams: BTreeMap<u64, Stream>,
    numbers: BTreeMap<u64, u64>,
    no_log: Arc<LogEntry>,
}

#[derive(Debug)]
struct Stream {
    trace_id: u64,
    /// Shared by all where there is no log.
    log: Arc<LogEntry>,
    /// Where the access log says when it began: the time of its last event.
    clock_ns: Option<u64>,
    request: Direction,
    response: Option<Direction>,
    is_head: bool,
    is_grpc: bool,
    is_upgraded: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Direction {
    expected: Option<u64>,
    seen: u64,
    is_cut: bool,
    is_over: bool,
}

impl Streamed {
    /// Makes the events of one segment.
    pub(super) fn convert(
        &mut self,
        segment: Segment<'_>,
        log: &mut AccessLog,
        context: &mut Context,
    ) {
        let trace_id = segment.trace_id.0;
        if let Some(list) = segment.request_headers {
            self.open(trace_id, list, log, context);
            return;
        }
        let Some(id) = self.numbers.get(&trace_id).copied() else {
            context
                .statistics
                .skip("segments of streams whose beginning is missing");
            return;
        };
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if let Some(body) = segment.request_body_chunk {
            if stream.request.is_over {
                context.statistics.skip("pieces of requests that were over");
            } else {
                let body = stream.request.piece(body);
                stream.push(id, EventKind::RequestBody(body), context);
            }
        } else if let Some(list) = segment.request_trailers {
            if !stream.request.is_over {
                stream.request.is_over = true;
                let trailers = Trailers {
                    fields: wire::fields(list.headers),
                };
                stream.push(id, EventKind::RequestTrailers(trailers), context);
            }
        } else if let Some(list) = segment.response_headers {
            stream.respond(id, list, context);
        } else if let Some(response) = &mut stream.response {
            if response.is_over {
                context
                    .statistics
                    .skip("pieces of responses that were over");
            } else if let Some(body) = segment.response_body_chunk {
                let body = response.piece(body);
                stream.push(id, EventKind::ResponseBody(body), context);
            } else if let Some(list) = segment.response_trailers {
                response.is_over = true;
                let trailers = Trailers {
                    fields: wire::fields(list.headers),
                };
                stream.push(id, EventKind::ResponseTrailers(trailers), context);
            }
        } else {
            context
                .statistics
                .skip("segments of responses whose beginning is missing");
        }
        if stream.is_over() {
            self.close(id, context);
        }
    }

    /// Ends every stream: the file is over. Of what was recorded from a running Envoy, only what may be whole is ended:
    /// the rest was still going on.
    pub(super) fn close_all(&mut self, context: &mut Context) {
        let goes_on = |stream: &Stream| {
            stream.is_upgraded
                || !stream
                    .response
                    .is_some_and(|response| response.may_be_whole())
        };
        let is_live = context.arrived_ns.is_some();
        for (id, stream) in std::mem::take(&mut self.streams) {
            self.numbers.remove(&stream.trace_id);
            if !(is_live && goes_on(&stream)) {
                self.streams.insert(id, stream);
                self.close(id, context);
            }
        }
    }

    fn open(
        &mut self,
        trace_id: u64,
        list: HeaderList<'_>,
        log: &mut AccessLog,
        context: &mut Context,
    ) {
        if let Some(id) = self.numbers.get(&trace_id).copied() {
            // A tap identifier that was used again: the stream before is over.
            self.close(id, context);
        }
        if self.streams.len() >= UNFINISHED_MAX
            && let Some((&oldest, _)) = self.streams.first_key_value()
        {
            self.close(oldest, context);
        }
        let mut headers = Headers {
            fields: wire::fields(list.headers),
            end_stream: false,
            ..Headers::default()
        };
        let log = if log.was_read() {
            Arc::new(log_entry(log, &headers, context))
        } else {
            Arc::clone(&self.no_log)
        };
        let method = headers.value(":method").unwrap_or_default();
        let mut stream = Stream {
            trace_id,
            clock_ns: log.start_ns,
            request: Direction {
                expected: length(&headers),
                ..Direction::default()
            },
            response: None,
            is_head: method == b"HEAD",
            is_grpc: headers
                .value("content-type")
                .is_some_and(|value| value.starts_with(b"application/grpc")),
            is_upgraded: false,
            log,
        };
        let may_go_on = method == b"CONNECT"
            || headers.value("upgrade").is_some()
            || headers.value("transfer-encoding").is_some()
            || !matches!(method, b"GET" | b"HEAD" | b"DELETE" | b"OPTIONS" | b"TRACE");
        stream.request.is_over = match stream.request.expected {
            Some(length) => length == 0,
            None => !may_go_on,
        };
        headers.end_stream = stream.request.is_over;
        let id = context.new_id();
        let open = context.open(&headers, opening(&stream.log, None, None));
        stream.push(id, EventKind::Open(Box::new(open)), context);
        stream.push(id, EventKind::RequestHeaders(headers), context);
        self.numbers.insert(trace_id, id);
        self.streams.insert(id, stream);
    }

    fn close(&mut self, id: u64, context: &mut Context) {
        let Some(mut stream) = self.streams.remove(&id) else {
            return;
        };
        self.numbers.remove(&stream.trace_id);
        let response = stream.response;
        let may_be_whole =
            response.is_some_and(|response| response.is_over || response.may_be_whole());
        let close = close(&stream.log, may_be_whole);
        if !stream.is_upgraded && may_be_whole && close.reason == CloseReason::Complete {
            if !stream.request.is_over {
                stream.push(id, EventKind::RequestBody(last_piece()), context);
            }
            if !response.is_some_and(|response| response.is_over) {
                stream.push(id, EventKind::ResponseBody(last_piece()), context);
            }
        }
        if let (Some(clock_ns), Some(end_ns)) = (stream.clock_ns, stream.log.end_ns()) {
            stream.clock_ns = Some(clock_ns.max(end_ns));
        }
        stream.push(id, EventKind::Close(close), context);
    }
}

impl Stream {
    fn respond(&mut self, id: u64, list: HeaderList<'_>, context: &mut Context) {
        if self.response.is_some() {
            context.statistics.skip("second responses of a stream");
            return;
        }
        let mut headers = Headers {
            fields: wire::fields(list.headers),
            end_stream: false,
            ..Headers::default()
        };
        let status = headers.value(":status").unwrap_or_default().to_vec();
        self.is_upgraded = status == b"101";
        if let (Some(clock_ns), Some(answered_ns)) = (self.clock_ns, self.log.answered_ns()) {
            self.clock_ns = Some(clock_ns.max(answered_ns));
        }
        if !self.request.is_over && !self.is_upgraded && !self.is_grpc {
            self.request.is_over = true;
            self.push(id, EventKind::RequestBody(last_piece()), context);
        }
        if let Some(address) = self.log.upstream.clone() {
            let upstream = Upstream {
                address: address.into(),
                attempts: self.log.attempts,
            };
            self.push(id, EventKind::Upstream(upstream), context);
        }
        let mut response = Direction {
            expected: length(&headers),
            ..Direction::default()
        };
        let has_no_body = self.is_head || matches!(status.as_slice(), b"204" | b"304");
        response.is_over = !self.is_upgraded && (has_no_body || response.expected == Some(0));
        headers.end_stream = response.is_over;
        headers.details = self
            .log
            .local_reply()
            .map(|details| details.to_owned().into());
        self.response = Some(response);
        self.push(id, EventKind::ResponseHeaders(headers), context);
    }

    fn is_over(&self) -> bool {
        self.request.is_over && self.response.is_some_and(|response| response.is_over)
    }

    fn push(&mut self, id: u64, kind: EventKind<'static>, context: &mut Context) {
        let time_ns = if let Some(clock_ns) = &mut self.clock_ns {
            let now_ns = *clock_ns;
            // The log says when the stream ended: nothing is put after it.
            let last_ns = self.log.end_ns().unwrap_or(u64::MAX).max(now_ns);
            *clock_ns = now_ns.saturating_add(UNKNOWN_STEP_NS).min(last_ns);
            now_ns
        } else {
            let now_ns = context.tick();
            context.reorder.nothing_before(now_ns);
            now_ns
        };
        context.push(time_ns, id, kind);
    }
}

impl Direction {
    fn piece(&mut self, body: RawBody<'_>) -> Body<'static> {
        let mut body = body.into_body(false);
        self.seen = self.seen.saturating_add(body.bytes.len() as u64);
        self.is_cut |= body.truncated;
        body.end_stream = !self.is_cut && self.expected == Some(self.seen);
        self.is_over = body.end_stream;
        body
    }

    fn may_be_whole(self) -> bool {
        self.is_cut || self.expected.is_none_or(|expected| expected <= self.seen)
    }
}

fn last_piece() -> Body<'static> {
    Body {
        end_stream: true,
        ..Body::default()
    }
}

fn length(headers: &Headers<'_>) -> Option<u64> {
    std::str::from_utf8(headers.value("content-length")?)
        .ok()?
        .parse()
        .ok()
}
