//! Bodies, configuration and the other buffers.

use std::fmt::Write as _;

use super::call::{Call, Stop, answer, bytes};
use crate::status::Status;
use crate::vm::guest::Guest;
use crate::vm::instance::Context;
use crate::world::World;
use crate::world::streams::{Body, Direction};

const REQUEST_BODY: u32 = 0;
const RESPONSE_BODY: u32 = 1;
const CALL_BODY: u32 = 4;
const VM_CONFIGURATION: u32 = 6;
const PLUGIN_CONFIGURATION: u32 = 7;
/// The last buffer that was read, whichever that was.
const CALL_DATA: u32 = 8;

fn name_of(buffer: u32) -> &'static str {
    match buffer {
        REQUEST_BODY => "request body",
        RESPONSE_BODY => "response body",
        2 => "downstream data",
        3 => "upstream data",
        CALL_BODY => "call response body",
        5 => "grpc message",
        VM_CONFIGURATION => "vm configuration",
        PLUGIN_CONFIGURATION => "plugin configuration",
        CALL_DATA => "foreign function arguments",
        _ => "unknown buffer",
    }
}

/// The bytes of a buffer; `None` when it is none now. Network buffers and bodies that are not
/// passing are empty rather than missing.
fn buffer_of<'a>(guest: &'a Guest, context: &Context, buffer: u32) -> Option<&'a [u8]> {
    let world = &*guest.world;
    let instance = world.instances.at(guest.instance);
    match buffer {
        REQUEST_BODY => Some(body_of(world, context, Direction::Request)),
        RESPONSE_BODY => Some(body_of(world, context, Direction::Response)),
        CALL_BODY => {
            let root = instance.root(context.root)?;
            Some(&root.response.as_deref()?.body)
        }
        VM_CONFIGURATION => Some(&world.plugins.get(context.plugin)?.config.vm_configuration),
        PLUGIN_CONFIGURATION => {
            let root = instance.root(context.id)?;
            root.configuring
                .then_some(&*world.plugins.get(root.plugin)?.config.configuration)
        }
        CALL_DATA => {
            let last = match context.stream {
                Some((id, index)) => world.streams.filter(id, index)?.1.last_buffer,
                None => instance.root(context.id)?.last_buffer,
            };
            if last == CALL_DATA {
                return Some(&[]);
            }
            Some(buffer_of(guest, context, last).unwrap_or_default())
        }
        _ => Some(&[]),
    }
}

fn body_of<'a>(world: &'a World, context: &Context, direction: Direction) -> &'a [u8] {
    let Some((stream, filter)) = context
        .stream
        .and_then(|(id, index)| world.streams.filter(id, index))
    else {
        return &[];
    };
    let side = stream.side(direction);
    match filter.side(direction).body {
        Some(Body::Passing) => &side.passing,
        Some(Body::Held) => side.held.as_deref().unwrap_or_default(),
        None => &[],
    }
}

fn body_mut<'a>(
    world: &'a mut World,
    context: &Context,
    direction: Direction,
) -> Option<&'a mut Vec<u8>> {
    let (id, index) = context.stream?;
    let stream = world.streams.get_mut(id)?;
    let body = stream.filters.get(index)?.side(direction).body?;
    let side = stream.side_mut(direction);
    match body {
        Body::Passing => Some(&mut side.passing),
        Body::Held => Some(side.held.get_or_insert_default()),
    }
}

fn checked(call: &mut Call<'_>, buffer: i32) -> Result<u32, Stop> {
    let buffer = buffer.cast_unsigned();
    call.note(|note| note.push_str(name_of(buffer)));
    if buffer > CALL_DATA {
        return Err(Stop::Status(Status::BadArgument));
    }
    Ok(buffer)
}

fn remember(guest: &mut Guest, context: &Context, buffer: u32) {
    if buffer == CALL_DATA {
        return;
    }
    let instance = guest.instance;
    match context.stream {
        Some((id, index)) => {
            if let Some(filter) = guest.world.streams.filter_mut(id, index) {
                filter.last_buffer = buffer;
            }
        }
        None => {
            if let Some(root) = guest.world.instances.at_mut(instance).root_mut(context.id) {
                root.last_buffer = buffer;
            }
        }
    }
}

pub(super) fn get_bytes(
    call: &mut Call<'_>,
    buffer: i32,
    start: i32,
    length: i32,
    data: i32,
    size: i32,
) -> Result<(), Stop> {
    let buffer = checked(call, buffer)?;
    let context = call.context();
    let start = start.cast_unsigned() as usize;
    let length = length.cast_unsigned() as usize;
    call.note(|note| {
        let _ = write!(note, ", {length} bytes from {start}");
    });
    remember(call.guest(), &context, buffer);
    call.give_with(data, size, |call, scratch| {
        let guest = call.guest();
        let found = buffer_of(guest, &context, buffer).ok_or(Status::NotFound)?;
        let end = start.saturating_add(length).min(found.len());
        scratch.extend_from_slice(found.get(start..end).unwrap_or_default());
        Ok(())
    })
}

pub(super) fn get_status(
    call: &mut Call<'_>,
    buffer: i32,
    size: i32,
    unused: i32,
) -> Result<(), Stop> {
    let buffer = checked(call, buffer)?;
    let context = call.context();
    remember(call.guest(), &context, buffer);
    let found = buffer_of(call.guest(), &context, buffer).ok_or(Status::NotFound)?;
    let length = u32::try_from(found.len()).unwrap_or(u32::MAX);
    call.write_u32(size, length)?;
    call.write_u32(unused, 0)
}

/// Writes into a body. At 0 the bytes take the place of the first `length` ones; at the end or behind
/// it they are appended; nothing else is possible in Envoy.
pub(super) fn set_bytes(
    call: &mut Call<'_>,
    buffer: i32,
    start: i32,
    length: i32,
    data: i32,
    size: i32,
) -> Result<(), Stop> {
    let buffer = checked(call, buffer)?;
    let context = call.context();
    let start = start.cast_unsigned() as usize;
    let length = length.cast_unsigned() as usize;
    call.note(|note| {
        let _ = write!(
            note,
            ", {} bytes for {length} from {start}",
            size.cast_unsigned()
        );
    });
    let (memory, guest) = call.parts();
    if buffer_of(guest, &context, buffer).is_none() {
        return answer(Status::NotFound);
    }
    let data = bytes(memory, data, size)?;
    guest.keep(data.len())?;
    let direction = match buffer {
        REQUEST_BODY => Direction::Request,
        RESPONSE_BODY => Direction::Response,
        _ => return answer(Status::BadArgument),
    };
    let Some(body) = body_mut(&mut guest.world, &context, direction) else {
        return answer(Status::BadArgument);
    };
    let moved = body.len() as u64;
    if start == 0 {
        body.splice(..length.min(body.len()), data.iter().copied());
    } else if start >= body.len() {
        body.extend_from_slice(data);
    } else {
        return answer(Status::BadArgument);
    }
    guest.work(moved)?;
    Ok(())
}
