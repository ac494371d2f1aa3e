//! `tidegate replay`.

mod scenarios;

pub use scenarios::finish;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;
use tidegate_host::{FailurePolicy, LogLevel, Profile, StartError};

use super::check::variable;
use super::record::{self, Reading};
use crate::engine::engine;
use crate::exit::{ExitCode, Failure, WithCode};
use crate::output::{Align, Output, Table, bold, bytes, dim, green, red, thousands, yellow};
use crate::recording::{Malformed, RecordingReader, SessionKey};
use crate::replay::{
    self, Decision, Detail, Divergence, Exchange, Expectation, ExpectationError, Options,
    ReplayError, Totals, Trap,
};

/// Arguments of `tidegate replay`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Recordings: files or directories, of any format that `record` reads; `-` is standard input. All of them are
    /// one recording. Or scenarios, which end in `.yaml`: traffic against modelled endpoints, through the filters that
    /// they name.
    #[arg(required = true, value_name = "RECORDING|SCENARIO")]
    recordings: Vec<PathBuf>,
    /// A module, or the name of a plugin of this checkout. Repeated, it is a chain that requests pass in this order.
    /// Needed for recordings.
    #[arg(short, long = "plugin", value_name = "MODULE|NAME")]
    plugins: Vec<String>,
    /// The configuration of the plugin: once for each `--plugin`, in the same order; `none` for none.
    #[arg(short, long = "config", value_name = "FILE|none")]
    configs: Vec<PathBuf>,
    /// An environment variable of the plugins' VMs; without a value, the one of this process.
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    environment: Vec<String>,
    /// Worker threads of the proxy; a connection stays on one.
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: u32,
    /// Seed of everything that looks random; 1 without it, and for scenarios those that they name.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Which streams are one client: `auto` (what the recording says, else the connection), `connection`, `source-ip`,
    /// `cookie:NAME`, `header:NAME`; several joined by `+` (all of them) and `,` (the first that a request has).
    #[arg(long, default_value = "auto", value_name = "KEY")]
    session: SessionKey,
    /// The traffic was recorded behind the same plugins: send only the recorded cookies, not those that the plugins give
    /// the clients here, and let the recorded endpoints serve whatever the plugins ask for.
    #[arg(long)]
    behind_plugins: bool,
    /// The header in which the plugins name the endpoint; `endpoint_header` of their configuration by default.
    #[arg(long, value_name = "HEADER")]
    endpoint_header: Option<String>,
    /// What becomes of traffic after a trap.
    #[arg(long, value_enum, default_value_t = OnTrap::Closed, value_name = "POLICY")]
    on_trap: OnTrap,
    /// What the proxy answers where the specification of the ABI and Envoy differ.
    #[arg(long, value_enum, default_value_t = Like::Envoy, value_name = "PROXY")]
    profile: Like,
    /// A host function, WASI function or callback that the plugins may use, by name; repeated, all of them. Without any
    /// they may use everything. As Envoy's `allowed_capabilities`.
    #[arg(long = "allow-capability", value_name = "NAME")]
    capabilities: Vec<String>,
    /// Show what the plugins log, from this level.
    #[arg(long, value_enum, default_value_t = Level::Warn, value_name = "LEVEL")]
    log_level: Level,
    /// Print the totals only.
    #[arg(long)]
    summary: bool,
    /// Compare the decisions with this file; exit code 5 if they differ.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Write the file of `--expect` instead of comparing with it.
    #[arg(long, requires = "expect")]
    bless: bool,
    /// Of scenarios: write the expectations and whether they hold as JUnit's XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Of scenarios: write a line of JSON for each request.
    #[arg(long, value_name = "FILE")]
    requests: Option<PathBuf>,
    /// Of scenarios: run them with the real Envoy, real servers and real clients, in real time.
    #[arg(long)]
    real: bool,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OnTrap {
    /// 503 from then on, as Envoy's `FAIL_CLOSED`.
    Closed,
    /// 503 for the request that trapped, then traffic passes, as Envoy's `FAIL_OPEN`.
    Open,
    /// A new VM, as Envoy's `FAIL_RELOAD`.
    Reload,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Like {
    /// As Envoy 1.40.
    Envoy,
    /// As the specification of ABI 0.2.1 has it.
    Spec,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

/// What `--json` prints: a line per exchange, and one for the totals.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Exchange(&'a Exchange),
    /// Only with `--keep-going`.
    Malformed(&'a Malformed),
    Totals(&'a Totals),
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<ExitCode> {
    let mut paths = arguments.recordings.iter();
    if paths.clone().all(|path| scenarios::is_scenario(path)) {
        return scenarios::run(arguments, output);
    }
    if let Some(scenario) = paths.find(|path| scenarios::is_scenario(path)) {
        return Err(Failure::usage(format_args!(
            "`{}` is a scenario and others are recordings; replay them apart",
            scenario.display()
        ))
        .into());
    }
    refuse_what_recordings_lack(arguments)?;
    let options = options(arguments, output)?;
    let names: Vec<String> = options
        .plugins
        .iter()
        .map(|plugin| plugin.config.name.clone())
        .collect();
    let expected = match &arguments.expect {
        Some(path) if !arguments.bless => {
            Some(Expectation::read(path).map_err(|error| Failure::new(code_of(&error), error))?)
        }
        _ => None,
    };
    let mut reader =
        match RecordingReader::open(&arguments.recordings, &arguments.reading.options()) {
            Ok(reader) => reader,
            Err(error) => return Ok(record::report(&error, output)),
        };
    let mut decisions = Vec::new();
    let mut out = BufWriter::new(io::stdout().lock());
    let ended = replay::run(&engine()?, options, &mut reader, &mut |exchange| {
        if arguments.expect.is_some() {
            decisions.push(Decision::of(exchange));
            Ok(())
        } else if arguments.summary {
            Ok(())
        } else if output.is_json() {
            write_json(&mut out, &Line::Exchange(exchange))
        } else {
            write_exchange(&mut out, exchange)
        }
    });
    let totals = match ended {
        Ok(totals) => totals,
        Err(error) => {
            out.flush()?;
            return failed(error, output);
        }
    };
    let malformed = reader.statistics().malformed;
    if output.is_json() {
        if arguments.reading.keeps_going() {
            write_json(&mut out, &Line::Malformed(&malformed))?;
        }
        write_json(&mut out, &Line::Totals(&totals))?;
    } else if arguments.expect.is_none() {
        write_totals(&mut out, &totals)?;
    }
    out.flush()?;
    drop(out);
    record::report_malformed(&malformed, output);
    let mut code = ExitCode::Passed;
    if let Some(path) = &arguments.expect {
        let actual = Expectation::new(names, decisions, &totals);
        code = compare(path, expected, &actual, output)?;
    }
    if totals.traps > 0 {
        report_traps(&totals, output);
        code = ExitCode::GuestTrapped;
    }
    Ok(code)
}

fn refuse_what_recordings_lack(arguments: &Arguments) -> anyhow::Result<()> {
    let given = [
        ("--junit", arguments.junit.is_some()),
        ("--requests", arguments.requests.is_some()),
        ("--real", arguments.real),
    ];
    for (flag, is_given) in given {
        if is_given {
            let message = format!("`{flag}` is for scenarios, which end in `.yaml`");
            return Err(Failure::usage(message).into());
        }
    }
    if arguments.plugins.is_empty() {
        let message = "recordings are replayed through plugins: name one with `--plugin`";
        return Err(Failure::usage(message).into());
    }
    Ok(())
}

fn options(arguments: &Arguments, output: &Output) -> anyhow::Result<Options> {
    if !arguments.configs.is_empty() && arguments.configs.len() != arguments.plugins.len() {
        return Err(Failure::usage(format_args!(
            "{} configurations for {} plugins: give one for each, `none` for none",
            arguments.configs.len(),
            arguments.plugins.len()
        ))
        .into());
    }
    let environment = arguments
        .environment
        .iter()
        .map(|given| variable(given))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let failure_policy = match arguments.on_trap {
        OnTrap::Closed => FailurePolicy::FailClosed,
        OnTrap::Open => FailurePolicy::FailOpen,
        OnTrap::Reload => FailurePolicy::FailReload,
    };
    let engine = engine()?;
    let mut plugins = Vec::new();
    for (index, named) in arguments.plugins.iter().enumerate() {
        let configuration = arguments
            .configs
            .get(index)
            .map(PathBuf::as_path)
            .filter(|path| *path != Path::new("none"));
        let mut plugin = replay::plugin(
            &engine,
            named,
            configuration,
            &environment,
            failure_policy,
            output,
        )?;
        plugin
            .config
            .allowed_capabilities
            .clone_from(&arguments.capabilities);
        plugins.push(plugin);
    }
    let endpoint_header = arguments.endpoint_header.clone().map_or_else(
        || replay::endpoint_header(&plugins),
        |name| name.to_lowercase(),
    );
    Ok(Options {
        plugins,
        workers: arguments.workers,
        seed: arguments.seed.unwrap_or(1),
        profile: match arguments.profile {
            Like::Envoy => Profile::Envoy,
            Like::Spec => Profile::Spec,
        },
        session: arguments.session.clone(),
        behind_plugins: arguments.behind_plugins,
        endpoint_header,
        detail: if arguments.summary && arguments.expect.is_none() {
            Detail::Totals
        } else {
            Detail::Exchanges
        },
        log_level: match arguments.log_level {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
            Level::Critical => LogLevel::Critical,
        },
        answers: None,
    })
}

/// Says why a replay can't go on, and how the command ends.
pub(super) fn failed(error: ReplayError, output: &Output) -> anyhow::Result<ExitCode> {
    let code = error.exit_code();
    match error {
        ReplayError::Recording(error) => return Ok(record::report(&error, output)),
        ReplayError::Output(error) => return Err(error.into()),
        ReplayError::Start(ref error) => show_logs(error, output),
        ReplayError::Input { .. } => {}
    }
    Err(error).with_code(code)
}

/// Shows what plugins logged before they refused to start.
fn show_logs(error: &StartError, output: &Output) {
    let (StartError::Rejected { logs, .. } | StartError::Trapped { logs, .. }) = error else {
        return;
    };
    for line in logs {
        output.complain(format_args!(
            "{}: {}",
            line.level.name(),
            String::from_utf8_lossy(&line.message)
        ));
    }
}

/// Shows where a plugin trapped.
fn show_trap(trap: &Trap, output: &Output) {
    output.complain(format_args!(
        "{} {} trapped in {} on {}:\n  {}",
        red().bold().for_stderr().apply_to("trap:"),
        trap.plugin,
        trap.callback,
        trap.thread,
        trap.message.trim_end().replace('\n', "\n  ")
    ));
}

fn report_traps(totals: &Totals, output: &Output) {
    for trap in &totals.first_traps {
        show_trap(trap, output);
    }
    let more = totals.traps.saturating_sub(totals.first_traps.len() as u64);
    if more > 0 {
        output.complain(format_args!("… and {} more traps", thousands(more)));
    }
}

const fn code_of(error: &ExpectationError) -> ExitCode {
    match error {
        ExpectationError::Io { .. }
        | ExpectationError::Malformed { .. }
        | ExpectationError::Newer { .. } => ExitCode::Usage,
    }
}

fn compare(
    path: &Path,
    expected: Option<Expectation>,
    actual: &Expectation,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let shown = path.display();
    let exchanges = thousands(actual.exchanges.len() as u64);
    let Some(expected) = expected else {
        let before = Expectation::read(path).ok();
        actual
            .write(path)
            .map_err(|error| Failure::new(code_of(&error), error))?;
        let changed = match before.and_then(|before| before.compare(actual)) {
            Some(divergence) => {
                print_divergence(&divergence, output);
                format!("{} changed", divergence.exchanges)
            }
            None => "nothing changed".to_owned(),
        };
        output.note(format_args!(
            "wrote {shown}: {exchanges} exchanges, {changed}"
        ));
        return Ok(ExitCode::Passed);
    };
    let Some(divergence) = expected.compare(actual) else {
        output.note(format_args!(
            "{} {exchanges} exchanges as in {shown}",
            green().for_stderr().apply_to("same:")
        ));
        return Ok(ExitCode::Passed);
    };
    print_divergence(&divergence, output);
    output.complain(format_args!(
        "{} {} of {exchanges} exchanges differ from {shown}; `--bless` writes it again if that is intended",
        red().bold().for_stderr().apply_to("diverged:"),
        thousands(divergence.exchanges as u64)
    ));
    Ok(ExitCode::ReplayDiverged)
}

fn print_divergence(divergence: &Divergence, output: &Output) {
    for (mark, line) in &divergence.lines {
        let line = format!("{mark} {line}");
        match mark {
            '-' => output.complain(red().for_stderr().apply_to(line)),
            '+' => output.complain(green().for_stderr().apply_to(line)),
            _ => output.complain(line.trim_end()),
        }
    }
    if divergence.not_shown() > 0 {
        output.complain(format_args!(
            "… and {} more exchanges",
            thousands(divergence.not_shown() as u64)
        ));
    }
}

fn write_json(out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

fn write_exchange(out: &mut impl Write, exchange: &Exchange) -> io::Result<()> {
    let decision = Decision::of(exchange);
    let heading = format!("#{} session {}", decision.stream, decision.session);
    writeln!(
        out,
        "{} {}",
        dim().apply_to(heading),
        bold().apply_to(&decision.request)
    )?;
    for line in &decision.did {
        let style = match line.split(' ').nth(1) {
            Some("+") => green(),
            Some("-") => red(),
            Some("~") => yellow(),
            _ => console::Style::new(),
        };
        writeln!(out, "    {}", style.apply_to(line))?;
    }
    for log in &exchange.logs {
        writeln!(
            out,
            "    {}",
            dim().apply_to(format!("{}: {}", log.level, log.message))
        )?;
    }
    Ok(())
}

fn write_totals(out: &mut impl Write, totals: &Totals) -> io::Result<()> {
    let seconds = totals.last_ns.saturating_sub(totals.first_ns) / 1_000_000_000;
    writeln!(
        out,
        "{} {} requests of {} sessions, {} WebSockets, {} of traffic",
        bold().apply_to("replayed"),
        thousands(totals.requests),
        thousands(totals.sessions),
        thousands(totals.websockets),
        duration(seconds)
    )?;
    let counts = [
        ("requests changed", totals.changed_requests),
        ("responses changed", totals.changed_responses),
        ("sent to another endpoint than recorded", totals.diverged),
        ("answered by a plugin", totals.local_replies),
        ("cut", totals.resets),
        ("held back to the end", totals.held),
        ("not ended by the recording", totals.unfinished),
        ("calls of plugins, refused", totals.call_outs),
        ("traps", totals.traps),
    ];
    for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        writeln!(out, "  {:>9}  {name}", thousands(count))?;
    }
    let metrics: Vec<_> = totals
        .metrics
        .iter()
        .filter(|metric| metric.value > 0)
        .collect();
    if !metrics.is_empty() {
        let mut table = Table::new(&[("metric", Align::Left), ("value", Align::Right)]);
        for metric in metrics {
            table.row([metric.name.clone(), thousands(metric.value)]);
        }
        write!(out, "\n{table}")?;
    }
    let mut table = Table::new(&[
        ("plugin", Align::Left),
        ("callback", Align::Left),
        ("calls", Align::Right),
        ("fuel, least", Align::Right),
        ("mean", Align::Right),
        ("most", Align::Right),
    ]);
    for cost in &totals.cost {
        for callback in &cost.callbacks {
            table.row([
                cost.plugin.clone(),
                callback.name.to_owned(),
                thousands(callback.calls),
                thousands(callback.fuel_min),
                thousands(callback.fuel_mean),
                thousands(callback.fuel_max),
            ]);
        }
    }
    write!(out, "\n{table}")?;
    for vm in &totals.vms {
        let state = vm.died_of.as_ref().map_or("", |_| ", dead");
        writeln!(
            out,
            "  VM of {} on the {}: {}{state}",
            vm.plugins.join(", "),
            vm.thread,
            bytes(vm.memory_bytes)
        )?;
    }
    Ok(())
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}
