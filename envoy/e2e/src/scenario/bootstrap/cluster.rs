//! Clusters. Their endpoints are in files that the timeline writes.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tidegate_model::scenario::{Balancer, CircuitBreakers, Cluster, RetryBudget, Scenario};

use super::{Place, duration};
use crate::discovery;

/// Refuses a scenario that asks for what no Envoy has.
///
/// # Errors
/// A balancer or a retry budget is one of another project.
pub(in crate::scenario) fn balancers_exist(scenario: &Scenario) -> Result<()> {
    for cluster in &scenario.clusters {
        policy(&cluster.balancer)?;
        thresholds(&cluster.circuit_breakers)?;
    }
    Ok(())
}

/// Returns a cluster.
///
/// # Errors
/// It asks for what no Envoy has.
pub(super) fn of(cluster: &Cluster, mut filters: Vec<Value>, place: Place<'_>) -> Result<Value> {
    if !filters.is_empty() {
        filters.push(json!({
            "name": "envoy.filters.http.upstream_codec",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
            },
        }));
    }
    let panic = cluster.panic_threshold.value() * 100.0;
    Ok(json!({
        "name": cluster.name,
        "type": "EDS",
        "eds_cluster_config": discovery::source(place.membership, &cluster.name),
        "connect_timeout": duration(cluster.connect_timeout),
        "load_balancing_policy": policy(&cluster.balancer)?,
        "circuit_breakers": thresholds(&cluster.circuit_breakers)?,
        // What changes takes effect at once: else a change of health alone waits for up to a second.
        "common_lb_config": { "healthy_panic_threshold": { "value": panic }, "update_merge_window": "0s" },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http_protocol_options": {} },
                "http_filters": filters,
            },
        },
    }))
}

fn policy(balancer: &Balancer) -> Result<Value> {
    let (name, message, fields) = match balancer {
        Balancer::RoundRobin => ("round_robin", "RoundRobin", json!({})),
        Balancer::LeastRequest { choice_count } => {
            ensure!(
                *choice_count >= 2,
                "Envoy's least_request draws at least two: `choice_count` is {choice_count}"
            );
            (
                "least_request",
                "LeastRequest",
                json!({ "choice_count": choice_count }),
            )
        }
        Balancer::Random => ("random", "Random", json!({})),
        Balancer::RingHash { minimum_ring_size } => (
            "ring_hash",
            "RingHash",
            json!({ "minimum_ring_size": minimum_ring_size }),
        ),
        Balancer::Maglev => ("maglev", "Maglev", json!({})),
        Balancer::OverrideHost { header, fallback } => (
            "override_host",
            "OverrideHost",
            json!({
                "override_host_sources": [{ "header": header }],
                "fallback_policy": policy(fallback)?,
            }),
        ),
        // The session is the filter's affair; the cluster only has to know how else to choose.
        Balancer::StatefulSession { fallback, .. } => return policy(fallback),
        Balancer::Reference(reference) => bail!(
            "no Envoy balances as {reference:?}: a balancer of another project runs in the model only"
        ),
    };
    let kind =
        format!("type.googleapis.com/envoy.extensions.load_balancing_policies.{name}.v3.{message}");
    let mut config = json!({ "@type": kind });
    if let (Some(config), Some(fields)) = (config.as_object_mut(), fields.as_object()) {
        config.extend(fields.clone());
    }
    Ok(json!({ "policies": [{ "typed_extension_config": {
        "name": format!("envoy.load_balancing_policies.{name}"),
        "typed_config": config,
    } }] }))
}

fn thresholds(breakers: &CircuitBreakers) -> Result<Value> {
    let mut threshold = json!({
        "priority": "DEFAULT",
        "max_connections": breakers.max_connections,
        "max_pending_requests": breakers.max_pending_requests,
        "max_requests": breakers.max_requests,
        "max_retries": breakers.max_retries,
    });
    match breakers.retry_budget {
        None => {}
        Some(RetryBudget::Concurrency {
            budget_percent,
            min_retry_concurrency,
        }) => {
            let budget = json!({
                "budget_percent": { "value": budget_percent },
                "min_retry_concurrency": min_retry_concurrency,
            });
            if let Some(threshold) = threshold.as_object_mut() {
                threshold.insert("retry_budget".to_owned(), budget);
            }
        }
        Some(RetryBudget::Finagle { .. } | RetryBudget::Grpc { .. }) => {
            bail!("no Envoy has this retry budget: it runs in the model only")
        }
    }
    Ok(json!({ "thresholds": [threshold] }))
}
