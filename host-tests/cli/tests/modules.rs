//! The built modules: what they ask of a host, how large they are, and that their bytes depend on nothing but their sources.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use tidegate_cli::build::module_path;
use tidegate_cli::inspect::{Inspection, obstacle};
use tidegate_cli::module_file::ModuleFile;
use tidegate_cli::workspace::root;

/// What a plugin may weigh.
///
/// SOURCE: every worker of every proxy keeps a copy, compiled to about four times the size, and cluster-wide delivery
/// (a `ConfigMap` holds 1 MiB, which the gzipped module fits and the plain one in base64 does not) has to carry it. Most
/// of it is what only a leader runs: membership, probes, merging.
struct Budget {
    plugin: &'static str,
    bytes: u64,
    gzip_bytes: u64,
}

const BUDGETS: &[Budget] = &[
    Budget {
        plugin: "health-routing",
        bytes: 1_050_000,
        gzip_bytes: 390_000,
    },
    Budget {
        plugin: "stack",
        bytes: 1_200_000,
        gzip_bytes: 440_000,
    },
    Budget {
        plugin: "sticky-session",
        bytes: 1_080_000,
        gzip_bytes: 400_000,
    },
];

fn inspect(name: &str) -> (ModuleFile, Inspection) {
    let file = ModuleFile::read(&module_path(name).unwrap()).unwrap();
    let inspection = Inspection::of(&file).unwrap();
    (file, inspection)
}

/// The folders of the plugins: what has a budget, and nothing else.
fn plugins() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join("plugins"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|dir| {
            fs::read_to_string(dir.join("Cargo.toml")).is_ok_and(|text| text.contains("cdylib"))
        })
        .map(|dir| dir.file_name().unwrap().display().to_string())
        .collect();
    names.sort();
    names
}

#[test]
fn plugins_keep_to_their_budgets() {
    let mut over = Vec::new();
    for budget in BUDGETS {
        let (_, module) = inspect(budget.plugin);
        for (what, size, most) in [
            ("bytes", module.bytes, budget.bytes),
            ("bytes gzipped", module.gzip_bytes, budget.gzip_bytes),
        ] {
            if size > most {
                over.push(format!("{}: {size} {what}, at most {most}", budget.plugin));
            }
        }
    }
    assert!(over.is_empty(), "{}", over.join("\n"));
}

#[test]
fn every_plugin_has_a_budget() {
    let budgets: Vec<&str> = BUDGETS.iter().map(|budget| budget.plugin).collect();
    assert_eq!(plugins(), budgets);
}

/// `BLESS=1` writes the files again. A new import is a new demand on every proxy: the difference is reviewed.
#[test]
fn plugins_ask_and_offer_what_is_written_down() {
    let mut differing = Vec::new();
    for plugin in plugins() {
        let (_, module) = inspect(&plugin);
        let golden = root().join("plugins").join(&plugin).join("abi.txt");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&golden, module.contract()).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if expected != module.contract() {
            let difference = similar::TextDiff::from_lines(&expected, module.contract())
                .unified_diff()
                .to_string();
            differing.push(format!("{}\n{difference}", golden.display()));
        }
    }
    assert!(
        differing.is_empty(),
        "not what is written down:\n{}",
        differing.join("\n")
    );
}

#[test]
fn the_host_has_everything_that_modules_ask_for() {
    for name in plugins().iter().map(String::as_str).chain([
        "leader",
        "neighbour",
        "no-op",
        "priced",
        "probe",
        "sdk",
    ]) {
        let (file, _) = inspect(name);
        let obstacle = obstacle(&file).unwrap();
        assert!(obstacle.is_none(), "{name}: {}", obstacle.unwrap());
    }
}

/// A copy of the sources elsewhere, its crates below another home, compiled from nothing: the same bytes.
#[test]
fn a_clean_build_in_another_directory_gives_the_same_bytes() {
    let here = module_path("sticky-session").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let checkout = elsewhere.path().join("a/deeper/copy");
    copy(&root(), &checkout);
    let home = elsewhere.path().join("home");
    fs::create_dir_all(&home).unwrap();
    // The same downloads under another path: what is compared is the path, and nothing is fetched twice.
    std::os::unix::fs::symlink(cargo_home().join("registry"), home.join("registry")).unwrap();
    for config in ["config.toml", "config"] {
        let config = cargo_home().join(config);
        if config.is_file() {
            fs::copy(&config, home.join(config.file_name().unwrap())).unwrap();
        }
    }
    let built = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["build", "sticky-session", "--quiet"])
        .current_dir(&checkout)
        .env("CARGO_HOME", &home)
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let there = checkout.join("target/plugins/sticky-session.wasm");
    assert_eq!(
        digest(&there),
        digest(&here),
        "the bytes depend on where they were built"
    );
    let text = String::from_utf8_lossy(&fs::read(&there).unwrap()).into_owned();
    for path in [checkout, home, root(), cargo_home()] {
        assert!(
            !text.contains(path.to_str().unwrap()),
            "the module holds the path {}",
            path.display()
        );
    }
}

fn digest(path: &Path) -> String {
    Sha256::digest(fs::read(path).unwrap())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn cargo_home() -> PathBuf {
    std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cargo"),
        PathBuf::from,
    )
}

/// Copies a checkout without what is built and without its history.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if ["target", ".git", "node_modules", "recordings"]
            .iter()
            .any(|skipped| name == *skipped)
        {
            continue;
        }
        let (from, to) = (entry.path(), to.join(&name));
        if entry.file_type().unwrap().is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}
