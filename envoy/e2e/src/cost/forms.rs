//! What is compared: one Envoy configuration each, all made of the same file.
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that has no such field is null when it is read, and gets one when it is written"
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bootstrap::{Bootstrap, STICKY_SESSION};
use crate::endpoints::{ADMIN_CLUSTER, Shipped};
use crate::envoy::Scenario;
use crate::sticky;

/// Where the settings of a cluster's own filters are.
const UPSTREAM_FILTERS: &str = "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions/http_filters";

/// One of the configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A router and round robin.
    Plain,
    /// The same with a module of ours that does nothing.
    NoOp,
    /// What Envoy has of its own for the same purposes.
    Native,
    /// What the shipped configurations have around the modules, without one.
    Frame,
    /// sticky-session alone, which knows its endpoints.
    StickySession,
    /// health-routing alone.
    HealthRouting,
    /// Both, each in its module.
    Apart,
    /// Both in the module `stack`.
    Stack,
    /// The same, with the module behind the router too, where it sees each attempt.
    StackAttempts,
}

/// A module as a form has it.
#[derive(Clone, Debug)]
pub(super) struct Module {
    /// Its name for `cargo tidegate build`.
    pub(super) name: &'static str,
    /// Its configuration.
    pub(super) configuration: Value,
    /// Whether it is a filter of the cluster, else of the listener.
    pub(super) is_upstream: bool,
}

impl Module {
    fn path(&self) -> Result<PathBuf> {
        tidegate_cli::build::module_path(self.name)
    }
}

impl Form {
    /// All of them, in the order in which they are measured and told.
    pub const ALL: [Self; 9] = [
        Self::Plain,
        Self::NoOp,
        Self::Native,
        Self::Frame,
        Self::StickySession,
        Self::HealthRouting,
        Self::Apart,
        Self::Stack,
        Self::StackAttempts,
    ];

    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::NoOp => "no-op",
            Self::Native => "native",
            Self::Frame => "frame",
            Self::StickySession => "sticky-session",
            Self::HealthRouting => "health-routing",
            Self::Apart => "apart",
            Self::Stack => "stack",
            Self::StackAttempts => "stack-attempts",
        }
    }

    /// Says what it consists of.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Plain => "router, round robin",
            Self::NoOp => "plain with a module that does nothing in each of its callbacks",
            Self::Native => {
                "least_request, active health checks, outlier detection, cookie stateful session, retries with a budget"
            }
            Self::Frame => {
                "plain with header_mutation, override_host over round robin and the shipped retry policy"
            }
            Self::StickySession => "frame with sticky-session that knows its endpoints",
            Self::HealthRouting => "frame with health-routing",
            Self::Apart => "frame with sticky-session and health-routing, each in its module",
            Self::Stack => "frame with both in the module stack",
            Self::StackAttempts => {
                "the same with `observe: attempts` and the module behind the router too"
            }
        }
    }

    /// Finds one by its name.
    ///
    /// # Errors
    /// There is none of that name; the text has all names.
    pub fn find(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|form| form.name() == name);
        found.with_context(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no form `{name}`; there are: {names}")
        })
    }

    /// Returns its modules in the order in which a request meets them, with this source of endpoints.
    pub(super) fn modules(self, source: &Value) -> Vec<Module> {
        let endpoints = json!({
            "clusters": [{ "name": sticky::CLUSTER }],
            "source": source,
            "probe": { "path": "/health/ready", "interval": "5s", "timeout": "3s" },
        });
        let sticky = json!({
            "clusters": [{ "name": sticky::CLUSTER, "cookie": { "name": sticky::COOKIE } }],
            "keys": { "environment": sticky::KEYS_VARIABLE },
        });
        let health = json!({ "clusters": [{ "name": sticky::CLUSTER }] });
        let known = json!({ "endpoints": endpoints });
        let module = |name, parts: &[&Value]| Module {
            name,
            configuration: merged(parts),
            is_upstream: false,
        };
        let both = json!({ "sticky_session": sticky, "health_routing": health });
        let attempts = json!({ "observe": "attempts" });
        match self {
            Self::Plain | Self::Native | Self::Frame => Vec::new(),
            Self::NoOp => vec![module("no-op", &[])],
            Self::StickySession => vec![module("sticky-session", &[&sticky, &known])],
            Self::HealthRouting => vec![module("health-routing", &[&health, &known])],
            Self::Apart => vec![
                module("sticky-session", &[&sticky, &known]),
                module("health-routing", &[&health, &known]),
            ],
            Self::Stack => vec![module("stack", &[&both, &known])],
            Self::StackAttempts => vec![
                module("stack", &[&both, &known, &attempts]),
                Module {
                    is_upstream: true,
                    ..module(
                        "stack",
                        &[&both, &known, &attempts, &json!({ "role": "upstream" })],
                    )
                },
            ],
        }
    }

    /// Returns what to run in front of these endpoints; the modules ask `admin` who they are.
    ///
    /// # Errors
    /// A module cannot be built, or the shipped file is not what it was.
    pub(super) fn scenario(self, servers: &[SocketAddr], admin: SocketAddr) -> Result<Scenario> {
        let source =
            json!({ "admin": { "cluster": ADMIN_CLUSTER, "interval": "1s", "refresh": "30s" } });
        let mut bootstrap = base(servers)?;
        bootstrap.endpoints(ADMIN_CLUSTER, &[admin])?;
        if matches!(self, Self::Plain | Self::NoOp | Self::Native) {
            bare(&mut bootstrap)?;
        }
        if self == Self::Native {
            native(&mut bootstrap)?;
        }
        place(&mut bootstrap, &self.modules(&source))?;
        Ok(Scenario::new(bootstrap)
            .concurrency(1)
            .log_level("warn")
            .variable(sticky::KEYS_VARIABLE, sticky::TRIAL_KEYS))
    }
}

