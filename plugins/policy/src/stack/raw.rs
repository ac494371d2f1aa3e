//! The configuration as it is written: shape only, nothing checked. Every default stands here.

use alloc::{string::String, vec::Vec};

use serde::Deserialize;

use crate::{
    affinity,
    chain::{self, Role, Trust},
    endpoints::RawEndpoints,
    routing::{self, Observe},
};

/// Runs several filters in one module.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "Stack"))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct RawConfig {
    /// The filters that act, in their order; each has its object below. Null for all that have one,
    /// `sticky_session` before `health_routing`.
    #[serde(default)]
    pub(super) filters: Option<Vec<Filter>>,
    /// Keeps sessions; null for not at all.
    #[serde(default)]
    pub(super) sticky_session: Option<affinity::RawInStack>,
    /// Routes by health; null for not at all.
    #[serde(default)]
    pub(super) health_routing: Option<routing::RawInStack>,
    /// How the clusters' endpoints are known; null for not at all, where `health_routing` is null.
    #[serde(default = "default_endpoints")]
    pub(super) endpoints: Option<RawEndpoints>,
    /// What `health_routing` takes outcomes from.
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
    /// Where the module stands.
    #[serde(default)]
    pub(super) role: Role,
}

/// Names a filter.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(expecting = "a string", rename_all = "snake_case")]
pub enum Filter {
    /// Keeps sessions.
    StickySession,
    /// Routes by health.
    HealthRouting,
}

impl Filter {
    /// Are all of them, in the order that they have where none is written.
    pub const ALL: [Self; 2] = [Self::StickySession, Self::HealthRouting];

    /// Is the name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StickySession => "sticky_session",
            Self::HealthRouting => "health_routing",
        }
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the field is null where nothing is to be known"
)]
fn default_endpoints() -> Option<RawEndpoints> {
    Some(RawEndpoints::default())
}

/// Is the JSON Schema of the configuration.
#[cfg(feature = "schema")]
#[must_use]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(RawConfig)
}
