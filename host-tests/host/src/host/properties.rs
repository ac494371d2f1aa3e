//! Properties: facts by path, in Envoy's encodings and in the phases in which Envoy knows them.
//!
//! Strings are raw bytes, numbers 8 bytes little-endian, booleans one byte, times and durations
//! nanoseconds, header maps pairs. A group of properties has no encoding.

use super::call::{Call, Stop, answer, bytes};
use super::protobuf::put_text;
use crate::headers::{HeaderMap, pairs};
use crate::status::Status;
use crate::vm::guest::Guest;
use crate::vm::instance::Context;
use crate::world::World;
use crate::world::streams::{Custom, Filter, Stream, StreamKind};

/// Who the proxy says it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) cluster: String,
}

type Read = Result<(), Status>;

pub(super) fn get(
    call: &mut Call<'_>,
    path: i32,
    path_size: i32,
    value: i32,
    value_size: i32,
) -> Result<(), Stop> {
    call.note_text("", path, path_size);
    let context = call.context();
    call.give_with(value, value_size, |call, scratch| {
        let (memory, guest) = call.parts();
        let path = bytes(memory, path, path_size)?;
        answer(match read(guest, &context, path, scratch) {
            Ok(()) => Status::Ok,
            Err(status) => status,
        })
    })
}

pub(super) fn set(
    call: &mut Call<'_>,
    path: i32,
    path_size: i32,
    value: i32,
    value_size: i32,
) -> Result<(), Stop> {
    call.note_text("", path, path_size);
    let context = call.context();
    let (memory, guest) = call.parts();
    let path = bytes(memory, path, path_size)?;
    let value = bytes(memory, value, value_size)?;
    guest.keep(path.len().saturating_add(value.len()))?;
    let instance = guest.instance;
    let world = &mut *guest.world;
    let Some((id, _)) = context.stream else {
        return answer(Status::NotFound);
    };
    // An attempt has the state of the stream that it is an attempt of.
    let id = match world.streams.get(id).map(|stream| stream.kind) {
        Some(StreamKind::Attempt { of }) => of,
        _ => id,
    };
    let Some(stream) = world.streams.get_mut(id) else {
        return answer(Status::NotFound);
    };
    if let Some(held) = stream.custom.iter_mut().find(|held| held.path == path) {
        if held.read_only {
            return answer(Status::BadArgument);
        }
        value.clone_into(&mut held.value);
        return Ok(());
    }
    let read_only = world
        .instances
        .at(instance)
        .root(context.root)
        .is_some_and(|root| {
            root.declared
                .iter()
                .any(|(name, once)| *once && *name == path)
        });
    stream.custom.push(Custom {
        path: path.to_vec(),
        value: value.to_vec(),
        read_only,
    });
    Ok(())
}

fn text(value: &str, out: &mut Vec<u8>) -> Read {
    out.extend_from_slice(value.as_bytes());
    Ok(())
}

fn known_text(value: &str, out: &mut Vec<u8>) -> Read {
    if value.is_empty() {
        return Err(Status::NotFound);
    }
    text(value, out)
}

fn number(value: u64, out: &mut Vec<u8>) -> Read {
    out.extend_from_slice(&value.to_le_bytes());
    Ok(())
}

fn header(map: Option<&HeaderMap>, name: &str, out: &mut Vec<u8>) -> Read {
    let value = map.and_then(|map| map.get(name)).ok_or(Status::NotFound)?;
    out.extend_from_slice(value);
    Ok(())
}

/// All values of a header, with commas between them.
fn joined(map: Option<&HeaderMap>, name: &[u8], out: &mut Vec<u8>) -> Read {
    let mut found = false;
    for value in map.ok_or(Status::NotFound)?.get_all(name) {
        if std::mem::replace(&mut found, true) {
            out.push(b',');
        }
        out.extend_from_slice(value);
    }
    if found { Ok(()) } else { Err(Status::NotFound) }
}

/// All headers with their joined values, in the encoding of maps; an empty one has a count, too.
fn whole(map: Option<&HeaderMap>, out: &mut Vec<u8>) -> Read {
    let mut merged = HeaderMap::new();
    for (name, value) in map.into_iter().flat_map(HeaderMap::iter) {
        if !merged.append_to_first(name, b",", value) {
            merged.add(name, value);
        }
    }
    if merged.is_empty() {
        out.extend_from_slice(&0_u32.to_le_bytes());
    }
    pairs::encode(&merged, out);
    Ok(())
}

