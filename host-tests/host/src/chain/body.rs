//! Bodies on their way.

use super::HELD_BYTES;
use crate::output::{Output, StreamId};
use crate::vm::run::Run;
use crate::world::streams::{Body, Direction, Iteration, LocalReply, Side};

/// What a filter answers to a part of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BodyStatus {
    Continue,
    StopBuffer,
    StopWatermark,
    StopNoBuffer,
}

impl Run<'_> {
    /// Lets bytes pass the filters from a step on.
    pub(crate) fn pass_body(
        &mut self,
        id: StreamId,
        direction: Direction,
        from: usize,
        body: Body,
        mut end_stream: bool,
    ) {
        let mut trailers_added_at = None;
        let mut step = from;
        loop {
            if self.is_over(id) {
                return;
            }
            let Some(stream) = self.streams.get_mut(id) else {
                return;
            };
            if step >= stream.filters.len() {
                break;
            }
            let index = stream.step(direction, step);
            let had_trailers = stream.side(direction).trailers.is_some();
            let Some(filter) = stream.filters.get_mut(index) else {
                return;
            };
            let filter = filter.side_mut(direction);
            if filter.iteration.stops_all() {
                let streaming = filter.iteration == Iteration::StopAllWatermark;
                self.hold(id, direction, body, streaming);
                return;
            }
            // A filter that was told the end gets nothing more, and neither do those behind it.
            if filter.end_stream {
                return;
            }
            let end = end_stream && !had_trailers;
            filter.end_stream = end;
            self.calling(id, direction, true);
            let mut status = self.filter_body(id, direction, index, body, end);
            self.calling(id, direction, false);
            if self.is_aborted(id, direction) {
                if direction == Direction::Request {
                    self.run_prepared_reply(id);
                    return;
                }
                status = BodyStatus::StopNoBuffer;
            }
            let has_trailers = self
                .streams
                .get(id)
                .is_some_and(|stream| stream.side(direction).trailers.is_some());
            if !had_trailers && has_trailers && trailers_added_at.is_none() {
                end_stream = false;
                trailers_added_at = Some(step);
            }
            if !self.after_body(id, direction, index, status, body) {
                return;
            }
            step = step.saturating_add(1);
        }
        self.emit_body(id, direction, body, end_stream);
        if let Some(step) = trailers_added_at {
            self.pass_trailers(id, direction, step.saturating_add(1));
        }
    }

    /// Notes what a filter answered; tells whether the next filter is to see the bytes.
    fn after_body(
        &mut self,
        id: StreamId,
        direction: Direction,
        index: usize,
        status: BodyStatus,
        body: Body,
    ) -> bool {
        let Some(stream) = self.streams.get_mut(id) else {
            return false;
        };
        let Some(filter) = stream.filters.get_mut(index) else {
            return false;
        };
        let filter = filter.side_mut(direction);
        match status {
            BodyStatus::Continue => {
                if filter.iteration != Iteration::StopHeaders {
                    return true;
                }
                let streaming = stream.side(direction).streaming;
                self.hold(id, direction, body, streaming);
                self.continue_filter(id, index, direction);
            }
            BodyStatus::StopBuffer | BodyStatus::StopWatermark => {
                filter.iteration = Iteration::StopHeaders;
                self.hold(id, direction, body, status == BodyStatus::StopWatermark);
            }
            BodyStatus::StopNoBuffer => {
                filter.iteration = Iteration::StopHeaders;
                let side = stream.side_mut(direction);
                // The end of the stream must not be lost with the bytes.
                if side.complete && side.trailers.is_none() && side.held.is_none() {
                    side.held = Some(Vec::new());
                }
            }
        }
        false
    }

    /// Adds bytes to what is held back.
    pub(super) fn hold(&mut self, id: StreamId, direction: Direction, body: Body, streaming: bool) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let side = stream.side_mut(direction);
        side.streaming = streaming;
        let held = side.held.get_or_insert_default();
        if body == Body::Passing {
            held.append(&mut side.passing);
        }
        if !streaming && held.len() > HELD_BYTES {
            self.too_large(id, direction);
        }
    }

    fn too_large(&mut self, id: StreamId, direction: Direction) {
        let (status, body, details) = match direction {
            Direction::Request => (413, "Payload Too Large", "request_payload_too_large"),
            Direction::Response => (500, "Internal Server Error", "response_payload_too_large"),
        };
        let reply = LocalReply {
            status,
            body: body.into(),
            details: details.to_owned(),
            ..LocalReply::default()
        };
        self.send_local_reply(id, Box::new(reply));
    }

    fn emit_body(&mut self, id: StreamId, direction: Direction, body: Body, end_stream: bool) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let side = stream.side_mut(direction);
        let data = take(side, body);
        if side.ended {
            return;
        }
        side.ended = end_stream;
        match direction {
            Direction::Request => stream
                .outputs
                .push_back(Output::RequestBody { data, end_stream }),
            Direction::Response => {
                stream.response.bytes = stream.response.bytes.saturating_add(data.len() as u64);
                if let Some(local) = &mut stream.local {
                    local.sent_body.extend_from_slice(&data);
                } else {
                    stream
                        .outputs
                        .push_back(Output::ResponseBody { data, end_stream });
                }
                if end_stream {
                    self.finish_response(id);
                }
            }
        }
    }
}

fn take(side: &mut Side, body: Body) -> Vec<u8> {
    match body {
        Body::Passing => std::mem::take(&mut side.passing),
        Body::Held => side.held.as_mut().map(std::mem::take).unwrap_or_default(),
    }
}
