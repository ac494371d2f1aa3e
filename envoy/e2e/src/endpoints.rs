//! The shipped configurations that know their endpoints, with endpoints, discovery and an admin that tests can steer.
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that has no such field is null, not a panic"
)]

mod admin;
mod backend;
pub mod cost;
mod shipped;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bootstrap::Bootstrap;
use crate::clients::http::Client;
use crate::discovery::{Discovery, Health};
use crate::envoy::{Envoy, Scenario};
use crate::{sticky, wait};

pub use admin::{Admin, Play};
pub use backend::{Backend, Conduct, Grave, READY_PATH, Readiness};
pub use shipped::Shipped;

/// The cluster by which the plugin asks Envoy's admin.
pub const ADMIN_CLUSTER: &str = "envoy_admin";

/// Where tests let the plugin show its picture.
pub const STATUS_PATH: &str = "/tidegate/endpoints";

/// What is to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The configuration.
    pub shipped: Shipped,
    /// Replaces fields of the configuration itself, of both filters.
    pub fields: Value,
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
    /// Is sticky-session's configuration with probes of one second and this many backends, all of them members.
    #[must_use]
    pub fn of(backends: usize) -> Self {
        Self::shipped(Shipped::STICKY_SESSION, backends)
    }

    /// Is this configuration with probes of one second and this many backends, all of them members.
    #[must_use]
    pub fn shipped(shipped: Shipped, backends: usize) -> Self {
        Self {
            shipped,
            fields: json!({}),
            block: json!({
                "probe": { "interval": "1s", "timeout": "1s" },
                "status_path": STATUS_PATH,
            }),
            rule: json!({}),
            workers: 2,
            members: backends,
            backends,
        }
    }

    /// Replaces fields of the configuration itself.
    #[must_use]
    pub fn with_fields(mut self, fields: &Value) -> Self {
        merge(&mut self.fields, fields);
        self
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
        let mut bootstrap = plan.shipped.bootstrap(&discovery, admin.address())?;
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

    /// Returns when probes came to any of the backends, in order.
    #[must_use]
    pub fn probes(&self) -> Vec<Instant> {
        let probes = self.backends.iter().flat_map(Backend::probes);
        let mut times: Vec<Instant> = probes.map(|probe| probe.at).collect();
        times.sort_unstable();
        times
    }

    /// Starts another gateway in front of the same endpoints, configured alike.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub async fn another(&self) -> Result<Gateway> {
        let admin = Admin::start().await?;
        let mut scenario = self.envoy.scenario();
        scenario
            .bootstrap()
            .endpoints(ADMIN_CLUSTER, &[admin.address()])?;
        let envoy = Envoy::start(scenario).await?;
        admin.lead_to(envoy.admin_address());
        Ok(Gateway { envoy, admin })
    }

    /// Returns the picture as the plugin shows it to operators.
    ///
    /// # Errors
    /// It shows nothing, or something that is not JSON.
    pub async fn picture(&self) -> Result<Value> {
        picture(&self.envoy).await
    }

    /// Waits until all workers have these backends in these states, and no other endpoint.
    ///
    /// # Errors
    /// They do not get there in time; the text has the last picture.
    pub async fn picture_is(&self, wanted: &[(usize, &str)]) -> Result<()> {
        self.picture_of(&self.envoy, wanted).await
    }

    /// Waits as [`Rig::picture_is`], for an Envoy in front of the same endpoints.
    ///
    /// # Errors
    /// As [`Rig::picture_is`].
    pub async fn picture_of(&self, envoy: &Envoy, wanted: &[(usize, &str)]) -> Result<()> {
        let expected: BTreeMap<SocketAddr, String> = wanted
            .iter()
            .filter_map(|(index, state)| {
                Some((self.backends.get(*index)?.address(), (*state).to_owned()))
            })
            .collect();
        // Each look is a connection of its own, which the kernel gives to one of the workers: with two of them, this many looks
        // miss one once in two million.
        let mut looks = 0;
        let mut last = String::new();
        let outcome = wait::until("the picture is as expected", async || {
            let states = states(envoy).await?;
            looks = if states == expected { looks + 1 } else { 0 };
            last = format!("{states:?}");
            Ok((looks > 20).then_some(()))
        });
        let outcome = outcome.await;
        outcome.with_context(|| format!("expected {expected:?}, the last picture is {last}"))
    }
}

/// Another Envoy, and what its plugin takes for its admin.
#[derive(Debug)]
pub struct Gateway {
    /// Envoy.
    pub envoy: Envoy,
    /// What the plugin takes for its admin.
    pub admin: Admin,
}

/// Returns the picture as the plugin of an Envoy shows it to operators.
async fn picture(envoy: &Envoy) -> Result<Value> {
    let answer = Client::new(envoy.listener("edge")?)
        .get(STATUS_PATH)
        .await?;
    serde_json::from_slice(&answer.body)
        .with_context(|| format!("{}: {}", answer.status, answer.text()))
}

/// Returns the state of each endpoint of the cluster, by its address, as one of the workers has it; nothing where that worker has
/// no picture.
async fn states(envoy: &Envoy) -> Result<BTreeMap<SocketAddr, String>> {
    let picture = picture(envoy).await?;
    let clusters = picture["clusters"].as_array().into_iter().flatten();
    let endpoints = clusters
        .filter(|cluster| cluster["cluster"] == sticky::CLUSTER)
        .flat_map(|cluster| cluster["endpoints"].as_array().into_iter().flatten());
    endpoints
        .map(|endpoint| {
            let address = endpoint["address"].as_str().context("no address")?;
            let state = endpoint["state"].as_str().context("no state")?;
            Ok((address.parse()?, state.to_owned()))
        })
        .collect()
}

/// Writes a plan's configuration into all filters of ours.
fn configure(bootstrap: &mut Bootstrap, plan: &Plan) -> Result<()> {
    bootstrap.configure_everywhere(plan.shipped.filter, &mut |configuration| {
        merge(configuration, &plan.fields);
        if let Some(block) = configuration.get_mut("endpoints") {
            merge(block, &plan.block);
        }
        if let Some(rule) = configuration.pointer_mut(plan.shipped.rule) {
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
