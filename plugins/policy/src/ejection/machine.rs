//! What an endpoint's traffic makes of it after each event: the whole table.

use core::time::Duration;

use thiserror::Error;

/// Is the part of an ejection's time that a draw takes off at most: a tenth. Less lets endpoints
/// that failed together return together; more makes the first ejection too short to help.
const JITTER_PART: u32 = 10;

/// Is how long ejections last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Times {
    /// Is how long the first one lasts, and how long an endpoint serves until one is forgiven.
    pub time: Duration,
    /// Is how long the longest one lasts.
    pub max_time: Duration,
}

/// Is what an endpoint is. Moments are of a time line of the caller's, which never goes back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It is not a member.
    Absent,
    /// It takes no requests.
    Ejected {
        /// Is how often it was ejected, this time included and forgiven ones not.
        ejections: u8,
        /// Is when its trial is due.
        until: Duration,
    },
    /// It takes requests.
    Serving {
        /// Is how often it was ejected and is not forgiven.
        ejections: u8,
        /// Is since when it serves well, as far as that is not yet made good for an ejection.
        since: Duration,
    },
    /// One attempt or probe decides about it.
    Trial {
        /// Is how often it was ejected.
        ejections: u8,
    },
}

/// Is what happened to an endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// It became a member, or became one again: nothing of before holds.
    Added,
    /// Its failures are more than the rules allow; the draw shortens the ejection.
    Crossed {
        /// Is the draw.
        draw: u64,
    },
    /// An attempt or a probe failed; the draw shortens the ejection that may come of it.
    Failed {
        /// Is the draw.
        draw: u64,
    },
    /// It is no member any more.
    Removed,
    /// An attempt or a probe succeeded.
    Succeeded,
    /// Time has passed.
    Tick,
}

/// Says why an event cannot happen: nothing changes.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Rejected {
    /// There is no such endpoint.
    #[error("the endpoint is not a member")]
    NotMember,
    /// It is ejected already, or on trial.
    #[error("the endpoint does not serve")]
    NotServing,
}

impl State {
    /// Is the state after `event`. O(ejections).
    ///
    /// # Errors
    /// Anything but `Added` while absent: `NotMember`.
    /// `Crossed` for one that does not serve: `NotServing`.
    pub fn next(self, event: Event, times: &Times, now: Duration) -> Result<Self, Rejected> {
        Ok(match (self, event) {
            (_, Event::Added) => Self::Serving {
                ejections: 0,
                since: now,
            },
            (Self::Absent, _) => return Err(Rejected::NotMember),
            (_, Event::Removed) => Self::Absent,
            (Self::Serving { ejections, .. }, Event::Crossed { draw })
            | (Self::Trial { ejections }, Event::Failed { draw }) => {
                let ejections = ejections.saturating_add(1);
                let until = now.saturating_add(times.length(ejections, draw));
                Self::Ejected { ejections, until }
            }
            (_, Event::Crossed { .. }) => return Err(Rejected::NotServing),
            (Self::Trial { ejections }, Event::Succeeded) => Self::Serving {
                ejections,
                since: now,
            },
            (Self::Ejected { ejections, until }, Event::Tick) if until <= now => {
                Self::Trial { ejections }
            }
            (Self::Serving { ejections, since }, Event::Tick) => {
                times.forgive(ejections, since, now)
            }
            (state, Event::Failed { .. } | Event::Succeeded | Event::Tick) => state,
        })
    }

    /// Is how often it was ejected and is not forgiven.
    #[must_use]
    pub const fn ejections(self) -> u8 {
        match self {
            Self::Absent => 0,
            Self::Ejected { ejections, .. }
            | Self::Serving { ejections, .. }
            | Self::Trial { ejections } => ejections,
        }
    }

    /// Says whether neither time nor a success could change it.
    pub(super) const fn is_settled(self) -> bool {
        matches!(self, Self::Absent | Self::Serving { ejections: 0, .. })
    }
}

impl Times {
    /// Is how long the ejection with this number lasts.
    fn length(&self, ejections: u8, draw: u64) -> Duration {
        let whole = self
            .time
            .saturating_mul(u32::from(ejections))
            .min(self.max_time);
        let most = whole.checked_div(JITTER_PART).unwrap_or_default();
        // The upper half of the draw is enough: its 2^32 steps are finer than a millisecond.
        let part = u128::from(draw >> 32).saturating_mul(most.as_nanos()) >> 32;
        let less = Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX));
        whole.saturating_sub(less)
    }

    /// Takes one ejection off for each `time` since `since`.
    fn forgive(&self, mut ejections: u8, mut since: Duration, now: Duration) -> State {
        while ejections > 0 {
            let next = since.saturating_add(self.time);
            if next > now {
                break;
            }
            ejections = ejections.saturating_sub(1);
            since = next;
        }
        State::Serving { ejections, since }
    }
}
