//! Properties: encodings, phases, what cannot be read.

use crate::support::{self, Told, number, text};
use tidegate_host::{
    CloseReason, ClusterConfig, HeaderMap, PluginConfig, Proxy, ResponseAttributes,
    StreamAttributes, UpstreamAttributes,
};

/// A guest that reads properties in a callback; the answer of each is status and text.
fn reader(callback: &str, parameters: &str, result: &str, paths: &[&str]) -> String {
    let reads: String = paths
        .iter()
        .map(|path| {
            let path = path.replace('.', "\\0");
            format!(r#"(call $told (call $get_property @"{path}" (i32.const 16) (i32.const 20)))"#)
        })
        .collect();
    format!(r#"(func (export "{callback}") (param {parameters}) {result} {reads})"#)
}

fn words(value: u64) -> Told {
    Told::Text(String::from_utf8_lossy(&value.to_le_bytes()).into_owned())
}

fn encoded(map: &HeaderMap) -> Told {
    let mut encoded = Vec::new();
    tidegate_host::headers::pairs::encode(map, &mut encoded);
    Told::Text(String::from_utf8(encoded).unwrap())
}

fn attributes() -> StreamAttributes {
    StreamAttributes {
        connection_id: 7,
        source_address: "10.0.0.9:5123".to_owned(),
        destination_address: "[::1]:80".to_owned(),
        protocol: "HTTP/2".to_owned(),
        cluster_name: "echo".to_owned(),
        route_name: "all".to_owned(),
        mtls: true,
        extra: vec![("upstream.tls_version".to_owned(), b"TLSv1.3".to_vec())],
        ..StreamAttributes::default()
    }
}

fn start(guests: &str) -> (Proxy, support::Watch) {
    let engine = support::engine();
    let module = support::module(&engine, guests);
    let watch = support::Watch::default();
    let mut proxy = Proxy::builder(&engine)
        .node("node-1", "fleet")
        .cluster(ClusterConfig {
            name: "echo".to_owned(),
            endpoints: vec!["127.0.0.1:7001".to_owned(), "127.0.0.1:7002".to_owned()],
            ..ClusterConfig::default()
        })
        .filter(
            &module,
            PluginConfig {
                name: "plug".to_owned(),
                root_id: "root".to_owned(),
                vm_id: "vm".to_owned(),
                ..PluginConfig::default()
            },
        )
        .build()
        .unwrap();
    proxy.set_observer(Some(Box::new(watch.clone())));
    (proxy, watch)
}

fn exchange(proxy: &mut Proxy) {
    let stream = proxy.open_stream(0, attributes()).unwrap();
    let mut headers = support::request_map();
    headers.add("x-request-id", "id-1");
    headers.add("user-agent", "ua");
    proxy.request_headers(stream, headers, false).unwrap();
    proxy.request_body(stream, b"12345", true).unwrap();
    let upstream = UpstreamAttributes {
        address: "127.0.0.1:7002".to_owned(),
        local_address: "127.0.0.1:9".to_owned(),
        attempt_count: 3,
        ..UpstreamAttributes::default()
    };
    proxy.set_upstream(stream, upstream).unwrap();
    proxy
        .response_headers(stream, support::response_map(), false)
        .unwrap();
    proxy.response_body(stream, b"123", true).unwrap();
    let facts = ResponseAttributes {
        flags: 0x8000,
        backend_latency_ns: Some(5),
        ..ResponseAttributes::default()
    };
    proxy.set_response(stream, facts).unwrap();
    proxy.advance_to(proxy.now_ns() + 1_000);
    proxy.close_stream(stream, CloseReason::Complete).unwrap();
    while proxy.poll_output(stream).is_some() {}
}

/// Runs a reader and pairs each path with what it gave: the text, or the status.
fn read_in(callback: &str, parameters: &str, result: &str, paths: &[&str]) -> Vec<Told> {
    let (mut proxy, watch) = start(&reader(callback, parameters, result, paths));
    exchange(&mut proxy);
    let mut told = watch.take().into_iter();
    let mut answers = Vec::new();
    while let Some(status) = told.next() {
        answers.push(if status == number(0) {
            told.next().unwrap()
        } else {
            status
        });
    }
    answers
}

#[track_caller]
fn check(callback: &str, parameters: &str, result: &str, rows: &[(&str, Told)]) {
    let paths: Vec<_> = rows.iter().map(|(path, _)| *path).collect();
    let answers = read_in(callback, parameters, result, &paths);
    let found: Vec<_> = paths.iter().copied().zip(answers).collect();
    assert_eq!(found, rows);
}

const NOT_FOUND: Told = Told::Number(1);
const NO_ENCODING: Told = Told::Number(3);

#[test]
fn request_phase_knows_the_request_the_route_and_the_node() {
    check(
        "proxy_on_request_headers",
        "i32 i32 i32",
        "(result i32) (i32.const 0)",
        &[
            ("request.path", text("/a?b=c")),
            ("request.url_path", text("/a")),
            ("request.query", text("b=c")),
            ("request.host", text("echo")),
            ("request.method", text("GET")),
            ("request.scheme", text("http")),
            ("request.useragent", text("ua")),
            ("request.id", text("id-1")),
            ("request.protocol", text("HTTP/2")),
            ("request.headers.x-many", text("a,b")),
            ("request.headers.x-none", NOT_FOUND),
            ("response.headers", text("\0\0\0\0")),
            ("request.time", words(1_700_000_000_000_000_000)),
            ("request.duration", NOT_FOUND),
            ("request", NO_ENCODING),
            ("response.code", NOT_FOUND),
            ("source.address", text("10.0.0.9:5123")),
            ("source.port", words(5123)),
            ("destination.port", words(80)),
            ("connection.id", words(7)),
            ("connection_id", words(7)),
            ("connection.mtls", text("\u{1}")),
            ("connection.tls_version", NOT_FOUND),
            ("upstream.address", NOT_FOUND),
            ("upstream.num_endpoints", words(2)),
            ("upstream.request_attempt_count", words(0)),
            ("upstream.tls_version", text("TLSv1.3")),
            ("xds.cluster_name", text("echo")),
            ("xds.route_name", text("all")),
            ("xds.node.id", text("node-1")),
            ("xds.node", text("\n\u{6}node-1\u{12}\u{5}fleet")),
            ("xds.upstream_host_metadata", NOT_FOUND),
            ("xds.route_metadata", text("")),
            ("xds.listener_metadata", text("")),
            ("metadata", text("")),
            ("upstream_filter_state", NOT_FOUND),
            ("xds", NO_ENCODING),
            ("filter_state", NO_ENCODING),
            ("cluster_name", NOT_FOUND),
            ("plugin_name", text("plug")),
            ("plugin_root_id", text("root")),
            ("plugin_vm_id", text("vm")),
            ("nothing", NOT_FOUND),
        ],
    );
}

#[test]
fn response_phase_knows_the_endpoint_and_no_longer_the_request() {
    check(
        "proxy_on_response_headers",
        "i32 i32 i32",
        "(result i32) (i32.const 0)",
        &[
            ("request.path", NOT_FOUND),
            ("request.id", NOT_FOUND),
            ("request.headers.x-many", NOT_FOUND),
            ("request.protocol", text("HTTP/2")),
            ("request.size", words(5)),
            ("upstream.address", text("127.0.0.1:7002")),
            ("upstream.port", words(7002)),
            ("upstream.locality", text("")),
            ("xds.upstream_host_metadata", NO_ENCODING),
            ("response.headers", encoded(&support::response_map())),
            ("upstream.local_address", text("127.0.0.1:9")),
            ("upstream.request_attempt_count", words(3)),
            ("response.code", words(200)),
            ("response.code_details", text("via_upstream")),
            ("response.headers.server", text("echo")),
            ("response.flags", words(0)),
        ],
    );
}

#[test]
fn log_knows_everything() {
    check(
        "proxy_on_log",
        "i32",
        "",
        &[
            ("request.path", text("/a?b=c")),
            ("request.duration", words(1_000)),
            ("response.headers.server", text("echo")),
            ("response.size", words(3)),
            ("response.flags", words(0x8000)),
            ("response.grpc_status", words(2)),
            ("response.backend_latency", words(5)),
        ],
    );
}

#[test]
fn root_context_knows_the_node_and_the_plugin() {
    let paths = [
        "xds.node.id",
        "plugin_name",
        "xds.cluster_name",
        "request.path",
        "anything",
    ];
    let guest = format!(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $set_tick_period (i32.const 10))) (i32.const 1))
           (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
             (call $say (call $set_property @"a" @"b")) (i32.const 1))
           {}"#,
        reader("proxy_on_tick", "i32", "", &paths)
    );
    let (mut proxy, watch) = start(&guest);
    proxy.advance_to(proxy.now_ns() + 10_000_000);
    let once = [
        number(0),
        text("node-1"),
        number(0),
        text("plug"),
        number(1),
        number(1),
        number(1),
    ];
    assert_eq!(watch.take(), [once.clone(), once].concat());
}

