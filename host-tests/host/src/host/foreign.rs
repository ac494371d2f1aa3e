//! Functions that are called by name.

use std::io::{Read as _, Write as _};

use super::call::{Call, Stop, bytes};
use super::protobuf::{bytes_of, fields, number_of};
use crate::status::Status;

/// Objects that Envoy can make from bytes.
///
/// SOURCE: the extensions that Envoy 1.40 lists as `filter_state.object` when it starts.
const FILTER_STATE: [&str; 21] = [
    "envoy.ai.llm_protocol.request",
    "envoy.ai.model.request",
    "envoy.bool",
    "envoy.filters.listener.original_dst.local_ip",
    "envoy.filters.listener.original_dst.remote_ip",
    "envoy.hashable_string",
    "envoy.network.application_protocols",
    "envoy.network.ip",
    "envoy.network.network_namespace",
    "envoy.network.transport_socket.http_11_proxy.info",
    "envoy.network.transport_socket.original_dst_address",
    "envoy.network.upstream_server_name",
    "envoy.network.upstream_subject_alt_names",
    "envoy.ratelimit.hits_addend",
    "envoy.router.debug_config",
    "envoy.string",
    "envoy.tcp_proxy.cluster",
    "envoy.tcp_proxy.disable_tunneling",
    "envoy.tcp_proxy.per_connection_idle_timeout_ms",
    "envoy.upstream.dynamic_host",
    "envoy.upstream.dynamic_port",
];
/// Those of them that are numbers.
const NUMBERS: [&str; 3] = [
    "envoy.ratelimit.hits_addend",
    "envoy.tcp_proxy.per_connection_idle_timeout_ms",
    "envoy.upstream.dynamic_port",
];

/// Compressing a byte costs about as much as moving this many.
const COMPRESSION_WORK: u64 = 32;

pub(super) fn call(
    call: &mut Call<'_>,
    name: i32,
    name_size: i32,
    arguments: i32,
    arguments_size: i32,
    results: i32,
    results_size: i32,
) -> Result<(), Stop> {
    call.note_text("", name, name_size);
    let (memory, guest) = call.parts();
    let name = bytes(memory, name, name_size)?;
    let arguments = bytes(memory, arguments, arguments_size)?;
    guest.keep(name.len().saturating_add(arguments.len()))?;
    guest.work((arguments.len() as u64).saturating_mul(COMPRESSION_WORK))?;
    let name = String::from_utf8(name.to_vec()).map_err(|_| Status::NotFound)?;
    let arguments = arguments.to_vec();
    let answered = if let Some(function) = guest.world.foreign.get_mut(&name) {
        (function.0)(&arguments).map(Some)
    } else {
        match name.as_str() {
            "clear_route_cache" => clear_route_cache(call),
            "compress" => compress(&arguments),
            "uncompress" => uncompress(call, &arguments)?,
            "declare_property" => declare_property(call, &arguments),
            "set_envoy_filter_state" => set_filter_state(call, &arguments),
            // Envoy has them; not modelled: as if the arguments were wrong.
            "expr_create" | "expr_delete" | "expr_evaluate" | "sign" | "verify_signature" => {
                Err(Status::BadArgument)
            }
            _ => return Err(Stop::Status(Status::NotFound)),
        }
    };
    let (status, output) = match answered {
        Ok(output) => (Status::Ok, output),
        Err(status) => (status, None),
    };
    let mut address = 0;
    let mut size = 0;
    if let Some(output) = output {
        size = u32::try_from(output.len()).unwrap_or(u32::MAX);
        if results != 0 && !output.is_empty() {
            address = call.allocate(output.len())?;
            let (memory, _) = call.parts();
            super::call::write(memory, address.cast_signed(), &output)?;
        }
    }
    if results != 0 {
        call.write_u32(results, address)?;
    }
    if results_size != 0 {
        call.write_u32(results_size, size)?;
    }
    super::call::answer(status)
}

type Answer = Result<Option<Vec<u8>>, Status>;

fn clear_route_cache(call: &mut Call<'_>) -> Answer {
    if let Some((id, _)) = call.context().stream
        && let Some(stream) = call.guest().world.streams.get_mut(id)
    {
        stream.route_cache_cleared = true;
    }
    Ok(None)
}

fn compress(data: &[u8]) -> Answer {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder
        .write_all(data)
        .and_then(|()| encoder.finish())
        .map(Some)
        .map_err(|_| Status::SerializationFailure)
}

/// A small input can become very large: what comes out counts as kept, step by step.
fn uncompress(call: &mut Call<'_>, data: &[u8]) -> Result<Answer, Stop> {
    let mut decoder = flate2::read::ZlibDecoder::new(data);
    let mut output = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        let Ok(count) = decoder.read(&mut part) else {
            return Ok(Err(Status::SerializationFailure));
        };
        if count == 0 {
            return Ok(Ok(Some(output)));
        }
        call.guest().keep(count)?;
        output.extend_from_slice(part.get(..count).unwrap_or_default());
    }
}

fn declare_property(call: &mut Call<'_>, arguments: &[u8]) -> Answer {
    let fields = fields(arguments).ok_or(Status::BadArgument)?;
    let name = bytes_of(&fields, 1).to_vec();
    let read_only = number_of(&fields, 2) != 0;
    let context = call.context();
    let guest = call.guest();
    if let Some((id, index)) = context.stream {
        // A stream's declarations are its own, and nothing reads them.
        let Some(filter) = guest.world.streams.filter_mut(id, index) else {
            return Err(Status::NotFound);
        };
        if filter.declared.contains(&name) {
            return Err(Status::BadArgument);
        }
        filter.declared.push(name);
        return Ok(None);
    }
    let instance = guest.world.instances.at_mut(guest.instance);
    let Some(root) = instance.root_mut(context.root) else {
        return Err(Status::NotFound);
    };
    if root.declared.iter().any(|(known, _)| *known == name) {
        return Err(Status::BadArgument);
    }
    root.declared.push((name, read_only));
    Ok(None)
}

fn set_filter_state(call: &mut Call<'_>, arguments: &[u8]) -> Answer {
    let fields = fields(arguments).ok_or(Status::BadArgument)?;
    let path = std::str::from_utf8(bytes_of(&fields, 1)).map_err(|_| Status::BadArgument)?;
    let value = bytes_of(&fields, 2);
    if !FILTER_STATE.contains(&path) {
        return Err(Status::NotFound);
    }
    let text = std::str::from_utf8(value);
    if NUMBERS.contains(&path) && !text.is_ok_and(|text| text.parse::<u64>().is_ok()) {
        return Err(Status::BadArgument);
    }
    let Some((id, _)) = call.context().stream else {
        return Err(Status::NotFound);
    };
    let Some(stream) = call.guest().world.streams.get_mut(id) else {
        return Err(Status::NotFound);
    };
    match stream
        .filter_state
        .iter_mut()
        .find(|(name, _)| name == path)
    {
        Some((_, held)) => value.clone_into(held),
        None => stream.filter_state.push((path.to_owned(), value.to_vec())),
    }
    Ok(None)
}
