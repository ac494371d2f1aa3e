//! The command as scripts see it: exit codes, standard output, JSON.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tidegate_cli::ExitCode;
use tidegate_cli::build::module_path;
use tidegate_cli::workspace::root;

/// What a run left behind.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    #[track_caller]
    fn ends(self, code: ExitCode) -> Self {
        assert_eq!(self.code, Some(i32::from(code.number())), "{self:?}");
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .args(arguments)
        .current_dir(root())
        .env_remove("NO_COLOR");
    command
}

fn finish(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn tidegate(arguments: &[&str]) -> Ran {
    finish(command(arguments))
}

/// A hostile guest, as its text.
fn hostile(name: &str) -> String {
    root()
        .join("host-tests/guests/hostile")
        .join(format!("{name}.wat"))
        .display()
        .to_string()
}

fn file(dir: &tempfile::TempDir, name: &str, content: &str) -> String {
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    path.display().to_string()
}

/// `BLESS=1` writes the text again.
#[test]
fn help_is_what_is_written_down() {
    let verbs = [
        "build", "check", "inspect", "replay", "record", "demo", "prove", "bench", "test",
    ];
    let mut help = tidegate(&["--help"]).ends(ExitCode::Passed).stdout;
    for verb in verbs {
        help.push_str(&format!("\n\n$ cargo tidegate {verb} --help\n"));
        help.push_str(&tidegate(&[verb, "--help"]).ends(ExitCode::Passed).stdout);
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&golden, &help).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    let difference = similar::TextDiff::from_lines(&expected, &help)
        .unified_diff()
        .to_string();
    assert!(difference.is_empty(), "{difference}");
}

#[test]
fn arguments_that_make_no_sense_end_with_two() {
    let cases: [&[&str]; 7] = [
        &[],
        &["bild"],
        &["build", "--toolchain", "gcc"],
        &["build", "no-such-plugin"],
        &["inspect"],
        &["inspect", "--json", "--format", "json", "sticky-session"],
        &["test", "--only", "everything"],
    ];
    for arguments in cases {
        let ran = tidegate(arguments).ends(ExitCode::Usage);
        assert!(
            ran.stdout.is_empty() && !ran.stderr.is_empty(),
            "{arguments:?}: {ran:?}"
        );
    }
}

#[test]
fn an_unknown_plugin_is_answered_with_the_known_ones() {
    let ran = tidegate(&["build", "no-such-plugin"]).ends(ExitCode::Usage);
    assert!(
        ran.stderr.contains("`no-such-plugin`")
            && ran.stderr.contains(
                "there are: health-routing, stack, sticky-session, api-key, leader, neighbour, no-op, priced, probe"
            ),
        "{ran:?}"
    );
}

#[test]
fn nothing_is_coloured_outside_a_terminal_and_all_is_when_asked() {
    let arguments = ["test", "--list"];
    assert!(!tidegate(&arguments).stdout.contains('\u{1b}'));
    let ran = tidegate(&["inspect", &hostile("no_abi"), "--color", "always"]);
    assert!(ran.stdout.contains('\u{1b}'), "{ran:?}");
}

#[test]
fn build_reports_every_module_as_json() {
    module_path("sticky-session").unwrap();
    let report = tidegate(&["build", "--json"]).ends(ExitCode::Passed).json();
    assert_eq!(report["schema"], 1);
    let way = report["way"].as_str().unwrap();
    assert!(["installed", "rustup", "debian"].contains(&way), "{way}");
    let modules = report["modules"].as_array().unwrap();
    let sticky = modules
        .iter()
        .find(|module| module["name"] == "sticky-session")
        .unwrap();
    assert_eq!(sticky["kind"], "plugin");
    assert_eq!(
        sticky["changed"], false,
        "nothing changed since the build before"
    );
    assert_eq!(sticky["abi"], "0.2.1");
    assert_eq!(sticky["sha256"].as_str().unwrap().len(), 64);
    let path = PathBuf::from(sticky["path"].as_str().unwrap());
    assert_eq!(
        sticky["bytes"].as_u64().unwrap(),
        fs::metadata(path).unwrap().len()
    );
    assert!(sticky["gzip_bytes"].as_u64().unwrap() < sticky["bytes"].as_u64().unwrap());
    let imports = sticky["imports"].as_array().unwrap();
    assert!(imports.iter().any(|import| import["name"] == "proxy_log"));
    assert!(
        modules.iter().all(|module| module["kind"] == "plugin"),
        "guests are built on request"
    );
}

/// Machines that can fetch nothing get an answer, not a hang and not a riddle.
#[test]
fn without_a_compiler_build_says_what_to_install() {
    let dir = tempfile::tempdir().unwrap();
    let sysroot = dir.path().join("sysroot");
    let rustc = format!(
        "case \"$1\" in -vV) printf 'rustc 1.95.0\\nrelease: 1.95.0\\n' ;; *) echo {} ;; esac",
        sysroot.display()
    );
    for (name, script) in [
        ("rustc", rustc.as_str()),
        ("rustup", "echo 'error: no network' >&2; exit 1"),
    ] {
        let path = dir.path().join(name);
        let made = Command::new("sh")
            .args([
                "-c",
                "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\"",
                "sh",
                script,
            ])
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut path = dir.path().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let mut command = command(&["build", "sticky-session", "--toolchain", "rustup"]);
    command.env("PATH", path);
    let ran = finish(command).ends(ExitCode::Usage);
    for expected in [
        "no compiler for `wasm32-unknown-unknown`",
        "no network",
        "rustup target add wasm32-unknown-unknown",
    ] {
        assert!(ran.stderr.contains(expected), "{ran:?}");
    }
}

#[test]
fn inspect_shows_the_contract_of_a_module() {
    let module = module_path("sticky-session").unwrap();
    let report = tidegate(&["inspect", "--json", module.to_str().unwrap()])
        .ends(ExitCode::Passed)
        .json();
    let module = &report["modules"][0];
    assert_eq!(
        (module["abi"].as_str(), module["runs"].as_bool()),
        (Some("0.2.1"), Some(true))
    );
    let exports = module["exports"].as_array().unwrap();
    assert!(
        exports
            .iter()
            .any(|export| export["name"] == "proxy_on_request_headers")
    );
    assert!(module["memory"]["initial_bytes"].as_u64().unwrap() >= 65_536);
}

#[test]
fn inspect_names_imports_that_the_host_does_not_have() {
    let ran = tidegate(&["inspect", &hostile("unknown_imports")]).ends(ExitCode::GuestTrapped);
    let (_, verdict) = ran.stdout.split_once("  runs ").unwrap();
    let text = fs::read_to_string(hostile("unknown_imports")).unwrap();
    let unknown = text
        .lines()
        .find_map(|line| line.split_once("(import \"env\" \"")?.1.split('"').next())
        .unwrap();
    assert!(
        verdict.contains("no: ") && verdict.contains(unknown),
        "{verdict}"
    );
}

#[test]
fn inspect_refuses_what_is_no_module() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (
            file(&dir, "page.wasm", "<html>"),
            "is no WebAssembly module",
        ),
        (
            file(&dir, "cut.wasm", "\0asm\u{1}\0\0\0\u{1}"),
            "not a WebAssembly module",
        ),
        (
            dir.path().join("missing.wasm").display().to_string(),
            "failed to read",
        ),
    ];
    for (path, expected) in cases {
        let ran = tidegate(&["inspect", &path]).ends(ExitCode::Usage);
        assert!(ran.stderr.contains(expected), "{ran:?}");
    }
}

