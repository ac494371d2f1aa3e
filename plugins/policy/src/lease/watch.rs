//! Tells by the own clock alone how long another VM has been silent.

use core::time::Duration;

use crate::units::WallTime;

/// Is the most that one tick adds to a silence: 500 ms, two ticks.
///
/// More would let a single jump of the clock end a lease that is alive; less than the longest gap
/// between two ticks that still is ordinary (333 ms) would make every takeover late.
pub const MAX_TICK_STEP: Duration = Duration::from_millis(500);

/// Measures the time between ticks, as far as it can be believed.
///
/// A clock that stands still or steps back adds nothing; one that jumps adds [`MAX_TICK_STEP`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct TickClock {
    last: Option<WallTime>,
    regressions: u64,
}

impl TickClock {
    /// Has not ticked yet.
    pub(crate) const fn new() -> Self {
        Self {
            last: None,
            regressions: 0,
        }
    }

    /// Is the time since the last tick; zero at the first.
    pub(crate) fn step(&mut self, now: WallTime) -> Duration {
        let last = self.last.replace(now).unwrap_or(now);
        if now < last {
            self.regressions = self.regressions.saturating_add(1);
        }
        now.saturating_since(last).min(MAX_TICK_STEP)
    }

    /// Is how often the clock stepped back from one tick to the next.
    pub(crate) const fn regressions(&self) -> u64 {
        self.regressions
    }
}

/// Adds up how long a sign of life has been the same.
///
/// The sign is compared, never its time: two VMs' clocks are not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch<T> {
    seen: Option<T>,
    silence: Duration,
}

impl<T: PartialEq> Watch<T> {
    /// Watches nobody yet.
    pub(crate) const fn new() -> Self {
        Self {
            seen: None,
            silence: Duration::ZERO,
        }
    }

    /// Looks at a sign, `step` after the look before; is how long it has been the same.
    pub(crate) fn look(&mut self, sign: T, step: Duration) -> Duration {
        self.silence = if self.seen.as_ref() == Some(&sign) {
            self.silence.saturating_add(step)
        } else {
            Duration::ZERO
        };
        self.seen = Some(sign);
        self.silence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: WallTime = WallTime::from_seconds(1_700_000_000);

    fn later(ms: u64) -> WallTime {
        WallTime::from_ns(START.as_ns().saturating_add(ms.saturating_mul(1_000_000)))
    }

    #[test]
    fn tick_clock_at_the_same_instant_adds_nothing() {
        let mut clock = TickClock::new();
        assert_eq!(clock.step(START), Duration::ZERO);
        assert_eq!(clock.step(START), Duration::ZERO);
        assert_eq!(clock.regressions(), 0);
    }

    #[test]
    fn tick_clock_that_steps_back_adds_nothing_and_goes_on_from_there() {
        let mut clock = TickClock::new();
        clock.step(later(3_600_000));
        assert_eq!(clock.step(START), Duration::ZERO);
        assert_eq!(clock.regressions(), 1);
        assert_eq!(clock.step(later(250)), Duration::from_millis(250));
        assert_eq!(clock.regressions(), 1);
    }

    #[test]
    fn tick_clock_that_jumps_a_year_adds_two_ticks() {
        let mut clock = TickClock::new();
        clock.step(START);
        assert_eq!(clock.step(later(500)), MAX_TICK_STEP);
        assert_eq!(clock.step(later(1_001)), MAX_TICK_STEP);
        assert_eq!(clock.step(later(31_536_000_000)), MAX_TICK_STEP);
    }

    #[test]
    fn watch_starts_again_with_every_new_sign() {
        let mut watch = Watch::new();
        let step = Duration::from_millis(250);
        assert_eq!(watch.look(1, step), Duration::ZERO);
        assert_eq!(watch.look(1, step), step);
        assert_eq!(watch.look(1, step), step * 2);
        assert_eq!(watch.look(2, step), Duration::ZERO);
        assert_eq!(watch.look(1, step), Duration::ZERO);
        assert_eq!(watch.look(1, Duration::MAX), Duration::MAX);
        assert_eq!(watch.look(1, step), Duration::MAX);
    }
}
