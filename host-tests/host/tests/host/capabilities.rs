//! What a plugin is not allowed: host functions, WASI functions and callbacks.

use crate::support::{self, Watch, numbers};
use tidegate_host::{PluginConfig, Proxy};

const GUEST: &str = r#"
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $say (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
    (call $say (call $add_header (i32.const 0) @"a" @"b"))
    (call $say (call $fd_write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 24)))
    (call $say (call $random_get (i32.const 64) (i32.const 8)))
    ;; A pointer that is nowhere: who is not allowed is not told.
    (call $say (call $get_status (i32.const -1) (i32.const 16) (i32.const 20)))
    (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (call $say (i32.const 5)) (i32.const 0))
  (func (export "proxy_on_log") (param i32) (call $say (i32.const 8)))
"#;

fn allowing(names: &[&str]) -> PluginConfig {
    PluginConfig {
        allowed_capabilities: names.iter().map(|name| (*name).to_owned()).collect(),
        ..PluginConfig::default()
    }
}

const SOME: [&str; 5] = [
    "proxy_log",
    "proxy_on_request_headers",
    "proxy_on_log",
    "proxy_get_header_map_value",
    "random_get",
];

#[test]
fn what_is_not_allowed_answers_that_and_callbacks_do_not_come() {
    let (mut proxy, watch) = support::proxy_with(GUEST, PluginConfig::default());
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[0, 0, 0, 0, 6, 5, 8]));

    let (mut proxy, watch) = support::proxy_with(GUEST, allowing(&SOME));
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[0, 10, 76, 0, 10, 8]));
    assert_eq!(
        watch.take_events(),
        [
            "denied proxy_add_header_map_value",
            "denied fd_write",
            "denied proxy_get_status"
        ]
    );
}

#[test]
fn start_functions_and_allocators_need_no_leave() {
    let engine = support::engine();
    let module = support::module(
        &engine,
        r#"(func (export "_initialize") (call $say (i32.const 1)))
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $told (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
             (i32.const 0))"#,
    );
    let watch = Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .observer(Box::new(watch.clone()))
        .filter(&module, allowing(&SOME))
        .build()
        .unwrap();
    assert_eq!(watch.take(), numbers(&[1, 1]));
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), [support::number(0), support::text("/a?b=c")]);
}

#[test]
fn plugins_with_other_capabilities_have_a_vm_of_their_own() {
    let engine = support::engine();
    let module = support::module(&engine, GUEST);
    let vms = |one: &[&str], other: &[&str]| {
        Proxy::builder(&engine)
            .filter(&module, allowing(one))
            .filter(&module, allowing(other))
            .build()
            .unwrap()
            .vms()
            .len()
    };
    assert_eq!(vms(&[], &[]), 2);
    assert_eq!(vms(&[], &SOME), 4);
    assert_eq!(
        vms(&["proxy_log", "proxy_done"], &["proxy_done", "proxy_log"]),
        2
    );
}
