//! Connections through network filters: callbacks, buffers, pauses and ends, as a real Envoy was seen to do it.

use crate::support::{self, Told, Watch, number, text};
use tidegate_host::{
    ClosedBy, ConnectionId, ConnectionOutput, FailurePolicy, InputError, PluginConfig, Proxy,
    StreamAttributes, UpstreamAttributes,
};

/// Tells each callback as a letter, then what it was given, then both buffers where they are not empty. The first
/// byte of the buffer says what to do: `p` and `P` stop until six bytes are there, `c` and `d` close, `t` traps, `e`
/// edits, `r` stops and lets go on at once.
const GUEST: &str = r#"
  (func $buffers
    (drop (call $get_buffer (i32.const 2) (i32.const 0) (i32.const 100) (i32.const 16) (i32.const 20)))
    (if (i32.load (i32.const 20)) (then (call $text (i32.load (i32.const 16)) (i32.load (i32.const 20)))))
    (drop (call $get_buffer (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 16) (i32.const 20)))
    (if (i32.load (i32.const 20)) (then (call $text (i32.load (i32.const 16)) (i32.load (i32.const 20))))))
  (func $first (param $buffer i32) (result i32)
    (drop (call $get_buffer (local.get $buffer) (i32.const 0) (i32.const 1) (i32.const 16) (i32.const 20)))
    (if (result i32) (i32.load (i32.const 20))
      (then (i32.load8_u (i32.load (i32.const 16)))) (else (i32.const 0))))
  (func (export "proxy_on_context_create") (param i32 i32) (if (local.get 1) (then (call $text @"create"))))
  (func (export "proxy_on_new_connection") (param i32) (result i32) (call $text @"new") (i32.const 0))
  (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32)
    (local $first i32)
    (call $text @"down") (call $say (local.get 1)) (call $say (local.get 2)) (call $buffers)
    (local.set $first (call $first (i32.const 2)))
    (if (i32.eq (local.get $first) (i32.const 0x70))
      (then (return (i32.lt_u (local.get 1) (i32.const 6)))))
    (if (i32.eq (local.get $first) (i32.const 0x63))
      (then (call $say (call $close_stream (i32.const 2)))))
    (if (i32.eq (local.get $first) (i32.const 0x64))
      (then (call $say (call $close_stream (i32.const 3)))))
    (if (i32.eq (local.get $first) (i32.const 0x74)) (then (unreachable)))
    (if (i32.eq (local.get $first) (i32.const 0x65)) (then
      (call $say (call $set_buffer (i32.const 2) (i32.const 0) (i32.const 1) @"EDIT"))
      (call $say (call $set_buffer (i32.const 2) (i32.const 1) (i32.const 1) @"X"))
      (call $say (call $set_buffer (i32.const 2) (i32.const 100) (i32.const 0) @"END"))
      (call $say (call $set_buffer (i32.const 3) (i32.const 0) (i32.const 0) @"U"))
      (call $say (call $set_buffer (i32.const 0) (i32.const 0) (i32.const 0) @"U"))))
    (if (i32.eq (local.get $first) (i32.const 0x72)) (then
      (call $say (call $continue_stream (i32.const 2)))
      (call $say (call $continue_stream (i32.const 3)))
      (call $say (call $continue_stream (i32.const 0)))
      (call $say (call $close_stream (i32.const 0)))
      (call $say (call $send_local_response (i32.const 403) @"d" @"b" (i32.const 0) (i32.const 0) (i32.const -1)))
      (return (i32.const 1))))
    (i32.const 0))
  (func (export "proxy_on_upstream_data") (param i32 i32 i32) (result i32)
    (call $text @"up") (call $say (local.get 1)) (call $say (local.get 2)) (call $buffers)
    (if (i32.eq (call $first (i32.const 3)) (i32.const 0x50))
      (then (return (i32.lt_u (local.get 1) (i32.const 6)))))
    (i32.const 0))
  (func (export "proxy_on_downstream_connection_close") (param i32 i32)
    (call $text @"down closed") (call $say (local.get 1)) (call $buffers))
  (func (export "proxy_on_upstream_connection_close") (param i32 i32)
    (call $text @"up closed") (call $say (local.get 1)))
  (func (export "proxy_on_done") (param i32) (result i32) (call $text @"done") (i32.const 1))
  (func (export "proxy_on_log") (param i32) (call $text @"log") (call $buffers))
  (func (export "proxy_on_delete") (param i32) (call $text @"delete"))
