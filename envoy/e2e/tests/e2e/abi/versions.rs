//! Older ABIs, signatures, capabilities and reloads.
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value gets a field when it is written"
)]

use anyhow::Result;
use hyper::Method;
use serde_json::json;
use tidegate_e2e::clients::http::{Client, Request};
use tidegate_e2e::wait;
use tidegate_host::{
    CloseReason, Engine, EngineOptions, HeaderMap, Module, PluginConfig, StreamAttributes,
};

use super::guest::{self, File, Real, Runner};

/// Runs one exchange in both hosts; the guest writes the same lines.
async fn assert_same(module: &[u8], capabilities: &[&str], configuration: &str) -> Result<()> {
    let file = File::new(module)?;
    let mut plugin = file.plugin();
    if !capabilities.is_empty() {
        let allowed: serde_json::Map<_, _> = capabilities
            .iter()
            .map(|name| ((*name).to_owned(), json!({})))
            .collect();
        plugin["vm_config"]["capability_restriction_config"] =
            json!({ "allowed_capabilities": allowed });
    }
    plugin["vm_config"]["configuration"] = json!({
        "@type": "type.googleapis.com/google.protobuf.StringValue",
        "value": configuration,
    });
    let mut real = Real::start(guest::requests(&plugin, &json!([]))?).await?;
    Client::new(real.envoy.listener("edge")?).get("/").await?;
    let config = PluginConfig {
        vm_configuration: configuration.into(),
        allowed_capabilities: capabilities.iter().map(|&name| name.to_owned()).collect(),
        ..PluginConfig::default()
    };
    let mut runner = Runner::start(module, config, |builder, module, config| {
        builder.filter(module, config)
    })?;
    let stream = runner.proxy.open_stream(0, StreamAttributes::default())?;
    let headers = HeaderMap::from([(":method", "GET"), (":path", "/"), (":authority", "a")]);
    runner.proxy.request_headers(stream, headers, true)?;
    let answer = HeaderMap::from([(":status", "200")]);
    runner.proxy.response_headers(stream, answer, true)?;
    runner.proxy.close_stream(stream, CloseReason::Complete)?;
    let expected = runner.lines();
    assert!(!expected.is_empty(), "nothing happened in the runner");
    assert_eq!(real.lines(expected.len()).await?, expected);
    assert_eq!(real.stop().await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn module_of_the_oldest_abi_sees_the_same() -> Result<()> {
    let module = guest::guest_of_0_1_0(
        r#"(func $look (param $map i32) (param $text i32) (param $size i32)
             (call $told (call $get_header (local.get $map) (local.get $text) (local.get $size)
               (i32.const 16) (i32.const 20))))
           (func (export "proxy_on_request_headers") (param i32 i32) (result i32)
             (call $puts @"request")
             (call $told (call $get_configuration (i32.const 16) (i32.const 20)))
             (call $look (i32.const 0) @":path") (call $look (i32.const 0) @"x-none")
             (call $look (i32.const 2) @"x-none")
             (call $num (call $continue_request)) (call $look (i32.const 0) @":path")
             (call $flush) (i32.const 1))
           (func (export "proxy_on_response_headers") (param i32 i32) (result i32)
             (call $puts @"response") (call $look (i32.const 2) @":status") (call $flush) (i32.const 0))
           (func (export "proxy_on_log") (param i32)
             (call $puts @"log") (call $look (i32.const 0) @"x-none") (call $look (i32.const 1) @"x-none")
             (call $flush))"#,
    )?;
    assert_same(&module, &[], "settings").await
}

#[tokio::test]
async fn capabilities_are_denied_alike() -> Result<()> {
    let module = guest::guest(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (call $puts @"request")
             (call $told (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
             (call $num (call $add_header (i32.const 0) @"a" @"b"))
             (call $num (call $random_get (i32.const 64) (i32.const 8)))
             (call $num (call $get_status (i32.const -1) (i32.const 16) (i32.const 20)))
             (call $flush) (i32.const 0))
           (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
             (call $puts @"response") (call $flush) (i32.const 0))
           (func (export "proxy_on_log") (param i32) (call $puts @"log") (call $flush))"#,
    )?;
    let allowed = [
        "proxy_log",
        "proxy_on_request_headers",
        "proxy_on_log",
        "proxy_get_header_map_value",
    ];
    assert_same(&module, &[], "").await?;
    assert_same(&module, &allowed, "").await
}

/// A module with a marker, one import and one export.
fn bare(marker: &str, import: &str, export: &str) -> Result<Vec<u8>> {
    Ok(wat::parse_str(format!(
        r#"(module {import} (memory (export "memory") 1)
             (func (export "malloc") (param i32) (result i32) (i32.const 8))
             (func (export "proxy_abi_version_{marker}")) {export})"#
    ))?)
}

#[test]
fn modules_are_taken_and_refused_alike() -> Result<()> {
    let import = |module: &str, name: &str, parameters: usize| {
        let parameters = "i32 ".repeat(parameters);
        format!(r#"(import "{module}" "{name}" (func (param {parameters}) (result i32)))"#)
    };
    let headers = |parameters: usize| {
        let parameters = "i32 ".repeat(parameters);
        format!(
            r#"(func (export "proxy_on_request_headers") (param {parameters}) (result i32) (i32.const 0))"#
        )
    };
    let none = String::new;
    let wasi = "wasi_snapshot_preview1";
    let rows = [
        ("0_1_0", none(), headers(2)),
        ("0_1_0", none(), headers(3)),
        ("0_2_0", none(), headers(2)),
        ("0_2_0", none(), headers(3)),
        ("0_1_0", import("env", "proxy_continue_stream", 1), none()),
        ("0_1_0", import("env", "proxy_continue_request", 0), none()),
        ("0_2_0", import("env", "proxy_get_log_level", 1), none()),
        ("0_2_1", import("env", "proxy_get_configuration", 2), none()),
        ("0_2_1", import(wasi, "path_symlink", 5), none()),
        ("0_2_1", import(wasi, "path_symlink", 4), none()),
        (
            "0_2_1",
            none(),
            r#"(func (export "proxy_on_done"))"#.to_owned(),
        ),
        (
            "0_2_1",
            none(),
            r#"(func (export "main") (param i64))"#.to_owned(),
        ),
    ];
    let engine = Engine::new(&EngineOptions::default())?;
    for (marker, import, export) in rows {
        let module = bare(marker, &import, &export)?;
        let row = format!("{marker} {import} {export}");
        let verdict = guest::validate(&File::new(&module)?.plugin())?;
        let compiled = Module::compile(&engine, "guest", &module);
        assert_eq!(verdict.code == 0, compiled.is_ok(), "{row}: {compiled:?}");
        // Signatures are refused in the same words.
        if let Err(error) = compiled
            && import.is_empty()
        {
            assert!(
                verdict.output.contains(&error.to_string()),
                "{row}: {error}"
            );
        }
    }
    Ok(())
}

/// Traps on a request with `x-trap`.
const TRAPS: &str = r#"
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (if (i32.eqz (call $get_header (i32.const 0) @"x-trap" (i32.const 16) (i32.const 20)))
      (then (unreachable)))
    (i32.const 0))
"#;

#[tokio::test]
async fn reload_waits_for_the_back_off_that_is_set() -> Result<()> {
    let module = guest::guest(TRAPS)?;
    let file = File::new(&module)?;
    let start = async |base_interval: &str| {
        let mut plugin = file.plugin();
        plugin["name"] = json!("guest");
        plugin["failure_policy"] = json!("FAIL_RELOAD");
        plugin["reload_config"] = json!({ "backoff": { "base_interval": base_interval } });
        let real = Real::start(guest::requests(&plugin, &json!([]))?).await?;
        let mut client = Client::new(real.envoy.listener("edge")?);
        let trapping = Request::new(Method::GET, "/").header("x-trap", "1");
        assert_eq!(client.send(trapping).await?.status, 503);
        anyhow::Ok((real, client))
    };
    let (real, mut client) = start("3600s").await?;
    assert_eq!(client.get("/").await?.status, 503);
    let put_off = "wasm.guest.vm_reload_backoff";
    assert_eq!(real.envoy.stat_reaches(put_off, 1).await?, 1);
    real.stop().await?;

    let (real, mut client) = start("0.01s").await?;
    wait::until("a fresh VM serves", async || {
        Ok((client.get("/").await?.status == 200).then_some(()))
    })
    .await?;
    let reloaded = "wasm.guest.vm_reload_success";
    assert_eq!(real.envoy.stat_reaches(reloaded, 1).await?, 1);
    // The runner counts under the same names.
    let config = PluginConfig {
        name: "guest".to_owned(),
        ..PluginConfig::default()
    };
    let runner = Runner::start(&module, config, |builder, module, config| {
        builder.filter(module, config)
    })?;
    let known = real.envoy.stats().await?;
    let counted = runner.proxy.stats();
    assert_eq!(counted.len(), 3);
    for name in counted.keys() {
        assert!(known.contains_key(name), "Envoy has no counter `{name}`");
    }
    real.stop().await?;
    Ok(())
}
