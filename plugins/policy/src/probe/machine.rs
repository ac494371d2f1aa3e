//! What an endpoint is after each event: the whole table.

use core::{num::NonZeroU8, time::Duration};

use thiserror::Error;

use super::answer::{Failure, MAX_DRAIN_SECONDS};

/// Is how many in a row change a verdict.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Thresholds {
    /// Is how many failures in a row make an endpoint unhealthy.
    pub unhealthy_after: NonZeroU8,
    /// Is how many successes in a row make an endpoint healthy.
    pub healthy_after: NonZeroU8,
}

/// Is what is known of an endpoint. Streaks are always shorter than their threshold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It is not a member.
    Absent,
    /// It said that it drains.
    Draining {
        /// Is the moment from which on it is drained, on the time line of `now`.
        until: Duration,
        /// Is how many successes came in a row.
        successes: u8,
    },
    /// It is ready.
    Healthy {
        /// Is how many failures came in a row.
        failures: u8,
    },
    /// It is not ready.
    Unhealthy {
        /// Is how many successes came in a row.
        successes: u8,
    },
    /// No streak was whole yet. At most one of the two is above 0.
    Unproven {
        /// Is how many failures came in a row.
        failures: u8,
        /// Is how many successes came in a row.
        successes: u8,
    },
}

/// Is what happened to an endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// It became a member, or became one again: nothing of before holds.
    Added,
    /// It answered that it drains for so many seconds.
    Drain {
        /// Is the time it still drains, in seconds; more than [`MAX_DRAIN_SECONDS`] counts as that.
        seconds: u16,
    },
    /// A probe failed.
    Failure(Failure),
    /// It is no member any more.
    Removed,
    /// It announced another instance, and the answer was no failure.
    Replaced,
    /// It answered that it is ready.
    Success,
}

/// Says that an event cannot happen to what is not a member: nothing changes.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the endpoint is not a member")]
pub struct Rejected;

impl State {
    /// Is the state of an endpoint of which nothing is known.
    pub const NEW: Self = Self::Unproven {
        failures: 0,
        successes: 0,
    };

    /// Is the state after `event`. `now` is a moment of the caller's time line, which never goes
    /// back. O(1).
    ///
    /// # Errors
    /// Anything but `Added` while absent: `Rejected`.
    pub fn next(
        self,
        event: Event,
        thresholds: Thresholds,
        now: Duration,
    ) -> Result<Self, Rejected> {
        Ok(match (self, event) {
            (_, Event::Added) => Self::NEW,
            (Self::Absent, _) => return Err(Rejected),
            (_, Event::Removed) => Self::Absent,
            (Self::Unhealthy { .. }, Event::Replaced) => Self::Unhealthy { successes: 0 },
            (_, Event::Replaced) => Self::NEW,
            (state, Event::Drain { seconds }) => state.drain(seconds, now),
            (state, Event::Failure(_)) => state.fail(thresholds.unhealthy_after.get(), now),
            (state, Event::Success) => state.succeed(thresholds.healthy_after.get()),
        })
    }

    /// The earlier deadline holds, or an endpoint that always says the same would drain forever.
    fn drain(self, seconds: u16, now: Duration) -> Self {
        let seconds = seconds.min(MAX_DRAIN_SECONDS);
        let said = now.saturating_add(Duration::from_secs(u64::from(seconds)));
        let until = match self {
            Self::Draining { until, .. } => until.min(said),
            _ => said,
        };
        Self::Draining {
            until,
            successes: 0,
        }
    }

    fn fail(self, unhealthy_after: u8, now: Duration) -> Self {
        let failures = match self {
            Self::Draining { until, .. } if now < until => {
                return Self::Draining {
                    until,
                    successes: 0,
                };
            }
            Self::Absent | Self::Draining { .. } | Self::Unhealthy { .. } => unhealthy_after,
            Self::Healthy { failures } | Self::Unproven { failures, .. } => {
                failures.saturating_add(1)
            }
        };
        match self {
            _ if failures >= unhealthy_after => Self::Unhealthy { successes: 0 },
            Self::Healthy { .. } => Self::Healthy { failures },
            _ => Self::Unproven {
                failures,
                successes: 0,
            },
        }
    }

    const fn succeed(self, healthy_after: u8) -> Self {
        let (Self::Draining { successes, .. }
        | Self::Unhealthy { successes }
        | Self::Unproven { successes, .. }) = self
        else {
            return Self::Healthy { failures: 0 };
        };
        let successes = successes.saturating_add(1);
        match self {
            _ if successes >= healthy_after => Self::Healthy { failures: 0 },
            Self::Draining { until, .. } => Self::Draining { until, successes },
            Self::Unhealthy { .. } => Self::Unhealthy { successes },
            _ => Self::Unproven {
                failures: 0,
                successes,
            },
        }
    }
}
