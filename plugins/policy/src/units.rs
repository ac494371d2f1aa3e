//! Quantities whose type says their unit.
//!
//! Why: a bare `u64` that is seconds in one file and nanoseconds in the next is an outage.
//! Limits: every difference saturates at zero, because a proxy's clock may stand still and may step
//! back; the end of the range saturates as well.
//! Scope: values without state. Cost: O(1), 8 bytes.

mod ppm;

use core::time::Duration;

pub use ppm::Ppm;

/// Is a moment of wall time: nanoseconds since the Unix epoch, until the year 2554.
///
/// Policies that compare moments of different processes use it: a cookie's age is one.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct WallTime(u64);

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;

impl WallTime {
    /// Takes nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn from_ns(since_epoch_ns: u64) -> Self {
        Self(since_epoch_ns)
    }

    /// Takes whole seconds since the Unix epoch; saturates at the end of the range.
    #[must_use]
    pub const fn from_seconds(since_epoch_seconds: u64) -> Self {
        Self(since_epoch_seconds.saturating_mul(SECOND_NS))
    }

    /// Is the number of nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// Is the number of whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_seconds(self) -> u64 {
        self.0 / SECOND_NS
    }

    /// Is the time that passed since `earlier`: zero where `earlier` is later than `self`.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_at_the_same_instant_is_zero() {
        let now = WallTime::from_seconds(1_700_000_000);
        assert_eq!(now.saturating_since(now), Duration::ZERO);
    }

    #[test]
    fn difference_after_a_step_back_is_zero() {
        let earlier = WallTime::from_seconds(10);
        assert_eq!(
            WallTime::from_seconds(9).saturating_since(earlier),
            Duration::ZERO
        );
    }

    #[test]
    fn difference_over_a_year_is_exact() {
        let start = WallTime::from_seconds(1_700_000_000);
        let later = WallTime::from_seconds(1_700_000_000 + 31_536_000);
        assert_eq!(
            later.saturating_since(start),
            Duration::from_secs(31_536_000)
        );
    }

    #[test]
    fn seconds_round_down_and_saturate() {
        assert_eq!(WallTime::from_ns(1_999_999_999).as_seconds(), 1);
        assert_eq!(WallTime::from_seconds(u64::MAX).as_ns(), u64::MAX);
    }
}
