//! `tidegate record --admin` records what a running Envoy serves, and leaves Envoy as it was.
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that has no such field is null, not a panic"
)]

mod recorder;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use hyper::Method;
use serde_json::{Value, json};
use tidegate_cli::recording::{EventKind, ReadOptions, RecordingReader};
use tidegate_e2e::bootstrap::Bootstrap;
use tidegate_e2e::clients::http::{Client, Request};
use tidegate_e2e::clients::websocket::{Event, WebSocket};
use tidegate_e2e::envoy::{Envoy, Scenario};
use tidegate_e2e::recordings::plan::{Session, Step};
use tidegate_e2e::recordings::{application, files, plan, run};
use tidegate_e2e::upstream::{Upstream, addresses};
use tidegate_e2e::{paths, sticky, wait};

use recorder::{Recorder, tidegate};

/// What is known of an exchange: method, path, status, endpoint and cluster; nothing where there was none.
type Exchanges = BTreeMap<String, [Option<String>; 5]>;

/// The shipped configuration that records, with the shop behind it and only the filter that waits for the admin.
async fn shop() -> Result<(Envoy, Vec<Upstream>)> {
    let mut upstreams = Vec::new();
    for _ in 0..3 {
        upstreams.push(Upstream::scripted(Arc::new(application::answer)).await?);
    }
    let mut bootstrap = Bootstrap::shipped("record-traffic")?;
    bootstrap
        .endpoints(sticky::CLUSTER, &addresses(&upstreams))?
        .without_filter("tap-buffered")?
        .without_filter("tap-streamed")?;
    Ok((Envoy::start(Scenario::new(bootstrap)).await?, upstreams))
}

/// Counts the exchanges that a plan comes to.
fn exchanges_of(sessions: &[Session]) -> u64 {
    let steps = sessions.iter().flat_map(|session| &session.steps);
    let exchanges = steps.filter(|step| !matches!(step, Step::Think(_) | Step::Disconnect));
    exchanges.count() as u64
}

/// Reads what Envoy's log says, once it has so many lines.
async fn logged(envoy: &Envoy, lines: u64) -> Result<Exchanges> {
    let log = envoy.folder().join("access.log");
    wait::until(format!("the log has {lines} lines"), async || {
        let text = std::fs::read_to_string(&log)?;
        Ok((text.lines().count() as u64 >= lines).then_some(()))
    })
    .await?;
    let mut exchanges = Exchanges::new();
    for entry in files::values(&log)? {
        let text = |key: &str| entry[key].as_str().map(str::to_owned);
        let status = entry["response_code"].as_u64().filter(|status| *status > 0);
        let id = text("request_id").context("a log line without a request id")?;
        let facts = [
            text("method"),
            text("path"),
            status.map(|status| status.to_string()),
            text("upstream_host"),
            // Of an exchange that no endpoint served, a tap can't know where it was to go.
            text("upstream_host").and(text("upstream_cluster")),
        ];
        exchanges.insert(id, facts);
    }
    Ok(exchanges)
}

/// Reads what a recording says.
fn recorded(recording: &Path) -> Result<Exchanges> {
    let mut reader = RecordingReader::open(&[recording], &ReadOptions::default())?;
    let mut open: BTreeMap<u64, (String, [Option<String>; 5])> = BTreeMap::new();
    let mut exchanges = Exchanges::new();
    while let Some(event) = reader.next()? {
        let text =
            |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        if let EventKind::Open(kind) = &event.kind {
            let cluster = kind.cluster.as_deref().map(str::to_owned);
            let facts = [None, None, None, None, cluster];
            open.insert(event.stream, (String::new(), facts));
            continue;
        }
        let (id, facts) = open.get_mut(&event.stream).context("an unknown stream")?;
        match &event.kind {
            EventKind::RequestHeaders(headers) => {
                *id = text(headers.value("x-request-id")).context("no request id")?;
                facts[0] = text(headers.value(":method"));
                facts[1] = text(headers.value(":path"));
            }
            EventKind::ResponseHeaders(headers) => facts[2] = text(headers.value(":status")),
            EventKind::Upstream(upstream) => facts[3] = Some(upstream.address.to_string()),
            EventKind::Close(_) => {
                let (id, facts) = open.remove(&event.stream).unwrap_or_default();
                exchanges.insert(id, facts);
            }
            _ => {}
        }
    }
    anyhow::ensure!(open.is_empty(), "streams without an end: {open:?}");
    Ok(exchanges)
}

