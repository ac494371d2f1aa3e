//! gRPC call-outs: ids and statuses, what comes back and in which order, as a real Envoy was seen to do it.

use crate::support::{self, Told, Watch, number, numbers, text};
use tidegate_host::{
    ClusterConfig, GrpcEvent, GrpcId, GrpcOutput, HeaderMap, InputError, PluginConfig, Profile,
    Proxy, VmState,
};

/// Tells everything that can be seen in a gRPC callback, after its own number.
const SEES: &str = r#"
  (func $sees (param $which i32) (param $id i32) (param $value i32)
    (call $say (local.get $which)) (call $say (local.get $id)) (call $say (local.get $value))
    (call $told (call $get_header (i32.const 4) @"x-initial" (i32.const 16) (i32.const 20)))
    (call $told (call $get_header (i32.const 5) @"grpc-status" (i32.const 16) (i32.const 20)))
    (call $told (call $get_buffer (i32.const 5) (i32.const 0) (i32.const 100) (i32.const 16) (i32.const 20))))
  (func (export "proxy_on_grpc_receive_initial_metadata") (param i32 i32 i32)
    (call $sees (i32.const 101) (local.get 1) (local.get 2)))
  (func (export "proxy_on_grpc_receive") (param i32 i32 i32)
    (call $sees (i32.const 102) (local.get 1) (local.get 2)))
  (func (export "proxy_on_grpc_receive_trailing_metadata") (param i32 i32 i32)
    (call $sees (i32.const 103) (local.get 1) (local.get 2)))
  (func (export "proxy_on_grpc_close") (param i32 i32 i32)
    (call $sees (i32.const 104) (local.get 1) (local.get 2))
    (call $told (call $get_status (i32.const 28) (i32.const 16) (i32.const 20)))
    (call $say (i32.load (i32.const 28))))
"#;

/// A `GrpcService` that names a cluster for Envoy's own client.
fn service(cluster: &str) -> String {
    let size = cluster.len();
    let message = format!("\\0a\\{:02x}\\0a\\{size:02x}{cluster}", size + 2);
    format!(r#"(data (i32.const 512) "{message}")"#)
}

/// Does something on each request: the first does the first thing, and so on.
fn steps(steps: &[&str]) -> String {
    let mut body = String::new();
    for (number, step) in steps.iter().enumerate() {
        body += &format!(
            "(if (i32.eq (global.get $step) (i32.const {})) (then {step}))",
            number + 1
        );
    }
    format!(
        r#"{SEES} (global $step (mut i32) (i32.const 0))
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (i32.store (i32.const 24) (i32.const 77))
             (global.set $step (i32.add (global.get $step) (i32.const 1)))
             {body} (i32.const 0))"#
    )
}

fn call_to(upstream: &str, timeout_ms: u32) -> String {
    format!(
        r#"(call $say (call $grpc_call {upstream} @"svc.S" @"Do" (i32.const 0) (i32.const 0)
             @"ask" (i32.const {timeout_ms}) (i32.const 24)))
           (call $say (i32.load (i32.const 24)))"#
    )
}

fn stream_to(upstream: &str) -> String {
    format!(
        r#"(call $say (call $grpc_stream {upstream} @"svc.S" @"Talk" (i32.const 0) (i32.const 0)
             (i32.const 24)))
           (call $say (i32.load (i32.const 24)))"#
    )
}

fn send(id: u32, message: &str, end_stream: bool) -> String {
    format!(
        r#"(call $say (call $grpc_send (i32.const {id}) @"{message}" (i32.const {})))"#,
        i32::from(end_stream)
    )
}

