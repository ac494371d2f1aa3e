//! The proxy: the driver's side of it.

mod builder;
mod connection;
mod error;
mod grpc;
mod input;
mod lookup;

pub use builder::ProxyBuilder;
pub use error::{InputError, OwnedLogLine, StartError};

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::observer::Observer;
use crate::output::{Output, PendingCall, StreamId};
use crate::report::{MetricKind, MetricValue, PluginCost, SharedEntry, VmInfo, VmState};
use crate::vm::run::Run;
use crate::world::streams::Iteration;
use crate::world::{Call, Home};

/// A proxy that runs Proxy-Wasm plugins, without sockets, threads or clocks.
///
/// Inputs come in through methods, outputs are polled with [`Self::poll_output`], time moves with
/// [`Self::advance_to`]. After each input drain the outputs of the stream to `None`. A value of this
/// type shares nothing with others: tests run in parallel.
///
/// # Examples
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tidegate_host::{
///     CloseReason, Engine, EngineOptions, HeaderMap, Module, Output, PluginConfig, Proxy,
///     StreamAttributes,
/// };
///
/// let engine = Engine::new(&EngineOptions::default())?;
/// let module = Module::compile(&engine, "my-filter", &std::fs::read("my_filter.wasm")?)?;
/// let mut proxy = Proxy::builder(&engine)
///     .filter(&module, PluginConfig::default())
///     .build()?;
/// let stream = proxy.open_stream(0, StreamAttributes::default())?;
/// let headers = HeaderMap::from([(":method", "GET"), (":path", "/"), (":authority", "a")]);
/// proxy.request_headers(stream, headers, true)?;
/// assert!(matches!(proxy.poll_output(stream), Some(Output::RequestHeaders { .. })));
/// proxy.response_headers(stream, HeaderMap::from([(":status", "200")]), true)?;
/// proxy.close_stream(stream, CloseReason::Complete)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Proxy {
    home: Home,
}

impl Proxy {
    /// Begins to put a proxy together. Modules must come from the same engine.
    pub fn builder(_engine: &Engine) -> ProxyBuilder {
        ProxyBuilder::new()
    }

