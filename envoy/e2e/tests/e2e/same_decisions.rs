//! The offline runner decides what the real Envoy decides.
//!
//! Traffic runs through the real Envoy with the plugin and is recorded there; the recording is then replayed through
//! the same module, with the same configuration, in the runner. Exchange by exchange, the endpoint that the plugin asked
//! for and the reason that it gave have to be the same.
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that has no such field is null, not a panic"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use hyper::Method;
use serde_json::{Value, json};
use tidegate_cli::recording::{ClusterRule, EventKind, ReadOptions, RecordingReader, SessionKey};
use tidegate_cli::replay::{self, Options, Plugin};
use tidegate_e2e::bootstrap::STICKY_SESSION;
use tidegate_e2e::clients::http::{Client, Request};
use tidegate_e2e::envoy::Envoy;
use tidegate_e2e::recordings::{application, files, plan, run};
use tidegate_e2e::upstream::{Received, Upstream};
use tidegate_e2e::{paths, sticky, wait};
use tidegate_host::{Engine, EngineOptions, Module, PluginConfig};

/// What one exchange came to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Decided {
    /// The endpoint that the plugin asked for.
    asked: Option<String>,
    /// What it decided about the request; empty where nobody says.
    request: String,
    /// What it decided about the response; empty where nobody says.
    response: String,
    /// Whether the endpoint that it asked for is not the one that served.
    elsewhere: bool,
}

/// Decisions by `x-request-id`.
type Decisions = BTreeMap<String, Decided>;

/// Starts a shop with the plugin, sends it planned and unplanned traffic, and returns what Envoy wrote, with what the
/// endpoints received. In the middle an endpoint is gone for a while.
async fn traffic(configuration: &Value) -> Result<(Envoy, Vec<Received>)> {
    let mut upstreams = Vec::new();
    for _ in 0..4 {
        upstreams.push(Upstream::scripted(Arc::new(application::answer)).await?);
    }
    let mut scenario = sticky::scenario(&upstreams)?;
    scenario
        .bootstrap()
        .configure(STICKY_SESSION, configuration)?
        .with_taps()?;
    let mut envoy = Envoy::start(scenario).await?;
    let mut received = Vec::new();
    let address = upstreams.last().context("no endpoint")?.address();
    let edge = envoy.listener("edge")?;
    run::run(edge, &plan::plan(3, 12, 10), async |act| {
        if act == 1 {
            received.extend(upstreams.pop().context("no endpoint")?.received());
            return wait::until(
                "Envoy has no connection to the endpoint that is gone",
                async || {
                    let clusters = envoy.admin("/clusters").await?;
                    Ok(clusters
                        .contains(&format!("::{address}::cx_active::0"))
                        .then_some(()))
                },
            )
            .await;
        }
        upstreams.push(Upstream::at(address, Arc::new(application::answer)).await?);
        Ok(())
    })
    .await?;
    // What a plan of honest users does not have.
    let mut honest = Client::new(edge);
    honest.get("/").await?;
    let value = honest.jar.value(sticky::COOKIE).context("no cookie")?;
    let (half, _) = value.split_at(value.len() / 2);
    for cookie in [
        format!("{}={half}", sticky::COOKIE),
        format!("{}=A{value}", sticky::COOKIE),
        format!("{0}={value}; {0}={value}", sticky::COOKIE),
        format!("{}={}", sticky::COOKIE, "A".repeat(4096)),
        format!("a=b;{}={value}", sticky::COOKIE),
        format!("{}=", sticky::COOKIE),
    ] {
        let request = Request::new(Method::GET, "/")
            .header("cookie", cookie)
            .header(sticky::ENDPOINT_HEADER, address.to_string());
        Client::new(edge).send(request).await?;
    }
    envoy.stop().await?;
    received.extend(upstreams.iter().flat_map(Upstream::received));
    Ok((envoy, received))
}

/// The files of a run, as the committed recordings name them.
const LOG: &str = "access-log.jsonl";
const TRACES: &str = "tap-buffered.json";

