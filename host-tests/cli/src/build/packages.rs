//! The packages that become modules.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cargo_metadata::{CrateType, Metadata, MetadataCommand};
use serde::Serialize;

use super::machine::{Machine, TARGET};
use super::process;
use crate::exit::{ExitCode, Failure, WithCode};

/// What a module is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What users deploy.
    Plugin,
    /// What only tests and measurements load.
    Guest,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Plugin, Self::Guest];

    /// Returns the folder of the sources, below the checkout.
    pub(super) const fn source(self) -> &'static str {
        match self {
            Self::Plugin => "plugins",
            Self::Guest => "host-tests/guests",
        }
    }

    /// Returns the folder of the modules, below `target`.
    pub(super) const fn folder(self) -> &'static str {
        match self {
            Self::Plugin => "plugins",
            Self::Guest => "guests",
        }
    }
}

/// A package with a `cdylib`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) kind: Kind,
    /// The name of its directory, which is the module's name.
    pub(super) name: String,
    /// The name that cargo knows it by.
    pub(super) package: String,
}

/// Asks cargo about the workspace. `deep` includes the dependencies, which cargo fetches if they are missing.
pub(super) fn metadata(machine: &Machine, cargo: &Path, deep: bool) -> anyhow::Result<Metadata> {
    let mut command = machine.command(cargo);
    command.args(["metadata", "--format-version", "1", "--locked"]);
    if deep {
        command.args(["--filter-platform", TARGET]);
    } else {
        command.arg("--no-deps");
    }
    let finished = process::run(&mut command)
        .with_context(|| format!("failed to run `{}`", cargo.display()))?;
    if !finished.status.success() {
        return Err(Failure::new(
            ExitCode::Usage,
            anyhow::anyhow!("`cargo metadata` failed: {}", finished.stderr.trim()),
        )
        .into());
    }
    MetadataCommand::parse(finished.stdout)
        .context("failed to read what `cargo metadata` says")
        .with_code(ExitCode::Internal)
}

/// Finds the packages that become modules, in the order plugins, guests, and by name.
pub(super) fn find(metadata: &Metadata) -> Vec<Package> {
    let root = metadata.workspace_root.as_std_path();
    let mut found: Vec<Package> = metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| {
            package
                .targets
                .iter()
                .any(|target| target.crate_types.contains(&CrateType::CDyLib))
        })
        .filter_map(|package| {
            let dir = package.manifest_path.parent()?.as_std_path();
            let kind = Kind::ALL
                .into_iter()
                .find(|kind| dir.parent() == Some(root.join(kind.source()).as_path()))?;
            let name = dir.file_name()?.to_str()?.to_owned();
            Some(Package {
                kind,
                name,
                package: package.name.to_string(),
            })
        })
        .collect();
    found.sort();
    found
}

/// Returns the directories that hold the sources of dependencies: what of a path differs between machines.
pub(super) fn dependency_dirs(metadata: &Metadata) -> BTreeSet<PathBuf> {
    metadata
        .packages
        .iter()
        .filter(|package| package.source.is_some())
        .filter_map(|package| {
            Some(
                package
                    .manifest_path
                    .parent()?
                    .parent()?
                    .as_std_path()
                    .to_path_buf(),
            )
        })
        .collect()
}
