//! Stopping, going on, answering, closing; several filters; the order of callbacks.

use std::fmt::Write as _;

use crate::support::{self, number, numbers, text};
use tidegate_host::{CloseReason, HeaderMap, Output, PluginConfig, Proxy};

/// A guest that tells each callback by a number and its context, and changes nothing.
const TELLS_ALL: &str = r#"
  (func (export "proxy_on_context_create") (param i32 i32) (call $say (i32.const 1)))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $say (i32.const 2)) (i32.const 0))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (call $say (i32.const 3)) (i32.const 0))
  (func (export "proxy_on_request_trailers") (param i32 i32) (result i32) (call $say (i32.const 4)) (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (call $say (i32.const 5)) (i32.const 0))
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (call $say (i32.const 6)) (i32.const 0))
  (func (export "proxy_on_response_trailers") (param i32 i32) (result i32) (call $say (i32.const 7)) (i32.const 0))
  (func (export "proxy_on_log") (param i32) (call $say (i32.const 8)))
  (func (export "proxy_on_done") (param i32) (result i32) (call $say (i32.const 9)) (i32.const 1))
  (func (export "proxy_on_delete") (param i32) (call $say (i32.const 10)))
"#;

#[test]
fn callbacks_come_in_the_order_of_envoy() {
    let (mut proxy, watch) = support::proxy(TELLS_ALL);
    let stream = support::open(&mut proxy);
    let trailers = || HeaderMap::from([("a", "b")]);
    proxy
        .request_headers(stream, support::request_map(), false)
        .unwrap();
    proxy.request_body(stream, b"one", false).unwrap();
    proxy.request_trailers(stream, trailers()).unwrap();
    proxy
        .response_headers(stream, support::response_map(), false)
        .unwrap();
    proxy.response_body(stream, b"two", false).unwrap();
    proxy.response_trailers(stream, trailers()).unwrap();
    proxy.close_stream(stream, CloseReason::Complete).unwrap();
    assert_eq!(watch.take(), numbers(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
    assert_eq!(
        support::short(&support::drain(&mut proxy, stream)),
        [
            "> headers false",
            "> one false",
            "> trailers 1",
            "< 200 false",
            "< two false",
            "< trailers 1"
        ]
    );
    // Drained and closed: forgotten.
    assert!(proxy.close_stream(stream, CloseReason::Complete).is_err());
}

#[test]
fn responses_pass_the_filters_in_the_reverse_order() {
    let engine = support::engine();
    let module = support::module(&engine, TELLS_ALL);
    let watch = support::Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .filter(
            &module,
            PluginConfig {
                name: "a".to_owned(),
                ..PluginConfig::default()
            },
        )
        .filter(
            &module,
            PluginConfig {
                name: "b".to_owned(),
                ..PluginConfig::default()
            },
        )
        .build()
        .unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    support::exchange(&mut proxy);
    let mut seen = String::new();
    for (context, told) in watch.take_with_contexts() {
        let _ = write!(seen, "{context}:{told:?} ");
    }
    // One VM with two root contexts, 1 and 2; the stream's contexts are 3 and 4.
    let expected = "3:Number(1) 3:Number(2) 4:Number(1) 4:Number(2) 4:Number(5) 3:Number(5) \
                    3:Number(8) 4:Number(8) 3:Number(9) 3:Number(10) 4:Number(9) 4:Number(10) ";
    assert_eq!(seen, expected);
}

#[test]
fn pause_on_headers_stops_bodies_until_the_filter_continues() {
    let (mut proxy, watch) = support::proxy(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $set_tick_period (i32.const 10))) (i32.const 1))
           (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
             (call $say (local.get 1)) (call $say (local.get 2)) (i32.const 0))
           (func (export "proxy_on_tick") (param i32)
             (drop (call $set_tick_period (i32.const 0)))
             (drop (call $set_effective_context (i32.const 2)))
             (drop (call $continue_stream (i32.const 0))))"#,
    );
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), false)
        .unwrap();
    proxy.request_body(stream, b"one", false).unwrap();
    proxy.request_body(stream, b"two", true).unwrap();
    assert_eq!(watch.take(), []);
    assert_eq!(support::drain(&mut proxy, stream), []);
    proxy.advance_to(proxy.now_ns() + 10_000_000);
    assert_eq!(watch.take(), numbers(&[6, 1]));
    assert_eq!(
        support::short(&support::drain(&mut proxy, stream)),
        ["> headers false", "> onetwo true"]
    );
    assert!(!proxy.is_paused(stream));
}