/// Says what two accounts of the same traffic disagree on.
fn differences(log: &Exchanges, recording: &Exchanges) -> Vec<String> {
    let ids = log
        .keys()
        .chain(recording.keys().filter(|id| !log.contains_key(*id)));
    // A few of them tell as much as all.
    ids.filter(|id| log.get(*id) != recording.get(*id))
        .take(5)
        .map(|id| {
            format!(
                "{id}: {:?} in the log, {:?} recorded",
                log.get(id),
                recording.get(id)
            )
        })
        .collect()
}

/// Replays a recording through sticky-session and returns the totals.
async fn replay(recording: &Path) -> Result<Value> {
    let config = paths::recordings().join("sticky-session/trial-config.json");
    let mut command = tidegate(&[
        "replay",
        "--plugin",
        "sticky-session",
        "--json",
        "--summary",
    ]);
    command.arg("--config").arg(config).arg(recording);
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "the replay failed: {said}");
    let text = String::from_utf8(output.stdout)?;
    let last = text.lines().last().context("the replay says nothing")?;
    Ok(serde_json::from_str::<Value>(last)?["totals"].take())
}

#[tokio::test]
async fn a_live_recording_that_ends_by_count_holds_what_envoy_logged_and_replays() -> Result<()> {
    let (mut envoy, _upstreams) = shop().await?;
    let folder = tempfile::tempdir()?;
    let recording = folder.path().join("shop.tidegate.jsonl");
    let sessions = plan::plan(11, 8, 6);
    let count = exchanges_of(&sessions);
    let recorder = Recorder::start(
        envoy.admin_address(),
        &recording,
        &["--exchanges", &count.to_string()],
    )
    .await?;
    let sent = run::run(envoy.listener("edge")?, &sessions, async |_| Ok(())).await?;
    assert_eq!(sent.exchanges, count, "the plan is counted as it is played");
    let ended = recorder.ended().await?;
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert_eq!(ended.document()?["end"], "counted");
    assert_eq!(
        ended.document()?["recording"]["exchanges"],
        json!(count - aborted(&sessions))
    );

    let (log, recording_says) = (logged(&envoy, count).await?, recorded(&recording)?);
    assert_eq!(differences(&log, &recording_says), Vec::<String>::new());
    assert_eq!(recording_says.len() as u64, count);

    let totals = replay(&recording).await?;
    assert_eq!(totals["requests"], json!(count), "{totals}");
    assert_eq!(totals["websockets"], json!(sent.websockets), "{totals}");
    assert_eq!(totals["traps"], 0, "{totals}");
    envoy.stop().await
}

/// Counts the steps of a plan that leave before they are answered.
fn aborted(sessions: &[Session]) -> u64 {
    let steps = sessions.iter().flat_map(|session| &session.steps);
    let aborted = steps.filter(|step| matches!(step, Step::AbortUpload | Step::AbortWait));
    aborted.count() as u64
}

#[tokio::test]
async fn a_live_recording_that_is_interrupted_is_complete_and_valid() -> Result<()> {
    let (mut envoy, _upstreams) = shop().await?;
    let folder = tempfile::tempdir()?;
    let sessions = plan::plan(12, 8, 6);
    for (signal, run_number) in [("INT", 1), ("TERM", 2)] {
        let recording = folder.path().join(format!("{signal}.tidegate.jsonl"));
        let recorder = Recorder::start(envoy.admin_address(), &recording, &[]).await?;
        // The second recorder sleeps through all of it: what happened before the signal is on its way, and counts.
        if run_number == 2 {
            recorder.signal("STOP")?;
        }
        let sent = run::run(envoy.listener("edge")?, &sessions, async |_| Ok(())).await?;
        let all = sent.exchanges * run_number;
        // Envoy counts a trace when it has handed it over to its main thread, which answers this look as well.
        envoy.stat_reaches("tap.rq_tapped", all).await?;
        envoy.admin("/ready").await?;
        recorder.signal(signal)?;
        recorder.signal("CONT")?;
        let ended = recorder.ended().await?;
        assert_eq!(ended.code, Some(0), "{}", ended.said);
        assert_eq!(ended.document()?["end"], "interrupted");
        let mut log = logged(&envoy, all).await?;
        let recording_says = recorded(&recording)?;
        log.retain(|id, _| run_number == 1 || recording_says.contains_key(id));
        assert_eq!(differences(&log, &recording_says), Vec::<String>::new());
        assert_eq!(recording_says.len() as u64, sent.exchanges);
        assert_eq!(replay(&recording).await?["requests"], json!(sent.exchanges));
    }
    envoy.stop().await
}

