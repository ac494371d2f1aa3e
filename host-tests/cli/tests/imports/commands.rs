//! `record` and `replay` as scripts see them, with what other tools recorded.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tidegate_cli::ExitCode;
use tidegate_cli::workspace::root;

use super::data;

struct Ran {
    stdout: String,
    stderr: String,
}

#[track_caller]
fn tidegate(arguments: &[&str], code: ExitCode) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    let ran = Ran {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    let expected = Some(i32::from(code.number()));
    assert_eq!(
        output.status.code(),
        expected,
        "{}\n{}",
        ran.stdout,
        ran.stderr
    );
    ran
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn keep_going_counts_what_it_leaves_out_and_passes() {
    let directory = tempfile::tempdir().unwrap();
    let broken = directory.path().join("broken.har");
    let har = std::fs::read_to_string(data("chromium.har")).unwrap();
    std::fs::write(
        &broken,
        har.replacen("\"method\": \"POST\"", "\"method\": 5", 1),
    )
    .unwrap();
    let output = directory.path().join("out.tidegate.jsonl");
    let record = ["record", text(&broken), "-o", text(&output)];
    let refused = tidegate(&record, ExitCode::Usage);
    assert!(
        refused
            .stderr
            .contains("$.log.entries[1].request.method: expected a string, got integer `5`"),
        "{}",
        refused.stderr
    );
    assert!(!output.exists());
    let ran = tidegate(
        &[&record[..], &["--keep-going", "--json"]].concat(),
        ExitCode::Passed,
    );
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    let malformed = &json["recording"]["malformed"];
    assert_eq!(malformed["count"], 1);
    assert_eq!(malformed["first"][0]["input"], text(&broken));
    assert!(malformed["first"][0]["line"].as_u64().unwrap() > 100);
    assert!(
        ran.stderr.contains("left out: 1 malformed entries"),
        "{}",
        ran.stderr
    );
    assert_eq!(json["recording"]["streams"], 6);
}

#[test]
fn replay_keeps_going_as_well_and_says_so_in_json() {
    let directory = tempfile::tempdir().unwrap();
    let broken = directory.path().join("broken.gor");
    let capture = std::fs::read_to_string(data("capture.gor")).unwrap();
    std::fs::write(&broken, capture.replacen("1 a1 ", "? a1 ", 1)).unwrap();
    let replay = [
        "replay",
        "--plugin",
        "no-op",
        "--cluster",
        "shop",
        text(&broken),
    ];
    tidegate(&replay, ExitCode::Usage);
    let ran = tidegate(
        &[&replay[..], &["--keep-going", "--json"]].concat(),
        ExitCode::Passed,
    );
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let malformed = lines.iter().find_map(|line| line.get("malformed")).unwrap();
    assert_eq!(
        (&malformed["count"], &malformed["first"][0]["line"]),
        (&1.into(), &10.into())
    );
    assert_eq!(lines.last().unwrap()["totals"]["requests"], 4);
    assert!(
        ran.stderr.contains("left out: 1 malformed entries"),
        "{}",
        ran.stderr
    );
    let whole = tidegate(
        &[
            "replay",
            "--plugin",
            "no-op",
            "--cluster",
            "shop",
            "--json",
            text(&data("capture.gor")),
        ],
        ExitCode::Passed,
    );
    assert!(!whole.stdout.contains("malformed"));
}

#[test]
fn a_browsers_traffic_is_replayed_through_a_plugin() {
    let ran = tidegate(
        &[
            "replay",
            "--plugin",
            "no-op",
            "--cluster",
            "shop",
            "--endpoints",
            "shop=10.0.0.1:80,10.0.0.2:80",
            "--json",
            text(&data("chromium.har")),
        ],
        ExitCode::Passed,
    );
    let totals: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(totals["totals"]["requests"], 7);
    assert_eq!(totals["totals"]["websockets"], 1);
}

#[test]
fn a_redacted_recording_replays_as_many_sessions_as_the_one_with_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let replayed = |more: &[&str]| -> Value {
        let output = directory.path().join("out.tidegate.jsonl");
        let folder = "host-tests/recordings/round-robin";
        let tap = format!("{folder}/tap-buffered.json");
        let log = format!("--access-log={folder}/access-log.jsonl");
        let record = ["record", &tap, &log, "-o", text(&output)];
        tidegate(&[&record[..], more].concat(), ExitCode::Passed);
        let ran = tidegate(
            &[
                "replay",
                "--plugin",
                "sticky-session",
                "--config",
                "host-tests/recordings/sticky-session/trial-config.json",
                "--session=cookie:shop-session,source-ip+header:user-agent",
                "--summary",
                "--json",
                text(&output),
            ],
            ExitCode::Passed,
        );
        let totals: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
        totals["totals"].clone()
    };
    let (plain, redacted) = (replayed(&[]), replayed(&["--redact"]));
    for count in [
        "requests",
        "sessions",
        "websockets",
        "changed_requests",
        "changed_responses",
        "diverged",
    ] {
        assert!(plain[count].as_u64().unwrap() > 0, "{count}");
        assert_eq!(redacted[count], plain[count], "{count}");
    }
}

#[test]
fn secrets_are_chosen_by_name_and_a_key_is_read_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    let record = |more: &[&str], code: ExitCode| -> (Ran, Vec<u8>) {
        let output = directory.path().join("out.tidegate.jsonl");
        let har = data("chromium.har");
        let record = ["record", text(&har), "-o", text(&output)];
        let ran = tidegate(&[&record[..], more].concat(), code);
        (ran, std::fs::read(&output).unwrap_or_default())
    };
    let holds = |text: &[u8], part: &str| memchr::memmem::find(text, part.as_bytes()).is_some();
    let (_, only) = record(&["--redact=cookies,bodies"], ExitCode::Passed);
    assert!(holds(&only, "b3arer-of-ann") && !holds(&only, "s3cr3t-session-of-ann"));
    assert!(holds(&only, r#""redacted":["cookies","bodies"]"#));
    std::fs::write(&key, "a key that both of us know\n").unwrap();
    let with_key = ["--redact", "--redact-key", text(&key)];
    let (ran, first) = record(&with_key, ExitCode::Passed);
    assert!(
        ran.stdout
            .contains("without cookies, authorization, query, bodies"),
        "{}",
        ran.stdout
    );
    assert_eq!(record(&with_key, ExitCode::Passed).1, first);
    assert_ne!(record(&["--redact"], ExitCode::Passed).1, first);
    std::fs::write(&key, "short").unwrap();
    let (refused, _) = record(&with_key, ExitCode::Usage);
    assert!(
        refused
            .stderr
            .contains("the key has 5 bytes; at least 16 are needed"),
        "{}",
        refused.stderr
    );
    record(&["--redact-key", text(&key)], ExitCode::Usage);
}
