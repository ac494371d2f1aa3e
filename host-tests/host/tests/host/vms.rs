//! The life of VMs: clones, sharing, ticks, traps and reloads, limits, cost.

use crate::support::{self, Watch, numbers};
use tidegate_host::{
    Callback, FailurePolicy, HostCall, Limits, Observer, Output, PluginConfig, Proxy, Thread,
    VmState,
};

use std::sync::{Arc, Mutex};

/// A guest that ticks every 10 ms and tells its root context.
const TICKER: &str = r#"
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $set_tick_period (i32.const 10))) (i32.const 1))
  (func (export "proxy_on_tick") (param i32) (call $say (local.get 0)))
"#;

fn named(name: &str) -> PluginConfig {
    PluginConfig {
        name: name.to_owned(),
        ..PluginConfig::default()
    }
}

#[test]
fn proxy_can_be_sent_to_another_thread() {
    const fn is_send<T: Send>() {}
    is_send::<Proxy>();
}

#[test]
fn every_clone_ticks_the_main_threads_too() {
    let engine = support::engine();
    let module = support::module(&engine, TICKER);
    let watch = Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .workers(2)
        .observer(Box::new(watch.clone()))
        .filter(&module, PluginConfig::default())
        .build()
        .unwrap();
    // Base and canary VMs are gone and nobody heard of them.
    assert_eq!(
        watch.take_events(),
        [
            "started on main thread",
            "started on worker 0",
            "started on worker 1"
        ]
    );
    proxy.advance_to(proxy.now_ns() + 25_000_000);
    assert_eq!(watch.take(), numbers(&[1, 1, 1, 1, 1, 1]));
    assert_eq!(proxy.next_timer_ns(), Some(proxy.now_ns() + 5_000_000));
}

#[test]
fn tick_period_can_change_in_the_tick_and_end() {
    let (mut proxy, watch) = support::proxy(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $set_tick_period (i32.const 10))) (i32.const 1))
           (func (export "proxy_on_tick") (param i32)
             (drop (call $get_time (i32.const 24)))
             (call $say (i32.wrap_i64 (i64.div_u (i64.rem_u (i64.load (i32.const 24)) (i64.const 1000000000)) (i64.const 1000000))))
             (if (i32.eqz (call $get_shared @"k" (i32.const 16) (i32.const 20) (i32.const 24)))
               (then (drop (call $set_tick_period (i32.const 0))))
               (else (drop (call $set_tick_period (i32.const 5)))
                     (drop (call $set_shared @"k" @"v" (i32.const 0))))))"#,
    );
    proxy.advance_to(proxy.now_ns() + 1_000_000_000);
    // The worker's tick and the main thread's see each other's data: the worker goes first.
    assert_eq!(watch.numbers(), [10, 10, 15]);
    assert_eq!(proxy.next_timer_ns(), None);
}

#[test]
fn plugins_with_one_vm_key_share_a_vm_and_others_do_not() {
    let engine = support::engine();
    let module = support::module(&engine, TICKER);
    let other = support::module(&engine, &format!("{TICKER} (func $other)"));
    let with = |change: fn(&mut PluginConfig)| {
        let mut config = named("b");
        change(&mut config);
        config
    };
    type Change = fn(&mut PluginConfig);
    let rows: [(Change, usize); 5] = [
        (|_| {}, 2),
        // A root context of its own in the same VM.
        (|config| config.configuration = b"x".to_vec(), 2),
        (|config| config.vm_id = "x".to_owned(), 4),
        (|config| config.vm_configuration = b"x".to_vec(), 4),
        (
            |config| config.environment = vec![("A".to_owned(), "b".to_owned())],
            4,
        ),
    ];
    for (change, vms) in rows {
        let proxy = Proxy::builder(&engine)
            .filter(&module, named("a"))
            .filter(&module, with(change))
            .build()
            .unwrap();
        assert_eq!(proxy.vms().len(), vms);
    }
    let proxy = Proxy::builder(&engine)
        .filter(&module, named("a"))
        .filter(&other, named("a"))
        .singleton(&module, named("a"))
        .build()
        .unwrap();
    // The singleton has the first plugin's root context on the main thread.
    let vms: Vec<_> = proxy
        .vms()
        .into_iter()
        .map(|vm| (vm.thread, vm.plugins, vm.contexts))
        .collect();
    let a = || vec!["a".to_owned()];
    assert_eq!(
        vms,
        [
            (Thread::Main, vec!["a".to_owned(), "a".to_owned()], 1),
            (Thread::Main, a(), 1),
            (Thread::Worker(0), a(), 1),
            (Thread::Worker(0), a(), 1),
        ]
    );
}