fn start_as(profile: Profile, guest: &str) -> (Proxy, Watch) {
    let engine = support::engine();
    let module = support::module(&engine, guest);
    let watch = Watch::default();
    let cluster = |name: &str, endpoints: &[&str]| ClusterConfig {
        name: name.to_owned(),
        endpoints: endpoints.iter().map(|&it| it.to_owned()).collect(),
        ..ClusterConfig::default()
    };
    let mut proxy = Proxy::builder(&engine)
        .profile(profile)
        .cluster(cluster("up", &["127.0.0.1:7001"]))
        .cluster(cluster("nobody", &[]))
        .filter(&module, PluginConfig::default())
        .build()
        .unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    (proxy, watch)
}

fn start(guest: &str) -> (Proxy, Watch) {
    start_as(Profile::Envoy, guest)
}

fn only(proxy: &Proxy) -> GrpcId {
    let mut pending = proxy.pending_grpc();
    let id = pending.next().unwrap().id;
    assert!(pending.next().is_none());
    id
}

fn close(status: u32, message: &str) -> GrpcEvent {
    GrpcEvent::Close {
        status,
        message: message.to_owned(),
        metadata: HeaderMap::new(),
    }
}

/// What [`SEES`] tells; `None` is a map that is not there.
fn seen(
    which: i32,
    id: i32,
    value: i32,
    [initial, trailing]: [Result<&str, i32>; 2],
    message: &str,
) -> Vec<Told> {
    let mut told = numbers(&[which, id, value]);
    for map in [initial, trailing] {
        match map {
            Ok(value) => told.extend([number(0), text(value)]),
            Err(status) => told.push(number(status)),
        }
    }
    told.extend([number(0), text(message)]);
    told
}

const NO_MAPS: [Result<&str, i32>; 2] = [Err(2), Err(2)];

fn closed(id: i32, status: i32, message: &str) -> Vec<Told> {
    let mut told = seen(104, id, status, NO_MAPS, "");
    told.extend([number(0), text(message), number(status)]);
    told
}

