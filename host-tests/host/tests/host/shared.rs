//! What VMs share: data, queues, metrics; and functions called by name.

use crate::support::{self, Watch, number, numbers, text};
use tidegate_host::{MetricValue, PluginConfig, Proxy, Status};

/// A guest that runs its lines on a request.
fn on_request(lines: &str) -> String {
    format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             {lines} (i32.const 0))"#
    )
}

#[test]
fn shared_data_is_written_under_the_rules_of_compare_and_swap() {
    let (mut proxy, watch) = support::proxy(&on_request(
        r#"(call $say (call $get_shared @"k" (i32.const 16) (i32.const 20) (i32.const 24)))
           ;; A missing key: a number that is not 0 creates it, once.
           (call $say (call $set_shared @"k" @"one" (i32.const -1)))
           (call $say (call $set_shared @"k" @"two" (i32.const -1)))
           (call $told (call $get_shared @"k" (i32.const 16) (i32.const 20) (i32.const 24)))
           (call $say (i32.load (i32.const 24)))
           (call $say (call $set_shared @"k" @"three" (i32.const 1)))
           (call $say (call $set_shared @"k" @"four" (i32.const 1)))
           ;; 0 writes always.
           (call $say (call $set_shared @"k" (i32.const 0) (i32.const 0) (i32.const 0)))
           (call $told (call $get_shared @"k" (i32.const 16) (i32.const 20) (i32.const 24)))
           (call $say (i32.load (i32.const 24)))
           (call $say (call $set_shared (i32.const 0) (i32.const 0) @"empty key" (i32.const 0)))"#,
    ));
    support::exchange(&mut proxy);
    assert_eq!(
        watch.take(),
        [
            number(1),
            number(0),
            number(8),
            number(0),
            text("one"),
            number(1),
            number(0),
            number(8),
            number(0),
            number(0),
            text(""),
            number(3),
            number(0),
        ]
    );
    let entries: Vec<_> = proxy
        .shared_data("")
        .map(|entry| (entry.key.to_vec(), entry.value.to_vec(), entry.cas))
        .collect();
    assert_eq!(
        entries,
        [
            (b"".to_vec(), b"empty key".to_vec(), 4),
            (b"k".to_vec(), b"".to_vec(), 3)
        ]
    );
}

#[test]
fn shared_data_belongs_to_the_vm_id_whatever_the_vm() {
    let engine = support::engine();
    let writer = support::module(
        &engine,
        &on_request(r#"(drop (call $set_shared @"k" @"v" (i32.const 0)))"#),
    );
    let reader = support::module(
        &engine,
        &on_request(
            r#"(call $told (call $get_shared @"k" (i32.const 16) (i32.const 20) (i32.const 24)))"#,
        ),
    );
    let with_id = |vm_id: &str| PluginConfig {
        vm_id: vm_id.to_owned(),
        ..PluginConfig::default()
    };
    for (other, seen) in [
        ("one", vec![number(0), text("v")]),
        ("two", vec![number(1)]),
    ] {
        let watch = Watch::default();
        let mut proxy = Proxy::builder(&engine)
            .filter(&writer, with_id("one"))
            .filter(&reader, with_id(other))
            .build()
            .unwrap();
        proxy.set_observer(Some(Box::new(watch.clone())));
        support::exchange(&mut proxy);
        assert_eq!(watch.take(), seen);
    }
}

/// A guest that registers a queue, puts two messages in on a request, and drains on notification.
const QUEUE: &str = r#"
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (call $number (call $register_queue @"q" (i32.const 24)))
    (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $say (call $resolve_queue (i32.const 0) (i32.const 0) @"q" (i32.const 28)))
    (call $say (call $resolve_queue @"other" @"q" (i32.const 24)))
    (call $say (call $enqueue (i32.load (i32.const 28)) @"one"))
    (call $say (call $enqueue (i32.load (i32.const 28)) @"two"))
    (call $say (call $enqueue (i32.const 77) @"x"))
    (call $say (call $dequeue (i32.const 77) (i32.const 16) (i32.const 20)))
    (i32.const 0))
  (func (export "proxy_on_queue_ready") (param i32 i32)
    (call $say (local.get 1))
    (call $told (call $dequeue (local.get 1) (i32.const 16) (i32.const 20)))
    (call $told (call $dequeue (local.get 1) (i32.const 16) (i32.const 20))))
"#;

