//! The `endpoints` block as it is written: shape only, nothing checked. Every default stands here.

use alloc::{string::String, vec::Vec};

use serde::Deserialize;

use crate::{ejection, membership::StaticEndpoint, probe};

/// Keeps a picture of the clusters' endpoints.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "Endpoints"))]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub struct RawEndpoints {
    /// The clusters to know, at most 64; none for every cluster that requests go to.
    pub(super) clusters: Vec<RawSelector>,
    /// Where their endpoints are known from.
    pub(super) source: RawSource,
    /// How endpoints are asked whether they are ready; null for not at all.
    pub(super) probe: Option<probe::RawConfig>,
    /// How long an endpoint that left its cluster counts as draining: 1s to 1h.
    pub(super) drain_window: String,
    /// The statuses of an endpoint that count as its failure, from 500 to 599.
    pub(super) failure_statuses: Vec<u32>,
    /// How endpoints are ejected for their traffic's failures; null for not at all.
    pub(super) ejection: Option<ejection::RawConfig>,
    /// How old the picture may get until requests do without it: 5s to 1h.
    pub(super) stale_after: String,
    /// The path at which this plugin shows the picture as JSON; null for nowhere. Whoever reaches
    /// the listener can read it.
    pub(super) status_path: Option<String>,
}

/// One cluster, or all whose names begin alike. Exactly one of both is set.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "EndpointsCluster"))]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(super) struct RawSelector {
    /// The exact name of an Envoy cluster.
    pub(super) name: Option<String>,
    /// The beginning of the names of Envoy clusters; empty matches all.
    pub(super) prefix: Option<String>,
}

/// Where endpoints are known from.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "Source"))]
#[serde(
    deny_unknown_fields,
    expecting = "an object with one field, `admin`, `feed`, `learned` or `static`",
    rename_all = "snake_case"
)]
pub(super) enum RawSource {
    /// Envoy's own admin interface: follows discovery, up to 1 000 endpoints.
    Admin(RawAdmin),
    /// An HTTP server that lists endpoints, up to 10 000.
    Feed(RawFeed),
    /// Whoever serves a request.
    Learned(RawLearned),
    /// The configuration itself.
    Static(Vec<RawStaticCluster>),
}

/// How Envoy's admin is asked.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "Admin"))]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(super) struct RawAdmin {
    /// The Envoy cluster that leads to the admin.
    pub(super) cluster: String,
    /// How often the membership counters are looked at: 250ms to 1m.
    pub(super) interval: String,
    /// How often the whole list is read when no counter moved: 5s to 1h.
    pub(super) refresh: String,
}

/// How a feed is asked.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "Feed"))]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(super) struct RawFeed {
    /// The Envoy cluster that leads to the server.
    pub(super) cluster: String,
    /// The path of the list.
    pub(super) path: String,
    /// The `host` of the request; null for the cluster's name.
    pub(super) host: Option<String>,
    /// How often it is asked: 250ms to 1m.
    pub(super) interval: String,
    /// How long an answer may take: 100ms to 1m.
    pub(super) timeout: String,
}

/// Has no fields.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "Learned"))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct RawLearned {}

/// The endpoints of one cluster.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "StaticCluster"))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct RawStaticCluster {
    /// The exact name of an Envoy cluster.
    pub(super) cluster: String,
    /// Its endpoints.
    pub(super) endpoints: Vec<StaticEndpoint>,
}

impl Default for RawEndpoints {
    fn default() -> Self {
        Self {
            clusters: Vec::new(),
            source: RawSource::Admin(RawAdmin::default()),
            probe: None,
            drain_window: String::from("60s"),
            failure_statuses: Vec::from([500, 502, 503, 504]),
            ejection: Some(ejection::RawConfig::default()),
            stale_after: String::from("60s"),
            status_path: None,
        }
    }
}

impl Default for RawAdmin {
    fn default() -> Self {
        Self {
            cluster: String::from("envoy_admin"),
            interval: String::from("1s"),
            refresh: String::from("30s"),
        }
    }
}

impl Default for RawFeed {
    fn default() -> Self {
        Self {
            cluster: String::from("endpoint_feed"),
            path: String::from("/endpoints"),
            host: None,
            interval: String::from("2s"),
            timeout: String::from("1s"),
        }
    }
}
