//! The configuration, checked.

use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
use core::time::Duration;

use super::{
    clusters::{Cluster, Selector, derived_name, is_token},
    decision::Policy,
    keys::{self, KeyRing},
    raw::{RawCluster, RawConfig, RawCookie, RawKeys, RawTrust, Role},
    set_cookie::{CookieAttributes, SameSite, Secure},
};
use crate::{
    config::{
        Problem, Problems, Redacted, format_duration, from_json, parse_duration, write_json_string,
    },
    digest::fnv1a_64,
    endpoints,
};

/// Is how many rules there may be. More would make every request to a cluster that is not listed
/// search for long, and one prefix says the same as many names.
const MAX_CLUSTERS: usize = 1024;

/// Is the shortest TTL. Below a second a cookie, which carries whole seconds, would always be over.
const MIN_TTL: Duration = Duration::from_secs(1);

/// Is the longest TTL. Browsers cut longer ones to 400 days.
/// SOURCE: draft-ietf-httpbis-rfc6265bis-22 section 5.5.
const MAX_TTL: Duration = Duration::from_secs(400 * 86_400);

/// Is the shortest idle timeout. Below ten seconds a tenth of it is under the second that cookies
/// carry: every response would write one.
const MIN_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Is the longest name of a cookie, in bytes. Browsers take 4096 for name and value; what a name
/// takes is sent with every request.
const MAX_COOKIE_NAME_BYTES: usize = 128;

/// Is the longest path, in bytes. SOURCE: draft-ietf-httpbis-rfc6265bis-22 section 5.6.
const MAX_COOKIE_PATH_BYTES: usize = 1024;

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
        let clusters = check_clusters(&raw.clusters, &mut problems);
        check_endpoint_header(&raw.endpoint_header, &mut problems);
        let (key_source, keys) = check_keys(raw.keys, environment, &mut problems);
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

    /// Are the keys.
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

fn check_clusters(raw: &[RawCluster], problems: &mut Problems) -> Vec<Cluster> {
    if raw.is_empty() {
        problems.push(Problem::new(
            "$.clusters",
            "clusters-empty",
            "must list at least one cluster, got none",
            "write [{\"name\": \"…\"}], or [{\"prefix\": \"\"}] for all",
        ));
    }
    if raw.len() > MAX_CLUSTERS {
        problems.push(Problem::new(
            "$.clusters",
            "clusters-too-many",
            format!(
                "must list at most {MAX_CLUSTERS} clusters, got {}",
                raw.len()
            ),
            "a prefix covers many",
        ));
        return Vec::new();
    }
    let mut selectors = BTreeMap::new();
    let mut cookie_names = BTreeMap::new();
    let mut clusters = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        let path = format!("$.clusters[{index}]");
        let Some(cluster) = check_cluster(raw, &path, problems) else {
            continue;
        };
        if let Some(earlier) = selectors.insert(cluster.selector.to_text(), index) {
            problems.push(Problem::new(
                path,
                "cluster-duplicate",
                format!("must differ from the other clusters, got what $.clusters[{earlier}] has"),
                "only the first would ever hold",
            ));
        } else if let Selector::Name(name) = &cluster.selector {
            let derived = || derived_name(name.as_bytes());
            let cookie_name = cluster.cookie_name.clone().unwrap_or_else(derived);
            if let Some(earlier) = cookie_names.insert(cookie_name.clone(), index) {
                problems.push(Problem::new(
                    format!("{path}.cookie.name"),
                    "cookie-name-duplicate",
                    format!(
                        "must differ from the other clusters' names, got {cookie_name:?} of \
                         $.clusters[{earlier}]"
                    ),
                    "two clusters with one name would replace each other's cookies",
                ));
            }
        }
        clusters.push(cluster);
    }
    clusters
}

