//! Routing by health beside Envoy's own `least_request`: in one Envoy, in front of the same endpoints, under the same load.
//!
//! Why: a figure of a busy machine says little, and the ratio of two that were taken at the same time says much.
//! Model: the shipped configuration with a second listener, whose cluster has the same members and the same routes, but no filter
//! of ours, and `least_request` where ours has `override_host`. Requests come to both in turn.
//! Limits: the endpoints serve both, so that one that is slow by its load would be slow for both; these are slow by their script.

pub mod chain;
pub mod dying;
pub mod failing;
pub mod joining;
pub mod report;
pub mod slow;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bootstrap::Bootstrap;
use crate::endpoints::{Plan, Rig, Shipped};
use crate::sticky;

/// The place of our listener among the targets of a load.
pub const OURS: usize = 0;

/// The place of the listener beside it.
pub const LEAST_REQUEST: usize = 1;

/// The name of the listener beside ours, and of its cluster.
const BESIDE: &str = "beside";

/// How long everything is well before something happens: estimates and connections are made by then.
const WELL: Duration = Duration::from_secs(2);

/// Where outcomes are taken from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Observe {
    /// From attempts, by the filter of the cluster.
    Attempts,
    /// From requests, by the filter of the listener alone.
    Requests,
}

impl Observe {
    /// Returns the name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Requests => "requests",
        }
    }
}

/// Returns what is to run for so many backends: quick probes, and a look at the members four times a second.
#[must_use]
pub fn plan(backends: usize, observe: Observe) -> Plan {
    Plan::shipped(Shipped::HEALTH_ROUTING, backends)
        .with_fields(&json!({ "observe": observe.name() }))
        .with_block(
            &json!({ "source": { "admin": { "cluster": "envoy_admin", "interval": "250ms" } } }),
        )
}

/// Starts routing by health alone.
///
/// # Errors
/// As [`Rig::start`].
pub async fn alone(plan: &Plan) -> Result<Rig> {
    Rig::start_edited(plan, |bootstrap| observed(bootstrap, plan)).await
}

/// Starts routing by health with `least_request` beside it.
///
/// # Errors
/// As [`Rig::start`].
pub async fn pair(plan: &Plan) -> Result<Rig> {
    Rig::start_edited(plan, |bootstrap| {
        observed(bootstrap, plan)?;
        beside_least_request(bootstrap)
    })
    .await
}

/// Returns the listeners of a pair, ours and the other, as targets of a load.
///
/// # Errors
/// The Envoy is not that of a pair.
pub fn targets(rig: &Rig) -> Result<[SocketAddr; 2]> {
    Ok([rig.envoy.listener("edge")?, rig.envoy.listener(BESIDE)?])
}

/// Takes the filter from the cluster where the listener's observes.
fn observed(bootstrap: &mut Bootstrap, plan: &Plan) -> Result<()> {
    if plan.fields.get("observe") == Some(&json!(Observe::Requests.name())) {
        without_upstream_filter(bootstrap.cluster(sticky::CLUSTER)?);
    }
    Ok(())
}

fn without_upstream_filter(cluster: &mut Value) {
    if let Some(cluster) = cluster.as_object_mut() {
        cluster.remove("typed_extension_protocol_options");
    }
}

/// Adds the listener and the cluster beside ours.
#[expect(
    clippy::indexing_slicing,
    reason = "a JSON value that has no such field gets one when it is written"
)]
fn beside_least_request(bootstrap: &mut Bootstrap) -> Result<()> {
    let mut cluster = bootstrap.cluster(sticky::CLUSTER)?.clone();
    without_upstream_filter(&mut cluster);
    cluster["name"] = json!(BESIDE);
    cluster["eds_cluster_config"]["service_name"] = json!(sticky::CLUSTER);
    let policy = "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest";
    cluster["load_balancing_policy"] = json!({ "policies": [{ "typed_extension_config": {
        "name": "envoy.load_balancing_policies.least_request",
        "typed_config": { "@type": format!("type.googleapis.com/{policy}") },
    } }] });
    let clusters = bootstrap.at("/static_resources/clusters")?.as_array_mut();
    clusters.context("clusters are not a list")?.push(cluster);
    let mut listener = bootstrap.at("/static_resources/listeners/0")?.clone();
    listener["name"] = json!(BESIDE);
    let manager = listener
        .pointer_mut("/filter_chains/0/filters/0/typed_config")
        .context("the listener has no connection manager")?;
    manager["stat_prefix"] = json!(BESIDE);
    let filters = manager["http_filters"].as_array_mut();
    filters
        .context("the connection manager has no filters")?
        .retain(|filter| {
            !filter["name"]
                .as_str()
                .unwrap_or_default()
                .starts_with("tidegate.")
        });
    let routes = manager.pointer_mut("/route_config/virtual_hosts/0/routes");
    let routes = routes.and_then(Value::as_array_mut);
    for route in routes.context("the connection manager has no routes")? {
        route["route"]["cluster"] = json!(BESIDE);
    }
    let listeners = bootstrap.at("/static_resources/listeners")?.as_array_mut();
    listeners
        .context("listeners are not a list")?
        .push(listener);
    Ok(())
}

/// Waits until all workers see every one of so many backends available.
async fn all_available(rig: &Rig, backends: usize) -> Result<()> {
    let all: Vec<(usize, &str)> = (0..backends).map(|index| (index, "available")).collect();
    rig.picture_is(&all).await
}
