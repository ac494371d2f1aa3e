//! Filter chains.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use tidegate_cli::module_file::ModuleFile;
use tidegate_cli::output::{Colour, Format, Output};
use tidegate_cli::scenario::{LoadedFilter, LoadedScenario};
use tidegate_host::{FailurePolicy, PluginConfig};
use tidegate_model::scenario::Filter;

use super::Place;

/// The filter that keeps Envoy's stateful sessions; each route says of which cluster.
pub(super) const STATEFUL_SESSION: &str = "envoy.filters.http.stateful_session";

/// Returns the filters of a chain, without the one that ends it.
///
/// # Errors
/// A module can't be built, or its configuration is not text.
pub(super) fn chain(
    loaded: &LoadedScenario,
    said: &[Filter],
    filters: &[LoadedFilter],
    place: Place<'_>,
) -> Result<Vec<Value>> {
    let mut chain = Vec::new();
    for (said, filter) in said.iter().zip(filters) {
        chain.push(match (said, filter) {
            (Filter::Plugin(said), LoadedFilter::Plugin(plugin)) => {
                let module = module(loaded, &said.module, place.modules)?;
                wasm(&plugin.config, &module)?
            }
            (_, LoadedFilter::RemoveHeaders(names)) => removal(names),
            (Filter::RemoveHeaders(_), LoadedFilter::Plugin(_)) => {
                bail!("a filter was loaded as another one")
            }
        });
    }
    Ok(chain)
}

/// A stateful session filter that does nothing on its own.
pub(super) fn stateful_sessions() -> Value {
    json!({
        "name": STATEFUL_SESSION,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
        },
    })
}

fn removal(names: &[String]) -> Value {
    let removals: Vec<Value> = names.iter().map(|name| json!({ "remove": name })).collect();
    json!({
        "name": "envoy.filters.http.header_mutation",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": { "request_mutations": removals },
        },
    })
}

/// Returns the file of a module in its binary form.
fn module(loaded: &LoadedScenario, named: &str, folder: &Path) -> Result<PathBuf> {
    let output = Output::new(Format::Human, Colour::Auto, true);
    let beside = loaded.path.parent().unwrap_or(Path::new("")).join(named);
    let file = if beside.is_file() {
        ModuleFile::read(&beside)?
    } else {
        ModuleFile::load(named, &output)?
    };
    // Text is translated, which Envoy can't.
    let path = folder.join(format!("{}.wasm", file.name));
    std::fs::write(&path, &file.bytes)
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(path)
}

fn wasm(config: &PluginConfig, module: &Path) -> Result<Value> {
    let text = |bytes: &[u8], what: &str| -> Result<Value> {
        let text = std::str::from_utf8(bytes)
            .with_context(|| format!("the {what} of `{}` is not text", config.name))?;
        Ok(json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": text }))
    };
    let variables: Map<String, Value> = config
        .environment
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let policy = match config.failure_policy {
        FailurePolicy::FailClosed => "FAIL_CLOSED",
        FailurePolicy::FailOpen => "FAIL_OPEN",
        FailurePolicy::FailReload => "FAIL_RELOAD",
    };
    Ok(json!({
        "name": config.name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": config.name,
                "root_id": config.root_id,
                "failure_policy": policy,
                "allow_on_headers_stop_iteration": config.allow_on_headers_stop_iteration,
                "vm_config": {
                    "vm_id": config.vm_id,
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": { "local": { "filename": module } },
                    "configuration": text(&config.vm_configuration, "VM configuration")?,
                    "environment_variables": { "key_values": variables },
                },
                "configuration": text(&config.configuration, "configuration")?,
            },
        },
    }))
}
