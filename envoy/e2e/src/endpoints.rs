//! The shipped configuration that knows its endpoints, with endpoints, discovery and an admin that tests can steer.

mod admin;
mod backend;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bootstrap::{Bootstrap, STICKY_SESSION};
use crate::clients::http::Client;
use crate::discovery::{Discovery, Health};
use crate::envoy::{Envoy, Scenario};
use crate::sticky;

pub use admin::{Admin, Play};
pub use backend::{Backend, READY_PATH, Readiness};

/// The shipped configuration.
pub const BOOTSTRAP: &str = "sticky-session-endpoints";

/// The cluster by which the plugin asks Envoy's admin.
pub const ADMIN_CLUSTER: &str = "envoy_admin";

/// Where tests let the plugin show its picture.
pub const STATUS_PATH: &str = "/tidegate/endpoints";

/// What is to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Replaces fields of the `endpoints` block, of both filters.
    pub block: Value,
    /// Replaces fields of the rule of the cluster.
    pub rule: Value,
    /// How many workers Envoy has.
    pub workers: u32,
    /// The members at the start: the first so many of the backends.
    pub members: usize,
    /// How many backends there are.
    pub backends: usize,
}

impl Plan {
    /// Is the shipped configuration with probes of one second and this many backends, all of them members.
    #[must_use]
    pub fn of(backends: usize) -> Self {
        Self {
            block: json!({ "probe": { "interval": "1s", "timeout": "1s" } }),
            rule: json!({}),
            workers: 2,
            members: backends,
            backends,
        }
    }

    /// Replaces fields of the `endpoints` block.
    #[must_use]
    pub fn with_block(mut self, block: &Value) -> Self {
        merge(&mut self.block, block);
        self
    }

    /// Replaces fields of the cluster's rule.
    #[must_use]
    pub fn with_rule(mut self, rule: &Value) -> Self {
        merge(&mut self.rule, rule);
        self
    }

    /// Makes the first so many of the backends members at the start.
    #[must_use]
    pub fn with_members(mut self, members: usize) -> Self {
        self.members = members;
        self
    }
}

/// An Envoy that knows its endpoints, and all that it knows them from.
#[derive(Debug)]
pub struct Rig {
    /// Envoy.
    pub envoy: Envoy,
    /// The endpoints, members or not.
    pub backends: Vec<Backend>,
    /// What says who is a member.
    pub discovery: Discovery,
    /// What the plugin takes for Envoy's admin.
    pub admin: Admin,
    _folder: TempDir,
}

impl Rig {
    /// Starts everything.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub async fn start(plan: &Plan) -> Result<Self> {
        Self::start_edited(plan, |_| Ok(())).await
    }

    /// Starts everything, after `edit` changed the configuration.
    ///
    /// # Errors
    /// As [`Envoy::start`], or those of `edit`.
    pub async fn start_edited(
        plan: &Plan,
        edit: impl FnOnce(&mut Bootstrap) -> Result<()>,
    ) -> Result<Self> {
        let mut backends = Vec::new();
        for _ in 0..plan.backends {
            backends.push(Backend::start().await?);
        }
        let folder = tempfile::tempdir()?;
        let discovery = Discovery::new(sticky::CLUSTER, folder.path());
        let members = backends.iter().take(plan.members);
        let members: Vec<_> = members
            .map(|backend| (backend.address(), Health::Healthy))
            .collect();
        discovery.publish(&members)?;
        let admin = Admin::start().await?;
        let mut bootstrap = bootstrap(&discovery, admin.address())?;
        configure(&mut bootstrap, plan)?;
        edit(&mut bootstrap)?;
        let scenario = Scenario::new(bootstrap)
            .concurrency(plan.workers)
            .variable(sticky::KEYS_VARIABLE, sticky::TRIAL_KEYS);
        let envoy = Envoy::start(scenario).await?;
        admin.lead_to(envoy.admin_address());
        Ok(Self {
            envoy,
            backends,
            discovery,
            admin,
            _folder: folder,
        })
    }

    /// Stops Envoy and starts it again, as it was configured.
    ///
    /// # Errors
    /// As [`Envoy::restart`].
    pub async fn restart(&mut self) -> Result<()> {
        self.envoy.restart().await?;
        self.admin.lead_to(self.envoy.admin_address());
        Ok(())
    }

    /// Says who the members are from now on: backends by their position.
    ///
    /// # Errors
    /// As [`Discovery::publish`].
    pub fn publish(&self, members: &[(usize, Health)]) -> Result<()> {
        let members = members.iter().map(|(index, health)| {
            let backend = self.backends.get(*index).context("no such backend")?;
            Ok((backend.address(), *health))
        });
        self.discovery
            .publish(&members.collect::<Result<Vec<_>>>()?)
    }

    /// Returns a client without cookies.
    ///
    /// # Errors
    /// Envoy has no listener.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::new(self.envoy.listener("edge")?))
    }

    /// Returns the picture as the plugin shows it to operators; the plan must have given it [`STATUS_PATH`].
    ///
    /// # Errors
    /// It shows nothing, or something that is not JSON.
    pub async fn picture(&self) -> Result<Value> {
        let answer = self.client()?.get(STATUS_PATH).await?;
        serde_json::from_slice(&answer.body)
            .with_context(|| format!("{}: {}", answer.status, answer.text()))
    }
}

/// Returns the shipped configuration with this discovery, and with this server for Envoy's admin.
///
/// # Errors
/// The module cannot be built, or the file is not what it was.
pub fn bootstrap(discovery: &Discovery, admin: SocketAddr) -> Result<Bootstrap> {
    let mut bootstrap = Bootstrap::shipped(BOOTSTRAP)?;
    bootstrap.discovered(sticky::CLUSTER, discovery)?;
    bootstrap.endpoints(ADMIN_CLUSTER, &[admin])?;
    bootstrap.module_everywhere(STICKY_SESSION, &sticky::module()?);
    Ok(bootstrap)
}

/// Writes a plan's configuration into both filters.
fn configure(bootstrap: &mut Bootstrap, plan: &Plan) -> Result<()> {
    bootstrap.configure_everywhere(STICKY_SESSION, &mut |configuration| {
        if let Some(block) = configuration.get_mut("endpoints") {
            merge(block, &plan.block);
        }
        if let Some(rule) = configuration.pointer_mut("/clusters/0") {
            merge(rule, &plan.rule);
        }
    })
}

/// Writes the fields of `from` over those of `into`, objects within objects too; `source` has one field only, and is replaced.
fn merge(into: &mut Value, from: &Value) {
    let (Value::Object(into), Value::Object(from)) = (&mut *into, from) else {
        from.clone_into(into);
        return;
    };
    for (name, value) in from {
        match into.get_mut(name) {
            Some(known) if name != "source" => merge(known, value),
            _ => {
                into.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Is how long the documented thresholds let an endpoint that fails its probes be used: two further intervals with their jitter, the
/// last time-out and the ticks of leader and workers.
pub const NOTICED_AFTER: Duration = Duration::from_secs(16);
