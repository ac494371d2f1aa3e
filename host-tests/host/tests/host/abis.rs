//! Older ABIs: what each may import, how its callbacks look, and how it answers.

use crate::support::{self, Watch, number, text};
use tidegate_host::{HeaderMap, Module, ModuleError, Output, PluginConfig, Proxy};

/// A module with a marker and some exports and imports, and nothing else.
fn compile(marker: &str, imports: &str, exports: &str) -> Result<Module, ModuleError> {
    let text = format!(
        r#"(module {imports} (memory (export "memory") 1)
             (func (export "malloc") (param i32) (result i32) (i32.const 8))
             (func (export "{marker}")) {exports})"#
    );
    Module::compile(&support::engine(), "guest", &wat::parse_str(text).unwrap())
}

const OLDEST: &str = "proxy_abi_version_0_1_0";
const OLDER: &str = "proxy_abi_version_0_2_0";
const NEWEST: &str = "proxy_abi_version_0_2_1";

#[test]
fn each_abi_is_taken_by_its_marker_and_nothing_without_one() {
    for marker in [OLDEST, OLDER, NEWEST] {
        assert!(compile(marker, "", "").is_ok(), "{marker}");
    }
    assert!(matches!(
        compile("something", "", ""),
        Err(ModuleError::NoAbi)
    ));
    assert!(matches!(
        Module::compile(&support::engine(), "guest", b"not wasm"),
        Err(ModuleError::Malformed { .. })
    ));
}

#[test]
fn each_abi_imports_its_own_functions_and_no_others() {
    // Function, parameters, and whether 0.1.0, 0.2.0 and 0.2.1 have it.
    let rows = [
        ("proxy_get_configuration", 2, [true, false, false]),
        ("proxy_continue_request", 0, [true, false, false]),
        ("proxy_continue_response", 0, [true, false, false]),
        ("proxy_clear_route_cache", 0, [true, false, false]),
        ("proxy_continue_stream", 1, [false, true, true]),
        ("proxy_close_stream", 1, [false, true, true]),
        ("proxy_get_log_level", 1, [false, false, true]),
        ("proxy_done", 0, [true, true, true]),
    ];
    for (name, parameters, expected) in rows {
        let import = format!(
            r#"(import "env" "{name}" (func (param {}) (result i32)))"#,
            "i32 ".repeat(parameters)
        );
        let taken = [OLDEST, OLDER, NEWEST].map(|marker| compile(marker, &import, "").is_ok());
        assert_eq!(taken, expected, "{name}");
    }
}

#[test]
fn first_marker_of_the_file_counts() {
    let headers = |parameters: usize| {
        format!(
            r#"(func (export "{OLDEST}")) (func (export "proxy_on_request_headers")
                 (param {}) (result i32) (i32.const 0))"#,
            "i32 ".repeat(parameters)
        )
    };
    assert!(compile(OLDER, "", &headers(3)).is_ok());
    assert!(compile(OLDER, "", &headers(2)).is_err());
}

#[test]
fn signatures_are_held_against_the_marker_with_envoys_words() {
    let headers = |parameters: usize| {
        format!(
            r#"(func (export "proxy_on_request_headers") (param {}) (result i32) (i32.const 0))"#,
            "i32 ".repeat(parameters)
        )
    };
    assert!(compile(OLDEST, "", &headers(2)).is_ok());
    assert_eq!(
        compile(OLDEST, "", &headers(3)).unwrap_err().to_string(),
        "Bad function signature for: proxy_on_request_headers, want: i32 i32 -> i32, \
         but the module exports: i32 i32 i32 -> i32"
    );
    assert!(compile(OLDER, "", &headers(3)).is_ok());
    assert_eq!(
        compile(OLDER, "", &headers(2)).unwrap_err().to_string(),
        "Bad function signature for: proxy_on_request_headers, want: i32 i32 i32 -> i32, \
         but the module exports: i32 i32 -> i32"
    );
    let done = r#"(func (export "proxy_on_done"))"#;
    assert_eq!(
        compile(NEWEST, "", done).unwrap_err().to_string(),
        "Bad function signature for: proxy_on_done, want: i32 -> i32, \
         but the module exports: void -> void"
    );
}

