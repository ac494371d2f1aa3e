//! Headers on their way.

use crate::output::{Output, StreamId};
use crate::vm::run::Run;
use crate::world::streams::{Direction, Iteration, StreamKind};

/// What a filter answers to headers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HeadersStatus {
    Continue,
    /// Hold headers back; the body still reaches the filter.
    Stop,
    StopAllBuffer,
    StopAllWatermark,
}

impl Run<'_> {
    /// Lets headers pass the filters from a step on.
    pub(crate) fn pass_headers(
        &mut self,
        id: StreamId,
        direction: Direction,
        from: usize,
        end_stream: bool,
    ) {
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
            if let Some(filter) = stream.filters.get_mut(index) {
                filter.side_mut(direction).end_stream = end_stream;
            }
            self.calling(id, direction, true);
            let mut status = self.filter_headers(id, direction, index, end_stream);
            self.calling(id, direction, false);
            if self.is_aborted(id, direction) {
                if direction == Direction::Request {
                    self.run_prepared_reply(id);
                    return;
                }
                status = HeadersStatus::Stop;
            }
            if !self.after_headers(id, direction, index, status) {
                return;
            }
            step = step.saturating_add(1);
        }
        self.emit_headers(id, direction, end_stream);
    }

    /// Notes what a filter answered; tells whether the next filter is to see the headers.
    fn after_headers(
        &mut self,
        id: StreamId,
        direction: Direction,
        index: usize,
        status: HeadersStatus,
    ) -> bool {
        let Some(filter) = self.streams.filter_mut(id, index) else {
            return false;
        };
        let side = filter.side_mut(direction);
        side.iteration = match status {
            HeadersStatus::Stop => Iteration::StopHeaders,
            HeadersStatus::StopAllBuffer => Iteration::StopAllBuffer,
            HeadersStatus::StopAllWatermark => Iteration::StopAllWatermark,
            HeadersStatus::Continue => {
                side.headers_continued = true;
                return true;
            }
        };
        false
    }

    pub(super) fn is_aborted(&self, id: StreamId, direction: Direction) -> bool {
        self.streams
            .get(id)
            .is_none_or(|stream| stream.side(direction).aborted)
    }

    fn emit_headers(&mut self, id: StreamId, direction: Direction, end_stream: bool) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let side = stream.side_mut(direction);
        if side.emitted {
            return;
        }
        side.emitted = true;
        side.ended = end_stream;
        let headers = side.headers.clone();
        match direction {
            Direction::Request => stream.outputs.push_back(Output::RequestHeaders {
                headers,
                end_stream,
            }),
            Direction::Response => {
                if stream.response_code.is_none() && stream.kind == StreamKind::Listener {
                    stream.response_code =
                        headers.get_str(":status").and_then(|it| it.parse().ok());
                }
                if let Some(local) = &mut stream.local {
                    local.sent = headers;
                } else {
                    stream.outputs.push_back(Output::ResponseHeaders {
                        headers,
                        end_stream,
                    });
                }
                if end_stream {
                    self.finish_response(id);
                }
            }
        }
    }
}
