//! `tidegate replay scenario.yaml…`: recorded or generated requests against modelled endpoints.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use tidegate_model::report::Report;

use super::super::e2e;
use super::{Arguments, Level, Like, OnTrap};
use crate::closed_loop;
use crate::engine::engine;
use crate::exit::{ExitCode, Failure, WithCode};
use crate::output::{Align, Output, Table, bold, dim, green, red};
use crate::recording::SessionKey;
use crate::scenario::{LoadedScenario, Outcome, ScenarioError, junit, missed, outcome, short};

/// The figures of the table.
const SHOWN: [&str; 14] = [
    "requests",
    "error_ratio",
    "attempts_per_request",
    "retries",
    "latency_ms.p50",
    "latency_ms.p99",
    "latency_ms.max",
    "slower_than.1s",
    "balance",
    "sessions.count",
    "sessions.moved",
    "websockets.opened",
    "websockets.cut",
    "local_replies",
];

/// Figures that are shown when they aren't 0.
const RARE: [&str; 8] = [
    "retries",
    "slower_than.1s",
    "sessions.moved",
    "websockets.opened",
    "websockets.cut",
    "local_replies",
    "traps",
    "call_outs",
];

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    scenarios: &'a [Outcome],
}

/// Whether this names a scenario.
pub(super) fn is_scenario(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ending| ending == "yaml" || ending == "yml")
}

/// Runs scenarios.
pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<ExitCode> {
    refuse_what_scenarios_say(arguments)?;
    if arguments.real {
        return run_real(arguments, output);
    }
    let engine = engine()?;
    let mut all = Vec::new();
    for path in &arguments.recordings {
        match LoadedScenario::load(&engine, path, output) {
            Ok(mut loaded) => {
                if let Some(seed) = arguments.seed {
                    loaded.scenario.seeds = vec![seed];
                }
                all.push(loaded);
            }
            Err(error) => return report_error(error, output),
        }
    }
    let mut requests = match &arguments.requests {
        Some(path) => Some(BufWriter::new(create(path)?)),
        None => None,
    };
    let steps = all.iter().map(|loaded| {
        let scenario = &loaded.scenario;
        scenario.seeds.len() * (1 + scenario.baselines.len())
    });
    let progress = output.progress("replaying", Some(steps.sum::<usize>() as u64));
    let mut outcomes = Vec::new();
    for loaded in &all {
        progress.flicker(loaded.name.clone());
        let mut runner =
            |loaded: &LoadedScenario, seed, sink: &mut dyn tidegate_model::report::Sink| {
                closed_loop::run(loaded, seed, sink).map_err(|error| {
                    if let closed_loop::RunError::Start(error) = &error {
                        super::show_logs(error, output);
                    }
                    let code = error.exit_code();
                    Failure::new(code, error).into()
                })
            };
        let requests = requests.as_mut().map(|file| file as &mut dyn Write);
        outcomes.push(outcome(loaded, &mut runner, requests, &progress)?);
    }
    progress.finish();
    if let Some(requests) = &mut requests {
        requests.flush().context("can't write the requests")?;
    }
    finish(&outcomes, arguments.junit.as_deref(), output)
}

/// Prints outcomes and returns how they end the command. The real Envoy's come here too.
///
/// # Errors
/// Something can't be written.
pub fn finish(
    outcomes: &[Outcome],
    junit_file: Option<&Path>,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    if let Some(path) = junit_file {
        create(path)?
            .write_all(junit(outcomes).as_bytes())
            .with_context(|| format!("can't write `{}`", path.display()))?;
    }
    if output.is_json() {
        output.json(&Document {
            schema: 1,
            scenarios: outcomes,
        })?;
    } else {
        for outcome in outcomes {
            print(outcome, output)?;
        }
    }
    let mut code = ExitCode::Passed;
    for outcome in outcomes {
        for verdict in outcome.missed() {
            output.complain(format_args!(
                "{} {}: `{}` with seed {}: {}",
                red().bold().for_stderr().apply_to("missed:"),
                outcome.scenario,
                verdict.expectation,
                verdict.seed,
                missed(verdict),
            ));
        }
        let traps = outcome.unexpected_traps();
        if traps > 0.0 {
            let first = outcome.runs.iter().flat_map(|run| &run.traps).take(3);
            first.for_each(|trap| super::show_trap(trap, output));
            output.complain(format_args!(
                "{} {}: a guest trapped {traps} times; `traps <= {traps}` in `expect` makes that expected",
                red().bold().for_stderr().apply_to("trap:"),
                outcome.scenario,
            ));
        }
        // A trap says more than what it made miss.
        if outcome.exit_code().number() > code.number() {
            code = outcome.exit_code();
        }
    }
    Ok(code)
}

fn print(outcome: &Outcome, output: &Output) -> anyhow::Result<()> {
    output.line(format_args!(
        "{}: {}",
        bold().apply_to(&outcome.scenario),
        outcome.what
    ))?;
    let baselines: Vec<&str> = outcome
        .runs
        .first()
        .map(|run| {
            run.baselines
                .iter()
                .map(|(name, _)| name.as_str())
                .collect()
        })
        .unwrap_or_default();
    let mut columns = vec![("figure", Align::Left), ("scenario", Align::Right)];
    columns.extend(baselines.iter().map(|name| (*name, Align::Right)));
    let mut table = Table::new(&columns);
    for figure in SHOWN
        .iter()
        .chain(&["call_outs", "fuel_per_request", "traps"])
    {
        let reports = |column: Option<usize>| {
            outcome.runs.iter().filter_map(move |run| match column {
                None => Some(&run.report),
                Some(index) => run.baselines.get(index).map(|(_, report)| report),
            })
        };
        let columns = std::iter::once(None).chain((0..baselines.len()).map(Some));
        let cells: Vec<String> = columns
            .map(|column| cell(reports(column), figure))
            .collect();
        let says_nothing = cells.iter().all(|cell| cell.is_empty() || cell == "0");
        if says_nothing && (RARE.contains(figure) || cells.iter().all(String::is_empty)) {
            continue;
        }
        table.row(std::iter::once((*figure).to_owned()).chain(cells));
    }
    output.line(table)?;
    expectations(outcome, output)
}

