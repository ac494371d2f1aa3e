//! Decides when too few endpoints are available to go by availability alone.
//!
//! Why: health is an opinion. When most of a cluster is thought unavailable, the opinion is more
//! likely wrong than right (a probe's path that moved, a network that dropped the probes), and if
//! it is right, the few that are left cannot carry the load. Sending everything to them turns a
//! partial outage into a whole one.
//! Model: of `N` members that stay, `⌊N·(1 − a)⌋` may be unavailable, with `a` = 0.5: panic begins
//! where the available share is *under* `a`. Where the utilisation `u` that all `N` would have is
//! known: `⌊N·(1 − u/u_max)⌋`, because the others have to take over what those did. Never the last
//! one. All in integers: `N` = 10 and `u` = 0.8 make 2, where floating point makes 1.
//! Inputs / Output: a [`Census`] by [`Fitness`] and, where known, the utilisation in millionths; the
//! [`Mode`], which says whom to choose among.
//! Order: in panic the candidates are all that can be reached, least bad first: of two candidates
//! the fitter one is taken, whatever its load. The available ones thus get more than their share and
//! the others the rest, instead of nobody anything.
//! Leaving endpoints (draining, vanished) are no members here: ten that a rolling update drains
//! make no panic beside ten new ones. Where nobody is available, those that still drain are the
//! least bad; drained and vanished ones are never chosen.
//! Cold start: without members the answer is `Nobody`: the proxy balances.
//! Limits: counts saturate. Nothing here knows time; the caller says whether a drain is over.
//! Scope: a pure function of the picture, so the same on every worker. Cost: O(1).
//! Source: the panic threshold of Envoy's load balancing overview (50 %).
//! Differs: it chooses the least bad first, not at random, and knows a form by capacity.

use core::num::NonZeroU32;

use crate::{
    snapshot::State,
    units::{Ppm, WallTime},
};

/// Says how fit an endpoint is for new requests, the fittest first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Fitness {
    /// It takes requests. One that nobody asked yet does as well.
    Available,
    /// It asked for nothing new, and still answers.
    Draining,
    /// It was ejected, and its trial is due.
    Probing,
    /// It was ejected for its traffic's failures.
    Ejected,
    /// A probe or the control plane says that it is not ready.
    Unhealthy,
    /// It has drained or is no member any more: the proxy does not reach it.
    Gone,
}

/// Is the latest moment that a snapshot can hold: what waits for it is not ended by time.
const NEVER_MS: u64 = u64::MAX / 1_000_000;

impl Fitness {
    /// Reads a snapshot's state.
    #[must_use]
    pub fn of(state: State, now: WallTime) -> Self {
        match state {
            State::Unknown | State::Available { .. } => Self::Available,
            State::Probing => Self::Probing,
            State::Ejected { until } if until.as_ns() / 1_000_000 >= NEVER_MS => Self::Unhealthy,
            State::Ejected { .. } => Self::Ejected,
            State::Draining { until } if now < until => Self::Draining,
            State::Draining { .. } | State::Vanished { .. } => Self::Gone,
        }
    }

    /// Is the name in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Draining => "draining",
            Self::Probing => "probing",
            Self::Ejected => "ejected",
            Self::Unhealthy => "unhealthy",
            Self::Gone => "gone",
        }
    }

    /// Says whether it counts neither as available nor as unavailable.
    #[must_use]
    pub const fn is_leaving(self) -> bool {
        matches!(self, Self::Draining | Self::Gone)
    }
}

/// Counts endpoints by their fitness. All saturate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Census {
    /// Are those that take requests.
    pub available: u32,
    /// Are those that stay and do not.
    pub unavailable: u32,
    /// Are those that drain and still answer.
    pub draining: u32,
}

