//! The configuration as it is written: shape only, nothing checked. Every default stands here.

use alloc::{string::String, vec::Vec};

use serde::Deserialize;

use crate::{
    chain::{self, Elsewhere, Role, Trust},
    endpoints::RawEndpoints,
};

/// Sends every request to an endpoint that will serve it soon.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "HealthRouting"))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct RawConfig {
    /// The clusters that are routed to, 1 to 1024 of them. The first that matches holds, exact names
    /// before prefixes. Requests to other clusters are left alone.
    pub(super) clusters: Vec<RawCluster>,
    /// How the clusters' endpoints are known.
    #[serde(default)]
    pub(super) endpoints: RawEndpoints,
    /// What outcomes are taken from.
    #[serde(default)]
    pub(super) observe: Observe,
    /// The request header that `override_host` reads the endpoints from, in lower case. A client's
    /// own copy is removed.
    #[serde(default = "chain::default_endpoint_header")]
    pub(super) endpoint_header: String,
    /// Whether every response says in `x-tidegate-reason` what was decided and why.
    #[serde(default)]
    pub(super) reason_header: bool,
    /// Whose headers under our names are believed.
    #[serde(default)]
    pub(super) trust: Trust,
    /// Where the filter stands.
    #[serde(default)]
    pub(super) role: Role,
}

/// Sends every request to an endpoint that will serve it soon.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "HealthRoutingInStack"))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct RawInStack {
    /// The clusters that are routed to, 1 to 1024 of them. The first that matches holds, exact names
    /// before prefixes. This filter leaves requests to other clusters alone.
    pub(super) clusters: Vec<RawCluster>,
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(skip), serde(skip_serializing))]
    pub(super) endpoints: Elsewhere,
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(skip), serde(skip_serializing))]
    pub(super) observe: Elsewhere,
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(skip), serde(skip_serializing))]
    pub(super) endpoint_header: Elsewhere,
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(skip), serde(skip_serializing))]
    pub(super) reason_header: Elsewhere,
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(skip), serde(skip_serializing))]
    pub(super) trust: Elsewhere,
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(skip), serde(skip_serializing))]
    pub(super) role: Elsewhere,
}

/// One rule. Exactly one of `name` and `prefix` is set.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "RoutingCluster"))]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(super) struct RawCluster {
    /// The exact name of an Envoy cluster.
    pub(super) name: Option<String>,
    /// The beginning of the names of Envoy clusters; empty matches all.
    pub(super) prefix: Option<String>,
    /// How many endpoints a request's list names, one for each attempt: 1 to 8.
    pub(super) attempts: u32,
    /// How long an endpoint that failed is spared by the worker that saw it, unless it succeeds:
    /// 0ms to 1m.
    pub(super) recent_failure: String,
    /// How requests are balanced.
    pub(super) balance: RawBalance,
    /// When too few endpoints are available to go by that alone.
    pub(super) panic: RawPanic,
}

/// How requests are balanced.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "Balance"))]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(super) struct RawBalance {
    /// The time in which an estimate of the latency falls to 37 %: 1s to 10m.
    pub(super) latency_decay: String,
    /// How long the share of an endpoint that joined rises: 0ms to 1h.
    pub(super) slow_start_window: String,
    /// How steeply it rises at first; 1 is a straight line: 0.1 to 10.0.
    pub(super) slow_start_aggression: f64,
    /// The share with which it begins: 0.0 to 1.0.
    pub(super) slow_start_min_ratio: f64,
    /// How many times as slow as others the own zone is when requests leave it: 1.0 to 100.0.
    pub(super) zone_spill_factor: f64,
}

/// When too few endpoints are available to go by that alone.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "Panic"))]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(super) struct RawPanic {
    /// The share of available endpoints under which all are chosen among: 0.0 to 1.0.
    pub(super) min_available_ratio: f64,
    /// How many requests an endpoint serves well at a time, 1 to 1000000; null where that is not
    /// known: the share of available ones decides alone.
    pub(super) concurrency: Option<u32>,
    /// The share of all requests to the cluster that this gateway has, for `concurrency`: 0.0001 to
    /// 1.0.
    pub(super) gateway_share_ratio: f64,
    /// Up to which part of `concurrency` endpoints may be used when others are ejected: 0.1 to 1.0.
    pub(super) max_utilisation_ratio: f64,
}

/// Says what outcomes are taken from.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(expecting = "a string", rename_all = "snake_case")]
pub enum Observe {
    /// From requests, in the listener's chain: the last attempt is seen, the others are concluded.
    #[default]
    Requests,
    /// From attempts, in the cluster's chain: this plugin stands there as well, with `role`
    /// `upstream`.
    Attempts,
}

impl Observe {
    /// Is the name in the configuration.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Attempts => "attempts",
        }
    }
}

impl Default for RawCluster {
    fn default() -> Self {
        Self {
            name: None,
            prefix: None,
            attempts: 3,
            recent_failure: String::from("1s"),
            balance: RawBalance::default(),
            panic: RawPanic::default(),
        }
    }
}

impl Default for RawBalance {
    fn default() -> Self {
        Self {
            latency_decay: String::from("10s"),
            slow_start_window: String::from("60s"),
            slow_start_aggression: 1.0,
            slow_start_min_ratio: 0.1,
            zone_spill_factor: 2.0,
        }
    }
}

impl Default for RawPanic {
    fn default() -> Self {
        Self {
            min_available_ratio: 0.5,
            concurrency: None,
            gateway_share_ratio: 1.0,
            max_utilisation_ratio: 1.0,
        }
    }
}

/// Is the JSON Schema of the configuration.
#[cfg(feature = "schema")]
#[must_use]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(RawConfig)
}
