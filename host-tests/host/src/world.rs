//! Everything that the VMs of one proxy share. It is a value: it moves into the store of the VM that
//! is being called and comes back, so host functions reach it without locks, and two proxies in one
//! process never meet.

pub(crate) mod cost;
pub(crate) mod grpc;
pub(crate) mod metrics;
pub(crate) mod shared;
pub(crate) mod streams;
pub(crate) mod timers;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::config::{ClusterConfig, PluginConfig};
use crate::fault::Fault;
use crate::foreign::ForeignFunction;
use crate::grpc::GrpcId;
use crate::host::properties::Node;
use crate::lookup::{LookupId, PendingLookup};
use crate::module::Module;
use crate::observer::{LogLevel, LogLine, Observer, Place, VmEvent};
use crate::output::{CallId, PendingCall, StreamId, Thread};
use crate::profile::Rules;
use crate::proxy::OwnedLogLine;
use crate::table::Table;
use crate::vm::instance::{CallResponse, Context, Instance};
use crate::world::cost::Cost;
use crate::world::grpc::Grpc;
use crate::world::metrics::Metrics;
use crate::world::shared::{Queues, SharedData};
use crate::world::streams::Streams;
use crate::world::timers::{Due, Event, Timers};

/// What the VMs share.
pub(crate) struct World {
    pub(crate) now_ns: u64,
    pub(crate) start_ns: u64,
    pub(crate) seed: u64,
    pub(crate) shuffle: bool,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) workers: u32,
    /// How the proxy of the profile answers.
    pub(crate) rules: &'static Rules,
    pub(crate) plugins: Table<Plugin>,
    /// The listener's HTTP filters are the first, its network filters the second; clusters with upstream
    /// filters have one each.
    pub(crate) chains: Table<Vec<usize>>,
    pub(crate) clusters: BTreeMap<String, Cluster>,
    pub(crate) slots: Table<Slot>,
    pub(crate) instances: Table<Instance>,
    pub(crate) streams: Streams,
    pub(crate) calls: BTreeMap<CallId, Call>,
    pub(crate) next_call: u64,
    /// Calls that a driver has polled and not answered yet.
    pub(crate) polled_calls: usize,
    pub(crate) faults: Vec<Fault>,
    pub(crate) grpc: BTreeMap<GrpcId, Grpc>,
    pub(crate) lookups: BTreeMap<LookupId, Lookup>,
    pub(crate) next_lookup: u64,
    pub(crate) timers: Timers,
    pub(crate) shared: SharedData,
    pub(crate) queues: Queues,
    pub(crate) metrics: Metrics,
    pub(crate) foreign: BTreeMap<String, ForeignFunction>,
    pub(crate) node: Node,
    pub(crate) log_level: LogLevel,
    pub(crate) observer: Option<Box<dyn Observer>>,
    pub(crate) wants_host_calls: bool,
    pub(crate) wants_callbacks: bool,
    pub(crate) wants_trials: bool,
    /// Lines of the plugin that is starting, for the error if it does not.
    pub(crate) start_logs: Option<Vec<OwnedLogLine>>,
    /// Host bytes that a value is put together in before the guest allocates for it.
    pub(crate) scratch: Vec<u8>,
    /// Arguments of the host call that is running, when an observer wants them.
    pub(crate) note: String,
    /// Callbacks that run inside each other.
    pub(crate) depth: u32,
}

/// A plugin of the configuration.
pub(crate) struct Plugin {
    pub(crate) config: PluginConfig,
    pub(crate) module: Module,
    /// Whether it runs on the main thread only.
    pub(crate) singleton: bool,
    /// Plugins with one key share a root context in a VM.
    pub(crate) key: (String, String, Vec<u8>),
    /// Per thread: workers in order, then the main thread.
    pub(crate) threads: Vec<Option<PluginThread>>,
    pub(crate) cost: Cost,
    pub(crate) reloads: Reloads,
}

