//! Header and trailer maps.
//!
//! Which maps can be reached when is Envoy's rule: a map of a phase can be reached while its
//! callback runs, and as long as the filter holds that phase back.

use std::fmt::Write as _;

use super::call::{Call, Stop, answer, bytes};
use crate::headers::{HeaderMap, pairs};
use crate::module::AbiVersion;
use crate::status::Status;
use crate::vm::guest::Guest;
use crate::vm::instance::Context;
use crate::world::World;
use crate::world::streams::Direction;

const REQUEST_HEADERS: u32 = 0;
const REQUEST_TRAILERS: u32 = 1;
const RESPONSE_HEADERS: u32 = 2;
const RESPONSE_TRAILERS: u32 = 3;
const GRPC_INITIAL: u32 = 4;
const GRPC_TRAILING: u32 = 5;
const CALL_HEADERS: u32 = 6;
const CALL_TRAILERS: u32 = 7;

fn name_of(map: u32) -> &'static str {
    match map {
        REQUEST_HEADERS => "request headers",
        REQUEST_TRAILERS => "request trailers",
        RESPONSE_HEADERS => "response headers",
        RESPONSE_TRAILERS => "response trailers",
        GRPC_INITIAL => "grpc initial metadata",
        GRPC_TRAILING => "grpc trailing metadata",
        CALL_HEADERS => "call response headers",
        CALL_TRAILERS => "call response trailers",
        _ => "unknown map",
    }
}

fn checked(call: &mut Call<'_>, map: i32) -> Result<u32, Stop> {
    let map = map.cast_unsigned();
    call.note(|note| note.push_str(name_of(map)));
    if map > CALL_TRAILERS {
        return Err(Stop::Status(Status::BadArgument));
    }
    Ok(map)
}

/// A map for reading.
fn map_of<'a>(guest: &'a Guest, context: &Context, map: u32) -> Option<&'a HeaderMap> {
    let world = &*guest.world;
    if map == GRPC_INITIAL || map == GRPC_TRAILING {
        let root = world.instances.at(guest.instance).root(context.root)?;
        return if map == GRPC_INITIAL {
            root.grpc_initial.as_ref()
        } else {
            root.grpc_trailing.as_ref()
        };
    }
    if map >= CALL_HEADERS {
        let response = world
            .instances
            .at(guest.instance)
            .root(context.root)?
            .response
            .as_deref()?;
        return if map == CALL_HEADERS {
            Some(&response.headers)
        } else {
            // An answer without trailers has no map of them.
            Some(&response.trailers).filter(|trailers| !trailers.is_empty())
        };
    }
    let (id, index) = context.stream?;
    let (stream, filter) = world.streams.filter(id, index)?;
    let direction = match map {
        REQUEST_HEADERS | REQUEST_TRAILERS => Direction::Request,
        RESPONSE_HEADERS | RESPONSE_TRAILERS => Direction::Response,
        _ => return None,
    };
    let side = stream.side(direction);
    let shown = filter.side(direction);
    match map {
        REQUEST_HEADERS | RESPONSE_HEADERS => {
            let stay = filter.logging || world.rules.headers_stay_readable;
            let reachable = shown.headers || (stay && side.started);
            reachable.then_some(&side.headers)
        }
        _ if filter.logging => (map == RESPONSE_TRAILERS)
            .then_some(side.trailers.as_ref())
            .flatten(),
        _ => shown.trailers.then_some(side.trailers.as_ref()).flatten(),
    }
}

/// A map for writing. In Envoy trailers are made when they are wanted while the last bytes pass.
fn map_mut<'a>(world: &'a mut World, context: &Context, map: u32) -> Option<&'a mut HeaderMap> {
    let (id, index) = context.stream?;
    let direction = match map {
        REQUEST_HEADERS | REQUEST_TRAILERS => Direction::Request,
        RESPONSE_HEADERS | RESPONSE_TRAILERS => Direction::Response,
        _ => return None,
    };
    let can_be_made = world.rules.trailers_can_be_made;
    let stream = world.streams.get_mut(id)?;
    let filter = stream.filters.get_mut(index)?;
    let end_of_stream = filter.end_of_stream;
    let shown = filter.side_mut(direction);
    if map == REQUEST_HEADERS || map == RESPONSE_HEADERS {
        return shown
            .headers
            .then_some(&mut stream.side_mut(direction).headers);
    }
    if !shown.trailers && shown.body.is_some() && end_of_stream && can_be_made {
        shown.trailers = true;
    }
    let reachable = shown.trailers;
    reachable.then(|| {
        stream
            .side_mut(direction)
            .trailers
            .get_or_insert_with(HeaderMap::new)
    })
}

