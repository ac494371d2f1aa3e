//! The Envoy configuration of a scenario.

mod cluster;
mod filter;
mod route;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use tidegate_cli::scenario::LoadedScenario;
use tidegate_model::scenario::Balancer;
use tidegate_model::units::Span;

use crate::bootstrap::Bootstrap;
pub(super) use cluster::balancers_exist;

/// The listener of a scenario.
pub(super) const LISTENER: &str = "edge";

/// What the access log says of a request, and of each of its attempts. Both are in one file: which line is what, its `line`
/// says.
const REQUEST: &str = "request";
const ATTEMPT: &str = "attempt";

/// What the configuration needs besides the scenario.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// A folder with a membership file for each cluster.
    pub(super) membership: &'a Path,
    /// A folder for modules that are made from text.
    pub(super) modules: &'a Path,
}

/// Writes the configuration.
///
/// # Errors
/// The scenario has something that no Envoy can run, or a module can't be built; the text says which.
pub(super) fn of(loaded: &LoadedScenario, place: Place<'_>) -> Result<Bootstrap> {
    let scenario = &loaded.scenario;
    let mut clusters = Vec::new();
    for (index, known) in scenario.clusters.iter().enumerate() {
        let filters = loaded.upstream_filters.get(index);
        let filters = filter::chain(
            loaded,
            &known.upstream_filters,
            filters.map_or(&[], Vec::as_slice),
            place,
        )?;
        clusters.push(cluster::of(known, filters, place)?);
    }
    let mut filters = filter::chain(loaded, &scenario.filters, &loaded.filters, place)?;
    if scenario
        .clusters
        .iter()
        .any(|cluster| is_stateful(&cluster.balancer))
    {
        filters.push(filter::stateful_sessions());
    }
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "upstream_log": [log(ATTEMPT, &json!({ "transport_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%" }))],
        },
    }));
    let root = json!({
        "node": { "id": "scenario", "cluster": "scenario" },
        "admin": { "address": socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))) },
        "static_resources": {
            "listeners": [listener(&filters, &route::all(scenario)?)],
            "clusters": clusters,
        },
    });
    Bootstrap::parse(&root.to_string())
}

/// Returns the cookie of a balancer that keeps sessions in one.
fn session_cookie(balancer: &Balancer) -> Option<&str> {
    match balancer {
        Balancer::StatefulSession { cookie, .. } => Some(cookie),
        _ => None,
    }
}

fn is_stateful(balancer: &Balancer) -> bool {
    session_cookie(balancer).is_some()
}

pub(super) fn socket(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

/// A length of time as Envoy reads it.
fn duration(span: Span) -> String {
    let (seconds, rest) = (span.ns() / 1_000_000_000, span.ns() % 1_000_000_000);
    format!("{seconds}.{rest:09}s")
}

fn listener(filters: &[Value], hosts: &Value) -> Value {
    json!({
        "name": LISTENER,
        "address": socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        // Clients say by it which address they have in the scenario.
        "listener_filters": [{
            "name": "envoy.filters.listener.proxy_protocol",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
            },
        }],
        "filter_chains": [{
            "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": LISTENER,
                    "use_remote_address": true,
                    // By the client's own the three logs of a request are put together.
                    "preserve_external_request_id": true,
                    "upgrade_configs": [{ "upgrade_type": "websocket" }],
                    "access_log": [log(REQUEST, &json!({
                        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
                        "details": "%RESPONSE_CODE_DETAILS%",
                    }))],
                    "route_config": { "name": LISTENER, "validate_clusters": false, "virtual_hosts": [hosts] },
                    "http_filters": filters,
                },
            }],
        }],
    })
}

/// An access log whose lines have these fields besides the ones of all.
fn log(line: &str, fields: &Value) -> Value {
    let mut format = json!({
        "line": line,
        "id": "%REQ(X-REQUEST-ID)%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "endpoint": "%UPSTREAM_HOST%",
    });
    if let (Some(format), Some(fields)) = (format.as_object_mut(), fields.as_object()) {
        format.extend(fields.clone());
    }
    json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            // Replaced when Envoy is started.
            "path": "/dev/null",
            "log_format": { "json_format": format },
        },
    })
}