fn check_cluster(raw: &RawCluster, path: &str, problems: &mut Problems) -> Option<Cluster> {
    let selector = match (&raw.name, &raw.prefix) {
        (Some(name), None) if name.is_empty() => {
            problems.push(Problem::new(
                format!("{path}.name"),
                "cluster-name-empty",
                "must not be empty, got \"\"",
                "write the name of an Envoy cluster, or \"prefix\": \"\" for all",
            ));
            None
        }
        (Some(name), None) => Some(Selector::Name(name.clone())),
        (None, Some(prefix)) => Some(Selector::Prefix(prefix.clone())),
        (name, _) => {
            let got = if name.is_some() { "both" } else { "none" };
            problems.push(Problem::new(
                path,
                "cluster-selector",
                format!("must have exactly one of `name` and `prefix`, got {got}"),
                "",
            ));
            None
        }
    };
    check_cookie(raw, &format!("{path}.cookie"), problems);
    let ttl = check_duration(
        &raw.ttl,
        &format!("{path}.ttl"),
        (MIN_TTL, MAX_TTL, "ttl-out-of-range"),
        problems,
    );
    let idle_timeout = match &raw.idle_timeout {
        None => Some(None),
        Some(text) => {
            let idle_path = format!("{path}.idle_timeout");
            let range = (MIN_IDLE_TIMEOUT, MAX_TTL, "idle-timeout-out-of-range");
            let idle_timeout = check_duration(text, &idle_path, range, problems);
            if let (Some(idle_timeout), Some(ttl)) = (idle_timeout, ttl)
                && idle_timeout > ttl
            {
                problems.push(Problem::new(
                    idle_path,
                    "idle-timeout-above-ttl",
                    format!("must be at most {path}.ttl ({:?}), got {text:?}", raw.ttl),
                    "a session ends with its ttl anyway: lower it, or write null",
                ));
            }
            idle_timeout.map(Some)
        }
    };
    Some(Cluster {
        selector: selector?,
        cookie_name: raw.cookie.name.clone(),
        policy: Policy {
            ttl: ttl?,
            idle_timeout: idle_timeout?,
            when_unreachable: raw.when_unreachable,
            attributes: CookieAttributes {
                path: raw.cookie.path.clone(),
                http_only: raw.cookie.http_only,
                same_site: raw.cookie.same_site,
                secure: raw.cookie.secure,
            },
        },
    })
}

fn check_duration(
    text: &str,
    path: &str,
    (least, most, code): (Duration, Duration, &'static str),
    problems: &mut Problems,
) -> Option<Duration> {
    let duration = match parse_duration(path, text) {
        Ok(duration) => duration,
        Err(Problem {
            path,
            code,
            message,
            help,
        }) => {
            problems.push(Problem::new(path, code, message, help));
            return None;
        }
    };
    if duration.subsec_millis() != 0 {
        problems.push(Problem::new(
            path,
            "duration-not-whole-seconds",
            format!("must be whole seconds, got {text:?}"),
            "cookies carry whole seconds",
        ));
        return None;
    }
    if duration < least || duration > most {
        let (least, most) = (format_duration(least), format_duration(most));
        problems.push(Problem::new(
            path,
            code,
            format!("must be from {least} to {most}, got {text:?}"),
            "",
        ));
        return None;
    }
    Some(duration)
}

fn check_cookie(cluster: &RawCluster, path: &str, problems: &mut Problems) {
    let RawCookie {
        name,
        path: cookie_path,
        http_only: _,
        same_site,
        secure,
    } = &cluster.cookie;
    if let Some(name) = name {
        check_cookie_name(name, cluster, path, problems);
    }
    let legal = |byte: u8| byte != b';' && !byte.is_ascii_control() && byte.is_ascii();
    if !cookie_path.starts_with('/')
        || cookie_path.len() > MAX_COOKIE_PATH_BYTES
        || !cookie_path.bytes().all(legal)
    {
        problems.push(Problem::new(
            format!("{path}.path"),
            "cookie-path-invalid",
            format!(
                "must begin with / and hold at most {MAX_COOKIE_PATH_BYTES} ASCII characters and \
                 no semicolon, got {cookie_path:?}"
            ),
            "",
        ));
    }
    if *same_site == SameSite::None && *secure == Secure::Never {
        problems.push(Problem::new(
            format!("{path}.same_site"),
            "same-site-none-not-secure",
            format!("must not be \"none\" when {path}.secure is \"never\""),
            "browsers drop such a cookie",
        ));
    }
}

fn check_cookie_name(name: &str, cluster: &RawCluster, path: &str, problems: &mut Problems) {
    let name_path = format!("{path}.name");
    if name.is_empty() || name.len() > MAX_COOKIE_NAME_BYTES || !name.bytes().all(is_token) {
        problems.push(Problem::new(
            name_path,
            "cookie-name-invalid",
            format!("must be a token of 1 to {MAX_COOKIE_NAME_BYTES} characters, got {name:?}"),
            "letters, digits and !#$%&'*+-.^_`|~",
        ));
        return;
    }
    if cluster.prefix.is_some() {
        problems.push(Problem::new(
            name_path,
            "cookie-name-with-prefix",
            format!("must be null where `prefix` is set, got {name:?}"),
            "each of the clusters needs a name of its own: it is derived",
        ));
        return;
    }
    let lower = name.to_ascii_lowercase();
    let host = lower.starts_with("__host-");
    if (host || lower.starts_with("__secure-"))
        && (cluster.cookie.secure != Secure::Always || (host && cluster.cookie.path != "/"))
    {
        let path_rule = if host { " and a path of \"/\"" } else { "" };
        problems.push(Problem::new(
            name_path,
            "cookie-name-prefix",
            format!("must have {path}.secure \"always\"{path_rule} to begin like {name:?}"),
            "browsers drop such a cookie otherwise",
        ));
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
