//! Tests of a filter as its author writes them: the module that is deployed, in Envoy's behaviour, without an Envoy.
//!
//! ```sh
//! cargo build --release --target wasm32-unknown-unknown
//! cargo test
//! ```

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on says where"
)]

use std::path::PathBuf;

use tidegate_host::{
    CallAnswer, ClusterConfig, Engine, EngineOptions, HeaderMap, Module, Output, PluginConfig,
    Proxy, StreamAttributes, StreamId,
};

/// One proxy with the filter in it. Every test has its own, so that they run in parallel.
struct Gateway {
    proxy: Proxy,
}

impl Gateway {
    fn start() -> Self {
        let engine = Engine::new(&EngineOptions::default()).unwrap();
        let wasm = std::fs::read(module_file()).unwrap();
        let module = Module::compile(&engine, "api-key", &wasm).unwrap();
        let keys = ClusterConfig {
            name: "keys".to_owned(),
            endpoints: vec!["10.0.0.1:80".to_owned()],
            ..ClusterConfig::default()
        };
        let proxy = Proxy::builder(&engine)
            .filter(&module, PluginConfig::default())
            .cluster(keys)
            .build()
            .unwrap();
        Self { proxy }
    }

    /// Sends a request, with more headers than every request has.
    fn send(&mut self, more: &[(&str, &str)]) -> StreamId {
        let stream = self
            .proxy
            .open_stream(0, StreamAttributes::default())
            .unwrap();
        let mut headers =
            HeaderMap::from([(":method", "GET"), (":path", "/"), (":authority", "shop")]);
        for (name, value) in more {
            headers.add(name, value);
        }
        self.proxy.request_headers(stream, headers, true).unwrap();
        stream
    }

    /// Lets the service answer the call-out that waits.
    fn answer(&mut self, headers: &[(&str, &str)]) {
        let call = self.proxy.pending_calls().next().unwrap().id;
        let mut map = HeaderMap::default();
        for (name, value) in headers {
            map.add(name, value);
        }
        let answer = CallAnswer::Response {
            headers: map,
            body: Vec::new(),
            trailers: HeaderMap::default(),
        };
        self.proxy.answer_call(call, answer).unwrap();
    }

    /// The status that the client gets instead of an upstream's.
    #[track_caller]
    fn refusal(&mut self, stream: StreamId) -> u32 {
        match self.proxy.poll_output(stream) {
            Some(Output::LocalResponse { status, .. }) => status,
            other => panic!("no local response but {other:?}"),
        }
    }
}

/// The module as it is deployed; `FILTER_WASM` names another file.
fn module_file() -> PathBuf {
    std::env::var_os("FILTER_WASM").map_or_else(
        || PathBuf::from("target/wasm32-unknown-unknown/release/tidegate_guest_api_key.wasm"),
        PathBuf::from,
    )
}

#[test]
fn request_without_a_key_is_refused_without_asking_anybody() {
    let mut gateway = Gateway::start();
    let stream = gateway.send(&[]);
    assert_eq!(gateway.refusal(stream), 401);
    assert_eq!(gateway.proxy.pending_calls().count(), 0);
}

#[test]
fn request_with_a_good_key_waits_and_goes_on_as_its_user() {
    let mut gateway = Gateway::start();
    let stream = gateway.send(&[("x-api-key", "k1"), ("x-user", "root")]);
    assert!(gateway.proxy.is_paused(stream));
    let call = gateway.proxy.pending_calls().next().unwrap();
    assert_eq!(call.headers.get_str(":path"), Some("/keys/k1"));
    gateway.answer(&[(":status", "200"), ("x-user", "ada")]);
    let Some(Output::RequestHeaders { headers, .. }) = gateway.proxy.poll_output(stream) else {
        panic!("the request did not go on");
    };
    assert_eq!(headers.get_str("x-user"), Some("ada"));
}

#[test]
fn request_with_a_bad_key_is_refused() {
    let mut gateway = Gateway::start();
    let stream = gateway.send(&[("x-api-key", "k2")]);
    gateway.answer(&[(":status", "404")]);
    assert_eq!(gateway.refusal(stream), 403);
}

#[test]
fn request_is_refused_when_the_service_is_silent_for_250_ms_and_not_before() {
    let mut gateway = Gateway::start();
    let stream = gateway.send(&[("x-api-key", "k1")]);
    let start = gateway.proxy.now_ns();
    gateway.proxy.advance_to(start + 249_000_000);
    assert!(gateway.proxy.is_paused(stream));
    gateway.proxy.advance_to(start + 250_000_000);
    assert_eq!(gateway.refusal(stream), 503);
}

#[test]
fn request_is_refused_when_the_service_cannot_be_reached() {
    let mut gateway = Gateway::start();
    let stream = gateway.send(&[("x-api-key", "k1")]);
    let call = gateway.proxy.pending_calls().next().unwrap().id;
    gateway
        .proxy
        .answer_call(call, CallAnswer::Refused)
        .unwrap();
    assert_eq!(gateway.refusal(stream), 503);
}
