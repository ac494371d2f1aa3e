//! Metrics.

use std::fmt::Write as _;

use super::call::{Call, Stop, answer, bytes};
use crate::status::Status;

pub(super) fn define(
    call: &mut Call<'_>,
    kind: i32,
    name: i32,
    name_size: i32,
    id: i32,
) -> Result<(), Stop> {
    call.note(|note| {
        let _ = write!(note, "kind {}", kind.cast_unsigned());
    });
    call.note_text("", name, name_size);
    let (memory, guest) = call.parts();
    let name = bytes(memory, name, name_size)?;
    guest.keep(name.len())?;
    let world = &mut *guest.world;
    let ids = &mut world.instances.at_mut(guest.instance).metrics;
    let defined = world
        .metrics
        .define(ids, kind.cast_unsigned(), name)
        .ok_or(Status::BadArgument)?;
    call.write_u32(id, defined)
}

pub(super) fn record(call: &mut Call<'_>, id: i32, value: i64) -> Result<(), Stop> {
    let (id, value) = (id.cast_unsigned(), value.cast_unsigned());
    call.note(|note| {
        let _ = write!(note, "metric {id}, {value}");
    });
    let guest = call.guest();
    let world = &mut *guest.world;
    let ids = &world.instances.at(guest.instance).metrics;
    answer(world.metrics.record(world.rules, ids, id, value))
}

pub(super) fn increment(call: &mut Call<'_>, id: i32, delta: i64) -> Result<(), Stop> {
    let id = id.cast_unsigned();
    call.note(|note| {
        let _ = write!(note, "metric {id}, {delta}");
    });
    let guest = call.guest();
    let world = &mut *guest.world;
    let ids = &world.instances.at(guest.instance).metrics;
    answer(world.metrics.increment(world.rules, ids, id, delta))
}

pub(super) fn get(call: &mut Call<'_>, id: i32, value: i32) -> Result<(), Stop> {
    let id = id.cast_unsigned();
    call.note(|note| {
        let _ = write!(note, "metric {id}");
    });
    let guest = call.guest();
    let world = &mut *guest.world;
    let ids = &world.instances.at(guest.instance).metrics;
    let found = world.metrics.get(ids, id)?;
    call.write_u64(value, found)
}
