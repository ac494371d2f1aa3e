//! Envoy's round robin.
//!
//! Model: with equal weights, endpoint `(start + k) mod n` at the k-th pick, `start` drawn once per worker; else
//! earliest deadline first by weight, begun after `start` picks. The healthy, the degraded and all endpoints have a
//! position each, which a change of the membership leaves alone (a schedule by weight begins anew).
//! Scope: per worker.
//! Source: Envoy `source/extensions/load_balancing_policies/round_robin/round_robin_lb.h` (12ca3fd).

use super::edf::Edf;
use super::members::{Members, PerSource};
use super::{Balancer, Hosts, Pick, choose_another};
use crate::draw::Draws;

#[derive(Debug)]
pub(super) struct RoundRobin {
    members: Members,
    seed: u64,
    schedules: PerSource<Option<Edf>>,
    positions: PerSource<u64>,
}

impl RoundRobin {
    pub(super) fn new(panic_threshold: f64, draws: &mut Draws) -> Self {
        let seed = draws.next_u64();
        Self {
            members: Members::new(panic_threshold),
            seed,
            schedules: PerSource::default(),
            positions: PerSource {
                all: seed,
                healthy: seed,
                degraded: seed,
            },
        }
    }
}

impl Balancer for RoundRobin {
    fn pick(&mut self, hosts: &Hosts, pick: &Pick<'_>, draws: &mut Draws) -> Option<usize> {
        let weight = |host: usize| f64::from(weight_of(hosts, host));
        if self.members.refresh(hosts) {
            self.schedules = schedules(&self.members, hosts, weight, self.seed);
        }
        choose_another(pick, |_| {
            let source = self.members.source(draws.next_u64());
            if let Some(schedule) = self.schedules.of_mut(source) {
                return schedule.pick(weight);
            }
            let list = self.members.hosts.of(source);
            let position = self.positions.of_mut(source);
            let chosen = nth(list, *position)?;
            *position = position.wrapping_add(1);
            Some(chosen)
        })
    }
}

/// Makes a schedule for each source whose weights differ.
pub(super) fn schedules(
    members: &Members,
    hosts: &Hosts,
    weight: impl Fn(usize) -> f64,
    seed: u64,
) -> PerSource<Option<Edf>> {
    let schedule = |list: &Vec<usize>| {
        let mut weights = list.iter().map(|host| weight_of(hosts, *host));
        let first = weights.next()?;
        weights
            .any(|weight| weight != first)
            .then(|| Edf::new(list, &weight, seed))
    };
    PerSource {
        all: schedule(&members.hosts.all),
        healthy: schedule(&members.hosts.healthy),
        degraded: schedule(&members.hosts.degraded),
    }
}

/// Returns the weight of an endpoint; 0, which Envoy refuses, is 1.
pub(super) fn weight_of(hosts: &Hosts, host: usize) -> u32 {
    hosts.all.get(host).map_or(1, |host| host.weight.max(1))
}

/// Returns the entry of a list at a position modulo its length.
pub(super) fn nth(list: &[usize], position: u64) -> Option<usize> {
    let len = u64::try_from(list.len()).ok()?;
    let index = usize::try_from(position.checked_rem(len)?).ok()?;
    list.get(index).copied()
}
