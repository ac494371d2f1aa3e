//! Checks that the events of a stream come in an order that a proxy can produce.
//!
//! Why: a replay drives a filter as the proxy would. An order that no proxy produces would show behaviour that
//! nobody ever sees, so it is refused where it is read, with its line.
//! Limits: at most [`OPEN_STREAMS_MAX`] streams are open at a time; memory is some 24 bytes for each.

use std::collections::HashMap;

use super::event::{Event, EventKind};

/// Streams that may be open at the same time. Envoy's own default limits are far below; a file with more holds
/// streams that are never closed, and would grow without bound.
pub const OPEN_STREAMS_MAX: usize = 1_000_000;

/// An order of events that no proxy produces.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SequenceProblem {
    /// An event after what ended its direction.
    #[error("`{event}` of stream {stream} comes after `{after}`, which ended that direction")]
    AfterEnd {
        /// The event.
        event: &'static str,
        /// The stream.
        stream: u64,
        /// What ended the direction.
        after: &'static str,
    },
    /// A stream is opened that is open.
    #[error("stream {stream} is opened twice")]
    OpenedTwice {
        /// The stream.
        stream: u64,
    },
    /// A second event of a kind that comes once.
    #[error("`{event}` of stream {stream} comes a second time")]
    Repeated {
        /// The event.
        event: &'static str,
        /// The stream.
        stream: u64,
    },
    /// An event before the one that has to come first.
    #[error("`{event}` of stream {stream} comes before `{before}`")]
    TooEarly {
        /// The event.
        event: &'static str,
        /// The stream.
        stream: u64,
        /// What has to come first.
        before: &'static str,
    },
    /// More streams are open than anybody can need.
    #[error("more than {OPEN_STREAMS_MAX} streams are open")]
    TooManyOpen,
    /// Time goes back.
    #[error("time goes back from {from_ns} to {to_ns}")]
    TimeGoesBack {
        /// Time of the event before.
        from_ns: u64,
        /// Time of this event.
        to_ns: u64,
    },
    /// An event of a stream that isn't open.
    #[error("`{event}` of stream {stream}, which is not open")]
    UnknownStream {
        /// The event.
        event: &'static str,
        /// The stream.
        stream: u64,
    },
}

impl SequenceProblem {
    pub(super) const fn help(&self) -> &'static str {
        match self {
            Self::TimeGoesBack { .. } => {
                "a recording is ordered by time; `tidegate record` orders what it converts"
            }
            Self::TooManyOpen => "every stream needs its `close`",
            _ => {
                "a stream is `open`, then `request_headers`, then bodies, trailers, `upstream` and `response_headers` as they came, then `close`"
            }
        }
    }
}

/// What is known of the open streams.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    last_ns: u64,
    open: HashMap<u64, State>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    request: Direction,
    response: Direction,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Direction {
    #[default]
    Waiting,
    Running,
    EndedBy(&'static str),
}

impl Sequence {
    /// Returns how many streams are open.
    pub(super) fn open_streams(&self) -> usize {
        self.open.len()
    }

    /// Takes note of an event; not of one that is refused, so that a reader may pass it over.
    pub(super) fn check(&mut self, event: &Event<'_>) -> Result<(), SequenceProblem> {
        if event.time_ns < self.last_ns {
            return Err(SequenceProblem::TimeGoesBack {
                from_ns: self.last_ns,
                to_ns: event.time_ns,
            });
        }
        self.check_order(event)?;
        self.last_ns = event.time_ns;
        Ok(())
    }

    fn check_order(&mut self, event: &Event<'_>) -> Result<(), SequenceProblem> {
        let stream = event.stream;
        let name = event.kind.name();
        if matches!(event.kind, EventKind::Open(_)) {
            if self.open.contains_key(&stream) {
                return Err(SequenceProblem::OpenedTwice { stream });
            }
            if self.open.len() >= OPEN_STREAMS_MAX {
                return Err(SequenceProblem::TooManyOpen);
            }
            self.open.insert(stream, State::default());
            return Ok(());
        }
        let Some(state) = self.open.get_mut(&stream) else {
            return Err(SequenceProblem::UnknownStream {
                event: name,
                stream,
            });
        };
        match &event.kind {
            EventKind::Open(_) => {}
            EventKind::RequestHeaders(headers) => {
                state.request.begins(stream, name)?;
                state.request.goes_on(headers.end_stream, name);
            }
            EventKind::RequestBody(body) => {
                state.request.is_running(stream, name, "request_headers")?;
                state.request.goes_on(body.end_stream, name);
            }
            EventKind::RequestTrailers(_) => {
                state.request.is_running(stream, name, "request_headers")?;
                state.request.goes_on(true, name);
            }
            EventKind::Upstream(_) => {
                if state.request == Direction::Waiting {
                    return Err(SequenceProblem::TooEarly {
                        event: name,
                        stream,
                        before: "request_headers",
                    });
                }
            }
            EventKind::ResponseHeaders(headers) => {
                if state.request == Direction::Waiting {
                    return Err(SequenceProblem::TooEarly {
                        event: name,
                        stream,
                        before: "request_headers",
                    });
                }
                state.response.begins(stream, name)?;
                state.response.goes_on(headers.end_stream, name);
            }
            EventKind::ResponseBody(body) => {
                state
                    .response
                    .is_running(stream, name, "response_headers")?;
                state.response.goes_on(body.end_stream, name);
            }
            EventKind::ResponseTrailers(_) => {
                state
                    .response
                    .is_running(stream, name, "response_headers")?;
                state.response.goes_on(true, name);
            }
            EventKind::Close(_) => {
                self.open.remove(&stream);
            }
        }
        Ok(())
    }
}

impl Direction {
    fn begins(self, stream: u64, event: &'static str) -> Result<(), SequenceProblem> {
        match self {
            Self::Waiting => Ok(()),
            Self::Running | Self::EndedBy(_) => Err(SequenceProblem::Repeated { event, stream }),
        }
    }

    fn is_running(
        self,
        stream: u64,
        event: &'static str,
        before: &'static str,
    ) -> Result<(), SequenceProblem> {
        match self {
            Self::Waiting => Err(SequenceProblem::TooEarly {
                event,
                stream,
                before,
            }),
            Self::Running => Ok(()),
            Self::EndedBy(after) => Err(SequenceProblem::AfterEnd {
                event,
                stream,
                after,
            }),
        }
    }

    fn goes_on(&mut self, end_stream: bool, event: &'static str) {
        *self = if end_stream {
            Self::EndedBy(event)
        } else {
            Self::Running
        };
    }
}
