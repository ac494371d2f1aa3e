//! Call-outs on their way: through the cluster's upstream filters, and the answer back to the guest.

use crate::attributes::{StreamAttributes, UpstreamAttributes};
use crate::callback::CallbackKind;
use crate::headers::HeaderMap;
use crate::output::{CallAnswer, CallId, Output};
use crate::vm::instance::{CallResponse, Context};
use crate::vm::run::Run;
use crate::world::streams::{Body, Direction, Stream, StreamKind};

/// SOURCE: the answers that Envoy's router gives itself.
const TIMED_OUT: &str = "upstream request timeout";
const DISCONNECTED: &str = "upstream connect error or disconnect/reset before headers. \
                            reset reason: connection termination";
const REFUSED: &str = "upstream connect error or disconnect/reset before headers. \
                       reset reason: remote connection failure";
/// SOURCE: `WasmResult::BrokenConnection`, which `proxy_get_status` tells after a reset.
const BROKEN_CONNECTION: u32 = 11;

impl Run<'_> {
    /// Sends a call-out through the upstream filters of its cluster. `false`: a filter answered or
    /// cut it at once, which the guest learns as a failure of the call.
    pub(crate) fn send_call(&mut self, id: CallId) -> bool {
        let Some(call) = self.calls.get(&id) else {
            return false;
        };
        let instance = call.instance;
        let cluster = call.pending.cluster.clone();
        let Some(chain) = self.clusters.get(&cluster).and_then(|it| it.chain) else {
            if let Some(call) = self.calls.get_mut(&id) {
                call.sent = true;
            }
            return true;
        };
        let address = self
            .clusters
            .get(&cluster)
            .and_then(|cluster| cluster.config.as_ref()?.endpoint_for(&call.pending.headers))
            .unwrap_or_default()
            .to_owned();
        let attributes = StreamAttributes {
            cluster_name: cluster,
            ..StreamAttributes::default()
        };
        let thread = self.instances.at(instance).thread;
        let mut stream = Stream::new(
            StreamKind::CallOut { call: id },
            thread,
            chain,
            self.now_ns,
            attributes,
        );
        stream.upstream = UpstreamAttributes {
            address,
            attempt_count: 1,
            ..UpstreamAttributes::default()
        };
        let attempt = self.streams.add(stream);
        let Some(call) = self.calls.get_mut(&id) else {
            return false;
        };
        call.attempt = Some(attempt);
        let headers = std::mem::take(&mut call.pending.headers);
        let body = std::mem::take(&mut call.pending.body);
        let trailers = std::mem::take(&mut call.pending.trailers);
        let ends = body.is_empty() && trailers.is_empty();
        self.give_headers(attempt, Direction::Request, headers, ends);
        if !body.is_empty() {
            self.give_body(attempt, Direction::Request, &body, trailers.is_empty());
        }
        if !trailers.is_empty() {
            self.give_trailers(attempt, Direction::Request, trailers);
        }
        self.collect_call(id)
    }

    /// Takes over what has left the upstream filters. `false`: the call is over.
    pub(crate) fn collect_call(&mut self, id: CallId) -> bool {
        let Some(attempt) = self.calls.get(&id).and_then(|call| call.attempt) else {
            return true;
        };
        loop {
            let world = &mut **self;
            let (Some(call), Some(stream)) =
                (world.calls.get_mut(&id), world.streams.get_mut(attempt))
            else {
                return false;
            };
            let Some(output) = stream.outputs.pop_front() else {
                return true;
            };
            match output {
                Output::RequestHeaders {
                    headers,
                    end_stream,
                } => {
                    call.pending.headers = headers;
                    call.sent = end_stream;
                }
                Output::RequestBody { data, end_stream } => {
                    call.pending.body.extend_from_slice(&data);
                    call.sent |= end_stream;
                }
                Output::RequestTrailers(trailers) => {
                    call.pending.trailers = trailers;
                    call.sent = true;
                }
                Output::ResponseHeaders {
                    headers,
                    end_stream,
                } => {
                    call.answer.get_or_insert_default().headers = headers;
                    if end_stream {
                        self.finish_call(id, true);
                        return false;
                    }
                }
                Output::ResponseBody { data, end_stream } => {
                    let answer = call.answer.get_or_insert_default();
                    answer.body.extend_from_slice(&data);
                    if end_stream {
                        self.finish_call(id, true);
                        return false;
                    }
                }
                Output::ResponseTrailers(trailers) => {
                    call.answer.get_or_insert_default().trailers = trailers;
                    self.finish_call(id, true);
                    return false;
                }
                Output::LocalResponse { headers, body, .. } => {
                    let sent = call.sent;
                    call.answer = Some(CallResponse {
                        headers,
                        body,
                        trailers: HeaderMap::new(),
                    });
                    // Answered inside the call: the guest learns it from the status alone.
                    self.finish_call(id, sent);
                    return false;
                }
                Output::Reset { .. } => {
                    let sent = call.sent;
                    call.answer = None;
                    self.finish_call(id, sent);
                    return false;
                }
            }
        }
    }

    /// Takes over what has left the upstream filters of all call-outs meanwhile.
    pub(crate) fn collect_calls(&mut self) {
        let waiting: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(_, call)| call.attempt.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.collect_call(id);
        }
    }

    /// Answers a call-out that was sent.
    pub(crate) fn answer_call(&mut self, id: CallId, answer: CallAnswer) {
        let now_ns = self.now_ns;
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let attempt = call.attempt;
        call.answered = true;
        match answer {
            CallAnswer::Response {
                mut headers,
                body,
                trailers,
            } => {
                if headers.get(":status").is_none() {
                    headers.add(":status", "200");
                }
                // The router of a call-out notes how long the upstream took.
                let elapsed_ms = now_ns.saturating_sub(call.pending.started_ns) / 1_000_000;
                headers.set("x-envoy-upstream-service-time", elapsed_ms.to_string());
                let Some(attempt) = attempt else {
                    call.answer = Some(CallResponse {
                        headers,
                        body,
                        trailers,
                    });
                    self.finish_call(id, true);
                    return;
                };
                let ends = body.is_empty() && trailers.is_empty();
                self.give_headers(attempt, Direction::Response, headers, ends);
                if !body.is_empty() {
                    self.give_body(attempt, Direction::Response, &body, trailers.is_empty());
                }
                if !trailers.is_empty() {
                    self.give_trailers(attempt, Direction::Response, trailers);
                }
                self.collect_call(id);
            }
            CallAnswer::Disconnected => self.answer_locally(id, 503, DISCONNECTED),
            CallAnswer::Refused => self.answer_locally(id, 503, REFUSED),
            CallAnswer::Reset => {
                call.answer = None;
                self.finish_call(id, true);
            }
        }
    }

    /// The proxy's own answer to a call-out that took too long.
    pub(crate) fn time_out_call(&mut self, id: CallId) {
        self.answer_locally(id, 504, TIMED_OUT);
    }

    fn answer_locally(&mut self, id: CallId, status: u32, body: &str) {
        let has_answer = self.rules.failed_calls_have_answers;
        if let Some(call) = self.calls.get_mut(&id) {
            if !has_answer {
                call.answer = None;
                self.finish_call(id, true);
                return;
            }
            let status = status.to_string();
            let length = body.len().to_string();
            call.answer = Some(CallResponse {
                headers: HeaderMap::from([
                    (":status", status.as_str()),
                    ("content-length", length.as_str()),
                    ("content-type", "text/plain"),
                ]),
                body: body.into(),
                trailers: HeaderMap::new(),
            });
            self.finish_call(id, true);
        }
    }

    /// Ends a call-out and, if the guest waits for it, delivers the answer. None is a reset.
    fn finish_call(&mut self, id: CallId, deliver: bool) {
        let Some(call) = self.calls.remove(&id) else {
            return;
        };
        self.polled_calls = self.polled_calls.saturating_sub(usize::from(call.polled));
        if let Some(due) = call.timer {
            self.timers.remove(due);
        }
        if deliver {
            self.deliver(call.instance, call.root, call.token, call.answer);
        }
        if let Some(attempt) = call.attempt {
            if let Some(stream) = self.streams.get_mut(attempt) {
                stream.closed = true;
            }
            self.end_filters(attempt);
            self.streams.remove(attempt);
        }
    }

    fn deliver(&mut self, instance: usize, root: u32, token: u32, answer: Option<CallResponse>) {
        let size = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).cast_signed();
        let (headers, body, trailers) = answer.as_ref().map_or((0, 0, 0), |answer| {
            (
                size(answer.headers.len()),
                size(answer.body.len()),
                size(answer.trailers.len()),
            )
        });
        let target = self.instances.at_mut(instance);
        let Some(context) = target.contexts.get(&root).copied() else {
            return;
        };
        if let Some(state) = target.root_mut(root) {
            if answer.is_none() {
                state.status_code = BROKEN_CONNECTION;
                "reset".clone_into(&mut state.status_message);
            }
            state.response = answer.map(Box::new);
        }
        self.call(
            instance,
            CallbackKind::HttpCallResponse,
            Context { ..context },
            |exports| exports.http_call_response.as_ref(),
            (
                root.cast_signed(),
                token.cast_signed(),
                headers,
                body,
                trailers,
            ),
        );
        // Gone before anything that the guest asked for happens.
        if let Some(state) = self.instances.at_mut(instance).root_mut(root) {
            state.response = None;
            state.status_message.clear();
        }
        self.after_call(instance);
    }

    /// Headers come in.
    pub(crate) fn give_headers(
        &mut self,
        id: crate::output::StreamId,
        direction: Direction,
        headers: HeaderMap,
        end_stream: bool,
    ) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if stream.finished || stream.closed || stream.local.is_some() {
            return;
        }
        match direction {
            Direction::Request => {
                stream.is_head = headers.get(":method") == Some(b"HEAD");
                stream.is_grpc = headers
                    .get("content-type")
                    .is_some_and(is_grpc_content_type);
            }
            Direction::Response => {
                // Of an attempt the router notes the code behind the upstream filters.
                if stream.kind == StreamKind::Listener {
                    stream.response_code = headers
                        .get_str(":status")
                        .and_then(|status| status.parse().ok());
                }
                if stream.response_facts.code_details.is_empty() {
                    "via_upstream".clone_into(&mut stream.response_facts.code_details);
                }
            }
        }
        let side = stream.side_mut(direction);
        side.started = true;
        side.headers = headers;
        side.complete = end_stream;
        if direction == Direction::Request {
            self.create_filters(id);
        }
        self.pass_headers(id, direction, 0, end_stream);
    }

    /// A part of a body comes in.
    pub(crate) fn give_body(
        &mut self,
        id: crate::output::StreamId,
        direction: Direction,
        data: &[u8],
        end_stream: bool,
    ) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if stream.finished || stream.closed || stream.side(direction).aborted {
            return;
        }
        if direction == Direction::Response && stream.local.is_some() {
            return;
        }
        let side = stream.side_mut(direction);
        if direction == Direction::Request {
            side.bytes = side.bytes.saturating_add(data.len() as u64);
        }
        side.complete = end_stream;
        side.passing.clear();
        side.passing.extend_from_slice(data);
        self.pass_body(id, direction, 0, Body::Passing, end_stream);
        if let Some(stream) = self.streams.get_mut(id) {
            stream.side_mut(direction).passing.clear();
        }
    }

    /// Trailers come in.
    pub(crate) fn give_trailers(
        &mut self,
        id: crate::output::StreamId,
        direction: Direction,
        trailers: HeaderMap,
    ) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if stream.finished || stream.closed || stream.side(direction).aborted {
            return;
        }
        if direction == Direction::Response && stream.local.is_some() {
            return;
        }
        let side = stream.side_mut(direction);
        side.trailers = Some(trailers);
        side.complete = true;
        self.pass_trailers(id, direction, 0);
    }
}

/// SOURCE: gRPC's content types: the plain one, or with a subtype after a plus sign.
fn is_grpc_content_type(value: &[u8]) -> bool {
    value
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'+'))
}
