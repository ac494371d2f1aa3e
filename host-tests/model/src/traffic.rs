//! Requests as they come, in the order of their times.

use std::sync::Arc;

/// A request that comes.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// When, in nanoseconds since the scenario began.
    pub at_ns: u64,
    /// The source, by its position in the scenario.
    pub source: usize,
    /// The request within its source, from 0.
    pub number: u64,
    /// The client within its source. A client is one session with one connection.
    pub client: u64,
    /// The client's address as `ip:port`.
    pub address: String,
    /// Whether the client keeps cookies.
    pub keeps_cookies: bool,
    /// After this long without an answer the client goes away.
    pub gives_up_after_ns: Option<u64>,
    /// The request.
    pub request: Arc<Request>,
    /// How long the recorded upstream took to the headers of its answer, in nanoseconds.
    pub recorded_latency_ns: Option<u64>,
    /// The next request of its source comes when this one has ended (`at_ns` is then the earliest time).
    pub chained: bool,
}

/// What a client sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Headers in order, pseudo-headers first.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body's parts with their times from the headers, in nanoseconds.
    pub body: Vec<(u64, Vec<u8>)>,
    /// Trailers.
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// What the client sends after an upgrade: bytes with their times from the 101, in nanoseconds. A masked Close at the
    /// end is the client's own.
    pub frames: Option<Vec<(u64, Vec<u8>)>>,
}
