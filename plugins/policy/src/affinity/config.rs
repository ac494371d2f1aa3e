//! The configuration, checked.

use alloc::{format, string::String, vec::Vec};

use super::{
    clusters::{Cluster, Selector, is_token},
    decision::Policy,
    key::Key,
    keys::{self, KeyRing},
    raw::{RawConfig, RawKeys, RawTrust, Role},
    rules::{check_clusters, check_without_endpoints},
};
use crate::{
    config::{Problem, Problems, Redacted, format_duration, from_json, write_json_string},
    digest::fnv1a_64,
    endpoints,
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

/// Is the checked configuration of the sticky-session filter.
///
/// `Debug`, serialisation and digest hold no key.
#[derive(Clone, Debug)]
pub struct Config {
    clusters: Vec<Cluster>,
    key_source: KeySource,
    keys: KeyRing,
    endpoint_header: String,
    reason_header: bool,
    endpoints: Option<endpoints::Config>,
    role: Role,
}

/// Says where the keys came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// From this variable of the VM's environment.
    Environment(String),
    /// From the configuration itself, where everybody who reads the proxy's configuration sees
    /// them.
    Inline(Redacted),
}

impl Config {
    /// Reads and checks a configuration. `environment` is asked for one variable at most; `None`
    /// means that it is not set.
    ///
    /// # Errors
    /// All problems, sorted by path. What is wrong with the shape is found alone.
    pub fn parse(
        text: &str,
        environment: impl FnOnce(&str) -> Option<String>,
    ) -> Result<Self, Vec<Problem>> {
        let raw: RawConfig = from_json(text, "$.keys").map_err(|problem| Vec::from([problem]))?;
        let RawTrust::None = raw.trust;
        let mut problems = Problems::new();
        let clusters = check_clusters(&raw.clusters, &raw.endpoint_header, &mut problems);
        check_endpoint_header(&raw.endpoint_header, &mut problems);
        let (key_source, keys) = match raw.role {
            Role::Listener => check_keys(raw.keys, environment, &mut problems),
            Role::Upstream => check_no_keys(raw.keys, &mut problems),
        };
        if raw.role == Role::Upstream && raw.endpoints.is_none() {
            problems.push(Problem::new(
                "$.endpoints",
                "upstream-role-without-endpoints",
                "must be set where $.role is \"upstream\", got null",
                "it watches for the picture of the endpoints and does nothing else",
            ));
        }
        if raw.endpoints.is_none() {
            check_without_endpoints(&raw.clusters, &mut problems);
        }
        let endpoints = raw
            .endpoints
            .as_ref()
            .and_then(|raw| endpoints::Config::check(raw, "$.endpoints", &mut problems));
        match keys {
            Some(keys) if problems.is_empty() => Ok(Self {
                clusters,
                key_source,
                keys,
                endpoint_header: raw.endpoint_header,
                reason_header: raw.reason_header,
                endpoints,
                role: raw.role,
            }),
            _ => Err(problems.into_sorted()),
        }
    }

    /// Writes the configuration with every default, in the order of the documentation; inline keys
    /// as `[redacted]`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = String::from("{\"clusters\":[");
        for (index, cluster) in self.clusters.iter().enumerate() {
            json.push_str(if index == 0 { "{" } else { ",{" });
            write_cluster(&mut json, cluster);
            json.push('}');
        }
        json.push_str("],\"keys\":{");
        match &self.key_source {
            KeySource::Environment(name) => write_text(&mut json, "environment", Some(name)),
            KeySource::Inline(_) => write_text(&mut json, "inline", Some("[redacted]")),
        }
        json.push_str("},");
        write_text(&mut json, "endpoint_header", Some(&self.endpoint_header));
        json.push_str(",\"reason_header\":");
        json.push_str(if self.reason_header { "true" } else { "false" });
        json.push_str(",\"trust\":\"none\",\"endpoints\":");
        match &self.endpoints {
            Some(endpoints) => endpoints.write_json(&mut json),
            None => json.push_str("null"),
        }
        json.push(',');
        write_text(&mut json, "role", Some(self.role.as_str()));
        json.push('}');
        json
    }

    /// Names the configuration: equal ones have equal digests, on every machine. Keys have no part
    /// in it.
    #[must_use]
    pub fn digest(&self) -> u64 {
        fnv1a_64(self.to_json().as_bytes())
    }

    /// Lists the rules, in their order.
    #[must_use]
    pub fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// Are the keys; none in the role `upstream`.
    #[must_use]
    pub const fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// Says where the keys came from.
    #[must_use]
    pub const fn key_source(&self) -> &KeySource {
        &self.key_source
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

    /// Says how the clusters' endpoints are known; `None`: not at all.
    #[must_use]
    pub const fn endpoints(&self) -> Option<&endpoints::Config> {
        self.endpoints.as_ref()
    }

    /// Says where the filter stands.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }
}

