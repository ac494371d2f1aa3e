//! What modules import from WASI, and what may be called while a module starts.

use crate::support::{self, number, numbers, text};
use tidegate_host::{Module, ModuleError, PluginConfig, Proxy, StartError};

#[test]
fn wasi_has_clock_environment_randomness_and_logs() {
    let (mut proxy, watch) = support::proxy_with(
        r#"(data (i32.const 512) "\00\03\00\00\05\00\00\00\08\03\00\00\06\00\00\00")
           (data (i32.const 768) "hello   world\0a")
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $say (call $environ_sizes_get (i32.const 24) (i32.const 28)))
             (call $say (i32.load (i32.const 24)))
             (call $say (i32.load (i32.const 28)))
             (call $say (call $environ_get (i32.const 64) (i32.const 96)))
             (call $text (i32.load (i32.const 68)) (i32.const 4))
             (call $say (call $args_sizes_get (i32.const 24) (i32.const 28)))
             (call $say (i32.load (i32.const 24)))
             (call $say (call $fd_write (i32.const 1) (i32.const 512) (i32.const 2) (i32.const 24)))
             (call $say (i32.load (i32.const 24)))
             (call $say (call $fd_write (i32.const 3) (i32.const 512) (i32.const 2) (i32.const 24)))
             (call $say (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 24)))
             (call $say (i32.load (i32.const 24)))
             (call $say (call $clock_time_get (i32.const 2) (i64.const 0) (i32.const 24)))
             (call $say (call $random_get (i32.const 64) (i32.const 65537)))
             (call $say (call $random_get (i32.const -4) (i32.const 8)))
             (i32.const 0))"#,
        PluginConfig {
            environment: vec![
                ("A".to_owned(), "b".to_owned()),
                ("C".to_owned(), "d".to_owned()),
            ],
            ..PluginConfig::default()
        },
    );
    proxy.advance_to(proxy.now_ns() + 5);
    support::exchange(&mut proxy);
    assert_eq!(
        watch.take(),
        [
            number(0),
            number(2),
            number(8),
            number(0),
            text("C=d\0"),
            number(0),
            number(0),
            text("helloworld"),
            number(0),
            number(11),
            number(8),
            number(0),
            number(5),
            number(58),
            number(28),
            number(21),
        ]
    );
}

#[test]
fn randomness_comes_from_the_seed_and_differs_between_vms() {
    let engine = support::engine();
    let module = support::module(
        &engine,
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $random_get (i32.const 24) (i32.const 4)))
             (call $say (i32.load (i32.const 24)))
             (i32.const 1))"#,
    );
    let draws = |seed: u64| {
        let watch = support::Watch::default();
        Proxy::builder(&engine)
            .workers(2)
            .seed(seed)
            .observer(Box::new(watch.clone()))
            .filter(&module, PluginConfig::default())
            .build()
            .unwrap();
        watch.numbers()
    };
    let first = draws(1);
    assert_eq!(first, draws(1));
    assert_ne!(first, draws(2));
    assert_eq!(first.len(), 3);
    assert!(first[0] != first[1] && first[1] != first[2]);
}

#[test]
fn start_functions_run_in_the_order_of_the_specification() {
    let engine = support::engine();
    let guest = |exports: &str| support::module(&engine, exports);
    let told = |module: &Module| {
        let watch = support::Watch::default();
        let proxy = Proxy::builder(&engine)
            .observer(Box::new(watch.clone()))
            .singleton(module, PluginConfig::default())
            .build();
        assert!(proxy.is_ok());
        watch.take()
    };
    let initialize = r#"(func (export "_initialize") (call $say (i32.const 1)))"#;
    let main = r#"(func (export "main") (param i32 i32) (result i32) (call $say (i32.const 2)) (i32.const 0))"#;
    let main_void =
        r#"(func (export "__main_void") (result i32) (call $say (i32.const 5)) (i32.const 0))"#;
    let start = r#"(func (export "_start") (call $say (i32.const 3)))"#;
    let vm = r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32) (call $say (i32.const 4)) (i32.const 1))"#;
    let rows = [
        (vec![initialize, main, start, vm], vec![1, 2, 4]),
        (vec![initialize, main_void, vm], vec![1, 5, 4]),
        // `main` alone is the module's own business.
        (vec![main, vm], vec![4]),
        (vec![start, vm], vec![3, 4]),
        (vec![vm], vec![4]),
    ];
    for (exports, order) in rows {
        assert_eq!(told(&guest(&exports.concat())), numbers(&order));
    }
}

