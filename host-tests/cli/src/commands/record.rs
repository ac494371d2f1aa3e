//! `tidegate record`.

mod live;

use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use crate::exit::{ExitCode, WithCode};
use crate::output::{self, Output, bytes, thousands};
use crate::recording::live::LiveEnd;
use crate::recording::{
    self, Cluster, ClusterRule, ConvertError, Converted, InputFormat, Malformed, ReadOptions,
    RecordingError, RecordingReader, Redactor, Secret, SessionKey,
};

/// Arguments of `tidegate record`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Files or directories of recorded traffic; `-` is standard input. All of them become one recording.
    #[arg(required_unless_present = "admin", value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// The recording to write; it appears when it is complete.
    #[arg(short, long, value_name = "FILE.tidegate.jsonl")]
    output: PathBuf,
    /// Version of the Envoy that was recorded, for the header.
    #[arg(long, value_name = "VERSION")]
    envoy: Option<String>,
    /// Name the sessions in the recording by this: `source-ip`, `cookie:NAME`, `header:NAME`. `auto` leaves that to the
    /// replay.
    #[arg(long, default_value = "auto", value_name = "KEY")]
    session: SessionKey,
    /// Take secrets out: `cookies`, `authorization` (headers with credentials), `query` (values in URLs that are named
    /// like one), `bodies` (WebSocket messages too); all of them without a list. Equal cookies stay equal.
    #[arg(long, value_enum, value_name = "SECRETS", num_args = 0..=1, require_equals = true, value_delimiter = ',', default_missing_value = "cookies,authorization,query,bodies")]
    redact: Vec<Secret>,
    /// Make the pseudonyms with the key in this file, 16 bytes at least, so that several recordings have the same ones.
    /// Without it, the key is random and thrown away.
    #[arg(long, value_name = "FILE", requires = "redact")]
    redact_key: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    live: live::Live,
}

/// How to read recorded traffic; the same for every verb that does.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Reading {
    /// The format, when it shouldn't be recognised by its content.
    #[arg(long, value_enum, value_name = "FORMAT")]
    from: Option<InputFormat>,
    /// The cluster of requests that no one names one for; with a prefix, of those whose path begins so. May be
    /// repeated: the first that matches.
    #[arg(long = "cluster", value_parser = cluster_rule, value_name = "[/PREFIX=]NAME")]
    clusters: Vec<ClusterRule>,
    /// Endpoints of a cluster, as `NAME=IP:PORT,IP:PORT`, besides those that the recording names. May be repeated.
    #[arg(long, value_parser = endpoints, value_name = "NAME=IP:PORT,…")]
    endpoints: Vec<Cluster>,
    /// Envoy's access log of the same traffic as JSON: it has the clusters, times and details that a tap lacks. May be
    /// repeated.
    #[arg(long = "access-log", value_name = "FILE")]
    access_logs: Vec<PathBuf>,
    /// Which keys of an access log hold what: a JSON object of fields and keys, as `{"path": "request.path"}`. The keys
    /// of Envoy's documentation, of Istio and of Envoy Gateway are known without it.
    #[arg(long, value_name = "FILE")]
    fields: Option<PathBuf>,
    /// Count malformed entries and go on behind them.
    #[arg(long)]
    keep_going: bool,
    /// How far apart in time the streams of a file may come, in seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    reorder_window: u32,
    /// The longest line, trace or entry, in bytes.
    #[arg(long, default_value_t = recording::MAX_ENTRY_BYTES, value_name = "BYTES")]
    max_entry_bytes: usize,
}

impl Reading {
    /// Says whether anything is said about what is read.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        self.from.is_some()
            || !self.clusters.is_empty()
            || !self.endpoints.is_empty()
            || !self.access_logs.is_empty()
            || self.fields.is_some()
            || self.keep_going
    }

    /// Says whether malformed entries are passed over.
    #[must_use]
    pub const fn keeps_going(&self) -> bool {
        self.keep_going
    }

    /// Returns the options that the arguments stand for.
    #[must_use]
    pub fn options(&self) -> ReadOptions {
        ReadOptions {
            from: self.from,
            clusters: self.clusters.clone(),
            endpoints: self.endpoints.clone(),
            known_clusters: Vec::new(),
            access_logs: self.access_logs.clone(),
            session: SessionKey::Auto,
            reorder_window_ns: u64::from(self.reorder_window) * 1_000_000_000,
            max_entry_bytes: self.max_entry_bytes,
            fields: self.fields.clone(),
            keep_going: self.keep_going,
        }
    }
}

/// Prints what is wrong with an input, with the place in it, and says how the command ends.
pub fn report(error: &RecordingError, output: &Output) -> ExitCode {
    output.complain(error.render(console::colors_enabled_stderr()).trim_end());
    ExitCode::Usage
}

