//! Calls into VMs.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use wasmtime::{AsContextMut, StoreContextMut, Trap, TypedFunc, WasmParams, WasmResults};

use crate::callback::CallbackKind;
use crate::observer::{Callback, VmEvent};
use crate::vm::exports::Exports;
use crate::vm::guest::{Budget, Guest, Phase};
use crate::vm::instance::{Action, Context};
use crate::world::{Home, World};

/// Callbacks that may run inside each other. Envoy has no bound but its stack; a guest that nests
/// this deep is recursing.
const MAX_DEPTH: u32 = 16;

/// The world together with the way into the VM that is running, if one is: that VM's store is on
/// the stack of whoever called it, so it is re-entered through the caller's handle.
pub(crate) struct Run<'a> {
    home: &'a mut Home,
    inner: Option<(usize, StoreContextMut<'a, Guest>)>,
}

/// What became of a callback.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Called<R> {
    /// The module has no such export.
    Missing,
    /// It returned.
    Returned(R),
    /// It trapped, or the VM was dead, or could not be entered.
    Failed,
}

impl<'a> Run<'a> {
    /// Nothing runs.
    pub(crate) const fn outside(home: &'a mut Home) -> Self {
        Self { home, inner: None }
    }

    /// A host function of `instance` runs.
    pub(crate) const fn inside(
        home: &'a mut Home,
        instance: usize,
        store: StoreContextMut<'a, Guest>,
    ) -> Self {
        Self {
            home,
            inner: Some((instance, store)),
        }
    }

    /// Moves the world out, for a store that is not in the list yet.
    pub(crate) fn take_home(&mut self) -> Home {
        self.home.take()
    }

    /// Puts the world back.
    pub(crate) fn put_home(&mut self, home: Home) {
        *self.home = home;
    }

    pub(crate) fn is_dead(&self, instance: usize) -> bool {
        self.instances.at(instance).dead.is_some()
    }

    /// Calls a callback of a context. Afterwards what the guest asked for is still to be done: see
    /// [`Self::after_call`].
    pub(crate) fn call<P: WasmParams, R: WasmResults + Copy + Into<Returned>>(
        &mut self,
        instance: usize,
        kind: CallbackKind,
        context: Context,
        pick: impl FnOnce(&Exports) -> Option<&TypedFunc<P, R>>,
        params: P,
    ) -> Called<R> {
        let target = self.instances.at_mut(instance);
        if target.dead.is_some() {
            return Called::Failed;
        }
        let exports = Arc::clone(&target.exports);
        let Some(function) = pick(&exports) else {
            return Called::Missing;
        };
        if self.depth >= MAX_DEPTH {
            return Called::Failed;
        }
        let target = self.instances.at_mut(instance);
        let outer = (
            std::mem::replace(&mut target.current, context),
            std::mem::replace(&mut target.effective, 0),
        );
        self.depth = self.depth.saturating_add(1);
        let phase = match kind {
            CallbackKind::Initialize
            | CallbackKind::Main
            | CallbackKind::MainVoid
            | CallbackKind::Start => Phase::Start,
            _ => Phase::Callback,
        };
        let entered = self.enter(instance, |store| metered(store, phase, function, params));
        self.depth = self.depth.saturating_sub(1);
        let target = self.instances.at_mut(instance);
        (target.current, target.effective) = outer;
        let Some(metered) = entered else {
            // The VM waits further out on the stack for a call into another VM to return.
            return Called::Failed;
        };
        target.memory_refused = metered.memory_refused;
        let observed = target.observed;
        if observed && let Some(plugin) = self.plugins.get(context.plugin).map(|_| context.plugin) {
            self.plugins
                .at_mut(plugin)
                .cost
                .callback(kind, metered.fuel);
        }
        if let Some(wanted_bytes) = metered.memory_wanted {
            self.vm_event(instance, context, |place| VmEvent::MemoryRefused {
                place,
                wanted_bytes,
            });
        }
        let returned = metered.outcome.as_ref().ok().copied();
        if self.wants_callbacks {
            self.observe(instance, context, |observer, place| {
                observer.callback(Callback {
                    place,
                    name: kind.name(),
                    fuel: metered.fuel,
                    returned: returned.and_then(|value| value.into().0),
                });
            });
        }
        match metered.outcome {
            // A callback that ran inside this one may have killed the VM.
            Ok(_) if self.is_dead(instance) => Called::Failed,
            Ok(value) => Called::Returned(value),
            Err(error) => {
                let message = describe(&error, kind, metered.fuel_limit);
                self.kill(instance, context, kind, message);
                Called::Failed
            }
        }
    }

