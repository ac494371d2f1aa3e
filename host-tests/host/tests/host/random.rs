//! Random inputs: nothing panics, nothing is lost, and the same seed gives the same run.

use proptest::prelude::*;

use crate::support;
use tidegate_host::headers::pairs;
use tidegate_host::{
    CallAnswer, CloseReason, ClusterConfig, Engine, FailurePolicy, HeaderMap, Limits, Module,
    Output, PluginConfig, Proxy, StreamAttributes, StreamId, UpstreamAttributes,
};

fn any_map() -> impl Strategy<Value = HeaderMap> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    prop::collection::vec((bytes(), bytes()), 0..20).prop_map(|pairs| pairs.into_iter().collect())
}

proptest! {
    #[test]
    fn map_comes_back_from_its_encoding(map in any_map()) {
        let mut encoded = Vec::new();
        pairs::encode(&map, &mut encoded);
        prop_assert_eq!(encoded.len(), pairs::encoded_size(&map));
        let decoded: HeaderMap = pairs::decode(&encoded).collect();
        prop_assert_eq!(decoded, map);
    }

    #[test]
    fn any_bytes_decode_to_a_map_or_to_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let decoded: Vec<_> = pairs::decode(&bytes).collect();
        // What decodes is the whole input: nothing is skipped and nothing is left over.
        let size: usize = decoded.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
        prop_assert!(decoded.is_empty() || size + 4 == bytes.len());
    }

    #[test]
    fn one_changed_byte_never_panics(map in any_map(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut encoded = Vec::new();
        pairs::encode(&map, &mut encoded);
        if !encoded.is_empty() {
            let at = at.index(encoded.len());
            encoded[at] = byte;
            let _ = pairs::decode(&encoded).count();
        }
    }

    #[test]
    fn header_map_does_what_a_list_of_pairs_does(steps in prop::collection::vec(any_step(), 0..60)) {
        let mut map = HeaderMap::new();
        let mut list: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for (kind, name, size) in steps {
            let name = format!("n{name}").into_bytes();
            let value = vec![b'v'; size];
            match kind {
                0 => {
                    map.add(&name, &value);
                    list.push((name, value));
                }
                1 => {
                    map.set(&name, &value);
                    list.retain(|(known, _)| *known != name);
                    list.push((name, value));
                }
                _ => {
                    map.remove(&name);
                    list.retain(|(known, _)| *known != name);
                }
            }
        }
        let bytes: usize = list.iter().map(|(name, value)| name.len() + value.len()).sum();
        prop_assert_eq!(map.byte_size(), bytes);
        prop_assert!(map.iter().eq(list.iter().map(|(n, v)| (n.as_slice(), v.as_slice()))));
    }
}

fn any_step() -> impl Strategy<Value = (u8, u8, usize)> {
    (0..3_u8, 0..5_u8, 0..400_usize)
}

/// What a driver may do, in any order.
#[derive(Clone, Debug)]
enum Step {
    Open(u32),
    RequestHeaders(usize, bool),
    RequestBody(usize, usize, bool),
    RequestTrailers(usize),
    Upstream(usize),
    Attempt(usize),
    ResponseHeaders(usize, bool),
    ResponseBody(usize, usize, bool),
    ResponseTrailers(usize),
    LocalReply(usize),
    Close(usize, u8),
    Drain(usize),
    Advance(u64),
    Answer(u8),
    Enqueue,
}

fn any_input() -> impl Strategy<Value = Step> {
    let stream = || 0..6_usize;
    let size = || prop_oneof![Just(0_usize), 1..100_usize, Just(700_000)];
    prop_oneof![
        3 => (0..3_u32).prop_map(Step::Open),
        4 => (stream(), any::<bool>()).prop_map(|(at, end)| Step::RequestHeaders(at, end)),
        3 => (stream(), size(), any::<bool>()).prop_map(|(at, size, end)| Step::RequestBody(at, size, end)),
        1 => stream().prop_map(Step::RequestTrailers),
        1 => stream().prop_map(Step::Upstream),
        1 => stream().prop_map(Step::Attempt),
        3 => (stream(), any::<bool>()).prop_map(|(at, end)| Step::ResponseHeaders(at, end)),
        3 => (stream(), size(), any::<bool>()).prop_map(|(at, size, end)| Step::ResponseBody(at, size, end)),
        1 => stream().prop_map(Step::ResponseTrailers),
        1 => stream().prop_map(Step::LocalReply),
        2 => (stream(), 0..3_u8).prop_map(|(at, reason)| Step::Close(at, reason)),
        2 => stream().prop_map(Step::Drain),
        3 => (0..40_000_000_u64).prop_map(Step::Advance),
        2 => (0..4_u8).prop_map(Step::Answer),
        1 => Just(Step::Enqueue),
    ]
}

