//! Every configuration that we ship is one that Envoy takes.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};
use tidegate_e2e::bootstrap::{Bootstrap, HEALTH_ROUTING, STACK, STICKY_SESSION};
use tidegate_e2e::envoy::{Envoy, Scenario, validate, validate_file};
use tidegate_e2e::upstream::{Upstream, addresses};
use tidegate_e2e::{clients::http::Client, paths, sticky};

/// The shipped files. A file that is added has to be added here too.
const SHIPPED: [&str; 5] = [
    "health-routing",
    "record-traffic",
    "stack",
    "sticky-session",
    "sticky-session-endpoints",
];

/// The filters of ours, each with its module.
const PLUGINS: [(&str, &str); 3] = [
    (HEALTH_ROUTING, "health-routing"),
    (STACK, "stack"),
    (STICKY_SESSION, "sticky-session"),
];

#[test]
fn every_shipped_configuration_is_accepted_as_it_is() -> Result<()> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(paths::bootstraps())? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .context("a file without a name")?;
        found.insert(
            name.strip_suffix(".yaml")
                .with_context(|| format!("{name} is no YAML file"))?
                .to_owned(),
        );
        let text = fs::read_to_string(&path)?;
        let first = text.lines().next().unwrap_or_default();
        assert!(
            first.starts_with("# "),
            "{name} does not begin with what it demonstrates"
        );
        assert!(
            text.contains("Envoy 1.40.0"),
            "{name} does not say what it was run with"
        );
        // The text itself, read by Envoy's own YAML reader; only the modules are where the tests build them.
        let mut placed = text.clone();
        let mut bootstrap = Bootstrap::parse(&text)?;
        for (filter, module) in PLUGINS {
            let built = tidegate_cli::build::module_path(module)?;
            placed = placed.replace(
                &format!("target/plugins/{module}.wasm"),
                built.to_str().context("a strange path")?,
            );
            bootstrap.module_everywhere(filter, &built);
        }
        let folder = tempfile::tempdir()?;
        let file = folder.path().join(name);
        fs::write(&file, placed)?;
        let verdict = validate_file(&file, &[(sticky::KEYS_VARIABLE, sticky::TRIAL_KEYS)])?;
        assert_eq!(verdict.code, 0, "{name}: {}", verdict.output);
        // The tree that the tests edit, written as JSON.
        let verdict = validate(&bootstrap, &[(sticky::KEYS_VARIABLE, sticky::TRIAL_KEYS)])?;
        assert_eq!(verdict.code, 0, "{name} as JSON: {}", verdict.output);
    }
    assert_eq!(found, SHIPPED.map(str::to_owned).into());
    Ok(())
}

#[test]
fn every_string_of_a_shipped_configuration_is_quoted() -> Result<()> {
    for name in SHIPPED {
        let text = fs::read_to_string(paths::bootstraps().join(format!("{name}.yaml")))?;
        let mut block_indent = None;
        for (index, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            // What stands under `value: |` is JSON.
            if block_indent.is_some_and(|block| indent > block) {
                continue;
            }
            block_indent = line.ends_with(": |").then_some(indent);
            let code = line.trim_start();
            if code.starts_with('#') || block_indent.is_some() {
                continue;
            }
            for unquoted in code.split('"').step_by(2) {
                let words = unquoted
                    .split([' ', ',', '{', '}', '[', ']'])
                    .filter(|word| !word.is_empty());
                for word in words {
                    let plain = word.ends_with(':')
                        || word == "-"
                        || word == "true"
                        || word == "false"
                        || word.parse::<u64>().is_ok();
                    assert!(plain, "{name}.yaml:{}: `{word}` is not quoted", index + 1);
                }
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_recording_configuration_serves_and_writes_both_forms() -> Result<()> {
    let upstreams = Upstream::several(2).await?;
    let mut bootstrap = Bootstrap::shipped("record-traffic")?;
    bootstrap.endpoints(sticky::CLUSTER, &addresses(&upstreams))?;
    let mut envoy = Envoy::start(Scenario::new(bootstrap)).await?;
    let mut client = Client::new(envoy.listener("edge")?);
    for _ in 0..3 {
        assert_eq!(client.get("/").await?.status, 200);
    }
    envoy.stop().await?;
    for filter in ["tap-buffered", "tap-streamed"] {
        assert_eq!(
            fs::read_dir(envoy.folder().join(filter))?.count(),
            3,
            "{filter}"
        );
    }
    Ok(())
}
