//! Waits, and how long they are.

use core::time::Duration;

use crate::units::WallTime;

/// Is a wait that began at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timer {
    pub(super) since: WallTime,
    pub(super) wait: Duration,
}

impl Timer {
    pub(crate) const fn new(since: WallTime, wait: Duration) -> Self {
        Self { since, wait }
    }

    /// Begins anew where the clock stepped back.
    pub(crate) fn observe(&mut self, now: WallTime) {
        self.since = self.since.min(now);
    }

    pub(crate) fn is_over(self, now: WallTime) -> bool {
        now.saturating_since(self.since) >= self.wait
    }
}

/// Is between three and five quarters of `wait`, by the draw.
pub(crate) fn jitter(wait: Duration, draw: u64) -> Duration {
    let least = wait.saturating_sub(wait.checked_div(4).unwrap_or_default());
    least.saturating_add(share(wait.checked_div(2).unwrap_or_default(), draw))
}

/// Is the wait after `errors` errors in a row: doubled each time up to `longest`, less up to a
/// quarter of itself by the draw.
pub(crate) fn backoff(longest: Duration, wait: Duration, errors: u32, draw: u64) -> Duration {
    let factor = 1_u32.checked_shl(errors).unwrap_or(u32::MAX);
    let wait = wait.saturating_mul(factor).min(longest.max(wait));
    wait.saturating_sub(share(wait.checked_div(4).unwrap_or_default(), draw))
}

/// Is `draw / 2^64` of `whole`.
fn share(whole: Duration, draw: u64) -> Duration {
    let whole_ns = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    let product = u128::from(whole_ns).saturating_mul(u128::from(draw));
    Duration::from_nanos(u64::try_from(product.wrapping_shr(64)).unwrap_or(u64::MAX))
}
