//! Header and trailer maps: statuses, phases, encodings.

use crate::support::{self, Told, number, numbers, text};
use tidegate_host::{CloseReason, HeaderMap, Output};

#[test]
fn value_of_a_repeated_header_is_the_first_and_names_are_lower_cased() {
    let (mut proxy, watch) = support::proxy(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $say (local.get 1))
             (call $told (call $get_header (i32.const 0) @"X-MANY" (i32.const 16) (i32.const 20)))
             (call $told (call $get_header (i32.const 0) @"x-none" (i32.const 16) (i32.const 20)))
             (i32.const 0))"#,
    );
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), [number(6), number(0), text("a"), number(1)]);
}

#[test]
fn changes_reach_the_router_in_the_order_of_envoy() {
    let (mut proxy, _) = support::proxy(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $add_header (i32.const 0) @"X-Added" @"1"))
             (drop (call $replace_header (i32.const 0) @"x-many" @"one"))
             (drop (call $replace_header (i32.const 0) @":path" @"/b"))
             (drop (call $remove_header (i32.const 0) @"x-absent"))
             (i32.const 0))"#,
    );
    let outputs = support::exchange(&mut proxy);
    let Output::RequestHeaders { headers, .. } = &outputs[0] else {
        panic!("{outputs:?}");
    };
    let expected = HeaderMap::from([
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "echo"),
        (":path", "/b"),
        ("x-added", "1"),
        ("x-many", "one"),
    ]);
    assert_eq!(*headers, expected);
}

#[test]
fn second_value_of_an_inline_header_is_joined_to_the_first() {
    let (mut proxy, watch) = support::proxy(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $add_header (i32.const 0) @"user-agent" @"one"))
             (drop (call $add_header (i32.const 0) @"user-agent" @"two"))
             (drop (call $add_header (i32.const 0) @"cookie" @"a=b"))
             (drop (call $add_header (i32.const 0) @"cookie" @"c=d"))
             (drop (call $add_header (i32.const 0) @"Host" @"more"))
             (call $told (call $get_header (i32.const 0) @"host" (i32.const 16) (i32.const 20)))
             (i32.const 0))"#,
    );
    let outputs = support::exchange(&mut proxy);
    let Output::RequestHeaders { headers, .. } = &outputs[0] else {
        panic!("{outputs:?}");
    };
    let values = |name: &str| -> Vec<String> {
        let values = headers.get_all(name);
        values
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    };
    assert_eq!(values("user-agent"), ["one,two"]);
    assert_eq!(values("cookie"), ["a=b", "c=d"]);
    // A request's `host` is its authority.
    assert_eq!(values(":authority"), ["echo,more"]);
    assert_eq!(watch.take(), [number(0), text("echo,more")]);
}

#[test]
fn maps_that_cannot_be_reached_now_are_empty_as_pairs_and_a_bad_argument_as_values() {
    let (mut proxy, watch) = support::proxy(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $told (call $get_header (i32.const 2) @"server" (i32.const 16) (i32.const 20)))
             (call $told (call $get_pairs (i32.const 2) (i32.const 16) (i32.const 20)))
             (call $say (call $get_map_size (i32.const 2) (i32.const 24)))
             (call $say (call $add_header (i32.const 2) @"a" @"b"))
             (call $say (call $remove_header (i32.const 2) @"a"))
             (call $say (call $set_pairs (i32.const 2) (i32.const 0) (i32.const 0)))
             (call $say (call $get_pairs (i32.const 8) (i32.const 16) (i32.const 20)))
             (call $say (call $add_header (i32.const 6) @"a" @"b"))
             (i32.const 0))"#,
    );
    support::exchange(&mut proxy);
    assert_eq!(
        watch.take(),
        [
            number(2),
            number(0),
            text(""),
            number(2),
            number(2),
            number(2),
            number(2),
            number(2),
            number(2)
        ]
    );
}

#[test]
fn request_headers_are_gone_after_continue_and_back_in_the_log() {
    let (mut proxy, watch) = support::proxy(
        r#"(func $look
             (call $told (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
             (call $told (call $get_property @"request\0path" (i32.const 16) (i32.const 20))))
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $look) (i32.const 0))
           (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
             (call $look) (i32.const 0))
           (func (export "proxy_on_log") (param i32)
             (call $look)
             (call $told (call $get_header (i32.const 1) @"a" (i32.const 16) (i32.const 20)))
             (call $told (call $get_header (i32.const 6) @"a" (i32.const 16) (i32.const 20)))
             (call $say (call $add_header (i32.const 0) @"a" @"b")))"#,
    );
    support::exchange(&mut proxy);
    let path = || text("/a?b=c");
    assert_eq!(
        watch.take(),
        [
            number(0),
            path(),
            number(0),
            path(),
            // Response: a bad argument, and no such property.
            number(2),
            number(1),
            // Log: readable again, not writable; what is not there is not found.
            number(0),
            path(),
            number(0),
            path(),
            number(1),
            number(1),
            number(2),
        ]
    );
}