/// Writes a figure of several runs: one number, or from the least to the greatest.
fn cell<'a>(reports: impl Iterator<Item = &'a Report>, figure: &str) -> String {
    let mut values: Vec<f64> = reports
        .filter_map(|report| report.figure(figure, None))
        .collect();
    values.sort_by(f64::total_cmp);
    let written = |value: Option<&f64>| value.map_or_else(String::new, |value| four_digits(*value));
    let (least, greatest) = (written(values.first()), written(values.last()));
    if least == greatest {
        return least;
    }
    format!("{least} to {greatest}")
}

/// Writes a number for a table: whole numbers as they are, others with four digits.
fn four_digits(number: f64) -> String {
    if number.fract().abs() < 1e-9 || number.abs() >= 1_000.0 {
        return format!("{number:.0}");
    }
    short(format!("{number:.3e}").parse().unwrap_or(number))
}

fn expectations(outcome: &Outcome, output: &Output) -> anyhow::Result<()> {
    let count = outcome.runs.first().map_or(0, |run| run.expectations.len());
    let mut table = Table::new(&[
        ("", Align::Left),
        ("expected", Align::Left),
        ("figure", Align::Right),
    ]);
    for index in 0..count {
        let verdicts: Vec<_> = outcome
            .runs
            .iter()
            .filter_map(|run| run.expectations.get(index))
            .collect();
        let holds = verdicts.iter().all(|verdict| verdict.holds);
        let mut figures: Vec<f64> = verdicts.iter().filter_map(|it| it.figure).collect();
        figures.sort_by(f64::total_cmp);
        let figure = match (figures.first(), figures.last()) {
            (Some(least), Some(greatest)) if short(*least) == short(*greatest) => short(*least),
            (Some(least), Some(greatest)) => format!("{} to {}", short(*least), short(*greatest)),
            _ => "none".to_owned(),
        };
        let mark = if holds {
            green().apply_to("holds")
        } else {
            red().apply_to("MISSED")
        };
        let text = verdicts.first().map_or("", |it| it.expectation.as_str());
        table.row([mark.to_string(), text.to_owned(), figure]);
    }
    if count > 0 {
        output.line(table)?;
    }
    let seeds: Vec<String> = outcome
        .runs
        .iter()
        .map(|run| run.seed.to_string())
        .collect();
    output.line(dim().apply_to(format!("seeds: {}", seeds.join(", "))))?;
    output.line("")?;
    Ok(())
}

fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path)
        .with_context(|| format!("can't write `{}`", path.display()))
        .with_code(ExitCode::Usage)
}

/// Draws what is wrong with a scenario.
fn report_error(error: anyhow::Error, output: &Output) -> anyhow::Result<ExitCode> {
    let Some(problems) = ScenarioError::of(&error) else {
        return Err(error);
    };
    output.complain(problems.render(console::colors_enabled_stderr()).trim_end());
    Ok(ExitCode::Usage)
}

fn refuse_what_scenarios_say(arguments: &Arguments) -> anyhow::Result<()> {
    let given = [
        ("--plugin", !arguments.plugins.is_empty()),
        ("--config", !arguments.configs.is_empty()),
        ("--env", !arguments.environment.is_empty()),
        ("--expect", arguments.expect.is_some()),
        ("--behind-plugins", arguments.behind_plugins),
        ("--endpoint-header", arguments.endpoint_header.is_some()),
        ("--allow-capability", !arguments.capabilities.is_empty()),
        ("--workers", arguments.workers != 1),
        ("--session", arguments.session != SessionKey::Auto),
        ("--on-trap", !matches!(arguments.on_trap, OnTrap::Closed)),
        ("--profile", !matches!(arguments.profile, Like::Envoy)),
        ("--log-level", !matches!(arguments.log_level, Level::Warn)),
        ("--summary", arguments.summary),
        (
            "--cluster, --endpoints, --from, --fields, --access-log",
            arguments.reading.is_given(),
        ),
    ];
    for (flag, is_given) in given {
        if is_given {
            return Err(Failure::usage(format_args!(
                "`{flag}` is for recordings; a scenario says it in its file"
            ))
            .into());
        }
    }
    Ok(())
}

/// Runs the scenarios in the package that starts Envoy, which depends on this one.
fn run_real(arguments: &Arguments, output: &Output) -> anyhow::Result<ExitCode> {
    // It runs in the checkout; files are named from here.
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_error| path.clone());
    e2e::run("scenario", output, |command| {
        if let Some(seed) = arguments.seed {
            command.args(["--seed", &seed.to_string()]);
        }
        for (flag, path) in [
            ("--junit", &arguments.junit),
            ("--requests", &arguments.requests),
        ] {
            if let Some(path) = path {
                command.arg(flag).arg(absolute(path));
            }
        }
        command.args(arguments.recordings.iter().map(absolute));
    })
}
