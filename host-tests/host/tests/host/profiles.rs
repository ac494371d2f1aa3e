//! Where the specification and Envoy differ: one test per difference, each in both profiles.

use crate::support::{self, Told, Watch, number, numbers, text};
use tidegate_host::{CallAnswer, ClusterConfig, HeaderMap, PluginConfig, Profile, Proxy};

fn start(profile: Profile, guest: &str) -> (Proxy, Watch) {
    let engine = support::engine();
    let module = support::module(&engine, guest);
    let watch = Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .profile(profile)
        .cluster(ClusterConfig {
            name: "echo".to_owned(),
            endpoints: vec!["127.0.0.1:7001".to_owned()],
            ..ClusterConfig::default()
        })
        .filter(&module, PluginConfig::default())
        .build()
        .unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    (proxy, watch)
}

/// What a guest tells of an exchange with bodies, in Envoy and by the specification.
#[track_caller]
fn differs(guest: &str, envoy: &[Told], spec: &[Told]) {
    for (profile, expected) in [(Profile::Envoy, envoy), (Profile::Spec, spec)] {
        let (mut proxy, watch) = start(profile, guest);
        let stream = support::open(&mut proxy);
        proxy
            .request_headers(stream, support::request_map(), false)
            .unwrap();
        proxy.request_body(stream, b"question", true).unwrap();
        proxy
            .response_headers(stream, support::response_map(), false)
            .unwrap();
        proxy.response_body(stream, b"answer", true).unwrap();
        proxy
            .close_stream(stream, tidegate_host::CloseReason::Complete)
            .unwrap();
        assert_eq!(watch.take(), expected, "{profile:?}");
    }
}

fn on_headers(body: &str) -> String {
    format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {body} (i32.const 0))"#
    )
}

fn on_body(body: &str) -> String {
    format!(
        r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) {body} (i32.const 0))"#
    )
}

fn read_buffer(buffer: u32, start: u32) -> String {
    format!(
        "(call $told (call $get_buffer (i32.const {buffer}) (i32.const {start}) (i32.const 100) (i32.const 16) (i32.const 20)))"
    )
}

fn told(value: &str) -> [Told; 2] {
    [number(0), text(value)]
}

#[test]
fn buffer_that_is_not_there_is_empty_or_not_found() {
    for buffer in [0, 1, 2, 3, 5] {
        differs(
            &on_headers(&read_buffer(buffer, 0)),
            &told(""),
            &numbers(&[1]),
        );
    }
}

#[test]
fn buffer_of_foreign_arguments_is_the_last_read_or_not_found() {
    differs(
        &on_body(&(read_buffer(0, 0) + &read_buffer(8, 0))),
        &[told("question"), told("question")].concat(),
        &[told("question").as_slice(), &numbers(&[1])].concat(),
    );
}

#[test]
fn reading_behind_the_end_gives_nothing_or_is_refused() {
    differs(
        &on_body(&(read_buffer(0, 8) + &read_buffer(0, 9))),
        &[told(""), told("")].concat(),
        &[told("").as_slice(), &numbers(&[2])].concat(),
    );
}

#[test]
fn writing_into_the_middle_is_refused_or_done() {
    differs(
        &on_body(
            &(r#"(call $say (call $set_buffer (i32.const 0) (i32.const 2) (i32.const 3) @"-"))"#
                .to_owned()
                + &read_buffer(0, 0)),
        ),
        &[numbers(&[2]).as_slice(), &told("question")].concat(),
        &[numbers(&[0]).as_slice(), &told("qu-ion")].concat(),
    );
}

#[test]
fn pairs_of_a_map_that_is_not_there_are_none_or_refused() {
    let read = "(call $told (call $get_pairs (i32.const 2) (i32.const 16) (i32.const 20)))";
    differs(&on_headers(read), &told(""), &numbers(&[2]));
}

#[test]
fn map_that_is_not_there_in_the_log_is_not_found_or_refused() {
    differs(
        r#"(func (export "proxy_on_log") (param i32)
             (call $say (call $get_header (i32.const 3) @"a" (i32.const 16) (i32.const 20))))"#,
        &numbers(&[1]),
        &numbers(&[2]),
    );
}

#[test]
fn size_of_a_map_leaves_out_the_encoding_or_is_its_size() {
    let map = support::request_map();
    let bare = i32::try_from(map.byte_size()).unwrap();
    let encoded = i32::try_from(tidegate_host::headers::pairs::encoded_size(&map)).unwrap();
    assert_ne!(bare, encoded);
    differs(
        &on_headers("(call $number (call $get_map_size (i32.const 0) (i32.const 24)))"),
        &numbers(&[0, bare]),
        &numbers(&[0, encoded]),
    );
}