#[test]
fn clock_and_randomness_may_be_used_while_a_module_starts_and_shared_data_may_not() {
    let engine = support::engine();
    let start = |lines: &str| {
        let module = support::module(
            &engine,
            &format!(r#"(func (export "_initialize") {lines})"#),
        );
        Proxy::builder(&engine)
            .filter(&module, PluginConfig::default())
            .build()
    };
    assert!(start(r#"(drop (call $random_get (i32.const 0) (i32.const 4)))"#).is_ok());
    assert!(
        start(r#"(drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 24)))"#)
            .is_ok()
    );
    let Err(StartError::Trapped {
        callback, message, ..
    }) = start(r#"(drop (call $set_shared @"a" @"b" (i32.const 0)))"#)
    else {
        panic!("it started");
    };
    assert_eq!(callback, "_initialize");
    assert!(
        message.contains("`proxy_set_shared_data` cannot be called while the module starts"),
        "{message}"
    );
}

#[test]
fn every_unknown_import_is_named_with_what_the_host_has_instead() {
    let text = r#"(module
        (import "env" "proxy_log" (func (param i32)))
        (import "env" "proxy_get_configuration" (func (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (import "env" "memory" (memory 1))
        (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) (i32.const 8))
        (func (export "proxy_abi_version_0_2_1")))"#;
    let bytes = wat::parse_str(text).unwrap();
    let Err(ModuleError::UnknownImports(unknown)) =
        Module::compile(&support::engine(), "guest", &bytes)
    else {
        panic!("it compiled");
    };
    assert_eq!(
        unknown,
        [
            "env.proxy_log: (i32) -> (); the host has (i32, i32, i32) -> (i32)",
            "env.proxy_get_configuration: (i32, i32) -> (i32); not in Proxy-Wasm ABI 0.2.1",
            "env.memory (not a function)",
        ]
    );
}

/// Every function of WASI that Envoy has, with its parameters and what it answers when all of them are 1.
const WASI: [(&str, &str, i32); 46] = [
    ("args_get", "i32 i32", 0),
    ("args_sizes_get", "i32 i32", 0),
    ("clock_res_get", "i32 i32", 0),
    ("clock_time_get", "i32 i64 i32", 0),
    ("environ_get", "i32 i32", 0),
    ("environ_sizes_get", "i32 i32", 0),
    ("fd_advise", "i32 i64 i64 i32", 0),
    ("fd_allocate", "i32 i64 i64", 0),
    ("fd_close", "i32", 0),
    ("fd_datasync", "i32", 0),
    ("fd_fdstat_get", "i32 i32", 0),
    ("fd_fdstat_set_flags", "i32 i32", 52),
    ("fd_fdstat_set_rights", "i32 i64 i64", 0),
    ("fd_filestat_get", "i32 i32", 8),
    ("fd_filestat_set_size", "i32 i64", 0),
    ("fd_filestat_set_times", "i32 i64 i64 i32", 0),
    ("fd_pread", "i32 i32 i32 i64 i32", 52),
    ("fd_prestat_dir_name", "i32 i32 i32", 52),
    ("fd_prestat_get", "i32 i32", 8),
    ("fd_pwrite", "i32 i32 i32 i64 i32", 21),
    ("fd_read", "i32 i32 i32 i32", 52),
    ("fd_readdir", "i32 i32 i32 i64 i32", 20),
    ("fd_renumber", "i32 i32", 58),
    ("fd_seek", "i32 i64 i32 i32", 0),
    ("fd_sync", "i32", 0),
    ("fd_tell", "i32 i32", 0),
    ("fd_write", "i32 i32 i32 i32", 21),
    ("path_create_directory", "i32 i32 i32", 58),
    ("path_filestat_get", "i32 i32 i32 i32 i32", 58),
    ("path_filestat_set_times", "i32 i32 i32 i32 i64 i64 i32", 58),
    ("path_link", "i32 i32 i32 i32 i32 i32", 58),
    ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32", 44),
    ("path_readlink", "i32 i32 i32 i32 i32 i32", 58),
    ("path_remove_directory", "i32 i32 i32", 58),
    ("path_rename", "i32 i32 i32 i32 i32 i32", 58),
    ("path_symlink", "i32 i32 i32 i32", 58),
    ("path_unlink_file", "i32 i32 i32", 58),
    ("poll_oneoff", "i32 i32 i32 i32", 0),
    ("random_get", "i32 i32", 0),
    ("sched_yield", "", 0),
    ("sock_accept", "i32 i32 i32", 58),
    ("sock_recv", "i32 i32 i32 i32 i32 i32", 58),
    ("sock_send", "i32 i32 i32 i32 i32", 58),
    ("sock_shutdown", "i32 i32", 58),
    ("proc_exit", "i32", 0),
    ("environ_sizes_get", "i32 i32", 0),
];

#[test]
fn whole_list_of_wasi_functions_answers_as_envoy_under_both_names() {
    for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
        let mut imports = String::new();
        let mut calls = String::new();
        for (number, (name, parameters, _)) in WASI.iter().enumerate() {
            let kinds: Vec<&str> = parameters.split_whitespace().collect();
            let result = if *name == "proc_exit" {
                ""
            } else {
                "(result i32)"
            };
            imports += &format!(
                "(import \"{module}\" \"{name}\" (func $f{number} (param {parameters}) {result}))\n"
            );
            let ones: Vec<String> = kinds
                .iter()
                .map(|kind| format!("({kind}.const 1)"))
                .collect();
            let call = format!("(call $f{number} {})", ones.join(" "));
            calls += &match *name {
                "proc_exit" => format!("{call} (call $say (i32.const 0))"),
                // An array that lies outside the memory.
                "fd_write" | "fd_pwrite" => {
                    let outside = call.replacen(
                        "(i32.const 1) (i32.const 1)",
                        "(i32.const 1) (i32.const -9)",
                        1,
                    );
                    format!("(call $say {outside})")
                }
                _ => format!("(call $say {call})"),
            };
        }
        let text = format!(
            r#"(module {imports}
                 (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
                 (memory (export "memory") 1)
                 (func (export "proxy_abi_version_0_2_1"))
                 (func (export "malloc") (param i32) (result i32) (i32.const 1024))
                 (func $say (param $value i32)
                   (i32.store (i32.const 512) (local.get $value))
                   (drop (call $log (i32.const 2) (i32.const 512) (i32.const 4))))
                 (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                   {calls} (i32.const 0)))"#
        );
        let engine = support::engine();
        let compiled = Module::compile(&engine, "guest", &wat::parse_str(text).unwrap()).unwrap();
        let watch = support::Watch::default();
        let mut proxy = Proxy::builder(&engine)
            .observer(Box::new(watch.clone()))
            .filter(&compiled, PluginConfig::default())
            .build()
            .unwrap();
        support::exchange(&mut proxy);
        let answers = watch.numbers();
        let named: Vec<(&str, i32)> = WASI.iter().map(|row| row.0).zip(answers).collect();
        let expected: Vec<(&str, i32)> = WASI.iter().map(|row| (row.0, row.2)).collect();
        assert_eq!(named, expected, "{module}");
    }
}

#[test]
fn links_are_refused_in_the_form_that_wasi_has_and_envoy_does_not() {
    for (name, parameters) in [("path_symlink", 5), ("path_link", 7)] {
        let text = format!(
            r#"(module (import "wasi_snapshot_preview1" "{name}" (func (param {}) (result i32)))
                 (memory (export "memory") 1)
                 (func (export "malloc") (param i32) (result i32) (i32.const 8))
                 (func (export "proxy_abi_version_0_2_1")))"#,
            "i32 ".repeat(parameters)
        );
        let compiled = Module::compile(&support::engine(), "guest", &wat::parse_str(text).unwrap());
        assert!(
            matches!(compiled, Err(ModuleError::UnknownImports(_))),
            "{name}"
        );
    }
}

#[test]
fn helpers_of_emscripten_are_there() {
    let engine = support::engine();
    let text = r#"(module
        (import "env" "pthread_equal" (func $equal (param i32 i32) (result i32)))
        (import "env" "emscripten_notify_memory_growth" (func $grown (param i32)))
        (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 1024))
        (func $say (param $value i32)
          (i32.store (i32.const 512) (local.get $value))
          (drop (call $log (i32.const 2) (i32.const 512) (i32.const 4))))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $grown (i32.const 0))
          (call $say (call $equal (i32.const 3) (i32.const 3)))
          (call $say (call $equal (i32.const 3) (i32.const 4)))
          (i32.const 0)))"#;
    let module = Module::compile(&engine, "guest", &wat::parse_str(text).unwrap()).unwrap();
    let watch = support::Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .observer(Box::new(watch.clone()))
        .filter(&module, PluginConfig::default())
        .build()
        .unwrap();
    support::exchange(&mut proxy);
    assert_eq!(watch.take(), numbers(&[1, 0]));
}
