//! One filter's callbacks: what a guest can reach during and after each, and what its answers mean.

use super::body::BodyStatus;
use super::headers::HeadersStatus;
use super::trailers::TrailersStatus;
use crate::callback::CallbackKind;
use crate::output::StreamId;
use crate::vm::exports::{Exports, Headers};
use crate::vm::instance::Context;
use crate::vm::run::{Called, Run};
use crate::world::streams::{Body, Direction, LocalReply, StreamKind};

/// How a filter whose VM is dead answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Failed {
    /// As if it were not there.
    Open,
    /// The stream was answered with 503.
    Closed,
}

const WASM_FAIL_STREAM: &str = "wasm_fail_stream";
const GRPC_UNAVAILABLE: i32 = 14;

fn length(count: usize) -> i32 {
    u32::try_from(count).unwrap_or(u32::MAX).cast_signed()
}

impl Run<'_> {
    /// The context of a filter.
    pub(super) fn filter_context(&self, id: StreamId, index: usize) -> Option<(usize, Context)> {
        let (_, filter) = self.streams.filter(id, index)?;
        let context = Context {
            id: filter.context,
            plugin: filter.plugin,
            root: filter.root,
            stream: Some((id, index)),
        };
        Some((filter.instance?, context))
    }

    /// Tells the guest of a stream context, once.
    pub(super) fn create_context(&mut self, id: StreamId, index: usize) {
        let created = self
            .streams
            .filter_mut(id, index)
            .is_none_or(|filter| std::mem::replace(&mut filter.created, true));
        if created {
            return;
        }
        let Some((instance, context)) = self.filter_context(id, index) else {
            return;
        };
        if self.is_dead(instance) {
            return;
        }
        self.call(
            instance,
            CallbackKind::ContextCreate,
            context,
            |exports| exports.context_create.as_ref(),
            (context.id.cast_signed(), context.root.cast_signed()),
        );
        self.after_call(instance);
    }

    /// Answers for a filter whose VM is dead; `None` while it lives. Also where the policy is to let
    /// traffic pass, Envoy fails the streams that have met the VM: only those that come later pass.
    fn check_failed(&mut self, id: StreamId, index: usize) -> Option<Failed> {
        let (_, filter) = self.streams.filter(id, index)?;
        if filter
            .instance
            .is_some_and(|instance| !self.is_dead(instance))
        {
            return None;
        }
        let failed = self
            .streams
            .filter_mut(id, index)
            .is_none_or(|filter| std::mem::replace(&mut filter.failed, true));
        if !failed && self.is_connection(id) {
            self.fail_connection(id);
        } else if !failed {
            let reply = LocalReply {
                status: 503,
                details: WASM_FAIL_STREAM.to_owned(),
                grpc_status: Some(GRPC_UNAVAILABLE),
                ..LocalReply::default()
            };
            self.send_local_reply(id, Box::new(reply));
        }
        Some(Failed::Closed)
    }

    fn is_connection(&self, id: StreamId) -> bool {
        let stream = self.streams.get(id);
        stream.is_some_and(|stream| stream.kind == StreamKind::Connection)
    }

    /// Whether traffic passes a filter whose VM is dead; `None` while it lives.
    pub(super) fn failed_open(&mut self, id: StreamId, index: usize) -> Option<bool> {
        let failed = self.check_failed(id, index)?;
        Some(failed == Failed::Open)
    }

    /// Whether the guest is to see a direction of the stream at all.
    fn sees(&self, id: StreamId, direction: Direction, index: usize) -> bool {
        self.streams.filter(id, index).is_some_and(|(_, filter)| {
            let response = direction == Direction::Response;
            !filter.skip && !(response && (!filter.created || filter.failed))
        })
    }

    /// What a callback answered: its raw value, or how the dead VM's filter answers.
    fn settle(&mut self, id: StreamId, index: usize, called: Called<i32>) -> Result<u32, Failed> {
        match called {
            Called::Missing => Ok(0),
            Called::Returned(raw) => Ok(raw.cast_unsigned()),
            // A VM that could not be entered again is alive: the filter is as if it were not there.
            Called::Failed => Err(self.check_failed(id, index).unwrap_or(Failed::Open)),
        }
    }

    pub(super) fn filter_headers(
        &mut self,
        id: StreamId,
        direction: Direction,
        index: usize,
        end_stream: bool,
    ) -> HeadersStatus {
        if !self.sees(id, direction, index) {
            return HeadersStatus::Continue;
        }
        if direction == Direction::Request {
            self.create_context(id, index);
        }
        let Some(stream) = self.streams.get_mut(id) else {
            return HeadersStatus::Continue;
        };
        let count = length(stream.side(direction).headers.len());
        if let Some(filter) = stream.filters.get_mut(index) {
            filter.end_of_stream = end_stream;
            filter.side_mut(direction).headers = true;
        }
        let answer = self.headers_answer(id, direction, index, count, end_stream);
        if answer == HeadersStatus::Continue
            && let Some(filter) = self.streams.filter_mut(id, index)
        {
            filter.side_mut(direction).headers = false;
        }
        answer
    }

    fn headers_answer(
        &mut self,
        id: StreamId,
        direction: Direction,
        index: usize,
        count: i32,
        end_stream: bool,
    ) -> HeadersStatus {
        let closed = |failed: Failed| match failed {
            Failed::Open => HeadersStatus::Continue,
            Failed::Closed => HeadersStatus::StopAllWatermark,
        };
        if let Some(failed) = self.check_failed(id, index) {
            return closed(failed);
        }
        let Some((instance, context)) = self.filter_context(id, index) else {
            return HeadersStatus::Continue;
        };
        let called = self.call_headers(instance, context, direction, count, end_stream);
        if called == Called::Missing {
            return HeadersStatus::Continue;
        }
        let settled = self.settle(id, index, called);
        let stopped = self.instances.at(instance).stop_iteration;
        let allowed = self
            .plugins
            .at(context.plugin)
            .config
            .allow_on_headers_stop_iteration;
        self.after_call(instance);
        match settled {
            Err(failed) => closed(failed),
            Ok(_) if stopped => HeadersStatus::StopAllWatermark,
            // Envoy has no answer 2 for headers, and takes what it does not know below 3 as continue.
            Ok(0 | 2) => HeadersStatus::Continue,
            Ok(1) if allowed => HeadersStatus::Stop,
            Ok(3) => HeadersStatus::StopAllBuffer,
            Ok(_) => HeadersStatus::StopAllWatermark,
        }
    }

    fn call_headers(
        &mut self,
        instance: usize,
        context: Context,
        direction: Direction,
        count: i32,
        end_stream: bool,
    ) -> Called<i32> {
        const fn of(exports: &Exports, direction: Direction) -> &Headers {
            match direction {
                Direction::Request => &exports.request_headers,
                Direction::Response => &exports.response_headers,
            }
        }
        let kind = match direction {
            Direction::Request => CallbackKind::RequestHeaders,
            Direction::Response => CallbackKind::ResponseHeaders,
        };
        let id = context.id.cast_signed();
        let called = self.call(
            instance,
            kind,
            context,
            |exports| of(exports, direction).of_0_2_0.as_ref(),
            (id, count, i32::from(end_stream)),
        );
        if called != Called::Missing {
            return called;
        }
        self.call(
            instance,
            kind,
            context,
            |exports| of(exports, direction).of_0_1_0.as_ref(),
            (id, count),
        )
    }

    pub(super) fn filter_body(
        &mut self,
        id: StreamId,
        direction: Direction,
        index: usize,
        body: Body,
        end_stream: bool,
    ) -> BodyStatus {
        let created = self
            .streams
            .filter(id, index)
            .is_some_and(|(_, filter)| filter.created);
        if !created || !self.sees(id, direction, index) {
            return BodyStatus::Continue;
        }
        let buffering = self
            .streams
            .filter(id, index)
            .is_some_and(|(_, filter)| filter.side(direction).buffering);
        if buffering {
            // The guest wants to see old and new bytes together.
            self.hold(id, direction, body, false);
            if self.is_over(id) {
                return BodyStatus::StopBuffer;
            }
        }
        let Some(stream) = self.streams.get_mut(id) else {
            return BodyStatus::Continue;
        };
        let shown = if buffering { Body::Held } else { body };
        let side = stream.side(direction);
        let size = length(match shown {
            Body::Passing => side.passing.len(),
            Body::Held => side.held.as_ref().map_or(0, Vec::len),
        });
        if let Some(filter) = stream.filters.get_mut(index) {
            filter.end_of_stream = end_stream;
            filter.side_mut(direction).body = Some(shown);
        }
        let answer = self.body_answer(id, direction, index, size, end_stream);
        if let Some(filter) = self.streams.filter_mut(id, index) {
            let side = filter.side_mut(direction);
            side.buffering = answer == BodyStatus::StopBuffer;
            match answer {
                BodyStatus::Continue => side.body = None,
                BodyStatus::StopBuffer | BodyStatus::StopWatermark => side.body = Some(Body::Held),
                BodyStatus::StopNoBuffer => {}
            }
        }
        answer
    }

    fn body_answer(
        &mut self,
        id: StreamId,
        direction: Direction,
        index: usize,
        size: i32,
        end_stream: bool,
    ) -> BodyStatus {
        let closed = |failed: Failed| match failed {
            Failed::Open => BodyStatus::Continue,
            Failed::Closed => BodyStatus::StopNoBuffer,
        };
        if let Some(failed) = self.check_failed(id, index) {
            return closed(failed);
        }
        let Some((instance, context)) = self.filter_context(id, index) else {
            return BodyStatus::Continue;
        };
        let parameters = (context.id.cast_signed(), size, i32::from(end_stream));
        let called = match direction {
            Direction::Request => self.call(
                instance,
                CallbackKind::RequestBody,
                context,
                |exports| exports.request_body.as_ref(),
                parameters,
            ),
            Direction::Response => self.call(
                instance,
                CallbackKind::ResponseBody,
                context,
                |exports| exports.response_body.as_ref(),
                parameters,
            ),
        };
        if called == Called::Missing {
            return BodyStatus::Continue;
        }
        let settled = self.settle(id, index, called);
        let stopped = self.instances.at(instance).stop_iteration;
        self.after_call(instance);
        match settled {
            Err(failed) => closed(failed),
            Ok(_) if stopped => BodyStatus::StopNoBuffer,
            Ok(0) => BodyStatus::Continue,
            Ok(1) => BodyStatus::StopBuffer,
            Ok(2) => BodyStatus::StopWatermark,
            Ok(_) => BodyStatus::StopNoBuffer,
        }
    }

    pub(super) fn filter_trailers(
        &mut self,
        id: StreamId,
        direction: Direction,
        index: usize,
    ) -> TrailersStatus {
        let created = self
            .streams
            .filter(id, index)
            .is_some_and(|(_, filter)| filter.created);
        if !created || !self.sees(id, direction, index) {
            return TrailersStatus::Continue;
        }
        let Some(stream) = self.streams.get_mut(id) else {
            return TrailersStatus::Continue;
        };
        let trailers = stream.side(direction).trailers.as_ref();
        let count = length(trailers.map_or(0, crate::HeaderMap::len));
        if let Some(filter) = stream.filters.get_mut(index) {
            filter.side_mut(direction).trailers = true;
        }
        let answer = self.trailers_answer(id, direction, index, count);
        if answer == TrailersStatus::Continue
            && let Some(filter) = self.streams.filter_mut(id, index)
        {
            filter.side_mut(direction).trailers = false;
        }
        answer
    }

    fn trailers_answer(
        &mut self,
        id: StreamId,
        direction: Direction,
        index: usize,
        count: i32,
    ) -> TrailersStatus {
        let closed = |failed: Failed| match failed {
            Failed::Open => TrailersStatus::Continue,
            Failed::Closed => TrailersStatus::Stop,
        };
        if let Some(failed) = self.check_failed(id, index) {
            return closed(failed);
        }
        let Some((instance, context)) = self.filter_context(id, index) else {
            return TrailersStatus::Continue;
        };
        let parameters = (context.id.cast_signed(), count);
        let called = match direction {
            Direction::Request => self.call(
                instance,
                CallbackKind::RequestTrailers,
                context,
                |exports| exports.request_trailers.as_ref(),
                parameters,
            ),
            Direction::Response => self.call(
                instance,
                CallbackKind::ResponseTrailers,
                context,
                |exports| exports.response_trailers.as_ref(),
                parameters,
            ),
        };
        if called == Called::Missing {
            return TrailersStatus::Continue;
        }
        let settled = self.settle(id, index, called);
        let stopped = self.instances.at(instance).stop_iteration;
        self.after_call(instance);
        match settled {
            Err(failed) => closed(failed),
            Ok(0) if !stopped => TrailersStatus::Continue,
            Ok(_) => TrailersStatus::Stop,
        }
    }
}
