//! gRPC call-outs to a real gRPC server.

use anyhow::{Context, Result};
use serde_json::json;
use tidegate_e2e::clients::http::Client;
use tidegate_e2e::upstream::grpc::GrpcUpstream;
use tidegate_host::{ClusterConfig, GrpcEvent, HeaderMap, PluginConfig, StreamAttributes};

use super::guest::{self, File, Real, Runner};

/// Writes every callback of a call or stream.
const SEES: &str = r#"
  (func $sees (param $id i32) (param $value i32)
    (call $num (local.get $id)) (call $num (local.get $value))
    (call $told (call $get_header (i32.const 4) @"x-initial" (i32.const 16) (i32.const 20)))
    (call $told (call $get_header (i32.const 5) @"grpc-status" (i32.const 16) (i32.const 20)))
    (call $told (call $get_buffer (i32.const 5) (i32.const 0) (i32.const 100) (i32.const 16) (i32.const 20)))
    (call $told (call $get_status (i32.const 28) (i32.const 16) (i32.const 20)))
    (call $num (i32.load (i32.const 28)))
    (call $flush))
  (func (export "proxy_on_grpc_receive_initial_metadata") (param i32 i32 i32)
    (call $puts @"initial") (call $sees (local.get 1) (local.get 2)))
  (func (export "proxy_on_grpc_receive") (param i32 i32 i32)
    (call $puts @"message") (call $sees (local.get 1) (local.get 2)))
  (func (export "proxy_on_grpc_receive_trailing_metadata") (param i32 i32 i32)
    (call $puts @"trailing") (call $sees (local.get 1) (local.get 2)))
  (func (export "proxy_on_grpc_close") (param i32 i32 i32)
    (call $puts @"close") (call $sees (local.get 1) (local.get 2)))
"#;

/// The step that the guest does on a request, and what the upstream does then, as the runner is told.
struct Step {
    guest: String,
    events: Vec<GrpcEvent>,
}

fn call(upstream: &str, method: &str) -> String {
    format!(
        r#"(call $puts @"call") (call $num (call $grpc_call {upstream} @"svc.S" @"{method}"
             (i32.const 0) (i32.const 0) @"ask" (i32.const 20000) (i32.const 24)))
           (call $num (i32.load (i32.const 24))) (call $flush)"#
    )
}

fn stream(upstream: &str, method: &str) -> String {
    format!(
        r#"(call $puts @"stream") (call $num (call $grpc_stream {upstream} @"svc.S" @"{method}"
             (i32.const 0) (i32.const 0) (i32.const 24)))
           (call $num (i32.load (i32.const 24))) (call $flush)"#
    )
}

fn send(id: u32, message: &str, end_stream: bool) -> String {
    format!(
        r#"(call $puts @"send") (call $num (call $grpc_send (i32.const {id}) @"{message}"
             (i32.const {}))) (call $flush)"#,
        i32::from(end_stream)
    )
}

fn initial() -> GrpcEvent {
    GrpcEvent::InitialMetadata(HeaderMap::from([
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("x-initial", "1"),
    ]))
}

fn message(text: &str) -> GrpcEvent {
    GrpcEvent::Message(text.into())
}

fn close(status: u32, text: &str) -> GrpcEvent {
    GrpcEvent::Close {
        status,
        message: text.to_owned(),
        metadata: HeaderMap::new(),
    }
}

/// Runs the steps in both hosts and compares the lines after each.
async fn assert_same(steps: Vec<Step>) -> Result<()> {
    let mut body = String::new();
    for (number, step) in steps.iter().enumerate() {
        body += &format!(
            "(if (i32.eq (global.get $step) (i32.const {})) (then {}))",
            number + 1,
            step.guest
        );
    }
    let module = guest::guest(&format!(
        r#"{SEES} (global $step (mut i32) (i32.const 0))
           (data (i32.const 256) "\0a\05\0a\03far")
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (i32.store (i32.const 24) (i32.const 77))
             (global.set $step (i32.add (global.get $step) (i32.const 1))) {body} (i32.const 0))"#
    ))?;
    let file = File::new(&module)?;
    let upstream = GrpcUpstream::start().await?;
    let clusters = json!([
        guest::over_http2(guest::cluster("up", Some(upstream.address()))),
        guest::over_http2(guest::cluster("nobody", None)),
    ]);
    let mut real = Real::start(guest::requests(&file.plugin(), &clusters)?).await?;
    let mut client = Client::new(real.envoy.listener("edge")?);
    let mut runner = Runner::start(
        &module,
        PluginConfig::default(),
        |builder, module, config| {
            let named = |name: &str, endpoints: &[&str]| ClusterConfig {
                name: name.to_owned(),
                endpoints: endpoints.iter().map(|&it| it.to_owned()).collect(),
                ..ClusterConfig::default()
            };
            builder
                .cluster(named("up", &["127.0.0.1:1"]))
                .cluster(named("nobody", &[]))
                .filter(module, config)
        },
    )?;
    for step in steps {
        client.get("/").await?;
        let opened = runner.proxy.open_stream(0, StreamAttributes::default())?;
        let headers = HeaderMap::from([(":method", "GET"), (":path", "/"), (":authority", "a")]);
        runner.proxy.request_headers(opened, headers, true)?;
        for event in step.events {
            let pending = runner.proxy.pending_grpc().next();
            let id = pending.context("nothing is pending in the runner")?.id;
            runner.proxy.grpc_event(id, event)?;
        }
        let expected = runner.lines();
        assert_eq!(
            real.lines(expected.len()).await?,
            expected,
            "{}",
            step.guest
        );
    }
    assert_eq!(real.stop().await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn calls_end_in_the_same_callbacks() -> Result<()> {
    let step = |guest: String, events: Vec<GrpcEvent>| Step { guest, events };
    let by_message = "(i32.const 256) (i32.const 7)";
    assert_same(vec![
        step(
            call(r#"@"up""#, "Echo"),
            vec![initial(), message("RE:ask"), close(0, "")],
        ),
        step(call(r#"@"up""#, "Deny"), vec![close(7, "no entry")]),
        step(call(r#"@"far""#, "Echo"), vec![]),
        step(call(by_message, "Echo"), vec![]),
        step(call(r#"@"nobody""#, "Echo"), vec![]),
    ])
    .await
}

#[tokio::test]
async fn streams_show_the_same_callbacks_until_both_ends_are_closed() -> Result<()> {
    let step = |guest: String, events: Vec<GrpcEvent>| Step { guest, events };
    let close_twice = r#"(call $puts @"ends") (call $num (call $grpc_close (i32.const 6)))
                         (call $num (call $grpc_close (i32.const 6))) (call $flush)"#;
    assert_same(vec![
        step(stream(r#"@"up""#, "Talk"), vec![initial()]),
        step(send(6, "one", false), vec![message("S:one")]),
        step(
            send(6, "two", true),
            vec![message("S:two"), message("END"), close(0, "")],
        ),
        step(send(6, "three", false), vec![]),
        step(close_twice.to_owned(), vec![]),
        step(stream(r#"@"up""#, "Die"), vec![initial()]),
        step(
            send(10, "go", false),
            vec![message("S:go"), close(10, "died")],
        ),
        step(stream(r#"@"nobody""#, "Talk"), vec![]),
        step(stream(r#"@"up""#, "Deny"), vec![close(7, "no entry")]),
    ])
    .await
}
