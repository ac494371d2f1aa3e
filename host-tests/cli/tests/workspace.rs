//! What the workspace promises about itself: who depends on whom, and that the engine is compiled once.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};
use tidegate_cli::workspace::root;

/// Every package of the workspace, and the packages of the workspace that it may depend on, tests included.
const ARROWS: &[(&str, &[&str])] = &[
    ("tidegate-policy", &[]),
    ("tidegate-proxy", &["tidegate-policy"]),
    ("tidegate-filters", &["tidegate-policy", "tidegate-proxy"]),
    (
        "tidegate-health-routing",
        &["tidegate-filters", "tidegate-policy", "tidegate-proxy"],
    ),
    (
        "tidegate-stack",
        &["tidegate-filters", "tidegate-policy", "tidegate-proxy"],
    ),
    (
        "tidegate-sticky-session",
        &["tidegate-filters", "tidegate-policy", "tidegate-proxy"],
    ),
    (
        "tidegate-guest-leader",
        &["tidegate-policy", "tidegate-proxy"],
    ),
    (
        "tidegate-guest-neighbour",
        &["tidegate-policy", "tidegate-proxy"],
    ),
    (
        "tidegate-guest-no-op",
        &["tidegate-policy", "tidegate-proxy"],
    ),
    (
        "tidegate-guest-priced",
        &["tidegate-policy", "tidegate-proxy"],
    ),
    ("tidegate-guest-api-key", &["tidegate-host"]),
    ("tidegate-guest-probe", &[]),
    ("tidegate-guest-sdk", &[]),
    ("tidegate-host", &[]),
    ("tidegate-model", &[]),
    (
        "tidegate-cli",
        &["tidegate-host", "tidegate-model", "tidegate-policy"],
    ),
    (
        "tidegate-e2e",
        &[
            "tidegate-cli",
            "tidegate-host",
            "tidegate-model",
            "tidegate-policy",
        ],
    ),
];

fn metadata() -> Metadata {
    let platform = format!(
        "--filter-platform={}-unknown-linux-gnu",
        std::env::consts::ARCH
    );
    MetadataCommand::new()
        .current_dir(root())
        .other_options(["--locked".to_owned(), platform])
        .exec()
        .unwrap()
}

#[test]
fn dependencies_point_one_way() {
    let metadata = metadata();
    let names: BTreeSet<&str> = metadata
        .workspace_packages()
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names, known,
        "the table of this test has exactly the packages of the workspace"
    );
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let allowed = ARROWS
            .iter()
            .find(|(name, _)| *name == package.name.as_str())
            .unwrap()
            .1;
        for dependency in &package.dependencies {
            if names.contains(dependency.name.as_str())
                // A package may name itself to switch its own features on in its tests.
                && dependency.name != package.name.as_str()
                && !allowed.contains(&dependency.name.as_str())
            {
                wrong.push(format!("{} → {}", package.name, dependency.name));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "these arrows are not in the design: {}",
        wrong.join(", ")
    );
}

#[test]
fn policy_has_no_clock_no_randomness_and_no_standard_library() {
    let metadata = metadata();
    let source = fs::read_to_string(root().join("plugins/policy/src/lib.rs")).unwrap();
    assert!(
        source.contains("#![no_std]"),
        "the compiler keeps clocks, files and sockets out"
    );
    let policy = metadata
        .packages
        .iter()
        .find(|package| package.name == "tidegate-policy")
        .unwrap();
    let random: Vec<&str> = policy
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal)
        .map(|dependency| dependency.name.as_str())
        .filter(|name| {
            name.starts_with("rand") || *name == "getrandom" || *name == "tidegate-proxy"
        })
        .collect();
    assert!(
        random.is_empty(),
        "draws are arguments, but it depends on {random:?}"
    );
}

/// Cargo unites the features of the packages that one call selects. If the tests ask more of what the engine stands on
/// than the command does, the engine is compiled twice, which takes minutes.
#[test]
fn the_engine_is_compiled_once_for_the_command_and_for_all_tests() {
    let metadata = metadata();
    let below_engine = below(&metadata, "wasmtime");
    let command = features("-p tidegate-cli -e normal,build");
    let tests = features(
        "-p tidegate-guest-api-key -p tidegate-host -p tidegate-cli -p tidegate-e2e -e normal,build,dev",
    );
    let differing: Vec<String> = below_engine
        .iter()
        .filter_map(|package| {
            let (command, tests) = (command.get(package)?, tests.get(package)?);
            (command != tests).then(|| {
                format!("{package}: the command asks {command:?}, the tests ask {tests:?}")
            })
        })
        .collect();
    assert!(
        differing.is_empty(),
        "ask for the same features in `host-tests/cli/Cargo.toml`:\n{}",
        differing.join("\n")
    );
}

/// Names, with versions, of all packages below one.
fn below(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().unwrap();
    let nodes: BTreeMap<&PackageId, _> =
        resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut waiting: Vec<&PackageId> = metadata
        .packages
        .iter()
        .filter(|package| package.name == name)
        .map(|package| &package.id)
        .collect();
    assert!(!waiting.is_empty(), "there is no package `{name}`");
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if seen.insert(id) {
            let used = nodes.get(id).unwrap().deps.iter().filter(|dependency| {
                dependency
                    .dep_kinds
                    .iter()
                    .any(|kind| kind.kind != DependencyKind::Development)
            });
            waiting.extend(used.map(|dependency| &dependency.pkg));
        }
    }
    metadata
        .packages
        .iter()
        .filter(|package| seen.contains(&package.id))
        .map(|package| format!("{} v{}", package.name, package.version))
        .collect()
}

/// The features that packages are compiled with when cargo is called with this selection: more than one set where a
/// package is compiled for build scripts too.
fn features(selection: &str) -> BTreeMap<String, BTreeSet<String>> {
    let tree =
        std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args([
                "tree", "--locked", "--prefix", "none", "--format", "{p}|{f}",
            ])
            .args(selection.split(' '))
            .current_dir(root())
            .output()
            .unwrap();
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let mut features: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&tree.stdout).lines() {
        if let Some((package, set)) = line.split_once('|') {
            let package = package.trim_end_matches(" (proc-macro)").to_owned();
            features
                .entry(package)
                .or_default()
                .insert(set.trim_end_matches(" (*)").to_owned());
        }
    }
    features
}
