//! A configuration that cannot work is refused before it serves, with a message that says why.

use anyhow::Result;
use serde_json::json;
use tidegate_e2e::bootstrap::{Bootstrap, STICKY_SESSION};
use tidegate_e2e::envoy::{Verdict, validate};
use tidegate_e2e::sticky;

const KEYS: [(&str, &str); 1] = [(sticky::KEYS_VARIABLE, sticky::TRIAL_KEYS)];

#[track_caller]
fn assert_refused(verdict: &Verdict, expected: &[&str]) {
    assert_eq!(verdict.code, 1, "{}", verdict.output);
    for text in expected {
        assert!(
            verdict.output.contains(text),
            "`{text}` is not in:\n{}",
            verdict.output
        );
    }
}

fn bootstrap() -> Result<Bootstrap> {
    sticky::bootstrap(&[])
}

#[test]
fn a_bad_configuration_is_refused_with_all_its_problems() -> Result<()> {
    let mut bad = bootstrap()?;
    bad.configure(
        STICKY_SESSION,
        &json!({
            "clusters": [{ "name": "echo", "ttl": "0s", "idle_timeout": "10" }],
            "keys": { "environment": "TIDEGATE_STICKY_KEYS" },
            "endpoint_header": "not a header",
        }),
    )?;
    let verdict = validate(&bad, &KEYS)?;
    assert_refused(
        &verdict,
        &[
            "plugin config rejected: ",
            "$.clusters[0].ttl",
            "$.clusters[0].idle_timeout",
            "$.endpoint_header",
        ],
    );
    Ok(())
}

#[test]
fn a_field_that_does_not_exist_is_refused() -> Result<()> {
    let mut bad = bootstrap()?;
    let mut configuration = bad.plugin_configuration(STICKY_SESSION)?;
    configuration["clusters"][0]["idle_timeot"] = json!("30m");
    bad.configure(STICKY_SESSION, &configuration)?;
    assert_refused(
        &validate(&bad, &KEYS)?,
        &[
            "plugin config rejected: 1 problem",
            "$.clusters[0]",
            "idle_timeot",
        ],
    );
    Ok(())
}

#[test]
fn a_struct_is_refused_with_advice() -> Result<()> {
    let mut bad = bootstrap()?;
    let configuration = bad.plugin_configuration(STICKY_SESSION)?;
    bad.plugin(STICKY_SESSION)?["configuration"] =
        json!({ "@type": "type.googleapis.com/google.protobuf.Struct", "value": configuration });
    assert_refused(
        &validate(&bad, &KEYS)?,
        &["plugin config rejected: 1 problem", "StringValue"],
    );
    Ok(())
}

#[test]
fn keys_that_are_missing_or_no_keys_are_refused_without_being_shown() -> Result<()> {
    let verdict = validate(&bootstrap()?, &[])?;
    assert_refused(
        &verdict,
        &["plugin config rejected: 1 problem", sticky::KEYS_VARIABLE],
    );
    let secret = "dGhpcyBpcyBub3QgMzIgYnl0ZXM=";
    let verdict = validate(
        &bootstrap()?,
        &[(sticky::KEYS_VARIABLE, &format!("1:{secret}"))],
    )?;
    assert_refused(&verdict, &["plugin config rejected: 1 problem", "$.keys"]);
    assert!(!verdict.output.contains(secret), "the value was shown");
    Ok(())
}

/// A module that has all that Envoy asks for and traps when it is configured.
const TRAPS_IN_CONFIGURE: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "_initialize"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (unreachable)))"#;

#[test]
fn what_cannot_start_is_refused_whatever_the_failure_policy() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let garbage = folder.path().join("garbage.wasm");
    std::fs::write(&garbage, b"this is not WebAssembly")?;
    let traps = folder.path().join("traps.wasm");
    std::fs::write(&traps, wat::parse_str(TRAPS_IN_CONFIGURE)?)?;
    for policy in ["FAIL_OPEN", "FAIL_CLOSED", "FAIL_RELOAD"] {
        let mut plain = bootstrap()?;
        plain.plugin(STICKY_SESSION)?["failure_policy"] = json!(policy);
        let mut missing = plain.clone();
        missing.module(STICKY_SESSION, &folder.path().join("no-such.wasm"))?;
        assert_refused(&validate(&missing, &KEYS)?, &["no-such.wasm"]);
        for (module, text) in [
            (&garbage, "Failed to load"),
            (&traps, "proxy_on_configure failed"),
        ] {
            let mut bad = plain.clone();
            bad.module(STICKY_SESSION, module)?;
            assert_refused(&validate(&bad, &KEYS)?, &[text]);
        }
        plain.configure(STICKY_SESSION, &json!({ "clusters": [] }))?;
        assert_refused(&validate(&plain, &KEYS)?, &["plugin config rejected"]);
    }
    Ok(())
}
