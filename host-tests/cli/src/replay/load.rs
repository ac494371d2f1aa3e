//! Loads plugins for a replay.

use std::fs;
use std::path::Path;

use anyhow::Context;
use tidegate_host::{Engine, FailurePolicy, Module, ModuleError, PluginConfig};

use super::options::{ENDPOINT_HEADER, Plugin};
use crate::exit::{ExitCode, Failure, WithCode};
use crate::module_file::ModuleFile;
use crate::output::Output;

/// Loads a plugin: `named` is a file, or the name of a plugin of the checkout, which is built first.
///
/// # Errors
/// There is no such file or plugin, or the configuration can't be read (usage); the host can't run the module (guest).
pub fn plugin(
    engine: &Engine,
    named: &str,
    configuration: Option<&Path>,
    environment: &[(String, String)],
    failure_policy: FailurePolicy,
    output: &Output,
) -> anyhow::Result<Plugin> {
    let file = ModuleFile::load(named, output)?;
    let module = Module::compile(engine, &file.name, &file.bytes).map_err(|error| {
        let code = match error {
            ModuleError::Malformed { .. } => ExitCode::Usage,
            _ => ExitCode::GuestTrapped,
        };
        let shown = format!("failed to load the plugin `{}`", file.path.display());
        Failure::new(code, anyhow::Error::new(error).context(shown))
    })?;
    let configuration = configuration
        .map(|path| {
            fs::read(path)
                .with_context(|| format!("failed to read the configuration `{}`", path.display()))
                .with_code(ExitCode::Usage)
        })
        .transpose()?
        .unwrap_or_default();
    let config = PluginConfig {
        name: file.name,
        configuration,
        environment: environment.to_vec(),
        failure_policy,
        ..PluginConfig::default()
    };
    Ok(Plugin { module, config })
}

/// Returns the header in which a chain names the endpoint: what a configuration says as `endpoint_header`, else
/// Tidegate's own.
#[must_use]
pub fn endpoint_header(plugins: &[Plugin]) -> String {
    #[derive(serde::Deserialize)]
    struct Configuration {
        endpoint_header: Option<String>,
    }
    plugins
        .iter()
        .filter_map(|plugin| {
            serde_json::from_slice::<Configuration>(&plugin.config.configuration).ok()
        })
        .find_map(|configuration| configuration.endpoint_header)
        .map_or_else(
            || ENDPOINT_HEADER.to_owned(),
            |name| name.to_ascii_lowercase(),
        )
}
