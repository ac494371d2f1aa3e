//! Call-outs: who may be called, what comes back, what upstream filters see of it.

use crate::support::{self, Watch, number, numbers, text};
use tidegate_host::{
    CallAnswer, ClusterConfig, HeaderMap, Module, PluginConfig, Proxy, StartError,
    UpstreamAttributes,
};

/// `:method: GET`, `:path: /`, `:authority: echo` in the encoding of the ABI, as a WAT text.
fn pairs(entries: &[(&str, &str)]) -> String {
    let mut encoded = Vec::new();
    let map: HeaderMap = entries.iter().copied().collect();
    tidegate_host::headers::pairs::encode(&map, &mut encoded);
    encoded.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

fn caller(cluster: &str, headers: &[(&str, &str)], body: &str, timeout: i32) -> String {
    // The map is data of its own: the shorthand for texts knows no binary.
    let map = pairs(headers);
    let size = map.len() / 3;
    format!(
        r#"(data (i32.const 512) "{map}")
           (func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $set_tick_period (i32.const 10))) (i32.const 1))
           (func (export "proxy_on_tick") (param i32)
             (i32.store (i32.const 24) (i32.const 99))
             (call $say (call $http_call @"{cluster}" (i32.const 512) (i32.const {size})
               @"{body}" (i32.const 0) (i32.const 0) (i32.const {timeout}) (i32.const 24)))
             (call $say (i32.load (i32.const 24))))
           (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
             (call $say (local.get 1)) (call $say (local.get 2))
             (call $say (local.get 3)) (call $say (local.get 4))
             (call $told (call $get_header (i32.const 6) @":status" (i32.const 16) (i32.const 20)))
             (call $told (call $get_buffer (i32.const 4) (i32.const 0) (i32.const 100) (i32.const 16) (i32.const 20)))
             (call $say (call $add_header (i32.const 6) @"a" @"b"))
             (call $number (call $get_status (i32.const 24) (i32.const 16) (i32.const 20)))
             (call $text (i32.load (i32.const 16)) (i32.load (i32.const 20))))"#
    )
}

const GET: &[(&str, &str)] = &[(":method", "GET"), (":path", "/"), (":authority", "echo")];

fn start(guest: &str) -> (Proxy, Watch) {
    let engine = support::engine();
    let module = support::module(&engine, guest);
    let watch = Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .cluster(cluster("echo", 1))
        .cluster(cluster("empty", 0))
        .singleton(&module, PluginConfig::default())
        .build()
        .unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    (proxy, watch)
}

fn cluster(name: &str, endpoints: usize) -> ClusterConfig {
    ClusterConfig {
        name: name.to_owned(),
        endpoints: vec!["127.0.0.1:7001".to_owned(); endpoints],
        ..ClusterConfig::default()
    }
}

fn tick(proxy: &mut Proxy) {
    proxy.advance_to(proxy.now_ns() + 10_000_000);
}

#[test]
fn call_that_cannot_begin_tells_why_and_leaves_the_id_at_zero() {
    let without_path = &[(":method", "GET"), (":authority", "echo")][..];
    for (target, headers, timeout, status) in [
        ("nobody", GET, 0, 2),
        ("empty", GET, 0, 10),
        ("echo", without_path, 0, 2),
        ("echo", GET, -1, 2),
    ] {
        let (mut proxy, watch) = start(&caller(target, headers, "", timeout));
        tick(&mut proxy);
        assert_eq!(watch.take(), numbers(&[status, 0]), "{target} {timeout}");
        assert_eq!(proxy.pending_calls().count(), 0);
    }
}

#[test]
fn call_is_answered_on_the_root_context_with_maps_and_body() {
    let (mut proxy, watch) = start(&caller("echo", GET, "ask", 0));
    tick(&mut proxy);
    assert_eq!(watch.take(), numbers(&[0, 4]));
    let call = proxy.pending_calls().next().unwrap().clone();
    assert_eq!((call.token, call.cluster.as_str()), (4, "echo"));
    assert_eq!(call.deadline_ns, None);
    assert_eq!(call.body, b"ask");
    let sent = HeaderMap::from([
        (":method", "GET"),
        (":path", "/"),
        (":authority", "echo"),
        ("content-length", "3"),
        ("x-envoy-internal", "true"),
    ]);
    assert_eq!(call.headers, sent);
    let answer = CallAnswer::Response {
        headers: HeaderMap::from([(":status", "201"), ("server", "echo")]),
        body: b"told".to_vec(),
        trailers: HeaderMap::from([("a", "b")]),
    };
    proxy.answer_call(call.id, answer.clone()).unwrap();
    assert_eq!(
        watch.take(),
        [
            number(4),
            // With the time that the upstream took.
            number(3),
            number(4),
            number(1),
            number(0),
            text("201"),
            number(0),
            text("told"),
            // What came cannot be written.
            number(2),
            number(0),
            number(0),
            text(""),
        ]
    );
    assert!(proxy.answer_call(call.id, answer).is_err());
    // The next call has the next id, four more.
    tick(&mut proxy);
    assert_eq!(watch.take(), numbers(&[0, 8]));
}

