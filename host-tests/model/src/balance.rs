//! Load balancers: Envoy's, and models of those of other projects.
//!
//! Scope: one balancer per worker and cluster, as in Envoy. What Envoy counts per endpoint over all workers
//! ([`Host::active_requests`]) comes with the hosts; what another project counts per worker is the balancer's own, told by
//! [`Balancer::on_start`] and [`Balancer::on_end`].

use crate::draw::Draws;
use crate::scenario;

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
    /// Requests under way to it, from all workers.
    pub active_requests: u32,
}

/// The endpoints of a cluster. An index stays an endpoint's for the whole run; the membership is which of them count now.
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
    /// Endpoints of the attempts before, if they are to be avoided.
    pub avoid: &'a [usize],
    /// How often another endpoint is looked for when the chosen one is to be avoided.
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

/// Makes the balancer of one worker.
#[must_use]
pub fn balancer(
    _of: &scenario::Balancer,
    _panic_threshold: f64,
    _draws: &mut Draws,
) -> Box<dyn Balancer> {
    Box::new(First)
}

#[derive(Debug)]
struct First;

impl Balancer for First {
    fn pick(&mut self, hosts: &Hosts, _: &Pick<'_>, _: &mut Draws) -> Option<usize> {
        hosts.members.first().copied()
    }
}
