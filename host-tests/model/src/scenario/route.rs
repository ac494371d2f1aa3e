//! Routes: where a request goes, how long it may take, and when it is tried again.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::units::Span;

/// A route. The fields are those of Envoy's `RouteAction`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name; property `xds.route_name`.
    #[serde(default)]
    pub name: String,
    /// Prefix of the path.
    #[serde(default = "any")]
    pub prefix: String,
    /// The cluster that requests go to.
    pub cluster: Option<String>,
    /// Clusters with their weights, instead of one.
    #[serde(default)]
    pub weighted_clusters: BTreeMap<String, u32>,
    /// Answers with this status and an empty body instead.
    pub direct_response: Option<u16>,
    /// From the end of the request to the end of the answer; 0 is for ever.
    #[serde(default = "fifteen_seconds")]
    pub timeout: Span,
    /// When attempts are repeated; none without it (headers may ask for it).
    pub retry: Option<RetryPolicy>,
    /// What `ring_hash` hashes: the first that a request has.
    #[serde(default)]
    pub hash: Vec<Hash>,
    /// Whether attempts carry `x-envoy-attempt-count`.
    #[serde(default)]
    pub attempt_count_in_request: bool,
    /// Whether answers do.
    #[serde(default)]
    pub attempt_count_in_response: bool,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            name: String::new(),
            prefix: any(),
            cluster: None,
            weighted_clusters: BTreeMap::new(),
            direct_response: None,
            timeout: fifteen_seconds(),
            retry: None,
            hash: Vec::new(),
            attempt_count_in_request: false,
            attempt_count_in_response: false,
        }
    }
}

fn any() -> String {
    "/".to_owned()
}

const fn fifteen_seconds() -> Span {
    Span::ms(15_000)
}

/// Envoy's `RetryPolicy`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// When to try again.
    #[serde(default)]
    pub on: Vec<RetryOn>,
    /// How often, at most.
    #[serde(default = "once")]
    pub num_retries: u32,
    /// From the beginning of an attempt to its answer's headers; 0 is the route's time-out.
    #[serde(default)]
    pub per_try_timeout: Span,
    /// Statuses of `retriable-status-codes`.
    #[serde(default)]
    pub retriable_status_codes: Vec<u16>,
    /// Names of headers whose presence in an answer is a reason, for `retriable-headers`.
    #[serde(default)]
    pub retriable_headers: Vec<String>,
    /// Time between two attempts.
    #[serde(default)]
    pub back_off: BackOff,
    /// Whether an attempt avoids the endpoints of those before it (`previous_hosts`).
    #[serde(default)]
    pub avoid_previous_hosts: bool,
    /// How often another endpoint is looked for, then.
    #[serde(default = "once")]
    pub host_selection_attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            on: Vec::new(),
            num_retries: once(),
            per_try_timeout: Span::ZERO,
            retriable_status_codes: Vec::new(),
            retriable_headers: Vec::new(),
            back_off: BackOff::default(),
            avoid_previous_hosts: false,
            host_selection_attempts: once(),
        }
    }
}

const fn once() -> u32 {
    1
}

/// Exponential with full jitter.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackOff {
    /// The bound of the first; it doubles each time.
    pub base: Span,
    /// The bound's bound; without it, ten times the base.
    pub max: Option<Span>,
}

impl Default for BackOff {
    fn default() -> Self {
        Self {
            base: Span::ms(25),
            max: None,
        }
    }
}

/// A condition of Envoy's `retry_on`, in Envoy's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryOn {
    /// `5xx`: any 5xx answer, and everything that `reset` is.
    #[serde(rename = "5xx")]
    ServerError,
    /// `gateway-error`: 502, 503 or 504, and resets.
    GatewayError,
    /// `connect-failure`.
    ConnectFailure,
    /// `envoy-ratelimited`.
    EnvoyRatelimited,
    /// `refused-stream`.
    RefusedStream,
    /// `reset`.
    Reset,
    /// `reset-before-request`.
    ResetBeforeRequest,
    /// `retriable-4xx`: 409.
    #[serde(rename = "retriable-4xx")]
    Retriable4xx,
    /// `retriable-headers`.
    RetriableHeaders,
    /// `retriable-status-codes`.
    RetriableStatusCodes,
    /// gRPC status 1.
    Cancelled,
    /// gRPC status 4.
    DeadlineExceeded,
    /// gRPC status 13.
    Internal,
    /// gRPC status 8.
    ResourceExhausted,
    /// gRPC status 14.
    Unavailable,
}

/// What a request is hashed by.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Hash {
    /// The value of this header.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The client's address.
    SourceIp,
}
