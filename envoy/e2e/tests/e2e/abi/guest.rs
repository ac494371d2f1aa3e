//! Guests that write what they see as lines, and the two hosts that they run in.
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value gets a field when it is written"
)]

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_e2e::bootstrap::Bootstrap;
use tidegate_e2e::envoy::{Envoy, Scenario};
use tidegate_e2e::wait;
use tidegate_host::{
    Engine, EngineOptions, LogLine, Module, Observer, PluginConfig, Proxy, ProxyBuilder,
};

/// What every guest begins with. `$puts` and `$num` make a line, `$flush` writes it, `$told` adds a status and, where it
/// is 0, the text that a host function left at 16 and 20.
const PREAMBLE: &str = r#"
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $get_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_status" (func $get_status (param i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_call" (func $grpc_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_stream" (func $grpc_stream (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_send" (func $grpc_send (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_close" (func $grpc_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
"#;
const OF_0_2_1: &str = r#"
  (import "env" "proxy_close_stream" (func $close_stream (param i32) (result i32)))
  (func (export "proxy_abi_version_0_2_1"))
"#;
const OF_0_1_0: &str = r#"
  (import "env" "proxy_get_configuration" (func $get_configuration (param i32 i32) (result i32)))
  (import "env" "proxy_continue_request" (func $continue_request (result i32)))
  (func (export "proxy_abi_version_0_1_0"))
"#;
const HELPERS: &str = r#"
  (memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 131072))
  (global $at (mut i32) (i32.const 512))
  (func (export "malloc") (param $size i32) (result i32)
    (local $given i32)
    (local.set $given (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (i32.add (local.get $size) (i32.const 8))))
    (if (i32.gt_u (global.get $heap) (i32.const 250000)) (then (global.set $heap (i32.const 131072))))
    (local.get $given))
  (func $puts (param $text i32) (param $size i32)
    (memory.copy (global.get $at) (local.get $text) (local.get $size))
    (global.set $at (i32.add (global.get $at) (local.get $size))))
  (func $put (param $letter i32)
    (i32.store8 (global.get $at) (local.get $letter))
    (global.set $at (i32.add (global.get $at) (i32.const 1))))
  (func $digits (param $value i32)
    (if (i32.ge_u (local.get $value) (i32.const 10))
      (then (call $digits (i32.div_u (local.get $value) (i32.const 10)))))
    (call $put (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10)))))
  (func $num (param $value i32) (call $put (i32.const 32)) (call $digits (local.get $value)))
  (func $flush
    (drop (call $log (i32.const 2) (i32.const 512) (i32.sub (global.get $at) (i32.const 512))))
    (global.set $at (i32.const 512)))
  (func $told (param $status i32)
    (call $num (local.get $status))
    (if (i32.eqz (local.get $status))
      (then (call $put (i32.const 61)) (call $puts (i32.load (i32.const 16)) (i32.load (i32.const 20))))))
"#;

/// Assembles a guest; `@"text"` stands for pointer and size of the text.
pub(super) fn guest(callbacks: &str) -> Result<Vec<u8>> {
    assemble(OF_0_2_1, callbacks)
}

/// As [`guest`], for ABI 0.1.0.
pub(super) fn guest_of_0_1_0(callbacks: &str) -> Result<Vec<u8>> {
    assemble(OF_0_1_0, callbacks)
}

fn assemble(own: &str, callbacks: &str) -> Result<Vec<u8>> {
    let (mut text, mut data, mut at) = (String::new(), String::new(), 4_096);
    let mut rest = callbacks;
    while let Some((before, after)) = rest.split_once("@\"") {
        let (literal, after) = after.split_once('"').context("a text has no end")?;
        data += &format!("(data (i32.const {at}) \"{literal}\")\n");
        text += &format!("{before}(i32.const {at}) (i32.const {})", literal.len());
        at += literal.len() + 1;
        rest = after;
    }
    text += rest;
    // Imports come before everything else.
    let (imports, marker) = own.split_at(own.find("  (func (export").unwrap_or(0));
    let module = format!("(module {PREAMBLE} {imports} {marker} {HELPERS} {text} {data})");
    Ok(wat::parse_str(module)?)
}

/// A module on disk, where Envoy finds it.
pub(super) struct File {
    folder: TempDir,
}

impl File {
    pub(super) fn new(module: &[u8]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("guest.wasm"), module)?;
        Ok(Self { folder })
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("guest.wasm")
    }

    /// Envoy's `PluginConfig` for it, without names: so a line has no prefix but Envoy's own.
    pub(super) fn plugin(&self) -> Value {
        json!({
            "vm_config": {
                "runtime": "envoy.wasm.runtime.v8",
                "code": { "local": { "filename": self.path() } },
            },
        })
    }
}

fn listener(filters: &Value) -> Value {
    json!({
        "name": "edge",
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
        "filter_chains": [{ "filters": filters }],
    })
}

