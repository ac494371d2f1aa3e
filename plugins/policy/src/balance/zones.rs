//! Prefers the own zone's endpoints, for as long as they are not slower than others by a factor.
//!
//! Why: a request that stays in its zone is sooner answered and costs nothing on the way; a zone
//! that is overloaded or broken is left, but not by all requests at the same moment.
//! Model: a request is compared within the own zone. The winner stands against the better of two
//! drawn from the others, and loses where `own load · pressure > other's load`. With r the own
//! estimate over the other's, `pressure = r/factor − 1`, from 0 to 1: at the factor nobody leaves,
//! at twice the factor zones no longer count. In between both fill up together.
//! Not the load alone: this proxy does not see what others send to the endpoints of their zones,
//! and would take them for idle. Not the estimate alone: all would leave at once, and come back
//! at once. The same rule without the rise, with the loads compared from the factor on, lets the
//! 99th percentile of a zone that is too small be five times as long.
//! Cold start: an endpoint of another zone that was not tried yet is worth nothing there, so it is
//! tried soon. Its estimate decays while nobody goes there, which gets it a request about each
//! `τ · ln factor`: no zone is forgotten, and its estimate is never old.
//! Limits: where the own zone is not known or has no endpoint, all endpoints count as its own. A
//! factor of less than 1 counts as 1.
//! Scope: per worker VM. Cost: O(1) for each request, two more looks.
//! Differs from a divisor of the load for each zone: of two that are drawn from all zones both may
//! be far away, however near others are.

use super::choice::Load;

/// Says whether an endpoint is in the proxy's own zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Zone {
    /// In the own one.
    Own,
    /// In another one, or in none.
    Other,
}

impl Zone {
    /// Compares the names of zones; without a name of its own a proxy is in every zone.
    #[must_use]
    pub fn of(endpoint: &[u8], own: &[u8]) -> Self {
        if own.is_empty() || endpoint == own {
            Self::Own
        } else {
            Self::Other
        }
    }
}

/// Says when requests leave the own zone.
#[derive(Clone, Copy, Debug)]
pub struct Spill {
    factor: f64,
}

impl Spill {
    /// Takes by how much the own zone's estimate has to be larger before the first request leaves,
    /// in parts per million.
    ///
    /// A larger factor keeps more requests in the zone and lets them wait longer there.
    #[must_use]
    pub fn new(factor_ppm: u32) -> Self {
        Self {
            factor: (f64::from(factor_ppm) / 1e6).max(1.0),
        }
    }

    /// Says whether a request goes to the other zone's endpoint instead of the own one's.
    #[must_use]
    pub fn leaves(self, own: Load, other: Load) -> bool {
        let ratio = own.estimate_ns / other.estimate_ns;
        let pressure = (ratio / self.factor - 1.0).clamp(0.0, 1.0);
        own.load * pressure > other.load
    }
}
