//! What comes into a proxy.

use super::{InputError, Proxy};
use crate::attributes::{ResponseAttributes, StreamAttributes, UpstreamAttributes};
use crate::callback::CallbackKind;
use crate::headers::HeaderMap;
use crate::output::{CallAnswer, CallId, CloseReason, StreamId};
use crate::vm::instance::Tick;
use crate::vm::run::Run;
use crate::world::streams::{Direction, LocalReply, Stream, StreamKind};
use crate::world::timers::Event;

/// SOURCE: Envoy's response flags `DownstreamConnectionTermination` (DC) and
/// `UpstreamConnectionTermination` (UC).
const FLAG_CLIENT_RESET: u64 = 0x4000;
const FLAG_UPSTREAM_RESET: u64 = 0x40;

impl Proxy {
    /// Moves time forward and runs everything that is due until then, each event at its own time.
    /// A time that is not later runs only what is due already.
    pub fn advance_to(&mut self, now_ns: u64) {
        let now_ns = now_ns.max(self.home.now_ns);
        while let Some((due, event)) = self.home.timers.pop(now_ns) {
            self.home.now_ns = self.home.now_ns.max(due.at_ns);
            let mut run = Run::outside(&mut self.home);
            match event {
                Event::Tick { instance, root } => tick(&mut run, instance, root),
                Event::QueueReady { slot, root, token } => {
                    queue_ready(&mut run, slot, root, token);
                }
                Event::CallTimeout { call } => run.time_out_call(call),
                Event::GrpcTimeout { call } => run.time_out_grpc(call),
            }
            run.collect_calls();
        }
        self.home.now_ns = now_ns;
    }

    /// Opens a stream on a worker. Its contexts are created when its request headers come.
    ///
    /// # Errors
    ///
    /// No such worker → [`InputError::UnknownWorker`].
    pub fn open_stream(
        &mut self,
        worker: u32,
        attributes: StreamAttributes,
    ) -> Result<StreamId, InputError> {
        if worker >= self.home.workers {
            return Err(InputError::UnknownWorker);
        }
        let now_ns = self.home.now_ns;
        let stream = Stream::new(StreamKind::Listener, worker, 0, now_ns, attributes);
        Ok(self.home.streams.add(stream))
    }

    /// Opens one attempt of a stream through the upstream filters of a cluster. It is a stream of
    /// its own, which sees the properties that the stream's filters set. `None` when the cluster has
    /// no upstream filters.
    ///
    /// # Errors
    ///
    /// No such stream → [`InputError::UnknownStream`].
    pub fn open_attempt(
        &mut self,
        stream: StreamId,
        cluster: &str,
        upstream: UpstreamAttributes,
    ) -> Result<Option<StreamId>, InputError> {
        let now_ns = self.home.now_ns;
        let parent = self.home.streams.get(stream).filter(|it| !it.closed);
        let parent = parent.ok_or(InputError::UnknownStream)?;
        let Some(chain) = self.home.clusters.get(cluster).and_then(|it| it.chain) else {
            return Ok(None);
        };
        let mut attributes = parent.attributes.clone();
        cluster.clone_into(&mut attributes.cluster_name);
        let mut attempt = Stream::new(
            StreamKind::Attempt { of: stream },
            parent.thread,
            chain,
            now_ns,
            attributes,
        );
        attempt.upstream = upstream;
        Ok(Some(self.home.streams.add(attempt)))
    }

