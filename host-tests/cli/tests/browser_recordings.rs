//! What a real Chromium saved of a session, read and replayed.
//!
//! Envoy's log of the same session says what really happened: nothing else may come out of the HARs. `BLESS=1` writes
//! `browser.expect.json` again.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that can't go on should say where"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tidegate_cli::build::module_path;
use tidegate_cli::engine::engine;
use tidegate_cli::recording::{
    CloseReason, Cluster, ClusterRule, EventKind, ReadOptions, RecordingReader,
};
use tidegate_cli::replay::{self, Decision, Exchange, Expectation, Options, Plugin, Totals};
use tidegate_cli::workspace;
use tidegate_host::{Module, PluginConfig};

/// What the developer tools ask for themselves, and list nowhere.
const ASKED_BY_THE_TOOLS: &str = "/.well-known/appspecific/com.chrome.devtools.json";

/// The cookie by which the recorded Envoy knew its sessions.
const COOKIE: &str = "tidegate-echo";

fn recordings() -> PathBuf {
    workspace::root().join("host-tests/recordings")
}

fn hars() -> Vec<PathBuf> {
    ["ada-1", "ada-2", "ben", "eve"]
        .map(|name| recordings().join(format!("browser/{name}.har")))
        .into()
}

fn logged() -> Vec<Value> {
    let log = fs::read_to_string(recordings().join("browser/access-log.jsonl")).unwrap();
    let entries = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries
        .filter(|entry| entry["path"] != ASKED_BY_THE_TOOLS)
        .collect()
}

/// A browser sees no endpoint and no cluster: they are told.
fn told() -> ReadOptions {
    let endpoints: BTreeSet<String> = logged()
        .iter()
        .filter_map(|entry| entry["upstream_host"].as_str().map(str::to_owned))
        .collect();
    ReadOptions {
        clusters: vec![ClusterRule {
            prefix: String::new(),
            name: "echo".to_owned(),
        }],
        endpoints: vec![Cluster {
            name: "echo".to_owned(),
            endpoints: endpoints.into_iter().collect(),
        }],
        ..ReadOptions::default()
    }
}

fn reader() -> RecordingReader {
    RecordingReader::open(&hars(), &told()).unwrap()
}

/// Method, path, status (0 without an answer) and how often.
type Exchanges = BTreeMap<(String, String, u64), i32>;

#[test]
fn the_browsers_hars_hold_the_exchanges_that_envoy_logged_and_no_others() {
    let mut difference = Exchanges::new();
    for entry in logged() {
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        let status = entry["response_code"].as_u64().unwrap();
        *difference
            .entry((text("method"), text("path"), status))
            .or_default() += 1;
    }
    let mut reader = reader();
    let mut open: BTreeMap<u64, (String, String, u64)> = BTreeMap::new();
    let mut aborted = 0;
    while let Some(event) = reader.next().unwrap() {
        match &event.kind {
            EventKind::RequestHeaders(headers) => {
                let text =
                    |name: &str| String::from_utf8(headers.value(name).unwrap().to_vec()).unwrap();
                open.insert(event.stream, (text(":method"), text(":path"), 0));
            }
            EventKind::ResponseHeaders(headers) => {
                let status = std::str::from_utf8(headers.value(":status").unwrap()).unwrap();
                open.get_mut(&event.stream).unwrap().2 = status.parse().unwrap();
            }
            EventKind::Close(close) => {
                let exchange = open.remove(&event.stream).unwrap();
                let was_aborted = close.reason == CloseReason::ClientReset;
                assert_eq!(was_aborted, exchange.2 == 0, "{exchange:?}");
                aborted += u32::from(was_aborted);
                *difference.entry(exchange).or_default() -= 1;
            }
            _ => {}
        }
    }
    difference.retain(|_, count| *count != 0);
    assert_eq!(difference, Exchanges::new(), "more in the log, or less");
    assert_eq!(aborted, 2, "two users left an answer alone");
    let skipped = reader.statistics().skipped;
    let cached = "entries that the browser's cache answered";
    assert_eq!(skipped, BTreeMap::from([(cached, 10)]));
}

/// Whose message, opcode and payload.
type Messages = Vec<(bool, u8, Vec<u8>)>;

#[test]
fn the_messages_of_the_browsers_websockets_are_the_frames_that_a_filter_sees() {
    for har in hars() {
        let text: Value = serde_json::from_slice(&fs::read(&har).unwrap()).unwrap();
        let mut expected = Messages::new();
        for entry in text["log"]["entries"].as_array().unwrap() {
            for message in entry["_webSocketMessages"].as_array().into_iter().flatten() {
                let data = message["data"].as_str().unwrap();
                let opcode = u8::try_from(message["opcode"].as_u64().unwrap()).unwrap();
                let payload = match opcode {
                    1 => data.as_bytes().to_vec(),
                    _ => BASE64_STANDARD.decode(data).unwrap(),
                };
                expected.push((message["type"] == "send", opcode, payload));
            }
        }
        let mut reader = RecordingReader::open(&[&har], &ReadOptions::default()).unwrap();
        let mut websockets = BTreeSet::new();
        let mut frames = Messages::new();
        while let Some(event) = reader.next().unwrap() {
            match &event.kind {
                EventKind::ResponseHeaders(headers) if headers.value(":status") == Some(b"101") => {
                    websockets.insert(event.stream);
                }
                EventKind::RequestBody(body) if websockets.contains(&event.stream) => {
                    frames.push(frame(true, &body.bytes));
                }
                EventKind::ResponseBody(body) if websockets.contains(&event.stream) => {
                    frames.push(frame(false, &body.bytes));
                }
                _ => {}
            }
        }
        assert_eq!(expected.len(), 10, "{}", har.display());
        assert!(frames == expected, "{}", har.display());
    }
}

