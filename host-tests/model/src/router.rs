//! Envoy's router, as far as it decides: what a request's time-outs and retries are, what an attempt's end leads to, and
//! what the proxy answers itself. What happens when is the caller's.
//!
//! Model: a request is one [`Attempts`]. Its caller reads the time-outs, opens an attempt after [`Attempts::begin`], tells how
//! it ended, and does what the [`Verdict`] says. [`Breakers`] count what a cluster has under way, and a [`Pool`] is the
//! connections of one worker to one endpoint. [`Edge`] is what the connection manager does to a client's request before.
//! Timers: the total time-out runs from the end of the request to the end of the answer, but not when no attempt is under way
//! at the end of the request ([`Attempts::on_request_end`]); an attempt's from the moment when the attempt has a connection
//! and the request has ended. Neither runs after a 101; on an upgrade both take the request as ended with its headers.
//! Limits: one attempt at a time, so a hedged request is treated as if it were not hedged; internal redirects, mirrors, HTTP/2
//! upstreams and the rate-limited back-off are left out.
//! Scope: [`Attempts`] per request, [`Breakers`] per cluster over all workers, [`Pool`] per worker and endpoint.
//! Source: seen in Envoy 1.40.0, case by case; where a case can't be provoked,
//! `source/common/router/{router,retry_state_impl}.cc` and `source/common/conn_pool/conn_pool_base.cc`.

mod attempts;
mod breakers;
mod conditions;
mod edge;
mod flags;
mod headers;
mod policy;
mod reply;

pub use attempts::Attempts;
pub use breakers::{Asked, Breakers, Freed, Pool, Served};
pub use edge::Edge;
pub use flags::Flags;
pub use headers::{Headers, HeadersMut};
pub use reply::{
    HANDSHAKE_FAILED, Reply, VIA_UPSTREAM, direct_response, handshake_failed, no_cluster,
    no_endpoint, no_route,
};

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
    /// What the endpoint sent is no HTTP, or its connection ended within a body whose end was told.
    ProtocolError,
    /// The endpoint refused the stream; HTTP/2 only.
    RefusedStream,
    /// The endpoint reset the stream; HTTP/2 only.
    RemoteReset,
}

/// What the end of an attempt leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The answer goes to the client, or goes on to.
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
    /// The answer had begun: the client's stream is cut. Over HTTP/1.1 Envoy's own end is then, the client's a second later.
    Cut {
        /// Flags that the stream gets.
        flags: Flags,
        /// Response code details.
        details: String,
    },
}

#[cfg(test)]
mod tests;
