//! What the proxy answers itself.

use super::Reset;
use super::flags::Flags;

/// Response code details of an answer that an endpoint gave.
pub const VIA_UPSTREAM: &str = "via_upstream";

/// Response code details of an upgrade to WebSocket that was answered below 400, but not with 101.
pub const HANDSHAKE_FAILED: &str = "websocket_handshake_unsuccessful";

/// An answer that the proxy gives itself. To a gRPC request the host gives it the form of one.
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

impl Reply {
    pub(super) fn new(status: u16, body: &str, details: &str, flags: Flags) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.to_owned(),
            details: details.to_owned(),
            flags,
        }
    }
}

/// Answers a request for which there is no endpoint.
#[must_use]
pub fn no_endpoint() -> Reply {
    Reply::new(
        503,
        "no healthy upstream",
        "no_healthy_upstream",
        Flags::NO_HEALTHY_UPSTREAM,
    )
}

/// Answers a request that no route matches.
#[must_use]
pub fn no_route() -> Reply {
    Reply::new(404, "", "route_not_found", Flags::NO_ROUTE_FOUND)
}

/// Answers a request whose route leads to a cluster that isn't there.
#[must_use]
pub fn no_cluster() -> Reply {
    Reply::new(503, "", "cluster_not_found", Flags::NO_CLUSTER_FOUND)
}

/// Answers a request whose route has an answer.
#[must_use]
pub fn direct_response(status: u16) -> Reply {
    Reply::new(status, "", "direct_response", Flags::NONE)
}

/// Returns whether the answer to a WebSocket upgrade fails the handshake: it then keeps its status and headers, loses its
/// body, ends at once and has [`HANDSHAKE_FAILED`] for details. From 400 on it passes as it is.
#[must_use]
pub const fn handshake_failed(status: u16) -> bool {
    status != 101 && status < 400
}

/// How an attempt's end is called.
struct Texts {
    status: u16,
    reason: &'static str,
    details: &'static str,
    flags: Flags,
}

impl Reset {
    /// Answers the client after an attempt that nothing came of; `retried` says whether it was a later one than the first.
    ///
    /// Not for [`Self::PerTryTimeout`], whose answer is that of a time-out.
    #[must_use]
    pub fn reply(self, retried: bool) -> Reply {
        let texts = self.texts();
        let latest = if retried {
            "retried and the latest "
        } else {
            ""
        };
        let body = format!(
            "upstream connect error or disconnect/reset before headers. {latest}reset reason: {}",
            texts.reason
        );
        let details = format!(
            "upstream_reset_before_response_started{{{}}}",
            texts.details
        );
        let mut reply = Reply::new(texts.status, &body, &details, texts.flags);
        if self == Self::Overflow {
            reply
                .headers
                .push(("x-envoy-overloaded", "true".to_owned()));
        }
        reply
    }

    /// Returns the flags and the details of a stream whose answer ended in its body.
    #[must_use]
    pub fn cut(self) -> (Flags, String) {
        let texts = self.texts();
        let details = format!("upstream_reset_after_response_started{{{}}}", texts.details);
        (texts.flags, details)
    }

    const fn texts(self) -> Texts {
        let (status, reason, details, flags) = match self {
            Self::ConnectFailure => (
                503,
                "remote connection failure",
                "remote_connection_failure|delayed_connect_error:_Connection_refused",
                Flags::UPSTREAM_CONNECTION_FAILURE,
            ),
            Self::ConnectTimeout => (
                503,
                "connection timeout",
                "connection_timeout",
                Flags::UPSTREAM_CONNECTION_FAILURE,
            ),
            Self::ConnectionTermination => (
                503,
                "connection termination",
                "connection_termination",
                Flags::UPSTREAM_CONNECTION_TERMINATION,
            ),
            Self::Overflow => (503, "overflow", "overflow", Flags::UPSTREAM_OVERFLOW),
            // Envoy resets an attempt that took too long itself; what it says to the client then is about the time.
            Self::Local | Self::PerTryTimeout => {
                (503, "local reset", "local_reset", Flags::LOCAL_RESET)
            }
            Self::ProtocolError => (
                502,
                "protocol error",
                "protocol_error",
                Flags::UPSTREAM_PROTOCOL_ERROR,
            ),
            Self::RefusedStream => (
                503,
                "remote refused stream reset",
                "remote_refused_stream_reset",
                Flags::UPSTREAM_REMOTE_RESET,
            ),
            Self::RemoteReset => (
                503,
                "remote reset",
                "remote_reset",
                Flags::UPSTREAM_REMOTE_RESET,
            ),
        };
        Texts {
            status,
            reason,
            details,
            flags,
        }
    }
}