    /// Gives the request headers.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn request_headers(
        &mut self,
        stream: StreamId,
        headers: HeaderMap,
        end_stream: bool,
    ) -> Result<(), InputError> {
        self.headers(stream, Direction::Request, headers, end_stream)
    }

    /// Gives a part of the request body.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn request_body(
        &mut self,
        stream: StreamId,
        data: &[u8],
        end_stream: bool,
    ) -> Result<(), InputError> {
        self.body(stream, Direction::Request, data, end_stream)
    }

    /// Gives the request trailers; they end the request.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn request_trailers(
        &mut self,
        stream: StreamId,
        trailers: HeaderMap,
    ) -> Result<(), InputError> {
        self.trailers(stream, Direction::Request, trailers)
    }

    /// Gives the response headers.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn response_headers(
        &mut self,
        stream: StreamId,
        headers: HeaderMap,
        end_stream: bool,
    ) -> Result<(), InputError> {
        self.headers(stream, Direction::Response, headers, end_stream)
    }

    /// Gives a part of the response body.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn response_body(
        &mut self,
        stream: StreamId,
        data: &[u8],
        end_stream: bool,
    ) -> Result<(), InputError> {
        self.body(stream, Direction::Response, data, end_stream)
    }

    /// Gives the response trailers; they end the response.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn response_trailers(
        &mut self,
        stream: StreamId,
        trailers: HeaderMap,
    ) -> Result<(), InputError> {
        self.trailers(stream, Direction::Response, trailers)
    }

    /// Answers a stream as the proxy's own router would, such as 503 without an endpoint: the answer
    /// passes the response filters. `details` is the response code details.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn local_reply(
        &mut self,
        stream: StreamId,
        status: u32,
        headers: HeaderMap,
        body: &[u8],
        details: &str,
    ) -> Result<(), InputError> {
        self.open(stream)?;
        let reply = LocalReply {
            status,
            headers,
            body: body.to_vec(),
            details: details.to_owned(),
            ..LocalReply::default()
        };
        self.run(|run| run.send_local_reply(stream, Box::new(reply)));
        Ok(())
    }

    /// Tells which endpoint serves; before the response headers.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn set_upstream(
        &mut self,
        stream: StreamId,
        upstream: UpstreamAttributes,
    ) -> Result<(), InputError> {
        self.open(stream)?.upstream = upstream;
        Ok(())
    }

    /// Tells what is known about the response besides its bytes; any time before the stream closes.
    /// Empty details leave those that the proxy knows.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn set_response(
        &mut self,
        stream: StreamId,
        response: ResponseAttributes,
    ) -> Result<(), InputError> {
        let facts = &mut self.open(stream)?.response_facts;
        let details = if response.code_details.is_empty() {
            std::mem::take(&mut facts.code_details)
        } else {
            response.code_details
        };
        *facts = ResponseAttributes {
            code_details: details,
            ..response
        };
        Ok(())
    }

    /// Tells which response headers went to the client in the end, after what the connection manager added and
    /// removed: these are what filters read in the log.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn sent_response_headers(
        &mut self,
        stream: StreamId,
        headers: HeaderMap,
    ) -> Result<(), InputError> {
        self.open(stream)?.response.headers = headers;
        Ok(())
    }

    /// Tells which route and which cluster were chosen, after request headers changed. Both empty: no route matched.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn set_route(
        &mut self,
        stream: StreamId,
        cluster: &str,
        route: &str,
    ) -> Result<(), InputError> {
        let attributes = &mut self.open(stream)?.attributes;
        cluster.clone_into(&mut attributes.cluster_name);
        route.clone_into(&mut attributes.route_name);
        Ok(())
    }

    /// Tells that the route chose another cluster, after request headers changed.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn set_cluster(&mut self, stream: StreamId, cluster: &str) -> Result<(), InputError> {
        cluster.clone_into(&mut self.open(stream)?.attributes.cluster_name);
        Ok(())
    }

    /// Ends a stream: log → done → delete for every filter (an upstream filter gets no log). The
    /// stream is forgotten once its outputs are drained.
    ///
    /// # Errors
    ///
    /// See [`InputError`].
    pub fn close_stream(
        &mut self,
        stream: StreamId,
        reason: CloseReason,
    ) -> Result<(), InputError> {
        let now_ns = self.home.now_ns;
        let found = self.open(stream)?;
        found.closed = true;
        found.duration_ns = Some(now_ns.saturating_sub(found.opened_ns));
        let facts = &mut found.response_facts;
        match reason {
            CloseReason::Complete => {}
            CloseReason::ClientReset => {
                facts.flags |= FLAG_CLIENT_RESET;
                if facts.code_details.is_empty() || facts.code_details == "via_upstream" {
                    "downstream_remote_disconnect".clone_into(&mut facts.code_details);
                }
            }
            CloseReason::UpstreamReset => {
                facts.flags |= FLAG_UPSTREAM_RESET;
                if facts.code_details == "via_upstream" {
                    "upstream_reset_after_response_started{connection_termination}"
                        .clone_into(&mut facts.code_details);
                }
            }
        }
        self.run(|run| run.end_filters(stream));
        Ok(())
    }

    /// Answers a call-out; the callback runs at once.
    ///
    /// # Errors
    ///
    /// No such call-out → [`InputError::UnknownCall`].
    pub fn answer_call(&mut self, call: CallId, answer: CallAnswer) -> Result<(), InputError> {
        // One that is answered and waits for an upstream filter is not answered again.
        let known = self.home.calls.get(&call);
        if !known.is_some_and(|call| call.sent && !call.answered) {
            return Err(InputError::UnknownCall);
        }
        self.run(|run| run.answer_call(call, answer));
        Ok(())
    }

    /// Pushes a message into a queue, as another VM would; its owner is told ten microseconds later.
    /// Tells whether the queue exists.
    pub fn enqueue(&mut self, vm_id: &str, queue: &str, message: &[u8]) -> bool {
        let token = self.home.queues.resolve(vm_id, queue.as_bytes());
        token.is_some_and(|token| {
            crate::host::shared::push(&mut self.home, token, message) == crate::Status::Ok
        })
    }

    pub(super) fn run(&mut self, input: impl FnOnce(&mut Run<'_>)) {
        let mut run = Run::outside(&mut self.home);
        input(&mut run);
        if !run.calls.is_empty() {
            run.collect_calls();
        }
    }

    fn open(&mut self, stream: StreamId) -> Result<&mut Stream, InputError> {
        self.home
            .streams
            .get_mut(stream)
            .filter(|stream| {
                let is_internal = matches!(
                    stream.kind,
                    StreamKind::CallOut { .. } | StreamKind::Connection
                );
                !stream.closed && !is_internal
            })
            .ok_or(InputError::UnknownStream)
    }

    fn headers(
        &mut self,
        stream: StreamId,
        direction: Direction,
        headers: HeaderMap,
        end_stream: bool,
    ) -> Result<(), InputError> {
        let found = self.open(stream)?;
        if found.side(direction).started && found.local.is_none() {
            return Err(InputError::OutOfOrder("headers come once"));
        }
        if direction == Direction::Response && !found.request.started {
            return Err(InputError::OutOfOrder(
                "a response comes after the request's headers",
            ));
        }
        if direction == Direction::Request && found.request.started {
            return Err(InputError::OutOfOrder("headers come once"));
        }
        self.run(|run| run.give_headers(stream, direction, headers, end_stream));
        Ok(())
    }

    fn body(
        &mut self,
        stream: StreamId,
        direction: Direction,
        data: &[u8],
        end_stream: bool,
    ) -> Result<(), InputError> {
        self.after_headers(stream, direction)?;
        self.run(|run| run.give_body(stream, direction, data, end_stream));
        Ok(())
    }

    fn trailers(
        &mut self,
        stream: StreamId,
        direction: Direction,
        trailers: HeaderMap,
    ) -> Result<(), InputError> {
        self.after_headers(stream, direction)?;
        self.run(|run| run.give_trailers(stream, direction, trailers));
        Ok(())
    }

    fn after_headers(&mut self, stream: StreamId, direction: Direction) -> Result<(), InputError> {
        let found = self.open(stream)?;
        // What comes after the proxy answered itself, or after the end, is not an error of the
        // driver: real peers go on sending, too.
        if found.finished || found.local.is_some() {
            return Ok(());
        }
        if !found.side(direction).started {
            return Err(InputError::OutOfOrder("headers come first"));
        }
        if found.side(direction).complete {
            return Err(InputError::OutOfOrder("the end has come already"));
        }
        Ok(())
    }
}

