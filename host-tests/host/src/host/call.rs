//! One call of a host function: the guest's memory, its budget, what observers are told.

use std::sync::Arc;

use wasmtime::{AsContextMut as _, Caller, Memory, StoreContextMut};

use super::HostFunction;
use crate::observer::{HostCall, VmEvent};
use crate::status::Status;
use crate::vm::guest::{Guest, Phase};
use crate::vm::instance::Context;

/// How a host function ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The guest gets this status.
    Status(Status),
    /// The guest is stopped.
    Trap(wasmtime::Error),
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// Turns a status into the result of a host function.
pub(crate) const fn answer(status: Status) -> Result<(), Stop> {
    match status {
        Status::Ok => Ok(()),
        status => Err(Stop::Status(status)),
    }
}

/// What a call costs at least, in bytes of work: so a loop of cheap calls ends, too.
const WORK_PER_CALL: u64 = 64;

/// A call that is under way.
pub(crate) struct Call<'a> {
    caller: Caller<'a, Guest>,
    memory: Memory,
    function: HostFunction,
}

impl<'a> Call<'a> {
    pub(super) fn begin(
        mut caller: Caller<'a, Guest>,
        function: HostFunction,
    ) -> wasmtime::Result<Self> {
        let guest = caller.data_mut();
        let instance = guest.world.instances.at(guest.instance);
        if instance.observed {
            let plugin = instance.context().plugin;
            if guest.world.plugins.get(plugin).is_some() {
                guest.world.plugins.at_mut(plugin).cost.host_call(function);
            }
        }
        if !allowed(guest.phase, function) {
            let when = if guest.phase == Phase::Start {
                "while the module starts"
            } else {
                "while the guest allocates for the host"
            };
            return Err(wasmtime::Error::msg(format!(
                "host function `{}` cannot be called {when}",
                function.name()
            )));
        }
        guest.work(WORK_PER_CALL)?;
        if guest.world.wants_host_calls {
            guest.world.note.clear();
        }
        let memory = guest.memory.ok_or_else(|| {
            wasmtime::Error::msg(format!(
                "host function `{}` was called before the module's memory was there",
                function.name()
            ))
        })?;
        Ok(Self {
            caller,
            memory,
            function,
        })
    }

    /// Whether the plugin may not use the function.
    #[inline]
    pub(super) fn is_denied(&self) -> bool {
        self.caller.data().denied.has(self.function)
    }

    /// What the call answers if a test lets it fail.
    #[inline]
    pub(super) fn fault(&mut self) -> Option<Status> {
        let guest = self.caller.data_mut();
        if guest.world.faults.is_empty() {
            return None;
        }
        let world = &mut *guest.world;
        let plugin = world.instances.at(guest.instance).context().plugin;
        let name = world
            .plugins
            .get(plugin)
            .map_or("", |plugin| &plugin.config.name);
        let now_ns = world.now_ns;
        // Each of them counts the call.
        let met = world
            .faults
            .iter_mut()
            .map(|fault| fault.meets(self.function, name, now_ns));
        met.fold(None, Option::or)
    }

    /// Ends a call that the plugin may not make; hands back the answer.
    pub(super) fn end_denied(&mut self, answer: i32) -> i32 {
        self.end(answer);
        let function = self.function.name();
        let guest = self.caller.data_mut();
        let context = guest.world.instances.at(guest.instance).context();
        guest
            .world
            .vm_event(guest.instance, context, |place| VmEvent::Denied {
                place,
                function,
            });
        answer
    }

    pub(super) fn end(&mut self, status: i32) {
        let guest = self.caller.data_mut();
        if !guest.world.wants_host_calls {
            return;
        }
        let note = std::mem::take(&mut guest.world.note);
        let context = guest.world.instances.at(guest.instance).context();
        guest
            .world
            .observe(guest.instance, context, |observer, place| {
                observer.host_call(HostCall {
                    place,
                    name: self.function.name(),
                    arguments: &note,
                    status,
                });
            });
        guest.world.note = note;
    }

