//! The stages, cheap to dear, and which test belongs to which.

use std::fmt;

use anyhow::bail;
use cargo_metadata::{Metadata, Package, TargetKind};
use serde::Serialize;

use super::compile::TestBinary;
use super::is_of;

/// A part of all tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The plugins' crates, natively, and the model.
    Pure,
    /// The built modules.
    Modules,
    /// The Proxy-Wasm host.
    Host,
    /// The command line.
    Cli,
    /// The committed recordings.
    Recordings,
    /// The real Envoy.
    E2e,
}

/// The integration test of the command line that looks at modules.
const MODULES_TEST: &str = "modules";

/// How the names of those end that replay what is committed.
const RECORDINGS_TESTS: &str = "recordings";

impl Stage {
    /// All of them, in the order they run in.
    pub const ALL: [Self; 6] = [
        Self::Pure,
        Self::Modules,
        Self::Host,
        Self::Cli,
        Self::Recordings,
        Self::E2e,
    ];

    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::Modules => "modules",
            Self::Host => "host",
            Self::Cli => "cli",
            Self::Recordings => "recordings",
            Self::E2e => "e2e",
        }
    }

    /// Says what it does.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Pure => "the plugins' crates, natively, and the model: no module, no host",
            Self::Modules => "builds every module; imports, exports, sizes, reproducible bytes",
            Self::Host => {
                "the Proxy-Wasm host, with friendly and hostile guests; a filter's own tests"
            }
            Self::Cli => "the command line: verbs, formats, exit codes, documentation",
            Self::Recordings => "the committed recordings, replayed through the plugins",
            Self::E2e => "the real Envoy (fetched on first use) with the built modules",
        }
    }

    pub(super) const fn needs_modules(self) -> bool {
        !matches!(self, Self::Pure)
    }

    /// Returns the names of the packages whose tests belong to it.
    pub(super) fn packages(self, metadata: &Metadata) -> Vec<String> {
        metadata
            .workspace_packages()
            .into_iter()
            .filter(|package| {
                let home = Home::of(package, metadata);
                home.map(Home::stage) == Some(self) && home.is_some_and(|home| home.tests(package))
            })
            .map(|package| package.name.to_string())
            .collect()
    }

    /// Returns the names of all packages of the stages after the first.
    pub(super) fn runner_packages(metadata: &Metadata) -> Vec<String> {
        [Self::Host, Self::Cli, Self::E2e]
            .into_iter()
            .flat_map(|stage| stage.packages(metadata))
            .collect()
    }

    pub(super) fn holds(self, binary: &TestBinary) -> bool {
        let of_cli = is_of(binary, &["tidegate-cli".to_owned()]);
        let special = of_cli && binary.is_integration && {
            match binary.target.as_str() {
                MODULES_TEST => return self == Self::Modules,
                target => target.ends_with(RECORDINGS_TESTS),
            }
        };
        match self {
            Self::Recordings => special,
            _ if special => false,
            Self::Cli => of_cli,
            _ => binary.home.map(Home::stage) == Some(self),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The folder that a package is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    Plugins,
    Host,
    Model,
    Cli,
    Guests,
    Envoy,
}

impl Home {
    pub(super) fn of(package: &Package, metadata: &Metadata) -> Option<Self> {
        let dir = package
            .manifest_path
            .strip_prefix(&metadata.workspace_root)
            .ok()?;
        let dir = dir.as_str();
        [
            ("plugins/", Self::Plugins),
            ("host-tests/host/", Self::Host),
            ("host-tests/model/", Self::Model),
            ("host-tests/cli/", Self::Cli),
            ("host-tests/guests/", Self::Guests),
            ("envoy/", Self::Envoy),
        ]
        .into_iter()
        .find(|(folder, _)| dir.starts_with(folder))
        .map(|(_, home)| home)
    }

    /// Returns the stage of a package's tests.
    const fn stage(self) -> Stage {
        match self {
            Self::Plugins | Self::Model => Stage::Pure,
            Self::Host | Self::Guests => Stage::Host,
            Self::Cli => Stage::Cli,
            Self::Envoy => Stage::E2e,
        }
    }

    /// Says whether a package has tests of its own. Most guests have none: they are what the others' tests load, and as a
    /// part of the selection they would bring features with them that compile the engine again.
    fn tests(self, package: &Package) -> bool {
        let is_test = |kinds: &[TargetKind]| kinds.contains(&TargetKind::Test);
        self != Self::Guests || package.targets.iter().any(|target| is_test(&target.kind))
    }
}

/// Makes sure that no package of the workspace is left out of all stages.
pub(super) fn check_complete(metadata: &Metadata) -> anyhow::Result<()> {
    for package in metadata.workspace_packages() {
        if Home::of(package, metadata).is_none() {
            bail!("`{}` belongs to no stage of the tests", package.name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::compile::workspace;

    fn binary(package: &str, target: &str, is_integration: bool, home: Home) -> TestBinary {
        TestBinary {
            package: package.to_owned(),
            version: String::new(),
            target: target.to_owned(),
            is_integration,
            home: Some(home),
            dir: "/".into(),
            executable: "/bin/true".into(),
        }
    }

    #[test]
    fn every_test_belongs_to_exactly_one_stage() {
        let cases = [
            (
                binary("tidegate-policy", "tidegate_policy", false, Home::Plugins),
                Stage::Pure,
            ),
            (
                binary("tidegate-model", "tidegate_model", false, Home::Model),
                Stage::Pure,
            ),
            (
                binary("tidegate-host", "hostile", true, Home::Host),
                Stage::Host,
            ),
            (
                binary("tidegate-guest-api-key", "filter", true, Home::Guests),
                Stage::Host,
            ),
            (
                binary("tidegate-cli", "tidegate_cli", false, Home::Cli),
                Stage::Cli,
            ),
            (binary("tidegate-cli", "verbs", true, Home::Cli), Stage::Cli),
            (
                binary("tidegate-cli", "recording_errors", true, Home::Cli),
                Stage::Cli,
            ),
            (
                binary("tidegate-cli", "modules", true, Home::Cli),
                Stage::Modules,
            ),
            (
                binary("tidegate-cli", "replay_recordings", true, Home::Cli),
                Stage::Recordings,
            ),
            (binary("tidegate-e2e", "e2e", true, Home::Envoy), Stage::E2e),
            (
                binary("tidegate-e2e", "modules", true, Home::Envoy),
                Stage::E2e,
            ),
        ];
        for (binary, expected) in cases {
            let holders: Vec<Stage> = Stage::ALL
                .into_iter()
                .filter(|stage| stage.holds(&binary))
                .collect();
            assert_eq!(holders, [expected], "{} {}", binary.package, binary.target);
        }
    }

    #[test]
    fn no_package_of_the_workspace_is_left_out() {
        let metadata = workspace(&crate::workspace::root()).expect("cargo answers");
        check_complete(&metadata).expect("every package has a stage");
    }

    #[test]
    fn the_runner_is_compiled_as_the_test_of_the_workspace_assumes() {
        let metadata = workspace(&crate::workspace::root()).expect("cargo answers");
        // `tests/workspace.rs` compares the features of exactly this selection with those of the command.
        assert_eq!(
            Stage::runner_packages(&metadata),
            [
                "tidegate-guest-api-key",
                "tidegate-host",
                "tidegate-cli",
                "tidegate-e2e"
            ]
        );
    }
}
