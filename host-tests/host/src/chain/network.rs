//! Connections: how data passes network filters.
//!
//! Model: Envoy's network filter manager. Each direction has one buffer. Whenever bytes come in, all
//! filters see the whole of it in turn, until one stops: then the bytes stay, and with the next ones
//! all of it passes all filters again. A filter that goes on lets the filters behind it see the buffer.
//! Data of the client passes in the order of the configuration, data of the upstream in the reverse
//! order, and a filter that saw the last byte of the upstream is told that it closed.
//!
//! DIFFERS: Envoy's TCP proxy is the last filter; here the chain ends in outputs.

use crate::callback::CallbackKind;
use crate::connection::{ClosedBy, ConnectionOutput};
use crate::output::StreamId;
use crate::vm::instance::Context;
use crate::vm::run::{Called, Run};
use crate::world::streams::{Body, Direction};

const FAIL_STREAM: &str = "wasm_fail_stream";

const fn peer_of(by: ClosedBy) -> i32 {
    match by {
        ClosedBy::Proxy => 1,
        ClosedBy::Client => 2,
    }
}

impl Run<'_> {
    /// A connection begins: its filters learn of it in turn.
    pub(crate) fn begin_connection(&mut self, id: StreamId) {
        self.create_filters(id);
        self.pass_downstream(id, 0);
    }

    /// The client sent something.
    pub(crate) fn give_downstream(&mut self, id: StreamId, data: &[u8], end_stream: bool) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let side = &mut stream.request;
        side.bytes = side.bytes.saturating_add(data.len() as u64);
        side.passing.extend_from_slice(data);
        side.complete |= end_stream;
        self.pass_downstream(id, 0);
    }

    /// The upstream sent something.
    pub(crate) fn give_upstream(&mut self, id: StreamId, data: &[u8], end_stream: bool) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        stream.response.passing.extend_from_slice(data);
        stream.response.complete |= end_stream;
        for index in (0..stream.filters.len()).rev() {
            let goes_on = self.filter_upstream(id, index, end_stream);
            if !goes_on || self.is_closed(id) {
                return;
            }
        }
        self.emit(id, Direction::Response);
    }

    /// Lets the filters behind one see what is there.
    pub(crate) fn continue_connection(&mut self, id: StreamId, index: usize) {
        self.pass_downstream(id, index.saturating_add(1));
    }

    fn pass_downstream(&mut self, id: StreamId, from: usize) {
        let count = self.streams.get(id).map_or(0, |it| it.filters.len());
        for index in from..count {
            if !self.filter_downstream(id, index) || self.is_closed(id) {
                return;
            }
        }
        if !self.is_closed(id) {
            self.emit(id, Direction::Request);
        }
    }

    fn is_closed(&self, id: StreamId) -> bool {
        self.streams.get(id).is_none_or(|stream| stream.closed)
    }

    /// Shows a filter the connection, if it does not know it yet, and what the client sent.
    fn filter_downstream(&mut self, id: StreamId, index: usize) -> bool {
        let Some(filter) = self.streams.filter_mut(id, index) else {
            return false;
        };
        if filter.skip {
            return true;
        }
        if !std::mem::replace(&mut filter.connected, true) {
            self.create_context(id, index);
            let goes_on = self.ask(id, index, |run, instance, context| {
                run.call(
                    instance,
                    CallbackKind::NewConnection,
                    context,
                    |exports| exports.new_connection.as_ref(),
                    context.id.cast_signed(),
                )
            });
            if !goes_on || self.is_closed(id) {
                return false;
            }
        }
        let Some(stream) = self.streams.get_mut(id) else {
            return false;
        };
        let side = &stream.request;
        let end_stream = side.complete;
        let size = length(side.passing.len());
        if side.passing.is_empty() && (!end_stream || side.ended) {
            return true;
        }
        self.show(id, index, Direction::Request, end_stream);
        let goes_on = self.ask(id, index, |run, instance, context| {
            run.call(
                instance,
                CallbackKind::DownstreamData,
                context,
                |exports| exports.downstream_data.as_ref(),
                (context.id.cast_signed(), size, i32::from(end_stream)),
            )
        });
        self.hide(id, index, Direction::Request, goes_on);
        goes_on
    }

    fn filter_upstream(&mut self, id: StreamId, index: usize, end_stream: bool) -> bool {
        let Some((stream, filter)) = self.streams.filter(id, index) else {
            return false;
        };
        // A filter that knows nothing of the connection yet lets data pass.
        if filter.skip || !filter.created {
            return true;
        }
        let size = length(stream.response.passing.len());
        self.show(id, index, Direction::Response, end_stream);
        let goes_on = self.ask(id, index, |run, instance, context| {
            run.call(
                instance,
                CallbackKind::UpstreamData,
                context,
                |exports| exports.upstream_data.as_ref(),
                (context.id.cast_signed(), size, i32::from(end_stream)),
            )
        });
        self.hide(id, index, Direction::Response, goes_on);
        if end_stream {
            const UNKNOWN: i32 = 0;
            self.tell(id, index, |run, instance, context| {
                run.call(
                    instance,
                    CallbackKind::UpstreamClose,
                    context,
                    |exports| exports.upstream_close.as_ref(),
                    (context.id.cast_signed(), UNKNOWN),
                );
            });
        }
        goes_on
    }

    fn show(&mut self, id: StreamId, index: usize, direction: Direction, end_stream: bool) {
        if let Some(filter) = self.streams.filter_mut(id, index) {
            filter.end_of_stream = end_stream;
            filter.side_mut(direction).body = Some(Body::Passing);
        }
    }

    /// A filter that stopped still reaches the bytes that it stopped.
    fn hide(&mut self, id: StreamId, index: usize, direction: Direction, goes_on: bool) {
        if goes_on && let Some(filter) = self.streams.filter_mut(id, index) {
            filter.side_mut(direction).body = None;
        }
    }

    /// Asks a guest whether data may go on.
    fn ask(
        &mut self,
        id: StreamId,
        index: usize,
        call: impl FnOnce(&mut Self, usize, Context) -> Called<i32>,
    ) -> bool {
        if let Some(is_open) = self.failed_open(id, index) {
            return is_open;
        }
        let Some((instance, context)) = self.filter_context(id, index) else {
            return true;
        };
        let called = call(self, instance, context);
        let goes_on = match called {
            Called::Missing => return true,
            Called::Returned(raw) => raw == 0,
            // A VM that could not be entered again is alive: the filter is as if it were not there.
            Called::Failed => self.failed_open(id, index).unwrap_or(true),
        };
        self.after_call(instance);
        goes_on
    }

    /// Tells a guest something that needs no answer.
    fn tell(&mut self, id: StreamId, index: usize, call: impl FnOnce(&mut Self, usize, Context)) {
        let Some((instance, context)) = self.filter_context(id, index) else {
            return;
        };
        if self.is_dead(instance) {
            return;
        }
        call(self, instance, context);
        self.after_call(instance);
    }

    /// Ends a connection because a filter's VM is dead.
    pub(super) fn fail_connection(&mut self, id: StreamId) {
        self.shut_connection(id, FAIL_STREAM);
    }

    /// Closes a connection for a guest.
    pub(crate) fn shut_connection(&mut self, id: StreamId, details: &'static str) {
        if self.is_closed(id) {
            return;
        }
        if let Some(stream) = self.streams.get_mut(id) {
            stream
                .connection_outputs
                .push_back(ConnectionOutput::Closed { details });
        }
        self.end_connection(id, ClosedBy::Proxy);
    }

    /// Ends a connection: each filter in turn is told, and has done → log → delete.
    pub(crate) fn end_connection(&mut self, id: StreamId, by: ClosedBy) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if std::mem::replace(&mut stream.closed, true) {
            return;
        }
        stream.finished = true;
        let count = stream.filters.len();
        for index in 0..count {
            let Some(filter) = self.streams.filter_mut(id, index) else {
                return;
            };
            if filter.created {
                self.close_filter(id, index, peer_of(by));
            }
        }
        for index in 0..count {
            if let Some((instance, context)) = self.filter_context(id, index) {
                let contexts = &mut self.instances.at_mut(instance).contexts;
                contexts.remove(&context.id);
            }
        }
    }

    fn close_filter(&mut self, id: StreamId, index: usize, peer: i32) {
        self.tell(id, index, |run, instance, context| {
            run.call(
                instance,
                CallbackKind::DownstreamClose,
                context,
                |exports| exports.downstream_close.as_ref(),
                (context.id.cast_signed(), peer),
            );
        });
        self.tell(id, index, |run, instance, context| {
            // What it answers counts for root contexts only.
            run.call(
                instance,
                CallbackKind::Done,
                context,
                |exports| exports.done.as_ref(),
                context.id.cast_signed(),
            );
        });
        self.tell(id, index, |run, instance, context| {
            run.call(
                instance,
                CallbackKind::Log,
                context,
                |exports| exports.log.as_ref(),
                context.id.cast_signed(),
            );
        });
        self.tell(id, index, |run, instance, context| {
            run.call(
                instance,
                CallbackKind::Delete,
                context,
                |exports| exports.delete.as_ref(),
                context.id.cast_signed(),
            );
        });
    }

    fn emit(&mut self, id: StreamId, direction: Direction) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let side = stream.side_mut(direction);
        let data = std::mem::take(&mut side.passing);
        let ends = side.complete && !side.ended;
        if data.is_empty() && !ends {
            return;
        }
        side.ended = side.complete;
        let end_stream = side.complete;
        let output = match direction {
            Direction::Request => ConnectionOutput::ToUpstream { data, end_stream },
            Direction::Response => {
                side.bytes = side.bytes.saturating_add(data.len() as u64);
                ConnectionOutput::ToClient { data, end_stream }
            }
        };
        stream.connection_outputs.push_back(output);
    }
}

fn length(count: usize) -> i32 {
    u32::try_from(count).unwrap_or(u32::MAX).cast_signed()
}