/// A guest that does something else each time it is called, from a number that moves on.
const MOODY: &str = r#"
  (global $mood (mut i32) (i32.const 1))
  (func $next (param $bound i32) (result i32)
    (global.set $mood (i32.add (i32.mul (global.get $mood) (i32.const 1103515245)) (i32.const 12345)))
    (i32.rem_u (i32.shr_u (global.get $mood) (i32.const 8)) (local.get $bound)))
  (func $act
    (local $what i32)
    (local.set $what (call $next (i32.const 26)))
    (if (i32.eq (local.get $what) (i32.const 0)) (then (drop (call $continue_stream (call $next (i32.const 3))))))
    (if (i32.eq (local.get $what) (i32.const 1)) (then (drop (call $close_stream (call $next (i32.const 3))))))
    (if (i32.eq (local.get $what) (i32.const 2)) (then (drop (call $send_local_response (i32.const 400) @"d" @"body" (i32.const 0) (i32.const 0) (i32.const -1)))))
    (if (i32.eq (local.get $what) (i32.const 3)) (then (drop (call $set_effective_context (call $next (i32.const 9))))))
    (if (i32.eq (local.get $what) (i32.const 4)) (then (drop (call $set_tick_period (call $next (i32.const 20))))))
    (if (i32.eq (local.get $what) (i32.const 5)) (then (drop (call $set_buffer (call $next (i32.const 2)) (call $next (i32.const 9)) (call $next (i32.const 9)) @"xyz"))))
    (if (i32.eq (local.get $what) (i32.const 6)) (then (drop (call $add_header (call $next (i32.const 4)) @"x-a" @"1"))))
    (if (i32.eq (local.get $what) (i32.const 7)) (then (drop (call $set_pairs (call $next (i32.const 4)) (i32.const 0) (i32.const 0)))))
    (if (i32.eq (local.get $what) (i32.const 8)) (then (drop (call $http_call @"echo" (i32.const 512) (i32.const 60) @"b" (i32.const 0) (i32.const 0) (call $next (i32.const 30)) (i32.const 24)))))
    (if (i32.eq (local.get $what) (i32.const 9)) (then (drop (call $register_queue @"q" (i32.const 28)))))
    (if (i32.eq (local.get $what) (i32.const 10)) (then (drop (call $enqueue (i32.const 1) @"m"))))
    (if (i32.eq (local.get $what) (i32.const 11)) (then (drop (call $get_pairs (call $next (i32.const 8)) (i32.const 16) (i32.const 20)))))
    (if (i32.eq (local.get $what) (i32.const 12)) (then (drop (call $get_buffer (call $next (i32.const 9)) (i32.const 0) (i32.const 1000) (i32.const 16) (i32.const 20)))))
    (if (i32.eq (local.get $what) (i32.const 13)) (then (drop (call $set_property @"p" @"v"))))
    (if (i32.eq (local.get $what) (i32.const 14)) (then (drop (call $done))))
    (if (i32.eqz (call $next (i32.const 300))) (then (unreachable))))
  (func (export "proxy_on_context_create") (param i32 i32) (call $act))
  (func (export "proxy_on_tick") (param i32) (call $act))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $act) (call $next (i32.const 5)))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (call $act) (call $next (i32.const 4)))
  (func (export "proxy_on_request_trailers") (param i32 i32) (result i32) (call $act) (call $next (i32.const 2)))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (call $act) (call $next (i32.const 5)))
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (call $act) (call $next (i32.const 4)))
  (func (export "proxy_on_response_trailers") (param i32 i32) (result i32) (call $act) (call $next (i32.const 2)))
  (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32) (call $act))
  (func (export "proxy_on_queue_ready") (param i32 i32) (call $act))
  (func (export "proxy_on_log") (param i32) (call $act))
  (func (export "proxy_on_done") (param i32) (result i32) (call $act) (call $next (i32.const 2)))
  (func (export "proxy_on_delete") (param i32) (call $act))