#[test]
fn simultaneous_events_are_shuffled_by_the_seed_when_asked() {
    let engine = support::engine();
    let module = support::module(
        &engine,
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $random_get (i32.const 32) (i32.const 4)))
             (drop (call $set_tick_period (i32.const 10))) (i32.const 1))
           (func (export "proxy_on_tick") (param i32) (call $say (i32.load (i32.const 32))))"#,
    );
    let order = |seed: u64, shuffle: bool| {
        let watch = Watch::default();
        let mut proxy = Proxy::builder(&engine)
            .workers(4)
            .shuffle_simultaneous(shuffle)
            .seed(seed)
            .observer(Box::new(watch.clone()))
            .filter(&module, PluginConfig::default())
            .build()
            .unwrap();
        watch.take();
        proxy.advance_to(proxy.now_ns() + 100_000_000);
        watch.numbers()
    };
    let plain = order(1, false);
    assert!(plain.chunks(5).all(|round| round == &plain[..5]));
    let shuffled = order(1, true);
    assert_eq!(shuffled, order(1, true));
    assert!(!shuffled.chunks(5).all(|round| round == &shuffled[..5]));
}

/// A guest that traps on a request with `x-trap`, and counts its streams in a global.
const TRAPPER: &str = r#"
  (global $seen (mut i32) (i32.const 0))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
    (call $say (global.get $seen))
    (if (i32.eqz (call $get_header (i32.const 0) @"x-trap" (i32.const 16) (i32.const 20)))
      (then (unreachable)))
    (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (call $say (i32.const 5)) (i32.const 0))
  (func (export "proxy_on_log") (param i32) (call $say (i32.const 8)))
"#;

fn trapper(failure_policy: FailurePolicy) -> (Proxy, Watch) {
    support::proxy_with(
        TRAPPER,
        PluginConfig {
            failure_policy,
            ..PluginConfig::default()
        },
    )
}

fn send(proxy: &mut Proxy, trap: bool) -> Vec<String> {
    let stream = support::open(proxy);
    let mut headers = support::request_map();
    if trap {
        headers.add("x-trap", "1");
    }
    proxy.request_headers(stream, headers, true).unwrap();
    if !proxy.is_finished(stream) {
        proxy
            .response_headers(stream, support::response_map(), true)
            .unwrap();
    }
    proxy
        .close_stream(stream, tidegate_host::CloseReason::Complete)
        .unwrap();
    support::short(&support::drain(proxy, stream))
}

const PASSED: [&str; 2] = ["> headers true", "< 200 true"];
const FAILED: [&str; 1] = ["local 503  wasm_fail_stream"];

#[test]
fn fail_closed_refuses_for_good() {
    let (mut proxy, watch) = trapper(FailurePolicy::FailClosed);
    assert_eq!(send(&mut proxy, false), PASSED);
    assert_eq!(watch.take(), numbers(&[1, 5, 8]));
    assert_eq!(send(&mut proxy, true), FAILED);
    proxy.advance_to(proxy.now_ns() + 3_600_000_000_000);
    assert_eq!(send(&mut proxy, false), FAILED);
    // Nothing runs in a dead VM, not even the log.
    assert_eq!(watch.take(), numbers(&[2]));
    assert_eq!(watch.take_events(), ["trapped in proxy_on_request_headers"]);
}

