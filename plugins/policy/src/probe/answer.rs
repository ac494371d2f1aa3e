//! What an answer to a probe says.

use core::{num::NonZeroU64, time::Duration};

use super::config::Config;
use crate::digest::fnv1a_64;

/// Says on a 503 for how many seconds the endpoint still drains.
pub const DRAIN_HEADER: &str = "x-tidegate-drain";

/// Names the process behind the address: a token that changes with every start.
pub const INSTANCE_HEADER: &str = "x-tidegate-instance";

/// Is the longest drain, in seconds; more is cut to it. An hour: longer than any grace period, and
/// an endpoint that says a year by mistake is drained the same day.
pub const MAX_DRAIN_SECONDS: u16 = 3600;

/// Is the longest name of an instance, in bytes, as long as a cookie's.
pub const MAX_INSTANCE_BYTES: usize = crate::affinity::MAX_INSTANCE_BYTES;

/// Is the longest value that may be a number of seconds, in bytes: as many digits as 64 bits have.
const MAX_DRAIN_BYTES: usize = 20;

/// Is what came of one probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Says how the endpoint is.
    pub outcome: Outcome,
    /// Says who it is.
    pub instance: Announcement,
}

/// Says how the endpoint is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It drains, for so many seconds from now on; 0 is drained, at most [`MAX_DRAIN_SECONDS`].
    Draining {
        /// Is the time it still drains, in seconds.
        seconds: u16,
    },
    /// It is not ready.
    Failure(Failure),
    /// It is ready: a 2xx in time.
    Success,
}

/// Says why a probe failed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Failure {
    /// A 503 whose drain header is no number: a plain 503.
    DrainMalformed,
    /// No headers came: a reset, or no connection.
    NoAnswer,
    /// Something that is not 2xx.
    Status,
    /// Nothing came in time, or it came too late, or it was a 504, which is how a proxy says so.
    Timeout,
}

impl Failure {
    /// Lists all of them, in the order of their names.
    pub const ALL: &'static [Self] = &[
        Self::DrainMalformed,
        Self::NoAnswer,
        Self::Status,
        Self::Timeout,
    ];

    /// Is the name in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DrainMalformed => "drain_malformed",
            Self::NoAnswer => "no_answer",
            Self::Status => "status",
            Self::Timeout => "timeout",
        }
    }
}

/// Says who the endpoint is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Announcement {
    /// It says nothing about it.
    Absent,
    /// It announced this instance: FNV-1a of the token, never 0.
    Digest(u64),
    /// What it said is no token of 1 to [`MAX_INSTANCE_BYTES`] bytes: as good as nothing.
    Malformed,
}

impl Config {
    /// Says what an answer means. `status` is `None` where no headers came; `header` looks up one
    /// by its name in lower case, the first where there are several; `elapsed` is since the probe
    /// was started, zero where the clock stands still.
    pub fn classify<'a>(
        &self,
        status: Option<u16>,
        header: impl Fn(&str) -> Option<&'a [u8]>,
        elapsed: Duration,
    ) -> Answer {
        let outcome = match status {
            None if elapsed < self.timeout() => Outcome::Failure(Failure::NoAnswer),
            Some(504) => Outcome::Failure(Failure::Timeout),
            _ if elapsed >= self.timeout() => Outcome::Failure(Failure::Timeout),
            Some(200..=299) => Outcome::Success,
            Some(503) => match header(DRAIN_HEADER).map(drain_seconds) {
                None => Outcome::Failure(Failure::Status),
                Some(None) => Outcome::Failure(Failure::DrainMalformed),
                Some(Some(seconds)) => Outcome::Draining { seconds },
            },
            _ => Outcome::Failure(Failure::Status),
        };
        let instance = match status.and_then(|_| header(INSTANCE_HEADER)) {
            None => Announcement::Absent,
            Some(value) => instance(value),
        };
        Answer { outcome, instance }
    }
}

/// Reads what an endpoint announces about its process: the digest of a token; `None` where it is no
/// token of 1 to [`MAX_INSTANCE_BYTES`] bytes.
#[must_use]
pub fn announced(value: &[u8]) -> Option<NonZeroU64> {
    match instance(value) {
        Announcement::Digest(digest) => NonZeroU64::new(digest),
        Announcement::Absent | Announcement::Malformed => None,
    }
}

/// Reads a whole number of seconds: digits only, spaces around them are nothing.
fn drain_seconds(value: &[u8]) -> Option<u16> {
    let value = value.trim_ascii();
    if value.is_empty() || value.len() > MAX_DRAIN_BYTES {
        return None;
    }
    let seconds = value.iter().try_fold(0_u16, |seconds, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        Some(seconds.saturating_mul(10).saturating_add(u16::from(digit)))
    })?;
    Some(seconds.min(MAX_DRAIN_SECONDS))
}

/// Reads the name of an instance. SOURCE: RFC 9110 section 5.6.2 for what a token is.
fn instance(value: &[u8]) -> Announcement {
    let value = value.trim_ascii();
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if value.is_empty() || value.len() > MAX_INSTANCE_BYTES || !value.iter().all(legal) {
        return Announcement::Malformed;
    }
    // 0 is left to whoever writes records, for `unknown`.
    Announcement::Digest(fnv1a_64(value).max(1))
}