/// Splits `ip:port`.
fn port(address: &str) -> Option<u64> {
    address.rsplit_once(':')?.1.parse().ok()
}

fn read(guest: &Guest, context: &Context, path: &[u8], out: &mut Vec<u8>) -> Read {
    let world = &*guest.world;
    // A NUL at the end ends the last part and begins no other.
    let trimmed = path.strip_suffix(&[0]).unwrap_or(path);
    if path.is_empty() {
        return Err(Status::SerializationFailure);
    }
    let mut parts = trimmed.split(|byte| *byte == 0);
    let (first, second, third) = (parts.next(), parts.next(), parts.next());
    let more = parts.next().is_some();
    let first = first.unwrap_or_default();
    let here = context
        .stream
        .and_then(|(id, index)| world.streams.filter(id, index));
    if let Some((stream, _)) = here
        && let Some(value) = given(stream, trimmed)
    {
        out.extend_from_slice(value);
        return Ok(());
    }
    match first {
        b"plugin_name" | b"plugin_root_id" | b"plugin_vm_id" if second.is_none() => {
            let config = &world
                .plugins
                .get(context.plugin)
                .ok_or(Status::NotFound)?
                .config;
            return text(
                match first {
                    b"plugin_name" => &config.name,
                    b"plugin_root_id" => &config.root_id,
                    _ => &config.vm_id,
                },
                out,
            );
        }
        b"xds" if second == Some(b"node") => return node(&world.node, third, out),
        // A group is a map, whether anything of it is known or not.
        b"xds" if second.is_none() => return Err(Status::SerializationFailure),
        _ => {}
    }
    let (stream, filter) = here.ok_or(Status::NotFound)?;
    let Some(group) = group(first) else {
        return custom(world, stream, first, second, out);
    };
    let Some(name) = second else {
        // A whole group is a map, and that has no encoding.
        return match group {
            Group::ConnectionId => number(stream.attributes.connection_id, out),
            // There is none, and none is an empty message.
            Group::Metadata => Ok(()),
            // There before a connection is, but not its state.
            Group::UpstreamFilterState if stream.upstream.cx_pool_ready_duration_ns.is_none() => {
                Err(Status::NotFound)
            }
            _ => Err(Status::SerializationFailure),
        };
    };
    if more {
        return Err(Status::NotFound);
    }
    let plain = third.is_none();
    match group {
        Group::Request if plain || name == b"headers" => request(stream, filter, name, third, out),
        Group::Response if plain || name == b"headers" || name == b"trailers" => {
            response(stream, filter, name, third, out)
        }
        Group::Source if plain => address(&stream.attributes.source_address, name, out),
        Group::Destination if plain => address(&stream.attributes.destination_address, name, out),
        Group::Connection if plain => connection(stream, name, out),
        Group::Upstream if plain => upstream(world, stream, name, out),
        Group::Xds => xds(stream, name, plain, out),
        Group::FilterState if plain => filter_state(stream, name, out),
        // A map without entries: no filter writes metadata here.
        Group::Metadata if plain && name == b"filter_metadata" => whole(None, out),
        _ => Err(Status::NotFound),
    }
}

/// First parts of the paths that Envoy knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Group {
    Connection,
    ConnectionId,
    Destination,
    FilterState,
    Metadata,
    Request,
    Response,
    Source,
    Upstream,
    UpstreamFilterState,
    Xds,
}

const fn group(first: &[u8]) -> Option<Group> {
    Some(match first {
        b"connection" => Group::Connection,
        b"connection_id" => Group::ConnectionId,
        b"destination" => Group::Destination,
        b"filter_state" => Group::FilterState,
        b"metadata" => Group::Metadata,
        b"request" => Group::Request,
        b"response" => Group::Response,
        b"source" => Group::Source,
        b"upstream" => Group::Upstream,
        b"upstream_filter_state" => Group::UpstreamFilterState,
        b"xds" => Group::Xds,
        _ => return None,
    })
}

/// What the driver gave for a path.
fn given<'a>(stream: &'a Stream, path: &[u8]) -> Option<&'a [u8]> {
    stream
        .attributes
        .extra
        .iter()
        .find(|(name, _)| {
            let dotted = path
                .iter()
                .map(|byte| if *byte == 0 { b'.' } else { *byte });
            name.len() == path.len() && dotted.eq(name.bytes())
        })
        .map(|(_, value)| value.as_slice())
}