const GOOD: &str = r#"{
  "clusters": [{ "name": "echo", "ttl": "3h" }],
  "keys": { "inline": "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" }
}"#;

#[test]
fn check_accepts_a_good_configuration_and_passes_warnings_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "good.json", GOOD);
    let ran = tidegate(&["check", "--plugin", "sticky-session", &path]).ends(ExitCode::Passed);
    assert!(ran.stdout.contains("sticky-session accepts it"), "{ran:?}");
    assert!(
        ran.stdout.contains("warn: "),
        "keys in the configuration are worth a warning: {ran:?}"
    );
}

#[test]
fn check_shows_every_problem_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let bad = GOOD.replace("\"3h\"", "\"10\"").replace("\"echo\"", "\"\"");
    let path = file(&dir, "bad.json", &bad);
    let report = tidegate(&["check", "--plugin", "sticky-session", "--json", &path])
        .ends(ExitCode::ConfigRejected)
        .json();
    let verdict = &report["configurations"][0];
    assert_eq!(verdict["accepted"], false);
    let problems: Vec<(&str, u64)> = verdict["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| {
            (
                problem["path"].as_str().unwrap(),
                problem["line"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        problems,
        [("$.clusters[0].name", 2), ("$.clusters[0].ttl", 2)]
    );
    let drawn = tidegate(&["check", "--plugin", "sticky-session", &path])
        .ends(ExitCode::ConfigRejected)
        .stdout;
    assert!(
        drawn.contains("rejects it: 2 problems") && drawn.contains("bad.json:2:"),
        "{drawn}"
    );
    assert!(!drawn.contains("AAECAwQF"), "a key was shown: {drawn}");
}

#[test]
fn check_takes_the_environment_of_the_vm_from_arguments_or_from_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(
        &dir,
        "c.json",
        r#"{"clusters": [{"name": "echo", "ttl": "3h"}], "keys": {"environment": "K"}}"#,
    );
    let key = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    tidegate(&["check", "--plugin", "sticky-session", &path]).ends(ExitCode::ConfigRejected);
    let given = format!("K={key}");
    tidegate(&[
        "check",
        "--plugin",
        "sticky-session",
        "--env",
        &given,
        &path,
    ])
    .ends(ExitCode::Passed);
    let mut inherited = command(&["check", "--plugin", "sticky-session", "--env", "K", &path]);
    inherited.env("K", key);
    finish(inherited).ends(ExitCode::Passed);
    tidegate(&[
        "check",
        "--plugin",
        "sticky-session",
        "--env",
        "NO_SUCH_VARIABLE",
        &path,
    ])
    .ends(ExitCode::Usage);
}