/// Reads from Envoy's own files what the plugin decided there.
fn decided_by_envoy(folder: &Path) -> Result<Decisions> {
    let mut decisions = Decisions::new();
    for entry in files::values(&folder.join(LOG))? {
        let id = entry["request_id"]
            .as_str()
            .context("a log line without a request id")?
            .to_owned();
        let asked = entry["endpoint"].as_str().map(str::to_owned);
        let elsewhere = asked.is_some() && entry["upstream_host"].as_str() != asked.as_deref();
        decisions.insert(
            id,
            Decided {
                asked,
                elsewhere,
                ..Decided::default()
            },
        );
    }
    for value in files::values(&folder.join(TRACES))? {
        let trace = &value["http_buffered_trace"];
        let header = tidegate_e2e::recordings::census::header;
        let id =
            header(&trace["request"], "x-request-id").context("a trace without a request id")?;
        let decided = decisions
            .get_mut(id)
            .context("a trace that the log does not have")?;
        let reason = header(&trace["response"], "x-tidegate-reason").unwrap_or_default();
        for part in reason.split(';') {
            match part.split_once('=') {
                Some(("request", reason)) => reason.clone_into(&mut decided.request),
                Some(("response", reason)) => reason.clone_into(&mut decided.response),
                _ => {}
            }
        }
    }
    Ok(decisions)
}

/// Replays the recording in the runner and returns what the plugin decided there.
fn decided_by_the_runner(folder: &Path, configuration: &Value, keys: &str) -> Result<Decisions> {
    let recording = folder.join(TRACES);
    let options = ReadOptions {
        clusters: vec![ClusterRule {
            prefix: String::new(),
            name: sticky::CLUSTER.to_owned(),
        }],
        access_logs: vec![folder.join(LOG)],
        ..ReadOptions::default()
    };
    let mut ids = BTreeMap::new();
    let mut reader = RecordingReader::open(&[&recording], &options)?;
    while let Some(event) = reader.next()? {
        if let EventKind::RequestHeaders(headers) = &event.kind {
            let id = headers
                .value("x-request-id")
                .context("a stream without a request id")?;
            ids.insert(event.stream, String::from_utf8(id.to_vec())?);
        }
    }
    let engine = Engine::new(&EngineOptions::default())?;
    let module = Module::compile(
        &engine,
        "sticky-session",
        &std::fs::read(sticky::module()?)?,
    )?;
    let config = PluginConfig {
        name: STICKY_SESSION.to_owned(),
        configuration: configuration.to_string().into_bytes(),
        environment: vec![(sticky::KEYS_VARIABLE.to_owned(), keys.to_owned())],
        ..PluginConfig::default()
    };
    let options_of_replay = Options {
        plugins: vec![Plugin { module, config }],
        workers: 2,
        // Each request on its own: the recording has the cookies that the clients really sent, and those who keep
        // none must not be given any.
        session: SessionKey::Header("x-request-id".to_owned()),
        ..Options::default()
    };
    let mut decisions = Decisions::new();
    let mut reader = RecordingReader::open(&[&recording], &options)?;
    let label = |side: &replay::Side| {
        side.reasons
            .iter()
            .map(replay::Reason::label)
            .collect::<Vec<_>>()
            .join(",")
    };
    replay::run(&engine, options_of_replay, &mut reader, &mut |exchange| {
        let Some(id) = ids.get(&exchange.stream) else {
            return Err(std::io::Error::other(
                "an exchange that the recording does not have",
            ));
        };
        let decided = Decided {
            asked: exchange.asked.clone(),
            request: label(&exchange.request),
            response: label(&exchange.response),
            elsewhere: exchange.diverged,
        };
        decisions.insert(id.clone(), decided);
        Ok(())
    })?;
    Ok(decisions)
}

/// Returns what differs, one line per exchange. What the plugin was not told the same about is not compared: where
/// Envoy's attempt at the endpoint failed, the runner shows the plugin an answer by that endpoint.
fn differences(real: &Decisions, replayed: &Decisions) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, envoy) in real {
        let Some(runner) = replayed.get(id) else {
            lines.push(format!("{id}: not replayed"));
            continue;
        };
        let said = |real: &str, replayed: &str| real.is_empty() || real == replayed;
        let same = envoy.asked == runner.asked
            && envoy.elsewhere == runner.elsewhere
            && said(&envoy.request, &runner.request)
            && (envoy.elsewhere || said(&envoy.response, &runner.response));
        if !same {
            lines.push(format!("{id}: Envoy {envoy:?}, runner {runner:?}"));
        }
    }
    lines
}

