//! Hostile guests: whatever a module does, the host goes on, the damage stays inside its VM, and the failure policy decides
//! about the traffic.

use tidegate_host::{
    CloseReason, Engine, EngineOptions, FailurePolicy, HeaderMap, Limits, LogLine, Module,
    ModuleError, Observer, Output, PluginConfig, Proxy, StartError, StreamAttributes, Thread,
    VmState,
};

use std::sync::{Arc, Mutex};

/// Makes a constant of each guest's text; a guest without a test of its name does not compile.
macro_rules! guests {
    ($($name:ident),+ $(,)?) => {
        const GUESTS: &[(&str, &str)] = &[$((
            stringify!($name),
            include_str!(concat!("../../../guests/hostile/", stringify!($name), ".wat")),
        )),+];
        const _: &[fn()] = &[$($name),+];
    };
}

guests!(
    allocates_forever,
    bad_pointers,
    calls_host_in_initialize,
    exits,
    floods_headers,
    floods_logs,
    floods_shared_data,
    logs_non_utf8,
    malformed_header_map,
    malloc_never_returns,
    malloc_out_of_bounds,
    malloc_traps,
    malloc_wraps,
    never_configures,
    never_returns,
    no_abi,
    no_memory,
    recurses_forever,
    rejects_configuration,
    replies_twice,
    traps_in_configure,
    traps_in_start,
    traps_in_tick,
    traps_on_request,
    unknown_imports,
    wrong_signature,
);

#[test]
fn every_guest_on_disk_is_listed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../guests/hostile");
    let mut on_disk: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    on_disk.sort();
    let listed: Vec<&str> = GUESTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(on_disk, listed);
}

#[test]
fn traps_in_start() {
    let error = start("traps_in_start", FailurePolicy::FailOpen).unwrap_err();
    assert!(matches!(error, StartError::Trapped { .. }), "{error}");
}

#[test]
fn traps_in_configure() {
    let error = start("traps_in_configure", FailurePolicy::FailOpen).unwrap_err();
    assert!(matches!(error, StartError::Trapped { .. }), "{error}");
}

#[test]
fn never_configures() {
    let error = start("never_configures", FailurePolicy::FailOpen).unwrap_err();
    assert!(error.to_string().contains("fuel"), "{error}");
}

#[test]
fn calls_host_in_initialize() {
    let error = start("calls_host_in_initialize", FailurePolicy::FailOpen).unwrap_err();
    assert!(error.to_string().contains("proxy_get_property"), "{error}");
}

#[test]
fn rejects_configuration() {
    let error = start("rejects_configuration", FailurePolicy::FailOpen).unwrap_err();
    let StartError::Rejected { logs, .. } = error else {
        panic!("{error}");
    };
    assert!(
        logs.iter()
            .any(|line| line.message == b"the configuration is not to my taste"),
        "{logs:?}"
    );
}

#[test]
fn unknown_imports() {
    let error = compile("unknown_imports").unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("env.proxy_make_coffee") && text.contains("kitchen.boil"),
        "{text}"
    );
}

#[test]
fn wrong_signature() {
    let error = compile("wrong_signature").unwrap_err();
    assert!(
        error.to_string().contains("proxy_on_request_headers"),
        "{error}"
    );
}

#[test]
fn no_memory() {
    assert!(matches!(compile("no_memory"), Err(ModuleError::NoMemory)));
}

#[test]
fn no_abi() {
    assert!(matches!(compile("no_abi"), Err(ModuleError::NoAbi)));
}

#[test]
fn traps_on_request() {
    each_policy_is_kept("traps_on_request", "unreachable");
}

#[test]
fn never_returns() {
    each_policy_is_kept("never_returns", "fuel");
}

#[test]
fn recurses_forever() {
    each_policy_is_kept("recurses_forever", "stack");
}

#[test]
fn malloc_out_of_bounds() {
    survives("malloc_out_of_bounds");
}

#[test]
fn malloc_wraps() {
    survives("malloc_wraps");
}

#[test]
fn malloc_traps() {
    each_policy_is_kept("malloc_traps", "unreachable");
}

#[test]
fn malloc_never_returns() {
    each_policy_is_kept("malloc_never_returns", "fuel");
}

#[test]
fn floods_headers() {
    each_policy_is_kept("floods_headers", "");
}

#[test]
fn floods_logs() {
    each_policy_is_kept("floods_logs", "");
}

#[test]
fn floods_shared_data() {
    each_policy_is_kept("floods_shared_data", "");
}

#[test]
fn exits() {
    each_policy_is_kept("exits", "unreachable");
}

#[test]
fn bad_pointers() {
    passes("bad_pointers");
}

#[test]
fn logs_non_utf8() {
    let lines = Lines::default();
    let mut proxy = start("logs_non_utf8", FailurePolicy::FailClosed).unwrap();
    proxy.set_observer(Some(Box::new(lines.clone())));
    assert_passed(&request(&mut proxy, 0, false));
    let lines = lines.0.lock().unwrap();
    assert!(
        lines.contains(&b"\xff\xfe\x00not text\xc3"[..12].to_vec()),
        "{lines:?}"
    );
}

#[test]
fn allocates_forever() {
    let mut proxy = start("allocates_forever", FailurePolicy::FailClosed).unwrap();
    assert_passed(&request(&mut proxy, 0, false));
    let vms = proxy.vms();
    let vm = vms
        .iter()
        .find(|vm| vm.thread == Thread::Worker(0))
        .unwrap();
    assert_eq!(vm.state, VmState::Running);
    assert!(vm.memory_refused > 0);
    assert!(
        vm.memory_bytes <= limits().memory_bytes,
        "{} bytes",
        vm.memory_bytes
    );
}

