//! How an endpoint stands, for those who route to it.

use core::time::Duration;

use super::{answer::MAX_DRAIN_SECONDS, machine::State};

/// Says how an endpoint stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Its drain is over: it takes nothing, whatever it answers, until it proves itself.
    Drained,
    /// It drains: nothing new, for so much longer.
    Draining {
        /// Is the time to the deadline, above zero.
        remaining: Duration,
    },
    /// It is ready.
    Healthy,
    /// It is not.
    Unhealthy,
    /// Nobody knows yet; what it counts as is a setting.
    Unproven {
        /// Says whether it takes traffic.
        available: bool,
    },
}

impl Verdict {
    /// Says whether the endpoint takes new requests and sessions.
    #[must_use]
    pub const fn is_available(self) -> bool {
        matches!(self, Self::Healthy | Self::Unproven { available: true })
    }

    /// Is the state that stands like this, with no streak begun.
    pub(super) fn to_state(self, elapsed: Duration) -> State {
        let draining = |remaining: Duration| State::Draining {
            until: elapsed.saturating_add(remaining),
            successes: 0,
        };
        match self {
            Self::Drained => draining(Duration::ZERO),
            Self::Draining { remaining } => {
                draining(remaining.min(Duration::from_secs(u64::from(MAX_DRAIN_SECONDS))))
            }
            Self::Healthy => State::Healthy { failures: 0 },
            Self::Unhealthy => State::Unhealthy { successes: 0 },
            Self::Unproven { .. } => State::NEW,
        }
    }
}
