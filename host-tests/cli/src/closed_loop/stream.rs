//! A request on its way.

use std::cell::Cell;

use tidegate_host::{HeaderMap, StreamId};
use tidegate_model::frames::{Frame, FrameReader, Opcode};
use tidegate_model::report::Row;
use tidegate_model::router::Attempts;
use tidegate_model::traffic::Arrival;

/// A part of a request behind the listener's filters. Kept for further attempts.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Headers(HeaderMap, bool),
    Body(Vec<u8>, bool),
    Trailers(HeaderMap),
}

impl Part {
    pub(super) const fn ends(&self) -> bool {
        match self {
            Self::Headers(_, ends) | Self::Body(_, ends) => *ends,
            Self::Trailers(_) => true,
        }
    }
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) arrival: Arrival,
    pub(super) row: Row,
    /// The route, by its position.
    pub(super) route: usize,
    /// The cluster, by its position.
    pub(super) cluster: Option<usize>,
    /// Hash of the request by the route's policy.
    pub(super) hash: Option<u64>,
    /// The endpoints that the request wants.
    pub(super) wanted: Option<String>,
    /// How many of them the attempts have used up.
    pub(super) used: Cell<usize>,
    /// The router's state, once the headers have left the filters.
    pub(super) attempts: Option<Attempts>,
    /// What has left the filters; empty once no further attempt can come.
    pub(super) parts: Vec<Part>,
    /// Endpoints of the attempts so far.
    pub(super) tried: Vec<usize>,
    pub(super) current: Option<Current>,
    /// When the whole request had left the filters; an upgrade has with its headers.
    pub(super) sent_ns: Option<u64>,
    /// Whether that was with the headers.
    pub(super) ends_with_headers: bool,
    /// Whether the time-outs that begin then have begun.
    pub(super) is_timed: bool,
    /// Bytes of the request's body that have left the filters.
    pub(super) body_bytes: u64,
    pub(super) is_upgrade: bool,
    /// Whether an answer, of whomever, has begun its way through the filters.
    pub(super) is_answered: bool,
    pub(super) socket: Option<Ends>,
}

/// Both ends of a WebSocket.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// What the client reads.
    pub(super) client: FrameReader,
    /// What the endpoint reads.
    endpoint: FrameReader,
    /// A message of several frames that the endpoint has begun to read.
    message: Vec<u8>,
    /// Whether the client has sent a Close.
    pub(super) has_client_closed: bool,
    has_endpoint_closed: bool,
}

/// What an endpoint sends because of what it read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Echo {
    pub(super) bytes: Vec<u8>,
    /// Whether it closes its connection then.
    pub(super) is_over: bool,
}

impl Ends {
    /// The endpoint reads: it sends messages back, answers pings and a Close.
    pub(super) fn at_endpoint(&mut self, bytes: &[u8]) -> Echo {
        self.endpoint.push(bytes);
        let mut echo = Echo::default();
        while let Some(frame) = self.endpoint.next_frame() {
            if self.has_endpoint_closed {
                break;
            }
            let ends = frame.ends_message();
            match frame.opcode {
                Opcode::Close => {
                    self.has_endpoint_closed = true;
                    echo.is_over = true;
                    echo.bytes.extend(frame.encode(None));
                }
                Opcode::Ping => {
                    let pong = Frame::message(Opcode::Pong, frame.payload);
                    echo.bytes.extend(pong.encode(None));
                }
                Opcode::Pong => {}
                Opcode::Continuation => {
                    self.message.extend(frame.payload);
                    if ends {
                        let payload = std::mem::take(&mut self.message);
                        echo.bytes
                            .extend(Frame::message(Opcode::Text, payload).encode(None));
                    }
                }
                Opcode::Text | Opcode::Binary if ends => echo.bytes.extend(frame.encode(None)),
                Opcode::Text | Opcode::Binary => self.message = frame.payload,
            }
        }
        echo
    }
}

/// The attempt that is under way.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) work: u64,
    /// Its way through the upstream filters, if there are any.
    pub(super) filters: Option<StreamId>,
    /// The path that is on its way to the endpoint.
    pub(super) path: String,
    pub(super) is_upgrade: bool,
    /// Status of the answer whose headers came.
    pub(super) status: Option<u16>,
    /// Bytes of the answer's body that are still to come.
    pub(super) body_left: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_sends_messages_back_and_answers_pings_and_a_close() {
        let mask = Some([1, 2, 3, 4]);
        let mut ends = Ends::default();
        let text = Frame::message(Opcode::Text, b"hello".to_vec());
        let first = ends.at_endpoint(&text.encode(mask));
        assert_eq!((first.bytes, first.is_over), (text.encode(None), false));
        let begin = Frame {
            flags: 0,
            ..Frame::message(Opcode::Text, b"he".to_vec())
        };
        let end = Frame::message(Opcode::Continuation, b"llo".to_vec());
        let ping = Frame::message(Opcode::Ping, b"?".to_vec());
        let mut bytes = begin.encode(mask);
        bytes.extend(ping.encode(mask));
        bytes.extend(end.encode(mask));
        bytes.extend(Frame::close(1000).encode(mask));
        let mut expected = Frame::message(Opcode::Pong, b"?".to_vec()).encode(None);
        expected.extend(text.encode(None));
        expected.extend(Frame::close(1000).encode(None));
        let rest = ends.at_endpoint(&bytes);
        assert_eq!((rest.bytes, rest.is_over), (expected, true));
        assert_eq!(ends.at_endpoint(&text.encode(mask)), Echo::default());
    }
}
