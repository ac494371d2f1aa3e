//! Lets cargo compile tests, and gathers the programs that it made.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, anyhow, bail};
use cargo_metadata::{CrateType, Message, Metadata, MetadataCommand, TargetKind};

use super::libtest::Outcome;
use super::run;
use super::stage::Home;
use crate::output::Progress;

/// A compiled test program.
#[derive(Debug, Clone)]
pub(super) struct TestBinary {
    pub(super) package: String,
    pub(super) version: String,
    pub(super) target: String,
    /// Whether it is a file below `tests/`.
    pub(super) is_integration: bool,
    pub(super) home: Option<Home>,
    /// The package's folder, where its tests run.
    pub(super) dir: PathBuf,
    pub(super) executable: PathBuf,
}

/// The test programs of some packages.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) binaries: Vec<TestBinary>,
}

/// Asks cargo about the workspace, without its dependencies.
pub(super) fn workspace(root: &Path) -> anyhow::Result<Metadata> {
    MetadataCommand::new()
        .cargo_path(cargo())
        .current_dir(root)
        .no_deps()
        .other_options(["--locked".to_owned()])
        .exec()
        .context("failed to ask cargo about the workspace")
}

fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// Makes a call of cargo that compiles as the outer call did: only what names the outer package is taken away.
pub(super) fn cargo_command(root: &Path) -> Command {
    let mut command = Command::new(cargo());
    for (name, _) in std::env::vars_os() {
        let is_outer = name.to_str().is_some_and(|name| {
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        });
        if is_outer {
            command.env_remove(name);
        }
    }
    command.current_dir(root).stdin(Stdio::null());
    command
}

/// Compiles the tests of these packages, all together.
pub(super) fn tests(
    metadata: &Metadata,
    packages: &[String],
    progress: &Progress,
) -> anyhow::Result<Compiled> {
    let mut command = cargo_command(metadata.workspace_root.as_std_path());
    command.args([
        "test",
        "--no-run",
        "--locked",
        "--message-format",
        "json-render-diagnostics",
    ]);
    command.args(
        packages
            .iter()
            .flat_map(|package| ["--package", package.as_str()]),
    );
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to run `cargo test`")?;
    let stderr = child.stderr.take();
    let listener = thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was said until the pipe broke is all there is to show.
        drop(stderr.map(|mut stderr| stderr.read_to_end(&mut bytes)));
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let mut binaries = Vec::new();
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
            progress.flicker(format!("compiled {}", artifact.target.name));
        }
        let Some(executable) = artifact.executable.filter(|_| artifact.profile.test) else {
            continue;
        };
        let Some(package) = metadata
            .packages
            .iter()
            .find(|package| package.id == artifact.package_id)
        else {
            continue;
        };
        binaries.push(TestBinary {
            package: package.name.to_string(),
            version: package.version.to_string(),
            is_integration: artifact.target.kind.contains(&TargetKind::Test),
            target: artifact.target.name,
            home: Home::of(package, metadata),
            dir: package
                .manifest_path
                .parent()
                .map(|dir| dir.as_std_path().to_path_buf())
                .unwrap_or_default(),
            executable: executable.into_std_path_buf(),
        });
    }
    let status = child.wait()?;
    let said = listener
        .join()
        .map_err(|_| anyhow!("failed to read what cargo says"))?;
    if !status.success() {
        bail!("the tests don't compile\n{}", errors_of(&said));
    }
    // Libraries before what stands on them, then by name: the same order in every run.
    binaries.sort_by(|one, other| {
        (&one.package, one.is_integration, &one.target).cmp(&(
            &other.package,
            other.is_integration,
            &other.target,
        ))
    });
    Ok(Compiled { binaries })
}

/// Leaves out what cargo says while all goes well.
fn errors_of(said: &str) -> String {
    let begin = said.find("error").unwrap_or_default();
    said.get(begin..).unwrap_or(said).trim_end().to_owned()
}

/// The examples in the documentation of some packages.
#[derive(Debug)]
pub(super) struct DocTests<'a> {
    pub(super) metadata: &'a Metadata,
    /// Whose: all that was compiled together, since cargo would compile another selection with other features.
    pub(super) packages: &'a [String],
}

impl DocTests<'_> {
    /// Compiles and runs them.
    pub(super) fn run(
        &self,
        filters: &[String],
        progress: &Progress,
        total: &mut Outcome,
    ) -> anyhow::Result<()> {
        if !self.packages.iter().any(|name| self.has_examples(name)) {
            return Ok(());
        }
        let mut command = cargo_command(self.metadata.workspace_root.as_std_path());
        command.args(["test", "--doc", "--locked", "--no-fail-fast"]);
        command.args(
            self.packages
                .iter()
                .flat_map(|package| ["--package", package.as_str()]),
        );
        command.arg("--").args(filters);
        progress.flicker("examples in the documentation");
        run::command(&mut command, "documentation", progress, total)
    }

    /// Says whether the package documents a library with examples; asking cargo would compile it to find out.
    fn has_examples(&self, name: &str) -> bool {
        let Some(package) = self
            .metadata
            .packages
            .iter()
            .find(|package| package.name == name)
        else {
            return false;
        };
        package
            .targets
            .iter()
            .filter(|target| {
                target.doctest
                    && target
                        .crate_types
                        .iter()
                        .any(|kind| matches!(kind, CrateType::Lib | CrateType::RLib))
            })
            .filter_map(|target| target.src_path.parent())
            .any(|dir| holds_examples(dir.as_std_path()))
    }
}

fn holds_examples(dir: &Path) -> bool {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .any(|path| {
            if path.is_dir() {
                return holds_examples(&path);
            }
            path.extension().is_some_and(|ending| ending == "rs")
                && std::fs::read_to_string(&path).is_ok_and(|text| {
                    text.lines()
                        .map(str::trim_start)
                        .any(|line| line.starts_with("/// ```") || line.starts_with("//! ```"))
                })
        })
}
