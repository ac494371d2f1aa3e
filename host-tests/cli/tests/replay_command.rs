//! `replay`, `record` and `demo` as scripts see them: exit codes, standard output, messages.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tidegate_cli::ExitCode;
use tidegate_cli::workspace::root;

const CONFIG: &str = "host-tests/recordings/sticky-session/trial-config.json";
const TAP: &str = "host-tests/recordings/round-robin/tap-streamed.json";
const LOG: &str = "--access-log=host-tests/recordings/round-robin/access-log.jsonl";
const CLIENTS: &str = "--session=cookie:shop-session,source-ip+header:user-agent";

struct Ran {
    code: Option<i32>,
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
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert_eq!(
        ran.code,
        Some(i32::from(code.number())),
        "{}\n{}",
        ran.stdout,
        ran.stderr
    );
    ran
}

fn replay<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [
        &[
            "replay",
            "--plugin",
            "sticky-session",
            "--config",
            CONFIG,
            TAP,
            LOG,
            CLIENTS,
        ],
        more,
    ]
    .concat()
}

/// A recording of one exchange whose request carries `field`.
fn recording(directory: &Path, field: &str) -> String {
    let lines = [
        r#"{"format":{"name":"tidegate-recording","major":1,"minor":0},"source":"test","producer":"test"}"#.to_owned(),
        r#"{"t":1000000000,"stream":1,"open":{"cluster":"echo"}}"#.to_owned(),
        format!(
            r#"{{"t":1000000000,"stream":1,"request_headers":{{"headers":[[":method","GET"],[":path","/x"],[":scheme","http"],[":authority","a"]{field}],"end_stream":true}}}}"#
        ),
        r#"{"t":1000000001,"stream":1,"upstream":{"address":"10.0.0.1:80"}}"#.to_owned(),
        r#"{"t":1000000001,"stream":1,"response_headers":{"headers":[[":status","200"]],"end_stream":true}}"#.to_owned(),
        r#"{"t":1000000001,"stream":1,"close":{}}"#.to_owned(),
    ];
    let path = directory.join("one.tidegate.jsonl");
    fs::write(&path, lines.join("\n")).unwrap();
    path.display().to_string()
}

