//! Where things are in the repository.

use std::path::{Path, PathBuf};

/// Returns the root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Returns the shared build folder, where Envoy is kept as well.
#[must_use]
pub fn target() -> PathBuf {
    root().join("target")
}

/// Returns the folder of the shipped Envoy configurations.
#[must_use]
pub fn bootstraps() -> PathBuf {
    root().join("envoy/bootstrap")
}

/// Returns the folder of the committed recordings.
#[must_use]
pub fn recordings() -> PathBuf {
    root().join("host-tests/recordings")
}

/// Returns the folder of the scenarios.
#[must_use]
pub fn scenarios() -> PathBuf {
    root().join("host-tests/scenarios")
}
