//! The configuration as it is written: shape only, nothing checked. Every default stands here.

use alloc::{string::String, vec::Vec};

use serde::Deserialize;

use super::{
    decision::WhenUnreachable,
    key::FirstRequest,
    set_cookie::{SameSite, Secure},
    standing::WhenDraining,
};
use crate::{
    chain::{self, Elsewhere, Role, Trust},
    config::Redacted,
    endpoints::RawEndpoints,
    successor::TableSize,
};

/// Keeps every session on the endpoint that served it first.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "StickySession"))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct RawConfig {
    /// The clusters whose sessions are kept, 1 to 1024 of them. The first that matches holds, exact
    /// names before prefixes. Requests to other clusters are left alone.
    pub(super) clusters: Vec<RawCluster>,
    /// Where the keys come from.
    #[serde(default)]
    pub(super) keys: RawKeys,
    /// The request header that `override_host` reads the endpoint from, in lower case. A client's
    /// own copy is removed.
    #[serde(default = "chain::default_endpoint_header")]
    pub(super) endpoint_header: String,
    /// Whether every response says in `x-tidegate-reason` what was decided and why.
    #[serde(default)]
    pub(super) reason_header: bool,
    /// Whose headers under our names are believed.
    #[serde(default)]
    pub(super) trust: Trust,
    /// How the clusters' endpoints are known; null for not at all: then the proxy alone knows who is
    /// there.
    #[serde(default)]
    pub(super) endpoints: Option<RawEndpoints>,
    /// Where the filter stands.
    #[serde(default)]
    pub(super) role: Role,
}

/// Keeps every session on the endpoint that served it first.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "StickySessionInStack"))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct RawInStack {
    /// The clusters whose sessions are kept, 1 to 1024 of them. The first that matches holds, exact
    /// names before prefixes. This filter leaves requests to other clusters alone.
    pub(super) clusters: Vec<RawCluster>,
    /// Where the keys come from.
    #[serde(default)]
    pub(super) keys: RawKeys,
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(skip), serde(skip_serializing))]
    pub(super) endpoints: Elsewhere,
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
#[cfg_attr(feature = "schema", schemars(rename = "Cluster"))]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(super) struct RawCluster {
    /// The exact name of an Envoy cluster.
    pub(super) name: Option<String>,
    /// The beginning of the names of Envoy clusters; empty matches all.
    pub(super) prefix: Option<String>,
    /// The cookie.
    pub(super) cookie: RawCookie,
    /// How long a session lasts from its first response, however busy it is: 1s to 400d, in whole
    /// seconds.
    pub(super) ttl: String,
    /// How long a session lasts without a request, 10s to `ttl`, in whole seconds; null for as long
    /// as `ttl`.
    pub(super) idle_timeout: Option<String>,
    /// What happens to a valid cookie when another endpoint served.
    pub(super) when_unreachable: WhenUnreachable,
    /// What happens to the sessions of an endpoint that drains; needs `endpoints`.
    pub(super) when_draining: WhenDraining,
    /// Who places a client's requests before it has a cookie. `client_address` needs `endpoints`.
    pub(super) first_request: FirstRequest,
    /// What requests are placed by instead of a cookie; null for the cookie. Needs `endpoints`.
    pub(super) key: Option<RawKey>,
    /// How many entries the table has that keys are looked up in: a prime from 1009 to 655373.
    pub(super) table_size: u32,
}

/// What requests are placed by instead of a cookie.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "Key"))]
#[serde(
    deny_unknown_fields,
    expecting = "\"client_address\" or an object with one field, `header` or `query`",
    rename_all = "snake_case"
)]
pub(super) enum RawKey {
    /// The client's address, without the port.
    ClientAddress,
    /// The first value of the request header with this name, in lower case.
    Header(String),
    /// The first value of the query parameter with this name.
    Query(String),
}

/// The cookie of a cluster.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "Cookie"))]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(super) struct RawCookie {
    /// The name; null for `tidegate-` and the cluster's name. With `prefix` it must be null,
    /// because every cluster needs its own.
    pub(super) name: Option<String>,
    /// The path below which a browser sends it.
    pub(super) path: String,
    /// Whether scripts cannot read it.
    pub(super) http_only: bool,
    /// On which requests from other sites a browser sends it.
    pub(super) same_site: SameSite,
    /// When it is marked for `https` only.
    pub(super) secure: Secure,
}

/// Where the keys come from: `ID:BASE64[,ID:BASE64]` with 32 bytes each. The first seals, both
/// open.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "Keys"))]
#[serde(
    deny_unknown_fields,
    expecting = "an object with one field, `environment` or `inline`",
    rename_all = "snake_case"
)]
pub(super) enum RawKeys {
    /// The environment variable of the VM that holds them.
    Environment(String),
    /// The keys themselves: for trials, because a configuration is no place for a secret.
    Inline(Redacted),
}

impl Default for RawCluster {
    fn default() -> Self {
        Self {
            name: None,
            prefix: None,
            cookie: RawCookie::default(),
            ttl: String::from("3h"),
            idle_timeout: None,
            when_unreachable: WhenUnreachable::default(),
            when_draining: WhenDraining::default(),
            first_request: FirstRequest::default(),
            key: None,
            table_size: TableSize::default().entries(),
        }
    }
}

impl Default for RawCookie {
    fn default() -> Self {
        Self {
            name: None,
            path: String::from("/"),
            http_only: true,
            same_site: SameSite::default(),
            secure: Secure::default(),
        }
    }
}

impl Default for RawKeys {
    fn default() -> Self {
        Self::Environment(String::from("TIDEGATE_STICKY_KEYS"))
    }
}

/// Is the JSON Schema of the configuration.
#[cfg(feature = "schema")]
#[must_use]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(RawConfig)
}
