//! Which endpoints Envoy chooses from: the healthy ones, the degraded ones, or in panic all.
//!
//! Model: with `h` and `d` the healthy and degraded endpoints of the `n` that don't drain, health
//! `H = min(100, ⌊140 h / n⌋)` and likewise `D`, and availability `A = min(100, H + D)`. Panic: `A < 100` and
//! `100 (h + d) / n < threshold`. Otherwise, of a hundred draws, `⌊100 H / A⌋` (at most 100) go to the healthy ones,
//! `⌊100 D / A⌋` (at most what is left) to the degraded ones, and the rest of the rounding to the healthy ones if there
//! are any. In panic those that drain are chosen from too; where there is nothing else there is panic.
//! Scope: one per balancer. Cost: O(n) when the membership changes, else O(1).
//! Source: Envoy `source/extensions/load_balancing_policies/common/load_balancer_impl.cc` (00cf9a0).
//! Differs: Envoy counts an endpoint that goes from unhealthy to draining among the unhealthy until the membership
//! changes in some other way (seen). One priority. No locality weights and no zone-aware routing: that needs a cluster of
//! the proxies themselves (`local_cluster_name`), without which Envoy doesn't do it either.

use super::Hosts;
use crate::scenario::Health;

/// From which of the endpoints one is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    All,
    Healthy,
    Degraded,
}

/// Something for each source.
#[derive(Debug, Default)]
pub(super) struct PerSource<T> {
    pub(super) all: T,
    pub(super) healthy: T,
    pub(super) degraded: T,
}

impl<T> PerSource<T> {
    pub(super) const fn of(&self, source: Source) -> &T {
        match source {
            Source::All => &self.all,
            Source::Healthy => &self.healthy,
            Source::Degraded => &self.degraded,
        }
    }

    pub(super) const fn of_mut(&mut self, source: Source) -> &mut T {
        match source {
            Source::All => &mut self.all,
            Source::Healthy => &mut self.healthy,
            Source::Degraded => &mut self.degraded,
        }
    }
}

/// The members by their health.
#[derive(Debug)]
pub(super) struct Members {
    /// In percent.
    panic_threshold: u64,
    generation: Option<u64>,
    /// Indexes into [`Hosts::all`].
    pub(super) hosts: PerSource<Vec<usize>>,
    panic: bool,
    /// How many of a hundred draws go to the healthy ones.
    healthy_load: u64,
}

/// What Envoy makes of healthy and degraded endpoints before it takes them for the whole.
///
/// SOURCE: the default of `overprovisioning_factor`.
const OVERPROVISIONING: u64 = 140;

impl Members {
    pub(super) fn new(panic_threshold: f64) -> Self {
        let percent = libm::round(panic_threshold.clamp(0.0, 1.0) * 100.0);
        Self {
            panic_threshold: (0..100_u8)
                .find(|whole| f64::from(*whole) >= percent)
                .map_or(100, u64::from),
            generation: None,
            hosts: PerSource::default(),
            panic: false,
            healthy_load: 100,
        }
    }

    /// Looks at the membership again if it changed, and says whether it did.
    pub(super) fn refresh(&mut self, hosts: &Hosts) -> bool {
        if self.generation == Some(hosts.generation) {
            return false;
        }
        self.generation = Some(hosts.generation);
        let with = |wanted: Option<Health>| {
            let members = hosts.members.iter().copied();
            members
                .filter(|index| {
                    let host = hosts.all.get(*index);
                    host.is_some_and(|host| wanted.is_none_or(|health| host.health == health))
                })
                .collect::<Vec<usize>>()
        };
        self.hosts = PerSource {
            all: with(None),
            healthy: with(Some(Health::Healthy)),
            degraded: with(Some(Health::Degraded)),
        };
        let count = |list: &Vec<usize>| u64::try_from(list.len()).unwrap_or(u64::MAX);
        let all = count(&self.hosts.all).saturating_sub(count(&with(Some(Health::Draining))));
        let (healthy, degraded) = (count(&self.hosts.healthy), count(&self.hosts.degraded));
        let health_of = |some: u64| {
            (OVERPROVISIONING.saturating_mul(some))
                .checked_div(all)
                .unwrap_or(0)
                .min(100)
        };
        let (healthy_health, degraded_health) = (health_of(healthy), health_of(degraded));
        let available = (healthy_health + degraded_health).min(100);
        // `100 (h + d) / n < threshold` without a division.
        let too_few = (healthy + degraded).saturating_mul(100)
            < self.panic_threshold.saturating_mul(all)
            || all == 0;
        self.panic = available < 100 && too_few && self.panic_threshold > 0;
        self.healthy_load = match (100 * healthy_health).checked_div(available) {
            // Nothing is available: without panic, nothing is found among the healthy ones.
            None => 100,
            Some(load) => {
                let load = load.min(100);
                let degraded_load = (100 * degraded_health / available).min(100 - load);
                if healthy_health > 0 {
                    100 - degraded_load
                } else {
                    load
                }
            }
        };
        true
    }

    /// Says where to choose from, by a draw.
    pub(super) const fn source(&self, draw: u64) -> Source {
        if self.panic {
            Source::All
        } else if draw % 100 < self.healthy_load {
            Source::Healthy
        } else {
            Source::Degraded
        }
    }

    /// Says where balancers by hash choose from: they know of no degraded endpoints.
    pub(super) const fn source_of_hashes(&self) -> Source {
        if self.panic {
            Source::All
        } else {
            Source::Healthy
        }
    }
}