/// Writes the fields of objects into one.
fn merged(objects: &[&Value]) -> Value {
    let fields = objects.iter().filter_map(|object| object.as_object());
    let fields = fields.flatten();
    Value::Object(
        fields
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )
}

/// Is the shipped configuration without access log, which is as dear as a filter and the same for all. Its modules are templates.
pub(super) fn base(servers: &[SocketAddr]) -> Result<Bootstrap> {
    let mut bootstrap = Bootstrap::shipped(Shipped::STICKY_SESSION.file)?;
    bootstrap.endpoints(sticky::CLUSTER, servers)?;
    if let Some(manager) = bootstrap.connection_manager()?.as_object_mut() {
        manager.remove("access_log");
    }
    Ok(bootstrap)
}

/// Takes away what stands around the modules.
pub(super) fn bare(bootstrap: &mut Bootstrap) -> Result<()> {
    bootstrap.without_filter("envoy.filters.http.header_mutation")?;
    let route = route(bootstrap)?;
    if let Some(route) = route.as_object_mut() {
        route.remove("retry_policy");
    }
    let cluster = bootstrap.cluster(sticky::CLUSTER)?;
    cluster["load_balancing_policy"] = policy(
        "round_robin",
        "type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
    );
    Ok(())
}

/// Adds what Envoy has of its own: where the load is low, whom probes and answers find well, sessions by cookie, retries by a budget.
fn native(bootstrap: &mut Bootstrap) -> Result<()> {
    route(bootstrap)?["retry_policy"] = json!({
        "retry_on": "connect-failure,refused-stream,reset,gateway-error",
        "num_retries": 2,
        "retry_host_predicate": [{
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            },
        }],
        "host_selection_retry_max_attempts": 5,
    });
    let cluster = bootstrap.cluster(sticky::CLUSTER)?;
    cluster["load_balancing_policy"] = policy(
        "least_request",
        "type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
    );
    cluster["health_checks"] = json!([{
        "timeout": "3s",
        "interval": "5s",
        "unhealthy_threshold": 3,
        "healthy_threshold": 2,
        "http_health_check": { "path": "/health/ready" },
    }]);
    cluster["outlier_detection"] = json!({
        "consecutive_5xx": 5,
        "consecutive_gateway_failure": 5,
        "enforcing_consecutive_gateway_failure": 100,
        "split_external_local_origin_errors": true,
    });
    cluster["circuit_breakers"] = json!({ "thresholds": [{
        "priority": "DEFAULT",
        "retry_budget": { "budget_percent": { "value": 20.0 }, "min_retry_concurrency": 10 },
    }]});
    let session = json!({
        "name": "envoy.filters.http.stateful_session",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
            "session_state": {
                "name": "envoy.http.stateful_session.cookie",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState",
                    "cookie": { "name": "native-echo", "path": "/", "ttl": "10800s" },
                },
            },
        },
    });
    bootstrap.http_filters()?.insert(0, session);
    Ok(())
}