#[test]
fn queue_tells_the_last_registrant_once_per_message() {
    let engine = support::engine();
    let module = support::module(&engine, QUEUE);
    let watch = Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .workers(2)
        .observer(Box::new(watch.clone()))
        .filter(&module, PluginConfig::default())
        .build()
        .unwrap();
    // Main thread and both workers get the same queue.
    assert_eq!(watch.take(), numbers(&[0, 1, 0, 1, 0, 1]));
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[0, 1, 0, 0, 1, 1]));
    // The other thread learns it a moment later.
    let due = proxy.next_timer_ns().unwrap();
    assert_eq!(due, proxy.now_ns() + 10_000);
    proxy.advance_to(due);
    assert_eq!(
        watch.take(),
        [
            number(1),
            number(0),
            text("one"),
            number(0),
            text("two"),
            // The second notification comes although the first drained the queue.
            number(1),
            number(7),
            number(7),
        ]
    );
    assert_eq!(proxy.next_timer_ns(), None);
    assert!(proxy.enqueue("", "q", b"three"));
    assert!(!proxy.enqueue("", "none", b"three"));
    proxy.advance_to(proxy.now_ns() + 10_000);
    assert_eq!(
        watch.take(),
        [number(1), number(0), text("three"), number(7)]
    );
}

#[test]
fn metrics_follow_envoys_ids_and_rules() {
    let (mut proxy, watch) = support::proxy(&on_request(
        r#"(call $number (call $define_metric (i32.const 0) @"c" (i32.const 24)))
           (call $number (call $define_metric (i32.const 0) @"c" (i32.const 24)))
           (call $number (call $define_metric (i32.const 1) @"g" (i32.const 24)))
           (call $number (call $define_metric (i32.const 2) @"h" (i32.const 24)))
           (call $say (call $define_metric (i32.const 3) @"x" (i32.const 24)))
           (call $say (call $increment_metric (i32.const 4) (i64.const 2)))
           (call $say (call $increment_metric (i32.const 8) (i64.const 3)))
           (call $say (call $increment_metric (i32.const 4) (i64.const 0)))
           (call $say (call $increment_metric (i32.const 4) (i64.const -1)))
           (call $say (call $record_metric (i32.const 4) (i64.const 10)))
           (call $number (call $get_metric (i32.const 8) (i32.const 24)))
           (call $say (call $record_metric (i32.const 5) (i64.const 10)))
           (call $say (call $increment_metric (i32.const 5) (i64.const -3)))
           (call $number (call $get_metric (i32.const 5) (i32.const 24)))
           (call $say (call $record_metric (i32.const 6) (i64.const 10)))
           (call $say (call $increment_metric (i32.const 6) (i64.const 1)))
           (call $say (call $get_metric (i32.const 6) (i32.const 24)))
           ;; Ids that nobody defined: counter, gauge, histogram.
           (call $say (call $increment_metric (i32.const 40) (i64.const 1)))
           (call $say (call $get_metric (i32.const 41) (i32.const 24)))
           (call $say (call $record_metric (i32.const 42) (i64.const 1)))
           (call $say (call $increment_metric (i32.const 42) (i64.const 1)))
           (call $say (call $get_metric (i32.const 42) (i32.const 24)))"#,
    ));
    support::exchange(&mut proxy);
    assert_eq!(
        watch.take(),
        numbers(&[
            0, 4, 0, 8, 0, 5, 0, 6, 2, 0, 0, 2, 2, 0, 0, 15, 0, 0, 0, 7, 0, 2, 2, 1, 1, 1, 2, 2
        ])
    );
    assert_eq!(proxy.metric("c"), Some(MetricValue::Counter(15)));
    assert_eq!(proxy.metric("g"), Some(MetricValue::Gauge(7)));
    assert_eq!(
        proxy.metric("h"),
        Some(MetricValue::Histogram {
            count: 1,
            sum: 10,
            min: 10,
            max: 10
        })
    );
    assert_eq!(proxy.metric("x"), None);
    assert_eq!(proxy.metrics().count(), 3);
}

#[test]
fn workers_count_into_one_metric() {
    let engine = support::engine();
    let module = support::module(
        &engine,
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $define_metric (i32.const 0) @"c" (i32.const 24))) (i32.const 1))
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $increment_metric (i32.const 4) (i64.const 1))) (i32.const 0))"#,
    );
    let mut proxy = Proxy::builder(&engine)
        .workers(2)
        .filter(&module, PluginConfig::default())
        .build()
        .unwrap();
    for worker in [0, 1, 1] {
        let stream = proxy
            .open_stream(worker, tidegate_host::StreamAttributes::default())
            .unwrap();
        proxy
            .request_headers(stream, support::request_map(), true)
            .unwrap();
    }
    assert_eq!(proxy.metric("c"), Some(MetricValue::Counter(3)));
}