    /// The guest's memory and the rest.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&mut [u8], &mut Guest) {
        self.memory.data_and_store_mut(&mut self.caller)
    }

    #[inline]
    pub(crate) fn guest(&mut self) -> &mut Guest {
        self.caller.data_mut()
    }

    pub(crate) fn store(&mut self) -> StoreContextMut<'_, Guest> {
        self.caller.as_context_mut()
    }

    /// The context that the call is for.
    #[inline]
    pub(crate) fn context(&self) -> Context {
        let guest = self.caller.data();
        guest.world.instances.at(guest.instance).context()
    }

    /// Describes the arguments for an observer that wants them.
    pub(crate) fn note(&mut self, describe: impl FnOnce(&mut String)) {
        let world = &mut self.guest().world;
        if world.wants_host_calls {
            let mut note = std::mem::take(&mut world.note);
            describe(&mut note);
            self.guest().world.note = note;
        }
    }

    /// Describes an argument that is text in the guest's memory.
    pub(crate) fn note_text(&mut self, prefix: &str, data: i32, size: i32) {
        if !self.guest().world.wants_host_calls {
            return;
        }
        let (memory, guest) = self.parts();
        if let Ok(text) = bytes(memory, data, size) {
            let shown = text.get(..text.len().min(128)).unwrap_or_default();
            let note = &mut guest.world.note;
            if !note.is_empty() {
                note.push_str(", ");
            }
            note.push_str(prefix);
            note.push_str(&shown.escape_ascii().to_string());
        }
    }

    pub(crate) fn write_u32(&mut self, at: i32, value: u32) -> Result<(), Stop> {
        let (memory, _) = self.parts();
        write(memory, at, &value.to_le_bytes())
    }

    pub(crate) fn write_u64(&mut self, at: i32, value: u64) -> Result<(), Stop> {
        let (memory, _) = self.parts();
        write(memory, at, &value.to_le_bytes())
    }

    /// Lets the guest allocate.
    pub(crate) fn allocate(&mut self, size: usize) -> Result<u32, Stop> {
        let size = u32::try_from(size).map_err(|_| Status::InvalidMemoryAccess)?;
        let guest = self.caller.data_mut();
        let exports = Arc::clone(&guest.exports);
        let Some(allocate) = &exports.allocate else {
            return Err(Stop::Status(Status::InvalidMemoryAccess));
        };
        let phase = std::mem::replace(&mut guest.phase, Phase::Allocate);
        let address = allocate.call(&mut self.caller, size.cast_signed());
        self.caller.data_mut().phase = phase;
        let address = address.map_err(Stop::Trap)?.cast_unsigned();
        if address == 0 {
            return Err(Stop::Status(Status::InvalidMemoryAccess));
        }
        Ok(address)
    }

    /// Gives bytes to the guest: it allocates, and gets pointer and size. No bytes: pointer 0.
    pub(crate) fn give(&mut self, data: &[u8], pointer: i32, size: i32) -> Result<(), Stop> {
        self.guest().work(data.len() as u64)?;
        let address = if data.is_empty() {
            0
        } else {
            let address = self.allocate(data.len())?;
            let (memory, _) = self.parts();
            write(memory, address.cast_signed(), data)?;
            address
        };
        self.write_u32(pointer, address)?;
        self.write_u32(size, u32::try_from(data.len()).unwrap_or(u32::MAX))
    }

    /// Puts a value together in the host's scratch buffer and gives it to the guest.
    pub(crate) fn give_with(
        &mut self,
        pointer: i32,
        size: i32,
        fill: impl FnOnce(&mut Self, &mut Vec<u8>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut scratch = std::mem::take(&mut self.guest().world.scratch);
        scratch.clear();
        let given = fill(self, &mut scratch).and_then(|()| self.give(&scratch, pointer, size));
        self.guest().world.scratch = scratch;
        given
    }
}

impl Guest {
    /// Charges work that the host does for the guest.
    #[inline]
    pub(crate) fn work(&mut self, bytes: u64) -> wasmtime::Result<()> {
        match self.budget.host_work.checked_sub(bytes) {
            Some(left) => {
                self.budget.host_work = left;
                Ok(())
            }
            None => Err(wasmtime::Error::msg(format!(
                "host work limit: one callback made the host move more than {} bytes",
                self.limits.host_work_per_callback
            ))),
        }
    }

    /// Charges bytes that the host keeps for the guest, with something for what keeps them.
    pub(crate) fn keep(&mut self, bytes: usize) -> Result<(), Stop> {
        const PER_ENTRY: u64 = 64;
        let bytes = (bytes as u64).saturating_add(PER_ENTRY);
        self.work(bytes)?;
        match self.budget.host_bytes.checked_sub(bytes) {
            Some(left) => {
                self.budget.host_bytes = left;
                Ok(())
            }
            None => Err(Stop::Trap(wasmtime::Error::msg(format!(
                "host memory limit: one callback made the host keep more than {} bytes",
                self.limits.host_bytes_per_callback
            )))),
        }
    }
}

impl From<wasmtime::Error> for Stop {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

/// A part of the guest's memory.
#[inline]
pub(crate) fn bytes(memory: &[u8], data: i32, size: i32) -> Result<&[u8], Stop> {
    let start = data.cast_unsigned() as usize;
    start
        .checked_add(size.cast_unsigned() as usize)
        .and_then(|end| memory.get(start..end))
        .ok_or(Stop::Status(Status::InvalidMemoryAccess))
}

/// Writes into the guest's memory.
#[inline]
pub(crate) fn write(memory: &mut [u8], at: i32, data: &[u8]) -> Result<(), Stop> {
    let start = at.cast_unsigned() as usize;
    start
        .checked_add(data.len())
        .and_then(|end| memory.get_mut(start..end))
        .ok_or(Stop::Status(Status::InvalidMemoryAccess))?
        .copy_from_slice(data);
    Ok(())
}

/// SOURCE: the lists of proxy-wasm-cpp-host for start functions and for allocation.
fn allowed(phase: Phase, function: HostFunction) -> bool {
    use HostFunction as F;
    match phase {
        Phase::Callback => true,
        Phase::Start => {
            function == F::Log
                || (function as usize >= F::FdWrite as usize
                    && !matches!(
                        function,
                        F::FdRead
                            | F::FdSeek
                            | F::FdClose
                            | F::PathOpen
                            | F::SchedYield
                            | F::ProcExit
                    ))
        }
        Phase::Allocate => matches!(
            function,
            F::Log | F::FdWrite | F::ClockTimeGet | F::PollOneoff
        ),
    }
}
