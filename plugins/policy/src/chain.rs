//! What the filters of one chain are told alike.
//!
//! Why: filters that choose endpoints for the same requests have to agree on where the choice is
//! written, on what is known of the endpoints and on who stands where. Each configuration says it in
//! the same words, and the one of a stack says it once.
//! Model: [`Settings`] are part of every filter's configuration. In a stack they stand at the top, and
//! in the objects of the filters nothing of them may stand.
//! Scope: the same on every worker.

mod elsewhere;

use alloc::{format, string::String};

use serde::Deserialize;

pub(crate) use elsewhere::{Elsewhere, refuse_shared};

use crate::{
    config::{Problem, Problems, is_token, write_json_string},
    endpoints::{self, RawEndpoints},
};

/// Are headers that cannot name an endpoint, because something else lives in them.
const TAKEN_HEADERS: [&str; 7] = [
    "connection",
    "content-length",
    "cookie",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Says where a filter stands.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(expecting = "a string", rename_all = "snake_case")]
pub enum Role {
    /// In a listener's chain: once per request. It decides.
    #[default]
    Listener,
    /// In a cluster's chain, in a VM of its own: once per attempt. It only watches how attempts end.
    Upstream,
}

impl Role {
    /// Is the name in the configuration.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Upstream => "upstream",
        }
    }
}

/// Whose headers under our names are believed.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(expecting = "a string", rename_all = "snake_case")]
pub(crate) enum Trust {
    /// Nobody's: a client's copies are removed.
    #[default]
    None,
}

/// Are the settings as they are written.
#[derive(Clone, Debug)]
pub(crate) struct RawSettings {
    pub(crate) endpoints: Option<RawEndpoints>,
    pub(crate) endpoint_header: String,
    pub(crate) reason_header: bool,
    pub(crate) trust: Trust,
    pub(crate) role: Role,
}

/// Are the settings while a filter's configuration is checked against them.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Are the settings as they are written.
    pub(crate) raw: RawSettings,
    /// Are the same, checked; `None` where there is a problem.
    pub(crate) settings: Option<Settings>,
    /// Is the block, checked; `None` where there is none, or a problem.
    pub(crate) endpoints: Option<endpoints::Config>,
}

impl Draft {
    /// Checks settings, which stand at the top of a configuration.
    pub(crate) fn new(raw: RawSettings, problems: &mut Problems) -> Self {
        let Trust::None = raw.trust;
        let endpoints = raw.endpoints.as_ref();
        let endpoints =
            endpoints.and_then(|raw| endpoints::Config::check(raw, "$.endpoints", problems));
        let endpoint_header = check_endpoint_header(&raw.endpoint_header, problems);
        let settings = endpoint_header.map(|endpoint_header| Settings {
            endpoint_header,
            reason_header: raw.reason_header,
            role: raw.role,
        });
        Self {
            raw,
            settings,
            endpoints,
        }
    }
}

/// Is the default of `endpoint_header`.
pub(crate) fn default_endpoint_header() -> String {
    String::from("x-tidegate-endpoint")
}

/// Is what the filters of one chain are told alike, checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    endpoint_header: String,
    reason_header: bool,
    role: Role,
}

impl Settings {
    /// Appends the fields about headers: `endpoint_header`, `reason_header` and `trust`.
    pub(crate) fn write_headers(&self, json: &mut String) {
        json.push_str("\"endpoint_header\":");
        write_json_string(json, &self.endpoint_header);
        json.push_str(&format!(
            ",\"reason_header\":{},\"trust\":\"none\"",
            self.reason_header
        ));
    }

    /// Appends the field `role`.
    pub(crate) fn write_role(&self, json: &mut String) {
        json.push_str(&format!("\"role\":\"{}\"", self.role.as_str()));
    }

    /// Is the request header that names the endpoint, in lower case.
    #[must_use]
    pub fn endpoint_header(&self) -> &str {
        &self.endpoint_header
    }

    /// Says whether responses carry the reasons.
    #[must_use]
    pub const fn has_reason_header(&self) -> bool {
        self.reason_header
    }

    /// Says where the filters stand.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }
}

/// Appends the field `endpoints`.
pub(crate) fn write_endpoints(json: &mut String, endpoints: Option<&endpoints::Config>) {
    json.push_str("\"endpoints\":");
    match endpoints {
        Some(endpoints) => endpoints.write_json(json),
        None => json.push_str("null"),
    }
}

fn check_endpoint_header(name: &str, problems: &mut Problems) -> Option<String> {
    let legal = |byte: u8| is_token(byte) && !byte.is_ascii_uppercase();
    if name.is_empty() || !name.bytes().all(legal) || TAKEN_HEADERS.contains(&name) {
        problems.push(Problem::new(
            "$.endpoint_header",
            "endpoint-header-invalid",
            format!("must be a header name in lower case that nothing else uses, got {name:?}"),
            "write what the cluster's override_host reads, such as \"x-tidegate-endpoint\"",
        ));
        return None;
    }
    Some(name.into())
}