#[test]
fn call_that_times_out_is_answered_with_504() {
    let (mut proxy, watch) = start(&caller("echo", GET, "", 25));
    tick(&mut proxy);
    watch.take();
    let call = proxy.pending_calls().next().unwrap().clone();
    assert_eq!(call.deadline_ns, Some(call.started_ns + 25_000_000));
    proxy.advance_to(call.started_ns + 25_000_000);
    let told = watch.take();
    // Two more ticks, then the answer to the first call.
    assert_eq!(
        told[4..],
        [
            number(4),
            number(3),
            number(24),
            number(0),
            number(0),
            text("504"),
            number(0),
            text("upstream request timeout"),
            number(2),
            number(0),
            number(0),
            text(""),
        ]
    );
}

#[test]
fn refused_call_is_answered_with_503_and_a_reset_one_without_headers() {
    let (mut proxy, watch) = start(&caller("echo", GET, "", 0));
    tick(&mut proxy);
    let call = proxy.pending_calls().next().unwrap().id;
    watch.take();
    proxy.answer_call(call, CallAnswer::Refused).unwrap();
    let told = watch.take();
    assert_eq!(
        told[..5],
        [number(4), number(3), number(98), number(0), number(0)]
    );
    assert_eq!(told[5], text("503"));

    tick(&mut proxy);
    let call = proxy.pending_calls().next().unwrap().id;
    watch.take();
    proxy.answer_call(call, CallAnswer::Reset).unwrap();
    assert_eq!(
        watch.take(),
        [
            number(8),
            number(0),
            number(0),
            number(0),
            number(2),
            number(1),
            number(2),
            number(0),
            number(11),
            text("reset"),
        ]
    );
}

/// A guest that asks before it lets a request go, and takes what the answer says along.
const ASKS_FIRST: &str = r#"
  (global $stream (mut i32) (i32.const 0))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (global.set $stream (local.get 0))
    (call $say (call $http_call @"echo" (i32.const 512) (i32.const 64)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 24)))
    (i32.const 1))
  (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
    (drop (call $get_header (i32.const 6) @"x-verdict" (i32.const 16) (i32.const 20)))
    (call $say (call $set_effective_context (global.get $stream)))
    (call $say (call $add_header (i32.const 0) @"x-verdict" (i32.load (i32.const 16)) (i32.load (i32.const 20))))
    (call $say (call $continue_stream (i32.const 0))))
"#;

fn asks_first() -> String {
    let map = pairs(GET);
    let size = map.len() / 3;
    let guest = ASKS_FIRST.replace("(i32.const 64)", &format!("(i32.const {size})"));
    format!(r#"(data (i32.const 512) "{map}") {guest}"#)
}

#[test]
fn request_waits_for_a_call_out_and_goes_on_with_its_answer() {
    let engine = support::engine();
    let module = support::module(&engine, &asks_first());
    let watch = Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .cluster(cluster("echo", 1))
        .filter(&module, PluginConfig::default())
        .build()
        .unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), true)
        .unwrap();
    assert!(proxy.is_paused(stream));
    let answer = || CallAnswer::Response {
        headers: HeaderMap::from([(":status", "200"), ("x-verdict", "yes")]),
        body: Vec::new(),
        trailers: HeaderMap::new(),
    };
    let call = proxy.pending_calls().next().unwrap().id;
    proxy.answer_call(call, answer()).unwrap();
    assert_eq!(watch.take(), numbers(&[0, 0, 0, 0]));
    let outputs = support::drain(&mut proxy, stream);
    let [
        tidegate_host::Output::RequestHeaders {
            headers,
            end_stream: true,
        },
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(headers.get_str("x-verdict"), Some("yes"));

    // The client goes away before the answer comes: the context is gone, the call is not.
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), true)
        .unwrap();
    proxy
        .close_stream(stream, tidegate_host::CloseReason::ClientReset)
        .unwrap();
    let call = proxy.pending_calls().next().unwrap().id;
    proxy.answer_call(call, answer()).unwrap();
    assert_eq!(watch.take(), numbers(&[0, 2, 2, 0]));
}

