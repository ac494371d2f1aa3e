//! The configuration, checked.

use alloc::{format, string::String, vec::Vec};

use super::{
    clusters::Cluster,
    decision::Policy,
    key::Key,
    keys::{self, KeyRing},
    raw::{RawCluster, RawConfig, RawInStack, RawKeys},
    rules::{check_clusters, check_without_endpoints},
};
use crate::{
    chain::{Draft, RawSettings, Role, Settings, refuse_shared, write_endpoints},
    config::{Problem, Problems, Redacted, format_duration, from_json, write_json_string},
    digest::fnv1a_64,
    endpoints,
};

/// Is the checked configuration of the sticky-session filter.
///
/// `Debug`, serialisation and digest hold no key.
#[derive(Clone, Debug)]
pub struct Config {
    clusters: Vec<Cluster>,
    key_source: KeySource,
    keys: KeyRing,
    settings: Settings,
    endpoints: Option<endpoints::Config>,
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
        let settings = RawSettings {
            endpoints: raw.endpoints,
            endpoint_header: raw.endpoint_header,
            reason_header: raw.reason_header,
            trust: raw.trust,
            role: raw.role,
        };
        let mut problems = Problems::new();
        let draft = Draft::new(settings, &mut problems);
        let own = Own {
            clusters: raw.clusters,
            keys: raw.keys,
            path: "$",
        };
        own.check(&draft, Some(environment), &mut problems)
            .filter(|_| problems.is_empty())
            .ok_or_else(|| problems.into_sorted())
    }

    /// Checks the filter's object in a stack, at `path`. Without an `environment` keys that are there
    /// are not asked for. `None` where there is a problem, maybe of the stack's settings.
    pub(crate) fn check(
        object: &RawInStack,
        path: &str,
        draft: &Draft,
        environment: Option<impl FnOnce(&str) -> Option<String>>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let RawInStack {
            clusters,
            keys,
            endpoints,
            endpoint_header,
            reason_header,
            trust,
            role,
        } = object;
        let shared = [
            ("endpoints", *endpoints),
            ("endpoint_header", *endpoint_header),
            ("reason_header", *reason_header),
            ("trust", *trust),
            ("role", *role),
        ];
        refuse_shared(shared, path, problems);
        let own = Own {
            clusters: clusters.clone(),
            keys: keys.clone(),
            path,
        };
        own.check(draft, environment, problems)
    }

    /// Writes the configuration with every default, in the order of the documentation; inline keys
    /// as `[redacted]`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = String::from("{");
        self.write_own(&mut json);
        json.push(',');
        self.settings.write_headers(&mut json);
        json.push(',');
        write_endpoints(&mut json, self.endpoints.as_ref());
        json.push(',');
        self.settings.write_role(&mut json);
        json.push('}');
        json
    }

    /// Appends the fields that are the filter's own.
    pub(crate) fn write_own(&self, json: &mut String) {
        json.push_str("\"clusters\":[");
        for (index, cluster) in self.clusters.iter().enumerate() {
            json.push_str(if index == 0 { "{" } else { ",{" });
            write_cluster(json, cluster);
            json.push('}');
        }
        json.push_str("],\"keys\":{");
        match &self.key_source {
            KeySource::Environment(name) => write_text(json, "environment", Some(name)),
            KeySource::Inline(_) => write_text(json, "inline", Some("[redacted]")),
        }
        json.push('}');
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
        self.settings.endpoint_header()
    }

    /// Says whether responses carry the reasons.
    #[must_use]
    pub const fn has_reason_header(&self) -> bool {
        self.settings.has_reason_header()
    }

    /// Says how the clusters' endpoints are known; `None`: not at all.
    #[must_use]
    pub const fn endpoints(&self) -> Option<&endpoints::Config> {
        self.endpoints.as_ref()
    }

    /// Says where the filter stands.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.settings.role()
    }
}

/// Compares what was configured; the keys themselves have no part in it.
impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.clusters == other.clusters
            && self.key_source == other.key_source
            && self.settings == other.settings
            && self.endpoints == other.endpoints
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
    cluster.selector.write_json(json);
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

/// Is what is the filter's own, as it is written, and the path where it stands.
struct Own<'a> {
    clusters: Vec<RawCluster>,
    keys: RawKeys,
    path: &'a str,
}

impl Own<'_> {
    fn check(
        self,
        draft: &Draft,
        environment: Option<impl FnOnce(&str) -> Option<String>>,
        problems: &mut Problems,
    ) -> Option<Config> {
        let raw = &draft.raw;
        let path = format!("{}.clusters", self.path);
        let clusters = check_clusters(&self.clusters, &raw.endpoint_header, &path, problems);
        if raw.endpoints.is_none() {
            check_without_endpoints(&self.clusters, &path, problems);
        }
        let path = format!("{}.keys", self.path);
        let (key_source, keys) = match raw.role {
            Role::Listener => check_keys(self.keys, &path, environment, problems),
            Role::Upstream => check_no_keys(self.keys, &path, problems),
        };
        if raw.role == Role::Upstream && raw.endpoints.is_none() {
            problems.push(Problem::new(
                "$.endpoints",
                "upstream-role-without-endpoints",
                "must be set where $.role is \"upstream\", got null",
                "it watches for the picture of the endpoints and does nothing else",
            ));
        }
        Some(Config {
            clusters,
            key_source,
            keys: keys?,
            settings: draft.settings.clone()?,
            endpoints: draft.endpoints.clone(),
        })
    }
}

fn check_keys(
    raw: RawKeys,
    path: &str,
    environment: Option<impl FnOnce(&str) -> Option<String>>,
    problems: &mut Problems,
) -> (KeySource, Option<KeyRing>) {
    match raw {
        RawKeys::Inline(text) => {
            let ring = keys::parse_at(text.expose(), &format!("{path}.inline"), problems);
            (KeySource::Inline(text), ring)
        }
        RawKeys::Environment(name) => {
            let path = format!("{path}.environment");
            let Some(environment) = environment else {
                return (KeySource::Environment(name), Some(KeyRing::none()));
            };
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
                keys::parse_at(&text, &path, problems)
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
fn check_no_keys(
    raw: RawKeys,
    path: &str,
    problems: &mut Problems,
) -> (KeySource, Option<KeyRing>) {
    match raw {
        RawKeys::Environment(name) => (KeySource::Environment(name), Some(KeyRing::none())),
        RawKeys::Inline(text) => {
            problems.push(Problem::new(
                format!("{path}.inline"),
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
