//! Failure policies in full: back-off, reloads that fail, plugins that share a VM.

use std::time::Duration;

use crate::support::{self, Watch};
use tidegate_host::{
    CloseReason, Engine, FailurePolicy, Module, PluginConfig, Proxy, StreamId, VmState,
};

/// Traps on `x-trap`. Refuses its configuration where shared data says so, and traps there where it says `trap`.
const GUEST: &str = r#"
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (if (call $get_shared @"refuse" (i32.const 16) (i32.const 20) (i32.const 24))
      (then (return (i32.const 1))))
    (if (i32.eq (i32.load (i32.const 20)) (i32.const 4)) (then (unreachable)))
    (i32.eqz (i32.load (i32.const 20))))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (if (i32.eqz (call $get_header (i32.const 0) @"x-trap" (i32.const 16) (i32.const 20)))
      (then (unreachable)))
    (if (i32.eqz (call $get_header (i32.const 0) @"x-refuse" (i32.const 16) (i32.const 20)))
      (then (drop (call $set_shared @"refuse" (i32.load (i32.const 16)) (i32.load (i32.const 20)) (i32.const 0)))))
    (i32.const 0))
"#;

fn policy(failure_policy: FailurePolicy, reload_backoff: Option<Duration>) -> PluginConfig {
    PluginConfig {
        name: "guest".to_owned(),
        failure_policy,
        reload_backoff,
        ..PluginConfig::default()
    }
}

fn build(engine: &Engine, plugins: &[(&Module, PluginConfig)]) -> (Proxy, Watch) {
    let watch = Watch::default();
    let mut builder = Proxy::builder(engine);
    for (module, config) in plugins {
        builder = builder.filter(module, config.clone());
    }
    let mut proxy = builder.build().unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    (proxy, watch)
}

fn send(proxy: &mut Proxy, header: &str, value: &str) -> bool {
    let stream: StreamId = support::open(proxy);
    let mut headers = support::request_map();
    headers.add(header, value);
    proxy.request_headers(stream, headers, true).unwrap();
    let passed = !proxy.is_finished(stream);
    proxy.close_stream(stream, CloseReason::Complete).unwrap();
    support::drain(proxy, stream);
    passed
}

fn wait(proxy: &mut Proxy, ms: u64) {
    proxy.advance_to(proxy.now_ns() + ms * 1_000_000);
}

#[test]
fn back_off_counts_from_the_last_load_and_draws_up_to_half_of_itself() {
    for (base, least_ms) in [(None, 1_000), (Some(Duration::from_millis(200)), 200)] {
        let engine = support::engine();
        let module = support::module(&engine, GUEST);
        let config = policy(FailurePolicy::FailReload, base);
        let (mut proxy, watch) = build(&engine, &[(&module, config)]);
        assert!(!send(&mut proxy, "x-trap", "1"));
        wait(&mut proxy, least_ms - 1);
        assert!(!send(&mut proxy, "x-a", "1"));
        // Drawn anew at each request, so it passes somewhere before one and a half.
        wait(&mut proxy, least_ms / 2);
        assert!(send(&mut proxy, "x-a", "1"));
        assert_eq!(
            watch.take_events(),
            [
                "trapped in proxy_on_request_headers",
                "reload put off",
                "started on worker 0",
                "reloaded"
            ]
        );
    }
}

#[test]
fn vm_that_lived_longer_than_the_back_off_is_replaced_at_once() {
    let engine = support::engine();
    let module = support::module(&engine, GUEST);
    let config = policy(FailurePolicy::FailReload, Some(Duration::from_millis(1)));
    let (mut proxy, _) = build(&engine, &[(&module, config)]);
    for _ in 0..3 {
        wait(&mut proxy, 1);
        assert!(!send(&mut proxy, "x-trap", "1"));
        wait(&mut proxy, 1);
        assert!(send(&mut proxy, "x-a", "1"));
    }
    assert_eq!(proxy.vms()[1].reloads, 3);
    assert_eq!(proxy.stats()["wasm.guest.vm_reload_success"], 3);
}

#[test]
fn reload_that_fails_is_tried_again_after_the_back_off() {
    for (what, reason) in [("n", "answered false"), ("trap", "unreachable")] {
        let engine = support::engine();
        let module = support::module(&engine, GUEST);
        let config = policy(FailurePolicy::FailReload, None);
        let (mut proxy, watch) = build(&engine, &[(&module, config)]);
        wait(&mut proxy, 2_000);
        assert!(send(&mut proxy, "x-refuse", what), "{reason}");
        assert!(!send(&mut proxy, "x-trap", "1"));
        watch.take_events();
        assert!(!send(&mut proxy, "x-a", "1"));
        let events = watch.take_events();
        assert_eq!(events.last().unwrap(), "reload failed", "{reason}");
        // The try that failed counts as a load.
        assert!(!send(&mut proxy, "x-a", "1"));
        assert_eq!(watch.take_events(), ["reload put off"], "{reason}");
        wait(&mut proxy, 1_500);
        assert!(!send(&mut proxy, "x-a", "1"));
        assert_eq!(
            watch.take_events().last().unwrap(),
            "reload failed",
            "{reason}"
        );
        assert_ne!(proxy.vms()[1].state, VmState::Running);
        let stats: Vec<(String, u64)> = proxy.stats().into_iter().collect();
        let named = |event: &str, count| (format!("wasm.guest.vm_reload_{event}"), count);
        assert_eq!(
            stats,
            [
                named("backoff", 1),
                named("failure", 2),
                named("success", 0)
            ]
        );
    }
}

#[test]
fn plugins_of_one_vm_die_together_and_each_comes_back_by_its_own_policy() {
    let engine = support::engine();
    let module = support::module(&engine, GUEST);
    let named = |name: &str, failure_policy| PluginConfig {
        name: name.to_owned(),
        ..policy(failure_policy, None)
    };
    let (mut proxy, watch) = build(
        &engine,
        &[
            (&module, named("one", FailurePolicy::FailReload)),
            (&module, named("other", FailurePolicy::FailReload)),
        ],
    );
    assert_eq!(proxy.vms().len(), 2);
    wait(&mut proxy, 2_000);
    assert!(!send(&mut proxy, "x-trap", "1"));
    assert!(send(&mut proxy, "x-a", "1"));
    // One VM is made; the second plugin gets a root context in it.
    assert_eq!(
        watch.take_events(),
        [
            "trapped in proxy_on_request_headers",
            "started on worker 0",
            "reloaded",
            "reloaded"
        ]
    );
    assert_eq!(proxy.vms()[1].reloads, 1);

    let (mut proxy, _) = build(
        &engine,
        &[
            (&module, named("one", FailurePolicy::FailReload)),
            (&module, named("other", FailurePolicy::FailClosed)),
        ],
    );
    wait(&mut proxy, 2_000);
    assert!(!send(&mut proxy, "x-trap", "1"));
    wait(&mut proxy, 60_000);
    // The first has a VM again, the second never.
    assert!(!send(&mut proxy, "x-a", "1"));
    assert_eq!(proxy.vms()[1].state, VmState::Running);
}
