//! Logs, clock, ticks, contexts.

use std::fmt::Write as _;

use super::call::{Call, Stop, answer, bytes};
use crate::observer::LogLevel;
use crate::status::Status;
use crate::vm::instance::{Action, Shutdown, Tick};
use crate::world::timers::Event;

const NS_PER_MS: u64 = 1_000_000;

pub(super) fn done(call: &mut Call<'_>) -> Result<(), Stop> {
    let root = call.context().root;
    let guest = call.guest();
    let instance = guest.world.instances.at_mut(guest.instance);
    let Some(state) = instance.root_mut(root) else {
        return answer(Status::NotFound);
    };
    if state.shutdown != Shutdown::Pending {
        return answer(Status::NotFound);
    }
    state.shutdown = Shutdown::Over;
    instance.actions.push_back(Action::DeleteRoot { root });
    Ok(())
}

pub(super) fn set_effective_context(call: &mut Call<'_>, context: i32) -> Result<(), Stop> {
    let context = context.cast_unsigned();
    call.note(|note| {
        let _ = write!(note, "{context}");
    });
    let guest = call.guest();
    let instance = guest.world.instances.at_mut(guest.instance);
    if !instance.contexts.contains_key(&context) {
        return answer(Status::BadArgument);
    }
    instance.effective = context;
    Ok(())
}

pub(super) fn log(call: &mut Call<'_>, level: i32, data: i32, size: i32) -> Result<(), Stop> {
    let Some(level) = LogLevel::from_raw(level.cast_unsigned()) else {
        return answer(Status::BadArgument);
    };
    call.note(|note| note.push_str(level.name()));
    let context = call.context();
    let (memory, guest) = call.parts();
    let message = bytes(memory, data, size)?;
    guest.keep(message.len())?;
    let instance = guest.instance;
    guest.world.log(instance, context, level, message);
    Ok(())
}

pub(super) fn get_log_level(call: &mut Call<'_>, level: i32) -> Result<(), Stop> {
    let current = call.guest().world.log_level as u32;
    call.write_u32(level, current)
}

pub(super) fn get_current_time(call: &mut Call<'_>, time: i32) -> Result<(), Stop> {
    let now_ns = call.guest().world.now_ns;
    call.write_u64(time, now_ns)
}

pub(super) fn set_tick_period(call: &mut Call<'_>, period: i32) -> Result<(), Stop> {
    let period_ns = u64::from(period.cast_unsigned()).saturating_mul(NS_PER_MS);
    call.note(|note| {
        let _ = write!(note, "{} ms", period.cast_unsigned());
    });
    let root = call.context().root;
    let guest = call.guest();
    let number = guest.instance;
    let world = &mut *guest.world;
    let instance = world.instances.at_mut(number);
    if let Some(due) = instance.ticks.remove(&root).and_then(|tick| tick.due) {
        world.timers.remove(due);
    }
    if period_ns == 0 {
        return Ok(());
    }
    let at_ns = world.now_ns.saturating_add(period_ns);
    let event = Event::Tick {
        instance: number,
        root,
    };
    let due = Some(world.plan(at_ns, number, event));
    let tick = Tick { period_ns, due };
    world.instances.at_mut(number).ticks.insert(root, tick);
    Ok(())
}

pub(super) fn get_status(call: &mut Call<'_>, code: i32, data: i32, size: i32) -> Result<(), Stop> {
    let root = call.context().root;
    let guest = call.guest();
    let state = guest.world.instances.at(guest.instance).root(root);
    let (status, message) = state.map_or((0, String::new()), |root| {
        (root.status_code, root.status_message.clone())
    });
    call.write_u32(code, status)?;
    call.give(message.as_bytes(), data, size)
}
