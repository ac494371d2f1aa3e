//! How VMs come to be and how they end, as the proxy does it.
//!
//! For each plugin: a base VM per VM key (its start functions run, nothing else), a canary that
//! starts and configures the plugin and is dropped, then one VM per thread. Plugins with one VM key
//! share the VM of a thread; each has its own root context in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use wasmtime::{AsContextMut as _, Store};

use crate::callback::CallbackKind;
use crate::observer::VmEvent;
use crate::vm::exports::Exports;
use crate::vm::guest::{Budget, Denied, Guest, Limiter, Phase};
use crate::vm::instance::{Action, Context, ContextMap, Instance, Root, Shutdown};
use crate::vm::run::{Called, Run};
use crate::world::metrics::MetricIds;
use crate::world::{Home, PluginThread, Slot, VmKey};

/// Why a plugin did not start.
#[derive(Debug)]
pub(crate) enum StartFailure {
    Rejected {
        callback: &'static str,
    },
    Trapped {
        callback: &'static str,
        message: String,
    },
    Instantiate {
        message: String,
    },
}

impl StartFailure {
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Rejected { callback } => format!("{callback} answered false"),
            Self::Trapped { callback, message } => format!("{callback}: {message}"),
            Self::Instantiate { message } => message.clone(),
        }
    }
}

