//! Where the checkout is.

use std::path::{Path, PathBuf};

/// Returns the root of the checkout that the command works on: the one around the current directory, else the one
/// that the command was built from.
#[must_use]
pub fn root() -> PathBuf {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::env::current_dir()
        .ok()
        .and_then(|here| {
            here.ancestors()
                .find(|dir| is_root(dir))
                .map(Path::to_path_buf)
        })
        .or_else(|| {
            built_from
                .ancestors()
                .find(|dir| is_root(dir))
                .map(Path::to_path_buf)
        })
        .unwrap_or_else(|| built_from.to_path_buf())
}

/// Returns the folder that everything built goes to: `target` in the checkout, whatever `CARGO_TARGET_DIR` says, so
/// that a module's path is the same for everyone.
#[must_use]
pub fn target_dir() -> PathBuf {
    root().join("target")
}

fn is_root(dir: &Path) -> bool {
    dir.join("Cargo.toml").is_file()
        && dir.join("plugins/policy").is_dir()
        && dir.join("host-tests").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_is_found_from_a_package_of_it() {
        assert!(is_root(&root()));
        assert!(!is_root(Path::new(env!("CARGO_MANIFEST_DIR"))));
    }
}