fn tick(run: &mut Run<'_>, instance: usize, root: u32) {
    let Some(context) = run.instances.at(instance).contexts.get(&root).copied() else {
        return;
    };
    // The timer is armed again after the callback, unless that chose another period.
    if let Some(tick) = run.instances.at_mut(instance).ticks.get_mut(&root) {
        tick.due = None;
    }
    run.call(
        instance,
        CallbackKind::Tick,
        context,
        |exports| exports.tick.as_ref(),
        root.cast_signed(),
    );
    run.after_call(instance);
    let Some(Tick {
        period_ns,
        due: None,
    }) = run.instances.at(instance).ticks.get(&root).copied()
    else {
        return;
    };
    let at_ns = run.now_ns.saturating_add(period_ns);
    let due = run.plan(at_ns, instance, Event::Tick { instance, root });
    if let Some(tick) = run.instances.at_mut(instance).ticks.get_mut(&root) {
        tick.due = Some(due);
    }
}

fn queue_ready(run: &mut Run<'_>, slot: usize, root: u32, token: u32) {
    let Some(instance) = run.slots.get(slot).map(|slot| slot.instance) else {
        return;
    };
    let Some(context) = run.instances.at(instance).contexts.get(&root).copied() else {
        return;
    };
    run.call(
        instance,
        CallbackKind::QueueReady,
        context,
        |exports| exports.queue_ready.as_ref(),
        (root.cast_signed(), token.cast_signed()),
    );
    run.after_call(instance);
}