/// How a plugin's VMs were replaced, or not, on all threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reloads {
    pub(crate) backoff: u64,
    pub(crate) failure: u64,
    pub(crate) success: u64,
}

/// A plugin on one thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PluginThread {
    pub(crate) instance: usize,
    pub(crate) root: u32,
    pub(crate) loaded_ns: u64,
}

/// A place for a VM: one per VM key and thread. A reload puts another instance into it.
pub(crate) struct Slot {
    pub(crate) thread: u32,
    pub(crate) key: VmKey,
    pub(crate) plugins: BTreeSet<usize>,
    pub(crate) instance: usize,
    pub(crate) reloads: u64,
}

/// What makes two plugins share a VM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct VmKey {
    pub(crate) vm_id: String,
    pub(crate) vm_configuration: Vec<u8>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) code: [u8; 32],
    /// SOURCE: part of Envoy's VM key since 1.40.
    pub(crate) capabilities: BTreeSet<String>,
}

/// A cluster that call-outs can name, or that has upstream filters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    /// `None` when only upstream filters were declared for the name.
    pub(crate) config: Option<ClusterConfig>,
    pub(crate) chain: Option<usize>,
}

/// A call-out that is under way.
pub(crate) struct Call {
    pub(crate) instance: usize,
    pub(crate) root: u32,
    pub(crate) token: u32,
    pub(crate) timer: Option<Due>,
    /// The stream through the cluster's upstream filters.
    pub(crate) attempt: Option<StreamId>,
    pub(crate) pending: PendingCall,
    /// Whether the request left the upstream filters, so that it can be answered.
    pub(crate) sent: bool,
    /// Whether the driver has polled it.
    pub(crate) polled: bool,
    /// Whether the upstream's answer came in.
    pub(crate) answered: bool,
    /// What of the answer has passed the upstream filters.
    pub(crate) answer: Option<CallResponse>,
}

/// A lookup that waits for its answer.
pub(crate) struct Lookup {
    pub(crate) instance: usize,
    pub(crate) root: u32,
    pub(crate) pending: PendingLookup,
}

impl World {
    pub(crate) fn thread(&self, index: u32) -> Thread {
        if index < self.workers {
            Thread::Worker(index)
        } else {
            Thread::Main
        }
    }

    /// The name of the plugin of a root context, and the thread that its VM is on.
    pub(crate) fn caller(&self, instance: usize, root: u32) -> (String, Thread) {
        let instance = self.instances.at(instance);
        let plugin = instance
            .root(root)
            .and_then(|root| self.plugins.get(root.plugin));
        let name = plugin.map(|plugin| plugin.config.name.clone());
        (name.unwrap_or_default(), self.thread(instance.thread))
    }

    fn salt(&mut self) -> u64 {
        if self.shuffle { self.rng.next_u64() } else { 0 }
    }

    /// Plans an event of an instance.
    pub(crate) fn plan(&mut self, at_ns: u64, instance: usize, event: Event) -> Due {
        let salt = self.salt();
        let instance = self.instances.at(instance);
        self.timers
            .add(at_ns, salt, instance.thread, instance.slot, event)
    }

    /// Forgets the call-outs and ticks of an instance.
    pub(crate) fn cancel_all(&mut self, instance: usize) {
        for tick in std::mem::take(&mut self.instances.at_mut(instance).ticks).into_values() {
            if let Some(due) = tick.due {
                self.timers.remove(due);
            }
        }
        let timers = &mut self.timers;
        self.calls.retain(|_, call| {
            let keep = call.instance != instance;
            if !keep && let Some(due) = call.timer {
                timers.remove(due);
            }
            keep
        });
        self.polled_calls = self.calls.values().filter(|call| call.polled).count();
        self.grpc.retain(|_, call| {
            let keep = call.instance != instance;
            if !keep && let Some(due) = call.timer {
                timers.remove(due);
            }
            keep
        });
        self.lookups.retain(|_, lookup| lookup.instance != instance);
    }

