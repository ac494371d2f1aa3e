//! Bytes that the host hands to a guest: resolved names, arguments of foreign functions.

use crate::support::{self, Told, Watch, number, numbers};
use tidegate_host::{InputError, LookupAnswer, PluginConfig, Proxy, ResolvedAddress, Thread};

const GUEST: &str = r#"
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $number (call $resolve_dns @"shop.test" (i32.const 24))) (i32.const 0))
  (func $data (param $id i32) (param $size i32)
    (call $say (local.get $id)) (call $say (local.get $size))
    (call $told (call $get_buffer (i32.const 8) (i32.const 0) (i32.const 100) (i32.const 16) (i32.const 20)))
    (call $say (call $set_buffer (i32.const 8) (i32.const 0) (i32.const 1) @"x")))
  (func (export "envoy_on_resolve_dns") (param i32 i32 i32) (call $data (local.get 1) (local.get 2)))
  (func (export "proxy_on_foreign_function") (param i32 i32 i32) (call $data (local.get 1) (local.get 2)))
"#;

fn guest() -> (Proxy, Watch) {
    support::proxy_with(
        GUEST,
        PluginConfig {
            name: "guest".to_owned(),
            ..PluginConfig::default()
        },
    )
}

fn data(id: i32, size: i32, bytes: &[u8]) -> Vec<Told> {
    vec![
        number(id),
        number(size),
        number(0),
        Told::Text(String::from_utf8_lossy(bytes).into_owned()),
        number(2),
    ]
}

#[test]
fn resolved_names_come_with_their_times_to_live() {
    let (mut proxy, watch) = guest();
    support::exchange(&mut proxy);
    // The first token is 2, as in Envoy.
    assert_eq!(watch.take(), numbers(&[0, 2]));
    let lookup = proxy.pending_lookups().next().unwrap().clone();
    assert_eq!(
        (lookup.token, lookup.name.as_str(), lookup.plugin.as_str()),
        (2, "shop.test", "guest")
    );
    let addresses = [("10.0.0.1:0", 0x4141), ("[::1]:0", 0x4242)];
    let answer = LookupAnswer::Resolved(
        addresses
            .map(|(address, ttl_seconds)| ResolvedAddress {
                address: address.to_owned(),
                ttl_seconds,
            })
            .into(),
    );
    proxy.answer_lookup(lookup.id, answer).unwrap();
    let encoded = b"\x02\0\0\0AA\0\0BB\0\x0010.0.0.1:0\0[::1]:0\0";
    assert_eq!(watch.take(), data(2, 31, encoded));
    assert_eq!(
        proxy.answer_lookup(lookup.id, LookupAnswer::Failed),
        Err(InputError::UnknownCall)
    );
}

#[test]
fn name_without_addresses_is_a_count_of_none_and_a_failure_is_no_bytes() {
    let (mut proxy, watch) = guest();
    for (answer, size, bytes) in [
        (
            LookupAnswer::Resolved(Vec::new()),
            4,
            b"\0\0\0\0".as_slice(),
        ),
        (LookupAnswer::Failed, 0, b""),
    ] {
        support::exchange(&mut proxy);
        watch.take();
        let lookup = proxy.pending_lookups().next().unwrap().clone();
        proxy.answer_lookup(lookup.id, answer).unwrap();
        let token = i32::try_from(lookup.token).unwrap();
        assert_eq!(watch.take(), data(token, size, bytes));
    }
}

#[test]
fn foreign_function_of_a_guest_gets_its_arguments() {
    let (mut proxy, watch) = guest();
    proxy
        .call_foreign_function("guest", Thread::Worker(0), 7, b"arguments")
        .unwrap();
    assert_eq!(watch.take(), data(7, 9, b"arguments"));
    proxy
        .call_foreign_function("guest", Thread::Main, 8, b"")
        .unwrap();
    assert_eq!(watch.take(), data(8, 0, b""));
    let mut call = |plugin: &str, thread| proxy.call_foreign_function(plugin, thread, 1, b"");
    assert_eq!(call("other", Thread::Main), Err(InputError::UnknownPlugin));
    assert_eq!(
        call("guest", Thread::Worker(1)),
        Err(InputError::UnknownWorker)
    );
}

#[test]
fn guest_without_the_callback_is_left_alone() {
    let (mut proxy, watch) = support::proxy_with(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $number (call $resolve_dns @"shop.test" (i32.const 24))) (i32.const 0))"#,
        PluginConfig::default(),
    );
    support::exchange(&mut proxy);
    watch.take();
    let lookup = proxy.pending_lookups().next().unwrap().id;
    proxy.answer_lookup(lookup, LookupAnswer::Failed).unwrap();
    proxy
        .call_foreign_function("", Thread::Worker(0), 7, b"arguments")
        .unwrap();
    assert_eq!(watch.take(), []);
}

#[test]
fn lookups_of_a_vm_that_dies_are_forgotten() {
    let (mut proxy, _) = support::proxy_with(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $resolve_dns @"shop.test" (i32.const 24))) (i32.const 0))
           (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (unreachable))"#,
        PluginConfig::default(),
    );
    support::exchange(&mut proxy);
    assert_eq!(proxy.pending_lookups().count(), 0);
}
