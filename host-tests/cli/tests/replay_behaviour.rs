//! What a replay does with filters of every kind, and with recordings at the edge.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

use std::io::Cursor;

use tidegate_cli::build::module_path;
use tidegate_cli::engine::engine;
use tidegate_cli::recording::{ReadOptions, RecordingReader, SessionKey};
use tidegate_cli::replay::{
    self, Change, Decision, Exchange, Options, Plugin, ReplayError, Totals,
};
use tidegate_host::{CallAnswer, FailurePolicy, HeaderMap, Module, PluginConfig};

const HEADER: &str = r#"{"format":{"name":"tidegate-recording","major":1,"minor":0},"source":"test","producer":"test","clusters":[{"name":"echo","endpoints":["10.0.0.1:80","10.0.0.2:80"]}]}"#;

fn guest(name: &str, configuration: &str) -> Plugin {
    let bytes = std::fs::read(module_path(name).unwrap()).unwrap();
    plugin(name, &bytes, configuration)
}

fn plugin(name: &str, bytes: &[u8], configuration: &str) -> Plugin {
    let module = Module::compile(&engine().unwrap(), name, bytes).unwrap();
    let config = PluginConfig {
        name: name.to_owned(),
        configuration: configuration.as_bytes().to_vec(),
        ..PluginConfig::default()
    };
    Plugin { module, config }
}

fn hostile(name: &str) -> Plugin {
    let path =
        tidegate_cli::workspace::root().join(format!("host-tests/guests/hostile/{name}.wat"));
    plugin(name, &wat::parse_file(path).unwrap(), "")
}