impl Run<'_> {
    pub(crate) fn vm_key(&self, plugin: usize) -> VmKey {
        let plugin = self.plugins.at(plugin);
        VmKey {
            vm_id: plugin.config.vm_id.clone(),
            vm_configuration: plugin.config.vm_configuration.clone(),
            environment: plugin.config.environment.clone(),
            code: plugin.module.shared.digest,
            capabilities: plugin.config.allowed_capabilities.iter().cloned().collect(),
        }
    }

    /// Runs the base VM, when it is the first plugin of its VM key, and the canary, unless an earlier
    /// plugin's was the same.
    pub(crate) fn check_plugin(
        &mut self,
        plugin: usize,
        earlier: &[usize],
    ) -> Result<(), StartFailure> {
        let key = self.vm_key(plugin);
        let main = self.workers;
        let known = earlier.iter().any(|other| self.vm_key(*other) == key);
        if !known {
            let base = self.instantiate(plugin, usize::MAX, main, false)?;
            self.drop_instance(base);
        }
        let same_canary = earlier.iter().any(|other| {
            self.vm_key(*other) == key && self.plugins.at(*other).key == self.plugins.at(plugin).key
        });
        if !same_canary {
            let canary = self.instantiate(plugin, usize::MAX, main, false)?;
            let started = self.start_root(plugin, canary);
            self.drop_instance(canary);
            started?;
        }
        Ok(())
    }

    /// Starts a plugin on a thread.
    pub(crate) fn start_plugin(&mut self, plugin: usize, thread: u32) -> Result<(), StartFailure> {
        let here = self.load_plugin(plugin, thread)?;
        if let Some(place) = self.plugins.at_mut(plugin).threads.get_mut(thread as usize) {
            *place = Some(here);
        }
        Ok(())
    }

    pub(super) fn load_plugin(
        &mut self,
        plugin: usize,
        thread: u32,
    ) -> Result<PluginThread, StartFailure> {
        let key = self.vm_key(plugin);
        let known = self
            .slots
            .iter()
            .position(|slot| slot.thread == thread && slot.key == key);
        let slot = match known {
            Some(slot) if !self.is_dead(self.slots.at(slot).instance) => slot,
            Some(slot) => {
                let instance = self.instantiate(plugin, slot, thread, true)?;
                let place = self.slots.at_mut(slot);
                place.instance = instance;
                place.reloads = place.reloads.saturating_add(1);
                slot
            }
            None => {
                let slot = self.slots.len();
                let instance = self.instantiate(plugin, slot, thread, true)?;
                self.slots.push(Slot {
                    thread,
                    key,
                    plugins: BTreeSet::new(),
                    instance,
                    reloads: 0,
                });
                slot
            }
        };
        self.slots.at_mut(slot).plugins.insert(plugin);
        let instance = self.slots.at(slot).instance;
        let plugin_key = &self.plugins.at(plugin).key;
        let shared_root = self
            .instances
            .at(instance)
            .roots
            .iter()
            .find(|root| self.plugins.at(root.plugin).key == *plugin_key)
            .map(|root| root.id);
        let root = match shared_root {
            Some(root) => root,
            None => match self.start_root(plugin, instance) {
                Ok(root) => root,
                Err(failure) => {
                    self.forget_failed(plugin, instance);
                    return Err(failure);
                }
            },
        };
        Ok(PluginThread {
            instance,
            root,
            loaded_ns: self.now_ns,
        })
    }

    /// A root context that did not start is nobody's, and so is a VM that has no other.
    fn forget_failed(&mut self, plugin: usize, instance: usize) {
        let target = self.instances.at_mut(instance);
        if let Some(at) = target.roots.iter().rposition(|root| root.plugin == plugin) {
            let root = target.roots.remove(at);
            target.contexts.remove(&root.id);
        }
        if target.roots.is_empty() && target.dead.is_none() {
            self.drop_instance(instance);
        }
    }

    /// Makes a VM and runs the module's own start functions.
    fn instantiate(
        &mut self,
        plugin: usize,
        slot: usize,
        thread: u32,
        observed: bool,
    ) -> Result<usize, StartFailure> {
        let module = self.plugins.at(plugin).module.clone();
        let config = &self.plugins.at(plugin).config;
        let limits = config.limits;
        let abi = module.shared.abi;
        let denied = Denied::of(config);
        let vm_id = config.vm_id.clone();
        let space = self.shared.space(&vm_id);
        let number = self.instances.len();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        // Each VM draws from a stream of its own, so that none depends on how others interleave.
        rng.set_stream((number as u64).saturating_add(1));
        let guest = Guest {
            world: Home::default(),
            instance: number,
            memory: None,
            exports: Arc::new(Exports::default()),
            limiter: Limiter {
                memory_bytes: limits.memory_bytes,
                refused: 0,
                wanted: None,
            },
            phase: Phase::Start,
            budget: Budget::of(&limits),
            limits,
            abi,
            denied,
        };
        let mut store = Box::new(Store::new(module.shared.code.engine(), guest));
        store.limiter(|guest| &mut guest.limiter);
        let _ = store.set_fuel(limits.fuel_per_callback);
        let context = Context {
            id: 0,
            plugin,
            root: 0,
            stream: None,
        };
        let mut contexts = ContextMap::default();
        contexts.insert(0, context);
        let instance = self.instances.push(Instance {
            slot,
            thread,
            observed,
            store: None,
            exports: Arc::default(),
            starting: false,
            dead: None,
            contexts,
            next_context: 1,
            current: context,
            effective: 0,
            actions: VecDeque::new(),
            stop_iteration: false,
            ticks: BTreeMap::new(),
            roots: Vec::new(),
            metrics: MetricIds::default(),
            next_http_call: 0,
            next_grpc_call: 0,
            next_grpc_stream: 0,
            // SOURCE: Envoy counts on from 1.
            last_lookup: 1,
            rng,
            space,
            memory_bytes: 0,
            memory_refused: 0,
        });
        // A module's start section may call the host: the world has to be there.
        store.data_mut().world = self.take_home();
        let made = module.shared.linked.instantiate(store.as_context_mut());
        let home = store.data_mut().world.take();
        self.put_home(home);
        let failed = |message: String| StartFailure::Instantiate { message };
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                let message = format!("{error:#}");
                self.instances.at_mut(instance).dead = Some(message.clone());
                return Err(failed(message));
            }
        };
        let config = &self.plugins.at(plugin).config;
        let exports = Exports::of(&made, store.as_context_mut(), abi, |name| {
            config.allows(name)
        });
        let exports = Arc::new(exports);
        let memory = made.get_memory(store.as_context_mut(), "memory");
        let guest = store.data_mut();
        guest.memory = memory;
        guest.exports = Arc::clone(&exports);
        guest.phase = Phase::Callback;
        let target = self.instances.at_mut(instance);
        target.exports = exports;
        target.memory_bytes = memory.map_or(0, |memory| memory.data_size(&*store) as u64);
        target.store = Some(store);
        self.run_start_functions(instance, context)?;
        if observed {
            self.vm_event(instance, context, |place| VmEvent::Started { place });
        }
        Ok(instance)
    }

    fn run_start_functions(&mut self, instance: usize, vm: Context) -> Result<(), StartFailure> {
        let initialized = self.call(
            instance,
            CallbackKind::Initialize,
            vm,
            |exports| exports.initialize.as_ref(),
            (),
        );
        self.started(instance, CallbackKind::Initialize, &initialized)?;
        if initialized == Called::Missing {
            let started = self.call(
                instance,
                CallbackKind::Start,
                vm,
                |exports| exports.start.as_ref(),
                (),
            );
            return self.started(instance, CallbackKind::Start, &started);
        }
        let main = self.call(
            instance,
            CallbackKind::Main,
            vm,
            |exports| exports.main.as_ref(),
            (0, 0),
        );
        self.started(instance, CallbackKind::Main, &main)?;
        if main == Called::Missing {
            let main = self.call(
                instance,
                CallbackKind::MainVoid,
                vm,
                |exports| exports.main_void.as_ref(),
                (),
            );
            self.started(instance, CallbackKind::MainVoid, &main)?;
        }
        Ok(())
    }

    fn started<R>(
        &self,
        instance: usize,
        kind: CallbackKind,
        called: &Called<R>,
    ) -> Result<(), StartFailure> {
        if !matches!(called, Called::Failed) {
            return Ok(());
        }
        let message = self.instances.at(instance).dead.clone();
        let prefix = format!("{}: ", kind.name());
        let message = message.unwrap_or_else(|| "callbacks nest too deep".to_owned());
        Err(StartFailure::Trapped {
            callback: kind.name(),
            message: message
                .strip_prefix(&prefix)
                .map_or(message.clone(), str::to_owned),
        })
    }

    /// Creates, starts and configures a plugin's root context.
    fn start_root(&mut self, plugin: usize, instance: usize) -> Result<u32, StartFailure> {
        self.instances.at_mut(instance).starting = true;
        let started = self.configure_root(plugin, instance);
        self.instances.at_mut(instance).starting = false;
        started
    }

    fn configure_root(&mut self, plugin: usize, instance: usize) -> Result<u32, StartFailure> {
        let id = self.instances.at_mut(instance).register(plugin, None, None);
        self.instances.at_mut(instance).roots.push(Root {
            id,
            plugin,
            configuring: true,
            last_buffer: u32::MAX,
            ..Root::default()
        });
        let context = Context {
            id,
            plugin,
            root: id,
            stream: None,
        };
        let raw = id.cast_signed();
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).cast_signed();
        let config = &self.plugins.at(plugin).config;
        let vm_size = size(&config.vm_configuration);
        let plugin_size = size(&config.configuration);
        let created = self.call(
            instance,
            CallbackKind::ContextCreate,
            context,
            |exports| exports.context_create.as_ref(),
            (raw, 0),
        );
        self.started(instance, CallbackKind::ContextCreate, &created)?;
        self.set_configuring(instance, id, false);
        let started = self.call(
            instance,
            CallbackKind::VmStart,
            context,
            |exports| exports.vm_start.as_ref(),
            (raw, vm_size),
        );
        self.after_call(instance);
        self.accepted(instance, CallbackKind::VmStart, &started)?;
        self.set_configuring(instance, id, true);
        let configured = self.call(
            instance,
            CallbackKind::Configure,
            context,
            |exports| exports.configure.as_ref(),
            (raw, plugin_size),
        );
        self.after_call(instance);
        self.set_configuring(instance, id, false);
        self.accepted(instance, CallbackKind::Configure, &configured)?;
        Ok(id)
    }

    fn set_configuring(&mut self, instance: usize, root: u32, configuring: bool) {
        if let Some(root) = self.instances.at_mut(instance).root_mut(root) {
            root.configuring = configuring;
        }
    }

    fn accepted(
        &self,
        instance: usize,
        kind: CallbackKind,
        called: &Called<i32>,
    ) -> Result<(), StartFailure> {
        self.started(instance, kind, called)?;
        if *called == Called::Returned(0) {
            return Err(StartFailure::Rejected {
                callback: kind.name(),
            });
        }
        Ok(())
    }

    fn drop_instance(&mut self, instance: usize) {
        let world = &mut **self;
        let target = world.instances.at_mut(instance);
        target.store = None;
        if target.dead.is_none() {
            target.dead = Some("it was a trial".to_owned());
        }
        world.cancel_all(instance);
    }

    /// Ends all root contexts of a VM, the last one first: done, then delete unless the guest asks for
    /// time.
    pub(crate) fn shut_down(&mut self, instance: usize) {
        let ids: Vec<u32> = self
            .instances
            .at(instance)
            .roots
            .iter()
            .rev()
            .filter(|root| root.shutdown == Shutdown::Alive)
            .map(|root| root.id)
            .collect();
        for id in ids {
            let Some(context) = self.instances.at(instance).contexts.get(&id).copied() else {
                continue;
            };
            let done = self.call(
                instance,
                CallbackKind::Done,
                context,
                |exports| exports.done.as_ref(),
                id.cast_signed(),
            );
            let pending = done == Called::Returned(0);
            if let Some(root) = self.instances.at_mut(instance).root_mut(id) {
                root.shutdown = if pending {
                    Shutdown::Pending
                } else {
                    Shutdown::Over
                };
            }
            if !pending {
                let actions = &mut self.instances.at_mut(instance).actions;
                actions.push_back(Action::DeleteRoot { root: id });
            }
            self.after_call(instance);
        }
    }

    /// Tells the guest that a root context is gone.
    pub(crate) fn delete_root(&mut self, instance: usize, root: u32) {
        let world = &mut **self;
        let target = world.instances.at_mut(instance);
        if let Some(due) = target.ticks.remove(&root).and_then(|tick| tick.due) {
            world.timers.remove(due);
        }
        let Some(context) = target.contexts.get(&root).copied() else {
            return;
        };
        self.call(
            instance,
            CallbackKind::Delete,
            context,
            |exports| exports.delete.as_ref(),
            root.cast_signed(),
        );
        self.instances.at_mut(instance).contexts.remove(&root);
    }
}