/// Notes that request headers changed: the route is chosen again.
fn changed(world: &mut World, context: &Context, map: u32) {
    if map == REQUEST_HEADERS
        && let Some((id, _)) = context.stream
        && let Some(stream) = world.streams.get_mut(id)
    {
        stream.route_cache_cleared = true;
    }
}

/// Scanning a map costs time although no byte moves.
fn scan_cost(map: &HeaderMap) -> u64 {
    (map.len() as u64).saturating_mul(16)
}

pub(super) fn get_size(call: &mut Call<'_>, map: i32, size: i32) -> Result<(), Stop> {
    let map = checked(call, map)?;
    let context = call.context();
    let guest = call.guest();
    let bytes = if guest.world.rules.map_sizes_leave_out_the_encoding {
        // Envoy looks for a map that can be written.
        map_mut(&mut guest.world, &context, map).map(|found| found.byte_size())
    } else {
        map_of(guest, &context, map).map(pairs::encoded_size)
    };
    let bytes = bytes.ok_or(Status::BadArgument)?;
    call.write_u32(size, u32::try_from(bytes).unwrap_or(u32::MAX))
}

pub(super) fn get_pairs(call: &mut Call<'_>, map: i32, data: i32, size: i32) -> Result<(), Stop> {
    let map = checked(call, map)?;
    let context = call.context();
    call.give_with(data, size, |call, scratch| {
        let guest = call.guest();
        match map_of(guest, &context, map) {
            Some(found) => pairs::encode(found, scratch),
            None if guest.world.rules.missing_maps_are_empty => {}
            None => return answer(Status::BadArgument),
        }
        Ok(())
    })
}

pub(super) fn set_pairs(call: &mut Call<'_>, map: i32, data: i32, size: i32) -> Result<(), Stop> {
    let map = checked(call, map)?;
    let context = call.context();
    let (memory, guest) = call.parts();
    let encoded = bytes(memory, data, size)?;
    guest.keep(encoded.len())?;
    let Some(found) = map_mut(&mut guest.world, &context, map) else {
        return answer(Status::BadArgument);
    };
    found.clear();
    let is_request = map == REQUEST_HEADERS;
    for (name, value) in pairs::decode(encoded) {
        add(found, is_request, name, value);
    }
    changed(&mut guest.world, &context, map);
    Ok(())
}

pub(super) fn get_value(
    call: &mut Call<'_>,
    map: i32,
    key: i32,
    key_size: i32,
    value: i32,
    value_size: i32,
) -> Result<(), Stop> {
    let map = checked(call, map)?;
    call.note_text("", key, key_size);
    let context = call.context();
    call.give_with(value, value_size, |call, scratch| {
        let (memory, guest) = call.parts();
        let key = bytes(memory, key, key_size)?;
        let Some(found) = map_of(guest, &context, map) else {
            let logging = context.stream.is_some_and(|(id, index)| {
                guest
                    .world
                    .streams
                    .filter(id, index)
                    .is_some_and(|(_, filter)| filter.logging)
            });
            return match guest.world.rules.missing_map_in_log {
                Status::NotFound if logging => missing(guest),
                _ => answer(Status::BadArgument),
            };
        };
        let cost = scan_cost(found);
        let key = key_of(map == REQUEST_HEADERS, key);
        match found.get(key) {
            Some(found) => scratch.extend_from_slice(found),
            None => missing(guest)?,
        }
        guest.work(cost)?;
        Ok(())
    })
}

/// A header that is not there is an empty one in ABI 0.1.0.
fn missing(guest: &Guest) -> Result<(), Stop> {
    if guest.abi == AbiVersion::V0_1_0 {
        return Ok(());
    }
    answer(Status::NotFound)
}

pub(super) fn add_value(
    call: &mut Call<'_>,
    map: i32,
    key: i32,
    key_size: i32,
    value: i32,
    value_size: i32,
) -> Result<(), Stop> {
    change(call, map, (key, key_size), (value, value_size), add)
}

pub(super) fn replace_value(
    call: &mut Call<'_>,
    map: i32,
    key: i32,
    key_size: i32,
    value: i32,
    value_size: i32,
) -> Result<(), Stop> {
    change(
        call,
        map,
        (key, key_size),
        (value, value_size),
        |map, is_request, key, value| map.set(key_of(is_request, key), value),
    )
}