"#;

fn moody(engine: &Engine) -> Module {
    let map = HeaderMap::from([(":method", "GET"), (":path", "/"), (":authority", "echo")]);
    let mut encoded = Vec::new();
    pairs::encode(&map, &mut encoded);
    let data: String = encoded.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let guest = MOODY.replace("(i32.const 60)", &format!("(i32.const {})", encoded.len()));
    support::module(
        engine,
        &format!(r#"(data (i32.const 512) "{data}") {guest}"#),
    )
}

fn start(engine: &Engine, module: &Module, seed: u64) -> Proxy {
    let config = |name: &str, failure_policy, vm: &[u8]| PluginConfig {
        name: name.to_owned(),
        failure_policy,
        vm_configuration: vm.to_vec(),
        allow_on_headers_stop_iteration: vm.is_empty(),
        limits: Limits {
            fuel_per_callback: 1_000_000,
            ..Limits::default()
        },
        ..PluginConfig::default()
    };
    let cluster = ClusterConfig {
        name: "echo".to_owned(),
        endpoints: vec!["127.0.0.1:7001".to_owned()],
        ..ClusterConfig::default()
    };
    Proxy::builder(engine)
        .workers(2)
        .seed(seed)
        .shuffle_simultaneous(true)
        .cluster(cluster)
        .filter(module, config("a", FailurePolicy::FailReload, b""))
        .filter(module, config("b", FailurePolicy::FailOpen, b"b"))
        .filter(module, config("c", FailurePolicy::FailClosed, b"c"))
        .upstream_filter("echo", module, config("d", FailurePolicy::FailReload, b""))
        .build()
        .unwrap()
}

/// Feeds the steps in and returns what came out. Refused inputs are part of the game.
fn drive(proxy: &mut Proxy, steps: &[Step]) -> Vec<(StreamId, Output)> {
    let mut streams: Vec<StreamId> = Vec::new();
    let mut outputs = Vec::new();
    let map = support::request_map;
    for step in steps {
        let at = |index: usize| streams.get(index % streams.len().max(1)).copied();
        match *step {
            Step::Open(worker) => {
                if let Ok(stream) = proxy.open_stream(worker, StreamAttributes::default()) {
                    streams.push(stream);
                }
            }
            Step::RequestHeaders(index, end) => {
                let _ = at(index).map(|stream| proxy.request_headers(stream, map(), end));
            }
            Step::RequestBody(index, size, end) => {
                let _ = at(index).map(|stream| proxy.request_body(stream, &vec![b'x'; size], end));
            }
            Step::RequestTrailers(index) => {
                let _ = at(index).map(|stream| proxy.request_trailers(stream, map()));
            }
            Step::Upstream(index) => {
                let _ = at(index)
                    .map(|stream| proxy.set_upstream(stream, UpstreamAttributes::default()));
            }
            Step::Attempt(index) => {
                let attempt = at(index).and_then(|stream| {
                    proxy
                        .open_attempt(stream, "echo", UpstreamAttributes::default())
                        .ok()
                        .flatten()
                });
                streams.extend(attempt);
            }
            Step::ResponseHeaders(index, end) => {
                let response = support::response_map();
                let _ = at(index).map(|stream| proxy.response_headers(stream, response, end));
            }
            Step::ResponseBody(index, size, end) => {
                let _ = at(index).map(|stream| proxy.response_body(stream, &vec![b'y'; size], end));
            }
            Step::ResponseTrailers(index) => {
                let _ = at(index).map(|stream| proxy.response_trailers(stream, map()));
            }
            Step::LocalReply(index) => {
                let _ = at(index)
                    .map(|stream| proxy.local_reply(stream, 503, HeaderMap::new(), b"no", "no"));
            }
            Step::Close(index, reason) => {
                let reason = match reason {
                    0 => CloseReason::Complete,
                    1 => CloseReason::ClientReset,
                    _ => CloseReason::UpstreamReset,
                };
                let _ = at(index).map(|stream| proxy.close_stream(stream, reason));
            }
            Step::Drain(index) => {
                if let Some(stream) = at(index) {
                    let drained = support::drain(proxy, stream);
                    outputs.extend(drained.into_iter().map(|output| (stream, output)));
                }
            }
            Step::Advance(by_ns) => proxy.advance_to(proxy.now_ns() + by_ns),
            Step::Answer(kind) => {
                let call = proxy.pending_calls().next().map(|call| call.id);
                let answer = match kind {
                    0 => CallAnswer::Reset,
                    1 => CallAnswer::Refused,
                    _ => CallAnswer::Response {
                        headers: support::response_map(),
                        body: vec![b'z'; 10],
                        trailers: if kind == 2 { map() } else { HeaderMap::new() },
                    },
                };
                let _ = call.map(|call| proxy.answer_call(call, answer));
            }
            Step::Enqueue => {
                proxy.enqueue("", "q", b"message");
            }
        }
    }
    // Everything is closed at the end; no stream context outlives its stream.
    for stream in streams {
        let _ = proxy.close_stream(stream, CloseReason::Complete);
        let drained = support::drain(proxy, stream);
        outputs.extend(drained.into_iter().map(|output| (stream, output)));
    }
    outputs
}

/// What has come out of a stream.
#[derive(Default)]
struct Seen {
    request_headers: bool,
    request_ended: bool,
    response_headers: bool,
    finished: bool,
}

/// Each stream's outputs are a message in each direction: headers once and first, nothing after the
/// end, and nothing at all after the response is complete or the stream was cut.
fn is_well_formed(outputs: &[(StreamId, Output)]) -> bool {
    let mut streams: std::collections::BTreeMap<StreamId, Seen> = std::collections::BTreeMap::new();
    outputs.iter().all(|(stream, output)| {
        let seen = streams.entry(*stream).or_default();
        if seen.finished {
            return false;
        }
        match output {
            Output::RequestHeaders { end_stream, .. } => {
                seen.request_ended = *end_stream;
                !std::mem::replace(&mut seen.request_headers, true)
            }
            Output::RequestBody { end_stream, .. } => {
                seen.request_headers && !std::mem::replace(&mut seen.request_ended, *end_stream)
            }
            Output::RequestTrailers(_) => {
                seen.request_headers && !std::mem::replace(&mut seen.request_ended, true)
            }
            Output::ResponseHeaders { end_stream, .. } => {
                seen.finished = *end_stream;
                !std::mem::replace(&mut seen.response_headers, true)
            }
            Output::ResponseBody { end_stream, .. } => {
                seen.finished = *end_stream;
                seen.response_headers
            }
            Output::ResponseTrailers(_) => {
                seen.finished = true;
                seen.response_headers
            }
            Output::LocalResponse { .. } => {
                seen.finished = true;
                !seen.response_headers
            }
            Output::Reset { .. } => {
                seen.finished = true;
                true
            }
        }
    })
}

#[test]
fn random_inputs_through_moody_guests_never_panic_and_repeat() {
    let engine = support::engine();
    let module = moody(&engine);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let strategy = (prop::collection::vec(any_input(), 1..80), any::<u64>());
    runner
        .run(&strategy, |(steps, seed)| {
            let mut first = start(&engine, &module, seed);
            let outputs = drive(&mut first, &steps);
            prop_assert!(is_well_formed(&outputs), "{outputs:?}");
            let mut second = start(&engine, &module, seed);
            prop_assert_eq!(&outputs, &drive(&mut second, &steps));
            prop_assert_eq!(first.cost(), second.cost());
            Ok(())
        })
        .unwrap();
}

#[test]
fn random_inputs_without_filters_come_out_as_they_went_in() {
    let engine = support::engine();
    let module = support::module(&engine, "");
    let mut proxy = Proxy::builder(&engine)
        .filter(&module, PluginConfig::default())
        .build()
        .unwrap();
    let outputs = support::exchange(&mut proxy);
    assert_eq!(
        outputs,
        [
            Output::RequestHeaders {
                headers: support::request_map(),
                end_stream: true
            },
            Output::ResponseHeaders {
                headers: support::response_map(),
                end_stream: true
            },
        ]
    );
}
