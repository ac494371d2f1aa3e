//! The WebAssembly engine, one per process.

use std::sync::LazyLock;

use anyhow::{Context, anyhow};
use tidegate_host::{Engine, EngineOptions};

use crate::workspace;

/// Returns the engine. It keeps compiled modules below `target/compiled`, so that a module is compiled once per change.
///
/// # Errors
/// The directory can't be used, or this machine can't run compiled code.
pub fn engine() -> anyhow::Result<Engine> {
    static ENGINE: LazyLock<Result<Engine, String>> = LazyLock::new(|| {
        let cache_dir = Some(workspace::target_dir().join("compiled"));
        Engine::new(&EngineOptions { cache_dir }).map_err(|error| format!("{error:#}"))
    });
    ENGINE
        .clone()
        .map_err(|error| anyhow!("{error}"))
        .context("failed to start the WebAssembly engine")
}
