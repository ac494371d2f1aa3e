//! What a scenario says: traffic, filters, Envoy's side, endpoints with their timelines, faults, and what is expected.
//!
//! These are the types of the YAML file. Unknown fields are refused everywhere. What one field alone can say wrong is
//! refused while it is read; what only several of them together can, by [`Scenario::problems`].

mod chain;
mod cluster;
mod endpoint;
mod problems;
mod route;
mod traffic;

pub use chain::{Fault, FaultStatus, Filter, HeaderRemoval, OnTrap, Plugin};
pub use cluster::{
    AdminFault, BadAnswer, Balancer, CircuitBreakers, Cluster, ClusterKind, Reference, RetryBudget,
};
pub use endpoint::{Answer, Endpoint, Errors, Failure, Health, Latency, Phase, Sockets, State};
pub use route::{BackOff, Hash, RetryOn, RetryPolicy, Route};
pub use traffic::{
    Arrivals, Clients, Generated, Messages, Recorded, RequestTemplate, Scripted, ScriptedRequest,
    Source,
};

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use crate::units::Span;

/// One scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is about, in one sentence.
    pub what: String,
    /// Begins everything that looks random. Several are several runs, and the report has all of them.
    #[serde(
        default = "first_seed",
        alias = "seed",
        deserialize_with = "one_or_several"
    )]
    pub seeds: Vec<u64>,
    /// How long requests come; those under way then still end.
    pub duration: Span,
    /// Worker threads of the proxy; a connection stays on one.
    #[serde(default = "one")]
    pub workers: u32,
    /// Where requests come from.
    pub traffic: Vec<Source>,
    /// The filter chain in front of the router, in order.
    #[serde(default)]
    pub filters: Vec<Filter>,
    /// The first route that matches is taken; without one, `/` goes to the first cluster.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// What requests and call-outs go to.
    pub clusters: Vec<Cluster>,
    /// Host calls that fail.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// The same scenario once more for each of these, without the plugins.
    #[serde(default)]
    pub baselines: Vec<Baseline>,
    /// What must come out, such as `latency_ms.p99 <= 50 during 10s..20s`.
    #[serde(default)]
    pub expect: Vec<String>,
}

/// What stands in the place of the plugins in a run to compare with.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Its name in the report.
    pub name: String,
    /// Balances every cluster; without it, each keeps its own (`override_host` its fallback policy).
    pub balancer: Option<Balancer>,
    /// Replaces the retry policy of every route.
    pub retry: Option<RetryPolicy>,
    /// Replaces the circuit breakers of every cluster.
    pub circuit_breakers: Option<CircuitBreakers>,
}

/// Where a statement of a scenario is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The place, such as `clusters[0].endpoints[2].address`.
    pub path: String,
    /// What is wrong there, and what to write.
    pub message: String,
}

impl Scenario {
    /// Returns the scenario that a baseline stands for: without the plugins, and with what the baseline replaces.
    #[must_use]
    pub fn with_baseline(&self, baseline: &Baseline) -> Self {
        let mut changed = self.clone();
        let is_native = |filter: &Filter| matches!(filter, Filter::RemoveHeaders(_));
        changed.filters.retain(is_native);
        changed.faults.clear();
        changed.baselines.clear();
        changed.expect.clear();
        if changed.routes.is_empty() && baseline.retry.is_some() {
            changed.routes.push(Route {
                cluster: changed.clusters.first().map(|first| first.name.clone()),
                ..Route::default()
            });
        }
        for route in &mut changed.routes {
            if let Some(retry) = &baseline.retry {
                route.retry = Some(retry.clone());
            }
        }
        for cluster in &mut changed.clusters {
            cluster.upstream_filters.retain(is_native);
            let balancer = match &baseline.balancer {
                Some(balancer) => balancer.clone(),
                None => cluster.balancer.without_override(),
            };
            cluster.balancer = balancer;
            if let Some(breakers) = baseline.circuit_breakers {
                cluster.circuit_breakers = breakers;
            }
        }
        changed
    }
}

/// Takes `seed: 3` for `seeds: [3]`.
fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    struct Seeds;
    impl<'de> de::Visitor<'de> for Seeds {
        type Value = Vec<u64>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a whole number, at least 0, or a list of them")
        }

        fn visit_u64<E: de::Error>(self, seed: u64) -> Result<Vec<u64>, E> {
            Ok(vec![seed])
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u64>, A::Error> {
            let mut seeds = Vec::new();
            while let Some(seed) = list.next_element()? {
                seeds.push(seed);
            }
            Ok(seeds)
        }
    }
    deserializer.deserialize_any(Seeds)
}

fn first_seed() -> Vec<u64> {
    vec![1]
}

const fn one() -> u32 {
    1
}