/// A guest that notes when a callback runs inside another one, as the public SDK would panic.
const NESTING: &str = r#"
  (global $depth (mut i32) (i32.const 0))
  (func $enter (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
    (call $say (global.get $depth)))
  (func $leave (global.set $depth (i32.sub (global.get $depth) (i32.const 1))))
  (func (export "proxy_on_context_create") (param i32 i32) (call $enter) (call $leave))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $enter)
    (drop (call $add_header (i32.const 0) @"x-upstream-filter" @"1"))
    (call $told (call $get_property @"upstream\0address" (i32.const 16) (i32.const 20)))
    (call $leave) (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (call $enter) (drop (call $add_header (i32.const 2) @"x-upstream-filter" @"2")) (call $leave)
    (i32.const 0))
  (func (export "proxy_on_log") (param i32) (call $say (i32.const 80)))
  (func (export "proxy_on_delete") (param i32) (call $say (i32.const 100)))
"#;

fn nesting() -> String {
    let map = pairs(GET);
    let size = map.len() / 3;
    format!(
        r#"(data (i32.const 512) "{map}") {NESTING}
           (func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $set_tick_period (i32.const 10))) (i32.const 1))
           (func (export "proxy_on_tick") (param i32)
             (call $enter)
             (call $say (call $http_call @"echo" (i32.const 512) (i32.const {size})
               (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 24)))
             (call $leave))
           (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
             (call $enter)
             (call $told (call $get_header (i32.const 6) @"x-upstream-filter" (i32.const 16) (i32.const 20)))
             (call $leave))"#
    )
}

fn with_upstream_filter(
    engine: &tidegate_host::Engine,
    module: &Module,
    upstream: &Module,
) -> (Proxy, Watch) {
    let watch = Watch::default();
    let mut proxy = Proxy::builder(engine)
        .cluster(cluster("echo", 1))
        .filter(module, PluginConfig::default())
        .upstream_filter("echo", upstream, PluginConfig::default())
        .build()
        .unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    (proxy, watch)
}

#[test]
fn call_out_to_a_cluster_whose_upstream_filter_shares_the_vm_comes_back_inside_the_tick() {
    let engine = support::engine();
    let module = support::module(&engine, &nesting());
    // The same VM: the upstream filter's context is created while the tick runs.
    let (mut proxy, watch) = with_upstream_filter(&engine, &module, &module);
    assert_eq!(proxy.vms().len(), 2);
    tick(&mut proxy);
    let once = [
        number(1),
        number(2),
        number(2),
        number(0),
        text("127.0.0.1:7001"),
        number(0),
    ];
    // The worker's VM first, then the main thread's.
    assert_eq!(watch.take(), [once.clone(), once].concat());

    // Another module, another VM: nothing nests.
    let upstream = support::module(&engine, NESTING);
    let (mut proxy, watch) = with_upstream_filter(&engine, &module, &upstream);
    assert_eq!(proxy.vms().len(), 4);
    tick(&mut proxy);
    let once = [
        number(1),
        number(1),
        number(1),
        number(0),
        text("127.0.0.1:7001"),
        number(0),
    ];
    assert_eq!(watch.take(), [once.clone(), once].concat());
}

#[test]
fn call_out_and_its_answer_pass_the_upstream_filter() {
    let engine = support::engine();
    let module = support::module(&engine, &nesting());
    let (mut proxy, watch) = with_upstream_filter(&engine, &module, &module);
    tick(&mut proxy);
    watch.take();
    let call = proxy.pending_calls().next().unwrap().clone();
    assert_eq!(call.headers.get_str("x-upstream-filter"), Some("1"));
    let answer = CallAnswer::Response {
        headers: HeaderMap::new(),
        body: Vec::new(),
        trailers: HeaderMap::new(),
    };
    proxy.answer_call(call.id, answer).unwrap();
    // Response callback of the upstream filter, answer, and the end without a log.
    assert_eq!(
        watch.take(),
        [number(1), number(1), number(0), text("2"), number(100)]
    );
}