#[test]
fn fail_open_fails_the_request_that_trapped_and_lets_later_ones_pass_untouched() {
    let (mut proxy, watch) = trapper(FailurePolicy::FailOpen);
    assert_eq!(send(&mut proxy, true), FAILED);
    assert_eq!(send(&mut proxy, false), PASSED);
    assert_eq!(watch.take(), numbers(&[1]));
}

#[test]
fn fail_reload_serves_the_next_request_with_a_fresh_vm_and_backs_off() {
    let (mut proxy, watch) = trapper(FailurePolicy::FailReload);
    proxy.advance_to(proxy.now_ns() + 2_000_000_000);
    assert_eq!(send(&mut proxy, true), FAILED);
    assert_eq!(send(&mut proxy, false), PASSED);
    // A fresh VM counts from one again.
    assert_eq!(watch.take(), numbers(&[1, 1, 5, 8]));
    assert_eq!(send(&mut proxy, true), FAILED);
    assert_eq!(send(&mut proxy, false), FAILED);
    proxy.advance_to(proxy.now_ns() + 1_500_000_000);
    assert_eq!(send(&mut proxy, false), PASSED);
    assert_eq!(
        watch.take_events(),
        [
            "trapped in proxy_on_request_headers",
            "started on worker 0",
            "reloaded",
            "trapped in proxy_on_request_headers",
            "reload put off",
            "started on worker 0",
            "reloaded",
        ]
    );
    let worker = &proxy.vms()[1];
    assert_eq!((worker.reloads, &worker.state), (2, &VmState::Running));
}

#[test]
fn trap_ends_the_streams_that_are_under_way_in_that_vm() {
    let (mut proxy, _) = support::proxy(TRAPPER);
    let first = support::open(&mut proxy);
    proxy
        .request_headers(first, support::request_map(), true)
        .unwrap();
    assert_eq!(send(&mut proxy, true), FAILED);
    // Its response headers had not left: the answer is replaced.
    proxy
        .response_headers(first, support::response_map(), false)
        .unwrap();
    assert_eq!(
        support::short(&support::drain(&mut proxy, first)),
        ["> headers true", "local 503  wasm_fail_stream"]
    );
}

#[test]
fn trap_of_one_plugin_leaves_the_others_and_other_threads_alone() {
    let engine = support::engine();
    let trapping = support::module(&engine, TRAPPER);
    let ticking = support::module(&engine, TICKER);
    let mut proxy = Proxy::builder(&engine)
        .workers(2)
        .filter(&trapping, named("trapper"))
        .filter(&ticking, named("ticker"))
        .build()
        .unwrap();
    assert_eq!(send(&mut proxy, true), FAILED);
    let dead: Vec<_> = proxy
        .vms()
        .into_iter()
        .filter(|vm| vm.state != VmState::Running)
        .map(|vm| (vm.thread, vm.plugins))
        .collect();
    assert_eq!(dead, [(Thread::Worker(0), vec!["trapper".to_owned()])]);
}

#[test]
fn traps_name_the_callback_and_what_ran_out() {
    let guest = |body: &str| {
        format!(
            r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {body})"#
        )
    };
    let limits = Limits {
        fuel_per_callback: 10_000,
        host_bytes_per_callback: 1 << 16,
        host_work_per_callback: 1 << 18,
        ..Limits::default()
    };
    let rows = [
        (
            "(loop $again (br $again)) (i32.const 0)",
            "out of fuel: callback `proxy_on_request_headers` ran more than 10000 units",
        ),
        (
            r#"(loop $again (drop (call $set_shared @"k" (i32.const 1024) (i32.const 30000) (i32.const 0))) (br $again)) (i32.const 0)"#,
            "host memory limit: one callback made the host keep more than 65536 bytes",
        ),
        (
            r#"(loop $again (drop (call $get_pairs (i32.const 0) (i32.const 16) (i32.const 20)))
                 (drop (call $random_get (i32.const 1024) (i32.const 60000))) (br $again)) (i32.const 0)"#,
            "host work limit: one callback made the host move more than 262144 bytes",
        ),
    ];
    for (body, message) in rows {
        let (mut proxy, _) = support::proxy_with(
            &guest(body),
            PluginConfig {
                limits,
                ..PluginConfig::default()
            },
        );
        assert_eq!(send(&mut proxy, false), FAILED);
        let VmState::Dead(why) = &proxy.vms()[1].state else {
            panic!("it lives");
        };
        assert!(why.contains(message), "{why}");
    }
}

