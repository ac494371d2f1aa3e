//! Whether an endpoint failed a moment ago, as one VM saw it.

use core::time::Duration;

use super::classify::Outcome;
use crate::units::WallTime;

/// Remembers one endpoint's last failure until its next success. 16 bytes, O(1).
///
/// A VM takes one that did not fail lately before one that did, whatever their loads, so that an
/// endpoint which fails in a millisecond gets one request of each VM and not the row that the
/// leader waits for. Where all failed lately it makes no difference.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Recent {
    failed_at: Option<WallTime>,
}

impl Recent {
    /// Takes how an attempt ended.
    pub const fn on_outcome(&mut self, outcome: Outcome, now: WallTime) {
        match outcome {
            Outcome::Success => self.failed_at = None,
            Outcome::GatewayFailure | Outcome::LocalFailure => self.failed_at = Some(now),
            Outcome::Neutral => {}
        }
    }

    /// Takes that it asked for nothing new: it is spared as if it had failed.
    pub const fn on_drain(&mut self, now: WallTime) {
        self.failed_at = Some(now);
    }

    /// Says whether it failed within `limit`, and did not succeed since. A failure that is as far
    /// ahead of `now` is forgotten: after a step back of the clock nobody could say when it ends.
    #[must_use]
    pub fn has_failed(self, now: WallTime, limit: Duration) -> bool {
        self.failed_at.is_some_and(|failed_at| {
            let age = now.saturating_since(failed_at);
            age.max(failed_at.saturating_since(now)) < limit
        })
    }
}
