//! `tidegate check`.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use crate::check::{Checker, Verdict, render};
use crate::engine::engine;
use crate::exit::{ExitCode, Failure, WithCode};
use crate::module_file::ModuleFile;
use crate::output::{Output, dim, green, red, yellow};

/// Arguments of `tidegate check`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The plugin: a file, or the name of a plugin of this checkout, which is built first.
    #[arg(long, value_name = "MODULE")]
    plugin: String,
    /// An environment variable of the plugin's VM; without a value, the one of this process.
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    environment: Vec<String>,
    /// Configurations.
    #[arg(required = true, value_name = "CONFIG")]
    configurations: Vec<PathBuf>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    plugin: String,
    configurations: Vec<Verdict>,
}

/// Asks the plugin about every configuration, and prints all that it says.
///
/// # Errors
/// A file can't be read (usage), or the host can't run the plugin (guest).
pub fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<ExitCode> {
    let file = ModuleFile::load(&arguments.plugin, output)?;
    let environment = arguments
        .environment
        .iter()
        .map(|given| variable(given))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let checker = Checker::new(engine()?, &file, environment)?;
    let mut verdicts = Vec::new();
    for path in &arguments.configurations {
        let shown = path.display().to_string();
        let configuration = fs::read(path)
            .with_context(|| format!("failed to read `{shown}`"))
            .with_code(ExitCode::Usage)?;
        let verdict = checker.check(&shown, &configuration)?;
        if !output.is_json() {
            print(&verdict, &file.name, &configuration, output)?;
        }
        verdicts.push(verdict);
    }
    // The worst of all: a trap says more than a refusal.
    let ended = verdicts
        .iter()
        .map(Verdict::exit_code)
        .max_by_key(|code| code.number())
        .unwrap_or(ExitCode::Passed);
    if output.is_json() {
        output.json(&Report {
            schema: 1,
            plugin: file.name,
            configurations: verdicts,
        })?;
    }
    Ok(ended)
}

fn print(
    verdict: &Verdict,
    plugin: &str,
    configuration: &[u8],
    output: &Output,
) -> anyhow::Result<()> {
    let count = verdict.problems.len();
    let plural = if count == 1 { "" } else { "s" };
    let what = match &verdict.trap {
        Some(trap) => red().apply_to(format!("{plugin} trapped in {trap}")),
        None if verdict.accepted => green().apply_to(format!("{plugin} accepts it")),
        None if count == 0 => red().apply_to(format!("{plugin} rejects it")),
        None => red().apply_to(format!("{plugin} rejects it: {count} problem{plural}")),
    };
    output.line(format_args!("{}: {what}", verdict.path))?;
    if count > 0 {
        let text = String::from_utf8_lossy(configuration);
        output.line(render(verdict, &text, console::colors_enabled()).trim_end())?;
    }
    for line in &verdict.logs {
        let level = match line.level {
            "info" => dim().apply_to(line.level),
            "warn" => yellow().apply_to(line.level),
            _ => red().apply_to(line.level),
        };
        output.line(format_args!(
            "  {level}: {}",
            line.message.replace('\n', "\n  ")
        ))?;
    }
    Ok(())
}

/// Reads `NAME=VALUE`, or takes the value of `NAME` from this process: a key on a command line is seen by everyone.
pub(super) fn variable(given: &str) -> anyhow::Result<(String, String)> {
    match given.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => match std::env::var(given) {
            Ok(value) => Ok((given.to_owned(), value)),
            Err(error) => Err(Failure::usage(format_args!("`--env {given}`: {error}")).into()),
        },
    }
}
