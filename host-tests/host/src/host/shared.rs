//! Shared data and queues.

use std::fmt::Write as _;

use super::call::{Call, Stop, answer, bytes};
use crate::status::Status;
use crate::vm::instance::Context;
use crate::world::World;
use crate::world::shared::Owner;
use crate::world::timers::Event;

/// How long a notification travels to another thread. Not instant, so that two guests that notify
/// each other for ever let time go on.
const NOTIFICATION_NS: u64 = 10_000;

fn vm_id<'a>(world: &'a World, context: &Context) -> &'a str {
    world
        .plugins
        .get(context.plugin)
        .map_or("", |plugin| plugin.config.vm_id.as_str())
}

pub(super) fn set_data(
    call: &mut Call<'_>,
    key: i32,
    key_size: i32,
    value: i32,
    value_size: i32,
    cas: i32,
) -> Result<(), Stop> {
    call.note_text("", key, key_size);
    call.note(|note| {
        let _ = write!(
            note,
            ", {} bytes, cas {}",
            value_size.cast_unsigned(),
            cas.cast_unsigned()
        );
    });
    let (memory, guest) = call.parts();
    let key = bytes(memory, key, key_size)?;
    let value = bytes(memory, value, value_size)?;
    guest.keep(key.len().saturating_add(value.len()))?;
    let world = &mut *guest.world;
    let space = world.instances.at(guest.instance).space;
    answer(
        world
            .shared
            .set(world.rules, space, key, value, cas.cast_unsigned()),
    )
}

pub(super) fn get_data(
    call: &mut Call<'_>,
    key: i32,
    key_size: i32,
    value: i32,
    value_size: i32,
    cas: i32,
) -> Result<(), Stop> {
    call.note_text("", key, key_size);
    let mut found_cas = 0;
    call.give_with(value, value_size, |call, scratch| {
        let (memory, guest) = call.parts();
        let key = bytes(memory, key, key_size)?;
        let space = guest.world.instances.at(guest.instance).space;
        let (found, number) = guest.world.shared.get(space, key).ok_or(Status::NotFound)?;
        scratch.extend_from_slice(found);
        found_cas = number;
        Ok(())
    })?;
    call.write_u32(cas, found_cas)
}

pub(super) fn register_queue(
    call: &mut Call<'_>,
    name: i32,
    name_size: i32,
    id: i32,
) -> Result<(), Stop> {
    call.note_text("", name, name_size);
    let context = call.context();
    let (memory, guest) = call.parts();
    let name = bytes(memory, name, name_size)?;
    guest.keep(name.len())?;
    let owner = Owner {
        slot: guest.world.instances.at(guest.instance).slot,
        root: context.root,
    };
    let world = &mut *guest.world;
    let own = vm_id(world, &context).to_owned();
    let token = world.queues.register(&own, name, owner);
    call.write_u32(id, token)
}

pub(super) fn resolve_queue(
    call: &mut Call<'_>,
    vm: i32,
    vm_size: i32,
    name: i32,
    name_size: i32,
    id: i32,
) -> Result<(), Stop> {
    call.note_text("", vm, vm_size);
    call.note_text("", name, name_size);
    let context = call.context();
    let (memory, guest) = call.parts();
    let vm = bytes(memory, vm, vm_size)?;
    let name = bytes(memory, name, name_size)?;
    let world = &*guest.world;
    let token = if vm.is_empty() {
        world.queues.resolve(vm_id(world, &context), name)
    } else {
        let vm = std::str::from_utf8(vm).map_err(|_| Status::NotFound)?;
        world.queues.resolve(vm, name)
    };
    call.write_u32(id, token.ok_or(Status::NotFound)?)
}

pub(super) fn enqueue(
    call: &mut Call<'_>,
    id: i32,
    value: i32,
    value_size: i32,
) -> Result<(), Stop> {
    let id = id.cast_unsigned();
    call.note(|note| {
        let _ = write!(note, "queue {id}, {} bytes", value_size.cast_unsigned());
    });
    let (memory, guest) = call.parts();
    let value = bytes(memory, value, value_size)?;
    guest.keep(value.len())?;
    answer(push(&mut guest.world, id, value))
}

/// Puts a message into a queue and plans the notification of its owner.
pub(crate) fn push(world: &mut World, token: u32, message: &[u8]) -> Status {
    let Some(owner) = world.queues.enqueue(token, message) else {
        return Status::NotFound;
    };
    // A canary's registration has no thread to be told on.
    if world.slots.get(owner.slot).is_some() {
        let at_ns = world.now_ns.saturating_add(NOTIFICATION_NS);
        let instance = world.slots.at(owner.slot).instance;
        let event = Event::QueueReady {
            slot: owner.slot,
            root: owner.root,
            token,
        };
        world.plan(at_ns, instance, event);
    }
    Status::Ok
}

pub(super) fn dequeue(
    call: &mut Call<'_>,
    id: i32,
    value: i32,
    value_size: i32,
) -> Result<(), Stop> {
    let id = id.cast_unsigned();
    call.note(|note| {
        let _ = write!(note, "queue {id}");
    });
    let message = call.guest().world.queues.dequeue(id)?;
    call.give(&message, value, value_size)
}
