//! Load balancers: Envoy's, and models of those of other projects.
//!
//! Scope: one balancer per worker and cluster, as in Envoy. What Envoy counts per endpoint over all workers
//! ([`Host::active_requests`]) comes with the hosts; what another project counts per worker is the balancer's own,
//! told by [`Balancer::on_start`] and [`Balancer::on_end`].

use std::cell::Cell;

use crate::draw::Draws;
use crate::scenario;

mod edf;
mod hashing;
mod least_request;
mod members;
mod override_host;
mod random;
mod reference;
mod round_robin;
pub mod session;

pub use hashing::hash;

/// An endpoint as a balancer sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// Address as `ip:port`.
    pub address: String,
    /// Weight, at least 1.
    pub weight: u32,
    /// Zone.
    pub zone: String,
    /// Health in the membership.
    pub health: scenario::Health,
    /// Requests under way to it, from all workers: attempts that have their connection and haven't ended.
    pub active_requests: u32,
}

/// The endpoints of a cluster. An index stays an endpoint's for the whole run; the membership is which of them count
/// now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hosts {
    /// All endpoints that ever were.
    pub all: Vec<Host>,
    /// Indexes of those that are members now, in the order of the membership.
    pub members: Vec<usize>,
    /// Changes with the membership, or with the health of a member.
    pub generation: u64,
}

/// What is known about the request when an endpoint is chosen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pick<'a> {
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Hash of the request by the route's hash policy.
    pub hash: Option<u64>,
    /// The value of the override header, or the endpoint of the session cookie; looked at by `override_host` and
    /// `stateful_session`.
    pub wanted: Option<&'a str>,
    /// How many entries of `wanted` the attempts before have used up, known or unknown ones; `override_host` counts
    /// on. One per request. Without it, attempt k takes the k-th entry that is a member now.
    pub used: Option<&'a Cell<usize>>,
    /// Endpoints of the attempts before, if they are to be avoided (`previous_hosts`); the first attempt has none.
    pub avoid: &'a [usize],
    /// How often another endpoint is looked for when the chosen one is to be avoided
    /// (`host_selection_retry_max_attempts`); the last one found is taken all the same.
    pub avoid_attempts: u32,
    /// Now, in nanoseconds.
    pub now_ns: u64,
}

/// How an attempt ended, for balancers that learn from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Now, in nanoseconds.
    pub now_ns: u64,
    /// From the attempt's beginning to its end (an upgrade: to its 101), in nanoseconds.
    pub took_ns: u64,
    /// Whether it was answered with a status below 500.
    pub succeeded: bool,
}

/// Chooses endpoints.
pub trait Balancer: std::fmt::Debug + Send {
    /// Chooses an endpoint for an attempt: an index into [`Hosts::all`]. `None` when there is none.
    fn pick(&mut self, hosts: &Hosts, pick: &Pick<'_>, draws: &mut Draws) -> Option<usize>;

    /// An attempt at an endpoint began on this worker.
    fn on_start(&mut self, _host: usize, _now_ns: u64) {}

    /// An attempt at an endpoint ended on this worker.
    fn on_end(&mut self, _host: usize, _ended: Ended) {}
}

/// Makes the balancer of one worker. Envoy's draw their starting point here.
#[must_use]
pub fn balancer(
    of: &scenario::Balancer,
    panic_threshold: f64,
    draws: &mut Draws,
) -> Box<dyn Balancer> {
    use scenario::{Balancer as Of, Reference};
    match of {
        Of::RoundRobin => Box::new(round_robin::RoundRobin::new(panic_threshold, draws)),
        Of::LeastRequest { choice_count } => Box::new(least_request::LeastRequest::new(
            *choice_count,
            panic_threshold,
            draws,
        )),
        Of::Random => Box::new(random::Random::new(panic_threshold)),
        Of::RingHash { minimum_ring_size } => {
            Box::new(hashing::Hashing::ring(*minimum_ring_size, panic_threshold))
        }
        Of::Maglev => Box::new(hashing::Hashing::maglev(panic_threshold)),
        Of::OverrideHost { fallback, .. } => Box::new(override_host::OverrideHost::new(balancer(
            fallback,
            panic_threshold,
            draws,
        ))),
        Of::StatefulSession { fallback, .. } => Box::new(override_host::SessionHost::new(
            balancer(fallback, panic_threshold, draws),
        )),
        Of::Reference(Reference::FinaglePeakEwma) => Box::new(reference::PeakEwma::default()),
        Of::Reference(Reference::IngressNginxEwma) => Box::new(reference::NginxEwma::default()),
        Of::Reference(Reference::LeastLoaded) => Box::new(reference::LeastLoaded::default()),
        Of::Reference(Reference::TraefikLeastTime) => Box::new(reference::LeastTime::default()),
    }
}

/// Chooses until what is chosen needn't be avoided, or often enough. `once` is told which choice it is, from 0.
fn choose_another(pick: &Pick<'_>, mut once: impl FnMut(u32) -> Option<usize>) -> Option<usize> {
    let mut chosen = None;
    for choice in 0..=pick.avoid_attempts {
        chosen = once(choice);
        if chosen.is_none_or(|host| !pick.avoid.contains(&host)) {
            break;
        }
    }
    chosen
}

#[cfg(test)]
mod tests;