fn integers_only(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_u64() || number.is_i64(),
        Value::Array(values) => values.iter().all(integers_only),
        Value::Object(values) => values.values().all(integers_only),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

#[test]
fn replay_prints_what_was_changed_and_why() {
    let directory = tempfile::tempdir().unwrap();
    let one = recording(directory.path(), r#",["x-tidegate-endpoint","10.0.0.9:1"]"#);
    let ran = tidegate(
        &["replay", "-p", "sticky-session", "-c", CONFIG, &one],
        ExitCode::Passed,
    );
    let expected = "\
#1 session 1 GET /x
    request: new_session
    request - x-tidegate-endpoint: 10.0.0.9:1
    served by 10.0.0.1:80
    response: issued
    response + set-cookie: tidegate-echo=<104 bytes>; Path=/; Max-Age=10800; HttpOnly; SameSite=Lax
    response + x-tidegate-reason: sticky-session;request=new_session;response=issued
    status 200
replayed 1 requests of 1 sessions, 0 WebSockets, 0 s of traffic
";
    assert!(ran.stdout.starts_with(expected), "{}", ran.stdout);
}

#[test]
fn json_is_a_line_per_exchange_and_the_totals_the_same_every_time() {
    let ran = tidegate(&replay(&["--json", "--workers", "2"]), ExitCode::Passed);
    let again = tidegate(&replay(&["--json", "--workers", "2"]), ExitCode::Passed);
    assert_eq!(ran.stdout, again.stdout);
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.iter().all(integers_only));
    let (totals, exchanges) = lines.split_last().unwrap();
    assert_eq!(
        exchanges.len() as u64,
        totals["totals"]["streams"].as_u64().unwrap()
    );
    assert!(
        exchanges
            .iter()
            .all(|line| line["exchange"]["session"].as_u64() > Some(0))
    );
    let summary = tidegate(
        &replay(&["--json", "--workers", "2", "--summary"]),
        ExitCode::Passed,
    );
    assert_eq!(summary.stdout.lines().count(), 1);
    assert_eq!(Some(summary.stdout.trim_end()), ran.stdout.lines().last());
}

#[test]
fn expectations_are_written_and_kept_and_a_difference_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.expect.json").display().to_string();
    tidegate(&replay(&["--expect", &file]), ExitCode::Usage);
    tidegate(&replay(&["--expect", &file, "--bless"]), ExitCode::Passed);
    let committed =
        fs::read_to_string(root().join("host-tests/recordings/round-robin.expect.json")).unwrap();
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        committed,
        "the command writes what the tests expect"
    );
    tidegate(
        &replay(&["--expect", &file, "--workers", "3"]),
        ExitCode::Passed,
    );

    let broken = committed.replacen("request: pinned", "request: new_session", 1);
    fs::write(&file, broken).unwrap();
    let ran = tidegate(&replay(&["--expect", &file]), ExitCode::ReplayDiverged);
    assert!(
        ran.stderr
            .contains("- request: new_session\n+ request: pinned"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("1 of 550 exchanges differ"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("tidegate-echo=A"), "no cookie value");

    fs::write(&file, committed.replace("\"major\":1", "\"major\":2")).unwrap();
    let ran = tidegate(&replay(&["--expect", &file]), ExitCode::Usage);
    assert!(ran.stderr.contains("newer"), "{}", ran.stderr);
}

#[test]
fn a_malformed_recording_is_shown_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.tidegate.jsonl");
    let good = fs::read_to_string(recording(directory.path(), "")).unwrap();
    fs::write(
        &path,
        good.replace(r#"[":status","200"]"#, r#"[":status",200]"#),
    )
    .unwrap();
    let path = path.display().to_string();
    let output = directory.path().join("out.tidegate.jsonl");
    let shown = output.display().to_string();
    for arguments in [
        vec!["replay", "-p", "sticky-session", "-c", CONFIG, &path],
        vec!["record", &path, "-o", &shown],
    ] {
        let ran = tidegate(&arguments, ExitCode::Usage);
        assert!(
            ran.stderr.contains(
                "bad.tidegate.jsonl:5:72: $.response_headers.headers[0][1]: expected a string"
            ),
            "{}",
            ran.stderr
        );
    }
    assert!(!output.exists());
}

#[test]
fn a_rejected_configuration_is_told_in_the_plugin_s_words() {
    let directory = tempfile::tempdir().unwrap();
    let one = recording(directory.path(), "");
    let config = directory.path().join("bad.json");
    fs::write(&config, r#"{"clusters":[]}"#).unwrap();
    let ran = tidegate(
        &[
            "replay",
            "-p",
            "sticky-session",
            "-c",
            &config.display().to_string(),
            &one,
        ],
        ExitCode::ConfigRejected,
    );
    assert!(ran.stderr.contains("problem"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("refused its configuration"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_trap_is_told_with_its_callback_and_text() {
    let directory = tempfile::tempdir().unwrap();
    let one = recording(directory.path(), r#",["x-trap","1"]"#);
    let ran = tidegate(
        &[
            "replay",
            "-p",
            "host-tests/guests/hostile/traps_on_request.wat",
            &one,
        ],
        ExitCode::GuestTrapped,
    );
    assert!(
        ran.stderr
            .contains("traps_on_request trapped in proxy_on_request_headers on worker 0"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("unreachable"), "{}", ran.stderr);
    assert!(ran.stdout.contains("status 503"), "{}", ran.stdout);
}

#[test]
fn wrong_usage_is_told_before_anything_runs() {
    tidegate(&["replay", "-p", "sticky-session"], ExitCode::Usage);
    tidegate(&["replay", "-p", "no-such-plugin", TAP], ExitCode::Usage);
    tidegate(
        &[
            "replay",
            "-p",
            "sticky-session",
            "-c",
            "no-such-file.json",
            TAP,
        ],
        ExitCode::Usage,
    );
    tidegate(
        &[
            "replay",
            "-p",
            "sticky-session",
            "-c",
            CONFIG,
            "no-such-recording",
        ],
        ExitCode::Usage,
    );
    tidegate(&replay(&["--session", "ip"]), ExitCode::Usage);
    tidegate(&replay(&["--bless"]), ExitCode::Usage);
    let two = [
        "replay",
        "-p",
        "sticky-session",
        "-p",
        "sticky-session",
        "-c",
        CONFIG,
        TAP,
    ];
    let ran = tidegate(&two, ExitCode::Usage);
    assert!(
        ran.stderr.contains("1 configurations for 2 plugins"),
        "{}",
        ran.stderr
    );
}

#[test]
fn record_converts_and_says_what_it_found() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory
        .path()
        .join("shop.tidegate.jsonl")
        .display()
        .to_string();
    let ran = tidegate(
        &[
            "record",
            TAP,
            LOG,
            "-o",
            &output,
            "--session",
            "source-ip",
            "--json",
        ],
        ExitCode::Passed,
    );
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["recording"]["streams"], 550);
    assert_eq!(document["recording"]["websockets"], 18);
    assert_eq!(document["recording"]["sessions"], 21, "client addresses");
    // A converted recording is decided about as the tap is.
    let of = |input: &[&str]| {
        let arguments = [
            &[
                "replay",
                "-p",
                "sticky-session",
                "-c",
                CONFIG,
                CLIENTS,
                "--json",
                "--summary",
            ],
            input,
        ]
        .concat();
        tidegate(&arguments, ExitCode::Passed).stdout
    };
    assert_eq!(of(&[&output]), of(&[TAP, LOG]));
}

#[test]
fn the_demo_fits_a_screen_and_its_figures_hold() {
    let ran = tidegate(&["demo"], ExitCode::Passed);
    assert!(ran.stdout.lines().count() <= 40, "{}", ran.stdout);
    assert!(
        ran.stdout.lines().all(|line| line.chars().count() <= 120),
        "{}",
        ran.stdout
    );
    assert!(
        !ran.stdout.contains('\u{1b}'),
        "no colours outside of a terminal"
    );
    assert!(ran.stdout.contains("cargo tidegate test"));
    let ran = tidegate(&["demo", "--json", "--workers", "3"], ExitCode::Passed);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(integers_only(&document));
    let totals = &document["totals"];
    assert!(totals["sessions"].as_u64() >= Some(20) && totals["websockets"].as_u64() >= Some(10));
    assert_eq!(totals["pinned"], totals["sessions"]);
    assert_eq!(totals["moved"], 0);
    assert!(totals["moved_in_recording"].as_u64() > Some(100));
    assert_eq!(
        document["against_envoy"]["same"],
        document["against_envoy"]["decisions"]
    );
    assert!(document["foreign_cookies"]["unauthentic"].as_u64() > Some(100));
}

/// A filter that copies the request's path to the response, if it can still read it, and asks others on the way.
const CURIOUS: &str = r#"(module
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_call" (func $grpc (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) ":path") (data (i32.const 80) "x-path") (data (i32.const 96) "\0a\06\0a\04echo")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $grpc (i32.const 96) (i32.const 8) (i32.const 84) (i32.const 2) (i32.const 65) (i32.const 4)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32)))
    (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (if (i32.eqz (call $get (i32.const 0) (i32.const 64) (i32.const 5) (i32.const 16) (i32.const 20)))
      (then (drop (call $add (i32.const 2) (i32.const 80) (i32.const 6)
        (i32.load (i32.const 16)) (i32.load (i32.const 20))))))
    (i32.const 0)))"#;

#[test]
fn profile_and_capabilities_decide_what_a_plugin_can_do() {
    let directory = tempfile::tempdir().unwrap();
    let one = recording(directory.path(), "");
    let module = directory.path().join("curious.wat");
    fs::write(&module, CURIOUS).unwrap();
    let module = module.display().to_string();
    let shown = |more: &[&str]| {
        let arguments = [&["replay", "-p", &module, &one], more].concat();
        tidegate(&arguments, ExitCode::Passed).stdout
    };
    let copied = "response + x-path: /x";
    assert!(!shown(&[]).contains(copied));
    assert!(!shown(&["--profile", "envoy"]).contains(copied));
    assert!(shown(&["--profile", "spec"]).contains(copied));
    let allowed = [
        "--profile",
        "spec",
        "--allow-capability",
        "proxy_on_response_headers",
    ];
    let reading = ["--allow-capability", "proxy_get_header_map_value"];
    let writing = ["--allow-capability", "proxy_add_header_map_value"];
    assert!(!shown(&[allowed.as_slice(), &reading].concat()).contains(copied));
    assert!(shown(&[allowed.as_slice(), &reading, &writing].concat()).contains(copied));
}

#[test]
fn grpc_calls_of_plugins_are_shown_and_refused() {
    let directory = tempfile::tempdir().unwrap();
    let one = recording(directory.path(), "").replace("one.", "with-cluster.");
    let lines = fs::read_to_string(directory.path().join("one.tidegate.jsonl")).unwrap();
    let named = lines.replacen(
        r#""producer":"test""#,
        r#""producer":"test","clusters":[{"name":"echo","endpoints":["10.0.0.1:80"]}]"#,
        1,
    );
    fs::write(&one, named).unwrap();
    let module = directory.path().join("curious.wat");
    fs::write(&module, CURIOUS).unwrap();
    let module = module.display().to_string();
    let ran = tidegate(&["replay", "-p", &module, &one], ExitCode::Passed);
    assert!(ran.stdout.contains("gRPC /th/path"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("1  calls of plugins, refused"),
        "{}",
        ran.stdout
    );
}
