//! What is said about scenarios that are wrong: the whole text, as a terminal shows it.
//!
//! Each file of `scenario_errors` is one; the expected texts are in `scenario_errors.txt`, which `BLESS=1` writes again.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate_cli::ExitCode;
use tidegate_cli::engine::engine;
use tidegate_cli::output::Output;
use tidegate_cli::scenario::{LoadedScenario, ScenarioError};

/// From the package's folder, where tests run: what is said has the path in it.
const FOLDER: &str = "tests/scenario_errors";

/// Loads a scenario that can't be, and returns what is said.
fn said(path: &Path) -> String {
    let error = match LoadedScenario::load(&engine().unwrap(), path, &Output::silent()) {
        Ok(_) => panic!("{} is sound", path.display()),
        Err(error) => error,
    };
    assert_eq!(ExitCode::of(&error), ExitCode::Usage, "{error:#}");
    let problems = ScenarioError::of(&error)
        .unwrap_or_else(|| panic!("{}: no place: {error:#}", path.display()));
    problems.render(false)
}

#[test]
fn every_wrong_scenario_is_refused_with_its_place() {
    let mut files: Vec<PathBuf> = fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    let mut all = String::new();
    for path in &files {
        let name = path.file_stem().unwrap().to_string_lossy();
        writeln!(all, "## {name}\n\n{}\n", said(path).trim_end()).unwrap();
    }
    assert!(files.len() >= 25, "only {} files", files.len());
    let expected = Path::new(FOLDER).with_extension("txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&expected, &all).unwrap();
    }
    let expected = fs::read_to_string(&expected).unwrap_or_default();
    assert!(
        all == expected,
        "BLESS=1 writes it again if this is intended:\n{}",
        similar::TextDiff::from_lines(&expected, &all).unified_diff()
    );
}

#[test]
fn text_without_end_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("endless.yaml");
    let cases = [
        ("[".repeat(10 << 20), "no YAML"),
        ("- ".repeat(5 << 20), "nested deeper"),
        ("{a: ".repeat(1 << 20), "no YAML"),
        (
            "what: ".to_owned() + &"x".repeat(20 << 20),
            "larger than 16 MiB",
        ),
        ("x".repeat(10 << 20), "no scenario"),
    ];
    for (text, expected) in cases {
        let beginning: String = text.chars().take(20).collect();
        fs::write(&path, text).unwrap();
        let error = tidegate_cli::scenario::read(&path).expect_err(&beginning);
        let message = error.to_string();
        let either = expected == "no YAML" && message.contains("nested deeper");
        assert!(
            message.contains(expected) || either,
            "{beginning}: {message}"
        );
    }
}

#[test]
fn shorthands_say_the_same_as_the_long_forms() {
    let directory = tempfile::tempdir().unwrap();
    let read = |text: &str| {
        let path = directory.path().join("short.yaml");
        fs::write(&path, text).unwrap();
        format!("{:?}", tidegate_cli::scenario::read(&path).unwrap())
    };
    let long = "
what: a test
seeds: [3]
duration: 10s
traffic: [{ requests: { list: [{ request: { headers: { x: \"2\" } } }] } }]
clusters:
  - name: shop
    balancer: { least_request: { choice_count: 2 } }
    endpoints: [{ address: \"10.0.0.1:80\", latency: { percentiles: { \"50\": 1ms } }, sockets: echo }]
";
    let short = "
what: a test
seed: 3
duration: 10s
traffic: [requests: { list: [request: { headers: { x: 2 } }] }]
clusters:
  - name: shop
    balancer: least_request
    endpoints: [{ address: 10.0.0.1:80, latency: { percentiles: { 50: 1ms } } }]
";
    assert_eq!(read(short), read(long));
}
