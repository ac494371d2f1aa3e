//! `tidegate demo`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use tidegate_host::{Engine, FailurePolicy, LogLevel};

use super::replay::failed;
use crate::engine::engine;
use crate::exit::ExitCode;
use crate::output::{Align, Output, Table, bold, dim, green, red, thousands};
use crate::recording::{Event, EventKind, ReadOptions, RecordingReader, SessionKey};
use crate::replay::{self, Exchange, Options, Plugin, ReplayError, Story, StoryTotals, Totals};
use crate::workspace;

/// Sessions that are shown one by one; with the rest it fits a screen.
const SHOWN_MAX: usize = 14;
/// A key that nobody used, in place of the one that the recorded cookies were sealed with.
const OTHER_KEY: &str = "1:YW5vdGhlciB0cmlhbCBrZXksIGFsc28gbm90IHJlYWw=";

/// Arguments of `tidegate demo`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Worker threads of the proxy.
    #[arg(long, default_value_t = 2, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: u32,
    workers: u32,
    sessions: &'a Story,
    totals: StoryTotals,
    replay: &'a Totals,
    against_envoy: &'a AgainstEnvoy,
    foreign_cookies: BTreeMap<String, u64>,
}

/// Decisions of the replay next to those that the real Envoy recorded in its answers.
#[derive(Debug, Default, Serialize)]
struct AgainstEnvoy {
    /// Answers in which Envoy said what the plugin decided.
    decisions: u64,
    /// Those for which the replay decided the same.
    same: u64,
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<ExitCode> {
    let recordings = workspace::root().join("host-tests/recordings");
    output.note(
        dim()
            .for_stderr()
            .apply_to("building sticky-session, unless it is up to date"),
    );
    let engine = engine()?;
    let config = recordings.join("sticky-session/trial-config.json");
    let plugin = replay::plugin(
        &engine,
        "sticky-session",
        Some(&config),
        &[],
        FailurePolicy::FailClosed,
        output,
    )?;

    let mut story = Story::default();
    let first = replayed(
        &engine,
        arguments,
        plugin.clone(),
        &recordings.join("round-robin"),
        false,
        &mut |exchange| {
            story.add(exchange);
        },
    );
    let totals = match first {
        Ok(totals) => totals,
        Err(error) => return failed(error, output),
    };
    story.finish();
    let against_envoy = match against_envoy(
        &engine,
        arguments,
        &plugin,
        &recordings.join("sticky-session"),
    ) {
        Ok(against_envoy) => against_envoy,
        Err(error) => return failed(error, output),
    };
    let foreign = match foreign(
        &engine,
        arguments,
        plugin,
        &recordings.join("sticky-session"),
    ) {
        Ok(foreign) => foreign,
        Err(error) => return failed(error, output),
    };
    if output.is_json() {
        output.json(&Document {
            schema: 1,
            workers: arguments.workers,
            sessions: &story,
            totals: story.totals(),
            replay: &totals,
            against_envoy: &against_envoy,
            foreign_cookies: foreign.refused,
        })?;
    } else {
        print(arguments, &story, &against_envoy, &foreign, output)?;
    }
    Ok(if totals.traps > 0 {
        ExitCode::GuestTrapped
    } else {
        ExitCode::Passed
    })
}

/// Which streams of the recordings are one client: the shop gives each a cookie when it signs in; before that, and for
/// programs that keep no cookies, the address and the program's name tell them apart.
fn session() -> SessionKey {
    let before = vec![
        SessionKey::SourceIp,
        SessionKey::Header("user-agent".to_owned()),
    ];
    SessionKey::FirstOf(vec![
        SessionKey::Cookie("shop-session".to_owned()),
        SessionKey::All(before),
    ])
}

fn reader(recording: &Path) -> Result<RecordingReader, ReplayError> {
    let options = ReadOptions {
        access_logs: vec![recording.join("access-log.jsonl")],
        ..ReadOptions::default()
    };
    Ok(RecordingReader::open(
        &[recording.join("tap-streamed.json")],
        &options,
    )?)
}

fn replayed(
    engine: &Engine,
    arguments: &Arguments,
    plugin: Plugin,
    recording: &Path,
    behind_plugins: bool,
    each: &mut dyn FnMut(&Exchange),
) -> Result<Totals, ReplayError> {
    let options = Options {
        plugins: vec![plugin],
        workers: arguments.workers,
        session: session(),
        behind_plugins,
        log_level: LogLevel::Error,
        ..Options::default()
    };
    replay::run(engine, options, &mut reader(recording)?, &mut |exchange| {
        each(exchange);
        Ok(())
    })
}

/// Replays what an Envoy with the plugin recorded, and compares what it said with what the replay says.
fn against_envoy(
    engine: &Engine,
    arguments: &Arguments,
    plugin: &Plugin,
    recording: &Path,
) -> Result<AgainstEnvoy, ReplayError> {
    let mut said = BTreeMap::new();
    let mut events = reader(recording)?;
    while let Some(Event { stream, kind, .. }) = events.next()? {
        if let EventKind::ResponseHeaders(headers) = kind
            && let Some(reason) = headers.value("x-tidegate-reason")
        {
            said.insert(stream, String::from_utf8_lossy(reason).into_owned());
        }
    }
    let mut result = AgainstEnvoy {
        decisions: said.len() as u64,
        same: 0,
    };
    replayed(
        engine,
        arguments,
        plugin.clone(),
        recording,
        true,
        &mut |exchange| {
            let label =
                |side: &replay::Side| side.reasons.first().map(|reason| reason.label().to_owned());
            if let (Some(request), Some(response)) =
                (label(&exchange.request), label(&exchange.response))
            {
                let says = format!("sticky-session;request={request};response={response}");
                result.same += u64::from(said.get(&exchange.stream) == Some(&says));
            }
        },
    )?;
    Ok(result)
}

/// Replays the same traffic into a proxy with another key: every cookie in it is foreign.
fn foreign(
    engine: &Engine,
    arguments: &Arguments,
    mut plugin: Plugin,
    recording: &Path,
) -> Result<StoryTotals, ReplayError> {
    if let Ok(mut config) =
        serde_json::from_slice::<serde_json::Value>(&plugin.config.configuration)
    {
        if let Some(keys) = config.get_mut("keys") {
            *keys = serde_json::json!({ "inline": OTHER_KEY });
        }
        plugin.config.configuration = config.to_string().into_bytes();
    }
    let mut story = Story::default();
    replayed(
        engine,
        arguments,
        plugin,
        recording,
        true,
        &mut |exchange| story.add(exchange),
    )?;
    Ok(story.totals())
}

fn print(
    arguments: &Arguments,
    story: &Story,
    against_envoy: &AgainstEnvoy,
    foreign: &StoryTotals,
    output: &Output,
) -> anyhow::Result<()> {
    let totals = story.totals();
    output.line(format_args!(
        "{}: {} requests and {} WebSockets of {} sessions, recorded by an Envoy\nwithout stickiness, replayed through the real plugin (WebAssembly) in {} workers.\n",
        bold().apply_to("sticky-session"),
        thousands(totals.requests - totals.websockets),
        thousands(totals.websockets),
        thousands(totals.sessions),
        arguments.workers
    ))?;
    let mut table = Table::new(&[
        ("session", Align::Right),
        ("requests", Align::Right),
        ("WebSockets", Align::Right),
        ("pinned to", Align::Left),
        ("because it served", Align::Left),
        ("came back", Align::Right),
        ("lost before", Align::Right),
        ("lost now", Align::Right),
    ]);
    for session in story.sessions.iter().take(SHOWN_MAX) {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "–".to_owned());
        table.row([
            session.session.to_string(),
            session.requests.to_string(),
            session.websockets.to_string(),
            text(&session.pinned_to),
            text(&session.pinned_by),
            session.accepted.to_string(),
            session.moved_in_recording.to_string(),
            session.moved.to_string(),
        ]);
    }
    output.line(table.to_string().trim_end())?;
    let more = story.sessions.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        output.line(dim().apply_to(format!("  … and {more} more sessions, all in the totals")))?;
    }
    let lost = |count: u64| {
        let style = if count == 0 { green() } else { red() };
        style.bold().apply_to(thousands(count)).to_string()
    };
    let each = if totals.issued == totals.sessions {
        "one per session, "
    } else {
        ""
    };
    output.line(format_args!(
        "\n  cookies issued    {:>6}   {each}on the answer that pins it\n  cookies accepted  {:>6}   requests that came back with their cookie",
        thousands(totals.issued),
        thousands(totals.accepted)
    ))?;
    output.line(format_args!(
        "  lost before       {:>6}   of them, that Envoy sent to an endpoint that didn't know the session",
        lost(totals.moved_in_recording)
    ))?;
    output.line(format_args!(
        "  lost now          {:>6}   of them, with sticky-session",
        lost(totals.moved)
    ))?;
    let refused: Vec<String> = foreign
        .refused
        .iter()
        .map(|(reason, count)| format!("{count} {}", reason.replace('_', " ")))
        .collect();
    output.line(format_args!(
        "  cookies refused   {:>6}   of another installation's, replayed here ({}); {} accepted",
        thousands(foreign.refused.values().sum()),
        refused.join(", "),
        foreign.accepted
    ))?;
    let style = if against_envoy.same == against_envoy.decisions {
        green()
    } else {
        red()
    };
    output.line(format_args!(
        "  as in real Envoy  {}   decisions that a recorded Envoy made with the plugin, made again here",
        style.apply_to(format!("{}/{}", against_envoy.same, against_envoy.decisions))
    ))?;
    output.line(format_args!(
        "\nNext: {}\nYour own traffic: record it with Envoy's tap filter, then\n  {}",
        bold().apply_to("cargo tidegate test"),
        bold().apply_to(
            "cargo tidegate replay --plugin sticky-session --config CONFIG.json TAP.json"
        )
    ))?;
    Ok(())
}