#[track_caller]
fn assert_same(real: &Decisions, replayed: &Decisions) {
    let found = differences(real, replayed);
    assert!(
        found.is_empty(),
        "{} of {} exchanges differ:\n{}",
        found.len(),
        real.len(),
        found.join("\n")
    );
    assert_eq!(real.len(), replayed.len());
}

#[test]
fn the_committed_recording_replays_to_what_envoy_decided_when_it_was_made() -> Result<()> {
    let folder = paths::recordings().join("sticky-session");
    let configuration = std::fs::read_to_string(folder.join("trial-config.json"))?;
    let real = decided_by_envoy(&folder)?;
    let replayed = decided_by_the_runner(&folder, &serde_json::from_str(&configuration)?, "")?;
    assert_same(&real, &replayed);
    let pinned = replayed
        .values()
        .filter(|decided| decided.request == "pinned");
    assert!(pinned.count() >= 100, "{replayed:?}");
    Ok(())
}

#[tokio::test]
async fn the_runner_pins_the_same_sessions_to_the_same_endpoints_as_the_real_envoy() -> Result<()> {
    let mut bootstrap = sticky::bootstrap(&[])?;
    let mut configuration = bootstrap.plugin_configuration(STICKY_SESSION)?;
    configuration["reason_header"] = json!(true);
    let (envoy, received) = traffic(&configuration).await?;
    let folder = tempfile::tempdir()?;
    let log = std::fs::read_to_string(envoy.folder().join("access.log"))?;
    let joined = files::join_taps(
        &envoy.folder().join("tap-buffered"),
        &files::start_times(&log)?,
    )?;
    std::fs::write(folder.path().join(LOG), log)?;
    std::fs::write(folder.path().join(TRACES), joined)?;

    let real = decided_by_envoy(folder.path())?;
    let replayed = decided_by_the_runner(folder.path(), &configuration, sticky::TRIAL_KEYS)?;
    assert_same(&real, &replayed);

    // What the endpoints saw, which neither Envoy's log nor the recording can have made up.
    for request in &received {
        let id = request
            .header("x-request-id")
            .context("a request without an id")?;
        let runner = replayed
            .get(id)
            .context("an endpoint saw what was not replayed")?;
        assert_eq!(
            request.header(sticky::ENDPOINT_HEADER),
            runner.asked.as_deref(),
            "{id}"
        );
        if let Some(asked) = &runner.asked {
            assert_eq!(
                *asked == request.upstream.to_string(),
                !runner.elsewhere,
                "{id}"
            );
        }
    }

    // The comparison saw something.
    let count = |matches: fn(&Decided) -> bool| {
        replayed.values().filter(|decided| matches(decided)).count()
    };
    assert!(real.len() >= 180, "only {} exchanges", real.len());
    assert!(
        received.len() + 6 >= real.len(),
        "the endpoints saw only {} of {}",
        received.len(),
        real.len()
    );
    assert!(
        count(|decided| decided.request == "pinned") >= 100,
        "{replayed:?}"
    );
    // How many depends on how many sessions Envoy's workers happened to give the endpoint that goes away.
    assert!(
        count(|decided| decided.elsewhere) >= 1,
        "no exchange was served elsewhere"
    );
    assert_eq!(
        count(|decided| decided.request.starts_with("refused_")),
        5,
        "{replayed:?}"
    );

    // With another key the runner pins nobody, and the comparison says so.
    let other = decided_by_the_runner(
        folder.path(),
        &configuration,
        "1:YW5vdGhlciBvcGVyYXRvcidzIHNlY3JldCAzMiBCISE=",
    )?;
    assert!(
        differences(&real, &other).len() >= 100,
        "the comparison cannot fail"
    );
    Ok(())
}