#[test]
fn call_that_succeeds_shows_its_message_and_nothing_else() {
    let (mut proxy, watch) = start(&steps(&[&call_to(r#"@"up""#, 1_000)]));
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[0, 5]));
    let id = only(&proxy);
    let call = proxy.pending_grpc().next().unwrap().clone();
    assert_eq!((call.token, call.cluster.as_str()), (5, "up"));
    assert_eq!(
        (call.service.as_str(), call.method.as_str()),
        ("svc.S", "Do")
    );
    assert_eq!(call.message.as_deref(), Some(b"ask".as_slice()));
    assert_eq!(call.deadline_ns, Some(call.started_ns + 1_000_000_000));
    proxy
        .grpc_event(id, GrpcEvent::InitialMetadata(HeaderMap::new()))
        .unwrap();
    proxy
        .grpc_event(id, GrpcEvent::Message(b"told".to_vec()))
        .unwrap();
    assert_eq!(watch.take(), []);
    proxy.grpc_event(id, close(0, "")).unwrap();
    assert_eq!(watch.take(), seen(102, 5, 4, NO_MAPS, "told"));
    assert_eq!(
        proxy.grpc_event(id, close(0, "")),
        Err(InputError::UnknownCall)
    );
    // Its time-out is off.
    proxy.advance_to(proxy.now_ns() + 2_000_000_000);
    assert_eq!(watch.take(), []);
}

#[test]
fn call_that_fails_is_closed_with_status_and_message() {
    let call = call_to(r#"@"up""#, 0);
    let (mut proxy, watch) = start(&steps(&[&call, &call, &call]));
    for (id, event, status, message) in [
        (5, close(7, "no entry"), 7, "no entry{via_upstream}"),
        // A success without a message is none.
        (9, close(0, ""), 13, ""),
        (
            13,
            GrpcEvent::Refused,
            14,
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure\
             {upstream_reset_before_response_started{remote_connection_failure|\
             delayed_connect_error:_Connection_refused}}",
        ),
    ] {
        support::exchange(&mut proxy);
        assert_eq!(watch.take(), numbers(&[0, id]));
        let pending = only(&proxy);
        proxy.grpc_event(pending, event).unwrap();
        assert_eq!(watch.take(), closed(id, status, message));
    }
}

#[test]
fn call_times_out_in_virtual_time() {
    let (mut proxy, watch) = start(&steps(&[&call_to(r#"@"up""#, 25), &call_to(r#"@"up""#, 0)]));
    support::exchange(&mut proxy);
    watch.take();
    proxy.advance_to(proxy.now_ns() + 24_999_999);
    assert_eq!(watch.take(), []);
    proxy.advance_to(proxy.now_ns() + 1);
    assert_eq!(
        watch.take(),
        closed(5, 14, "upstream request timeout{response_timeout}")
    );
    assert_eq!(proxy.pending_grpc().count(), 0);
    // 0 is for ever.
    support::exchange(&mut proxy);
    assert_eq!(proxy.next_timer_ns(), None);
}

#[test]
fn upstream_is_a_message_or_the_name_of_a_cluster() {
    let by_message = "(i32.const 512) (i32.const 6)";
    let known = format!(
        "{} {}",
        service("up"),
        steps(&[&call_to(by_message, 0), &stream_to(by_message)])
    );
    let (mut proxy, watch) = start(&known);
    support::exchange(&mut proxy);
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[0, 5, 0, 6]));
    let clusters: Vec<&str> = proxy
        .pending_grpc()
        .map(|call| call.cluster.as_str())
        .collect();
    assert_eq!(clusters, ["up", "up"]);

    // A cluster that is not there: told by the status for a name, and by the close for a message.
    let by_message = "(i32.const 512) (i32.const 7)";
    let unknown = format!(
        "{} {}",
        service("far"),
        steps(&[
            &call_to(by_message, 0),
            &stream_to(by_message),
            &call_to(r#"@"far""#, 0),
            &stream_to(r#"@"far""#),
        ])
    );
    let (mut proxy, watch) = start(&unknown);
    for (id, told) in [(Some(5), 10), (Some(6), 10), (None, 4), (None, 4)] {
        support::exchange(&mut proxy);
        let end = id.map_or_else(Vec::new, |id| closed(id, 14, "Cluster not available"));
        assert_eq!(watch.take(), [numbers(&[told, 77]), end].concat());
    }
    assert_eq!(proxy.pending_grpc().count(), 0);
}

#[test]
fn cluster_without_endpoints_fails_inline_and_is_closed_after_the_callback() {
    let (mut proxy, watch) = start(&steps(&[
        &call_to(r#"@"nobody""#, 0),
        &stream_to(r#"@"nobody""#),
        &call_to(r#"@"up""#, 0),
    ]));
    support::exchange(&mut proxy);
    assert_eq!(
        watch.take(),
        [
            numbers(&[10, 77]),
            closed(5, 14, "no healthy upstream{no_healthy_upstream}")
        ]
        .concat()
    );
    // A stream's empty metadata comes inside the call.
    support::exchange(&mut proxy);
    assert_eq!(
        watch.take(),
        [
            seen(101, 6, 0, [Err(1), Err(2)], ""),
            seen(103, 6, 4, [Err(2), Ok("14")], ""),
            numbers(&[10, 77]),
            closed(6, 14, "no healthy upstream{no_healthy_upstream}")
        ]
        .concat()
    );
    // The failed call used its id up.
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[0, 9]));
}

#[test]
fn upstream_that_parses_as_a_service_without_a_target_traps_where_envoy_crashes() {
    for upstream in [
        "(i32.const 0) (i32.const 0)",
        // As protocol buffers, a field of four bytes that nobody knows.
        r#"@"eight""#,
    ] {
        let (mut proxy, _) = start(&steps(&[&call_to(upstream, 0)]));
        support::exchange(&mut proxy);
        let VmState::Dead(why) = &proxy.vms()[1].state else {
            panic!("it lives");
        };
        assert!(why.contains("crashes Envoy"), "{why}");
    }
}

#[test]
fn stream_carries_messages_both_ways_until_both_ends_are_closed() {
    let (mut proxy, watch) = start(&steps(&[
        &stream_to(r#"@"up""#),
        &send(6, "one", false),
        &(send(6, "two", true) + &send(6, "behind the last", false)),
        &send(6, "three", false),
        "(call $say (call $grpc_close (i32.const 6))) (call $say (call $grpc_close (i32.const 6)))",
    ]));
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[0, 6]));
    let id = only(&proxy);
    assert_eq!(proxy.poll_grpc(id), None);
    support::exchange(&mut proxy);
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[0, 0, 0]));
    let message = |data: &str, end_stream: bool| GrpcOutput::Message {
        data: data.as_bytes().to_vec(),
        end_stream,
    };
    assert_eq!(proxy.poll_grpc(id), Some(message("one", false)));
    assert_eq!(proxy.poll_grpc(id), Some(message("two", true)));
    assert_eq!(proxy.poll_grpc(id), None);

    let initial = HeaderMap::from([("x-initial", "1")]);
    proxy
        .grpc_event(id, GrpcEvent::InitialMetadata(initial))
        .unwrap();
    // The HTTP status is one of two elements.
    assert_eq!(watch.take(), seen(101, 6, 2, [Ok("1"), Err(2)], ""));
    for reply in ["first", "second"] {
        proxy
            .grpc_event(id, GrpcEvent::Message(reply.into()))
            .unwrap();
        let size = i32::try_from(reply.len()).unwrap();
        assert_eq!(watch.take(), seen(102, 6, size, NO_MAPS, reply));
    }
    proxy.grpc_event(id, close(10, "died")).unwrap();
    assert_eq!(
        watch.take(),
        [
            seen(103, 6, 2, [Err(2), Ok("10")], ""),
            closed(6, 10, "died{via_upstream}")
        ]
        .concat()
    );
    assert_eq!(proxy.pending_grpc().count(), 0);
    // The guest's own end is still open: it may send into the void, and has to close it.
    support::exchange(&mut proxy);
    assert_eq!(proxy.poll_grpc(id), None);
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[0, 0, 1]));
}

#[test]
fn stream_that_the_guest_closed_still_hears_the_upstream() {
    let close_twice =
        "(call $say (call $grpc_close (i32.const 6))) (call $say (call $grpc_close (i32.const 6)))";
    let (mut proxy, watch) = start(&steps(&[
        &stream_to(r#"@"up""#),
        close_twice,
        "(call $say (call $grpc_close (i32.const 6)))",
    ]));
    support::exchange(&mut proxy);
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[0, 6, 0, 0]));
    let id = only(&proxy);
    assert_eq!(proxy.poll_grpc(id), Some(GrpcOutput::Closed));
    assert_eq!(proxy.poll_grpc(id), None);
    proxy
        .grpc_event(id, GrpcEvent::Message(b"last".to_vec()))
        .unwrap();
    proxy.grpc_event(id, close(0, "")).unwrap();
    let told = watch.take();
    assert_eq!(told[..3], numbers(&[101, 6, 1]));
    assert_eq!(
        told[told.len() - closed(6, 0, "").len()..],
        closed(6, 0, "via_upstream")
    );
    // Both ends are closed: it is forgotten.
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[1]));
}

