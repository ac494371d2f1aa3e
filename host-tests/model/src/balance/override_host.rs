//! Envoy's ways to send a request to a named endpoint.
//!
//! - `override_host`: each attempt takes the next entry of the list that is a member, whatever its health; with the
//!   list used up, or without one, the fallback policy chooses. An entry of white space is none.
//! - A stateful session names one endpoint, for the first attempt only, and only one that is healthy or degraded.
//!
//! Scope: per worker; what a request has used up is the caller's ([`Pick::used`]). Cost: O(log n) per entry.
//! Source: Envoy `source/extensions/load_balancing_policies/override_host/load_balancer.cc` (043486c);
//! `source/common/upstream/host_utility.cc` and `source/common/router/router.h` as of 1.40.

use std::collections::BTreeMap;

use super::{Balancer, Ended, Hosts, Pick};
use crate::draw::Draws;
use crate::scenario::Health;

#[derive(Debug)]
pub(super) struct OverrideHost {
    addresses: Addresses,
    fallback: Box<dyn Balancer>,
}

impl OverrideHost {
    pub(super) fn new(fallback: Box<dyn Balancer>) -> Self {
        Self {
            addresses: Addresses::default(),
            fallback,
        }
    }

    fn named(&self, pick: &Pick<'_>) -> Option<usize> {
        let entries = pick
            .wanted?
            .split(',')
            .map(str::trim_ascii)
            .filter(|entry| !entry.is_empty());
        let Some(used) = pick.used else {
            let attempts_before = pick.attempt.saturating_sub(1);
            return entries
                .filter_map(|entry| self.addresses.find(entry))
                .nth(usize::try_from(attempts_before).ok()?);
        };
        for entry in entries.skip(used.get()) {
            used.set(used.get().saturating_add(1));
            if let Some(host) = self.addresses.find(entry) {
                return Some(host);
            }
        }
        None
    }
}

impl Balancer for OverrideHost {
    fn pick(&mut self, hosts: &Hosts, pick: &Pick<'_>, draws: &mut Draws) -> Option<usize> {
        self.addresses.refresh(hosts);
        match self.named(pick) {
            Some(host) => Some(host),
            None => self.fallback.pick(hosts, pick, draws),
        }
    }

    fn on_start(&mut self, host: usize, now_ns: u64) {
        self.fallback.on_start(host, now_ns);
    }

    fn on_end(&mut self, host: usize, ended: Ended) {
        self.fallback.on_end(host, ended);
    }
}

#[derive(Debug)]
pub(super) struct SessionHost {
    addresses: Addresses,
    fallback: Box<dyn Balancer>,
}

impl SessionHost {
    pub(super) fn new(fallback: Box<dyn Balancer>) -> Self {
        Self {
            addresses: Addresses::default(),
            fallback,
        }
    }
}

impl Balancer for SessionHost {
    fn pick(&mut self, hosts: &Hosts, pick: &Pick<'_>, draws: &mut Draws) -> Option<usize> {
        self.addresses.refresh(hosts);
        // SOURCE: `overrideHostToSelect` of the router's filter names none for a retry; `createOverrideHostStatus`
        // admits UNKNOWN, HEALTHY and DEGRADED.
        let named = (pick.attempt <= 1)
            .then_some(pick.wanted)
            .flatten()
            .and_then(|address| self.addresses.find(address))
            .filter(|host| {
                let health = hosts.all.get(*host).map(|host| host.health);
                matches!(health, Some(Health::Healthy | Health::Degraded))
            });
        match named {
            Some(host) => Some(host),
            None => self.fallback.pick(hosts, pick, draws),
        }
    }

    fn on_start(&mut self, host: usize, now_ns: u64) {
        self.fallback.on_start(host, now_ns);
    }

    fn on_end(&mut self, host: usize, ended: Ended) {
        self.fallback.on_end(host, ended);
    }
}

/// The members by address.
#[derive(Debug, Default)]
struct Addresses {
    generation: Option<u64>,
    hosts: BTreeMap<String, usize>,
}

impl Addresses {
    fn refresh(&mut self, hosts: &Hosts) {
        if self.generation == Some(hosts.generation) {
            return;
        }
        self.generation = Some(hosts.generation);
        self.hosts = hosts
            .members
            .iter()
            .filter_map(|index| Some((hosts.all.get(*index)?.address.clone(), *index)))
            .collect();
    }

    fn find(&self, address: &str) -> Option<usize> {
        self.hosts.get(address).copied()
    }
}