    /// Runs `f` with the VM's store while the world is inside it. `None`: the VM is further out on
    /// the stack.
    fn enter<T>(
        &mut self,
        instance: usize,
        f: impl FnOnce(&mut StoreContextMut<'_, Guest>) -> T,
    ) -> Option<T> {
        if let Some((running, store)) = &mut self.inner
            && *running == instance
        {
            store.data_mut().world = self.home.take();
            let result = f(store);
            *self.home = store.data_mut().world.take();
            return Some(result);
        }
        let mut store = self.home.instances.at_mut(instance).store.take()?;
        store.data_mut().world = self.home.take();
        let result = f(&mut store.as_context_mut());
        *self.home = store.data_mut().world.take();
        let memory_bytes = memory_bytes(&mut store.as_context_mut());
        let target = self.home.instances.at_mut(instance);
        target.memory_bytes = memory_bytes;
        if target.dead.is_none() {
            target.store = Some(store);
        }
        Some(result)
    }

    /// Ends a VM from outside as a trap in a tick would, and says whether it ran.
    pub(crate) fn kill_in_tick(&mut self, instance: usize, message: &str) -> bool {
        let target = self.instances.at(instance);
        if target.dead.is_some() {
            return false;
        }
        let context = Context {
            id: target.roots.first().map_or(0, |root| root.id),
            ..target.current
        };
        self.kill(instance, context, CallbackKind::Tick, message.to_owned());
        self.collect_calls();
        true
    }

    /// Ends a VM: all its contexts are gone, its timers and call-outs with them.
    fn kill(&mut self, instance: usize, context: Context, kind: CallbackKind, message: String) {
        self.observe(instance, context, |observer, place| {
            observer.vm(VmEvent::Trapped {
                place,
                callback: kind.name(),
                message: &message,
            });
        });
        let world = &mut **self.home;
        let target = world.instances.at_mut(instance);
        if target.dead.is_none() {
            target.dead = Some(format!("{}: {message}", kind.name()));
        }
        // An inner store is dropped by whoever holds it further out.
        target.store = None;
        world.cancel_all(instance);
    }

    /// Does what the guest asked for during a callback, in the order of its asking.
    pub(crate) fn after_call(&mut self, instance: usize) {
        self.instances.at_mut(instance).stop_iteration = false;
        while let Some(action) = self.instances.at_mut(instance).actions.pop_front() {
            match action {
                Action::Continue {
                    stream,
                    filter,
                    direction,
                } => self.continue_filter(stream, filter, direction),
                Action::Reset { stream } => self.reset_stream(stream),
                Action::LocalReply { stream, reply } => self.send_local_reply(stream, reply),
                Action::DeleteRoot { root } => self.delete_root(instance, root),
                Action::ContinueConnection { connection, filter } => {
                    self.continue_connection(connection, filter);
                }
                Action::CloseConnection {
                    connection,
                    details,
                } => self.shut_connection(connection, details),
                Action::GrpcClosed {
                    root,
                    token,
                    status,
                    message,
                } => self.tell_grpc_close(instance, root, token, status, &message),
            }
        }
    }
}

impl Deref for Run<'_> {
    type Target = World;

    #[inline]
    fn deref(&self) -> &World {
        self.home
    }
}

impl DerefMut for Run<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut World {
        self.home
    }
}

/// What a callback returns, if it returns anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Returned(pub(crate) Option<i32>);

impl From<i32> for Returned {
    fn from(value: i32) -> Self {
        Self(Some(value))
    }
}

impl From<()> for Returned {
    fn from((): ()) -> Self {
        Self(None)
    }
}

/// A callback and what it used.
struct Metered<R> {
    outcome: wasmtime::Result<R>,
    fuel: u64,
    fuel_limit: u64,
    memory_refused: u64,
    memory_wanted: Option<u64>,
}

/// Calls with a full tank and full budgets; those of an outer callback are put back afterwards.
fn metered<P: WasmParams, R: WasmResults>(
    store: &mut StoreContextMut<'_, Guest>,
    phase: Phase,
    function: &TypedFunc<P, R>,
    params: P,
) -> Metered<R> {
    let guest = store.data_mut();
    let fuel_limit = guest.limits.fuel_per_callback;
    let outer_budget = std::mem::replace(&mut guest.budget, Budget::of(&guest.limits));
    let outer_phase = std::mem::replace(&mut guest.phase, phase);
    let outer_fuel = store.get_fuel().unwrap_or(0);
    let outcome = store
        .set_fuel(fuel_limit)
        .and_then(|()| function.call(&mut *store, params));
    let fuel = fuel_limit.saturating_sub(store.get_fuel().unwrap_or(0));
    let _ = store.set_fuel(outer_fuel);
    let guest = store.data_mut();
    guest.budget = outer_budget;
    guest.phase = outer_phase;
    Metered {
        outcome,
        fuel,
        fuel_limit,
        memory_refused: guest.limiter.refused,
        memory_wanted: guest.limiter.wanted.take(),
    }
}

fn memory_bytes(store: &mut StoreContextMut<'_, Guest>) -> u64 {
    let memory = store.data().memory;
    memory.map_or(0, |memory| memory.data_size(&*store) as u64)
}

/// Puts a trap into words.
fn describe(error: &wasmtime::Error, kind: CallbackKind, fuel_limit: u64) -> String {
    if error.downcast_ref::<Trap>() == Some(&Trap::OutOfFuel) {
        return format!(
            "out of fuel: callback `{}` ran more than {fuel_limit} units",
            kind.name()
        );
    }
    format!("{error:#}").trim().to_owned()
}