#[test]
fn with_allow_on_headers_stop_iteration_a_body_that_continues_lets_all_go() {
    let (mut proxy, watch) = support::proxy_with(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))
           (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
             (call $say (local.get 1))
             (select (i32.const 0) (i32.const 1) (local.get 2)))"#,
        PluginConfig {
            allow_on_headers_stop_iteration: true,
            ..PluginConfig::default()
        },
    );
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), false)
        .unwrap();
    proxy.request_body(stream, b"one", false).unwrap();
    assert_eq!(support::drain(&mut proxy, stream), []);
    proxy.request_body(stream, b"two", true).unwrap();
    assert_eq!(watch.take(), numbers(&[3, 6]));
    assert_eq!(
        support::short(&support::drain(&mut proxy, stream)),
        ["> headers false", "> onetwo true"]
    );
}

/// A guest that answers request headers with a number.
fn answers(status: i32) -> String {
    format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const {status}))
           (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (call $say (local.get 1)) (i32.const 0))"#
    )
}

#[test]
fn raw_answers_beyond_pause_are_those_of_envoy() {
    for (status, paused, bodies, outputs) in [
        (0, false, 1, vec!["> headers false", "> one true"]),
        (1, true, 0, vec![]),
        // What Envoy does not know below 3 is continue.
        (2, false, 1, vec!["> headers false", "> one true"]),
        (3, true, 0, vec![]),
        (4, true, 0, vec![]),
        (5, true, 0, vec![]),
        (-1, true, 0, vec![]),
    ] {
        let (mut proxy, watch) = support::proxy(&answers(status));
        let stream = support::open(&mut proxy);
        proxy
            .request_headers(stream, support::request_map(), false)
            .unwrap();
        proxy.request_body(stream, b"one", true).unwrap();
        assert_eq!(proxy.is_paused(stream), paused, "{status}");
        assert_eq!(watch.take().len(), bodies, "{status}");
        let seen = support::drain(&mut proxy, stream);
        assert_eq!(support::short(&seen), outputs, "{status}");
    }
}

#[test]
fn continue_inside_the_callback_that_pauses_lets_the_headers_go() {
    let (mut proxy, watch) = support::proxy(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $say (call $continue_stream (i32.const 0)))
             (call $say (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
             (i32.const 1))"#,
    );
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), true)
        .unwrap();
    assert_eq!(watch.take(), numbers(&[0, 2]));
    assert_eq!(
        support::short(&support::drain(&mut proxy, stream)),
        ["> headers true"]
    );
}

#[test]
fn continue_stream_tells_what_it_can_continue() {
    let (mut proxy, watch) = support::proxy(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $say (call $continue_stream (i32.const 2)))
             (call $say (call $continue_stream (i32.const 3)))
             (call $say (call $continue_stream (i32.const 4)))
             (call $say (call $close_stream (i32.const 4)))
             (call $say (call $done))
             (i32.const 0))"#,
    );
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[0, 12, 2, 2, 1]));
}

/// A guest that answers itself in one callback and tells what it sees of the answer.
fn replies(callback: &str) -> String {
    let reply = r#"(drop (call $send_local_response (i32.const 418) @"by me" @"short"
                     (i32.const 0) (i32.const 0) (i32.const -1)))"#;
    let at = |name: &str| if name == callback { reply } else { "" };
    format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             {} (i32.const 0))
           (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
             {} (i32.const 0))
           (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
             (call $say (i32.const 5))
             (drop (call $add_header (i32.const 2) @"x-seen" @"1"))
             (call $told (call $get_property @"response\0code_details" (i32.const 16) (i32.const 20)))
             (if (call $get_property @"response\0code" (i32.const 16) (i32.const 20)) (then (call $say (i32.const 99))))
             {} (i32.const 0))
           (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
             (call $say (i32.const 6)) {} (i32.const 0))
           (func (export "proxy_on_log") (param i32)
             (call $told (call $get_property @"response\0code_details" (i32.const 16) (i32.const 20))))"#,
        at("request_headers"),
        at("request_body"),
        at("response_headers"),
        at("response_body"),
    )
}

