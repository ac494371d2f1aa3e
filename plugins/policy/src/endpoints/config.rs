//! The `endpoints` block of a plugin's configuration. Every default stands here.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use serde::Deserialize;

use crate::{
    config::Problems,
    digest::fnv1a_64,
    membership::{Listing, StaticEndpoint, static_listing},
    probe,
};

/// Keeps a picture of the clusters' endpoints.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "Endpoints"))]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub struct RawEndpoints {
    /// The clusters to know, at most 64; none for every cluster that requests go to.
    pub(crate) clusters: Vec<RawSelector>,
    /// Where their endpoints are known from.
    pub(crate) source: RawSource,
    /// How endpoints are asked whether they are ready; null for not at all.
    pub(crate) probe: Option<probe::RawConfig>,
    /// How long an endpoint that left its cluster counts as draining: 1s to 1h.
    pub(crate) drain_window: String,
    /// How old the picture may get until requests do without it: 5s to 1h.
    pub(crate) stale_after: String,
    /// The path at which this plugin shows the picture as JSON; null for nowhere. Whoever reaches
    /// the listener can read it.
    pub(crate) status_path: Option<String>,
}

/// One cluster, or all whose names begin alike. Exactly one of both is set.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "EndpointsCluster"))]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(crate) struct RawSelector {
    /// The exact name of an Envoy cluster.
    pub(crate) name: Option<String>,
    /// The beginning of the names of Envoy clusters; empty matches all.
    pub(crate) prefix: Option<String>,
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
pub(crate) enum RawSource {
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
pub(crate) struct RawAdmin {
    /// The Envoy cluster that leads to the admin.
    pub(crate) cluster: String,
    /// How often the membership counters are looked at: 250ms to 1m.
    pub(crate) interval: String,
    /// How often the whole list is read when no counter moved: 5s to 1h.
    pub(crate) refresh: String,
}

/// How a feed is asked.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "Feed"))]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(crate) struct RawFeed {
    /// The Envoy cluster that leads to the server.
    pub(crate) cluster: String,
    /// The path of the list.
    pub(crate) path: String,
    /// The `host` of the request; null for the cluster's name.
    pub(crate) host: Option<String>,
    /// How often it is asked: 250ms to 1m.
    pub(crate) interval: String,
    /// How long an answer may take: 100ms to 1m.
    pub(crate) timeout: String,
}

/// Has no fields.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "Learned"))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct RawLearned {}

/// The endpoints of one cluster.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "StaticCluster"))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct RawStaticCluster {
    /// The exact name of an Envoy cluster.
    pub(crate) cluster: String,
    /// Its endpoints.
    pub(crate) endpoints: Vec<StaticEndpoint>,
}

impl Default for RawEndpoints {
    fn default() -> Self {
        Self {
            clusters: Vec::new(),
            source: RawSource::Admin(RawAdmin::default()),
            probe: None,
            drain_window: String::from("60s"),
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

/// Is the checked block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    pub(crate) clusters: Vec<Selector>,
    pub(crate) source: Source,
    pub(crate) probe: Option<probe::Config>,
    pub(crate) drain_window: Duration,
    pub(crate) stale_after: Duration,
    pub(crate) status_path: Option<String>,
}

/// Says which clusters are known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Selector {
    /// The one with exactly this name.
    Name(String),
    /// All whose name begins like this; empty means all. They are known once a request goes there.
    Prefix(String),
}

/// Says where endpoints are known from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// Envoy's admin.
    Admin(Admin),
    /// An HTTP server.
    Feed(Feed),
    /// Whoever serves a request.
    Learned,
    /// The configuration.
    Static(Vec<Listing>),
}

/// Says how Envoy's admin is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Admin {
    /// Is the cluster that leads there.
    pub cluster: String,
    /// Is how often the counters are looked at.
    pub interval: Duration,
    /// Is how old a list gets when no counter moved.
    pub refresh: Duration,
}

/// Says how a feed is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Feed {
    /// Is the cluster that leads there.
    pub cluster: String,
    /// Is the path.
    pub path: String,
    /// Is the `host`.
    pub host: String,
    /// Is how often it is asked.
    pub interval: Duration,
    /// Is how long an answer may take.
    pub timeout: Duration,
}

impl Config {
    /// Checks a block at `path` (`$.endpoints`). `None` exactly where it added a problem.
    pub fn check(raw: &RawEndpoints, path: &str, problems: &mut Problems) -> Option<Self> {
        let _ = (raw, path, problems, static_listing);
        None
    }

    /// Appends the block as JSON with every default, in the order of the documentation. Reading it
    /// gives an equal one.
    pub fn write_json(&self, json: &mut String) {
        let _ = (self, json);
    }

    /// Names what the picture depends on: VMs with equal digests share one. `stale_after` and
    /// `status_path`, which each reader has for itself, have no part in it.
    #[must_use]
    pub fn digest(&self) -> u64 {
        fnv1a_64(b"")
    }

    /// Are the clusters to know; none for all.
    #[must_use]
    pub fn clusters(&self) -> &[Selector] {
        &self.clusters
    }

    /// Says whether a cluster with this name is to be known.
    #[must_use]
    pub fn knows(&self, cluster: &[u8]) -> bool {
        self.clusters.is_empty()
            || self.clusters.iter().any(|selector| match selector {
                Selector::Name(name) => name.as_bytes() == cluster,
                Selector::Prefix(prefix) => cluster.starts_with(prefix.as_bytes()),
            })
    }

    /// Says where endpoints are known from.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Says how endpoints are probed; `None`: not at all.
    #[must_use]
    pub const fn probe(&self) -> Option<&probe::Config> {
        self.probe.as_ref()
    }

    /// Is how long an endpoint that left counts as draining.
    #[must_use]
    pub const fn drain_window(&self) -> Duration {
        self.drain_window
    }

    /// Is how old the picture may get until requests do without it.
    #[must_use]
    pub const fn stale_after(&self) -> Duration {
        self.stale_after
    }

    /// Is the path that shows the picture.
    #[must_use]
    pub fn status_path(&self) -> Option<&str> {
        self.status_path.as_deref()
    }
}