"#;

fn words(told: &[Told]) -> String {
    let words: Vec<String> = told
        .iter()
        .map(|told| match told {
            Told::Number(number) => number.to_string(),
            Told::Text(text) => text.clone(),
        })
        .collect();
    words.join(" ")
}

fn start(plugins: usize, config: &PluginConfig) -> (Proxy, Watch) {
    let engine = support::engine();
    let module = support::module(&engine, GUEST);
    let watch = Watch::default();
    let mut builder = Proxy::builder(&engine);
    for _ in 0..plugins {
        builder = builder.network_filter(&module, config.clone());
    }
    let mut proxy = builder.build().unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    (proxy, watch)
}

fn one() -> (Proxy, Watch, ConnectionId) {
    let (mut proxy, watch) = start(1, &PluginConfig::default());
    let connection = connect(&mut proxy);
    assert_eq!(words(&watch.take()), "create new");
    (proxy, watch, connection)
}

fn connect(proxy: &mut Proxy) -> ConnectionId {
    let attributes = StreamAttributes {
        connection_id: 7,
        source_address: "10.0.0.9:5123".to_owned(),
        ..StreamAttributes::default()
    };
    proxy.open_connection(0, attributes).unwrap()
}

fn outputs(proxy: &mut Proxy, connection: ConnectionId) -> Vec<String> {
    let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
    std::iter::from_fn(|| proxy.poll_connection(connection))
        .map(|output| match output {
            ConnectionOutput::ToUpstream { data, end_stream } => {
                format!("> {} {end_stream}", text(&data))
            }
            ConnectionOutput::ToClient { data, end_stream } => {
                format!("< {} {end_stream}", text(&data))
            }
            ConnectionOutput::Closed { details } => format!("closed {details}"),
        })
        .collect()
}

#[test]
fn connection_from_its_beginning_to_its_end() {
    let (mut proxy, watch, connection) = one();
    proxy.downstream_data(connection, b"hello", false).unwrap();
    assert_eq!(words(&watch.take()), "down 5 0 hello");
    proxy.upstream_data(connection, b"<hello", false).unwrap();
    assert_eq!(words(&watch.take()), "up 6 0 <hello");
    assert_eq!(
        outputs(&mut proxy, connection),
        ["> hello false", "< <hello false"]
    );
    proxy.downstream_data(connection, b"", true).unwrap();
    assert_eq!(words(&watch.take()), "down 0 1");
    // Who saw the upstream's last byte is told that it closed; of whom is not known.
    proxy.upstream_data(connection, b"", true).unwrap();
    assert_eq!(words(&watch.take()), "up 0 1 up closed 0");
    assert_eq!(outputs(&mut proxy, connection), [">  true", "<  true"]);
    proxy.close_connection(connection, ClosedBy::Proxy).unwrap();
    assert_eq!(words(&watch.take()), "down closed 1 done log delete");
    assert!(!proxy.is_connected(connection));
    assert_eq!(outputs(&mut proxy, connection), [""; 0]);
    assert_eq!(
        proxy.downstream_data(connection, b"x", false),
        Err(InputError::UnknownConnection)
    );
    assert_eq!(proxy.vms()[1].contexts, 1);
}

#[test]
fn client_that_goes_away_is_the_remote_peer() {
    let (mut proxy, watch, connection) = one();
    proxy.upstream_data(connection, b"bye", true).unwrap();
    watch.take();
    proxy
        .close_connection(connection, ClosedBy::Client)
        .unwrap();
    assert_eq!(words(&watch.take()), "down closed 2 done log delete");
}

#[test]
fn stopped_bytes_of_the_client_gather_until_the_filter_lets_go() {
    let (mut proxy, watch, connection) = one();
    for (sent, seen) in [("pa", "down 2 0 pa"), ("bcd", "down 5 0 pabcd")] {
        proxy
            .downstream_data(connection, sent.as_bytes(), false)
            .unwrap();
        assert_eq!(words(&watch.take()), seen);
        assert_eq!(outputs(&mut proxy, connection), [""; 0]);
    }
    // While it stops, the bytes stay readable in other callbacks.
    proxy.upstream_data(connection, b"x", false).unwrap();
    assert_eq!(words(&watch.take()), "up 1 0 pabcd x");
    proxy.downstream_data(connection, b"ef", false).unwrap();
    assert_eq!(words(&watch.take()), "down 7 0 pabcdef");
    assert_eq!(
        outputs(&mut proxy, connection),
        ["< x false", "> pabcdef false"]
    );
}