#[test]
fn local_response_in_the_request_phase_passes_the_same_filters_response_callbacks() {
    for callback in ["request_headers", "request_body"] {
        let (mut proxy, watch) = support::proxy(&replies(callback));
        let stream = support::open(&mut proxy);
        proxy
            .request_headers(stream, support::request_map(), false)
            .unwrap();
        proxy.request_body(stream, b"one", true).unwrap();
        // A late answer of the upstream is nobody's business any more.
        proxy
            .response_headers(stream, support::response_map(), true)
            .unwrap();
        proxy.close_stream(stream, CloseReason::Complete).unwrap();
        let outputs = support::drain(&mut proxy, stream);
        let Some(Output::LocalResponse {
            status,
            headers,
            body,
            details,
            grpc_status,
        }) = outputs.last()
        else {
            panic!("{outputs:?}");
        };
        let expected = HeaderMap::from([
            (":status", "418"),
            ("content-length", "5"),
            ("content-type", "text/plain"),
            ("x-seen", "1"),
        ]);
        assert_eq!(
            (*status, headers, body.as_slice()),
            (418, &expected, &b"short"[..])
        );
        // Spaces in the details become underscores.
        assert_eq!((details.as_str(), *grpc_status), ("by_me", None));
        assert_eq!(
            outputs.len(),
            if callback == "request_body" { 2 } else { 1 }
        );
        assert_eq!(
            watch.take(),
            [
                number(5),
                number(0),
                text("by_me"),
                number(6),
                number(0),
                text("by_me")
            ],
            "{callback}"
        );
    }
}

#[test]
fn local_response_in_response_headers_replaces_the_response_without_coming_back() {
    let (mut proxy, watch) = support::proxy(&replies("response_headers"));
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), true)
        .unwrap();
    proxy
        .response_headers(stream, support::response_map(), false)
        .unwrap();
    proxy.response_body(stream, b"upstream's", true).unwrap();
    let outputs = support::short(&support::drain(&mut proxy, stream));
    assert_eq!(outputs, ["> headers true", "local 418 short by_me"]);
    assert_eq!(watch.take(), [number(5), number(0), text("via_upstream")]);
}

#[test]
fn local_response_after_the_headers_left_cuts_the_stream() {
    let (mut proxy, _) = support::proxy(&replies("response_body"));
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), true)
        .unwrap();
    proxy
        .response_headers(stream, support::response_map(), false)
        .unwrap();
    proxy.response_body(stream, b"one", false).unwrap();
    proxy.response_body(stream, b"two", true).unwrap();
    let outputs = support::short(&support::drain(&mut proxy, stream));
    assert_eq!(outputs, ["> headers true", "< 200 false", "reset by_me"]);
    assert!(proxy.is_finished(stream));
}

#[test]
fn local_response_of_a_filter_passes_those_that_saw_the_request() {
    let engine = support::engine();
    let watch = support::Watch::default();
    let replier = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $send_local_response (i32.const 403) @"" @"" (i32.const 0) (i32.const 0) (i32.const -1)))
        (i32.const 0))"#;
    let first = support::module(&engine, TELLS_ALL);
    let second = support::module(&engine, replier);
    let third = support::module(&engine, &format!("{TELLS_ALL} (func $third)"));
    let mut proxy = Proxy::builder(&engine)
        .filter(&first, PluginConfig::default())
        .filter(&second, PluginConfig::default())
        .filter(&third, PluginConfig::default())
        .build()
        .unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    let outputs = support::exchange(&mut proxy);
    assert_eq!(support::short(&outputs), ["local 403  "]);
    // The third was never asked: it is told of the stream only in time for the log.
    assert_eq!(watch.take(), numbers(&[1, 2, 5, 8, 1, 8, 9, 10, 9, 10]));
}

#[test]
fn grpc_requests_are_answered_in_grpc() {
    let (mut proxy, _) = support::proxy(&replies("request_headers"));
    let stream = support::open(&mut proxy);
    let mut headers = support::request_map();
    headers.add("content-type", "application/grpc+proto");
    proxy.request_headers(stream, headers, false).unwrap();
    let outputs = support::drain(&mut proxy, stream);
    let [
        Output::LocalResponse {
            status,
            headers,
            body,
            ..
        },
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}");
    };
    assert_eq!((*status, body.as_slice()), (200, &b""[..]));
    assert_eq!(headers.get_str("grpc-status"), Some("2"));
    assert_eq!(headers.get_str("grpc-message"), Some("short"));
}

