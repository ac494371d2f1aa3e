//! Guests written for one test each, and a driver that shows what they saw.

use std::sync::{Arc, Mutex};

use tidegate_host::{
    CloseReason, Engine, EngineOptions, HeaderMap, LogLine, Module, Observer, Output, PluginConfig,
    Proxy, StreamAttributes, StreamId, VmEvent,
};

/// What every guest begins with: imports, memory, an allocator, and ways to tell the test something.
const PREAMBLE: &str = r#"
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_done" (func $done (result i32)))
  (import "env" "proxy_set_effective_context" (func $set_effective_context (param i32) (result i32)))
  (import "env" "proxy_get_log_level" (func $get_log_level (param i32) (result i32)))
  (import "env" "proxy_get_current_time_nanoseconds" (func $get_time (param i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $set_tick_period (param i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $get_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_status" (func $get_buffer_status (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_size" (func $get_map_size (param i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_pairs" (func $get_pairs (param i32 i32 i32) (result i32)))
  (import "env" "proxy_set_header_map_pairs" (func $set_pairs (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $replace_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_remove_header_map_value" (func $remove_header (param i32 i32 i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue_stream (param i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close_stream (param i32) (result i32)))
  (import "env" "proxy_get_status" (func $get_status (param i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response" (func $send_local_response (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call" (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_call" (func $grpc_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_stream" (func $grpc_stream (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_send" (func $grpc_send (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_cancel" (func $grpc_cancel (param i32) (result i32)))
  (import "env" "proxy_grpc_close" (func $grpc_close (param i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $set_shared (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_shared_data" (func $get_shared (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_register_shared_queue" (func $register_queue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_resolve_shared_queue" (func $resolve_queue (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define_metric (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_record_metric" (func $record_metric (param i32 i64) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment_metric (param i32 i64) (result i32)))
  (import "env" "proxy_get_metric" (func $get_metric (param i32 i32) (result i32)))
  (import "env" "proxy_get_property" (func $get_property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
  (import "env" "envoy_resolve_dns" (func $resolve_dns (param i32 i32 i32) (result i32)))
  (import "env" "proxy_call_foreign_function" (func $foreign (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 131072))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (i32.add (local.get $size) (i32.const 8))))
    (if (i32.gt_u (global.get $heap) (i32.const 200000)) (then (global.set $heap (i32.const 131072))))
    (local.get $at))
  ;; A number for the test.
  (func $say (param $value i32)
    (i32.store (i32.const 0) (local.get $value))
    (drop (call $log (i32.const 2) (i32.const 0) (i32.const 4))))
  ;; A text for the test.
  (func $text (param $at i32) (param $size i32)
    (drop (call $log (i32.const 1) (local.get $at) (local.get $size))))
  ;; The text that a host function left in the out-parameters at 16 and 20, after its status.
  (func $told (param $status i32)
    (call $say (local.get $status))
    (if (i32.eqz (local.get $status))
      (then (call $text (i32.load (i32.const 16)) (i32.load (i32.const 20))))))
  ;; The number at 24.
  (func $number (param $status i32)
    (call $say (local.get $status))
    (if (i32.eqz (local.get $status)) (then (call $say (i32.load (i32.const 24))))))
"#;

/// Builds a guest. `@"text"` stands for pointer and size of the text; `\0` and `\n` work in it.
pub(crate) fn wat(callbacks: &str) -> Vec<u8> {
    assemble(PREAMBLE, callbacks)
}

/// As [`wat`], for ABI 0.1.0.
pub(crate) fn wat_of_0_1_0(callbacks: &str) -> Vec<u8> {
    const OWN: &str = r#"
  (import "env" "proxy_get_configuration" (func $get_configuration (param i32 i32) (result i32)))
  (import "env" "proxy_continue_request" (func $continue_request (result i32)))
  (import "env" "proxy_continue_response" (func $continue_response (result i32)))
  (import "env" "proxy_clear_route_cache" (func $clear_route_cache (result i32)))
"#;
    let newer = ["$continue_stream", "$close_stream", "$get_log_level"];
    let lines = PREAMBLE
        .lines()
        .filter(|line| !newer.iter().any(|name| line.contains(name)));
    let older: Vec<&str> = OWN.lines().chain(lines).collect();
    let preamble = older
        .join("\n")
        .replace("proxy_abi_version_0_2_1", "proxy_abi_version_0_1_0");
    assemble(&preamble, callbacks)
}

fn assemble(preamble: &str, callbacks: &str) -> Vec<u8> {
    let mut text = String::new();
    let mut data = String::new();
    let mut at = 1024;
    let mut rest = callbacks;
    while let Some((before, after)) = rest.split_once("@\"") {
        let (literal, after) = after.split_once('"').unwrap();
        let bytes = literal.replace("\\0", "\0").replace("\\n", "\n");
        let escaped: String = bytes.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        data.push_str(&format!("(data (i32.const {at}) \"{escaped}\")\n"));
        text.push_str(before);
        text.push_str(&format!("(i32.const {at}) (i32.const {})", bytes.len()));
        at += bytes.len() + 1;
        rest = after;
    }
    text.push_str(rest);
    wat::parse_str(format!("(module {preamble} {text} {data})")).unwrap()
}

pub(crate) fn module(engine: &Engine, callbacks: &str) -> Module {
    Module::compile(engine, "guest", &wat(callbacks)).unwrap()
}

pub(crate) fn engine() -> Engine {
    Engine::new(&EngineOptions::default()).unwrap()
}

/// What a guest told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Told {
    Number(i32),
    Text(String),
}

/// What happened, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    pub(crate) told: Arc<Mutex<Vec<(u32, Told)>>>,
    pub(crate) events: Arc<Mutex<Vec<String>>>,
}

impl Watch {
    /// All that was told since the last time.
    pub(crate) fn take(&self) -> Vec<Told> {
        self.take_with_contexts()
            .into_iter()
            .map(|(_, told)| told)
            .collect()
    }

    pub(crate) fn take_with_contexts(&self) -> Vec<(u32, Told)> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    /// Numbers alone.
    pub(crate) fn numbers(&self) -> Vec<i32> {
        self.take()
            .into_iter()
            .filter_map(|told| match told {
                Told::Number(number) => Some(number),
                Told::Text(_) => None,
            })
            .collect()
    }

    pub(crate) fn take_events(&self) -> Vec<String> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }
}

impl Observer for Watch {
    fn log(&mut self, line: LogLine<'_>) {
        let told = match <[u8; 4]>::try_from(line.message) {
            Ok(bytes) if line.level == tidegate_host::LogLevel::Info => {
                Told::Number(i32::from_le_bytes(bytes))
            }
            _ => Told::Text(String::from_utf8_lossy(line.message).into_owned()),
        };
        self.told.lock().unwrap().push((line.place.context, told));
    }

    fn vm(&mut self, event: VmEvent<'_>) {
        let text = match event {
            VmEvent::Started { place } => format!("started on {}", place.thread),
            VmEvent::Trapped { callback, .. } => format!("trapped in {callback}"),
            VmEvent::Reloaded { .. } => "reloaded".to_owned(),
            VmEvent::ReloadPutOff { .. } => "reload put off".to_owned(),
            VmEvent::ReloadFailed { .. } => "reload failed".to_owned(),
            VmEvent::MemoryRefused { .. } => "memory refused".to_owned(),
            VmEvent::Denied { function, .. } => format!("denied {function}"),
            other => format!("{other:?}"),
        };
        self.events.lock().unwrap().push(text);
    }
}

/// A proxy with one worker and one filter.
pub(crate) fn proxy(callbacks: &str) -> (Proxy, Watch) {
    proxy_with(callbacks, PluginConfig::default())
}

pub(crate) fn proxy_with(callbacks: &str, config: PluginConfig) -> (Proxy, Watch) {
    let engine = engine();
    let module = module(&engine, callbacks);
    let watch = Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .filter(&module, config)
        .build()
        .unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    (proxy, watch)
}

pub(crate) fn request_map() -> HeaderMap {
    HeaderMap::from([
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "echo"),
        (":path", "/a?b=c"),
        ("x-many", "a"),
        ("x-many", "b"),
    ])
}

pub(crate) fn response_map() -> HeaderMap {
    HeaderMap::from([(":status", "200"), ("server", "echo")])
}

pub(crate) fn open(proxy: &mut Proxy) -> StreamId {
    proxy
        .open_stream(
            0,
            StreamAttributes {
                connection_id: 7,
                source_address: "10.0.0.9:5123".to_owned(),
                cluster_name: "echo".to_owned(),
                protocol: "HTTP/1.1".to_owned(),
                ..StreamAttributes::default()
            },
        )
        .unwrap()
}

pub(crate) fn drain(proxy: &mut Proxy, stream: StreamId) -> Vec<Output> {
    std::iter::from_fn(|| proxy.poll_output(stream)).collect()
}

/// A whole exchange without bodies.
pub(crate) fn exchange(proxy: &mut Proxy) -> Vec<Output> {
    let stream = open(proxy);
    proxy.request_headers(stream, request_map(), true).unwrap();
    if !proxy.is_finished(stream) {
        proxy
            .response_headers(stream, response_map(), true)
            .unwrap();
    }
    proxy.close_stream(stream, CloseReason::Complete).unwrap();
    drain(proxy, stream)
}

/// Numbers as the guest tells them.
pub(crate) fn numbers(values: &[i32]) -> Vec<Told> {
    values.iter().map(|value| Told::Number(*value)).collect()
}

pub(crate) fn number(value: i32) -> Told {
    Told::Number(value)
}

pub(crate) fn text(value: &str) -> Told {
    Told::Text(value.to_owned())
}

/// Outputs in short: what matters in most tests.
pub(crate) fn short(outputs: &[Output]) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    outputs
        .iter()
        .map(|output| match output {
            Output::RequestHeaders { end_stream, .. } => format!("> headers {end_stream}"),
            Output::RequestBody { data, end_stream } => {
                format!("> {} {end_stream}", text(data))
            }
            Output::RequestTrailers(trailers) => format!("> trailers {}", trailers.len()),
            Output::ResponseHeaders {
                headers,
                end_stream,
            } => format!("< {} {end_stream}", headers.get_str(":status").unwrap()),
            Output::ResponseBody { data, end_stream } => {
                format!("< {} {end_stream}", text(data))
            }
            Output::ResponseTrailers(trailers) => format!("< trailers {}", trailers.len()),
            Output::LocalResponse {
                status,
                body,
                details,
                ..
            } => format!("local {status} {} {details}", text(body)),
            Output::Reset { details } => format!("reset {details}"),
        })
        .collect()
}