#[test]
fn stopped_bytes_of_the_upstream_gather_too() {
    let (mut proxy, watch, connection) = one();
    proxy.upstream_data(connection, b"Pab", false).unwrap();
    proxy.upstream_data(connection, b"cdef", false).unwrap();
    assert_eq!(words(&watch.take()), "up 3 0 Pab up 7 0 Pabcdef");
    assert_eq!(outputs(&mut proxy, connection), ["< Pabcdef false"]);
}

#[test]
fn end_that_comes_while_a_filter_stops_is_shown_with_the_bytes() {
    let (mut proxy, watch, connection) = one();
    proxy.downstream_data(connection, b"pa", false).unwrap();
    proxy.downstream_data(connection, b"", true).unwrap();
    assert_eq!(words(&watch.take()), "down 2 0 pa down 2 1 pa");
    assert_eq!(outputs(&mut proxy, connection), [""; 0]);
}

#[test]
fn guest_closes_the_connection_from_either_side() {
    for (sent, details) in [
        ("c1", "wasm_downstream_close"),
        ("d1", "wasm_upstream_close"),
    ] {
        let (mut proxy, watch, connection) = one();
        proxy
            .downstream_data(connection, sent.as_bytes(), false)
            .unwrap();
        // The bytes are still there: they are taken away once the callback is over.
        assert_eq!(
            words(&watch.take()),
            format!("down 2 0 {sent} 0 down closed 1 {sent} done log {sent} delete")
        );
        assert_eq!(
            outputs(&mut proxy, connection),
            [format!("closed {details}")]
        );
    }
}

#[test]
fn guest_edits_at_the_ends_of_the_buffer_that_is_shown() {
    let (mut proxy, watch, connection) = one();
    proxy.downstream_data(connection, b"eab", false).unwrap();
    assert_eq!(words(&watch.take()), "down 3 0 eab 0 2 0 2 2");
    assert_eq!(outputs(&mut proxy, connection), ["> EDITabEND false"]);
}

#[test]
fn continue_passes_the_bytes_on_and_what_is_for_http_does_nothing() {
    let (mut proxy, watch, connection) = one();
    proxy.downstream_data(connection, b"ra", false).unwrap();
    assert_eq!(words(&watch.take()), "down 2 0 ra 0 12 0 0 0");
    assert_eq!(outputs(&mut proxy, connection), ["> ra false"]);
    assert!(proxy.is_connected(connection));
    proxy.downstream_data(connection, b"xx", false).unwrap();
    assert_eq!(words(&watch.take()), "down 2 0 xx");
}

#[test]
fn filters_see_the_client_in_order_and_the_upstream_in_reverse() {
    let engine = support::engine();
    let guest = |letter: &str| {
        support::module(
            &engine,
            &format!(
                r#"(func (export "proxy_on_new_connection") (param i32) (result i32) (call $text @"{letter} new") (i32.const 0))
                   (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32) (call $text @"{letter} down") (i32.const 0))
                   (func (export "proxy_on_upstream_data") (param i32 i32 i32) (result i32) (call $text @"{letter} up") (i32.const 0))
                   (func (export "proxy_on_downstream_connection_close") (param i32 i32) (call $text @"{letter} closed"))
                   (func (export "proxy_on_log") (param i32) (call $text @"{letter} log"))"#
            ),
        )
    };
    let watch = Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .network_filter(&guest("a"), PluginConfig::default())
        .network_filter(&guest("b"), PluginConfig::default())
        .build()
        .unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    let connection = connect(&mut proxy);
    proxy.downstream_data(connection, b"x", false).unwrap();
    proxy.upstream_data(connection, b"x", false).unwrap();
    proxy
        .close_connection(connection, ClosedBy::Client)
        .unwrap();
    assert_eq!(
        words(&watch.take()),
        "a new b new a down b down b up a up a closed a log b closed b log"
    );
}