#[test]
fn request_headers_stay_reachable_while_the_filter_holds_them_back() {
    let (mut proxy, watch) = support::proxy(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $set_tick_period (i32.const 10)))
             (i32.const 1))
           (func (export "proxy_on_tick") (param i32)
             (call $say (call $set_effective_context (i32.const 2)))
             (call $say (call $add_header (i32.const 0) @"x-late" @"1"))
             (call $say (call $continue_stream (i32.const 0)))
             (call $say (call $add_header (i32.const 0) @"x-later" @"1"))
             (call $say (call $continue_stream (i32.const 0)))
             (drop (call $set_effective_context (i32.const 1)))
             (drop (call $set_tick_period (i32.const 0))))"#,
    );
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), true)
        .unwrap();
    assert!(proxy.is_paused(stream));
    assert_eq!(support::drain(&mut proxy, stream), []);
    proxy.advance_to(proxy.now_ns() + 10_000_000);
    assert!(!proxy.is_paused(stream));
    // After the first continue the map is out of reach; a second continue is accepted.
    assert_eq!(watch.take(), numbers(&[0, 0, 0, 2, 0]));
    let outputs = support::drain(&mut proxy, stream);
    let [Output::RequestHeaders { headers, .. }] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    assert_eq!(headers.get("x-late"), Some(&b"1"[..]));
    assert_eq!(headers.get("x-later"), None);
}

#[test]
fn map_size_is_the_bytes_of_names_and_values() {
    let (mut proxy, watch) = support::proxy(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $number (call $get_map_size (i32.const 0) (i32.const 24)))
             (i32.const 0))"#,
    );
    support::exchange(&mut proxy);
    let size = i32::try_from(support::request_map().byte_size()).unwrap();
    assert_eq!(watch.take(), numbers(&[0, size]));
}

#[test]
fn changed_request_headers_clear_the_route_and_response_headers_do_not() {
    let (mut proxy, _) = support::proxy(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (if (i32.eqz (call $get_header (i32.const 0) @"x-change" (i32.const 16) (i32.const 20)))
               (then (drop (call $remove_header (i32.const 0) @"x-change"))))
             (i32.const 0))
           (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
             (drop (call $add_header (i32.const 2) @"a" @"b"))
             (i32.const 0))"#,
    );
    for change in [false, true] {
        let stream = support::open(&mut proxy);
        let mut headers = support::request_map();
        if change {
            headers.add("x-change", "1");
        }
        proxy.request_headers(stream, headers, true).unwrap();
        proxy
            .response_headers(stream, support::response_map(), true)
            .unwrap();
        assert_eq!(proxy.route_cache_cleared(stream), change);
    }
}

#[test]
fn trailers_can_be_made_while_the_last_bytes_pass() {
    let (mut proxy, watch) = support::proxy(
        r#"(func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
             (call $say (call $add_header (i32.const 3) @"x-sum" @"1"))
             (i32.const 0))"#,
    );
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), true)
        .unwrap();
    proxy
        .response_headers(stream, support::response_map(), false)
        .unwrap();
    proxy.response_body(stream, b"one", false).unwrap();
    proxy.response_body(stream, b"two", true).unwrap();
    proxy.close_stream(stream, CloseReason::Complete).unwrap();
    // Not before the end.
    assert_eq!(watch.take(), numbers(&[2, 0]));
    assert_eq!(
        support::short(&support::drain(&mut proxy, stream)),
        [
            "> headers true",
            "< 200 false",
            "< one false",
            "< two false",
            "< trailers 1"
        ]
    );
}

#[test]
fn pairs_reach_the_guest_in_the_encoding_of_the_abi() {
    let (mut proxy, watch) = support::proxy(
        r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
             (call $told (call $get_pairs (i32.const 2) (i32.const 16) (i32.const 20)))
             (call $say (call $set_pairs (i32.const 2)
                (i32.load (i32.const 16)) (i32.load (i32.const 20))))
             (i32.const 0))"#,
    );
    let outputs = support::exchange(&mut proxy);
    let mut expected = Vec::new();
    tidegate_host::headers::pairs::encode(&support::response_map(), &mut expected);
    assert_eq!(expected.len(), 4 + 2 * 8 + 7 + 3 + 6 + 4 + 4);
    assert_eq!(
        watch.take(),
        [
            number(0),
            Told::Text(String::from_utf8(expected).unwrap()),
            number(0)
        ]
    );
    let Some(Output::ResponseHeaders { headers, .. }) = outputs.last() else {
        panic!("{outputs:?}");
    };
    assert_eq!(*headers, support::response_map());
}

#[test]
fn values_of_any_bytes_pass_unharmed() {
    let (mut proxy, _) = support::proxy(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $get_header (i32.const 0) @"x-odd" (i32.const 16) (i32.const 20)))
             (drop (call $add_header (i32.const 0) @"x-copy"
                (i32.load (i32.const 16)) (i32.load (i32.const 20))))
             (i32.const 0))"#,
    );
    let stream = support::open(&mut proxy);
    let mut headers = support::request_map();
    headers.add("x-odd", b"\xff\x00\n");
    proxy.request_headers(stream, headers, true).unwrap();
    let outputs = support::drain(&mut proxy, stream);
    let [Output::RequestHeaders { headers, .. }] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    assert_eq!(headers.get("x-copy"), Some(&b"\xff\x00\n"[..]));
}
