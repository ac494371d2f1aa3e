//! Routes.

use anyhow::{Result, bail, ensure};
use serde_json::{Map, Value, json};
use tidegate_model::scenario::{Hash, RetryOn, RetryPolicy, Route, Scenario};

use super::{duration, session_cookie};

/// Returns the virtual host with all routes.
///
/// # Errors
/// Routes differ in what Envoy can say only for all of them.
pub(super) fn all(scenario: &Scenario) -> Result<Value> {
    let default;
    let routes = if scenario.routes.is_empty() {
        let first = scenario.clusters.first();
        default = [Route {
            cluster: first.map(|cluster| cluster.name.clone()),
            ..Route::default()
        }];
        &default[..]
    } else {
        &scenario.routes
    };
    let counts = |route: &Route| {
        (
            route.attempt_count_in_request,
            route.attempt_count_in_response,
        )
    };
    let mut proxied = routes
        .iter()
        .filter(|route| route.direct_response.is_none())
        .map(counts);
    let (in_request, in_response) = proxied.next().unwrap_or_default();
    ensure!(
        proxied.all(|other| other == (in_request, in_response)),
        "Envoy counts attempts for a whole virtual host: `attempt_count_in_request` and `attempt_count_in_response` must be \
         the same on all routes that lead to a cluster"
    );
    let routes: Vec<Value> = routes
        .iter()
        .map(|route| one(route, scenario))
        .collect::<Result<_>>()?;
    Ok(json!({
        "name": "all",
        "domains": ["*"],
        "include_request_attempt_count": in_request,
        "include_attempt_count_in_response": in_response,
        "routes": routes,
    }))
}

fn one(route: &Route, scenario: &Scenario) -> Result<Value> {
    let mut entry = Map::new();
    entry.insert("name".to_owned(), json!(route.name));
    entry.insert("match".to_owned(), json!({ "prefix": route.prefix }));
    if let Some(status) = route.direct_response {
        entry.insert("direct_response".to_owned(), json!({ "status": status }));
        return Ok(entry.into());
    }
    let sessions = |name: &str| {
        let cluster = scenario
            .clusters
            .iter()
            .find(|cluster| cluster.name == name)?;
        session_cookie(&cluster.balancer).map(per_route)
    };
    let mut action = Map::new();
    match &route.cluster {
        Some(cluster) => {
            action.insert("cluster".to_owned(), json!(cluster));
            if let Some(sessions) = sessions(cluster) {
                entry.insert("typed_per_filter_config".to_owned(), sessions);
            }
        }
        None if route.weighted_clusters.is_empty() => {
            bail!("the route for `{}` leads nowhere", route.prefix)
        }
        None => {
            let clusters = route.weighted_clusters.iter().map(|(name, weight)| {
                let mut cluster = json!({ "name": name, "weight": weight });
                if let (Some(sessions), Some(cluster)) = (sessions(name), cluster.as_object_mut()) {
                    cluster.insert("typed_per_filter_config".to_owned(), sessions);
                }
                cluster
            });
            let clusters: Vec<Value> = clusters.collect();
            action.insert(
                "weighted_clusters".to_owned(),
                json!({ "clusters": clusters }),
            );
        }
    }
    action.insert("timeout".to_owned(), json!(duration(route.timeout)));
    if let Some(policy) = &route.retry {
        action.insert("retry_policy".to_owned(), retry(policy));
    }
    let hashes: Vec<Value> = route.hash.iter().map(hash).collect();
    action.insert("hash_policy".to_owned(), json!(hashes));
    entry.insert("route".to_owned(), action.into());
    Ok(entry.into())
}

/// The stateful session of a route's cluster.
fn per_route(cookie: &str) -> Value {
    json!({
        super::filter::STATEFUL_SESSION: {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute",
            "stateful_session": { "session_state": {
                "name": "envoy.http.stateful_session.cookie",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState",
                    "cookie": { "name": cookie, "path": "/" },
                },
            } },
        },
    })
}

fn retry(policy: &RetryPolicy) -> Value {
    let conditions: Vec<&str> = policy.on.iter().copied().map(condition).collect();
    let headers = policy.retriable_headers.iter();
    let headers: Vec<Value> = headers
        .map(|name| json!({ "name": name, "present_match": true }))
        .collect();
    let mut written = json!({
        "retry_on": conditions.join(","),
        "num_retries": policy.num_retries,
        "retriable_status_codes": policy.retriable_status_codes,
        "retriable_headers": headers,
        "retry_back_off": { "base_interval": duration(policy.back_off.base) },
    });
    if let Some(written) = written.as_object_mut() {
        if let Some(max) = policy.back_off.max {
            let back_off = json!({ "base_interval": duration(policy.back_off.base), "max_interval": duration(max) });
            written.insert("retry_back_off".to_owned(), back_off);
        }
        if policy.per_try_timeout.ns() > 0 {
            let timeout = duration(policy.per_try_timeout);
            written.insert("per_try_timeout".to_owned(), json!(timeout));
        }
        if policy.avoid_previous_hosts {
            let predicate = json!([{
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                },
            }]);
            written.insert("retry_host_predicate".to_owned(), predicate);
            let attempts = json!(policy.host_selection_attempts);
            written.insert("host_selection_retry_max_attempts".to_owned(), attempts);
        }
    }
    written
}

const fn condition(on: RetryOn) -> &'static str {
    match on {
        RetryOn::ServerError => "5xx",
        RetryOn::GatewayError => "gateway-error",
        RetryOn::ConnectFailure => "connect-failure",
        RetryOn::EnvoyRatelimited => "envoy-ratelimited",
        RetryOn::RefusedStream => "refused-stream",
        RetryOn::Reset => "reset",
        RetryOn::ResetBeforeRequest => "reset-before-request",
        RetryOn::Retriable4xx => "retriable-4xx",
        RetryOn::RetriableHeaders => "retriable-headers",
        RetryOn::RetriableStatusCodes => "retriable-status-codes",
        RetryOn::Cancelled => "cancelled",
        RetryOn::DeadlineExceeded => "deadline-exceeded",
        RetryOn::Internal => "internal",
        RetryOn::ResourceExhausted => "resource-exhausted",
        RetryOn::Unavailable => "unavailable",
    }
}

/// The first that a request has counts, so that each ends the list when it is there.
fn hash(by: &Hash) -> Value {
    let mut policy = match by {
        Hash::Header(name) => json!({ "header": { "header_name": name } }),
        Hash::Cookie(name) => json!({ "cookie": { "name": name } }),
        Hash::SourceIp => json!({ "connection_properties": { "source_ip": true } }),
    };
    if let Some(policy) = policy.as_object_mut() {
        policy.insert("terminal".to_owned(), json!(true));
    }
    policy
}