#[test]
fn exports_that_nobody_looks_up_may_look_as_they_like() {
    let odd = |name: &str| format!(r#"(func (export "{name}") (param i64))"#);
    // 0.1.0 knows no foreign functions; a reactor has no start, and what is none has no main.
    assert!(compile(OLDEST, "", &odd("proxy_on_foreign_function")).is_ok());
    assert!(compile(OLDER, "", &odd("proxy_on_foreign_function")).is_err());
    assert!(compile(NEWEST, "", &odd("main")).is_ok());
    assert!(compile(NEWEST, "", &odd("_start")).is_err());
    let reactor = r#"(func (export "_initialize"))"#;
    assert!(compile(NEWEST, "", &format!("{reactor} {}", odd("_start"))).is_ok());
    assert!(compile(NEWEST, "", &format!("{reactor} {}", odd("main"))).is_err());
    // `malloc` is preferred, so the other allocator is not looked at.
    assert!(compile(NEWEST, "", &odd("proxy_on_memory_allocate")).is_ok());
}

#[test]
fn malloc_is_preferred_to_the_allocator_of_the_specification() {
    let guest = |exports: &str| {
        let text = format!(
            r#"(module
                 (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
                 (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
                 (memory (export "memory") 1) (data (i32.const 8) ":path")
                 (func (export "{NEWEST}")) {exports}
                 (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                   (drop (call $get (i32.const 0) (i32.const 8) (i32.const 5) (i32.const 16) (i32.const 20)))
                   (drop (call $log (i32.const 2) (i32.const 16) (i32.const 4)))
                   (i32.const 0)))"#
        );
        let engine = support::engine();
        let module = Module::compile(&engine, "guest", &wat::parse_str(text).unwrap()).unwrap();
        let watch = Watch::default();
        let mut proxy = Proxy::builder(&engine)
            .observer(Box::new(watch.clone()))
            .filter(&module, PluginConfig::default())
            .build()
            .unwrap();
        support::exchange(&mut proxy);
        watch.numbers()
    };
    let malloc = r#"(func (export "malloc") (param i32) (result i32) (i32.const 1000))"#;
    let specified =
        r#"(func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 2000))"#;
    assert_eq!(guest(&format!("{specified} {malloc}")), [1000]);
    assert_eq!(guest(specified), [2000]);
}

fn oldest(callbacks: &str, config: PluginConfig) -> (Proxy, Watch) {
    let engine = support::engine();
    let module = Module::compile(&engine, "guest", &support::wat_of_0_1_0(callbacks)).unwrap();
    let watch = Watch::default();
    let proxy = Proxy::builder(&engine)
        .observer(Box::new(watch.clone()))
        .filter(&module, config)
        .build()
        .unwrap();
    (proxy, watch)
}

#[test]
fn oldest_abi_reads_its_configuration_with_a_function_of_its_own() {
    let (mut proxy, watch) = oldest(
        r#"(func $configuration (call $told (call $get_configuration (i32.const 16) (i32.const 20))))
           (func (export "proxy_on_context_create") (param i32 i32) (call $configuration))
           (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (call $configuration) (i32.const 1))
           (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $configuration) (i32.const 1))"#,
        PluginConfig {
            vm_configuration: b"vm".to_vec(),
            configuration: b"plugin".to_vec(),
            ..PluginConfig::default()
        },
    );
    let (vm, plugin) = ([number(0), text("vm")], [number(0), text("plugin")]);
    let once = [plugin.clone(), vm.clone(), plugin].concat();
    // The main thread's VM and the worker's.
    assert_eq!(watch.take(), [once.clone(), once].concat());
    // A stream's context sees the VM's.
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), vm);
}

#[test]
fn header_callbacks_of_the_oldest_abi_have_no_end_of_stream_and_its_own_ways_to_go_on() {
    let (mut proxy, watch) = oldest(
        r#"(func (export "proxy_on_request_headers") (param i32 i32) (result i32)
             (call $say (local.get 1))
             (drop (call $add_header (i32.const 0) @"x-seen" @"1"))
             (call $say (call $continue_request))
             (i32.const 1))
           (func (export "proxy_on_response_headers") (param i32 i32) (result i32)
             (call $say (local.get 1)) (i32.const 1))
           (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (i32.const 0))
           (func (export "proxy_on_tick") (param i32)
             (call $say (call $set_effective_context (i32.const 2)))
             (call $say (call $continue_response)))
           (func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $set_tick_period (i32.const 10))) (i32.const 1))"#,
        PluginConfig::default(),
    );
    let stream = support::open(&mut proxy);
    proxy
        .request_headers(stream, support::request_map(), true)
        .unwrap();
    proxy
        .response_headers(stream, support::response_map(), true)
        .unwrap();
    assert_eq!(watch.numbers(), [6, 0, 2]);
    let outputs = support::drain(&mut proxy, stream);
    let [Output::RequestHeaders { headers, .. }] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    assert_eq!(headers.get_str("x-seen"), Some("1"));
    proxy.advance_to(proxy.now_ns() + 10_000_000);
    // The worker's VM has the stream; the main thread's has not.
    assert_eq!(watch.numbers(), [0, 0, 2, 0]);
    assert_eq!(
        support::short(&support::drain(&mut proxy, stream)),
        ["< 200 true"]
    );
}

#[test]
fn missing_header_is_an_empty_one_in_the_oldest_abi() {
    let (mut proxy, watch) = oldest(
        r#"(func $look (param $map i32)
             (call $told (call $get_header (local.get $map) @"x-none" (i32.const 16) (i32.const 20))))
           (func (export "proxy_on_request_headers") (param i32 i32) (result i32)
             (call $look (i32.const 0)) (call $look (i32.const 2)) (i32.const 0))
           (func (export "proxy_on_log") (param i32)
             (call $look (i32.const 0)) (call $look (i32.const 1)))"#,
        PluginConfig::default(),
    );
    support::exchange(&mut proxy);
    let empty = [number(0), text("")];
    // A map that is not there now stays an error, but for the log.
    assert_eq!(
        watch.take(),
        [
            empty.as_slice(),
            [number(2)].as_slice(),
            empty.as_slice(),
            empty.as_slice()
        ]
        .concat()
    );
}

#[test]
fn oldest_abi_clears_the_route_cache_with_a_function_of_its_own() {
    let guest = r#"(func (export "proxy_on_request_headers") (param i32 i32) (result i32)
                     (if (i32.eqz (call $get_header (i32.const 0) @"x-clear" (i32.const 16) (i32.const 20)))
                       (then (if (i32.load (i32.const 20)) (then (call $say (call $clear_route_cache))))))
                     (i32.const 0))"#;
    let (mut proxy, watch) = oldest(guest, PluginConfig::default());
    for (name, cleared) in [("x-other", false), ("x-clear", true)] {
        let stream = support::open(&mut proxy);
        let mut headers: HeaderMap = support::request_map();
        headers.add(name, "1");
        proxy.request_headers(stream, headers, true).unwrap();
        assert_eq!(proxy.route_cache_cleared(stream), cleared, "{name}");
    }
    assert_eq!(watch.numbers(), [0]);
}