#[test]
fn property_that_a_filter_sets_is_found_by_a_path_of_one_part_only() {
    let (mut proxy, watch) = start(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $say (call $set_property @"tidegate.plan" @"one"))
             (call $say (call $set_property @"tidegate.plan" @"two"))
             (call $say (call $set_property @"a\0b" @"x"))
             (call $say (call $set_property @"request\0path" @"/x"))
             (i32.const 0))
           (func (export "proxy_on_log") (param i32)
             (call $told (call $get_property @"tidegate.plan" (i32.const 16) (i32.const 20)))
             (call $told (call $get_property @"tidegate.plan\0" (i32.const 16) (i32.const 20)))
             (call $told (call $get_property @"filter_state\0wasm.tidegate.plan" (i32.const 16) (i32.const 20)))
             (call $told (call $get_property @"a\0b" (i32.const 16) (i32.const 20)))
             (call $told (call $get_property @"tidegate.plan\0x" (i32.const 16) (i32.const 20)))
             (call $told (call $get_property @"request\0path" (i32.const 16) (i32.const 20)))
             (call $told (call $get_property (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 20))))"#,
    );
    exchange(&mut proxy);
    assert_eq!(
        watch.take(),
        [
            number(0),
            number(0),
            number(0),
            number(0),
            number(0),
            text("two"),
            number(0),
            text("two"),
            number(0),
            text("two"),
            number(1),
            number(1),
            number(0),
            text("/a?b=c"),
            number(3),
        ]
    );
}

#[test]
fn driver_sees_what_filters_set() {
    let (mut proxy, _) = start(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $set_property @"tidegate.plan" @"one")) (i32.const 0))"#,
    );
    let stream = proxy.open_stream(0, attributes()).unwrap();
    proxy
        .request_headers(stream, HeaderMap::from([(":path", "/")]), true)
        .unwrap();
    assert_eq!(
        proxy.custom_property(stream, "tidegate.plan"),
        Some(&b"one"[..])
    );
    assert_eq!(proxy.custom_property(stream, "other"), None);
}