#[test]
fn call_out_while_an_upstream_filter_starts_is_refused_where_envoy_crashes() {
    let engine = support::engine();
    let map = pairs(GET);
    let size = map.len() / 3;
    let guest = format!(
        r#"(data (i32.const 512) "{map}")
           (func (export "proxy_on_configure") (param i32 i32) (result i32)
             (call $say (call $http_call @"echo" (i32.const 512) (i32.const {size})
               (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 24)))
             (i32.const 1))"#
    );
    let module = support::module(&engine, &guest);
    let build = |upstream: bool| {
        let builder = Proxy::builder(&engine).cluster(cluster("echo", 1));
        if upstream {
            builder.upstream_filter("echo", &module, PluginConfig::default())
        } else {
            builder.filter(&module, PluginConfig::default())
        }
        .build()
    };
    let Err(StartError::Trapped { message, .. }) = build(true) else {
        panic!("it started");
    };
    assert!(message.contains("crashes Envoy"), "{message}");
    assert!(build(false).is_ok());
}

#[test]
fn attempt_passes_the_upstream_filter_without_a_log_and_sees_the_plan() {
    let engine = support::engine();
    let planner = support::module(
        &engine,
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $set_property @"tidegate.plan" @"10.0.0.1:80")) (i32.const 0))"#,
    );
    let attempt = support::module(
        &engine,
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $told (call $get_property @"tidegate.plan" (i32.const 16) (i32.const 20)))
             (call $told (call $get_property @"upstream\0address" (i32.const 16) (i32.const 20)))
             (i32.const 0))
           (func (export "proxy_on_log") (param i32) (call $say (i32.const 8)))
           (func (export "proxy_on_done") (param i32) (result i32) (call $say (i32.const 9)) (i32.const 1))"#,
    );
    let watch = Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .filter(&planner, PluginConfig::default())
        .upstream_filter("echo", &attempt, PluginConfig::default())
        .build()
        .unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), true)
        .unwrap();
    let upstream = UpstreamAttributes {
        address: "10.0.0.1:80".to_owned(),
        attempt_count: 1,
        ..UpstreamAttributes::default()
    };
    assert_eq!(
        proxy.open_attempt(stream, "other", upstream.clone()),
        Ok(None)
    );
    let attempt = proxy
        .open_attempt(stream, "echo", upstream)
        .unwrap()
        .unwrap();
    proxy
        .request_headers(attempt, support::request_map(), true)
        .unwrap();
    proxy
        .response_headers(attempt, support::response_map(), true)
        .unwrap();
    proxy
        .close_stream(attempt, tidegate_host::CloseReason::Complete)
        .unwrap();
    let plan = text("10.0.0.1:80");
    assert_eq!(
        watch.take(),
        [number(0), plan.clone(), number(0), plan, number(9)]
    );
    assert_eq!(
        support::short(&support::drain(&mut proxy, attempt)),
        ["> headers true", "< 200 true"]
    );
}

#[test]
fn call_is_polled_once_and_can_be_answered_afterwards() {
    let (mut proxy, watch) = start(&caller("echo", GET, "ask", 0));
    assert_eq!(proxy.poll_call(), None);
    tick(&mut proxy);
    let first = proxy.poll_call().unwrap();
    assert_eq!(proxy.poll_call(), None);
    tick(&mut proxy);
    let second = proxy.poll_call().unwrap();
    assert_eq!((first.token, second.token), (4, 8));
    watch.take();
    for call in [second, first] {
        proxy
            .answer_call(call.id, CallAnswer::Disconnected)
            .unwrap();
        assert_eq!(proxy.poll_call(), None);
    }
    assert!(!watch.take().is_empty());
    tick(&mut proxy);
    assert_eq!(proxy.poll_call().map(|call| call.token), Some(12));
}

#[test]
fn cluster_whose_endpoints_are_taken_away_refuses_calls() {
    let (mut proxy, watch) = start(&caller("echo", GET, "", 0));
    assert!(proxy.set_endpoints("echo", Vec::new()));
    tick(&mut proxy);
    assert_eq!(watch.take(), numbers(&[10, 0]));
    assert!(proxy.set_endpoints("echo", vec!["127.0.0.1:7001".to_owned()]));
    tick(&mut proxy);
    // The call that failed has used up a number.
    assert_eq!(watch.take(), numbers(&[0, 8]));
    assert!(!proxy.set_endpoints("nobody", Vec::new()));
}
