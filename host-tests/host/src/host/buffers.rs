//! Bodies, configuration and the other buffers.

use std::fmt::Write as _;

use super::call::{Call, Stop, answer, bytes};
use crate::status::Status;
use crate::vm::guest::Guest;
use crate::vm::instance::{CALL_DATA, Context};
use crate::world::World;
use crate::world::streams::{Body, Direction, StreamKind};

const REQUEST_BODY: u32 = 0;
const RESPONSE_BODY: u32 = 1;
const DOWNSTREAM_DATA: u32 = 2;
const UPSTREAM_DATA: u32 = 3;
const CALL_BODY: u32 = 4;
const GRPC_MESSAGE: u32 = 5;
const VM_CONFIGURATION: u32 = 6;
const PLUGIN_CONFIGURATION: u32 = 7;

fn name_of(buffer: u32) -> &'static str {
    match buffer {
        REQUEST_BODY => "request body",
        RESPONSE_BODY => "response body",
        DOWNSTREAM_DATA => "downstream data",
        UPSTREAM_DATA => "upstream data",
        CALL_BODY => "call response body",
        GRPC_MESSAGE => "grpc message",
        VM_CONFIGURATION => "vm configuration",
        PLUGIN_CONFIGURATION => "plugin configuration",
        CALL_DATA => "foreign function arguments",
        _ => "unknown buffer",
    }
}

/// The bytes of a buffer for a guest: one that is not there now may count as empty.
fn buffer_of<'a>(guest: &'a Guest, context: &Context, buffer: u32) -> Option<&'a [u8]> {
    let found = find(guest, context, buffer);
    let can_be_empty = matches!(
        buffer,
        REQUEST_BODY | RESPONSE_BODY | DOWNSTREAM_DATA | UPSTREAM_DATA | GRPC_MESSAGE
    );
    if can_be_empty && guest.world.rules.missing_buffers_are_empty {
        return Some(found.unwrap_or_default());
    }
    found
}

/// The bytes of a buffer that is there now.
fn find<'a>(guest: &'a Guest, context: &Context, buffer: u32) -> Option<&'a [u8]> {
    let world = &*guest.world;
    let instance = world.instances.at(guest.instance);
    match buffer {
        RESPONSE_BODY if world.rules.call_bodies_are_response_bodies => {
            passing(world, context, buffer).or_else(|| find(guest, context, CALL_BODY))
        }
        REQUEST_BODY | RESPONSE_BODY | DOWNSTREAM_DATA | UPSTREAM_DATA => {
            passing(world, context, buffer)
        }
        CALL_BODY => {
            let root = instance.root(context.root)?;
            Some(&root.response.as_deref()?.body)
        }
        GRPC_MESSAGE => instance.root(context.root)?.grpc_message.as_deref(),
        VM_CONFIGURATION => Some(&world.plugins.get(context.plugin)?.config.vm_configuration),
        PLUGIN_CONFIGURATION => {
            let root = instance.root(context.id)?;
            root.configuring
                .then_some(&*world.plugins.get(root.plugin)?.config.configuration)
        }
        CALL_DATA => call_data(guest, context),
        _ => None,
    }
}

/// Bytes that the host handed over or, in Envoy, whatever was read last.
fn call_data<'a>(guest: &'a Guest, context: &Context) -> Option<&'a [u8]> {
    let world = &*guest.world;
    let root = world.instances.at(guest.instance).root(context.id);
    let handed = root.and_then(|root| root.call_data.as_deref());
    if !world.rules.buffer_8_is_the_last_read {
        return handed;
    }
    let last = match context.stream {
        Some((id, index)) => world.streams.filter(id, index)?.1.last_buffer,
        None => root?.last_buffer,
    };
    if last == CALL_DATA {
        return Some(handed.unwrap_or_default());
    }
    Some(find(guest, context, last).unwrap_or_default())
}

/// Which kind of traffic a buffer belongs to, and which direction.
const fn place_of(buffer: u32) -> (bool, Direction) {
    match buffer {
        REQUEST_BODY => (false, Direction::Request),
        RESPONSE_BODY => (false, Direction::Response),
        DOWNSTREAM_DATA => (true, Direction::Request),
        _ => (true, Direction::Response),
    }
}

fn passing<'a>(world: &'a World, context: &Context, buffer: u32) -> Option<&'a [u8]> {
    let (of_connection, direction) = place_of(buffer);
    let (id, index) = context.stream?;
    let (stream, filter) = world.streams.filter(id, index)?;
    if of_connection != (stream.kind == StreamKind::Connection) {
        return None;
    }
    let side = stream.side(direction);
    match filter.side(direction).body? {
        Body::Passing => Some(&side.passing),
        Body::Held => Some(side.held.as_deref().unwrap_or_default()),
    }
}

/// A buffer for writing.
fn buffer_mut<'a>(guest: &'a mut Guest, context: &Context, buffer: u32) -> Option<&'a mut Vec<u8>> {
    let instance = guest.instance;
    let world = &mut *guest.world;
    match buffer {
        GRPC_MESSAGE => {
            let root = world.instances.at_mut(instance).root_mut(context.root)?;
            root.grpc_message.as_mut()
        }
        REQUEST_BODY | RESPONSE_BODY | DOWNSTREAM_DATA | UPSTREAM_DATA => {
            let (of_connection, direction) = place_of(buffer);
            let (id, index) = context.stream?;
            let stream = world.streams.get_mut(id)?;
            if of_connection != (stream.kind == StreamKind::Connection) {
                return None;
            }
            let body = stream.filters.get(index)?.side(direction).body?;
            let side = stream.side_mut(direction);
            Some(match body {
                Body::Passing => &mut side.passing,
                Body::Held => side.held.get_or_insert_default(),
            })
        }
        _ => None,
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
        if start > found.len() && !guest.world.rules.reads_behind_the_end_are_empty {
            return answer(Status::BadArgument);
        }
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

/// ABI 0.1.0's way to the configuration: the plugin's while it is configured, else the VM's.
pub(super) fn get_configuration(call: &mut Call<'_>, data: i32, size: i32) -> Result<(), Stop> {
    let context = call.context();
    call.give_with(data, size, |call, scratch| {
        let guest = call.guest();
        let found = buffer_of(guest, &context, PLUGIN_CONFIGURATION)
            .or_else(|| buffer_of(guest, &context, VM_CONFIGURATION));
        scratch.extend_from_slice(found.unwrap_or_default());
        Ok(())
    })
}

/// Writes into a buffer. At 0 the bytes take the place of the first `length` ones; at the end or behind
/// it they are appended; between them Envoy refuses.
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
    let in_the_middle = guest.world.rules.writes_into_the_middle;
    let Some(body) = buffer_mut(guest, &context, buffer) else {
        return answer(Status::BadArgument);
    };
    let moved = body.len() as u64;
    if start == 0 || (in_the_middle && start < body.len()) {
        let end = start.saturating_add(length).min(body.len());
        body.splice(start..end, data.iter().copied());
    } else if start >= body.len() {
        body.extend_from_slice(data);
    } else {
        return answer(Status::BadArgument);
    }
    guest.work(moved)?;
    Ok(())
}
