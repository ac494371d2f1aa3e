//! One call of cargo per module.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;

use anyhow::{Context, anyhow, bail};
use cargo_metadata::{Message, Metadata};

use super::machine::{Machine, TARGET};
use super::packages::{Package, dependency_dirs};
use super::way::Compiler;
use crate::output::Progress;

/// Separates flags in `CARGO_ENCODED_RUSTFLAGS`.
const FLAG_SEPARATOR: &str = "\u{1f}";

/// Compiles modules with one compiler.
#[derive(Debug)]
pub(super) struct Cargo<'a> {
    pub(super) machine: &'a Machine,
    pub(super) compiler: &'a Compiler,
    /// Where cargo keeps what it compiles; its own, so that nothing else ever waits for it or rebuilds because of it.
    pub(super) target_dir: PathBuf,
    pub(super) flags: Vec<String>,
}

impl Cargo<'_> {
    /// Compiles a package and returns the module that cargo made.
    ///
    /// One package per call: in a common call cargo would unite the features that the packages ask of their common
    /// dependencies, and a module's bytes would depend on what else was built.
    pub(super) fn compile(
        &self,
        package: &Package,
        progress: &Progress,
    ) -> anyhow::Result<PathBuf> {
        let mut command = self.machine.command(&self.compiler.cargo);
        command
            .args([
                "build",
                "--locked",
                "--profile",
                "plugin",
                "--target",
                TARGET,
            ])
            .args([
                "--message-format",
                "json-render-diagnostics",
                "--package",
                &package.package,
            ])
            .arg("--target-dir")
            .arg(&self.target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags.join(FLAG_SEPARATOR))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(source) = &self.compiler.from_source {
            // The flag that builds the standard library is unstable; the variable makes a stable compiler take it.
            command
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", &source.rustc)
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", &source.linker)
                .env_remove("RUSTUP_TOOLCHAIN");
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("failed to run `{}`", self.compiler.cargo.display()))?;
        let stderr = child.stderr.take();
        let listener = thread::spawn(move || {
            let mut bytes = Vec::new();
            // What was said until the pipe broke is all there is to show.
            drop(stderr.map(|mut stderr| stderr.read_to_end(&mut bytes)));
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let mut module = None;
        let mut announced = false;
        for line in child
            .stdout
            .take()
            .map(BufReader::new)
            .into_iter()
            .flat_map(BufRead::lines)
        {
            let Ok(Message::CompilerArtifact(artifact)) = serde_json::from_str(&line?) else {
                continue;
            };
            if !artifact.fresh {
                // What is up to date deserves no line in a log.
                if !std::mem::replace(&mut announced, true) {
                    progress.message(&package.name);
                }
                progress.flicker(format!(
                    "{} ({} compiled)",
                    package.name, artifact.target.name
                ));
            }
            module = artifact
                .filenames
                .into_iter()
                .find(|file| file.extension() == Some("wasm"))
                .or(module);
        }
        let status = child.wait()?;
        let said = listener
            .join()
            .map_err(|_| anyhow!("failed to read what cargo says"))?;
        if !status.success() {
            bail!("`{}` doesn't compile\n{}", package.package, said.trim_end());
        }
        let module =
            module.with_context(|| format!("cargo made no module of `{}`", package.package))?;
        Ok(module.into_std_path_buf())
    }
}

/// Returns the compiler flags that keep this machine's paths out of the modules: with them, two builds with the same
/// compiler give the same bytes wherever the checkout, the crates and the compiler are.
pub(super) fn reproducible_flags(
    root: &Path,
    metadata: &Metadata,
    compiler: &Compiler,
) -> Vec<String> {
    let mut flags = vec![remap(root, "/tidegate")];
    flags.extend(
        dependency_dirs(metadata)
            .iter()
            .map(|dir| remap(dir, "/crates")),
    );
    // The name that a standard library from rustup already has in its debug information.
    flags.push(remap(
        &compiler.rustc.library_source(),
        &format!("/rustc/{}", compiler.rustc.commit),
    ));
    flags
}

fn remap(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}
