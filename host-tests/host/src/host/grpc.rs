//! gRPC call-outs, as guests make them.

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::call::{Call, Stop, answer, bytes};
use super::protobuf::{Field, bytes_of, fields};
use crate::chain::NO_ENDPOINT;
use crate::grpc::{GrpcId, GrpcOutput, PendingGrpc};
use crate::headers::{HeaderMap, pairs};
use crate::status::Status;
use crate::vm::instance::Action;
use crate::vm::run::Run;
use crate::world::grpc::Grpc;
use crate::world::timers::Event;

const NS_PER_MS: u64 = 1_000_000;
const ID_STEP: u32 = 4;
const KIND_MASK: u32 = 0b11;
const CALL: u32 = 1;
const STREAM: u32 = 2;

const UNAVAILABLE: u32 = 14;
/// SOURCE: what Envoy 1.40 tells of a cluster that it does not have.
const NO_CLUSTER: &str = "Cluster not available";

/// What a guest asks for.
struct Request {
    cluster: String,
    service: String,
    method: String,
    metadata: HeaderMap,
    message: Option<Vec<u8>>,
    timeout_ms: u32,
}

/// Where it goes.
enum Target {
    /// A cluster, by its name or by the message of a gRPC service.
    Cluster(String),
    /// A target of Google's gRPC client: no cluster is asked.
    Direct(String),
}

#[expect(clippy::too_many_arguments, reason = "the parameters are the ABI's")]
pub(super) fn call(
    call: &mut Call<'_>,
    upstream: i32,
    upstream_size: i32,
    service: i32,
    service_size: i32,
    method: i32,
    method_size: i32,
    metadata: i32,
    metadata_size: i32,
    message: i32,
    message_size: i32,
    timeout: i32,
    id: i32,
) -> Result<(), Stop> {
    let named = [
        (upstream, upstream_size),
        (service, service_size),
        (method, method_size),
        (metadata, metadata_size),
    ];
    begin(
        call,
        named,
        Some((message, message_size)),
        timeout.cast_unsigned(),
        id,
    )
}

#[expect(clippy::too_many_arguments, reason = "the parameters are the ABI's")]
pub(super) fn stream(
    call: &mut Call<'_>,
    upstream: i32,
    upstream_size: i32,
    service: i32,
    service_size: i32,
    method: i32,
    method_size: i32,
    metadata: i32,
    metadata_size: i32,
    id: i32,
) -> Result<(), Stop> {
    let named = [
        (upstream, upstream_size),
        (service, service_size),
        (method, method_size),
        (metadata, metadata_size),
    ];
    begin(call, named, None, 0, id)
}

fn begin(
    call: &mut Call<'_>,
    named: [(i32, i32); 4],
    message: Option<(i32, i32)>,
    timeout_ms: u32,
    id: i32,
) -> Result<(), Stop> {
    let [upstream, service, method, metadata] = named;
    call.note_text("", service.0, service.1);
    call.note_text("", method.0, method.1);
    let (memory, guest) = call.parts();
    let upstream = bytes(memory, upstream.0, upstream.1)?;
    let service = bytes(memory, service.0, service.1)?;
    let method = bytes(memory, method.0, method.1)?;
    let metadata = bytes(memory, metadata.0, metadata.1)?;
    let message = match message {
        Some((data, size)) => Some(bytes(memory, data, size)?),
        None => None,
    };
    let sizes = [upstream, service, method, metadata, message.unwrap_or(&[])];
    guest.keep(sizes.iter().map(|part| part.len()).sum())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let target = target_of(upstream)?;
    let mut request = Request {
        cluster: String::new(),
        service: text(service),
        method: text(method),
        metadata: pairs::decode(metadata).collect(),
        message: message.map(<[u8]>::to_vec),
        timeout_ms,
    };
    let world = &guest.world;
    let endpoints = |name: &String| {
        let known = world.clusters.get(name);
        let config = known.and_then(|cluster| cluster.config.as_ref());
        config.map(|config| config.endpoints.len())
    };
    let failure = match &target {
        Target::Direct(_) => None,
        Target::Cluster(name) => match endpoints(name) {
            // A name that is no message and no cluster: nothing begins, and no id is used up.
            None if service_of(upstream).is_none() => return answer(Status::ParseFailure),
            None => Some(NO_CLUSTER.to_owned()),
            Some(0) => Some(NO_ENDPOINT.message()),
            Some(_) => None,
        },
    };
    let (Target::Cluster(name) | Target::Direct(name)) = target;
    request.cluster = name;
    let number = guest.instance;
    let is_stream = request.message.is_none();
    let instance = guest.world.instances.at_mut(number);
    let (next, kind) = if is_stream {
        (&mut instance.next_grpc_stream, STREAM)
    } else {
        (&mut instance.next_grpc_call, CALL)
    };
    *next = next.wrapping_add(ID_STEP);
    let token = *next | kind;
    open(call, token, request);
    let Some(failure) = failure else {
        return call.write_u32(id, token);
    };
    // Envoy tells a stream's metadata inside the call, and the end of both after the callback.
    let opened = GrpcId::of(number, token);
    let root = call.context().root;
    if is_stream && failure != NO_CLUSTER {
        let mut home = call.guest().world.take();
        Run::inside(&mut home, number, call.store()).tell_no_endpoint(opened);
        call.guest().world = home;
    }
    let world = &mut call.guest().world;
    world.forget_grpc(opened);
    world
        .instances
        .at_mut(number)
        .actions
        .push_back(Action::GrpcClosed {
            root,
            token,
            status: UNAVAILABLE,
            message: failure,
        });
    answer(Status::InternalFailure)
}

