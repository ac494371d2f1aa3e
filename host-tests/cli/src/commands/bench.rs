//! `tidegate bench`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::e2e;
use crate::bench::{
    self, Measured, Report, Request, Spread, closed_loop, importers, requests, ticks,
};
use crate::exit::ExitCode;
use crate::output::{Align, Output, Table, bold, bytes, dim, green, red, thousands};

/// Arguments of `tidegate bench`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to measure; requests through plugins without it.
    #[command(subcommand)]
    subject: Option<Subject>,
    /// How often time is measured.
    #[arg(long, default_value_t = 7, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Seed of all that looks random.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
}

#[derive(Debug, clap::Subcommand)]
enum Subject {
    /// Measure how fast a scenario runs in virtual time, with one worker and with sixteen, and in how much memory.
    ClosedLoop(ClosedLoopArguments),
    /// Measure what a request costs the real Envoy: plain, with Envoy's own filters, with modules; and where the time goes.
    Envoy(EnvoyArguments),
    /// Measure what knowing the endpoints costs each kind of threads of the real Envoy.
    EnvoyEndpoints(EnvoyEndpointsArguments),
    /// Measure what routing by health does in the real Envoy, beside `least_request` under the same load: one endpoint slow,
    /// failing, joining cold, dying.
    EnvoyHealth(EnvoyHealthArguments),
    /// Measure how fast recordings of every format are read, and in how much memory.
    Importers(ImportersArguments),
    /// Measure what a request costs where endpoints are known: fuel and host calls, at 4 to 10 000 endpoints.
    Requests,
    /// Measure what knowing the endpoints costs: fuel and host calls of a tick, memory per VM.
    Ticks,
}

#[derive(Debug, clap::Args)]
struct ClosedLoopArguments {
    /// About how many requests each run has.
    #[arg(long, default_value_t = 1_000_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    requests: u64,
    /// Seed of the scenario.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// Run with so many workers and print what that took: what the process for a number of workers does.
    #[arg(long, hide = true, value_name = "WORKERS")]
    measure: Option<u32>,
}

#[derive(Debug, clap::Args)]
struct EnvoyArguments {
    /// How often each form has its turn.
    #[arg(long, default_value_t = 20, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How many requests a turn has.
    #[arg(long, default_value_t = 1000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(16..=100_000))]
    requests: u32,
    /// How many of them there are per second.
    #[arg(long, default_value_t = 1000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Measure this form only. May be repeated.
    #[arg(long = "form", value_name = "NAME")]
    forms: Vec<String>,
    /// Leave out where the time goes, which takes as long again.
    #[arg(long)]
    brief: bool,
}

#[derive(Debug, clap::Args)]
struct EnvoyEndpointsArguments {
    /// How many endpoints the cluster has.
    #[arg(long, default_value_t = 500, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    endpoints: u32,
    /// How often is measured.
    #[arg(long, default_value_t = 5, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long each time, in seconds.
    #[arg(long, default_value_t = 6, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// How many requests per second are served meanwhile.
    #[arg(long, default_value_t = 200, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=5000))]
    rate: u32,
}

