//! HTTP call-outs, as guests make them.

use std::fmt::Write as _;

use super::call::{Call, Stop, answer, bytes};
use super::maps;
use crate::headers::{HeaderMap, pairs};
use crate::output::{CallId, PendingCall};
use crate::status::Status;
use crate::vm::run::Run;
use crate::world::World;
use crate::world::timers::Event;

const NS_PER_MS: u64 = 1_000_000;
/// Ids of call-outs count up by this; the low bits tell the kind.
const ID_STEP: u32 = 4;

#[expect(clippy::too_many_arguments, reason = "the parameters are the ABI's")]
pub(super) fn http_call(
    call: &mut Call<'_>,
    upstream: i32,
    upstream_size: i32,
    headers: i32,
    headers_size: i32,
    body: i32,
    body_size: i32,
    trailers: i32,
    trailers_size: i32,
    timeout: i32,
    id: i32,
) -> Result<(), Stop> {
    call.note_text("", upstream, upstream_size);
    call.note(|note| {
        let _ = write!(note, ", {timeout} ms");
    });
    let (memory, guest) = call.parts();
    let cluster = bytes(memory, upstream, upstream_size)?;
    let body = bytes(memory, body, body_size)?;
    let header_pairs = bytes(memory, headers, headers_size)?;
    let trailer_pairs = bytes(memory, trailers, trailers_size)?;
    guest.keep(
        body.len()
            .saturating_add(cluster.len())
            .saturating_add(header_pairs.len())
            .saturating_add(trailer_pairs.len()),
    )?;
    let cluster = String::from_utf8_lossy(cluster).into_owned();
    let mut headers = HeaderMap::new();
    for (name, value) in pairs::decode(header_pairs) {
        maps::add(&mut headers, true, name, value);
    }
    let trailers: HeaderMap = pairs::decode(trailer_pairs).collect();
    let body = body.to_vec();
    call.write_u32(id, 0)?;
    if timeout < 0 {
        return answer(Status::BadArgument);
    }
    let guest = call.guest();
    let known = guest.world.clusters.get(&cluster);
    let Some(config) = known.and_then(|cluster| cluster.config.as_ref()) else {
        return answer(Status::BadArgument);
    };
    let has_endpoint = !config.endpoints.is_empty();
    if [":path", ":method", ":authority"]
        .iter()
        .any(|name| headers.get(name).is_none())
    {
        return answer(Status::BadArgument);
    }
    refuse_at_start(call)?;
    let guest = call.guest();
    let number = guest.instance;
    let instance = guest.world.instances.at_mut(number);
    instance.next_http_call = instance.next_http_call.wrapping_add(ID_STEP);
    let token = instance.next_http_call;
    if !has_endpoint {
        return answer(Status::InternalFailure);
    }
    if !body.is_empty() {
        headers.set("content-length", body.len().to_string());
    }
    headers.set("x-envoy-internal", "true");
    if timeout > 0 {
        headers.set("x-envoy-expected-rq-timeout-ms", timeout.to_string());
    }
    let root = call.context().root;
    let world = &mut *call.guest().world;
    let timeout_ns = u64::from(timeout.cast_unsigned()).saturating_mul(NS_PER_MS);
    let call_id = begin(
        world,
        number,
        root,
        token,
        timeout_ns,
        (cluster, headers, body, trailers),
    );
    // The upstream filters run inside the call, in whichever VM they live: also in this one.
    let mut home = call.guest().world.take();
    let sent = Run::inside(&mut home, number, call.store()).send_call(call_id);
    call.guest().world = home;
    if !sent {
        return answer(Status::InternalFailure);
    }
    call.write_u32(id, token)
}

fn begin(
    world: &mut World,
    instance: usize,
    root: u32,
    token: u32,
    timeout_ns: u64,
    (cluster, headers, body, trailers): (String, HeaderMap, Vec<u8>, HeaderMap),
) -> CallId {
    world.next_call = world.next_call.wrapping_add(1);
    let id = CallId(world.next_call);
    let deadline_ns = (timeout_ns > 0).then(|| world.now_ns.saturating_add(timeout_ns));
    let timer = deadline_ns
        .map(|deadline_ns| world.plan(deadline_ns, instance, Event::CallTimeout { call: id }));
    let (plugin, thread) = world.caller(instance, root);
    let pending = PendingCall {
        id,
        token,
        plugin,
        thread,
        cluster,
        headers,
        body,
        trailers,
        started_ns: world.now_ns,
        deadline_ns,
    };
    world.calls.insert(
        id,
        crate::world::Call {
            instance,
            root,
            token,
            timer,
            attempt: None,
            polled: false,
            pending,
            sent: false,
            answered: false,
            answer: None,
        },
    );
    id
}

/// Envoy 1.40 crashes here: better that the plugin does not start.
fn refuse_at_start(call: &mut Call<'_>) -> Result<(), Stop> {
    let plugin = call.context().plugin;
    let guest = call.guest();
    let starting = guest.world.instances.at(guest.instance).starting;
    let upstream = guest
        .world
        .chains
        .iter()
        .skip(2)
        .any(|chain| chain.contains(&plugin));
    if starting && upstream {
        return Err(Stop::Trap(wasmtime::Error::msg(
            "proxy_http_call while an upstream filter starts crashes Envoy 1.40; \
             make the first call in proxy_on_tick",
        )));
    }
    Ok(())
}
