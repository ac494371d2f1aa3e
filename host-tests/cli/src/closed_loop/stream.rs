//! A request on its way.

use tidegate_host::{HeaderMap, StreamId};
use tidegate_model::frames::FrameReader;
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
    /// The route, by its position; the last one is the default.
    pub(super) route: usize,
    /// The cluster, by its position.
    pub(super) cluster: Option<usize>,
    /// Hash of the request by the route's policy.
    pub(super) hash: Option<u64>,
    /// What names endpoints that the request wants.
    pub(super) wanted: Option<String>,
    /// The router's state, once the headers have left the filters.
    pub(super) attempts: Option<Attempts>,
    /// What has left the filters; empty once no further attempt can come.
    pub(super) parts: Vec<Part>,
    /// Endpoints of the attempts so far.
    pub(super) tried: Vec<usize>,
    pub(super) current: Option<Current>,
    /// Whether the whole request has left the filters.
    pub(super) is_sent: bool,
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
    pub(super) endpoint: FrameReader,
    /// Whether the client has sent a Close.
    pub(super) has_client_closed: bool,
    /// Whether the endpoint has.
    pub(super) has_endpoint_closed: bool,
}

/// The attempt that is under way.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) work: u64,
    pub(super) cluster: usize,
    pub(super) host: usize,
    pub(super) started_ns: u64,
    /// Its way through the upstream filters, if there are any.
    pub(super) filters: Option<StreamId>,
    /// The path that reached the endpoint.
    pub(super) path: String,
    /// Whether the endpoint has taken the request.
    pub(super) is_taken: bool,
    /// Whether a connection comes about.
    pub(super) is_connected: bool,
    /// Status of the answer whose headers came.
    pub(super) status: Option<u16>,
    /// Whether it holds a place among the retries.
    pub(super) is_retry: bool,
}