#[derive(Debug, clap::Args)]
struct EnvoyHealthArguments {
    /// What the plugin takes outcomes from.
    #[arg(long, value_enum, default_value_t = Observed::Attempts)]
    observe: Observed,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Observed {
    /// From attempts, with a filter of the cluster.
    Attempts,
    /// From requests, without one.
    Requests,
}

#[derive(Debug, clap::Args)]
struct ImportersArguments {
    /// Size of each file, in bytes. The files are temporary.
    #[arg(long, default_value_t = 64 << 20, value_name = "BYTES")]
    size: u64,
    /// Measure with files of 1 GiB.
    #[arg(long, conflicts_with = "size")]
    long: bool,
    /// Measure this format only. May be repeated.
    #[arg(long = "only", value_enum, value_name = "FORMAT")]
    formats: Vec<importers::Format>,
    /// Seed of the order of the exchanges.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// Read this file and print what that took: what the process for a format does.
    #[arg(long, hide = true, value_name = "FILE")]
    measure: Option<PathBuf>,
}

/// Measures and prints. A missed goal is printed and is no failure: time depends on the machine.
///
/// # Errors
/// A plugin doesn't build or start.
pub fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<ExitCode> {
    match &arguments.subject {
        Some(Subject::ClosedLoop(arguments)) => return measure_closed_loop(arguments, output),
        Some(Subject::Envoy(arguments)) => {
            return e2e::run("envoy-cost", output, |command| {
                let numbers = [
                    ("--rounds", arguments.rounds),
                    ("--requests", arguments.requests),
                    ("--rate", arguments.rate),
                ];
                for (name, number) in numbers {
                    command.arg(name).arg(number.to_string());
                }
                for form in &arguments.forms {
                    command.args(["--form", form]);
                }
                if arguments.brief {
                    command.arg("--brief");
                }
            });
        }
        Some(Subject::EnvoyEndpoints(arguments)) => {
            return e2e::run("envoy-endpoints", output, |command| {
                let numbers = [
                    ("--endpoints", arguments.endpoints),
                    ("--rounds", arguments.rounds),
                    ("--seconds", arguments.seconds),
                    ("--rate", arguments.rate),
                ];
                for (name, number) in numbers {
                    command.arg(name).arg(number.to_string());
                }
            });
        }
        Some(Subject::EnvoyHealth(arguments)) => {
            return e2e::run("envoy-health", output, |command| {
                let observe = match arguments.observe {
                    Observed::Attempts => "attempts",
                    Observed::Requests => "requests",
                };
                command.args(["--observe", observe]);
            });
        }
        Some(Subject::Importers(arguments)) => return measure_importers(arguments, output),
        Some(Subject::Requests) => return measure_requests(output),
        Some(Subject::Ticks) => return measure_ticks(output),
        None => {}
    }
    let report = bench::run(
        &Request {
            runs: arguments.runs,
            seed: arguments.seed,
        },
        output,
    )?;
    if output.is_json() {
        output.json(&report)?;
    } else {
        print(&report, output)?;
    }
    Ok(ExitCode::Passed)
}

fn measure_closed_loop(
    arguments: &ClosedLoopArguments,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let request = closed_loop::Request {
        requests: arguments.requests,
        seed: arguments.seed,
    };
    if let Some(workers) = arguments.measure {
        output.json(&closed_loop::measure(workers, request, output)?)?;
        return Ok(ExitCode::Passed);
    }
    let report = closed_loop::run(request, output)?;
    if output.is_json() {
        output.json(&report)?;
        return Ok(ExitCode::Passed);
    }
    output.line(format_args!(
        "{}, seed {}, processor time of one core",
        report.scenario, report.seed
    ))?;
    let mut table = Table::new(&[
        ("workers", Align::Right),
        ("requests", Align::Right),
        ("per second", Align::Right),
        ("goal", Align::Right),
        ("", Align::Left),
        ("a million in", Align::Right),
        ("memory grew by", Align::Right),
    ]);
    for run in &report.runs {
        let million_ms = 1_000_000_000_u64
            .checked_div(run.requests_per_second)
            .unwrap_or(0);
        table.row([
            run.workers.to_string(),
            thousands(run.measurement.requests),
            thousands(run.requests_per_second),
            thousands(run.goal_per_second),
            verdict(Some(run.met)),
            format!("{}.{} s", million_ms / 1_000, million_ms % 1_000 / 100),
            run.measurement
                .peak_growth_bytes
                .map(bytes)
                .unwrap_or_default(),
        ]);
    }
    output.line(table)?;
    Ok(ExitCode::Passed)
}

fn measure_importers(arguments: &ImportersArguments, output: &Output) -> anyhow::Result<ExitCode> {
    if let Some(path) = &arguments.measure {
        output.json(&importers::measure(path)?)?;
        return Ok(ExitCode::Passed);
    }
    let report = importers::run(
        &importers::Request {
            size_bytes: if arguments.long {
                1 << 30
            } else {
                arguments.size
            },
            seed: arguments.seed,
            formats: arguments.formats.clone(),
        },
        output,
    )?;
    if output.is_json() {
        output.json(&report)?;
        return Ok(ExitCode::Passed);
    }
    output.line(format_args!(
        "files of {}, seed {}, processor time of one core",
        bytes(report.size_bytes),
        report.seed
    ))?;
    let mut table = Table::new(&[
        ("format", Align::Left),
        ("read per second", Align::Right),
        ("goal", Align::Right),
        ("", Align::Left),
        ("streams", Align::Right),
        ("events", Align::Right),
        ("memory grew by", Align::Right),
    ]);
    for measured in &report.importers {
        let measurement = &measured.measurement;
        table.row([
            measured.format.to_owned(),
            bytes(measured.bytes_per_second),
            measured
                .goal_bytes_per_second
                .map(bytes)
                .unwrap_or_default(),
            verdict(measured.met),
            thousands(measurement.streams),
            thousands(measurement.events),
            measurement.peak_growth_bytes.map(bytes).unwrap_or_default(),
        ]);
    }
    output.line(table)?;
    Ok(ExitCode::Passed)
}

fn measure_ticks(output: &Output) -> anyhow::Result<ExitCode> {
    let report = ticks::run(output)?;
    if output.is_json() {
        output.json(&report)?;
        return Ok(ExitCode::Passed);
    }
    output.line(format_args!(
        "fuel of a tick (median of steady ones, most of the others); {} ns per 1,000 units on this core, by wasmtime",
        report.ns_per_kilofuel
    ))?;
    let mut table = Table::new(&[
        ("source", Align::Left),
        ("endpoints", Align::Right),
        ("leads", Align::Right),
        ("reads a slice", Align::Right),
        ("publishes", Align::Right),
        ("follows", Align::Right),
        ("takes a snapshot", Align::Right),
        ("longest, about", Align::Right),
        ("", Align::Left),
        ("leader's memory", Align::Right),
        ("follower's", Align::Right),
    ]);
    for case in &report.cases {
        table.row([
            match case.source {
                ticks::Source::Admin => "admin".to_owned(),
                ticks::Source::Feed => "feed".to_owned(),
            },
            thousands(u64::try_from(case.endpoints).unwrap_or(u64::MAX)),
            thousands(case.leader_steady.median),
            thousands(case.leader_reading.max),
            thousands(case.leader_publishing.max),
            thousands(case.follower_steady.median),
            thousands(case.follower_reading.max),
            format!(
                "{}.{:02} ms",
                case.longest_us / 1_000,
                case.longest_us % 1_000 / 10
            ),
            verdict(Some(case.longest_us <= ticks::GOAL_US)),
            bytes(case.leader_memory_bytes),
            bytes(case.follower_memory_bytes),
        ]);
    }
    output.line(table)?;
    for case in &report.cases {
        let calls = |calls: &BTreeMap<&'static str, f64>| {
            let shown: Vec<String> = calls
                .iter()
                .map(|(name, count)| format!("{} {count:.1}", name.trim_start_matches("proxy_")))
                .collect();
            shown.join(", ")
        };
        if case.endpoints == 1_000 && case.source == ticks::Source::Admin {
            output.line(format_args!(
                "host calls of a steady tick that leads: {}",
                calls(&case.leader_calls_per_tick)
            ))?;
            output.line(format_args!(
                "of one that follows: {}",
                calls(&case.follower_calls_per_tick)
            ))?;
            output.line(format_args!(
                "of a request: {}; of shared data: {}",
                calls(&case.calls_per_request),
                case.shared_data_per_request
            ))?;
        }
    }
    Ok(ExitCode::Passed)
}