impl Census {
    /// Counts one more.
    pub const fn count(&mut self, fitness: Fitness) {
        let counter = match fitness {
            Fitness::Available => &mut self.available,
            Fitness::Draining => &mut self.draining,
            Fitness::Probing | Fitness::Ejected | Fitness::Unhealthy => &mut self.unavailable,
            Fitness::Gone => return,
        };
        *counter = counter.saturating_add(1);
    }

    /// Is the number of those that stay.
    #[must_use]
    pub const fn members(&self) -> u32 {
        self.available.saturating_add(self.unavailable)
    }
}

/// Says whom to choose among.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Those that are available.
    Normal,
    /// All that stay, least bad first: too few are available.
    Panic,
    /// All that can be reached, least bad first: nobody is available.
    NobodyAvailable,
    /// There is nobody: the proxy balances.
    Nobody,
}

impl Mode {
    /// Says whether an endpoint is a candidate.
    #[must_use]
    pub const fn admits(self, fitness: Fitness) -> bool {
        match self {
            Self::Normal => matches!(fitness, Fitness::Available),
            Self::Panic => !fitness.is_leaving(),
            Self::NobodyAvailable => !matches!(fitness, Fitness::Gone),
            Self::Nobody => false,
        }
    }

    /// Is the name in metrics and reasons.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Panic => "panic",
            Self::NobodyAvailable => "nobody_available",
            Self::Nobody => "nobody",
        }
    }
}

/// Is the rule, checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Is the share of available endpoints under which panic begins; 0 switches it off as long as
    /// anybody is available.
    pub min_available: Ppm,
    /// Is the utilisation up to which an endpoint serves well, above 0.
    pub max_utilisation: Ppm,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            min_available: Ppm::try_new(500_000).unwrap_or_default(),
            max_utilisation: Ppm::ONE,
        }
    }
}

impl Rule {
    /// Is how many of `members` may be unavailable before panic begins. `utilisation_ppm` is what
    /// all of them together would have, in millionths, also above one; `None`: not known. O(1).
    #[must_use]
    pub fn safe_ejections(&self, members: u32, utilisation_ppm: Option<u32>) -> u32 {
        let most = self.max_utilisation.as_u32();
        let safe = match utilisation_ppm {
            None => self.min_available.complement().share_of(members),
            Some(utilisation_ppm) => {
                let spare = u64::from(most.saturating_sub(utilisation_ppm));
                u64::from(members)
                    .saturating_mul(spare)
                    .checked_div(u64::from(most))
                    .and_then(|safe| u32::try_from(safe).ok())
                    .unwrap_or(0)
            }
        };
        safe.min(members.saturating_sub(1))
    }

    /// Decides whom to choose among. `utilisation_ppm` as in [`Self::safe_ejections`]. O(1).
    #[must_use]
    pub fn mode(&self, census: &Census, utilisation_ppm: Option<u32>) -> Mode {
        let members = census.members();
        if census.available == 0 {
            return if members == 0 && census.draining == 0 {
                Mode::Nobody
            } else {
                Mode::NobodyAvailable
            };
        }
        if census.unavailable > self.safe_ejections(members, utilisation_ppm) {
            Mode::Panic
        } else {
            Mode::Normal
        }
    }
}

/// Is the utilisation of `members` endpoints in millionths, as one gateway sees it:
/// `in_flight / (members · concurrency · share)`, saturating. `share` is this gateway's part of the
/// traffic. `None` without members or without a share.
#[must_use]
pub fn utilisation_ppm(
    in_flight: u64,
    members: u32,
    concurrency: NonZeroU32,
    share: Ppm,
) -> Option<u32> {
    // Millionths of millionths: in_flight · 10^12 is below 2^104.
    let demand = u128::from(in_flight).saturating_mul(1_000_000_000_000);
    let capacity = u128::from(members)
        .saturating_mul(u128::from(concurrency.get()))
        .saturating_mul(u128::from(share.as_u32()));
    let utilisation = demand.checked_div(capacity)?;
    Some(u32::try_from(utilisation).unwrap_or(u32::MAX))
}
