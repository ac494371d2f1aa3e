//! Prefers the own zone's endpoints, for as long as they are not slower than others by a factor.
//!
//! Why: a request that stays in its zone is sooner answered and costs nothing on the way; a zone
//! that is overloaded or broken is left, but not by all requests at the same moment.
//! Model: a request is compared within the own zone. The winner stands against one endpoint drawn
//! from the others where `own estimate > factor × other's estimate`, and loses where its load is
//! the larger one, too. The estimates alone would send everybody away and back again; the load
//! lets both zones fill up together.
//! Not the load alone: this proxy does not see what others send to the endpoints of their zones,
//! and would take them for idle.
//! Cold start: an endpoint of another zone that was not tried yet is worth nothing, and so it is
//! tried once the own zone has an estimate. Its estimate decays while nobody goes there, and is
//! refreshed by a request each `τ · ln(factor × other / own)`: no zone is forgotten.
//! Limits: where the own zone is not known or has no endpoint, all endpoints count as its own. A
//! factor of less than 1 counts as 1.
//! Scope: per worker VM. Cost: O(1) for each request, one more estimate.

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
    /// Takes by how much the own zone's estimate has to be larger, in parts per million.
    ///
    /// A larger factor keeps more requests in the zone and lets them wait longer there.
    #[must_use]
    pub fn new(factor_ppm: u32) -> Self {
        Self {
            factor: (f64::from(factor_ppm) / 1e6).max(1.0),
        }
    }

    /// Says whether a request goes to the other zone's endpoint.
    #[must_use]
    pub fn leaves(self, own: Load, other: Load) -> bool {
        own.estimate_ns > self.factor * other.estimate_ns && own.load > other.load
    }
}