fn measure_requests(output: &Output) -> anyhow::Result<ExitCode> {
    let report = requests::run(output)?;
    if output.is_json() {
        output.json(&report)?;
        return Ok(ExitCode::Passed);
    }
    output.line(format_args!(
        "per request, mean of {}; one in ten has a second attempt",
        thousands(report.requests)
    ))?;
    let mut table = Table::new(&[
        ("plugins", Align::Left),
        ("endpoints", Align::Right),
        ("fuel", Align::Right),
        ("most", Align::Right),
        ("settled", Align::Right),
        ("host calls", Align::Right),
        ("with a list", Align::Right),
        ("memory", Align::Right),
        ("grew by", Align::Right),
    ]);
    for case in &report.cases {
        table.row([
            case.chain.as_str().to_owned(),
            thousands(u64::try_from(case.endpoints).unwrap_or(u64::MAX)),
            format!("{:.0}", case.fuel_per_request),
            thousands(case.fuel_max),
            format!("{:.0}", case.settled_fuel_per_request),
            format!("{:.2}", case.host_calls_per_request),
            format!("{:.0} %", case.listed_ratio * 100.0),
            bytes(case.memory_bytes),
            bytes(case.memory_growth_bytes),
        ]);
    }
    output.line(table)?;
    for growth in &report.growth {
        let shown = |counts: &BTreeMap<&'static str, f64>, digits: usize| {
            let shown: Vec<String> = counts
                .iter()
                .map(|(name, count)| {
                    format!("{} {count:.digits$}", name.trim_start_matches("proxy_"))
                })
                .collect();
            shown.join(", ")
        };
        output.line(format_args!(
            "{}: {:.3} × from the fewest endpoints to the most, {:.3} × once settled, goal {} {}",
            growth.chain.as_str(),
            growth.ratio,
            growth.settled_ratio,
            growth.goal,
            verdict(Some(growth.met))
        ))?;
        let cases = report.cases.iter();
        if let Some(case) = cases
            .filter(|case| case.chain == growth.chain)
            .find(|case| case.endpoints == 1_000)
        {
            output.line(format_args!("  host calls: {}", shown(&case.host_calls, 2)))?;
            output.line(format_args!("  fuel: {}", shown(&case.callbacks, 0)))?;
        }
    }
    Ok(ExitCode::Passed)
}

