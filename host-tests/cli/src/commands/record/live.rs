//! `tidegate record --admin`: from a running Envoy.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::PoisonError;
use std::time::Duration;

use crate::exit::{ExitCode, WithCode};
use crate::output::{Output, bytes, thousands};
use crate::recording::live::{
    AdminAddress, HeaderMatch, LiveEnd, LiveError, LiveOptions, LiveState, LiveTap, look_around,
};
use crate::recording::{self, ConvertError, InputFormat, ReadOptions, RecordingReader};

use super::{Arguments, report};

/// Arguments for a recording of a running Envoy.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "From a running Envoy")]
pub(super) struct Live {
    /// Record from a running Envoy: the address of its admin. Ctrl-C, `--duration` or `--exchanges` ends it; what came
    /// is kept.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["inputs", "from", "access_logs"])]
    pub(super) admin: Option<AdminAddress>,
    /// The `config_id` of Envoy's tap filter.
    #[arg(
        long,
        default_value = "tidegate",
        value_name = "ID",
        conflicts_with = "inputs"
    )]
    tap_id: String,
    /// End after so many exchanges.
    #[arg(long, value_name = "COUNT", conflicts_with = "inputs")]
    exchanges: Option<NonZeroU64>,
    /// End after so many seconds.
    #[arg(long, value_name = "SECONDS", conflicts_with = "inputs")]
    duration: Option<NonZeroU32>,
    /// Record only requests whose path begins so.
    #[arg(long, value_name = "PREFIX", conflicts_with = "inputs")]
    path: Option<String>,
    /// Record only requests that have this header, with this value if one is given. May be repeated: all of them.
    #[arg(
        long = "header",
        value_name = "NAME[=VALUE]",
        conflicts_with = "inputs"
    )]
    headers: Vec<HeaderMatch>,
    /// How much of a body Envoy keeps, each way, in bytes.
    #[arg(long, default_value_t = 1024 * 1024, value_name = "BYTES", conflicts_with = "inputs")]
    max_body_bytes: u32,
    /// Record events as they come, not exchanges when they are over: the messages of WebSockets with their order and times,
    /// also of those that stay open. Envoy then names neither clients nor endpoints.
    #[arg(long, conflicts_with_all = ["inputs", "exchanges"])]
    streamed: bool,
}

/// Records until one of the ends that were asked for, or until Envoy goes away.
pub(super) fn run(
    arguments: &Arguments,
    admin: &AdminAddress,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let mut redactor = super::redactor(arguments)?;
    let tap = match attach(arguments, admin, output) {
        Ok(tap) => tap,
        Err(error) => {
            output.complain(error.render(console::colors_enabled_stderr()).trim_end());
            return Ok(ExitCode::Usage);
        }
    };
    let surroundings = look_around(admin);
    if surroundings.clusters.is_none() && arguments.reading.clusters.is_empty() {
        output.warn("the admin doesn't tell its clusters: say with `--cluster` which one serves");
    }
    let state = tap.state();
    let state = move || state.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let options = ReadOptions {
        session: arguments.session.clone(),
        // Not recognised: that would wait for more than the first exchange.
        from: Some(InputFormat::EnvoyTap),
        known_clusters: surroundings.clusters.unwrap_or_default(),
        ..arguments.reading.options()
    };
    let mut reader = match RecordingReader::from_reader(&admin.to_string(), tap, &options) {
        Ok(reader) => reader,
        // No input is empty by mistake here, and says so in words of files.
        Err(_) if state().objects == 0 => return Ok(nothing_came(&state(), output)),
        Err(error) => return Ok(report(&error, output)),
    };
    let envoy = arguments.envoy.clone().or(surroundings.version);
    let converted = match recording::convert(
        &mut reader,
        &arguments.output,
        envoy.as_deref(),
        redactor.as_mut(),
    ) {
        Ok(converted) => converted,
        Err(ConvertError::Input(error)) => return Ok(report(&error, output)),
        Err(error) => return Err(error).with_code(ExitCode::Usage),
    };
    let end = state().end;
    super::show(arguments, &converted, end.as_ref(), output)?;
    Ok(match &end {
        Some(LiveEnd::Cut(why)) => {
            output.complain(format_args!(
                "error: the connection to Envoy broke: {why}; what came before is in the recording"
            ));
            ExitCode::Usage
        }
        Some(LiveEnd::Malformed(why)) => {
            output.complain(format_args!(
                "error: Envoy's answer is malformed: {why}; what came before is in the recording"
            ));
            ExitCode::Usage
        }
        _ => ExitCode::Passed,
    })
}

fn attach(
    arguments: &Arguments,
    admin: &AdminAddress,
    output: &Output,
) -> Result<LiveTap, LiveError> {
    let live = &arguments.live;
    let options = LiveOptions {
        admin: admin.clone(),
        tap_id: live.tap_id.clone(),
        path: live.path.clone(),
        headers: live.headers.clone(),
        max_body_bytes: live.max_body_bytes,
        streamed: live.streamed,
        exchanges: live.exchanges,
        duration: live
            .duration
            .map(|seconds| Duration::from_secs(u64::from(seconds.get()))),
        max_entry_bytes: arguments.reading.max_entry_bytes,
    };
    let what = if live.streamed { "events" } else { "exchanges" };
    let progress = output.progress("recording", live.exchanges.map(NonZeroU64::get));
    let mut shown = 0;
    let on_progress = move |state: &LiveState| {
        progress.advance(state.objects - shown);
        shown = state.objects;
        progress.flicker(format!(
            "{} {what}, {}",
            thousands(state.objects),
            bytes(state.bytes)
        ));
    };
    let tap = LiveTap::attach(&options, Box::new(on_progress))?;
    output.note(format_args!(
        "recording from {admin}; Ctrl-C ends it, and what came is kept"
    ));
    Ok(tap)
}

fn nothing_came(state: &LiveState, output: &Output) -> ExitCode {
    let why = match &state.end {
        Some(LiveEnd::Cut(why)) => format!("the connection to Envoy broke: {why}"),
        Some(LiveEnd::Malformed(why)) => format!("Envoy's answer is malformed: {why}"),
        _ => "no exchange that began after the tap was attached has ended".to_owned(),
    };
    output.complain(format_args!("error: {why}; nothing is written"));
    ExitCode::Usage
}