#[test]
fn head_requests_get_no_body() {
    let (mut proxy, _) = support::proxy(&replies("request_headers"));
    let stream = support::open(&mut proxy);
    let mut headers = support::request_map();
    headers.set(":method", "HEAD");
    proxy.request_headers(stream, headers, true).unwrap();
    let outputs = support::drain(&mut proxy, stream);
    let [Output::LocalResponse { headers, body, .. }] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    assert_eq!(body.as_slice(), b"");
    assert_eq!(headers.get_str("content-length"), Some("5"));
}

#[test]
fn the_routers_own_answer_passes_the_filters() {
    let (mut proxy, watch) = support::proxy(TELLS_ALL);
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), true)
        .unwrap();
    proxy
        .local_reply(
            stream,
            503,
            HeaderMap::new(),
            b"no healthy upstream",
            "no_healthy_upstream",
        )
        .unwrap();
    let outputs = support::short(&support::drain(&mut proxy, stream));
    assert_eq!(
        outputs,
        [
            "> headers true",
            "local 503 no healthy upstream no_healthy_upstream"
        ]
    );
    assert_eq!(watch.take(), numbers(&[1, 2, 5, 6]));
}

#[test]
fn close_stream_cuts_after_the_callback_and_names_itself() {
    let (mut proxy, watch) = support::proxy(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $say (call $close_stream (i32.const 0))) (i32.const 0))
           (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
             (call $say (i32.const 5)) (i32.const 0))
           (func (export "proxy_on_log") (param i32)
             (call $told (call $get_property @"response\0code" (i32.const 16) (i32.const 20)))
             (call $told (call $get_property @"response\0code_details" (i32.const 16) (i32.const 20))))"#,
    );
    let outputs = support::exchange(&mut proxy);
    assert_eq!(support::short(&outputs), ["reset wasm_close_stream"]);
    assert_eq!(
        watch.take(),
        [number(0), number(1), number(0), text("wasm_close_stream")]
    );
}

#[test]
fn websocket_frames_pass_in_both_directions_and_a_frame_can_be_added() {
    let (mut proxy, watch) = support::proxy(
        r#"(func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
             (call $say (local.get 1))
             (if (i32.eq (local.get 1) (i32.const 2))
               (then (drop (call $set_buffer (i32.const 1) (i32.const 2) (i32.const 0) @"CLOSE"))))
             (i32.const 0))"#,
    );
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), false)
        .unwrap();
    proxy.request_body(stream, b"", false).unwrap();
    let switching = HeaderMap::from([(":status", "101"), ("upgrade", "websocket")]);
    proxy.response_headers(stream, switching, false).unwrap();
    proxy.response_body(stream, b"", false).unwrap();
    proxy.request_body(stream, b"ping", false).unwrap();
    proxy.response_body(stream, b"ok", false).unwrap();
    proxy
        .close_stream(stream, CloseReason::ClientReset)
        .unwrap();
    assert_eq!(
        support::short(&support::drain(&mut proxy, stream)),
        [
            "> headers false",
            ">  false",
            "< 101 false",
            "<  false",
            "> ping false",
            "< okCLOSE false"
        ]
    );
    assert_eq!(watch.take(), numbers(&[0, 2]));
}

#[test]
fn response_can_be_held_back_until_it_is_whole() {
    let (mut proxy, _) = support::proxy(
        r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 1))
           (func (export "proxy_on_log") (param i32) (call $say (i32.const 8)))"#,
    );
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), true)
        .unwrap();
    proxy
        .response_headers(stream, support::response_map(), false)
        .unwrap();
    proxy.response_body(stream, b"one", true).unwrap();
    assert!(proxy.is_paused(stream));
    assert_eq!(
        support::short(&support::drain(&mut proxy, stream)),
        ["> headers true"]
    );
    proxy
        .close_stream(stream, CloseReason::ClientReset)
        .unwrap();
    assert_eq!(support::drain(&mut proxy, stream), []);
}

#[test]
fn inputs_out_of_order_are_refused() {
    let (mut proxy, _) = support::proxy("");
    let stream = support::open(&mut proxy);
    assert!(proxy.request_body(stream, b"a", false).is_err());
    assert!(
        proxy
            .response_headers(stream, support::response_map(), true)
            .is_err()
    );
    proxy
        .request_headers(stream, support::request_map(), true)
        .unwrap();
    assert!(
        proxy
            .request_headers(stream, support::request_map(), true)
            .is_err()
    );
    assert!(proxy.request_body(stream, b"a", false).is_err());
    assert!(
        proxy
            .open_stream(1, tidegate_host::StreamAttributes::default())
            .is_err()
    );
}
