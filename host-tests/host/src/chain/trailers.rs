//! Trailers on their way.

use crate::output::{Output, StreamId};
use crate::vm::run::Run;
use crate::world::streams::{Direction, Iteration};

/// What a filter answers to trailers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TrailersStatus {
    Continue,
    Stop,
}

impl Run<'_> {
    /// Lets trailers pass the filters from a step on.
    pub(crate) fn pass_trailers(&mut self, id: StreamId, direction: Direction, from: usize) {
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
            let Some(filter) = stream.filters.get_mut(index) else {
                return;
            };
            let filter = filter.side_mut(direction);
            if filter.iteration.stops_all() {
                return;
            }
            filter.end_stream = true;
            self.calling(id, direction, true);
            let mut status = self.filter_trailers(id, direction, index);
            self.calling(id, direction, false);
            if self.is_aborted(id, direction) {
                if direction == Direction::Request {
                    self.run_prepared_reply(id);
                    return;
                }
                status = TrailersStatus::Stop;
            }
            if !self.after_trailers(id, direction, index, status) {
                return;
            }
            step = step.saturating_add(1);
        }
        self.emit_trailers(id, direction);
    }

    fn after_trailers(
        &mut self,
        id: StreamId,
        direction: Direction,
        index: usize,
        status: TrailersStatus,
    ) -> bool {
        let Some(filter) = self.streams.filter_mut(id, index) else {
            return false;
        };
        let side = filter.side_mut(direction);
        if status == TrailersStatus::Stop {
            side.iteration = Iteration::StopHeaders;
            return false;
        }
        if side.iteration == Iteration::StopHeaders {
            self.continue_filter(id, index, direction);
            return false;
        }
        true
    }

    fn emit_trailers(&mut self, id: StreamId, direction: Direction) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let side = stream.side_mut(direction);
        if side.ended {
            return;
        }
        side.ended = true;
        let trailers = side.trailers.clone().unwrap_or_default();
        match direction {
            Direction::Request => stream.outputs.push_back(Output::RequestTrailers(trailers)),
            Direction::Response => {
                if stream.local.is_none() {
                    stream.outputs.push_back(Output::ResponseTrailers(trailers));
                }
                self.finish_response(id);
            }
        }
    }
}
