//! The routers of all clusters that one VM sends requests to.
//!
//! Model: a cluster that a rule names has its router from the beginning, one that a prefix covers
//! from its first request on; both know nothing until a tick. What was decided names its router, so
//! that answers and ends find it without the cluster's name.
//! Limits: [`MAX_ROUTERS`], for good: requests to more clusters are left alone.
//! Scope: per worker VM and configuration. What routers of an earlier configuration decided, and
//! ends under this one, is nothing to it. Cost: O(log clusters) for a request, O(1) to find the
//! router of an answer; no allocation but for a cluster's first request.

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use super::{
    reason::Reason,
    routed::{Answered, Concluded, Routed, RouterId},
    router::{Router, Surroundings},
    rules::Rules,
};
use crate::{
    endpoints::{MAX_FOLLOWED, Picture, Selector},
    plan::Proposal,
    units::WallTime,
};

/// Is how many clusters are routed to: as many as a VM follows.
pub const MAX_ROUTERS: usize = MAX_FOLLOWED;

/// Routes to all clusters that the rules name.
#[derive(Debug)]
pub struct Routers {
    rules: Rules,
    drain_window: Duration,
    /// Is the id of the first router; the others' follow.
    first_id: u64,
    routers: Vec<Router>,
    /// Are the clusters, each with the place of its router.
    places: BTreeMap<Vec<u8>, usize>,
}

impl Routers {
    /// Starts without pictures. `drain_window` is how long an endpoint drains; `draw` a random
    /// number, by which these routers are told from those of another configuration.
    #[must_use]
    pub fn new(rules: Rules, drain_window: Duration, draw: u64) -> Self {
        let mut routers = Self {
            rules,
            drain_window,
            // Room for all of them below the one that is nobody's.
            first_id: draw >> 1,
            routers: Vec::new(),
            places: BTreeMap::new(),
        };
        let named: Vec<Vec<u8>> = routers
            .rules
            .iter()
            .filter_map(|rule| match &rule.selector {
                Selector::Name(name) => Some(name.as_bytes().to_vec()),
                Selector::Prefix(_) => None,
            })
            .collect();
        for cluster in named {
            // Without room the cluster is left alone, as it would be later.
            let _ = routers.place(&cluster);
        }
        routers
    }

    /// Is the router of a cluster; `None` before its first request.
    #[must_use]
    pub fn get(&self, cluster: &[u8]) -> Option<&Router> {
        self.routers.get(*self.places.get(cluster)?)
    }

    /// Lists the clusters that have a router, in the order of their names.
    pub fn clusters(&self) -> impl Iterator<Item = &[u8]> {
        self.places.keys().map(Vec::as_slice)
    }

    /// Takes what is known of all clusters' endpoints now: at each tick.
    pub fn on_tick<'p>(
        &mut self,
        picture: impl Fn(&[u8]) -> Picture<'p>,
        surroundings: Surroundings<'_>,
        draw: &mut dyn FnMut() -> u64,
    ) {
        for (cluster, place) in &self.places {
            if let Some(router) = self.routers.get_mut(*place) {
                router.on_tick(&picture(cluster), surroundings, draw);
            }
        }
    }

    /// Decides about a request to a cluster: see [`Router::on_request`].
    pub fn on_request(
        &mut self,
        cluster: &[u8],
        proposal: Option<Proposal>,
        now: WallTime,
        draw: &mut dyn FnMut() -> u64,
    ) -> Routed {
        let place = match self.place(cluster) {
            Ok(place) => place,
            Err(reason) => return Routed::alone(reason, now),
        };
        match self.routers.get_mut(place) {
            Some(router) => router.on_request(proposal, now, draw),
            None => Routed::alone(Reason::NotConfigured, now),
        }
    }

    /// Takes the answer to a request: see [`Router::on_answer`].
    pub fn on_answer(
        &mut self,
        routed: &mut Routed,
        answered: &Answered,
        now: WallTime,
    ) -> Concluded {
        match self.of(routed) {
            Some(router) => router.on_answer(routed, answered, now),
            None => Concluded::NOTHING,
        }
    }

    /// Takes that a request ended: see [`Router::on_end`].
    pub fn on_end(&mut self, routed: Routed) {
        if let Some(router) = self.of(&routed) {
            router.on_end(routed);
        }
    }

    /// Is the router that decided.
    fn of(&mut self, routed: &Routed) -> Option<&mut Router> {
        let RouterId(id) = routed.router;
        let place = id.checked_sub(self.first_id)?;
        self.routers.get_mut(usize::try_from(place).ok()?)
    }

    /// Is the place of a cluster's router, which is made where there is none.
    fn place(&mut self, cluster: &[u8]) -> Result<usize, Reason> {
        if let Some(place) = self.places.get(cluster) {
            return Ok(*place);
        }
        let (_, rule) = self.rules.find(cluster).ok_or(Reason::UnlistedCluster)?;
        let place = self.routers.len();
        if place >= MAX_ROUTERS {
            return Err(Reason::NotConfigured);
        }
        let number = u64::try_from(place).unwrap_or(u64::MAX);
        let id = self.first_id.saturating_add(number);
        self.routers.push(Router::new(rule, self.drain_window, id));
        self.places.insert(cluster.to_vec(), place);
        Ok(place)
    }
}
