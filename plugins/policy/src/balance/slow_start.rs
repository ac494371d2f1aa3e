//! Lets an endpoint's share rise after it joined, and fall before it leaves.
//!
//! Why: a process that has just started has cold caches, no connections and nothing compiled. Its
//! full share at once makes it slow, then overloaded, then ejected.
//! Model: `factor = max(minimum, (t/window)^(1/aggression))`, `t` the time since it joined. With a
//! window of 60 s, an aggression of 1 and a minimum of 0.10 that is 0.10 at 5 s, 0.167 at 10 s and
//! 0.5 at 30 s. On the way out `1 − t/T`, which is what is left of the drain's window.
//! Cold start: an endpoint that was not seen to join has all of its share.
//! Limits: each endpoint has its own beginning, so a second joiner resets nobody. Only ratios of
//! factors count: a fleet that is all new shares equally. A beginning ahead of the clock counts as
//! now, and as over where it is a window or more ahead: the clock stepped back, and nobody could
//! say when the window ends.
//! Scope: functions of a setting and a time, computed on the tick. Cost: O(1), 24 bytes in all.
//! Source: the formula of Envoy's `SlowStartConfig`.

use core::{num::NonZeroU32, time::Duration};

use super::{math::power, peak_ewma::nanoseconds};
use crate::units::WallTime;

/// Is one in parts per million.
const ONE_PPM: u32 = 1_000_000;

/// Says how the share of an endpoint that joined rises.
#[derive(Clone, Copy, Debug)]
pub struct SlowStart {
    window: Duration,
    /// Is 1/aggression.
    exponent: f64,
    minimum: f64,
}

impl SlowStart {
    /// Takes the window (zero: all at once), the aggression in parts per million (1 000 000 is a
    /// straight line, more rises faster at first) and the least factor in parts per million.
    ///
    /// A minimum above one counts as one.
    #[must_use]
    pub fn new(window: Duration, aggression_ppm: NonZeroU32, minimum_ppm: u32) -> Self {
        Self {
            window,
            exponent: f64::from(ONE_PPM) / f64::from(aggression_ppm.get()),
            minimum: f64::from(minimum_ppm.min(ONE_PPM)) / f64::from(ONE_PPM),
        }
    }

    /// Is the share at a time, from the minimum to 1, of an endpoint that joined then; `None`: it
    /// was always there.
    #[must_use]
    pub fn factor_at(&self, joined: Option<WallTime>, now: WallTime) -> f64 {
        let Some(joined) = joined else {
            return 1.0;
        };
        let passed = now.saturating_since(joined);
        if passed >= self.window || joined.saturating_since(now) >= self.window {
            return 1.0;
        }
        // Not zero: nothing that is less than the window is the whole of it.
        let ratio = nanoseconds(passed) / nanoseconds(self.window);
        power(ratio, self.exponent).max(self.minimum)
    }
}

/// Is the share of an endpoint that drains: what is left of the window until its deadline, from 1
/// to 0. With a window of zero it is 0.
#[must_use]
pub fn drain_share(until: WallTime, window: Duration, now: WallTime) -> f64 {
    let left = until.saturating_since(now);
    if left.is_zero() || window.is_zero() {
        return 0.0;
    }
    (nanoseconds(left) / nanoseconds(window)).min(1.0)
}
