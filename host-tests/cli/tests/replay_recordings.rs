//! The committed recordings, replayed through the real plugin: every decision is as it was when it was last blessed.
//!
//! `BLESS=1` writes `NAME.expect.json` again.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

use std::fs;
use std::path::PathBuf;

use tidegate_cli::build::module_path;
use tidegate_cli::engine::engine;
use tidegate_cli::recording::{EventKind, ReadOptions, RecordingReader};
use tidegate_cli::replay::{self, Decision, Exchange, Expectation, Options, Plugin, Totals};
use tidegate_cli::workspace;
use tidegate_host::{Module, PluginConfig};

/// A recording, and whether the plugin was there when it was made.
#[derive(Clone, Copy)]
struct Recording {
    name: &'static str,
    behind_plugins: bool,
}

const ROUND_ROBIN: Recording = Recording {
    name: "round-robin",
    behind_plugins: false,
};
const STICKY: Recording = Recording {
    name: "sticky-session",
    behind_plugins: true,
};
/// How the recorded shop tells its clients apart; before they sign in, and for programs without cookies, address and program.
const CLIENTS: &str = "cookie:shop-session,source-ip+header:user-agent";

fn path(name: &str) -> PathBuf {
    workspace::root().join("host-tests/recordings").join(name)
}

fn reader(recording: Recording) -> RecordingReader {
    let folder = path(recording.name);
    let options = ReadOptions {
        access_logs: vec![folder.join("access-log.jsonl")],
        ..ReadOptions::default()
    };
    RecordingReader::open(&[folder.join("tap-streamed.json")], &options).unwrap()
}

fn sticky_session(change: impl Fn(&mut serde_json::Value)) -> Plugin {
    let bytes = fs::read(module_path("sticky-session").unwrap()).unwrap();
    let module = Module::compile(&engine().unwrap(), "sticky-session", &bytes).unwrap();
    let text = fs::read_to_string(path("sticky-session/trial-config.json")).unwrap();
    let mut configuration = serde_json::from_str(&text).unwrap();
    change(&mut configuration);
    let config = PluginConfig {
        name: "sticky-session".to_owned(),
        configuration: configuration.to_string().into_bytes(),
        ..PluginConfig::default()
    };
    Plugin { module, config }
}

fn run(recording: Recording, plugin: Plugin, workers: u32, seed: u64) -> (Vec<Exchange>, Totals) {
    let options = Options {
        plugins: vec![plugin],
        workers,
        seed,
        session: CLIENTS.parse().unwrap(),
        behind_plugins: recording.behind_plugins,
        ..Options::default()
    };
    let mut exchanges = Vec::new();
    let totals = replay::run(
        &engine().unwrap(),
        options,
        &mut reader(recording),
        &mut |exchange| {
            exchanges.push(exchange.clone());
            Ok(())
        },
    )
    .unwrap();
    (exchanges, totals)
}

fn decided(recording: Recording, plugin: Plugin, workers: u32, seed: u64) -> Expectation {
    let (exchanges, totals) = run(recording, plugin, workers, seed);
    let decisions = exchanges.iter().map(Decision::of).collect();
    Expectation::new(vec!["sticky-session".to_owned()], decisions, &totals)
}

fn differences(expected: &Expectation, actual: &Expectation) -> String {
    expected
        .compare(actual)
        .map_or_else(String::new, |divergence| {
            let lines: Vec<String> = divergence
                .lines
                .iter()
                .map(|(mark, line)| format!("{mark} {line}"))
                .collect();
            lines.join("\n")
        })
}

#[test]
fn decisions_about_the_committed_recordings_are_the_expected_ones() {
    for recording in [ROUND_ROBIN, STICKY] {
        let actual = decided(recording, sticky_session(|_| {}), 2, 1);
        let file = path(&format!("{}.expect.json", recording.name));
        if std::env::var_os("BLESS").is_some() {
            actual.write(&file).unwrap();
        }
        let expected = Expectation::read(&file).unwrap();
        let differences = differences(&expected, &actual);
        assert!(
            differences.is_empty(),
            "{}: run with BLESS=1 if this is intended\n{differences}",
            recording.name
        );
    }
}