#[tokio::test]
async fn a_recorder_that_dies_or_stalls_leaves_envoy_serving_and_free_for_the_next() -> Result<()> {
    let (mut envoy, _upstreams) = shop().await?;
    let folder = tempfile::tempdir()?;
    let mut client = Client::new(envoy.listener("edge")?);
    let first = Recorder::start(envoy.admin_address(), &folder.path().join("a.jsonl"), &[]).await?;

    // While one records, another is told so.
    let refused = Recorder::refused(envoy.admin_address(), &[]).await?;
    assert_eq!(refused.code, Some(2), "{}", refused.said);
    assert!(
        refused.said.contains("another tap is attached"),
        "{}",
        refused.said
    );

    // It no longer reads, and Envoy serves all the same.
    first.signal("STOP")?;
    for _ in 0..200 {
        assert_eq!(client.get("/assets/app.js").await?.status, 200);
    }
    // It dies with all of that unread, and an exchange under way.
    let mut slow = Client::new(envoy.listener("edge")?);
    let (answer, killed) = tokio::join!(slow.get("/api/slow/30"), async { first.signal("KILL") });
    killed?;
    assert_eq!(answer?.status, 200);
    assert_eq!(first.ended().await?.code, None);
    assert!(!folder.path().join("a.jsonl").exists());
    assert_eq!(
        std::fs::read_dir(folder.path())?.count(),
        0,
        "it leaves no file behind"
    );

    wait::until("Envoy has taken the tap off", async || {
        let before = envoy.stats().await?["http.edge.tap.rq_tapped"];
        client.get("/").await?;
        let after = envoy.stats().await?["http.edge.tap.rq_tapped"];
        Ok((before == after).then_some(()))
    })
    .await?;
    let recording = folder.path().join("b.tidegate.jsonl");
    let second = Recorder::start(envoy.admin_address(), &recording, &["--exchanges", "3"]).await?;
    for _ in 0..3 {
        assert_eq!(client.get("/").await?.status, 200);
    }
    assert_eq!(second.ended().await?.code, Some(0));
    assert_eq!(recorded(&recording)?.len(), 3);
    envoy.stop().await
}

#[tokio::test]
async fn a_connection_that_breaks_keeps_what_came_and_the_exit_code_says_so() -> Result<()> {
    let (mut envoy, _upstreams) = shop().await?;
    let folder = tempfile::tempdir()?;
    let recording = folder.path().join("shop.tidegate.jsonl");
    let recorder = Recorder::start(envoy.admin_address(), &recording, &[]).await?;
    let mut client = Client::new(envoy.listener("edge")?);
    for _ in 0..5 {
        client.get("/").await?;
    }
    envoy.stat_reaches("tap.rq_tapped", 5).await?;
    envoy.stop().await?;
    let ended = recorder.ended().await?;
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert!(
        ended.said.contains("the connection to Envoy broke"),
        "{}",
        ended.said
    );
    assert!(ended.document()?["end"]["cut"].is_string());
    assert_eq!(recorded(&recording)?.len(), 5);
    Ok(())
}

#[tokio::test]
async fn only_requests_that_match_are_recorded() -> Result<()> {
    let (mut envoy, _upstreams) = shop().await?;
    let folder = tempfile::tempdir()?;
    let recording = folder.path().join("shop.tidegate.jsonl");
    let only = [
        "--path",
        "/api/",
        "--header",
        "x-user=u1",
        "--header",
        "x-trace",
        "--exchanges",
        "2",
    ];
    let recorder = Recorder::start(envoy.admin_address(), &recording, &only).await?;
    let mut client = Client::new(envoy.listener("edge")?);
    for (path, user, trace) in [
        ("/api/items/1", Some("u1"), true),
        ("/api/items/2", Some("u2"), true),
        ("/api/items/3", Some("u1"), false),
        ("/", Some("u1"), true),
        ("/api/items/4", None, true),
        ("/api/items/5", Some("u1"), true),
    ] {
        let mut request = Request::new(Method::GET, path);
        if let Some(user) = user {
            request = request.header("x-user", user);
        }
        if trace {
            request = request.header("x-trace", "7");
        }
        client.send(request).await?;
    }
    assert_eq!(recorder.ended().await?.code, Some(0));
    let paths: Vec<_> = recorded(&recording)?
        .into_values()
        .map(|facts| facts[1].clone())
        .collect();
    assert_eq!(paths.len(), 2);
    for path in ["/api/items/1", "/api/items/5"] {
        assert!(paths.contains(&Some(path.to_owned())), "{paths:?}");
    }
    envoy.stop().await
}

