//! Envoy's router, as far as it decides: what a request's time-outs and retries are, what an attempt's end leads to, and
//! what the proxy answers itself. What happens when is the caller's.

use crate::draw::Draws;
use crate::scenario;

/// Envoy's response flags as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u64);

/// How an attempt ended without an answer's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reset {
    /// The connection was refused.
    ConnectFailure,
    /// The connection took longer than `connect_timeout`.
    ConnectTimeout,
    /// The endpoint closed the connection.
    ConnectionTermination,
    /// A circuit breaker let it not begin.
    Overflow,
    /// An upstream filter, or the proxy, cut it.
    Local,
    /// The endpoint took longer than the time-out of one attempt.
    PerTryTimeout,
}

/// What the end of an attempt leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The answer goes to the client.
    Pass {
        /// Flags that the stream gets, such as `URX`.
        flags: Flags,
    },
    /// Another attempt begins after this time.
    Retry {
        /// Nanoseconds.
        after_ns: u64,
    },
    /// The proxy answers itself.
    Reply(Reply),
}

/// An answer that the proxy gives itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers besides the ones that every local reply has.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
    /// Response code details.
    pub details: String,
    /// Response flags.
    pub flags: Flags,
}

/// Reads the headers of a message; names in lower case.
pub trait Headers {
    /// Returns the first value of a header.
    fn value(&self, name: &str) -> Option<&[u8]>;
}

/// What a cluster has under way, which its circuit breakers bound; over all workers.
#[derive(Debug, Clone)]
pub struct Breakers {
    /// The bounds.
    pub limits: scenario::CircuitBreakers,
    /// Requests under way.
    pub requests: u32,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// Retries under way: from the decision to the attempt's end.
    pub retries: u32,
}

/// One request on its way through its attempts.
#[derive(Debug, Clone)]
pub struct Attempts {
    /// From the request's end to the answer's end; `None` for ever.
    pub timeout_ns: Option<u64>,
    /// From an attempt's beginning to its answer's headers.
    pub per_try_timeout_ns: Option<u64>,
    /// How many attempts began.
    pub count: u32,
}

impl Attempts {
    /// Reads the time-outs and retries of a request from its route and its headers.
    #[must_use]
    pub fn new(_route: &scenario::Route, _headers: &dyn Headers) -> Self {
        Self {
            timeout_ns: None,
            per_try_timeout_ns: None,
            count: 0,
        }
    }

    /// An answer's headers came.
    pub fn on_answer(
        &mut self,
        _status: u16,
        _headers: &dyn Headers,
        _breakers: &mut Breakers,
        _now_ns: u64,
        _draws: &mut Draws,
    ) -> Verdict {
        Verdict::Pass {
            flags: Flags::default(),
        }
    }
}
