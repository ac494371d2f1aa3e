//! Putting a proxy together.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::{Proxy, StartError};
use crate::config::{ClusterConfig, PluginConfig, Profile};
use crate::fault::{Fault, HostFault};
use crate::foreign::ForeignFunction;
use crate::host::properties::Node;
use crate::module::Module;
use crate::observer::{LogLevel, Observer};
use crate::profile::Rules;
use crate::status::Status;
use crate::table::Table;
use crate::vm::lifecycle::StartFailure;
use crate::vm::run::Run;
use crate::world::cost::Cost;
use crate::world::{Cluster, Home, Plugin, Reloads, World};

/// 2023-11-14T22:13:20Z: a round number that is not mistaken for a small one.
const START_NS: u64 = 1_700_000_000_000_000_000;

/// Where a plugin runs.
#[derive(Clone, Debug)]
enum Position {
    Listener,
    Network,
    Upstream(String),
    Singleton,
}

/// Collects what a proxy consists of.
#[must_use = "call `build`"]
pub struct ProxyBuilder {
    workers: u32,
    seed: u64,
    start_ns: u64,
    plugins: Vec<(Position, Module, PluginConfig)>,
    clusters: Vec<ClusterConfig>,
    node: Node,
    log_level: LogLevel,
    shuffle: bool,
    profile: Profile,
    observer: Option<Box<dyn Observer>>,
    foreign: BTreeMap<String, ForeignFunction>,
    faults: Vec<HostFault>,
}

impl std::fmt::Debug for ProxyBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyBuilder")
            .field("workers", &self.workers)
            .field("seed", &self.seed)
            .field("plugins", &self.plugins.len())
            .finish_non_exhaustive()
    }
}

