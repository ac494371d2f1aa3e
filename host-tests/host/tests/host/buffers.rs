//! Bodies and the other buffers.

use crate::support::{self, number, numbers, text};
use tidegate_host::PluginConfig;

fn body(proxy: &mut tidegate_host::Proxy, parts: &[&[u8]]) -> Vec<String> {
    let stream = support::open(proxy);
    proxy
        .request_headers(stream, support::request_map(), false)
        .unwrap();
    let mut parts = parts.iter().peekable();
    while let Some(part) = parts.next() {
        proxy
            .request_body(stream, part, parts.peek().is_none())
            .unwrap();
    }
    let outputs = support::drain(proxy, stream);
    support::short(&outputs)
}

/// A guest that writes `XY` into the request body at a place and length.
fn writer(start: i32, length: i32) -> String {
    format!(
        r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
             (call $say (call $set_buffer (i32.const 0) (i32.const {start}) (i32.const {length}) @"XY"))
             (i32.const 0))"#
    )
}

#[test]
fn body_is_written_where_envoy_can_write() {
    for (start, length, status, written) in [
        (0, 0, 0, "> XYhello true"),
        (0, 2, 0, "> XYllo true"),
        (0, 5, 0, "> XY true"),
        (0, -1, 0, "> XY true"),
        (5, 0, 0, "> helloXY true"),
        (-1, 0, 0, "> helloXY true"),
        (2, 1, 2, "> hello true"),
        (4, 9, 2, "> hello true"),
    ] {
        let (mut proxy, watch) = support::proxy(&writer(start, length));
        let outputs = body(&mut proxy, &[b"hello"]);
        assert_eq!(outputs, ["> headers false", written], "{start} {length}");
        assert_eq!(watch.take(), [number(status)], "{start} {length}");
    }
}

#[test]
fn body_is_read_in_parts_and_beyond_its_end_it_is_empty() {
    let (mut proxy, watch) = support::proxy(
        r#"(func $read (param $start i32) (param $size i32)
             (call $told (call $get_buffer (i32.const 0) (local.get $start) (local.get $size)
                (i32.const 16) (i32.const 20))))
           (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
             (call $read (i32.const 1) (i32.const 2))
             (call $read (i32.const 1) (i32.const -1))
             (call $read (i32.const 9) (i32.const 1))
             (call $say (i32.load (i32.const 16)))
             (call $number (call $get_buffer_status (i32.const 0) (i32.const 24) (i32.const 28)))
             (i32.const 0))"#,
    );
    body(&mut proxy, &[b"hello"]);
    assert_eq!(
        watch.take(),
        [
            number(0),
            text("el"),
            number(0),
            text("ello"),
            number(0),
            text(""),
            // No bytes: pointer 0.
            number(0),
            number(0),
            number(5)
        ]
    );
}

#[test]
fn buffers_of_other_phases_are_empty_missing_or_unknown() {
    let (mut proxy, watch) = support::proxy_with(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (local $buffer i32)
             (loop $next
               (call $say (call $get_buffer (local.get $buffer) (i32.const 0) (i32.const 100)
                  (i32.const 16) (i32.const 20)))
               (local.set $buffer (i32.add (local.get $buffer) (i32.const 1)))
               (br_if $next (i32.lt_u (local.get $buffer) (i32.const 10))))
             (call $say (call $set_buffer (i32.const 0) (i32.const 0) (i32.const 0) @"a"))
             (call $say (call $set_buffer (i32.const 6) (i32.const 0) (i32.const 0) @"a"))
             (call $say (call $set_buffer (i32.const 7) (i32.const 0) (i32.const 0) @"a"))
             (i32.const 0))"#,
        PluginConfig {
            vm_configuration: b"vm".to_vec(),
            ..PluginConfig::default()
        },
    );
    support::exchange(&mut proxy);
    assert_eq!(
        watch.take(),
        numbers(&[0, 0, 0, 0, 1, 0, 0, 1, 0, 2, 2, 2, 1])
    );
}

#[test]
fn configuration_is_readable_while_it_is_given() {
    let engine = support::engine();
    let module = support::module(
        &engine,
        r#"(func $read (param $buffer i32)
             (call $told (call $get_buffer (local.get $buffer) (i32.const 0) (i32.const 100)
                (i32.const 16) (i32.const 20))))
           (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
             (call $say (local.get 1))
             (call $read (i32.const 6)) (call $read (i32.const 7)) (i32.const 1))
           (func (export "proxy_on_configure") (param i32 i32) (result i32)
             (call $say (local.get 1))
             (call $read (i32.const 6)) (call $read (i32.const 7)) (call $read (i32.const 8))
             (i32.const 1))"#,
    );
    let watch = support::Watch::default();
    tidegate_host::Proxy::builder(&engine)
        .observer(Box::new(watch.clone()))
        .filter(
            &module,
            PluginConfig {
                vm_configuration: b"vm".to_vec(),
                configuration: b"plugin".to_vec(),
                ..PluginConfig::default()
            },
        )
        .build()
        .unwrap();
    let once = [
        number(2),
        number(0),
        text("vm"),
        number(1),
        number(6),
        number(0),
        text("vm"),
        number(0),
        text("plugin"),
        // The last buffer that was read.
        number(0),
        text("plugin"),
    ];
    // The main thread's and the worker's.
    let twice: Vec<_> = once.iter().chain(&once).cloned().collect();
    assert_eq!(watch.take(), twice);
}

/// A guest that answers bodies with a number until the end, and tells their sizes.
fn pauser(status: i32) -> String {
    format!(
        r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
             (call $say (local.get 1))
             (select (i32.const 0) (i32.const {status}) (local.get 2)))"#
    )
}

#[test]
fn held_back_bodies_are_seen_whole_when_buffered_and_in_parts_when_not() {
    for (status, sizes, passed) in [
        (1, [3, 6, 7], "> onetwo! true"),
        // Back-pressure: each part alone, all of it passes.
        (2, [3, 3, 1], "> onetwo! true"),
        // Not buffered: what was not let through is gone.
        (3, [3, 3, 1], "> ! true"),
    ] {
        let (mut proxy, watch) = support::proxy(&pauser(status));
        let outputs = body(&mut proxy, &[b"one", b"two", b"!"]);
        assert_eq!(outputs, ["> headers false", passed], "{status}");
        assert_eq!(watch.take(), numbers(&sizes), "{status}");
    }
}

#[test]
fn too_large_a_buffered_request_is_answered_with_413() {
    let (mut proxy, _) = support::proxy(&pauser(1));
    let part = vec![b'x'; 600 * 1024];
    let outputs = body(&mut proxy, &[&part, &part, b""]);
    assert_eq!(
        outputs,
        [
            "> headers false",
            "local 413 Payload Too Large request_payload_too_large"
        ]
    );
}

#[test]
fn back_pressure_has_no_limit() {
    let (mut proxy, _) = support::proxy(&pauser(2));
    let part = vec![b'x'; 600 * 1024];
    let outputs = body(&mut proxy, &[&part, &part, b""]);
    assert_eq!(outputs.len(), 2);
    assert_eq!(
        outputs[1].len(),
        2 * part.len() + "> ".len() + " true".len()
    );
}