#[test]
fn answer_of_trailers_alone_has_empty_initial_metadata() {
    let (mut proxy, watch) = start(&steps(&[&stream_to(r#"@"up""#), &stream_to(r#"@"up""#)]));
    for event in [close(12, "no such method"), GrpcEvent::Refused] {
        support::exchange(&mut proxy);
        watch.take();
        let id = only(&proxy);
        proxy.grpc_event(id, event).unwrap();
        let told = watch.take();
        // The map is there, and there is nothing in it; all of it is in the trailers.
        assert_eq!(told[0], number(101));
        assert_eq!(told[2..4], numbers(&[0, 1]));
        let at = told.iter().position(|it| *it == number(103)).unwrap();
        assert_eq!(told[at + 2], number(4));
    }
}

#[test]
fn messages_to_an_upstream_that_closed_go_nowhere() {
    let (mut proxy, watch) = start(&steps(&[
        &stream_to(r#"@"up""#),
        &send(6, "late", false),
        "(call $say (call $grpc_close (i32.const 6)))",
    ]));
    support::exchange(&mut proxy);
    let id = only(&proxy);
    proxy.grpc_event(id, close(0, "")).unwrap();
    watch.take();
    support::exchange(&mut proxy);
    assert_eq!(proxy.poll_grpc(id), None);
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[0, 0]));
}

#[test]
fn cancelled_calls_and_streams_hear_nothing_more() {
    let cancel = |id: u32| {
        format!(
            "(call $say (call $grpc_cancel (i32.const {id}))) (call $say (call $grpc_cancel (i32.const {id})))"
        )
    };
    let (mut proxy, watch) = start(&steps(&[
        &call_to(r#"@"up""#, 10),
        &cancel(5),
        &stream_to(r#"@"up""#),
        &cancel(6),
        &call_to(r#"@"up""#, 10),
        // To close a call is to cancel it.
        "(call $say (call $grpc_close (i32.const 9))) (call $say (call $grpc_close (i32.const 9)))",
    ]));
    for (opened, cancelled) in [(5, 0), (6, 0), (9, 0)] {
        support::exchange(&mut proxy);
        assert_eq!(watch.take(), numbers(&[0, opened]));
        let id = only(&proxy);
        support::exchange(&mut proxy);
        assert_eq!(watch.take(), numbers(&[cancelled, 1]));
        assert_eq!(
            proxy.grpc_event(id, close(0, "")),
            Err(InputError::UnknownCall)
        );
    }
    assert_eq!(proxy.next_timer_ns(), None);
}

#[test]
fn ids_of_another_kind_and_of_nothing_are_told_apart() {
    let (mut proxy, watch) = start(&steps(&[r#"(call $say (call $grpc_cancel (i32.const 4)))
           (call $say (call $grpc_cancel (i32.const 5)))
           (call $say (call $grpc_close (i32.const 6)))
           (call $say (call $grpc_close (i32.const 8)))
           (call $say (call $grpc_send (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 0)))
           (call $say (call $grpc_send (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 0)))
           (call $say (call $grpc_send (i32.const 6) (i32.const 0) (i32.const 0) (i32.const 0)))
           (call $say (call $grpc_send (i32.const 6) (i32.const -1) (i32.const 9) (i32.const 0)))"#]));
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[2, 1, 1, 2, 2, 2, 1, 6]));
}

#[test]
fn calls_of_a_vm_that_dies_are_forgotten() {
    let (mut proxy, _) = start(&steps(&[
        &call_to(r#"@"up""#, 10),
        &stream_to(r#"@"up""#),
        "(unreachable)",
    ]));
    support::exchange(&mut proxy);
    support::exchange(&mut proxy);
    assert_eq!(proxy.pending_grpc().count(), 2);
    support::exchange(&mut proxy);
    assert_eq!(proxy.pending_grpc().count(), 0);
    assert_eq!(proxy.next_timer_ns(), None);
}

#[test]
fn call_shows_metadata_and_close_by_the_specification() {
    let (mut proxy, watch) = start_as(Profile::Spec, &steps(&[&call_to(r#"@"up""#, 0)]));
    support::exchange(&mut proxy);
    watch.take();
    let id = only(&proxy);
    proxy
        .grpc_event(id, GrpcEvent::Message(b"told".to_vec()))
        .unwrap();
    proxy.grpc_event(id, close(0, "")).unwrap();
    let which: Vec<i32> = watch
        .numbers()
        .into_iter()
        .filter(|it| (101..=104).contains(it))
        .collect();
    assert_eq!(which, [101, 102, 103, 104]);
}