fn bootstrap(filters: &Value, clusters: &Value) -> Result<Bootstrap> {
    let admin = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } });
    let root = json!({
        "admin": { "address": admin },
        "static_resources": { "listeners": [listener(filters)], "clusters": clusters },
    });
    Bootstrap::parse(&root.to_string())
}

/// A listener whose connections pass a guest and go to a cluster.
pub(super) fn connections(plugin: &Value, cluster: &Value) -> Result<Bootstrap> {
    const WASM: &str = "type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm";
    const PROXY: &str =
        "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    let filters = json!([
        { "name": "guest", "typed_config": { "@type": WASM, "config": plugin } },
        { "name": "proxy", "typed_config": {
            "@type": PROXY, "stat_prefix": "tcp", "cluster": cluster["name"],
        } },
    ]);
    bootstrap(&filters, &json!([cluster]))
}

/// A listener whose requests pass a guest and are answered with 200.
pub(super) fn requests(plugin: &Value, clusters: &Value) -> Result<Bootstrap> {
    const MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.\
                           http_connection_manager.v3.HttpConnectionManager";
    const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
    const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let route = json!({ "match": { "prefix": "/" }, "direct_response": { "status": 200 } });
    let filters = json!([{ "name": "manager", "typed_config": {
        "@type": MANAGER,
        "stat_prefix": "http",
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
        "http_filters": [
            { "name": "guest", "typed_config": { "@type": WASM, "config": plugin } },
            { "name": "router", "typed_config": { "@type": ROUTER } },
        ],
    } }]);
    bootstrap(&filters, clusters)
}

/// A cluster with one endpoint, or none.
pub(super) fn cluster(name: &str, endpoint: Option<std::net::SocketAddr>) -> Value {
    let endpoints: Vec<Value> = endpoint
        .iter()
        .map(|address| {
            let socket =
                json!({ "address": address.ip().to_string(), "port_value": address.port() });
            json!({ "endpoint": { "address": { "socket_address": socket } } })
        })
        .collect();
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": endpoints }] },
    })
}

/// Makes a cluster speak HTTP/2, as gRPC needs it.
pub(super) fn over_http2(mut cluster: Value) -> Value {
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    cluster["typed_extension_protocol_options"] = json!({ OPTIONS: {
        "@type": format!("type.googleapis.com/{OPTIONS}"),
        "explicit_http_config": { "http2_protocol_options": {} },
    } });
    cluster
}

/// The real Envoy, and how many of its guest's lines were read.
pub(super) struct Real {
    pub(super) envoy: Envoy,
    read: usize,
}

impl Real {
    pub(super) async fn start(bootstrap: Bootstrap) -> Result<Self> {
        let envoy = Envoy::start(Scenario::new(bootstrap).concurrency(1)).await?;
        Ok(Self { envoy, read: 0 })
    }

    /// Waits for this many further lines of the guest. More than that is as wrong as fewer, and the next call shows it.
    pub(super) async fn lines(&mut self, count: usize) -> Result<Vec<String>> {
        let end = self.read + count;
        let all = wait::until(format!("the guest writes {count} lines"), async || {
            let lines = lines_of(&self.envoy.log());
            Ok((lines.len() >= end).then_some(lines))
        })
        .await
        .with_context(|| {
            format!(
                "it wrote {:?}",
                lines_of(&self.envoy.log()).get(self.read..)
            )
        })?;
        let new = all.get(self.read..end).unwrap_or_default().to_vec();
        self.read = end;
        Ok(new)
    }

    /// Stops Envoy and returns what its guest wrote meanwhile.
    pub(super) async fn stop(mut self) -> Result<Vec<String>> {
        self.envoy.stop().await?;
        let lines = lines_of(&self.envoy.log());
        Ok(lines.get(self.read..).unwrap_or_default().to_vec())
    }
}

fn lines_of(log: &str) -> Vec<String> {
    log.lines()
        .filter_map(|line| Some(line.split_once("] wasm log: ")?.1.to_owned()))
        .collect()
}

/// The runner with a guest, and what the guest wrote.
pub(super) struct Runner {
    pub(super) proxy: Proxy,
    lines: Lines,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Observer for Lines {
    fn log(&mut self, line: LogLine<'_>) {
        let text = String::from_utf8_lossy(line.message).into_owned();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
    }
}

impl Runner {
    pub(super) fn start(
        module: &[u8],
        config: PluginConfig,
        add: impl FnOnce(ProxyBuilder, &Module, PluginConfig) -> ProxyBuilder,
    ) -> Result<Self> {
        let engine = Engine::new(&EngineOptions::default())?;
        let module = Module::compile(&engine, "guest", module)?;
        let lines = Lines::default();
        let mut proxy = add(Proxy::builder(&engine), &module, config).build()?;
        proxy.set_observer(Some(Box::new(lines.clone())));
        Ok(Self { proxy, lines })
    }

    /// What the guest wrote since the last time.
    pub(super) fn lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Lets Envoy judge a module without traffic.
pub(super) fn validate(plugin: &Value) -> Result<tidegate_e2e::envoy::Verdict> {
    tidegate_e2e::envoy::validate(&requests(plugin, &json!([]))?, &[])
}
