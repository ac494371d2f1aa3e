//! `tidegate replay scenario.yaml` as scripts see it, and the requests of recordings in scenarios.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tidegate_cli::ExitCode;
use tidegate_cli::engine::engine;
use tidegate_cli::output::Output;
use tidegate_cli::scenario::{LoadedScenario, ScenarioTraffic};
use tidegate_cli::workspace::root;
use tidegate_model::report::figures;
use tidegate_model::traffic::Arrival;

const SCENARIO: &str = "
what: Ten requests to two endpoints, one of which fails.
seeds: [1, 2]
duration: 10s
traffic:
  - requests: { list: [{ at: 1s, times: 10 }] }
clusters:
  - name: shop
    endpoints:
      - { address: 10.0.0.1:80, latency: { constant: 5ms } }
      - { address: 10.0.0.2:80, errors: [{ ratio: 1 }] }
baselines:
  - name: retried
    retry: { on: [5xx] }
";

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
    assert_eq!(
        output.status.code(),
        Some(i32::from(code.number())),
        "{}\n{}",
        ran.stdout,
        ran.stderr
    );
    ran
}

fn file(directory: &TempDir, name: &str, text: &str) -> String {
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn expecting(expect: &[&str]) -> String {
    let mut text = SCENARIO.to_owned();
    text.push_str("expect:\n");
    for line in expect {
        text.push_str("  - ");
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[test]
fn expectations_that_hold_end_well_and_missed_ones_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let sound = file(
        &directory,
        "sound.yaml",
        &expecting(&[
            "requests == 10",
            "errors == 5",
            "errors == 5 during 1s..2s",
            "baseline.retried.errors < errors",
        ]),
    );
    let ran = tidegate(&["replay", &sound], ExitCode::Passed);
    assert!(ran.stdout.contains("retried"), "{}", ran.stdout);

    let missed = file(
        &directory,
        "missed.yaml",
        &expecting(&[
            "requests == 10",
            "errors <= 1 during 1s..3s",
            "latency_ms.p50 <= 1 during 5s..6s",
        ]),
    );
    let junit = directory.path().join("junit.xml").display().to_string();
    let ran = tidegate(
        &["replay", &missed, "--junit", &junit],
        ExitCode::CaseFailed,
    );
    for said in [
        "missed: missed: `errors <= 1 during 1s..3s` with seed 1: the figure is 5 and the bound 1 during 1s..3s",
        "with seed 2: there is no such figure during 5s..6s",
    ] {
        assert!(ran.stderr.contains(said), "{said}\n{}", ran.stderr);
    }
    let junit = fs::read_to_string(junit).unwrap();
    assert!(
        junit.contains(r#"<testsuite name="missed" tests="6" failures="4" errors="0">"#),
        "{junit}"
    );
    assert!(
        junit.contains(r#"name="errors &lt;= 1 during 1s..3s (seed 2)"><failure message="the figure is 5 and the bound 1 during 1s..3s"/>"#),
        "{junit}"
    );
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_a_row_for_each_request() {
    let directory = tempfile::tempdir().unwrap();
    let scenario = file(&directory, "twice.yaml", SCENARIO);
    let requests = directory
        .path()
        .join("requests.jsonl")
        .display()
        .to_string();
    let run = || {
        let ran = tidegate(
            &[
                "replay",
                &scenario,
                "--json",
                "--seed",
                "7",
                "--requests",
                &requests,
            ],
            ExitCode::Passed,
        );
        (ran.stdout, fs::read_to_string(&requests).unwrap())
    };
    let (report, rows) = run();
    assert_eq!((report.clone(), rows.clone()), run());
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report.pointer("/scenarios/0/runs/0/seed"), Some(&7.into()));
    assert_eq!(report.pointer("/scenarios/0/runs/1"), None);
    let rows: Vec<Value> = rows
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 20, "ten, and ten of the baseline");
    let failed = |row: &&Value| row["request"]["status"] == 503;
    assert_eq!(
        rows.iter().filter(failed).count(),
        5,
        "none of the baseline"
    );
    assert_eq!(rows[19]["baseline"], "retried");
}

#[test]
fn a_trap_ends_with_its_code_unless_it_is_expected() {
    let directory = tempfile::tempdir().unwrap();
    let module = r#"(module
        (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 1024)
        (func (export "proxy_on_context_create") (param i32 i32))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable))"#;
    file(&directory, "traps.wat", module);
    let with_filter =
        |expect: &[&str]| expecting(expect) + "filters:\n  - plugin: { module: ./traps.wat }\n";
    let sudden = file(&directory, "sudden.yaml", &with_filter(&["requests == 10"]));
    let ran = tidegate(&["replay", &sudden], ExitCode::GuestTrapped);
    assert!(
        ran.stderr
            .contains("traps trapped in proxy_on_request_headers"),
        "{}",
        ran.stderr
    );
    let expected = file(
        &directory,
        "expected.yaml",
        &with_filter(&["traps >= 1", "error_ratio == 1"]),
    );
    tidegate(&["replay", &expected], ExitCode::Passed);
}

#[test]
fn what_belongs_to_recordings_and_what_to_scenarios_is_kept_apart() {
    let directory = tempfile::tempdir().unwrap();
    let scenario = file(&directory, "one.yaml", SCENARIO);
    let tap = "host-tests/recordings/round-robin/tap-streamed.json";
    for (arguments, said) in [
        (vec!["replay", &scenario, tap], "replay them apart"),
        (
            vec!["replay", &scenario, "--plugin", "no-op"],
            "`--plugin` is for recordings",
        ),
        (
            vec!["replay", &scenario, "--workers", "4"],
            "`--workers` is for recordings",
        ),
        (
            vec!["replay", tap, "--plugin", "no-op", "--junit", "x"],
            "`--junit` is for scenarios",
        ),
        (vec!["replay", tap], "name one with `--plugin`"),
        (vec!["replay", "no-such-file.yaml"], "can't be read"),
    ] {
        let ran = tidegate(&arguments, ExitCode::Usage);
        assert!(ran.stderr.contains(said), "{said}\n{}", ran.stderr);
    }
}

#[test]
fn every_scenario_of_the_checkout_is_sound() {
    let folder = root().join("host-tests/scenarios");
    let mut files = Vec::new();
    find(&folder, &mut files);
    assert!(!files.is_empty());
    for path in files {
        if let Err(error) = tidegate_cli::scenario::read(&path) {
            panic!("{error}");
        }
    }
}

/// The proofs' own scenarios expect nothing: `prove model` looks at their figures.
#[test]
fn what_the_scenarios_of_the_checkout_expect_comes_out() {
    for folder in [
        "host-tests/scenarios",
        "host-tests/scenarios/bench",
        "host-tests/scenarios/envoy",
    ] {
        let files = fs::read_dir(root().join(folder)).unwrap();
        let mut scenarios: Vec<String> = files
            .map(|file| file.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name != "differences.yaml")
            })
            .map(|path| path.display().to_string())
            .collect();
        scenarios.sort();
        assert!(!scenarios.is_empty(), "{folder}");
        let mut arguments = vec!["--json", "replay"];
        arguments.extend(scenarios.iter().map(String::as_str));
        tidegate(&arguments, ExitCode::Passed);
    }
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_table = path
            .file_name()
            .is_some_and(|name| name == "differences.yaml");
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "yaml") && !is_table {
            files.push(path);
        }
    }
}