#[test]
fn another_configuration_or_plugin_does_not_pass_for_the_expected_one() {
    let expected = Expectation::read(&path("round-robin.expect.json")).unwrap();
    let actual = decided(
        ROUND_ROBIN,
        sticky_session(|config| config["clusters"][0]["name"] = "other".into()),
        2,
        1,
    );
    let divergence = expected.compare(&actual).unwrap();
    assert_eq!(divergence.exchanges, expected.exchanges.len());
    assert!(differences(&expected, &actual).contains("+ request: unlisted_cluster"));
    // The smallest change: one attribute of the cookie.
    let actual = decided(
        ROUND_ROBIN,
        sticky_session(|config| config["clusters"][0]["cookie"]["same_site"] = "strict".into()),
        2,
        1,
    );
    assert_eq!(
        expected.compare(&actual).unwrap().exchanges,
        25,
        "the answers that carry a cookie"
    );
}

#[test]
fn sessions_keep_their_endpoint_whatever_the_workers_and_the_seed() {
    let expected = decided(ROUND_ROBIN, sticky_session(|_| {}), 1, 1);
    for (workers, seed) in [(2, 1), (5, 1), (2, 99)] {
        let actual = decided(ROUND_ROBIN, sticky_session(|_| {}), workers, seed);
        assert_eq!(
            differences(&expected, &actual),
            "",
            "{workers} workers, seed {seed}"
        );
    }
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    let bytes = || {
        let (exchanges, totals) = run(ROUND_ROBIN, sticky_session(|_| {}), 2, 7);
        serde_json::to_string(&(exchanges, totals)).unwrap()
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn the_replay_decides_what_the_recorded_envoy_decided() {
    let mut said = std::collections::BTreeMap::new();
    let mut events = reader(STICKY);
    while let Some(event) = events.next().unwrap() {
        if let EventKind::ResponseHeaders(headers) = event.kind
            && let Some(reason) = headers.value("x-tidegate-reason")
        {
            said.insert(event.stream, String::from_utf8(reason.to_vec()).unwrap());
        }
    }
    assert!(said.len() >= 150, "{}", said.len());
    let (exchanges, _) = run(STICKY, sticky_session(|_| {}), 2, 1);
    for exchange in exchanges {
        let label = |side: &replay::Side| {
            side.reasons
                .iter()
                .map(replay::Reason::label)
                .collect::<Vec<_>>()
                .join(",")
        };
        if let Some(said) = said.remove(&exchange.stream) {
            let decided = format!(
                "sticky-session;request={};response={}",
                label(&exchange.request),
                label(&exchange.response)
            );
            assert_eq!(decided, said, "stream {}", exchange.stream);
        }
    }
    assert!(said.is_empty(), "not replayed: {said:?}");
}

#[test]
fn no_cookie_value_stands_in_what_is_printed_or_kept() {
    let mut values = Vec::new();
    let mut events = reader(STICKY);
    while let Some(event) = events.next().unwrap() {
        if let EventKind::RequestHeaders(headers) = event.kind {
            let cookies = headers
                .value("cookie")
                .map(|value| String::from_utf8_lossy(value).into_owned());
            let value = cookies
                .as_deref()
                .and_then(|cookies| cookies.split("tidegate-echo=").nth(1))
                .map(str::to_owned);
            values.extend(value.and_then(|value| value.split(';').next().map(str::to_owned)));
        }
    }
    assert!(values.len() > 100);
    let (exchanges, totals) = run(STICKY, sticky_session(|_| {}), 2, 1);
    let mut text = serde_json::to_string(&(&exchanges, &totals)).unwrap();
    for exchange in &exchanges {
        text.push_str(&Decision::of(exchange).text());
    }
    assert!(!values.iter().any(|value| text.contains(value)));
    assert!(
        text.contains("tidegate-echo=<"),
        "cookies that are issued are shown by their size"
    );
}