/// Says which entries were left out because they are malformed; nothing if none was.
pub fn report_malformed(malformed: &Malformed, output: &Output) {
    for entry in &malformed.first {
        output.complain(format_args!(
            "{}:{}:{}: {}",
            entry.input, entry.line, entry.column, entry.message
        ));
    }
    let named = malformed.first.len() as u64;
    if malformed.count > named {
        output.complain(format_args!(
            "… and {} more",
            thousands(malformed.count - named)
        ));
    }
    if malformed.count > 0 {
        output.warn(format_args!(
            "left out: {} malformed entries",
            thousands(malformed.count)
        ));
    }
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<ExitCode> {
    if let Some(admin) = &arguments.live.admin {
        return live::run(arguments, admin, output);
    }
    let options = ReadOptions {
        session: arguments.session.clone(),
        ..arguments.reading.options()
    };
    let mut redactor = redactor(arguments)?;
    let mut reader = match RecordingReader::open(&arguments.inputs, &options) {
        Ok(reader) => reader,
        Err(error) => return Ok(report(&error, output)),
    };
    let converted = match recording::convert(
        &mut reader,
        &arguments.output,
        arguments.envoy.as_deref(),
        redactor.as_mut(),
    ) {
        Ok(converted) => converted,
        Err(ConvertError::Input(error)) => return Ok(report(&error, output)),
        Err(error) => return Err(error).with_code(ExitCode::Usage),
    };
    show(arguments, &converted, None, output)?;
    Ok(ExitCode::Passed)
}

fn redactor(arguments: &Arguments) -> anyhow::Result<Option<Redactor>> {
    Ok(match (arguments.redact.as_slice(), &arguments.redact_key) {
        ([], _) => None,
        (secrets, None) => Some(Redactor::with_random_key(secrets)?),
        (secrets, Some(path)) => Some(
            Redactor::with_key_of(secrets, path)
                .with_context(|| format!("failed to load the key `{}`", path.display()))
                .with_code(ExitCode::Usage)?,
        ),
    })
}

fn show(
    arguments: &Arguments,
    converted: &Converted,
    end: Option<&LiveEnd>,
    output: &Output,
) -> anyhow::Result<()> {
    report_malformed(&converted.malformed, output);
    if output.is_json() {
        output.json(&Document {
            output: arguments.output.display().to_string(),
            recording: converted,
            end,
        })?;
        return Ok(());
    }
    print(arguments, converted, output)
}

#[derive(Serialize)]
struct Document<'a> {
    output: String,
    recording: &'a Converted,
    /// Why a live recording ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<&'a LiveEnd>,
}

fn print(arguments: &Arguments, converted: &Converted, output: &Output) -> anyhow::Result<()> {
    output.line(format_args!(
        "{}  {}",
        output::bold().apply_to(arguments.output.display()),
        output::dim().apply_to(bytes(converted.bytes))
    ))?;
    output.line(format_args!(
        "  {} streams, {} exchanges, {} sessions, {} WebSockets, {} of bodies",
        thousands(converted.streams),
        thousands(converted.exchanges),
        thousands(converted.sessions),
        thousands(converted.websockets),
        bytes(converted.body_bytes)
    ))?;
    for (cluster, endpoints) in &converted.clusters {
        output.line(format_args!("  cluster {cluster}: {endpoints} endpoints"))?;
    }
    if converted.truncated > 0 {
        let advice = if converted.source.starts_with("envoy-tap") {
            ": raise the tap's `max_buffered_rx_bytes` and `max_buffered_tx_bytes`"
        } else {
            ""
        };
        output.warn(format_args!(
            "{} bodies were cut off when they were recorded{advice}",
            thousands(converted.truncated)
        ));
    }
    if !converted.redacted.is_empty() {
        output.line(format_args!("  without {}", converted.redacted.join(", ")))?;
    }
    for (reason, count) in &converted.skipped_by_reason {
        output.warn(format_args!("left out: {} {reason}", thousands(*count)));
    }
    if converted.late_events > 0 {
        output.warn(format_args!(
            "{} events came too late to be put in order: raise `--reorder-window`",
            thousands(converted.late_events)
        ));
    }
    if converted.without_log_entry > 0 {
        output.warn(format_args!(
            "{} requests are not in the access log",
            thousands(converted.without_log_entry)
        ));
    }
    let names_no_endpoint = converted
        .clusters
        .iter()
        .all(|(_, endpoints)| *endpoints == 0);
    // A log is joined with taps only.
    let or_log = if converted.source.starts_with("envoy-tap") {
        " or `--access-log`"
    } else {
        ""
    };
    if names_no_endpoint && converted.exchanges > 0 {
        output.warn(format_args!(
            "the recording names no endpoint: give them with `--endpoints`{or_log}"
        ));
    }
    if converted.clusters.is_empty() && converted.streams > 0 {
        output.warn(format_args!(
            "no stream names its cluster: give it with `--cluster`{or_log}"
        ));
    }
    Ok(())
}

fn cluster_rule(text: &str) -> Result<ClusterRule, String> {
    let (prefix, name) = match text.split_once('=') {
        Some((prefix, name)) if prefix.starts_with('/') => (prefix, name),
        _ => ("", text),
    };
    if name.is_empty() {
        return Err("expected `NAME` or `/PREFIX=NAME`".to_owned());
    }
    Ok(ClusterRule {
        prefix: prefix.to_owned(),
        name: name.to_owned(),
    })
}

fn endpoints(text: &str) -> Result<Cluster, String> {
    let (name, list) = text
        .split_once('=')
        .filter(|(name, list)| !name.is_empty() && !list.is_empty())
        .ok_or("expected `NAME=IP:PORT,IP:PORT`")?;
    let endpoints = list
        .split(',')
        .map(|endpoint| {
            let address: Result<std::net::SocketAddr, _> = endpoint.parse();
            address
                .map(|address| address.to_string())
                .map_err(|_error| format!("`{endpoint}` is not `IP:PORT`"))
        })
        .collect::<Result<_, _>>()?;
    Ok(Cluster {
        name: name.to_owned(),
        endpoints,
    })
}