/// Compares what was configured; the keys themselves have no part in it.
impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.clusters == other.clusters
            && self.key_source == other.key_source
            && self.endpoint_header == other.endpoint_header
            && self.reason_header == other.reason_header
            && self.endpoints == other.endpoints
            && self.role == other.role
    }
}

/// Writes the fields of a rule.
fn write_cluster(json: &mut String, cluster: &Cluster) {
    let Policy {
        ttl,
        idle_timeout,
        when_unreachable,
        when_draining,
        first_request,
        key,
        table_size,
        attributes,
    } = &cluster.policy;
    match &cluster.selector {
        Selector::Name(name) => write_text(json, "name", Some(name)),
        Selector::Prefix(prefix) => write_text(json, "prefix", Some(prefix)),
    }
    json.push_str(",\"cookie\":{");
    write_text(json, "name", cluster.cookie_name.as_deref());
    json.push(',');
    write_text(json, "path", Some(&attributes.path));
    json.push_str(",\"http_only\":");
    json.push_str(if attributes.http_only {
        "true,"
    } else {
        "false,"
    });
    write_text(json, "same_site", Some(attributes.same_site.as_str()));
    json.push(',');
    write_text(json, "secure", Some(attributes.secure.as_str()));
    json.push_str("},");
    write_text(json, "ttl", Some(&format_duration(*ttl)));
    json.push(',');
    write_text(
        json,
        "idle_timeout",
        idle_timeout.map(format_duration).as_deref(),
    );
    json.push(',');
    write_text(json, "when_unreachable", Some(when_unreachable.as_str()));
    json.push(',');
    write_text(json, "when_draining", Some(when_draining.as_str()));
    json.push(',');
    write_text(json, "first_request", Some(first_request.as_str()));
    json.push_str(",\"key\":");
    match key {
        None => json.push_str("null"),
        Some(Key::ClientAddress) => json.push_str("\"client_address\""),
        Some(Key::Header(name)) => write_object(json, "header", name),
        Some(Key::Query(name)) => write_object(json, "query", name),
    }
    json.push_str(&format!(",\"table_size\":{}", table_size.entries()));
}

/// Writes an object with one field that is a string.
fn write_object(json: &mut String, name: &str, value: &str) {
    json.push('{');
    write_text(json, name, Some(value));
    json.push('}');
}

/// Writes a field that is a string or null.
fn write_text(json: &mut String, name: &str, value: Option<&str>) {
    write_json_string(json, name);
    json.push(':');
    match value {
        Some(value) => write_json_string(json, value),
        None => json.push_str("null"),
    }
}

fn check_endpoint_header(name: &str, problems: &mut Problems) {
    let legal = |byte: u8| is_token(byte) && !byte.is_ascii_uppercase();
    if name.is_empty() || !name.bytes().all(legal) || TAKEN_HEADERS.contains(&name) {
        problems.push(Problem::new(
            "$.endpoint_header",
            "endpoint-header-invalid",
            format!("must be a header name in lower case that nothing else uses, got {name:?}"),
            "write what the cluster's override_host reads, such as \"x-tidegate-endpoint\"",
        ));
    }
}

fn check_keys(
    raw: RawKeys,
    environment: impl FnOnce(&str) -> Option<String>,
    problems: &mut Problems,
) -> (KeySource, Option<KeyRing>) {
    match raw {
        RawKeys::Inline(text) => {
            let ring = keys::parse_at(text.expose(), "$.keys.inline", problems);
            (KeySource::Inline(text), ring)
        }
        RawKeys::Environment(name) => {
            let path = "$.keys.environment";
            let ring = if !is_variable_name(&name) {
                // Not shown: whoever mistakes this field for the other one writes the keys here.
                problems.push(Problem::new(
                    path,
                    "environment-name-invalid",
                    "must be the name of a variable: letters, digits and _, no digit first",
                    "the keys themselves, for trials, go under `inline`",
                ));
                None
            } else if let Some(text) = environment(&name) {
                keys::parse_at(&text, path, problems)
            } else {
                problems.push(Problem::new(
                    path,
                    "environment-unset",
                    format!("must name a variable that is set for the VM, got {name:?}"),
                    "set it for the proxy and list it in \
                     vm_config.environment_variables.host_env_keys",
                ));
                None
            };
            (KeySource::Environment(name), ring)
        }
    }
}

/// Takes no keys: a VM that only watches how attempts end has no use for a secret.
fn check_no_keys(raw: RawKeys, problems: &mut Problems) -> (KeySource, Option<KeyRing>) {
    match raw {
        RawKeys::Environment(name) => (KeySource::Environment(name), Some(KeyRing::none())),
        RawKeys::Inline(text) => {
            problems.push(Problem::new(
                "$.keys.inline",
                "keys-with-upstream-role",
                "must not be set where $.role is \"upstream\"",
                "leave `keys` out",
            ));
            (KeySource::Inline(text), None)
        }
    }
}

/// Says whether a text is the name of an environment variable. No list of keys is one.
/// SOURCE: POSIX.1-2017, section 8.1.
fn is_variable_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty()
        && name.bytes().all(legal)
        && !name
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_digit())
}