#[test]
fn foreign_functions_answer_by_name() {
    let (mut proxy, watch) = support::proxy(&on_request(
        r#"(call $say (call $foreign @"nobody" @"" (i32.const 16) (i32.const 20)))
           (call $told (call $foreign @"clear_route_cache" @"" (i32.const 16) (i32.const 20)))
           (call $say (call $foreign @"compress" @"" (i32.const 16) (i32.const 20)))
           (call $say (i32.load (i32.const 20)))
           (call $say (call $foreign @"compress" @"hello hello hello" (i32.const 16) (i32.const 20)))
           (call $told (call $foreign @"uncompress" (i32.load (i32.const 16)) (i32.load (i32.const 20))
             (i32.const 16) (i32.const 20)))
           (call $say (call $foreign @"uncompress" @"nonsense" (i32.const 16) (i32.const 20)))
           (call $say (call $foreign @"declare_property" @"" (i32.const 0) (i32.const 0)))
           (call $say (call $foreign @"declare_property" @"" (i32.const 0) (i32.const 0)))
           (call $say (call $foreign @"verify_signature" @"" (i32.const 0) (i32.const 0)))"#,
    ));
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), true)
        .unwrap();
    assert_eq!(
        watch.take(),
        [
            number(1),
            number(0),
            text(""),
            number(0),
            number(8),
            number(0),
            number(0),
            text("hello hello hello"),
            number(3),
            number(0),
            number(2),
            number(2),
        ]
    );
    assert!(proxy.route_cache_cleared(stream));
}

#[test]
fn property_that_a_stream_declares_read_only_can_be_set_again() {
    // Field 1, `name`: "once"; field 2, `readonly`: true.
    let (mut proxy, watch) = support::proxy(&format!(
        r#"(data (i32.const 512) "\0a\04once\10\01") {}"#,
        on_request(
            r#"(call $say (call $foreign @"declare_property" (i32.const 512) (i32.const 8)
                 (i32.const 0) (i32.const 0)))
               (call $say (call $set_property @"once" @"a"))
               (call $say (call $set_property @"once" @"b"))
               (call $told (call $get_property @"once" (i32.const 16) (i32.const 20)))"#
        )
    ));
    support::exchange(&mut proxy);
    assert_eq!(
        watch.take(),
        [number(0), number(0), number(0), number(0), text("b")]
    );
}

#[test]
fn filter_state_is_set_where_envoy_has_a_factory() {
    // Field 1, `path`, and field 2, `value`.
    let (mut proxy, watch) = support::proxy(&format!(
        r#"(data (i32.const 512) "\0a\0cenvoy.string\12\01x")
           (data (i32.const 640) "\0a\04none\12\01x")
           (data (i32.const 768) "\0a\1benvoy.ratelimit.hits_addend\12\01x") {}"#,
        on_request(
            r#"(call $say (call $foreign @"set_envoy_filter_state" (i32.const 512) (i32.const 17)
                 (i32.const 0) (i32.const 0)))
               (call $say (call $foreign @"set_envoy_filter_state" (i32.const 640) (i32.const 9)
                 (i32.const 0) (i32.const 0)))
               (call $say (call $foreign @"set_envoy_filter_state" (i32.const 768) (i32.const 32)
                 (i32.const 0) (i32.const 0)))
               (call $say (call $foreign @"set_envoy_filter_state" @"\ff" (i32.const 0) (i32.const 0)))"#
        )
    ));
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), true)
        .unwrap();
    assert_eq!(watch.take(), numbers(&[0, 1, 2, 2]));
    let state: Vec<_> = proxy.filter_state(stream).collect();
    assert_eq!(state, [("envoy.string", &b"x"[..])]);
}

#[test]
fn drivers_add_foreign_functions_of_their_own() {
    let engine = support::engine();
    let module = support::module(
        &engine,
        &on_request(
            r#"(call $told (call $foreign @"upper" @"abc" (i32.const 16) (i32.const 20)))
               (call $say (call $foreign @"upper" @"" (i32.const 16) (i32.const 20)))"#,
        ),
    );
    let watch = Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .foreign_function("upper", |arguments| {
            if arguments.is_empty() {
                return Err(Status::BadArgument);
            }
            Ok(arguments.to_ascii_uppercase())
        })
        .filter(&module, PluginConfig::default())
        .build()
        .unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), [number(0), text("ABC"), number(2)]);
}
