//! Checks the rules of a configuration.

use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
use core::time::Duration;

use super::{
    clusters::Cluster,
    decision::Policy,
    key::{FirstRequest, Key},
    raw::{RawCluster, RawCookie, RawKey},
    set_cookie::{CookieAttributes, SameSite, Secure},
    standing::WhenDraining,
};
use crate::{
    clusters::{self, Selector},
    config::{Problem, Problems, format_duration, is_token, parse_duration},
    hygiene,
    successor::{MAX_TABLE_SIZE, MIN_TABLE_SIZE, TableError, TableSize},
};

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

/// Is the longest name of a query parameter that is a key, in bytes. Every pair of a query is compared
/// with it.
const MAX_QUERY_NAME_BYTES: usize = 128;

/// Checks the rules at `path` (`$.clusters`); those that are in order come back.
pub(super) fn check_clusters(
    raw: &[RawCluster],
    endpoint_header: &str,
    path: &str,
    problems: &mut Problems,
) -> Vec<Cluster> {
    let rules = clusters::check_rules(raw, path, problems, |raw, path, problems| {
        check_cluster(raw, endpoint_header, path, problems)
    });
    let mut places = BTreeMap::new();
    for (place, cluster) in &rules {
        // A prefix has no cookie of its own: each of its clusters derives one.
        let Some(cookie_name) = cluster.known_cookie_name() else {
            continue;
        };
        if let Some(earlier) = places.insert(String::from(&*cookie_name), place) {
            problems.push(Problem::new(
                format!("{path}[{place}].cookie.name"),
                "cookie-name-duplicate",
                format!(
                    "must differ from the other clusters' names, got {cookie_name:?} of \
                     {path}[{earlier}]"
                ),
                "two clusters with one name would replace each other's cookies",
            ));
        }
    }
    rules.into_iter().map(|(_, cluster)| cluster).collect()
}

/// Refuses what does nothing as long as nothing is known of the endpoints.
pub(super) fn check_without_endpoints(raw: &[RawCluster], path: &str, problems: &mut Problems) {
    for (index, raw) in raw.iter().enumerate() {
        let fields = [
            (
                "first_request",
                raw.first_request != FirstRequest::default(),
            ),
            ("key", raw.key.is_some()),
            (
                "when_draining",
                raw.when_draining != WhenDraining::default(),
            ),
        ];
        for (field, _) in fields.into_iter().filter(|(_, is_set)| *is_set) {
            problems.push(Problem::new(
                format!("{path}[{index}].{field}"),
                "needs-endpoints",
                "must have its default where $.endpoints is null",
                "it does nothing as long as nothing is known of the endpoints",
            ));
        }
    }
}

fn check_cluster(
    raw: &RawCluster,
    endpoint_header: &str,
    path: &str,
    problems: &mut Problems,
) -> Option<Cluster> {
    let selector = Selector::check(raw.name.as_deref(), raw.prefix.as_deref(), path, problems);
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
    let key = check_key(raw, endpoint_header, path, problems);
    let table_size = check_table_size(raw.table_size, &format!("{path}.table_size"), problems);
    Some(Cluster {
        selector: selector?,
        cookie_name: raw.cookie.name.clone(),
        policy: Policy {
            ttl: ttl?,
            idle_timeout: idle_timeout?,
            when_unreachable: raw.when_unreachable,
            when_draining: raw.when_draining,
            first_request: raw.first_request,
            key: key?,
            table_size: table_size?,
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

/// Checks what requests are placed by; the inner `None` is the cookie.
fn check_key(
    raw: &RawCluster,
    endpoint_header: &str,
    path: &str,
    problems: &mut Problems,
) -> Option<Option<Key>> {
    let Some(key) = &raw.key else {
        return Some(None);
    };
    if raw.first_request != FirstRequest::default() {
        problems.push(Problem::new(
            format!("{path}.first_request"),
            "first-request-with-key",
            format!(
                "must be \"balance\" where {path}.key is set, got {:?}",
                raw.first_request.as_str()
            ),
            "with a key every request is placed by it, the first one too",
        ));
        return None;
    }
    match key {
        RawKey::ClientAddress => Some(Some(Key::ClientAddress)),
        RawKey::Header(name) => {
            let legal = |byte: u8| is_token(byte) && !byte.is_ascii_uppercase();
            let removed = hygiene::is_reserved(name.as_bytes(), endpoint_header.as_bytes());
            if name.is_empty() || !name.bytes().all(legal) || removed {
                problems.push(Problem::new(
                    format!("{path}.key.header"),
                    "key-header-invalid",
                    format!(
                        "must be a header name in lower case that clients may send, got {name:?}"
                    ),
                    "such as \"x-user\"; names that begin with x-tidegate- are removed",
                ));
                return None;
            }
            Some(Some(Key::Header(name.clone())))
        }
        RawKey::Query(name) => {
            if name.is_empty() || name.len() > MAX_QUERY_NAME_BYTES {
                problems.push(Problem::new(
                    format!("{path}.key.query"),
                    "key-query-invalid",
                    format!(
                        "must have 1 to {MAX_QUERY_NAME_BYTES} bytes, got {}",
                        name.len()
                    ),
                    "write the parameter's name as it is meant, not as it is escaped",
                ));
                return None;
            }
            Some(Some(Key::Query(name.clone())))
        }
    }
}

fn check_table_size(entries: u32, path: &str, problems: &mut Problems) -> Option<TableSize> {
    match TableSize::try_new(entries) {
        Ok(size) => Some(size),
        Err(TableError::SizeNotPrime { next, .. }) => {
            problems.push(Problem::new(
                path,
                "table-size-not-prime",
                format!("must be a prime, got {entries}"),
                format!("the next one is {next}"),
            ));
            None
        }
        Err(_) => {
            problems.push(Problem::new(
                path,
                "table-size-out-of-range",
                format!("must be from {MIN_TABLE_SIZE} to {MAX_TABLE_SIZE}, got {entries}"),
                "",
            ));
            None
        }
    }
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
