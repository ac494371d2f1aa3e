//! Envoy's random balancer.
//!
//! Model: one draw decides between healthy and degraded endpoints (modulo 100) and, modulo their number, which of them.
//! Scope: no state but the membership.
//! Source: Envoy `source/extensions/load_balancing_policies/random/random_lb.cc` (a19aa54).

use super::members::Members;
use super::round_robin::nth;
use super::{Balancer, Hosts, Pick, choose_another};
use crate::draw::Draws;

#[derive(Debug)]
pub(super) struct Random {
    members: Members,
}

impl Random {
    pub(super) fn new(panic_threshold: f64) -> Self {
        Self {
            members: Members::new(panic_threshold),
        }
    }
}

impl Balancer for Random {
    fn pick(&mut self, hosts: &Hosts, pick: &Pick<'_>, draws: &mut Draws) -> Option<usize> {
        self.members.refresh(hosts);
        choose_another(pick, |_| {
            let draw = draws.next_u64();
            nth(self.members.hosts.of(self.members.source(draw)), draw)
        })
    }
}