fn route(bootstrap: &mut Bootstrap) -> Result<&mut Value> {
    bootstrap
        .connection_manager()?
        .pointer_mut("/route_config/virtual_hosts/0/routes/0/route")
        .context("the connection manager has no route")
}

fn policy(name: &str, kind: &str) -> Value {
    json!({ "policies": [{ "typed_extension_config": {
        "name": format!("envoy.load_balancing_policies.{name}"),
        "typed_config": { "@type": kind },
    }}]})
}

/// Puts modules where the shipped configuration has its own.
fn place(bootstrap: &mut Bootstrap, modules: &[Module]) -> Result<()> {
    let template = Template::take(bootstrap.http_filters()?)?;
    for module in modules.iter().filter(|module| !module.is_upstream).rev() {
        let filter = template.with(
            module.name,
            &module.path()?,
            &module.configuration.to_string(),
        );
        bootstrap.http_filters()?.insert(template.at, filter);
    }
    let cluster = bootstrap.cluster(sticky::CLUSTER)?;
    let filters = cluster
        .pointer_mut(UPSTREAM_FILTERS)
        .and_then(Value::as_array_mut)
        .context("the cluster has no filters")?;
    let template = Template::take(filters)?;
    for module in modules.iter().filter(|module| module.is_upstream).rev() {
        let filter = template.with(
            module.name,
            &module.path()?,
            &module.configuration.to_string(),
        );
        filters.insert(template.at, filter);
    }
    // An upstream codec alone is what every cluster has.
    if filters.len() == 1
        && let Some(cluster) = cluster.as_object_mut()
    {
        cluster.remove("typed_extension_protocol_options");
    }
    Ok(())
}

/// Takes the shipped modules out of a configuration, and returns the listener's.
pub(super) fn template(bootstrap: &mut Bootstrap) -> Result<Template> {
    let template = Template::take(bootstrap.http_filters()?)?;
    if let Some(cluster) = bootstrap.cluster(sticky::CLUSTER)?.as_object_mut() {
        cluster.remove("typed_extension_protocol_options");
    }
    Ok(template)
}

/// The shipped module of a chain.
#[derive(Debug)]
pub(super) struct Template {
    /// Where it stood.
    at: usize,
    filter: Value,
}

impl Template {
    fn take(filters: &mut Vec<Value>) -> Result<Self> {
        let at = filters
            .iter()
            .position(|filter| filter["name"] == STICKY_SESSION)
            .context("the shipped configuration has no module")?;
        let filter = filters.remove(at);
        Ok(Self { at, filter })
    }

    /// Makes a filter of the shipped one: all but name, module and configuration stays.
    pub(super) fn with(&self, name: &str, module: &Path, configuration: &str) -> Value {
        let mut filter = self.filter.clone();
        filter["name"] = json!(name);
        let config = &mut filter["typed_config"]["config"];
        config["name"] = json!(name);
        config["root_id"] = json!(name);
        config["vm_config"]["code"]["local"]["filename"] = json!(module);
        config["configuration"]["value"] = json!(configuration);
        filter
    }
}