/// Takes a frame apart that is all of a message.
fn frame(sent: bool, bytes: &[u8]) -> (bool, u8, Vec<u8>) {
    assert_eq!(
        bytes[0] & 0xf0,
        0x80,
        "the last of its message, without extensions"
    );
    assert_eq!(bytes[1] & 0x80 != 0, sent, "what a client sends is masked");
    let (length, at) = match bytes[1] & 0x7f {
        126 => (
            u64::from(u16::from_be_bytes(bytes[2..4].try_into().unwrap())),
            4,
        ),
        127 => (u64::from_be_bytes(bytes[2..10].try_into().unwrap()), 10),
        short => (u64::from(short), 2),
    };
    let mut payload = bytes[at..].to_vec();
    if sent {
        let masked = payload.split_off(4);
        payload = masked
            .iter()
            .zip(payload.iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect();
    }
    assert_eq!(payload.len() as u64, length);
    (sent, bytes[0] & 0x0f, payload)
}

fn replayed(change: impl Fn(&mut Value)) -> (Vec<Exchange>, Totals) {
    let bytes = fs::read(module_path("sticky-session").unwrap()).unwrap();
    let module = Module::compile(&engine().unwrap(), "sticky-session", &bytes).unwrap();
    let text = fs::read_to_string(recordings().join("sticky-session/trial-config.json")).unwrap();
    let mut configuration = serde_json::from_str(&text).unwrap();
    change(&mut configuration);
    let config = PluginConfig {
        name: "sticky-session".to_owned(),
        configuration: configuration.to_string().into_bytes(),
        ..PluginConfig::default()
    };
    let options = Options {
        plugins: vec![Plugin { module, config }],
        workers: 2,
        seed: 1,
        session: format!("cookie:{COOKIE}").parse().unwrap(),
        behind_plugins: true,
        ..Options::default()
    };
    let mut exchanges = Vec::new();
    let totals = replay::run(
        &engine().unwrap(),
        options,
        &mut reader(),
        &mut |exchange| {
            exchanges.push(exchange.clone());
            Ok(())
        },
    );
    (exchanges, totals.unwrap())
}

#[test]
fn the_sessions_of_the_browsers_are_pinned_as_the_real_envoy_pinned_them() {
    // What Envoy's log says of each session: whom the plugin asked for.
    let mut asked_of_envoy: Vec<String> = logged()
        .iter()
        .filter_map(|entry| entry["endpoint"].as_str().map(str::to_owned))
        .collect();
    let (exchanges, totals) = replayed(|_| {});
    let mut asked: Vec<String> = exchanges
        .iter()
        .filter_map(|exchange| exchange.asked.clone())
        .collect();
    asked.sort();
    asked_of_envoy.sort();
    assert_eq!(asked, asked_of_envoy);

    let mut endpoints: BTreeMap<u64, BTreeSet<&String>> = BTreeMap::new();
    for exchange in &exchanges {
        let endpoints = endpoints.entry(exchange.session).or_default();
        endpoints.extend(&exchange.asked);
    }
    assert_eq!(endpoints.len(), 3, "three browsers: {endpoints:?}");
    assert!(
        endpoints.values().all(|asked| asked.len() == 1),
        "{endpoints:?}"
    );
    assert_eq!((totals.sessions, totals.websockets), (3, 4));
    let pinned = exchanges.iter().filter(|exchange| {
        exchange
            .request
            .reasons
            .iter()
            .any(|reason| reason.label() == "pinned")
    });
    assert_eq!(
        pinned.count(),
        exchanges.len() - 3,
        "all but the first of each"
    );
    let websockets = exchanges.iter().filter(|exchange| exchange.websocket);
    assert!(websockets.clone().count() == 4 && websockets.clone().all(|one| one.asked.is_some()));
}

#[test]
fn decisions_about_the_browsers_recordings_are_the_expected_ones() {
    let file = recordings().join("browser.expect.json");
    let decided = |change: fn(&mut Value)| {
        let (exchanges, totals) = replayed(change);
        let decisions = exchanges.iter().map(Decision::of).collect();
        Expectation::new(vec!["sticky-session".to_owned()], decisions, &totals)
    };
    let actual = decided(|_| {});
    if std::env::var_os("BLESS").is_some() {
        actual.write(&file).unwrap();
    }
    let expected = Expectation::read(&file).unwrap();
    let divergence = expected.compare(&actual).map(|divergence| divergence.lines);
    assert_eq!(divergence, None, "run with BLESS=1 if this is intended");
    // Without the keys with which the recorded cookies were made, nobody is known.
    let other = decided(|config| {
        config["keys"]["inline"] = "1:YW5vdGhlciBvcGVyYXRvcidzIHNlY3JldCAzMiBCISE=".into();
    });
    let divergence = expected.compare(&other).unwrap();
    assert_eq!(divergence.exchanges, expected.exchanges.len() - 3);
}