#[test]
fn headers_that_were_let_go_are_out_of_reach_or_readable() {
    differs(
        r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
             (call $told (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
             (call $say (call $add_header (i32.const 0) @"a" @"b")) (i32.const 0))"#,
        &numbers(&[2, 2]),
        &[told("/a?b=c").as_slice(), &numbers(&[2])].concat(),
    );
}

#[test]
fn trailers_come_to_be_by_writing_or_not() {
    differs(
        &on_body(r#"(call $say (call $add_header (i32.const 1) @"a" @"b"))"#),
        &numbers(&[0]),
        &numbers(&[2]),
    );
}

#[test]
fn log_comes_before_done_or_between_done_and_delete() {
    differs(
        r#"(func (export "proxy_on_log") (param i32) (call $say (i32.const 1))
             (call $say (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20))))
           (func (export "proxy_on_done") (param i32) (result i32) (call $say (i32.const 2)) (i32.const 1))
           (func (export "proxy_on_delete") (param i32) (call $say (i32.const 3)))"#,
        &numbers(&[1, 0, 2, 3]),
        &numbers(&[2, 1, 0, 3]),
    );
}

#[test]
fn cas_creates_an_entry_or_does_not_match() {
    differs(
        &on_headers(r#"(call $say (call $set_shared @"k" @"v" (i32.const 9)))"#),
        &numbers(&[0]),
        &numbers(&[8]),
    );
}

#[test]
fn counter_refuses_zero_and_adds_what_is_recorded_or_takes_both() {
    differs(
        &on_headers(
            r#"(drop (call $define_metric (i32.const 0) @"c" (i32.const 24)))
               (i32.store (i32.const 28) (i32.load (i32.const 24)))
               (call $say (call $increment_metric (i32.load (i32.const 28)) (i64.const 5)))
               (call $say (call $increment_metric (i32.load (i32.const 28)) (i64.const 0)))
               (call $say (call $increment_metric (i32.load (i32.const 28)) (i64.const -1)))
               (call $say (call $record_metric (i32.load (i32.const 28)) (i64.const 2)))
               (call $number (call $get_metric (i32.load (i32.const 28)) (i32.const 24)))"#,
        ),
        &numbers(&[0, 2, 2, 0, 0, 7]),
        &numbers(&[0, 0, 2, 0, 0, 2]),
    );
}

/// Calls out on each request and tells of the answer.
fn caller() -> String {
    let mut encoded = Vec::new();
    let map = HeaderMap::from([(":method", "GET"), (":path", "/"), (":authority", "echo")]);
    tidegate_host::headers::pairs::encode(&map, &mut encoded);
    let size = encoded.len();
    let map: String = encoded.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!(
        r#"(data (i32.const 512) "{map}")
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $http_call @"echo" (i32.const 512) (i32.const {size}) (i32.const 0) (i32.const 0)
               (i32.const 0) (i32.const 0) (i32.const 25) (i32.const 24)))
             (i32.const 0))
           (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
             (call $say (local.get 2)) {} {})"#,
        read_buffer(1, 0),
        read_buffer(4, 0)
    )
}

fn called(profile: Profile, answer: Option<CallAnswer>) -> Vec<Told> {
    let (mut proxy, watch) = start(profile, &caller());
    support::exchange(&mut proxy);
    let call = proxy.pending_calls().next().unwrap().id;
    match answer {
        Some(answer) => proxy.answer_call(call, answer).unwrap(),
        None => proxy.advance_to(proxy.now_ns() + 25_000_000),
    }
    watch.take()
}

#[test]
fn body_of_a_call_out_is_its_own_buffer_or_the_response_body_too() {
    let answer = || CallAnswer::Response {
        headers: HeaderMap::new(),
        body: b"told".to_vec(),
        trailers: HeaderMap::new(),
    };
    // The status, and Envoy's `x-envoy-upstream-service-time`.
    let count = numbers(&[2]);
    assert_eq!(
        called(Profile::Envoy, Some(answer())),
        [count.as_slice(), &told(""), &told("told")].concat()
    );
    assert_eq!(
        called(Profile::Spec, Some(answer())),
        [count.as_slice(), &told("told"), &told("told")].concat()
    );
}

#[test]
fn call_out_that_fails_is_answered_by_the_proxy_or_has_no_headers() {
    for (answer, body) in [
        (None, "upstream request timeout"),
        (
            Some(CallAnswer::Refused),
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
        ),
    ] {
        assert_eq!(
            called(Profile::Envoy, answer.clone()),
            [numbers(&[3]).as_slice(), &told(""), &told(body)].concat()
        );
        assert_eq!(called(Profile::Spec, answer), numbers(&[0, 1, 1]));
    }
}