    /// Where something happens, for observers.
    pub(crate) fn place<'a>(
        plugins: &'a Table<Plugin>,
        instance: &Instance,
        context: &Context,
        now_ns: u64,
        workers: u32,
    ) -> Place<'a> {
        Place {
            at_ns: now_ns,
            plugin: plugins
                .get(context.plugin)
                .map_or("", |plugin| plugin.config.name.as_str()),
            thread: if instance.thread < workers {
                Thread::Worker(instance.thread)
            } else {
                Thread::Main
            },
            vm: u32::try_from(instance.slot).unwrap_or(u32::MAX),
            context: context.id,
            stream: context.stream.map(|(stream, _)| stream),
        }
    }

    /// Hands the observer something about an instance.
    pub(crate) fn observe(
        &mut self,
        instance: usize,
        context: Context,
        tell: impl FnOnce(&mut dyn Observer, Place<'_>),
    ) {
        let Some(observer) = self.observer.as_deref_mut() else {
            return;
        };
        let instance = self.instances.at(instance);
        if !instance.observed && !self.wants_trials {
            return;
        }
        let place = Self::place(&self.plugins, instance, &context, self.now_ns, self.workers);
        tell(observer, place);
    }

    /// Hands the observer an event of a VM.
    pub(crate) fn vm_event(
        &mut self,
        instance: usize,
        context: Context,
        event: impl FnOnce(Place<'_>) -> VmEvent<'_>,
    ) {
        self.observe(instance, context, |observer, place| {
            observer.vm(event(place))
        });
    }

    /// A guest's log line.
    pub(crate) fn log(
        &mut self,
        instance: usize,
        context: Context,
        level: LogLevel,
        message: &[u8],
    ) {
        if level < self.log_level {
            return;
        }
        if let Some(lines) = &mut self.start_logs {
            lines.push(OwnedLogLine {
                level,
                message: message.to_vec(),
            });
        }
        self.observe(instance, context, |observer, place| {
            observer.log(LogLine {
                place,
                level,
                message,
            });
        });
    }

    pub(crate) fn set_observer(
        &mut self,
        observer: Option<Box<dyn Observer>>,
    ) -> Option<Box<dyn Observer>> {
        self.wants_host_calls = observer.as_ref().is_some_and(|it| it.wants_host_calls());
        self.wants_callbacks = observer.as_ref().is_some_and(|it| it.wants_callbacks());
        self.wants_trials = observer.as_ref().is_some_and(|it| it.wants_trials());
        std::mem::replace(&mut self.observer, observer)
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("now_ns", &self.now_ns)
            .field("workers", &self.workers)
            .field("vms", &self.slots.len())
            .finish_non_exhaustive()
    }
}

/// The place of a world: it is either here or in the store of the VM that is being called.
#[derive(Debug, Default)]
pub(crate) struct Home(Option<Box<World>>);

impl Home {
    pub(crate) fn new(world: World) -> Self {
        Self(Some(Box::new(world)))
    }

    /// Moves the world out.
    pub(crate) fn take(&mut self) -> Self {
        Self(self.0.take())
    }
}

impl Deref for Home {
    type Target = World;

    #[inline]
    #[expect(
        clippy::unreachable,
        reason = "INVARIANT: who calls into a VM moves the world there and back before anything else"
    )]
    fn deref(&self) -> &World {
        match &self.0 {
            Some(world) => world,
            None => unreachable!("the world is in another VM"),
        }
    }
}

impl DerefMut for Home {
    #[inline]
    #[expect(
        clippy::unreachable,
        reason = "INVARIANT: who calls into a VM moves the world there and back before anything else"
    )]
    fn deref_mut(&mut self) -> &mut World {
        match &mut self.0 {
            Some(world) => world,
            None => unreachable!("the world is in another VM"),
        }
    }
}
