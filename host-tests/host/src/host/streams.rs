//! Going on, closing, answering: all of it happens after the callback.

use std::fmt::Write as _;

use super::call::{Call, Stop, answer, bytes};
use super::maps;
use crate::headers::{HeaderMap, pairs};
use crate::output::StreamId;
use crate::status::Status;
use crate::vm::instance::Action;
use crate::world::World;
use crate::world::streams::{Direction, LocalReply, StreamKind};

const REQUEST: u32 = 0;
const RESPONSE: u32 = 1;
const DOWNSTREAM: u32 = 2;
const UPSTREAM: u32 = 3;

const WASM_CLOSE_STREAM: &str = "wasm_close_stream";
const WASM_DOWNSTREAM_CLOSE: &str = "wasm_downstream_close";
const WASM_UPSTREAM_CLOSE: &str = "wasm_upstream_close";
/// SOURCE: the largest status code that gRPC knows; others mean that there is none.
const GRPC_MAXIMUM: i32 = 16;

const fn name_of(stream: u32) -> &'static str {
    match stream {
        REQUEST => "request",
        RESPONSE => "response",
        DOWNSTREAM => "downstream",
        UPSTREAM => "upstream",
        _ => "unknown",
    }
}

pub(super) fn continue_stream(call: &mut Call<'_>, stream: i32) -> Result<(), Stop> {
    let stream = stream.cast_unsigned();
    call.note(|note| note.push_str(name_of(stream)));
    let direction = match stream {
        REQUEST => Direction::Request,
        RESPONSE => Direction::Response,
        DOWNSTREAM => return continue_connection(call),
        UPSTREAM => return answer(Status::Unimplemented),
        _ => return answer(Status::BadArgument),
    };
    let context = call.context();
    let guest = call.guest();
    guest.keep(0)?;
    let guest = call.guest();
    let Some((id, index)) = context.stream else {
        return Ok(());
    };
    if is_connection(&guest.world, id) {
        return Ok(());
    }
    if let Some(filter) = guest.world.streams.filter_mut(id, index) {
        // Envoy takes the request's maps and body away, whichever direction goes on.
        filter.request.headers = false;
        filter.request.body = None;
        filter.request.trailers = false;
    }
    let instance = guest.world.instances.at_mut(guest.instance);
    instance.actions.push_back(Action::Continue {
        stream: id,
        filter: index,
        direction,
    });
    Ok(())
}

fn is_connection(world: &World, id: StreamId) -> bool {
    let stream = world.streams.get(id);
    stream.is_some_and(|stream| stream.kind == StreamKind::Connection)
}

fn continue_connection(call: &mut Call<'_>) -> Result<(), Stop> {
    let context = call.context();
    let guest = call.guest();
    guest.keep(0)?;
    if let Some((id, index)) = context.stream
        && is_connection(&guest.world, id)
    {
        let instance = guest.world.instances.at_mut(guest.instance);
        instance.actions.push_back(Action::ContinueConnection {
            connection: id,
            filter: index,
        });
    }
    Ok(())
}

/// ABI 0.1.0's way to let a request go on.
pub(super) fn continue_request(call: &mut Call<'_>) -> Result<(), Stop> {
    continue_stream(call, REQUEST.cast_signed())
}

/// ABI 0.1.0's way to let a response go on.
pub(super) fn continue_response(call: &mut Call<'_>) -> Result<(), Stop> {
    continue_stream(call, RESPONSE.cast_signed())
}

/// ABI 0.1.0's way to have the route chosen again.
pub(super) fn clear_route_cache(call: &mut Call<'_>) -> Result<(), Stop> {
    if let Some((id, _)) = call.context().stream
        && let Some(stream) = call.guest().world.streams.get_mut(id)
    {
        stream.route_cache_cleared = true;
    }
    Ok(())
}

pub(super) fn close_stream(call: &mut Call<'_>, stream: i32) -> Result<(), Stop> {
    let stream = stream.cast_unsigned();
    call.note(|note| note.push_str(name_of(stream)));
    if stream > UPSTREAM {
        return answer(Status::BadArgument);
    }
    let context = call.context();
    let guest = call.guest();
    guest.keep(0)?;
    let Some((id, _)) = context.stream else {
        return Ok(());
    };
    let details = match stream {
        DOWNSTREAM => Some(WASM_DOWNSTREAM_CLOSE),
        UPSTREAM => Some(WASM_UPSTREAM_CLOSE),
        _ => None,
    };
    // What is asked of the other kind of traffic does nothing.
    let is_connection = is_connection(&guest.world, id);
    if is_connection != details.is_some() {
        return Ok(());
    }
    if let Some(details) = details {
        let instance = guest.world.instances.at_mut(guest.instance);
        instance.actions.push_back(Action::CloseConnection {
            connection: id,
            details,
        });
        return Ok(());
    }
    if let Some(found) = guest.world.streams.get_mut(id)
        && found.response_facts.code_details.is_empty()
    {
        WASM_CLOSE_STREAM.clone_into(&mut found.response_facts.code_details);
    }
    let instance = guest.world.instances.at_mut(guest.instance);
    instance.actions.push_back(Action::Reset { stream: id });
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the parameters are the ABI's")]
pub(super) fn send_local_response(
    call: &mut Call<'_>,
    status: i32,
    details: i32,
    details_size: i32,
    body: i32,
    body_size: i32,
    headers: i32,
    headers_size: i32,
    grpc_status: i32,
) -> Result<(), Stop> {
    let status = status.cast_unsigned();
    call.note(|note| {
        let _ = write!(
            note,
            "{status}, body of {} bytes",
            body_size.cast_unsigned()
        );
    });
    let context = call.context();
    let (memory, guest) = call.parts();
    let details = bytes(memory, details, details_size)?;
    let body = bytes(memory, body, body_size)?;
    let headers = bytes(memory, headers, headers_size)?;
    guest.keep(
        details
            .len()
            .saturating_add(body.len())
            .saturating_add(headers.len()),
    )?;
    let mut added = HeaderMap::new();
    for (name, value) in pairs::decode(headers) {
        maps::add(&mut added, false, name, value);
    }
    let details: String = String::from_utf8_lossy(details)
        .chars()
        .map(|letter| {
            if letter.is_ascii_whitespace() {
                '_'
            } else {
                letter
            }
        })
        .collect();
    let reply = LocalReply {
        status,
        headers: added,
        body: body.to_vec(),
        details,
        grpc_status: (0..=GRPC_MAXIMUM)
            .contains(&grpc_status)
            .then_some(grpc_status),
        ..LocalReply::default()
    };
    let on_connection = context
        .stream
        .is_some_and(|(id, _)| is_connection(&guest.world, id));
    let instance = guest.world.instances.at_mut(guest.instance);
    if let Some((id, _)) = context.stream
        && !on_connection
    {
        instance.actions.push_back(Action::LocalReply {
            stream: id,
            reply: Box::new(reply),
        });
    }
    instance.stop_iteration = true;
    Ok(())
}