/// What a filter set. A path of several parts is never found again, as in Envoy.
fn custom(
    world: &World,
    stream: &Stream,
    first: &[u8],
    second: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Read {
    if second.is_some() {
        return Err(Status::NotFound);
    }
    let of = |stream: &Stream| {
        stream
            .custom
            .iter()
            .find(|held| held.path == first)
            .map(|held| held.value.clone())
    };
    let found = of(stream).or_else(|| match stream.kind {
        // An attempt sees what the filters before the router set.
        StreamKind::Attempt { of: parent } => world.streams.get(parent).and_then(of),
        _ => None,
    });
    out.extend_from_slice(&found.ok_or(Status::NotFound)?);
    Ok(())
}

fn node(node: &Node, field: Option<&[u8]>, out: &mut Vec<u8>) -> Read {
    match field {
        None => {
            put_text(out, 1, &node.id);
            put_text(out, 2, &node.cluster);
            Ok(())
        }
        Some(b"id") => text(&node.id, out),
        Some(b"cluster") => text(&node.cluster, out),
        // There is none, and none is an empty message.
        Some(b"locality") => Ok(()),
        Some(_) => Err(Status::NotFound),
    }
}

fn request(
    stream: &Stream,
    filter: &Filter,
    name: &[u8],
    third: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Read {
    // After `proxy_on_request_headers` let go, Envoy shows the headers again in the log only.
    let shown = stream.request.started && (filter.request.headers || filter.logging);
    let headers = shown.then_some(&stream.request.headers);
    let header_bytes = headers.map_or(0, HeaderMap::byte_size) as u64;
    let path = headers.and_then(|headers| headers.get(":path"));
    match name {
        b"headers" => match third {
            Some(name) => joined(headers, name, out),
            None => whole(headers, out),
        },
        b"path" => header(headers, ":path", out),
        b"url_path" => {
            let path = path.ok_or(Status::NotFound)?;
            let end = path.iter().position(|byte| *byte == b'?');
            out.extend_from_slice(path.get(..end.unwrap_or(path.len())).unwrap_or_default());
            Ok(())
        }
        b"query" => {
            let path = path.ok_or(Status::NotFound)?;
            let query = path.splitn(2, |byte| *byte == b'?').nth(1);
            let query = query.and_then(|query| query.split(|byte| *byte == b'#').next());
            out.extend_from_slice(query.unwrap_or_default());
            Ok(())
        }
        b"host" => header(headers, ":authority", out),
        b"scheme" => header(headers, ":scheme", out),
        b"method" => header(headers, ":method", out),
        b"referer" => header(headers, "referer", out),
        b"useragent" => header(headers, "user-agent", out),
        b"id" if shown && !stream.attributes.request_id.is_empty() => {
            text(&stream.attributes.request_id, out)
        }
        b"id" => header(headers, "x-request-id", out),
        b"time" => number(stream.opened_ns, out),
        b"protocol" => known_text(&stream.attributes.protocol, out),
        b"duration" => number(stream.duration_ns.ok_or(Status::NotFound)?, out),
        b"size" => match headers.and_then(|headers| headers.get_str("content-length")) {
            Some(length) => number(length.parse().map_err(|_| Status::NotFound)?, out),
            None => number(stream.request.bytes, out),
        },
        b"total_size" => number(stream.request.bytes.saturating_add(header_bytes), out),
        b"headers_bytes" => number(header_bytes, out),
        _ => Err(Status::NotFound),
    }
}

fn response(
    stream: &Stream,
    filter: &Filter,
    name: &[u8],
    third: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Read {
    let shown = stream.response.started && (filter.response.headers || filter.logging);
    let headers = shown.then_some(&stream.response.headers);
    let trailers = (filter.response.trailers || filter.logging)
        .then_some(stream.response.trailers.as_ref())
        .flatten();
    let sizes = |map: Option<&HeaderMap>| map.map_or(0, HeaderMap::byte_size) as u64;
    match name {
        b"headers" | b"trailers" => {
            let map = if name == b"headers" {
                headers
            } else {
                trailers
            };
            match third {
                Some(name) => joined(map, name, out),
                None => whole(map, out),
            }
        }
        b"code" => number(
            u64::from(stream.response_code.ok_or(Status::NotFound)?),
            out,
        ),
        b"code_details" => known_text(&stream.response_facts.code_details, out),
        b"flags" => number(stream.response_facts.flags, out),
        b"grpc_status" => {
            let named = [trailers, headers].into_iter().flatten();
            let status = named
                .filter_map(|map| map.get_str("grpc-status")?.parse::<u64>().ok())
                .next();
            let status = match status {
                Some(status) => status,
                None => {
                    let code = stream.response_code.ok_or(Status::NotFound)?;
                    u64::from(crate::chain::grpc_status_of(code))
                }
            };
            number(status, out)
        }
        b"size" => number(stream.response.bytes, out),
        b"total_size" => {
            let around = sizes(headers).saturating_add(sizes(trailers));
            number(stream.response.bytes.saturating_add(around), out)
        }
        b"headers_bytes" => number(sizes(headers), out),
        b"backend_latency" => {
            let latency = stream.response_facts.backend_latency_ns;
            number(latency.ok_or(Status::NotFound)?, out)
        }
        _ => Err(Status::NotFound),
    }
}

fn address(address: &str, name: &[u8], out: &mut Vec<u8>) -> Read {
    match name {
        b"address" => known_text(address, out),
        b"port" => number(port(address).ok_or(Status::NotFound)?, out),
        _ => Err(Status::NotFound),
    }
}

fn connection(stream: &Stream, name: &[u8], out: &mut Vec<u8>) -> Read {
    let attributes = &stream.attributes;
    match name {
        b"id" => number(attributes.connection_id, out),
        b"mtls" => {
            out.push(u8::from(attributes.mtls));
            Ok(())
        }
        b"requested_server_name" => text(&attributes.requested_server_name, out),
        b"tls_version" => known_text(&attributes.tls_version, out),
        _ => Err(Status::NotFound),
    }
}

fn upstream(world: &World, stream: &Stream, name: &[u8], out: &mut Vec<u8>) -> Read {
    let upstream = &stream.upstream;
    match name {
        b"address" | b"port" => address(&upstream.address, name, out),
        b"local_address" => known_text(&upstream.local_address, out),
        b"request_attempt_count" => number(upstream.attempt_count, out),
        // Known as soon as an endpoint is, and empty unless something went wrong.
        b"transport_failure_reason" if !upstream.address.is_empty() => {
            text(&upstream.transport_failure_reason, out)
        }
        b"cx_pool_ready_duration" => {
            let duration = upstream.cx_pool_ready_duration_ns;
            number(duration.ok_or(Status::NotFound)?, out)
        }
        // A locality without a name is an empty message.
        b"locality" if !upstream.address.is_empty() => Ok(()),
        b"num_endpoints" => {
            let cluster = world.clusters.get(&stream.attributes.cluster_name);
            let config = cluster.and_then(|cluster| cluster.config.as_ref());
            let count = config.ok_or(Status::NotFound)?.endpoints.len();
            number(count as u64, out)
        }
        _ => Err(Status::NotFound),
    }
}

fn xds(stream: &Stream, name: &[u8], plain: bool, out: &mut Vec<u8>) -> Read {
    let attributes = &stream.attributes;
    // A route that answers itself has no cluster.
    let routed = !attributes.cluster_name.is_empty() || !attributes.route_name.is_empty();
    match name {
        _ if !plain => Err(Status::NotFound),
        // There is none, and none is an empty message.
        b"cluster_metadata" if !attributes.cluster_name.is_empty() => Ok(()),
        b"route_metadata" | b"virtual_host_metadata" if routed => Ok(()),
        b"listener_metadata" => Ok(()),
        b"upstream_host_metadata" | b"upstream_host_locality_metadata"
            if !stream.upstream.address.is_empty() =>
        {
            Err(Status::SerializationFailure)
        }
        b"cluster_name" => known_text(&attributes.cluster_name, out),
        b"route_name" if routed => text(&attributes.route_name, out),
        b"virtual_host_name" if routed => text(&attributes.virtual_host_name, out),
        b"filter_chain_name" => text(&attributes.filter_chain_name, out),
        b"listener_direction" => number(u64::from(attributes.listener_direction), out),
        _ => Err(Status::NotFound),
    }
}

fn filter_state(stream: &Stream, name: &[u8], out: &mut Vec<u8>) -> Read {
    let of_filter = name.strip_prefix(b"wasm.").and_then(|path| {
        stream
            .custom
            .iter()
            .find(|held| held.path == path)
            .map(|held| &held.value)
    });
    let found = of_filter.or_else(|| {
        stream
            .filter_state
            .iter()
            .find(|(known, _)| known.as_bytes() == name)
            .map(|(_, value)| value)
    });
    out.extend_from_slice(found.ok_or(Status::NotFound)?);
    Ok(())
}