/// Fields of a `GrpcService`: the two kinds of target.
const ENVOY_GRPC: u64 = 1;
const GOOGLE_GRPC: u64 = 2;

/// The fields of a serialised service; `None` if it, or the message of its target, is malformed.
fn service_of(upstream: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let outer = fields(upstream)?;
    let is_whole = |(number, field): &(u64, Field<'_>)| match field {
        Field::Bytes(inner) if matches!(*number, ENVOY_GRPC | GOOGLE_GRPC) => {
            fields(inner).is_some()
        }
        _ => true,
    };
    outer.iter().all(is_whole).then_some(outer)
}

/// Reads where a call goes: a serialised `envoy.config.core.v3.GrpcService`, else the name of a cluster.
fn target_of(upstream: &[u8]) -> Result<Target, Stop> {
    const NAME: u64 = 1;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let Some(outer) = service_of(upstream) else {
        return Ok(Target::Cluster(text(upstream)));
    };
    let has = |wanted: u64| {
        outer
            .iter()
            .any(|(number, field)| *number == wanted && matches!(field, Field::Bytes(_)))
    };
    let name = |number: u64| {
        let inner = fields(bytes_of(&outer, number));
        inner.map_or_else(String::new, |inner| text(bytes_of(&inner, NAME)))
    };
    if has(ENVOY_GRPC) {
        Ok(Target::Cluster(name(ENVOY_GRPC)))
    } else if has(GOOGLE_GRPC) {
        Ok(Target::Direct(name(GOOGLE_GRPC)))
    } else {
        Err(Stop::Trap(wasmtime::Error::msg(
            "a gRPC upstream that parses as a GrpcService without a target crashes Envoy 1.40; \
             an empty one does, and so do some names of clusters: send the serialised message",
        )))
    }
}

fn open(call: &mut Call<'_>, token: u32, request: Request) {
    let root = call.context().root;
    let guest = call.guest();
    let instance = guest.instance;
    let world = &mut *guest.world;
    let id = GrpcId::of(instance, token);
    let timeout_ns = u64::from(request.timeout_ms).saturating_mul(NS_PER_MS);
    let deadline_ns = (timeout_ns > 0).then(|| world.now_ns.saturating_add(timeout_ns));
    let timer = deadline_ns
        .map(|deadline_ns| world.plan(deadline_ns, instance, Event::GrpcTimeout { call: id }));
    let (plugin, thread) = world.caller(instance, root);
    let pending = PendingGrpc {
        id,
        token,
        plugin,
        thread,
        cluster: request.cluster,
        service: request.service,
        method: request.method,
        metadata: request.metadata,
        message: request.message,
        started_ns: world.now_ns,
        deadline_ns,
    };
    world.grpc.insert(
        id,
        Grpc {
            instance,
            root,
            timer,
            pending,
            sent: VecDeque::new(),
            ended: false,
            is_answered: false,
            answer: None,
            closed_by_guest: false,
            closed_by_upstream: false,
        },
    );
}

pub(super) fn send(
    call: &mut Call<'_>,
    id: i32,
    message: i32,
    message_size: i32,
    end_stream: i32,
) -> Result<(), Stop> {
    let id = id.cast_unsigned();
    call.note(|note| {
        let _ = write!(note, "stream {id}, {} bytes", message_size.cast_unsigned());
    });
    let (memory, guest) = call.parts();
    let data = bytes(memory, message, message_size)?;
    if id & KIND_MASK != STREAM {
        return answer(Status::BadArgument);
    }
    guest.keep(data.len())?;
    let name = GrpcId::of(guest.instance, id);
    let Some(stream) = guest.world.grpc.get_mut(&name) else {
        return answer(Status::NotFound);
    };
    // After the end of either side it goes nowhere, which is no error.
    if !stream.closed_by_upstream && !stream.ended {
        stream.ended = end_stream != 0;
        stream.sent.push_back(GrpcOutput::Message {
            data: data.to_vec(),
            end_stream: stream.ended,
        });
    }
    Ok(())
}

pub(super) fn cancel(call: &mut Call<'_>, id: i32) -> Result<(), Stop> {
    let id = named(call, id)?;
    if call.guest().world.forget_grpc(id) {
        Ok(())
    } else {
        answer(Status::NotFound)
    }
}

/// Closes a stream's own end; cancels a call.
pub(super) fn close(call: &mut Call<'_>, id: i32) -> Result<(), Stop> {
    let id = named(call, id)?;
    let world = &mut call.guest().world;
    let Some(found) = world.grpc.get_mut(&id) else {
        return answer(Status::NotFound);
    };
    if found.pending.message.is_some() || found.closed_by_upstream {
        world.forget_grpc(id);
        return Ok(());
    }
    found.closed_by_guest = true;
    if !std::mem::replace(&mut found.ended, true) {
        found.sent.push_back(GrpcOutput::Closed);
    }
    Ok(())
}

fn named(call: &mut Call<'_>, id: i32) -> Result<GrpcId, Stop> {
    let id = id.cast_unsigned();
    call.note(|note| {
        let _ = write!(note, "{id}");
    });
    let kind = id & KIND_MASK;
    if kind != CALL && kind != STREAM {
        return Err(Stop::Status(Status::BadArgument));
    }
    Ok(GrpcId::of(call.guest().instance, id))
}
