//! The filter chain: how headers, bodies and trailers pass filters that may stop, go on, or answer
//! themselves.
//!
//! Model: Envoy's HTTP filter manager. A direction passes its filters in *steps* counted from 0: the
//! request in the order of the configuration, the response in the reverse order. A filter that stops
//! holds back what comes; when it continues, the rest of the chain sees headers, held-back bytes and
//! trailers in that order.
//!
//! DIFFERS: Envoy's router is the last request filter; here the chain ends in outputs.

mod body;
mod callbacks;
mod callout;
mod data;
mod grpc;
mod headers;
mod lifecycle;
mod local;
mod network;
mod trailers;

pub(crate) use grpc::NO_ENDPOINT;
pub(crate) use local::grpc_status_of;

use crate::output::StreamId;
use crate::vm::run::Run;
use crate::world::streams::{Body, Direction, Iteration};

/// Bytes that a direction may hold back for a filter that buffers.
///
/// SOURCE: Envoy's default `per_connection_buffer_limit_bytes`, 1 MiB. More is answered with 413 (or
/// 500 for a response); a filter that asks for back-pressure is not bounded.
const HELD_BYTES: usize = 1 << 20;

impl Run<'_> {
    /// Counts the filter callbacks of a direction that run.
    fn calling(&mut self, stream: StreamId, direction: Direction, begin: bool) {
        if let Some(stream) = self.streams.get_mut(stream) {
            let calling = &mut stream.side_mut(direction).calling;
            *calling = if begin {
                calling.saturating_add(1)
            } else {
                calling.saturating_sub(1)
            };
        }
    }

    /// Lets a stopped filter go on: what it held back passes the filters behind it.
    pub(crate) fn continue_filter(&mut self, id: StreamId, index: usize, direction: Direction) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let over = stream.finished
            || stream.closed
            || (direction == Direction::Request
                && (stream.request.aborted || stream.local.is_some() || stream.response.complete));
        let step = stream.step(direction, index);
        let side = stream.side(direction);
        if over || !side.started {
            return;
        }
        let end_with_headers = side.complete && side.held.is_none() && side.trailers.is_none();
        let Some(filter) = stream.filters.get_mut(index) else {
            return;
        };
        let filter = filter.side_mut(direction);
        // Where all was stopped, this filter has not seen the body yet.
        let from_current = filter.iteration.stops_all();
        filter.iteration = Iteration::Continue;
        let next = step.saturating_add(1);
        if !filter.headers_continued {
            filter.headers_continued = true;
            self.pass_headers(id, direction, next, end_with_headers);
        }
        let from = if from_current { step } else { next };
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let side = stream.side(direction);
        let has_trailers = side.trailers.is_some();
        if side.held.is_some() {
            let end = side.complete && !has_trailers;
            self.pass_body(id, direction, from, Body::Held, end);
            self.forget_drained(id, direction);
        }
        if has_trailers {
            self.pass_trailers(id, direction, from);
        }
    }

    /// An emptied hold that no filter is stopped on is no hold.
    fn forget_drained(&mut self, id: StreamId, direction: Direction) {
        if let Some(stream) = self.streams.get_mut(id) {
            let stopped = stream
                .filters
                .iter()
                .any(|filter| filter.side(direction).iteration != Iteration::Continue);
            let side = stream.side_mut(direction);
            if !stopped && side.held.as_ref().is_some_and(Vec::is_empty) {
                side.held = None;
            }
        }
    }

    /// Whether the stream takes part in anything any more.
    fn is_over(&self, id: StreamId) -> bool {
        self.streams
            .get(id)
            .is_none_or(|stream| stream.finished || stream.closed)
    }
}