#[test]
fn filter_that_stops_makes_those_before_it_see_all_bytes_again() {
    let engine = support::engine();
    let first = support::module(
        &engine,
        r#"(func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32)
             (call $text @"first") (call $say (local.get 1)) (i32.const 0))"#,
    );
    let second = support::module(&engine, GUEST);
    let watch = Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .network_filter(&first, PluginConfig::default())
        .network_filter(&second, PluginConfig::default())
        .build()
        .unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    let connection = connect(&mut proxy);
    watch.take();
    proxy.downstream_data(connection, b"pa", false).unwrap();
    proxy.downstream_data(connection, b"bcdef", false).unwrap();
    assert_eq!(
        words(&watch.take()),
        "first 2 down 2 0 pa first 7 down 7 0 pabcdef"
    );
}

#[test]
fn filter_that_stops_a_new_connection_keeps_it_from_those_behind_it() {
    let engine = support::engine();
    let stopping = support::module(
        &engine,
        r#"(func (export "proxy_on_new_connection") (param i32) (result i32) (call $text @"stop") (i32.const 1))
           (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32) (call $text @"data") (i32.const 0))"#,
    );
    let behind = support::module(&engine, GUEST);
    let watch = Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .network_filter(&stopping, PluginConfig::default())
        .network_filter(&behind, PluginConfig::default())
        .build()
        .unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    let connection = connect(&mut proxy);
    assert_eq!(words(&watch.take()), "stop");
    // What the upstream says passes the filter that knows nothing of the connection.
    proxy.upstream_data(connection, b"hi", false).unwrap();
    assert_eq!(watch.take(), []);
    proxy.downstream_data(connection, b"x", false).unwrap();
    assert_eq!(words(&watch.take()), "data create new down 1 0 x");
}

#[test]
fn dead_vm_closes_the_connection_or_lets_it_pass_by_the_policy() {
    let config = |failure_policy| PluginConfig {
        failure_policy,
        ..PluginConfig::default()
    };
    let (mut proxy, watch) = start(1, &config(FailurePolicy::FailClosed));
    let connection = connect(&mut proxy);
    proxy.downstream_data(connection, b"t", false).unwrap();
    assert_eq!(outputs(&mut proxy, connection), ["closed wasm_fail_stream"]);
    // Nothing runs in a dead VM, not even the end.
    assert_eq!(words(&watch.take()), "create new down 1 0 t");
    let connection = connect(&mut proxy);
    assert!(!proxy.is_connected(connection));
    assert_eq!(outputs(&mut proxy, connection), ["closed wasm_fail_stream"]);

    let (mut proxy, _) = start(1, &config(FailurePolicy::FailOpen));
    let connection = connect(&mut proxy);
    proxy.downstream_data(connection, b"t", false).unwrap();
    // The connection that trapped is lost, those after it pass.
    assert_eq!(outputs(&mut proxy, connection), ["closed wasm_fail_stream"]);
    let other = connect(&mut proxy);
    for sent in ["t", "more"] {
        proxy
            .downstream_data(other, sent.as_bytes(), false)
            .unwrap();
    }
    proxy.upstream_data(other, b"answer", false).unwrap();
    assert_eq!(
        outputs(&mut proxy, other),
        ["> t false", "> more false", "< answer false"]
    );

    let (mut proxy, watch) = start(1, &config(FailurePolicy::FailReload));
    proxy.advance_to(proxy.now_ns() + 2_000_000_000);
    let connection = connect(&mut proxy);
    proxy.downstream_data(connection, b"t", false).unwrap();
    watch.take();
    let connection = connect(&mut proxy);
    proxy.downstream_data(connection, b"hello", false).unwrap();
    assert_eq!(words(&watch.take()), "create new down 5 0 hello");
}

#[test]
fn plugins_of_listeners_of_both_kinds_share_a_vm() {
    let engine = support::engine();
    let module = support::module(&engine, GUEST);
    let proxy = Proxy::builder(&engine)
        .network_filter(&module, PluginConfig::default())
        .filter(&module, PluginConfig::default())
        .build()
        .unwrap();
    assert_eq!(proxy.vms().len(), 2);
}