/// A request and its answer of 2 ms as lines; `fields` are more request headers, as JSON pairs with a comma before.
fn exchange(t: u64, stream: u64, connection: u64, fields: &str) -> Vec<String> {
    let end = t + 2_000_000;
    vec![
        format!(
            r#"{{"t":{t},"stream":{stream},"open":{{"connection":{connection},"cluster":"echo"}}}}"#
        ),
        format!(
            r#"{{"t":{t},"stream":{stream},"request_headers":{{"headers":[[":method","GET"],[":path","/{stream}"],[":scheme","http"],[":authority","a"]{fields}],"end_stream":true}}}}"#
        ),
        format!(r#"{{"t":{end},"stream":{stream},"upstream":{{"address":"10.0.0.1:80"}}}}"#),
        format!(
            r#"{{"t":{end},"stream":{stream},"response_headers":{{"headers":[[":status","200"]],"end_stream":false}}}}"#
        ),
        format!(
            r#"{{"t":{end},"stream":{stream},"response_body":{{"text":"hello","end_stream":true}}}}"#
        ),
        format!(r#"{{"t":{end},"stream":{stream},"close":{{}}}}"#),
    ]
}

fn try_run(lines: &[String], options: Options) -> Result<(Vec<Exchange>, Totals), ReplayError> {
    let text = format!("{HEADER}\n{}\n", lines.join("\n"));
    let mut reader = RecordingReader::from_reader(
        "test",
        Cursor::new(text.into_bytes()),
        &ReadOptions::default(),
    )
    .unwrap();
    let mut exchanges = Vec::new();
    let totals = replay::run(&engine().unwrap(), options, &mut reader, &mut |exchange| {
        exchanges.push(exchange.clone());
        Ok(())
    })?;
    Ok((exchanges, totals))
}

fn run(lines: &[String], plugins: Vec<Plugin>) -> (Vec<Exchange>, Totals) {
    try_run(
        lines,
        Options {
            plugins,
            ..Options::default()
        },
    )
    .unwrap()
}

fn did(exchange: &Exchange) -> Vec<String> {
    Decision::of(exchange).did
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_recording_without_events_is_replayed_to_nothing() {
    let (exchanges, totals) = run(&[], vec![guest("no-op", "")]);
    assert!(exchanges.is_empty());
    assert_eq!((totals.requests, totals.sessions), (0, 0));
    assert_eq!(totals.vms.len(), 2, "one worker and the main thread");
}

#[test]
fn a_filter_that_does_nothing_leaves_everything_untouched() {
    let (exchanges, totals) = run(&exchange(SECOND, 1, 1, ""), vec![guest("no-op", "")]);
    assert!(exchanges[0].is_untouched());
    assert_eq!(did(&exchanges[0]), ["served by 10.0.0.1:80", "status 200"]);
    assert_eq!((totals.changed_requests, totals.changed_responses), (0, 0));
    assert_eq!(
        (totals.first_ns, totals.last_ns),
        (SECOND, SECOND + 2_000_000)
    );
}

#[test]
fn a_filter_on_the_public_sdk_is_replayed_and_its_changes_are_seen() {
    let (exchanges, totals) = run(
        &exchange(SECOND, 1, 1, ""),
        vec![guest("sdk", "add-header")],
    );
    assert_eq!(
        did(&exchanges[0]),
        [
            "request + x-sdk-guest: request",
            "served by 10.0.0.1:80",
            "response + x-sdk-guest: response",
            "status 200"
        ]
    );
    assert_eq!((totals.changed_requests, totals.changed_responses), (1, 1));
}

#[test]
fn a_chain_is_passed_in_order() {
    let chain = vec![
        guest("sdk", "add-header"),
        guest("no-op", ""),
        guest("sdk", "add-header"),
    ];
    let (exchanges, totals) = run(&exchange(SECOND, 1, 1, ""), chain);
    let added = exchanges[0]
        .request
        .changes
        .iter()
        .filter(|change| matches!(change, Change::Added { .. }))
        .count();
    assert!(added >= 1);
    assert_eq!(
        totals
            .cost
            .iter()
            .map(|cost| cost.plugin.as_str())
            .collect::<Vec<_>>(),
        ["sdk", "no-op", "sdk"]
    );
}

#[test]
fn an_answer_of_the_filter_ends_the_exchange_before_the_upstream() {
    let (exchanges, totals) = run(
        &exchange(SECOND, 1, 1, r#",["x-reply","1"]"#),
        vec![guest("sdk", "reply")],
    );
    assert_eq!(exchanges[0].status, Some(418));
    assert_eq!(exchanges[0].upstream, None);
    assert_eq!(totals.local_replies, 1);
    assert_eq!(totals.websockets, 0);
}

#[test]
fn a_request_that_waits_for_a_call_is_let_go_by_the_answer() {
    let (exchanges, totals) = run(&exchange(SECOND, 1, 1, ""), vec![guest("sdk", "wait=echo")]);
    assert_eq!(totals.call_outs, 1);
    assert_eq!(exchanges[0].call_outs[0].cluster, "echo");
    assert_eq!(exchanges[0].status, Some(200));
    assert!(!exchanges[0].held);
}

#[test]
fn calls_are_answered_as_the_caller_of_the_replay_says() {
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&asked);
    let options = Options {
        plugins: vec![guest("sdk", "wait=echo")],
        answers: Some(Box::new(move |call| {
            seen.lock().unwrap().push(call.cluster.clone());
            CallAnswer::Response {
                headers: HeaderMap::from([(":status", "200")]),
                body: Vec::new(),
                trailers: HeaderMap::new(),
            }
        })),
        ..Options::default()
    };
    try_run(&exchange(SECOND, 1, 1, ""), options).unwrap();
    assert_eq!(*asked.lock().unwrap(), ["echo"]);
}

#[test]
fn ticks_between_events_run_at_their_own_time() {
    let mut lines = exchange(SECOND, 1, 1, "");
    lines.extend(exchange(11 * SECOND, 2, 1, ""));
    let (_, totals) = run(&lines, vec![guest("sdk", "call-out=echo")]);
    let ticks = totals.cost[0]
        .callbacks
        .iter()
        .find(|callback| callback.name == "proxy_on_tick")
        .unwrap()
        .calls;
    // Every 100 ms for 10 s on the worker and on the main thread.
    assert!((198..=204).contains(&ticks), "{ticks}");
    assert_eq!(totals.call_outs, ticks);
}

#[test]
fn a_trap_in_mid_stream_is_told_with_its_callback_and_the_rest_goes_on() {
    let mut lines = exchange(SECOND, 1, 1, "");
    lines.extend(exchange(2 * SECOND, 2, 1, r#",["x-trap","1"]"#));
    lines.extend(exchange(3 * SECOND, 3, 1, ""));
    let (exchanges, totals) = run(&lines, vec![hostile("traps_on_request")]);
    assert_eq!(totals.traps, 1);
    assert_eq!(exchanges[1].traps[0].callback, "proxy_on_request_headers");
    assert!(
        exchanges[1].traps[0].message.contains("unreachable"),
        "{}",
        exchanges[1].traps[0].message
    );
    let statuses: Vec<_> = exchanges.iter().map(|exchange| exchange.status).collect();
    assert_eq!(statuses, [Some(200), Some(503), Some(503)], "fail closed");

    let mut open = hostile("traps_on_request");
    open.config.failure_policy = FailurePolicy::FailOpen;
    let (exchanges, _) = run(&lines, vec![open]);
    assert_eq!(exchanges[2].status, Some(200), "fail open");
}

#[test]
fn a_rejected_configuration_ends_the_replay_before_it_begins() {
    let options = Options {
        plugins: vec![hostile("rejects_configuration")],
        ..Options::default()
    };
    let error = try_run(&exchange(SECOND, 1, 1, ""), options).unwrap_err();
    assert_eq!(error.exit_code(), tidegate_cli::ExitCode::ConfigRejected);
}

#[test]
fn streams_that_have_no_answer_or_no_end_are_told_as_such() {
    let mut lines: Vec<String> = exchange(SECOND, 1, 1, "").into_iter().take(2).collect();
    lines.push(
        r#"{"t":2000000000,"stream":1,"close":{"flags":"DC","reason":"client_reset"}}"#.to_owned(),
    );
    lines.extend(exchange(3 * SECOND, 2, 1, "").into_iter().take(4));
    lines.push(r#"{"t":5000000000,"stream":3,"open":{}}"#.to_owned());
    let (exchanges, totals) = run(&lines, vec![guest("sdk", "add-header")]);
    assert_eq!(
        did(&exchanges[0]),
        ["request + x-sdk-guest: request", "no response"]
    );
    assert!(exchanges[1].unfinished && exchanges[2].unfinished);
    assert_eq!((totals.unfinished, totals.requests), (2, 2));
}

#[test]
fn bytes_of_a_websocket_pass_in_both_directions_after_the_101() {
    let lines: Vec<String> = [
        r#"{"t":1000000000,"stream":1,"open":{"cluster":"echo"}}"#,
        r#"{"t":1000000000,"stream":1,"request_headers":{"headers":[[":method","GET"],[":path","/ws"],[":scheme","http"],[":authority","a"],["upgrade","websocket"],["connection","Upgrade"]],"end_stream":false}}"#,
        r#"{"t":1000000001,"stream":1,"upstream":{"address":"10.0.0.1:80"}}"#,
        r#"{"t":1000000001,"stream":1,"response_headers":{"headers":[[":status","101"],["upgrade","websocket"]],"end_stream":false}}"#,
        r#"{"t":1000000002,"stream":1,"request_body":{"base64":"wYSff6zCVbeowg=="}}"#,
        r#"{"t":1000000003,"stream":1,"response_body":{"base64":"wQTKyAQA"}}"#,
        r#"{"t":1000000004,"stream":1,"close":{"flags":"DC","details":"downstream_remote_disconnect","reason":"client_reset"}}"#,
    ]
    .map(str::to_owned)
    .to_vec();
    let (exchanges, totals) = run(&lines, vec![guest("no-op", "")]);
    assert!(exchanges[0].websocket && exchanges[0].is_untouched());
    assert_eq!(totals.websockets, 1);
}

#[test]
fn large_requests_pass_as_far_as_the_proxy_lets_them() {
    let cookie = format!(r#",["cookie","{}"]"#, "c".repeat(1 << 20));
    let many: String = (0..100_000)
        .map(|index| format!(r#",["x-{index}","v"]"#))
        .collect();
    let mut lines = exchange(SECOND, 1, 1, &cookie);
    lines.extend(exchange(2 * SECOND, 2, 1, &many));
    let (exchanges, totals) = run(&lines, vec![guest("no-op", ""), guest("sdk", "")]);
    assert_eq!((exchanges.len(), totals.traps), (2, 0));
    assert!(
        exchanges
            .iter()
            .all(|exchange| exchange.status == Some(200))
    );
}

#[test]
fn an_endpoint_that_the_recording_does_not_know_is_not_pretended_to_serve() {
    let config = r#"{"clusters":[{"name":"echo"}],"keys":{"inline":"1:dHJpYWwga2V5IG9uZSwgbm90IGZvciByZWFsIHVzZSE="}}"#;
    let mut lines = exchange(SECOND, 1, 1, "");
    // The second request of the client is recorded at the other endpoint; the third recording knows neither.
    lines.extend(
        exchange(2 * SECOND, 2, 1, "")
            .iter()
            .map(|line| line.replace("10.0.0.1", "10.0.0.2")),
    );
    let (exchanges, totals) = run(&lines, vec![guest("sticky-session", config)]);
    assert_eq!(exchanges[1].asked.as_deref(), Some("10.0.0.1:80"));
    assert_eq!(exchanges[1].upstream.as_deref(), Some("10.0.0.1:80"));
    assert_eq!(
        exchanges[1].recorded_upstream.as_deref(),
        Some("10.0.0.2:80")
    );
    assert!(exchanges[1].diverged);
    assert_eq!((totals.diverged, totals.sessions), (1, 1));

    // Of two clients the second has no cookie.
    let options = Options {
        plugins: vec![guest("sticky-session", config)],
        session: SessionKey::Header(":path".to_owned()),
        ..Options::default()
    };
    let (exchanges, _) = try_run(&lines, options).unwrap();
    assert_eq!(exchanges[1].asked, None);

    // Behind the same plugins, what was recorded is what came of the decisions.
    let options = Options {
        plugins: vec![guest("sticky-session", config)],
        behind_plugins: true,
        ..Options::default()
    };
    let (exchanges, _) = try_run(&lines, options).unwrap();
    assert_eq!(
        exchanges[1].asked, None,
        "the recorded client sent no cookie"
    );
}
