//! Envoy's least request.
//!
//! Model: with equal weights, the first of those with the fewest requests under way among `choice_count` endpoints
//! drawn with replacement; else earliest deadline first by `weight / (requests under way + 1)`, taken at an
//! endpoint's own pick.
//! Inputs: [`super::Host::active_requests`], which all workers share.
//! Scope: the schedule is per worker, the counts are the cluster's.
//! Source: Envoy `source/extensions/load_balancing_policies/least_request/least_request_lb.cc` (0a31a54).
//! Differs: no `active_request_bias`, no slow start, no full scan; a scenario can't say them.

use super::edf::Edf;
use super::members::{Members, PerSource};
use super::round_robin::{nth, schedules, weight_of};
use super::{Balancer, Hosts, Pick, choose_another};
use crate::draw::Draws;

#[derive(Debug)]
pub(super) struct LeastRequest {
    choice_count: u32,
    members: Members,
    seed: u64,
    schedules: PerSource<Option<Edf>>,
}

impl LeastRequest {
    pub(super) fn new(choice_count: u32, panic_threshold: f64, draws: &mut Draws) -> Self {
        Self {
            choice_count,
            members: Members::new(panic_threshold),
            seed: draws.next_u64(),
            schedules: PerSource::default(),
        }
    }
}

impl Balancer for LeastRequest {
    fn pick(&mut self, hosts: &Hosts, pick: &Pick<'_>, draws: &mut Draws) -> Option<usize> {
        let active = |host: usize| hosts.all.get(host).map_or(0, |host| host.active_requests);
        let weight =
            |host: usize| f64::from(weight_of(hosts, host)) / (f64::from(active(host)) + 1.0);
        if self.members.refresh(hosts) {
            self.schedules = schedules(&self.members, hosts, weight, self.seed);
        }
        choose_another(pick, |_| {
            let source = self.members.source(draws.next_u64());
            if let Some(schedule) = self.schedules.of_mut(source) {
                return schedule.pick(weight);
            }
            let list = self.members.hosts.of(source);
            // `min_by_key` returns the first of equals, as Envoy does.
            (0..self.choice_count.max(1))
                .filter_map(|_| nth(list, draws.next_u64()))
                .min_by_key(|host| active(*host))
        })
    }
}