#[test]
fn replies_twice() {
    let mut proxy = start("replies_twice", FailurePolicy::FailClosed).unwrap();
    let outputs = request(&mut proxy, 0, false);
    let [Output::LocalResponse { status, body, .. }] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    assert_eq!((*status, body.as_slice()), (418, &b"first"[..]));
}

#[test]
fn malformed_header_map() {
    let mut proxy = start("malformed_header_map", FailurePolicy::FailClosed).unwrap();
    let outputs = request(&mut proxy, 0, false);
    let [Output::RequestHeaders { headers, .. }] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    assert!(headers.is_empty(), "{headers:?}");
}

#[test]
fn traps_in_tick() {
    let mut proxy = start("traps_in_tick", FailurePolicy::FailOpen).unwrap();
    proxy.advance_to(proxy.now_ns() + 250_000_000);
    assert!(proxy.vms().iter().all(|vm| vm.state == VmState::Running));
    proxy.advance_to(proxy.now_ns() + 100_000_000);
    assert!(
        proxy.vms().iter().all(|vm| vm.state != VmState::Running),
        "{:?}",
        proxy.vms()
    );
    assert_passed(&request(&mut proxy, 0, false));
}

/// Runs a guest that traps on requests under every failure policy.
#[track_caller]
fn each_policy_is_kept(name: &str, cause: &str) {
    let mut proxy = start(name, FailurePolicy::FailOpen).unwrap();
    assert_refused(&request(&mut proxy, 0, true));
    assert_dead(&proxy, cause);
    // The VM is gone; later traffic passes all the same.
    assert_passed(&request(&mut proxy, 0, true));

    let mut proxy = start(name, FailurePolicy::FailClosed).unwrap();
    assert_refused(&request(&mut proxy, 0, true));
    assert_refused(&request(&mut proxy, 0, false));

    let mut proxy = start(name, FailurePolicy::FailReload).unwrap();
    assert_refused(&request(&mut proxy, 0, true));
    proxy.advance_to(proxy.now_ns() + 10_000_000_000);
    request(&mut proxy, 0, true);
    let reloads: u64 = proxy.vms().iter().map(|vm| vm.reloads).sum();
    assert_eq!(reloads, 1, "{:?}", proxy.vms());
}

/// The worker's VM is dead with this cause, the other worker's lives.
#[track_caller]
fn assert_dead(proxy: &Proxy, cause: &str) {
    for vm in proxy.vms() {
        match (vm.thread, vm.state) {
            (Thread::Worker(0), VmState::Dead(message)) => {
                assert!(message.contains(cause), "{message}");
            }
            (Thread::Worker(0), VmState::Running) => panic!("the VM survived"),
            (_, state) => assert_eq!(state, VmState::Running),
        }
    }
}

/// Runs a guest whose requests either pass or trap, but never do more.
#[track_caller]
fn survives(name: &str) {
    let mut proxy = start(name, FailurePolicy::FailOpen).unwrap();
    assert_passed(&request(&mut proxy, 0, false));
    assert_passed(&request(&mut proxy, 1, false));
}

#[track_caller]
fn passes(name: &str) {
    let mut proxy = start(name, FailurePolicy::FailClosed).unwrap();
    assert_passed(&request(&mut proxy, 0, false));
}

#[track_caller]
fn assert_passed(outputs: &[Output]) {
    let [
        Output::RequestHeaders {
            headers,
            end_stream: true,
        },
    ] = outputs
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(headers.get(":path"), Some(&b"/"[..]));
}

#[track_caller]
fn assert_refused(outputs: &[Output]) {
    let [Output::LocalResponse { status: 503, .. }] = outputs else {
        panic!("{outputs:?}");
    };
}

fn compile(name: &str) -> Result<Module, ModuleError> {
    let (_, text) = GUESTS.iter().find(|(guest, _)| *guest == name).unwrap();
    Module::compile(&engine(), name, &wat::parse_str(text).unwrap())
}

fn engine() -> Engine {
    Engine::new(&EngineOptions::default()).unwrap()
}

fn start(name: &str, failure_policy: FailurePolicy) -> Result<Proxy, StartError> {
    let (_, text) = GUESTS.iter().find(|(guest, _)| *guest == name).unwrap();
    let engine = engine();
    let module = Module::compile(&engine, name, &wat::parse_str(text).unwrap()).unwrap();
    let config = PluginConfig {
        name: name.to_owned(),
        failure_policy,
        limits: limits(),
        ..PluginConfig::default()
    };
    Proxy::builder(&engine)
        .workers(2)
        .filter(&module, config)
        .build()
}

fn limits() -> Limits {
    Limits {
        fuel_per_callback: 20_000_000,
        memory_bytes: 64 << 20,
        ..Limits::default()
    }
}

/// Sends a request and returns what left the filter chain for it.
fn request(proxy: &mut Proxy, worker: u32, trap: bool) -> Vec<Output> {
    let stream = proxy
        .open_stream(worker, StreamAttributes::default())
        .unwrap();
    let mut headers = HeaderMap::from([
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "echo"),
        (":path", "/"),
    ]);
    if trap {
        headers.add("x-trap", "1");
    }
    proxy.request_headers(stream, headers, true).unwrap();
    let mut outputs = Vec::new();
    while let Some(output) = proxy.poll_output(stream) {
        outputs.push(output);
    }
    proxy.close_stream(stream, CloseReason::Complete).unwrap();
    while let Some(output) = proxy.poll_output(stream) {
        outputs.push(output);
    }
    outputs
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Vec<u8>>>>);

impl Observer for Lines {
    fn log(&mut self, line: LogLine<'_>) {
        self.0.lock().unwrap().push(line.message.to_vec());
    }
}
