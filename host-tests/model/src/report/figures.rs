//! What is told of a period, and the names of it all.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::times::TimesFigures;

/// What is told of the requests that began in a period.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Requests.
    pub requests: u64,
    /// Those that were answered, with whatever status.
    pub answered: u64,
    /// Those that were answered with 5xx or not at all.
    pub errors: u64,
    /// Errors per request.
    pub error_ratio: Option<f64>,
    /// Answers by status.
    pub status: BTreeMap<u16, u64>,
    /// Attempts.
    pub attempts: u64,
    /// Attempts per request.
    pub attempts_per_request: Option<f64>,
    /// Attempts after a request's first.
    pub retries: u64,
    /// From a request's headers to those of its answer; of answered requests.
    pub latency_ms: Option<TimesFigures>,
    /// From a request's headers to its end, of all requests.
    pub total_ms: Option<TimesFigures>,
    /// The share of requests that waited longer than this for their answer, or for its absence.
    pub slower_than: BTreeMap<String, f64>,
    /// Requests by response flag.
    pub flags: BTreeMap<String, u64>,
    /// Requests by response code details.
    pub details: BTreeMap<String, u64>,
    /// Answers that no endpoint gave.
    pub local_replies: u64,
    /// How many times its fair share of the attempts the busiest endpoint of a cluster had.
    pub balance: Option<f64>,
    /// Sessions.
    pub sessions: SessionsFigures,
    /// WebSockets.
    pub websockets: SocketsFigures,
    /// By source, in the order of the scenario.
    #[serde(serialize_with = "in_order")]
    pub sources: Vec<(String, SourceFigures)>,
    /// By endpoint, in the order of the scenario.
    #[serde(serialize_with = "in_order")]
    pub endpoints: Vec<(String, EndpointFigures)>,
}

/// What is told of sessions. A session is a client of a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SessionsFigures {
    /// Sessions that had a request.
    pub count: u64,
    /// Those that were served by another endpoint than before.
    pub moved: u64,
    /// How often that happened.
    pub moves: u64,
}

/// What is told of WebSockets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SocketsFigures {
    /// Upgrades that were taken.
    pub opened: u64,
    /// Upgrades that weren't.
    pub refused: u64,
    /// Messages that clients sent.
    pub sent: u64,
    /// Messages that clients got.
    pub received: u64,
    /// Those that ended without a Close: a client's 1006.
    pub cut: u64,
    /// Closes by code.
    pub closes: BTreeMap<u16, u64>,
}

/// What is told of a source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceFigures {
    /// Requests.
    pub requests: u64,
    /// Those that were answered with 5xx or not at all.
    pub errors: u64,
    /// Errors per request.
    pub error_ratio: Option<f64>,
    /// Attempts.
    pub attempts: u64,
    /// Attempts per request.
    pub attempts_per_request: Option<f64>,
    /// From a request's headers to those of its answer.
    pub latency_ms: Option<TimesFigures>,
}

/// What is told of an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndpointFigures {
    /// Requests whose last attempt was here.
    pub requests: u64,
    /// Attempts.
    pub attempts: u64,
    /// Its share of all attempts.
    pub share: Option<f64>,
    /// Requests whose last attempt was here, and that were answered with 5xx or not at all.
    pub errors: u64,
    /// From a request's headers to those of its answer, of requests whose last attempt was here.
    pub latency_ms: Option<TimesFigures>,
    /// The most requests at a time; `None` where it wasn't watched.
    pub max_in_flight: Option<u32>,
}

/// Writes pairs as one object, in their order.
fn in_order<T: Serialize, S: Serializer>(
    pairs: &[(String, T)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}