#[test]
fn the_page_names_every_field_and_every_figure() {
    let page = fs::read_to_string(root().join("host-tests/scenarios/README.md")).unwrap();
    let mut missing = Vec::new();
    for figure in figures() {
        let row = format!("| `{}` | {} | {} |", figure.form, figure.unit, figure.what);
        if !page.contains(&row) {
            missing.push(row);
        }
    }
    for file in ["chain", "cluster", "endpoint", "route", "traffic"] {
        let source = root().join(format!("host-tests/model/src/scenario/{file}.rs"));
        for line in fs::read_to_string(source).unwrap().lines() {
            let field = line
                .trim()
                .strip_prefix("pub ")
                .and_then(|rest| rest.split_once(": "))
                .map(|(name, _)| name)
                .filter(|name| !name.starts_with("fn "));
            if let Some(field) = field
                && !page.contains(&format!("`{field}`"))
            {
                missing.push(format!("the field `{field}`"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Two clients: one with two requests, the second with a body, and one with a WebSocket.
const RECORDING: &str = r#"{"format":{"name":"tidegate-recording","major":1,"minor":0},"source":"test","producer":"test"}
{"t":1000000000,"stream":1,"open":{"connection":1,"source":"192.0.2.1:5000"}}
{"t":1000000000,"stream":1,"request_headers":{"headers":[[":method","GET"],[":path","/1"],[":scheme","http"],[":authority","a"]],"end_stream":true}}
{"t":1010000000,"stream":1,"upstream":{"address":"10.9.0.1:80"}}
{"t":1040000000,"stream":1,"response_headers":{"headers":[[":status","200"]],"end_stream":true}}
{"t":1040000000,"stream":1,"close":{}}
{"t":2000000000,"stream":2,"open":{"connection":2,"source":"192.0.2.2:5000"}}
{"t":2000000000,"stream":2,"request_headers":{"headers":[[":method","GET"],[":path","/ws"],[":scheme","http"],[":authority","a"],["upgrade","websocket"]],"end_stream":false}}
{"t":2100000000,"stream":2,"response_headers":{"headers":[[":status","101"]],"end_stream":false}}
{"t":2300000000,"stream":2,"request_body":{"text":"frame"}}
{"t":3000000000,"stream":3,"open":{"connection":1,"source":"192.0.2.1:5000"}}
{"t":3000000000,"stream":3,"request_headers":{"headers":[[":method","POST"],[":path","/2"],[":scheme","http"],[":authority","a"]],"end_stream":false}}
{"t":3200000000,"stream":3,"request_body":{"text":"body","end_stream":true}}
{"t":3500000000,"stream":3,"close":{"reason":"client_reset"}}
{"t":5000000000,"stream":2,"close":{}}
"#;

fn recorded(source: &str) -> Vec<Arrival> {
    let directory = tempfile::tempdir().unwrap();
    file(&directory, "a.jsonl", RECORDING);
    let text = format!(
        "what: a test\nduration: 20s\ntraffic:\n  - recording: {{ file: ./a.jsonl{source} }}\nclusters: [{{ name: c }}]\n"
    );
    let path = file(&directory, "a.yaml", &text);
    let engine = engine().unwrap();
    let loaded = LoadedScenario::load(&engine, Path::new(&path), &Output::silent()).unwrap();
    let mut traffic = ScenarioTraffic::new(&loaded, 1).unwrap();
    let mut arrivals = Vec::new();
    while let Some(arrival) = traffic.next().unwrap() {
        arrivals.push(arrival);
    }
    arrivals
}

/// Time in milliseconds, client, path.
fn outline(arrivals: &[Arrival]) -> Vec<(u64, u64, String)> {
    let path = |arrival: &Arrival| {
        let headers = &arrival.request.headers;
        let (_, path) = headers.iter().find(|(name, _)| name == b":path").unwrap();
        String::from_utf8(path.clone()).unwrap()
    };
    arrivals
        .iter()
        .map(|arrival| (arrival.at_ns / 1_000_000, arrival.client, path(arrival)))
        .collect()
}

fn expected(rows: &[(u64, u64, &str)]) -> Vec<(u64, u64, String)> {
    rows.iter()
        .map(|(at, client, path)| (*at, *client, (*path).to_owned()))
        .collect()
}

#[test]
fn a_recording_is_played_with_its_times_bodies_frames_and_latencies() {
    let arrivals = recorded("");
    assert_eq!(
        outline(&arrivals),
        expected(&[(0, 0, "/1"), (1000, 1, "/ws"), (2000, 0, "/2")])
    );
    let latencies: Vec<Option<u64>> = arrivals.iter().map(|it| it.recorded_latency_ns).collect();
    assert_eq!(latencies, [Some(30_000_000), Some(100_000_000), None]);
    assert_eq!(arrivals[0].address, "192.0.2.1:5000");
    // The client went away without a Close.
    assert_eq!(
        arrivals[1].request.frames,
        Some(vec![
            (200_000_000, b"frame".to_vec()),
            (2_900_000_000, Vec::new())
        ])
    );
    assert_eq!(arrivals[2].request.body, [(200_000_000, b"body".to_vec())]);
    assert_eq!(arrivals[2].number, 2);
}

#[test]
fn speed_shortens_the_times_and_repetitions_are_new_clients() {
    let arrivals = recorded(", from: 1s, speed: 2, repeat: 2");
    assert_eq!(
        outline(&arrivals),
        expected(&[
            (1000, 0, "/1"),
            (1500, 1, "/ws"),
            (2000, 0, "/2"),
            (3000, 2, "/1"),
            (3500, 3, "/ws"),
            (4000, 2, "/2"),
        ])
    );
    assert_eq!(arrivals[2].request.body, [(100_000_000, b"body".to_vec())]);
    assert_eq!(arrivals[0].recorded_latency_ns, Some(30_000_000));
}

#[test]
fn copies_are_spread_over_the_time_to_the_next_request_of_their_client() {
    let arrivals = recorded(", copies: 2");
    assert_eq!(
        outline(&arrivals),
        expected(&[
            (0, 0, "/1"),
            // Half of the two seconds to the client's next request.
            (1000, 2, "/1"),
            (1000, 1, "/ws"),
            (2000, 0, "/2"),
            // The last ones: half of the time to the recording's end.
            (2500, 3, "/ws"),
            (3000, 2, "/2"),
        ])
    );
    assert_ne!(arrivals[2].address, arrivals[0].address);
}