#[test]
fn memory_beyond_the_limit_is_refused_and_counted() {
    let (mut proxy, watch) = support::proxy_with(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $say (memory.grow (i32.const 4)))
             (call $say (memory.grow (i32.const 1)))
             (i32.const 0))"#,
        PluginConfig {
            limits: Limits {
                memory_bytes: 8 * 65_536,
                ..Limits::default()
            },
            ..PluginConfig::default()
        },
    );
    assert_eq!(send(&mut proxy, false), PASSED);
    assert_eq!(watch.take(), numbers(&[4, -1]));
    assert_eq!(watch.take_events(), ["memory refused"]);
    let worker = &proxy.vms()[1];
    assert_eq!(
        (worker.memory_bytes, worker.memory_refused),
        (8 * 65_536, 1)
    );
    assert_eq!(proxy.memory_bytes(), 12 * 65_536);
}

#[test]
fn contexts_end_with_their_streams() {
    let (mut proxy, _) = support::proxy(TICKER);
    for _ in 0..1_000 {
        send(&mut proxy, false);
    }
    assert_eq!(proxy.vms()[1].contexts, 1);
}

#[test]
fn shut_down_ends_root_contexts_and_waits_for_those_that_ask() {
    let (mut proxy, watch) = support::proxy(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $set_tick_period (i32.const 10))) (i32.const 1))
           (func (export "proxy_on_done") (param i32) (result i32) (call $say (i32.const 9)) (i32.const 0))
           (func (export "proxy_on_delete") (param i32) (call $say (i32.const 10)))
           (func (export "proxy_on_tick") (param i32) (call $say (call $done)))"#,
    );
    proxy.advance_to(proxy.now_ns() + 10_000_000);
    // Not pending yet.
    assert_eq!(watch.take(), numbers(&[1, 1]));
    proxy.shut_down();
    assert_eq!(watch.take(), numbers(&[9, 9]));
    proxy.advance_to(proxy.now_ns() + 10_000_000);
    assert_eq!(watch.take(), numbers(&[0, 10, 0, 10]));
    assert_eq!(proxy.next_timer_ns(), None);
}

#[test]
fn fuel_of_a_callback_is_the_same_in_every_run_and_is_reported() {
    let measure = || {
        let (mut proxy, _) = support::proxy(TRAPPER);
        for _ in 0..3 {
            send(&mut proxy, false);
        }
        proxy.cost()
    };
    let cost = measure();
    assert_eq!(cost, measure());
    let [plugin] = cost.as_slice() else {
        panic!("{cost:?}");
    };
    let names: Vec<_> = plugin
        .callbacks
        .iter()
        .map(|it| (it.name, it.calls))
        .collect();
    assert_eq!(
        names,
        [
            ("proxy_on_log", 3),
            ("proxy_on_request_headers", 3),
            ("proxy_on_response_headers", 3)
        ]
    );
    let request = &plugin.callbacks[1];
    assert!(request.fuel_min > 10 && request.fuel_min == request.fuel_max);
    assert_eq!(request.fuel_mean(), request.fuel_min);
    assert_eq!(
        plugin.host_calls,
        [("proxy_log", 9), ("proxy_get_header_map_value", 3)]
    );
}

#[test]
fn fuel_of_a_nested_callback_is_its_own() {
    let (mut proxy, _) = support::proxy(TRAPPER);
    send(&mut proxy, false);
    proxy.reset_cost();
    assert!(proxy.cost()[0].callbacks.is_empty());
}

/// Host calls and callbacks in words.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<String>>>);