    /// Virtual time in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.home.now_ns
    }

    /// When the next event is due; `None` if nothing waits.
    #[must_use]
    pub fn next_timer_ns(&self) -> Option<u64> {
        self.home.timers.next_ns()
    }

    /// Next thing that left the filter chain. `None`: nothing for now, or no such stream. A closed
    /// stream is forgotten with the first `None`.
    pub fn poll_output(&mut self, stream: StreamId) -> Option<Output> {
        let found = self.home.streams.get_mut(stream)?;
        let output = found.outputs.pop_front();
        if output.is_none() && found.closed {
            self.home.streams.remove(stream);
        }
        output
    }

    /// Whether a filter holds the request or the response back.
    #[must_use]
    pub fn is_paused(&self, stream: StreamId) -> bool {
        self.home.streams.get(stream).is_some_and(|stream| {
            !stream.finished
                && !stream.closed
                && stream.filters.iter().any(|filter| {
                    filter.request.iteration != Iteration::Continue
                        || filter.response.iteration != Iteration::Continue
                })
        })
    }

    /// Whether the stream takes no more inputs: its response is complete, or it was cut.
    #[must_use]
    pub fn is_finished(&self, stream: StreamId) -> bool {
        self.home
            .streams
            .get(stream)
            .is_none_or(|stream| stream.finished || stream.closed)
    }

    /// Whether a filter changed the request headers so that the proxy would choose the route again.
    #[must_use]
    pub fn route_cache_cleared(&self, stream: StreamId) -> bool {
        self.home
            .streams
            .get(stream)
            .is_some_and(|stream| stream.route_cache_cleared)
    }

    /// Value that a filter of the stream set with `proxy_set_property` under a path of one part.
    #[must_use]
    pub fn custom_property(&self, stream: StreamId, name: &str) -> Option<&[u8]> {
        let stream = self.home.streams.get(stream)?;
        let held = stream
            .custom
            .iter()
            .find(|held| held.path == name.as_bytes())?;
        Some(&held.value)
    }

    /// Objects that filters of the stream set with `set_envoy_filter_state`.
    pub fn filter_state(&self, stream: StreamId) -> impl Iterator<Item = (&str, &[u8])> {
        self.home
            .streams
            .get(stream)
            .into_iter()
            .flat_map(|stream| &stream.filter_state)
            .map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// Call-outs that wait for an answer, oldest first.
    pub fn pending_calls(&self) -> impl Iterator<Item = &PendingCall> {
        self.home
            .calls
            .values()
            .filter(|call| call.sent)
            .map(|call| &call.pending)
    }

    /// Takes note of the next call-out that waits for an answer and was not polled before; oldest first.
    pub fn poll_call(&mut self) -> Option<PendingCall> {
        if self.home.calls.len() == self.home.polled_calls {
            return None;
        }
        let next = |call: &&mut Call| call.sent && !call.polled && !call.answered;
        let call = self.home.calls.values_mut().find(next)?;
        call.polled = true;
        let pending = call.pending.clone();
        self.home.polled_calls = self.home.polled_calls.saturating_add(1);
        Some(pending)
    }

    /// Tells which endpoints a cluster has now. `false`: there is no such cluster.
    pub fn set_endpoints(&mut self, cluster: &str, endpoints: Vec<String>) -> bool {
        let config = self
            .home
            .clusters
            .get_mut(cluster)
            .and_then(|cluster| cluster.config.as_mut());
        config.is_some_and(|config| {
            config.endpoints = endpoints;
            true
        })
    }

    /// All metrics, by name.
    pub fn metrics(&self) -> impl Iterator<Item = (&str, MetricKind, MetricValue)> {
        self.home.metrics.iter()
    }

    /// Value of one metric.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<MetricValue> {
        self.metrics()
            .find(|(known, ..)| *known == name)
            .map(|(_, _, value)| value)
    }

    /// Counters of the proxy itself, under Envoy's names: how VMs were replaced after traps.
    #[must_use]
    pub fn stats(&self) -> BTreeMap<String, u64> {
        let mut stats = BTreeMap::new();
        for plugin in self.home.plugins.iter() {
            let reloads = plugin.reloads;
            for (event, count) in [
                ("backoff", reloads.backoff),
                ("failure", reloads.failure),
                ("success", reloads.success),
            ] {
                let name = format!("wasm.{}.vm_reload_{event}", plugin.config.name);
                let sum: &mut u64 = stats.entry(name).or_default();
                *sum = sum.saturating_add(count);
            }
        }
        stats
    }

    /// Shared data of a VM ID, by key.
    pub fn shared_data(&self, vm_id: &str) -> impl Iterator<Item = SharedEntry<'_>> {
        self.home
            .shared
            .entries(vm_id)
            .map(|(key, value, cas)| SharedEntry { key, value, cas })
    }

    /// What each plugin cost so far, in the order of the builder's calls.
    #[must_use]
    pub fn cost(&self) -> Vec<PluginCost> {
        self.home
            .plugins
            .iter()
            .map(|plugin| plugin.cost.report(&plugin.config.name))
            .collect()
    }

    /// Forgets the cost so far, for measuring a part of a run.
    pub fn reset_cost(&mut self) {
        for plugin in self.home.plugins.iter_mut() {
            plugin.cost = crate::world::cost::Cost::default();
        }
    }

    /// All VMs, in order of creation.
    #[must_use]
    pub fn vms(&self) -> Vec<VmInfo> {
        let world = &*self.home;
        world
            .slots
            .iter()
            .enumerate()
            .map(|(number, slot)| {
                let instance = world.instances.at(slot.instance);
                VmInfo {
                    vm: u32::try_from(number).unwrap_or(u32::MAX),
                    thread: world.thread(slot.thread),
                    plugins: slot
                        .plugins
                        .iter()
                        .map(|plugin| world.plugins.at(*plugin).config.name.clone())
                        .collect(),
                    state: match &instance.dead {
                        None => VmState::Running,
                        Some(message) => VmState::Dead(message.clone()),
                    },
                    memory_bytes: instance.memory_bytes,
                    memory_refused: instance.memory_refused,
                    // The context of the VM itself is no plugin's.
                    contexts: instance.contexts.len().saturating_sub(1),
                    reloads: slot.reloads,
                }
            })
            .collect()
    }

    /// Ends a VM, numbered as by [`Self::vms`], as if it had trapped in a tick; says whether it ran
    /// until now. What its streams meet afterwards is its plugin's fail policy.
    pub fn kill_vm(&mut self, vm: u32, message: &str) -> bool {
        let slot = usize::try_from(vm)
            .ok()
            .and_then(|vm| self.home.slots.get(vm));
        let Some(instance) = slot.map(|slot| slot.instance) else {
            return false;
        };
        Run::outside(&mut self.home).kill_in_tick(instance, message)
    }

    /// Linear memory of all running VMs in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.home
            .slots
            .iter()
            .map(|slot| self.home.instances.at(slot.instance))
            .filter(|instance| instance.dead.is_none())
            .map(|instance| instance.memory_bytes)
            .sum()
    }

    /// Replaces the observer and hands back the old one.
    pub fn set_observer(
        &mut self,
        observer: Option<Box<dyn Observer>>,
    ) -> Option<Box<dyn Observer>> {
        self.home.set_observer(observer)
    }

    /// Ends all root contexts as the proxy does when it stops: done, then delete. A guest that asks
    /// for time by answering false gets its delete when it calls `proxy_done`.
    pub fn shut_down(&mut self) {
        let world = &self.home;
        let is_service = |slot: &crate::world::Slot| {
            let mut plugins = slot.plugins.iter();
            plugins.all(|plugin| world.plugins.at(*plugin).singleton)
        };
        // The VM that came last goes first; services outlive filters.
        let (services, filters): (Vec<_>, Vec<_>) =
            world.slots.iter().rev().partition(|slot| is_service(slot));
        let instances: Vec<usize> = [filters, services]
            .concat()
            .iter()
            .map(|slot| slot.instance)
            .collect();
        let mut run = Run::outside(&mut self.home);
        for instance in instances {
            run.shut_down(instance);
        }
    }
}