#[test]
fn check_ends_with_the_worst_of_its_verdicts() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (file(&dir, "good.json", GOOD), file(&dir, "bad.json", "{"));
    tidegate(&["check", "--plugin", "sticky-session", &good, &bad, &good])
        .ends(ExitCode::ConfigRejected);
    tidegate(&[
        "check",
        "--plugin",
        &hostile("rejects_configuration"),
        &good,
    ])
    .ends(ExitCode::ConfigRejected);
    let trapped = tidegate(&["check", "--plugin", &hostile("traps_in_configure"), &good])
        .ends(ExitCode::GuestTrapped);
    assert!(
        trapped.stdout.contains("trapped in proxy_on_configure"),
        "{trapped:?}"
    );
    tidegate(&["check", "--plugin", &hostile("unknown_imports"), &good])
        .ends(ExitCode::GuestTrapped);
}

#[test]
fn check_shows_what_filters_of_others_log() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (
        file(&dir, "good", "add-header"),
        file(&dir, "bad", "no-such-behaviour"),
    );
    tidegate(&["check", "--plugin", "sdk", &good]).ends(ExitCode::Passed);
    let ran = tidegate(&["check", "--plugin", "sdk", &bad]).ends(ExitCode::ConfigRejected);
    assert!(
        ran.stdout.contains("sdk rejects it")
            && ran.stdout.contains("unknown behaviour `no-such-behaviour`"),
        "{ran:?}"
    );
}

#[test]
fn the_stages_of_the_tests_are_listed_cheap_to_dear() {
    let listed = tidegate(&["test", "--list", "--json"])
        .ends(ExitCode::Passed)
        .json();
    let stages: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["stage"].as_str().unwrap())
        .collect();
    assert_eq!(
        stages,
        ["pure", "modules", "host", "cli", "recordings", "e2e"]
    );
}