impl Observer for Trace {
    fn wants_host_calls(&self) -> bool {
        true
    }
    fn host_call(&mut self, call: HostCall<'_>) {
        let line = format!("{}({}) = {}", call.name, call.arguments, call.status);
        self.0.lock().unwrap().push(line);
    }
    fn wants_callbacks(&self) -> bool {
        true
    }
    fn callback(&mut self, callback: Callback<'_>) {
        let line = format!("{} -> {:?}", callback.name, callback.returned);
        self.0.lock().unwrap().push(line);
    }
}

#[test]
fn observer_sees_host_calls_with_their_arguments_and_callbacks_with_their_answers() {
    let trace = Trace::default();
    let (mut proxy, _) = support::proxy(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $get_header (i32.const 0) @"x-none" (i32.const 16) (i32.const 20)))
             (drop (call $add_header (i32.const 0) @"x-a" @"value"))
             (drop (call $get_property @"xds\0cluster_name" (i32.const 16) (i32.const 20)))
             (drop (call $set_shared @"key" @"value" (i32.const 7)))
             (i32.const 1))"#,
    );
    proxy.set_observer(Some(Box::new(trace.clone())));
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), true)
        .unwrap();
    assert_eq!(
        *trace.0.lock().unwrap(),
        [
            "proxy_get_header_map_value(request headers, x-none) = 1",
            "proxy_add_header_map_value(request headers, x-a, 5 bytes) = 0",
            "proxy_get_property(xds\\x00cluster_name) = 0",
            "proxy_set_shared_data(key, 5 bytes, cas 7) = 0",
            "proxy_on_request_headers -> Some(1)",
        ]
    );
    let outputs = support::drain(&mut proxy, stream);
    assert!(
        !outputs
            .iter()
            .any(|it| matches!(it, Output::RequestHeaders { .. }))
    );
}

#[test]
fn effective_context_lasts_for_one_callback() {
    let (mut proxy, watch) = support::proxy(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $say (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
             (call $say (call $set_effective_context (i32.const 1)))
             (call $say (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
             (call $say (call $set_effective_context (i32.const 99)))
             (i32.const 0))
           (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
             (call $say (call $get_header (i32.const 2) @":status" (i32.const 16) (i32.const 20)))
             (i32.const 0))"#,
    );
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[0, 0, 2, 2, 0]));
}

#[test]
fn compiled_modules_are_cached_in_the_directory() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled modules");
    let options = tidegate_host::EngineOptions {
        cache_dir: Some(folder.clone()),
    };
    for _ in 0..2 {
        let engine = tidegate_host::Engine::new(&options).unwrap();
        support::module(&engine, TICKER);
    }
    assert!(std::fs::read_dir(&folder).unwrap().next().is_some());
    let file = folder.join("file");
    std::fs::write(&file, "").unwrap();
    let unusable = tidegate_host::EngineOptions {
        cache_dir: Some(file.join("cache")),
    };
    assert!(matches!(
        tidegate_host::Engine::new(&unusable),
        Err(tidegate_host::EngineError::Cache { .. })
    ));
}

#[test]
fn vm_that_is_killed_ticks_no_more_and_is_told_as_a_trap() {
    let engine = support::engine();
    let module = support::module(&engine, TICKER);
    let watch = Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .workers(1)
        .observer(Box::new(watch.clone()))
        .filter(&module, PluginConfig::default())
        .build()
        .unwrap();
    watch.take_events();
    let worker = proxy
        .vms()
        .into_iter()
        .find(|vm| vm.thread == Thread::Worker(0))
        .unwrap();
    assert!(proxy.kill_vm(worker.vm, "killed by a test"));
    assert!(!proxy.kill_vm(worker.vm, "killed twice"));
    assert!(!proxy.kill_vm(99, "never was"));
    assert_eq!(watch.take_events(), ["trapped in proxy_on_tick"]);
    let state = proxy.vms().remove(worker.vm.try_into().unwrap()).state;
    assert_eq!(
        state,
        VmState::Dead("proxy_on_tick: killed by a test".to_owned())
    );
    proxy.advance_to(proxy.now_ns() + 15_000_000);
    // One tick, of the main thread's VM.
    assert_eq!(watch.take(), numbers(&[1]));
}
