//! What the end of an attempt shows about its endpoint.

use core::time::Duration;

use crate::endpoints::Attempt;

/// Is what an attempt's end shows about its endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The endpoint answered, and well.
    Success,
    /// The endpoint answered with a status that counts as its failure.
    GatewayFailure,
    /// The proxy gave it up: connect failure, reset, time-out.
    LocalFailure,
    /// Nothing.
    Neutral,
}

impl Outcome {
    /// Is the attempt as an observer takes it. `latency` is the time from this attempt's beginning
    /// to its headers; `None` where it is not known, as for a retry that is not seen itself.
    #[must_use]
    pub fn to_attempt(self, latency: Option<Duration>) -> Attempt {
        match (self, latency) {
            (Self::Success, Some(latency)) => Attempt::Success {
                latency_us: u32::try_from(latency.as_micros()).unwrap_or(u32::MAX),
            },
            (Self::Success, None) => Attempt::UntimedSuccess,
            (Self::GatewayFailure, _) => Attempt::GatewayFailure,
            (Self::LocalFailure, _) => Attempt::LocalFailure,
            (Self::Neutral, _) => Attempt::Neutral,
        }
    }

    /// Says whether the endpoint failed.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::GatewayFailure | Self::LocalFailure)
    }
}

/// Is how an attempt ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// Is the status of the answer; `None` where no headers came.
    pub status: Option<u16>,
    /// Is what the proxy says about it (`response.code_details`); empty where that is not known.
    pub details: &'a [u8],
    /// Says that the answer carries a drain header.
    pub says_draining: bool,
    /// Says that the client is gone.
    pub client_left: bool,
}

/// Are the statuses from 500 to 599 that count as the failure of an endpoint that answers so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FailureStatuses(u128);

/// Is the first status that may count.
const FIRST: u16 = 500;
/// Is the last one.
const LAST: u16 = 599;

impl FailureStatuses {
    /// Is none.
    pub const NONE: Self = Self(0);

    /// Adds a status; `None` where it is not from 500 to 599.
    #[must_use]
    pub fn with(self, status: u16) -> Option<Self> {
        let bit = status.checked_sub(FIRST).filter(|_| status <= LAST)?;
        Some(Self(self.0 | 1_u128.checked_shl(u32::from(bit))?))
    }

    /// Says whether a status counts.
    #[must_use]
    pub fn has(self, status: u16) -> bool {
        let bit = status.checked_sub(FIRST).filter(|_| status <= LAST);
        bit.is_some_and(|bit| self.0.checked_shr(u32::from(bit)).unwrap_or(0) & 1 == 1)
    }

    /// Lists them, the least first.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        (FIRST..=LAST).filter(move |status| self.has(*status))
    }
}

impl Default for FailureStatuses {
    /// Is what the guide retries, and 500: an endpoint that answers it in a millisecond to
    /// everybody is as bad. A failure that a request brings with it meets all endpoints, and what
    /// all share ejects nobody.
    fn default() -> Self {
        [500, 502, 503, 504]
            .into_iter()
            .fold(Self::NONE, |all, status| all.with(status).unwrap_or(all))
    }
}

/// Says what an attempt's end shows.
///
/// The first that holds: the client left → neutral; the proxy answered: by its words, see
/// [`by_proxy`]; no headers → local-origin failure; 429, or a drain announced by a 503 → neutral;
/// one of `failures` → gateway failure; anything else → success.
#[must_use]
pub fn classify(ended: &Ended<'_>, failures: FailureStatuses) -> Outcome {
    if ended.client_left {
        return Outcome::Neutral;
    }
    if !ended.details.is_empty() && ended.details != b"via_upstream" {
        return by_proxy(ended.details);
    }
    match ended.status {
        None => Outcome::LocalFailure,
        Some(429) => Outcome::Neutral,
        Some(503) if ended.says_draining => Outcome::Neutral,
        Some(status) if failures.has(status) => Outcome::GatewayFailure,
        Some(_) => Outcome::Success,
    }
}

/// Are the proxy's words for an attempt that it gave up, or their beginnings.
const GIVEN_UP: [&[u8]; 4] = [
    b"upstream_per_try_timeout",
    b"upstream_reset_after_response_started",
    b"upstream_reset_before_response_started",
    b"upstream_response_timeout",
];

/// Is the one of them that is no endpoint's: the cluster's circuit breaker had no room.
const OVERFLOW: &[u8] = b"upstream_reset_before_response_started{overflow";

/// Says what an answer of the proxy shows: that an attempt was given up, or nothing, because a
/// route, a filter or the client was the reason. Words that nobody knows are nothing.
fn by_proxy(details: &[u8]) -> Outcome {
    let is_given_up = GIVEN_UP.iter().any(|words| details.starts_with(words));
    if is_given_up && !details.starts_with(OVERFLOW) {
        Outcome::LocalFailure
    } else {
        Outcome::Neutral
    }
}