#[test]
fn limits_hold_for_network_filters_too() {
    let engine = support::engine();
    let module = support::module(
        &engine,
        r#"(func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32)
             (loop $again (br $again)) (i32.const 0))"#,
    );
    let limits = tidegate_host::Limits {
        fuel_per_callback: 10_000,
        ..tidegate_host::Limits::default()
    };
    let mut proxy = Proxy::builder(&engine)
        .network_filter(
            &module,
            PluginConfig {
                limits,
                ..PluginConfig::default()
            },
        )
        .build()
        .unwrap();
    let connection = connect(&mut proxy);
    proxy.downstream_data(connection, b"x", false).unwrap();
    assert!(!proxy.is_connected(connection));
}

#[test]
fn properties_of_a_connection_are_those_of_its_stream() {
    let engine = support::engine();
    let module = support::module(
        &engine,
        r#"(func $look (param $at i32) (param $size i32)
             (call $told (call $get_property (local.get $at) (local.get $size) (i32.const 16) (i32.const 20))))
           (func (export "proxy_on_new_connection") (param i32) (result i32)
             (call $look @"source\0address") (call $look @"upstream\0address") (call $look @"xds\0cluster_name")
             (call $look @"request\0path") (call $look @"request\0protocol") (call $look @"response\0code")
             (call $say (call $set_property @"mine" @"kept")) (i32.const 0))
           (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32)
             (call $look @"upstream\0address") (call $look @"xds\0cluster_name") (call $look @"mine")
             (call $say (call $get_property @"request\0size" (i32.const 16) (i32.const 20)))
             (call $say (i32.load (i32.load (i32.const 16))))
             (call $say (call $get_header (i32.const 0) @"a" (i32.const 16) (i32.const 20)))
             (i32.const 0))"#,
    );
    let watch = Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .network_filter(&module, PluginConfig::default())
        .build()
        .unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    let connection = connect(&mut proxy);
    assert_eq!(
        watch.take(),
        [
            vec![number(0), text("10.0.0.9:5123")],
            vec![number(1); 5],
            vec![number(0)]
        ]
        .concat()
    );
    let upstream = UpstreamAttributes {
        address: "10.0.0.1:80".to_owned(),
        ..UpstreamAttributes::default()
    };
    proxy
        .set_connection_upstream(connection, "db", upstream)
        .unwrap();
    proxy.downstream_data(connection, b"12345", false).unwrap();
    assert_eq!(words(&watch.take()), "0 10.0.0.1:80 0 db 0 kept 0 5 2");
}

#[test]
fn tick_reaches_a_connection_through_the_effective_context() {
    let engine = support::engine();
    let module = support::module(
        &engine,
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $set_tick_period (i32.const 10))) (i32.const 1))
           (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32) (i32.const 1))
           (func (export "proxy_on_tick") (param i32)
             (call $say (call $set_effective_context (i32.const 2)))
             (call $say (call $continue_stream (i32.const 2))))"#,
    );
    let watch = Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .network_filter(&module, PluginConfig::default())
        .network_filter(&support::module(&engine, GUEST), PluginConfig::default())
        .build()
        .unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    let connection = connect(&mut proxy);
    proxy.downstream_data(connection, b"held", false).unwrap();
    assert_eq!(outputs(&mut proxy, connection), [""; 0]);
    assert_eq!(words(&watch.take()), "create new");
    proxy.advance_to(proxy.now_ns() + 10_000_000);
    assert_eq!(outputs(&mut proxy, connection), ["> held false"]);
    // The filter behind it sees the bytes once; it itself does not see them again. The main thread's VM has no such
    // context.
    assert_eq!(words(&watch.take()), "0 0 down 4 0 held 2 0");
}

#[test]
fn ends_come_once_and_workers_exist() {
    let (mut proxy, _, connection) = one();
    proxy.downstream_data(connection, b"", true).unwrap();
    proxy.upstream_data(connection, b"", true).unwrap();
    let late = Err(InputError::OutOfOrder("the end has come already"));
    assert_eq!(proxy.downstream_data(connection, b"x", false), late);
    assert_eq!(proxy.upstream_data(connection, b"x", false), late);
    assert_eq!(
        proxy.open_connection(1, StreamAttributes::default()),
        Err(InputError::UnknownWorker)
    );
}
