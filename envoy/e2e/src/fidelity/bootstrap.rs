//! One Envoy configuration for all cases: a listener and clusters for each.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use tidegate_cli::fidelity::{Behaviour, Case, FailurePolicy, Plugin, Position, Protocol};

use super::servers::Servers;
use crate::bootstrap::Bootstrap;

/// Puts the configuration together.
pub(super) fn all(cases: &[(Case, Servers)], module: &Path) -> Result<Bootstrap> {
    let listeners: Vec<Value> = cases
        .iter()
        .map(|(case, _)| listener(case, module))
        .collect();
    let mut clusters = Vec::new();
    let mut services = Vec::new();
    for (case, servers) in cases {
        let filters = plugins(case, Position::Upstream)
            .map(|plugin| wasm(case, plugin, module))
            .collect();
        clusters.push(cluster(
            &case.cluster_name("upstream"),
            Some(servers.upstream),
            case.upstream_protocol,
            filters,
        ));
        for (known, address) in case.clusters.iter().zip(&servers.others) {
            let address = (known.behaviour != Behaviour::Empty).then_some(*address);
            let name = case.cluster_name(&known.name);
            clusters.push(cluster(&name, address, Protocol::Http1, Vec::new()));
        }
        for plugin in plugins(case, Position::Singleton) {
            services.push(json!({
                "name": "envoy.bootstrap.wasm",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.wasm.v3.WasmService",
                    "singleton": true,
                    "config": config(case, plugin, module),
                },
            }));
        }
    }
    let root = json!({
        "node": { "id": "probe-node", "cluster": "probe-cluster" },
        "admin": { "address": socket(SocketAddr::from(([127, 0, 0, 1], 0))) },
        "bootstrap_extensions": services,
        "static_resources": { "listeners": listeners, "clusters": clusters },
    });
    Bootstrap::parse(&root.to_string())
}

fn plugins(case: &Case, position: Position) -> impl Iterator<Item = &Plugin> {
    case.plugins
        .iter()
        .filter(move |plugin| plugin.position == position)
}

fn socket(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

/// An Envoy `PluginConfig`.
fn config(case: &Case, plugin: &Plugin, module: &Path) -> Value {
    let text = |value: &str| json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": value });
    let variables: serde_json::Map<String, Value> = case
        .environment(plugin)
        .into_iter()
        .map(|(name, value)| (name, json!(value)))
        .collect();
    let policy = match plugin.failure_policy {
        FailurePolicy::FailClosed => "FAIL_CLOSED",
        FailurePolicy::FailOpen => "FAIL_OPEN",
        FailurePolicy::FailReload => "FAIL_RELOAD",
    };
    json!({
        "name": plugin.name,
        "root_id": plugin.root_id(),
        "vm_config": {
            "vm_id": case.vm_id(plugin),
            "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "filename": module } },
            "configuration": text(&plugin.vm_script),
            "environment_variables": { "key_values": variables },
        },
        "configuration": text(&plugin.script),
        "failure_policy": policy,
        "allow_on_headers_stop_iteration": plugin.allow_on_headers_stop_iteration,
    })
}

fn wasm(case: &Case, plugin: &Plugin, module: &Path) -> Value {
    json!({
        "name": plugin.name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": config(case, plugin, module),
        },
    })
}

fn listener(case: &Case, module: &Path) -> Value {
    let mut filters: Vec<Value> = plugins(case, Position::Listener)
        .map(|plugin| wasm(case, plugin, module))
        .collect();
    filters.push(json!({
        "name": "router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": true,
        },
    }));
    let upgrades = if case.upgrade {
        json!([{ "upgrade_type": "websocket" }])
    } else {
        json!([])
    };
    let codec = match case.protocol {
        Protocol::Http1 => "HTTP1",
        Protocol::Http2 => "HTTP2",
    };
    json!({
        "name": case.name,
        "address": socket(SocketAddr::from(([127, 0, 0, 1], 0))),
        "filter_chains": [{
            "name": "chain",
            "filters": [{
                "name": "manager",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": case.name,
                    "codec_type": codec,
                    "generate_request_id": false,
                    "server_header_transformation": "PASS_THROUGH",
                    "stream_idle_timeout": "0s",
                    "http_protocol_options": { "enable_trailers": true },
                    "upgrade_configs": upgrades,
                    "route_config": {
                        "name": "routes",
                        "virtual_hosts": [{ "name": "probe", "domains": ["*"], "routes": routes(case) }],
                    },
                    "http_filters": filters,
                },
            }],
        }],
    })
}

fn routes(case: &Case) -> Vec<Value> {
    let timeout = format!("{}.{:03}s", case.timeout_ms / 1000, case.timeout_ms % 1000);
    let to = |cluster: &str| {
        let mut action = json!({ "cluster": case.cluster_name(cluster), "timeout": timeout });
        if let (Some(retry), Some(action)) = (&case.retry, action.as_object_mut()) {
            let policy = json!({ "retry_on": retry.on, "num_retries": retry.attempts });
            action.insert("retry_policy".to_owned(), policy);
        }
        action
    };
    let mut routes = Vec::new();
    for route in &case.routes {
        let mut matching = json!({ "prefix": route.prefix });
        let header = route
            .header
            .as_deref()
            .and_then(|header| header.split_once(": "));
        if let (Some((name, value)), Some(matching)) = (header, matching.as_object_mut()) {
            let header = json!([{ "name": name, "string_match": { "exact": value } }]);
            matching.insert("headers".to_owned(), header);
        }
        let mut entry = json!({ "name": route.name, "match": matching });
        if let Some(entry) = entry.as_object_mut() {
            match (&route.cluster, route.direct) {
                (_, Some(status)) => {
                    entry.insert("direct_response".to_owned(), json!({ "status": status }))
                }
                (cluster, None) => entry.insert(
                    "route".to_owned(),
                    to(cluster.as_deref().unwrap_or("upstream")),
                ),
            };
        }
        routes.push(entry);
    }
    routes.push(json!({ "name": "default", "match": { "prefix": "/" }, "route": to("upstream") }));
    routes
}

fn cluster(
    name: &str,
    address: Option<SocketAddr>,
    protocol: Protocol,
    mut filters: Vec<Value>,
) -> Value {
    let http = match protocol {
        Protocol::Http1 => json!({ "http_protocol_options": { "enable_trailers": true } }),
        Protocol::Http2 => json!({ "http2_protocol_options": {} }),
    };
    if !filters.is_empty() {
        filters.push(json!({
            "name": "codec",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
            },
        }));
    }
    let endpoints: Vec<Value> = address
        .into_iter()
        .map(|address| json!({ "lb_endpoints": [{ "endpoint": { "address": socket(address) } }] }))
        .collect();
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": { "cluster_name": name, "endpoints": endpoints },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": http,
                "http_filters": filters,
            },
        },
    })
}