fn change(
    call: &mut Call<'_>,
    map: i32,
    key: (i32, i32),
    value: (i32, i32),
    change: impl FnOnce(&mut HeaderMap, bool, &[u8], &[u8]),
) -> Result<(), Stop> {
    let map = checked(call, map)?;
    call.note_text("", key.0, key.1);
    call.note(|note| {
        let _ = write!(note, ", {} bytes", value.1.cast_unsigned());
    });
    let context = call.context();
    let (memory, guest) = call.parts();
    let key = bytes(memory, key.0, key.1)?;
    let value = bytes(memory, value.0, value.1)?;
    guest.keep(key.len().saturating_add(value.len()))?;
    let Some(found) = map_mut(&mut guest.world, &context, map) else {
        return answer(Status::BadArgument);
    };
    let cost = scan_cost(found);
    change(found, map == REQUEST_HEADERS, key, value);
    changed(&mut guest.world, &context, map);
    guest.work(cost)?;
    Ok(())
}

pub(super) fn remove_value(
    call: &mut Call<'_>,
    map: i32,
    key: i32,
    key_size: i32,
) -> Result<(), Stop> {
    let map = checked(call, map)?;
    call.note_text("", key, key_size);
    let context = call.context();
    let (memory, guest) = call.parts();
    let key = bytes(memory, key, key_size)?;
    let Some(found) = map_mut(&mut guest.world, &context, map) else {
        return answer(Status::BadArgument);
    };
    let cost = scan_cost(found);
    found.remove(key_of(map == REQUEST_HEADERS, key));
    changed(&mut guest.world, &context, map);
    guest.work(cost)?;
    Ok(())
}

/// Adds a header as Envoy does: a second value of a header that Envoy keeps in a field of its own is
/// joined to the first with a comma.
pub(crate) fn add(map: &mut HeaderMap, is_request: bool, name: &[u8], value: &[u8]) {
    let name = key_of(is_request, name);
    if !(is_inline(is_request, name) && map.append_to_first(name, b",", value)) {
        map.add(name, value);
    }
}

/// Envoy knows a request's `host` as `:authority`.
fn key_of(is_request: bool, name: &[u8]) -> &[u8] {
    if is_request && name.eq_ignore_ascii_case(b"host") {
        b":authority"
    } else {
        name
    }
}

/// SOURCE: those of Envoy 1.40: the list of its `header_map.h`, and what its extensions register,
/// found by adding each twice.
fn is_inline(is_request: bool, name: &[u8]) -> bool {
    const BOTH: [&str; 13] = [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "keep-alive",
        "proxy-connection",
        "proxy-status",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-envoy-attempt-count",
        "x-envoy-decorator-operation",
        "x-request-id",
    ];
    const REQUEST: [&str; 50] = [
        ":authority",
        ":method",
        ":path",
        ":protocol",
        ":scheme",
        "accept",
        "accept-encoding",
        "access-control-request-headers",
        "access-control-request-method",
        "access-control-request-private-network",
        "authorization",
        "cache-control",
        "cdn-loop",
        "expect",
        "grpc-accept-encoding",
        "grpc-timeout",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "origin",
        "pragma",
        "referer",
        "te",
        "user-agent",
        "x-client-trace-id",
        "x-envoy-downstream-service-cluster",
        "x-envoy-downstream-service-node",
        "x-envoy-expected-rq-timeout-ms",
        "x-envoy-external-address",
        "x-envoy-force-trace",
        "x-envoy-hedge-on-per-try-timeout",
        "x-envoy-internal",
        "x-envoy-ip-tags",
        "x-envoy-is-timeout-retry",
        "x-envoy-max-retries",
        "x-envoy-original-path",
        "x-envoy-retriable-header-names",
        "x-envoy-retriable-status-codes",
        "x-envoy-retry-grpc-on",
        "x-envoy-retry-on",
        "x-envoy-upstream-alt-stat-name",
        "x-envoy-upstream-rq-per-try-timeout-ms",
        "x-envoy-upstream-rq-timeout-ms",
        "x-forwarded-client-cert",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
    ];
    const RESPONSE: [&str; 24] = [
        ":status",
        "access-control-allow-credentials",
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-allow-origin",
        "access-control-expose-headers",
        "access-control-max-age",
        "age",
        "date",
        "etag",
        "expires",
        "grpc-message",
        "grpc-status",
        "last-modified",
        "location",
        "server",
        "vary",
        "x-envoy-degraded",
        "x-envoy-immediate-health-check-fail",
        "x-envoy-ratelimited",
        "x-envoy-upstream-canary",
        "x-envoy-upstream-healthchecked-cluster",
        "x-envoy-upstream-service-time",
        "x-envoy-upstream-stream-duration-ms",
    ];
    let own: &[&str] = if is_request { &REQUEST } else { &RESPONSE };
    let is = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
    BOTH.iter().any(is) || own.iter().any(is)
}
