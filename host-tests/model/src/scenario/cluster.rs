//! Clusters: how requests are balanced, and how many there may be.

use serde::Deserialize;

use super::chain::Filter;
use super::endpoint::Endpoint;
use crate::units::{Ratio, Span};

/// A cluster.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// What it leads to.
    #[serde(default)]
    pub kind: ClusterKind,
    /// How an endpoint is chosen.
    #[serde(default)]
    pub balancer: Balancer,
    /// Its endpoints; none for the admin's.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// How long a connection may take.
    #[serde(default = "five_seconds")]
    pub connect_timeout: Span,
    /// The most at a time.
    #[serde(default)]
    pub circuit_breakers: CircuitBreakers,
    /// When fewer than this share is healthy, all endpoints are chosen from.
    #[serde(default = "half")]
    pub panic_threshold: Ratio,
    /// The filters that each attempt passes.
    #[serde(default)]
    pub upstream_filters: Vec<Filter>,
    /// When the admin answers badly; only for the admin's.
    #[serde(default)]
    pub admin_faults: Vec<AdminFault>,
}

/// A time in which the admin answers badly.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminFault {
    /// When it begins.
    #[serde(default)]
    pub from: Span,
    /// When it ends.
    pub until: Option<Span>,
    /// What paths begin with whose answers are bad.
    #[serde(default = "slash")]
    pub path: String,
    /// What is answered.
    pub with: BadAnswer,
}

impl AdminFault {
    /// Whether a request at this time, since the scenario began, gets a bad answer.
    #[must_use]
    pub fn holds(&self, now_ns: u64, target: &str) -> bool {
        let is_over = self.until.is_some_and(|until| now_ns >= until.ns());
        now_ns >= self.from.ns() && !is_over && target.starts_with(&self.path)
    }
}

fn slash() -> String {
    String::from("/")
}

/// What an admin answers that answers badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadAnswer {
    /// 200 with something that was never asked for.
    Garbage,
    /// 200 with ten million bytes.
    Huge,
    /// Nothing, ever.
    Never,
    /// 200 with a cluster that was not asked for.
    OtherCluster,
    /// A status without a body.
    Status(u16),
    /// 200 with the first half of the answer.
    Truncated,
}

const fn five_seconds() -> Span {
    Span::ms(5_000)
}

fn half() -> Ratio {
    Ratio::try_new(0.5).unwrap_or_default()
}

/// What a cluster leads to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterKind {
    /// Its endpoints.
    #[default]
    Endpoints,
    /// The admin interface of the proxy itself.
    Admin,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Balancer {
    /// In turn; by weight if weights differ.
    #[default]
    RoundRobin,
    /// The one with the fewest requests of several drawn ones.
    LeastRequest {
        /// How many are drawn.
        #[serde(default = "two")]
        choice_count: u32,
    },
    /// Uniformly.
    Random,
    /// By a hash of the request, on a ring.
    RingHash {
        /// The least size of the ring.
        #[serde(default = "ring")]
        minimum_ring_size: u64,
    },
    /// By a hash of the request, in a table.
    Maglev,
    /// The endpoints that a request header names, then another policy.
    OverrideHost {
        /// The header.
        #[serde(default = "endpoint_header")]
        header: String,
        /// What chooses when the header names none.
        #[serde(default)]
        fallback: Box<Self>,
    },
    /// Envoy's stateful sessions: a cookie names the endpoint, in base64; else another policy.
    StatefulSession {
        /// The cookie.
        #[serde(default = "session_cookie")]
        cookie: String,
        /// What chooses for a new session.
        #[serde(default)]
        fallback: Box<Self>,
    },
    /// A balancer of another project, modelled from its formula; no Envoy runs it.
    Reference(Reference),
}

impl Balancer {
    /// Returns what chooses when no plugin names an endpoint.
    #[must_use]
    pub fn without_override(&self) -> Self {
        match self {
            Self::OverrideHost { fallback, .. } => fallback.without_override(),
            _ => self.clone(),
        }
    }
}

/// Balancers of other projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// The peak EWMA of Finagle and linkerd, with two choices.
    FinaglePeakEwma,
    /// The EWMA of ingress-nginx, with two choices.
    IngressNginxEwma,
    /// The least loaded of two distinct choices, knowing only this worker's requests.
    LeastLoaded,
    /// The least response time of Traefik.
    TraefikLeastTime,
}

const fn two() -> u32 {
    2
}

const fn ring() -> u64 {
    1024
}

fn endpoint_header() -> String {
    "x-tidegate-endpoint".to_owned()
}

fn session_cookie() -> String {
    "session".to_owned()
}

/// Envoy's circuit breakers of the default priority.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircuitBreakers {
    /// Connections.
    #[serde(default = "thousand")]
    pub max_connections: u32,
    /// Requests that wait for a connection.
    #[serde(default = "thousand")]
    pub max_pending_requests: u32,
    /// Requests.
    #[serde(default = "thousand")]
    pub max_requests: u32,
    /// Retries; not used with a retry budget.
    #[serde(default = "three")]
    pub max_retries: u32,
    /// Bounds retries by the requests instead.
    pub retry_budget: Option<RetryBudget>,
}

impl Default for CircuitBreakers {
    fn default() -> Self {
        Self {
            max_connections: thousand(),
            max_pending_requests: thousand(),
            max_requests: thousand(),
            max_retries: three(),
            retry_budget: None,
        }
    }
}

const fn thousand() -> u32 {
    1024
}

const fn three() -> u32 {
    3
}

/// A bound of retries.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RetryBudget {
    /// Envoy's: retries at a time, as a share of requests at a time.
    Concurrency {
        /// The share in percent.
        #[serde(default = "twenty")]
        budget_percent: f64,
        /// So many may run whatever the share.
        #[serde(default = "three")]
        min_retry_concurrency: u32,
    },
    /// Finagle's: retries over a time, as a share of requests over that time.
    Finagle {
        /// The share.
        #[serde(default = "fifth")]
        ratio: f64,
        /// So many a second whatever the share.
        #[serde(default = "ten")]
        min_retries_per_second: u32,
        /// The time.
        #[serde(default = "ten_seconds")]
        window: Span,
    },
    /// gRPC's retry throttling (A6): a count that failures lower and successes raise.
    Grpc {
        /// The count's maximum.
        #[serde(default = "ten_tokens")]
        max_tokens: f64,
        /// What a success adds.
        #[serde(default = "tenth")]
        token_ratio: f64,
    },
}

const fn twenty() -> f64 {
    20.0
}

const fn fifth() -> f64 {
    0.2
}

const fn ten() -> u32 {
    10
}

const fn ten_seconds() -> Span {
    Span::ms(10_000)
}

const fn ten_tokens() -> f64 {
    10.0
}

const fn tenth() -> f64 {
    0.1
}