fn verdict(met: Option<bool>) -> String {
    match met {
        Some(true) => green().apply_to("met").to_string(),
        Some(false) => red().apply_to("missed").to_string(),
        None => String::new(),
    }
}

fn print(report: &Report, output: &Output) -> anyhow::Result<()> {
    output.line(format_args!(
        "{} requests of {} (in a row, {} times), on one core, {} runs, seed {}",
        thousands(report.requests),
        report.recording,
        report.rounds,
        report.runs,
        report.seed
    ))?;
    output.line(bold().apply_to("\nrequests per second"))?;
    let mut table = Table::new(&[
        ("plugin", Align::Left),
        ("replayed", Align::Right),
        ("min … max", Align::Right),
        ("goal", Align::Right),
        ("", Align::Left),
        ("with reading", Align::Right),
        ("min … max", Align::Right),
    ]);
    for measured in &report.plugins {
        table.row([
            measured.plugin.to_owned(),
            thousands(measured.replayed_per_second.median),
            range(measured.replayed_per_second),
            measured.goal_per_second.map(thousands).unwrap_or_default(),
            verdict(measured.met),
            thousands(measured.read_and_replayed_per_second.median),
            range(measured.read_and_replayed_per_second),
        ]);
    }
    output.line(table)?;
    for measured in report
        .plugins
        .iter()
        .filter(|measured| !measured.callbacks.is_empty())
    {
        print_work(measured, output)?;
    }
    Ok(())
}

fn print_work(measured: &Measured, output: &Output) -> anyhow::Result<()> {
    output.line(format_args!(
        "{}: {:.0} fuel and {:.1} host calls per request",
        bold().apply_to(measured.plugin),
        measured.fuel_per_request,
        measured.host_calls_per_request
    ))?;
    let mut table = Table::new(&[
        ("callback", Align::Left),
        ("calls", Align::Right),
        ("fuel min", Align::Right),
        ("mean", Align::Right),
        ("max", Align::Right),
    ]);
    for callback in &measured.callbacks {
        table.row([
            callback.name.to_owned(),
            thousands(callback.calls),
            thousands(callback.fuel_min),
            thousands(callback.fuel_mean),
            thousands(callback.fuel_max),
        ]);
    }
    output.line(table)?;
    let calls: Vec<String> = measured
        .host_calls
        .iter()
        .map(|(name, calls)| format!("{name} {calls:.2}"))
        .collect();
    output.line(format_args!("host calls per request: {}", calls.join(", ")))?;
    let memory: Vec<String> = measured
        .vms
        .iter()
        .map(|vm| format!("{} {}", vm.thread, bytes(vm.memory_bytes)))
        .collect();
    output.line(dim().apply_to(format_args!("memory per VM: {}\n", memory.join(", "))))?;
    Ok(())
}

fn range(spread: Spread) -> String {
    format!("{} … {}", thousands(spread.min), thousands(spread.max))
}