impl ProxyBuilder {
    pub(super) fn new() -> Self {
        Self {
            workers: 1,
            seed: 0,
            start_ns: START_NS,
            plugins: Vec::new(),
            clusters: Vec::new(),
            node: Node::default(),
            log_level: LogLevel::default(),
            shuffle: false,
            profile: Profile::default(),
            observer: None,
            foreign: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    /// Number of worker threads; 1 without this.
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// Seed of all randomness; 0 without this.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Virtual time at start, in nanoseconds since the Unix epoch; 2023-11-14T22:13:20Z without this.
    pub fn start_time_ns(mut self, start_time_ns: u64) -> Self {
        self.start_ns = start_time_ns;
        self
    }

    /// The proxy to behave like where the specification and Envoy differ; Envoy without this.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Adds a plugin to the listener's filter chain: requests pass the plugins in the order of these
    /// calls, responses in the reverse order.
    pub fn filter(mut self, module: &Module, config: PluginConfig) -> Self {
        self.plugins
            .push((Position::Listener, module.clone(), config));
        self
    }

    /// Adds a plugin to the listener's network filters: a client's bytes pass the plugins in the order of
    /// these calls, the upstream's in the reverse order.
    pub fn network_filter(mut self, module: &Module, config: PluginConfig) -> Self {
        self.plugins
            .push((Position::Network, module.clone(), config));
        self
    }

    /// Adds a plugin to the upstream filter chain of a cluster.
    pub fn upstream_filter(mut self, cluster: &str, module: &Module, config: PluginConfig) -> Self {
        self.plugins.push((
            Position::Upstream(cluster.to_owned()),
            module.clone(),
            config,
        ));
        self
    }

    /// Adds a singleton service: one VM on the main thread, no streams.
    pub fn singleton(mut self, module: &Module, config: PluginConfig) -> Self {
        self.plugins
            .push((Position::Singleton, module.clone(), config));
        self
    }

    /// Adds a cluster that call-outs can name.
    pub fn cluster(mut self, cluster: ClusterConfig) -> Self {
        self.clusters.push(cluster);
        self
    }

    /// Node ID and node cluster: properties `xds.node.id` and `xds.node.cluster`.
    pub fn node(mut self, id: &str, cluster: &str) -> Self {
        self.node = Node {
            id: id.to_owned(),
            cluster: cluster.to_owned(),
        };
        self
    }

    /// Level that `proxy_get_log_level` tells; lines below it reach no observer. Trace without this.
    pub fn log_level(mut self, level: LogLevel) -> Self {
        self.log_level = level;
        self
    }

    /// Draws the order of events that are due at the same instant from the seed. Without this it is
    /// thread, VM, kind.
    pub fn shuffle_simultaneous(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// Sets the observer; there is one.
    pub fn observer(mut self, observer: Box<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Adds a function that guests call by name with `proxy_call_foreign_function`; it takes the
    /// place of one of Envoy's with that name.
    pub fn foreign_function(
        mut self,
        name: &str,
        function: impl FnMut(&[u8]) -> Result<Vec<u8>, Status> + Send + 'static,
    ) -> Self {
        self.foreign
            .insert(name.to_owned(), ForeignFunction(Box::new(function)));
        self
    }

    /// Lets calls of a host function fail.
    pub fn fault(mut self, fault: HostFault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Starts all VMs as the proxy does: a base VM and a canary per plugin, then one VM for the main
    /// thread and one per worker.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn build(self) -> Result<Proxy, StartError> {
        if self.workers == 0 {
            return Err(StartError::BadSetup(
                "a proxy needs at least one worker".to_owned(),
            ));
        }
        let mut faults = Vec::with_capacity(self.faults.len());
        for fault in self.faults {
            let name = fault.function.clone();
            faults.push(Fault::new(fault).ok_or_else(|| {
                StartError::BadSetup(format!("there is no host function `{name}` that can fail"))
            })?);
        }
        let mut clusters: BTreeMap<String, Cluster> = BTreeMap::new();
        for config in self.clusters {
            let name = config.name.clone();
            let cluster = Cluster {
                config: Some(config),
                chain: None,
            };
            if clusters.insert(name.clone(), cluster).is_some() {
                return Err(StartError::BadSetup(format!(
                    "cluster `{name}` is declared twice"
                )));
            }
        }
        // Clusters start before listeners, and services after both.
        let mut order: Vec<usize> = (0..self.plugins.len()).collect();
        order.sort_by_key(|index| match self.plugins.get(*index) {
            Some((Position::Upstream(_), ..)) => 0,
            Some((Position::Singleton, ..)) => 2,
            _ => 1,
        });
        let mut chains = Table::default();
        let listener = chains.push(Vec::new());
        let network = chains.push(Vec::new());
        let mut plugins = Table::default();
        for (position, module, config) in self.plugins {
            let threads = (self.workers as usize).saturating_add(1);
            let key = (
                config.name.clone(),
                config.root_id.clone(),
                config.configuration.clone(),
            );
            let index = plugins.push(Plugin {
                config,
                module,
                singleton: matches!(position, Position::Singleton),
                key,
                threads: vec![None; threads],
                cost: Cost::default(),
                reloads: Reloads::default(),
            });
            match position {
                Position::Listener => chains.at_mut(listener).push(index),
                Position::Network => chains.at_mut(network).push(index),
                Position::Upstream(cluster) => {
                    let cluster = clusters.entry(cluster).or_default();
                    let chain = *cluster.chain.get_or_insert_with(|| chains.push(Vec::new()));
                    chains.at_mut(chain).push(index);
                }
                Position::Singleton => {}
            }
        }
        let mut world = World {
            now_ns: self.start_ns,
            start_ns: self.start_ns,
            seed: self.seed,
            shuffle: self.shuffle,
            rng: ChaCha8Rng::seed_from_u64(self.seed),
            workers: self.workers,
            rules: Rules::of(self.profile),
            plugins,
            chains,
            clusters,
            slots: Table::default(),
            instances: Table::default(),
            streams: crate::world::streams::Streams::default(),
            calls: BTreeMap::new(),
            next_call: 0,
            polled_calls: 0,
            faults,
            grpc: BTreeMap::new(),
            lookups: BTreeMap::new(),
            next_lookup: 0,
            timers: crate::world::timers::Timers::default(),
            shared: crate::world::shared::SharedData::default(),
            queues: crate::world::shared::Queues::default(),
            metrics: crate::world::metrics::Metrics::default(),
            foreign: self.foreign,
            node: self.node,
            log_level: self.log_level,
            observer: None,
            wants_host_calls: false,
            wants_callbacks: false,
            wants_trials: false,
            start_logs: None,
            scratch: Vec::new(),
            note: String::new(),
            depth: 0,
        };
        world.set_observer(self.observer);
        let mut home = Home::new(world);
        start(&mut Run::outside(&mut home), &order)?;
        home.start_logs = None;
        Ok(Proxy { home })
    }
}

/// Starts the plugins in their order: on the main thread as each is loaded, on the workers once all
/// are.
fn start(run: &mut Run<'_>, order: &[usize]) -> Result<(), StartError> {
    let main = run.workers;
    for (position, plugin) in order.iter().copied().enumerate() {
        run.start_logs = Some(Vec::new());
        let earlier = order.get(..position).unwrap_or_default();
        run.check_plugin(plugin, earlier)
            .and_then(|()| run.start_plugin(plugin, main))
            .map_err(|failure| explain(run, plugin, failure))?;
    }
    for worker in 0..main {
        for plugin in order.iter().copied() {
            if run.plugins.at(plugin).singleton {
                continue;
            }
            run.start_logs = Some(Vec::new());
            run.start_plugin(plugin, worker)
                .map_err(|failure| explain(run, plugin, failure))?;
        }
    }
    Ok(())
}

fn explain(run: &mut Run<'_>, plugin: usize, failure: StartFailure) -> StartError {
    let logs = run.start_logs.take().unwrap_or_default();
    let plugin = run.plugins.at(plugin).config.name.clone();
    match failure {
        StartFailure::Rejected { callback } => StartError::Rejected {
            plugin,
            callback,
            logs,
        },
        StartFailure::Trapped { callback, message } => StartError::Trapped {
            plugin,
            callback,
            message,
            logs,
        },
        StartFailure::Instantiate { message } => StartError::Instantiate { plugin, message },
    }
}