#[tokio::test]
async fn a_streamed_recording_has_the_messages_of_a_websocket_that_is_still_open() -> Result<()> {
    let (mut envoy, _upstreams) = shop().await?;
    let folder = tempfile::tempdir()?;
    let recording = folder.path().join("live.tidegate.jsonl");
    let arguments = ["--streamed", "--cluster", sticky::CLUSTER];
    let began_ns = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let recorder = Recorder::start(envoy.admin_address(), &recording, &arguments).await?;
    let mut client = Client::new(envoy.listener("edge")?);
    client.get("/").await?;
    let mut socket = WebSocket::open(&mut client, "/ws/chat", &[]).await?;
    for text in ["one", "two", "three"] {
        socket.text(text).await?;
        assert_eq!(socket.next().await?, Event::Text(text.to_owned()));
    }
    envoy.admin("/ready").await?;
    recorder.signal("INT")?;
    let ended = recorder.ended().await?;
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    socket.close(1000).await?;

    let mut reader = RecordingReader::open(&[&recording], &ReadOptions::default())?;
    let mut story = Vec::new();
    let mut times = Vec::new();
    while let Some(event) = reader.next()? {
        if event.stream == 2 {
            story.push(event.kind.name());
            times.push(event.time_ns);
        }
    }
    let mut expected = vec!["open", "request_headers", "response_headers"];
    for _ in 0..3 {
        expected.extend(["request_body", "response_body"]);
    }
    assert_eq!(story, expected, "and no `close`: it is open");
    // Envoy tells no times: they are those of the arrival.
    assert!(
        u128::from(times[0]) >= began_ns && times[3] < times[8],
        "{times:?}"
    );
    assert_eq!(replay(&recording).await?["unfinished"], 1);
    envoy.stop().await
}

#[tokio::test]
async fn a_tap_that_cannot_be_attached_is_refused_with_advice() -> Result<()> {
    let (mut envoy, _upstreams) = shop().await?;
    let refused = Recorder::refused(envoy.admin_address(), &["--tap-id", "other"]).await?;
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.said.contains("has the `config_id` `other`"),
        "{}",
        refused.said
    );
    assert!(
        refused
            .said
            .contains("admin_config: { config_id: \"other\" }"),
        "{}",
        refused.said
    );

    let nothing = Recorder::refused(envoy.admin_address(), &["--duration", "1"]).await?;
    assert_eq!(nothing.code, Some(2));
    assert!(
        nothing.said.contains("nothing is written"),
        "{}",
        nothing.said
    );

    // Without a filter that waits for the admin there is no `/tap`, whether it is allowed or not.
    let mut scenario = envoy.scenario();
    scenario.bootstrap().without_filter("tap-live")?;
    envoy.restart_with(scenario.clone()).await?;
    let refused = Recorder::refused(envoy.admin_address(), &[]).await?;
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.said.contains("has no tap filter"),
        "{}",
        refused.said
    );
    assert!(
        refused
            .said
            .contains("admin_config: { config_id: \"tidegate\" }"),
        "{}",
        refused.said
    );

    let mut scenario = Scenario::new(Bootstrap::shipped("record-traffic")?);
    *scenario.bootstrap().at("/admin/allow_paths")? =
        json!([{ "prefix": "/ready" }, { "prefix": "/listeners" }]);
    envoy.restart_with(scenario).await?;
    let refused = Recorder::refused(envoy.admin_address(), &[]).await?;
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.said.contains("doesn't allow `/tap`"),
        "{}",
        refused.said
    );
    assert!(refused.said.contains("allow_paths"), "{}", refused.said);

    envoy.stop().await?;
    let refused = Recorder::refused(envoy.admin_address(), &[]).await?;
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.said.contains("can't reach Envoy's admin"),
        "{}",
        refused.said
    );
    Ok(())
}
