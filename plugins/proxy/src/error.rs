//! How a host call fails.

use crate::abi::Status;

/// Says how a call to the host failed. There are three kinds, because a caller can do three things:
/// do without, report, or distrust what it got.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// What was asked for is not there in this phase of the stream.
    #[error("host call {function} is not available in this phase")]
    Unavailable {
        /// Is the host function.
        function: &'static str,
    },
    /// The host said no.
    #[error("host call {function} was refused with status {status}")]
    Refused {
        /// Is the host function.
        function: &'static str,
        /// Is its status, a `proxy_status_t`.
        status: u32,
    },
    /// The host answered with bytes that are not what they should be.
    #[error("host call {function} gave a malformed answer")]
    Malformed {
        /// Is the host function.
        function: &'static str,
    },
}

impl HostError {
    /// Maps a status: `unavailable` are those that mean "not in this phase" for this function.
    pub(crate) fn from_status(
        function: &'static str,
        status: Status,
        unavailable: &[Status],
    ) -> Self {
        if unavailable.contains(&status) {
            Self::Unavailable { function }
        } else {
            Self::Refused {
                function,
                status: status.0,
            }
        }
    }
}
