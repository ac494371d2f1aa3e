//! Balancers of other projects, from their formulae. What they have in common: they choose from the members that are
//! healthy or degraded (the others aren't in their lists), they know the requests of their own worker only, and they
//! don't avoid endpoints.

mod finagle;
mod nginx;
mod traefik;

pub(super) use finagle::{LeastLoaded, PeakEwma};
pub(super) use nginx::NginxEwma;
pub(super) use traefik::LeastTime;

use super::Hosts;
use crate::draw::Draws;
use crate::scenario::Health;

/// The members that they choose from.
#[derive(Debug, Default)]
struct Listed {
    generation: Option<u64>,
    list: Vec<usize>,
}

impl Listed {
    fn is_stale(&self, hosts: &Hosts) -> bool {
        self.generation != Some(hosts.generation)
    }

    /// Looks at the membership again if it changed, and says whether it did.
    fn refresh(&mut self, hosts: &Hosts) -> bool {
        if !self.is_stale(hosts) {
            return false;
        }
        self.generation = Some(hosts.generation);
        let is_listed = |index: &usize| {
            let health = hosts.all.get(*index).map(|host| host.health);
            matches!(health, Some(Health::Healthy | Health::Degraded))
        };
        self.list = hosts.members.iter().copied().filter(is_listed).collect();
        true
    }

    /// Draws two distinct members, each pair with the same probability; the only one there is, alone.
    fn two(&self, draws: &mut Draws) -> Option<(usize, Option<usize>)> {
        let len = self.list.len();
        let first = draws.index(len);
        let mut second = draws.index(len.saturating_sub(1));
        if second >= first {
            second += 1;
        }
        let host = |index: usize| self.list.get(index).copied();
        Some((host(first)?, host(second)))
    }
}

/// Something about each endpoint, by its index.
#[derive(Debug)]
struct PerHost<T>(Vec<T>);

impl<T> Default for PerHost<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Default> PerHost<T> {
    /// Returns an endpoint's entry, made when it is first asked for. `None` never comes: the list is as long as is
    /// needed.
    fn of(&mut self, host: usize) -> Option<&mut T> {
        if host >= self.0.len() {
            self.0.resize_with(host.saturating_add(1), T::default);
        }
        self.0.get_mut(host)
    }
}
