//! Arguments, dispatch and the way an error ends the process.

use std::ffi::OsString;
use std::io;

use clap::{Args, Parser, Subcommand};

use crate::commands::{bench, build, check, demo, inspect, prove, record, replay, test};
use crate::exit::ExitCode;
use crate::output::{Colour, Format, Output, red};

/// Builds Tidegate's plugins, replays recorded traffic through them, and proves what they claim.
#[derive(Debug, Parser)]
#[command(name = "tidegate", bin_name = "cargo tidegate", version, max_term_width = 110, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb understands.
#[derive(Debug, Args)]
struct Global {
    /// Form of the data on standard output.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORM")]
    format: Format,
    /// The same as `--format json`.
    #[arg(long, global = true, conflicts_with = "format")]
    json: bool,
    /// When to use colours; `NO_COLOR` is honoured.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: Colour,
    /// Print no progress and no notes.
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the plugins to `target/plugins/*.wasm`.
    Build(build::Arguments),
    /// Check a plugin's configuration with the plugin itself.
    Check(check::Arguments),
    /// Show the ABI, the imports, the exports and the size of a module.
    Inspect(inspect::Arguments),
    /// Replay recordings through a plugin and show what it did, and why.
    Replay(replay::Arguments),
    /// Make a recording, of recorded traffic or from a running Envoy.
    Record(record::Arguments),
    /// Replay the committed recordings through sticky-session and show what a newcomer wants to see.
    Demo(demo::Arguments),
    /// Prove the claims of an area from a run.
    Prove(prove::Arguments),
    /// Measure what a request costs.
    Bench(bench::Arguments),
    /// Run every test, those against the real Envoy too.
    Test(test::Arguments),
}

const EXIT_CODES: &str = "\
Exit codes:
  0  passed
  1  internal error, or a proof missed its target
  2  wrong usage, or an input that can't be read
  3  configuration rejected
  4  a test or case failed
  5  the replay diverged from what was expected
  6  a guest trapped or broke the ABI";

/// Runs the command with these arguments (the first is the program's name) and returns how it ended.
pub fn run(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too: they go to standard output and are no failure.
            drop(error.print());
            return if error.use_stderr() {
                ExitCode::Usage
            } else {
                ExitCode::Passed
            };
        }
    };
    let format = if cli.global.json {
        Format::Json
    } else {
        cli.global.format
    };
    let output = Output::new(format, cli.global.color, cli.global.quiet);
    let ended = match cli.verb {
        Verb::Build(arguments) => build::run(&arguments, &output),
        Verb::Check(arguments) => check::run(&arguments, &output),
        Verb::Inspect(arguments) => inspect::run(&arguments, &output),
        Verb::Replay(arguments) => replay::run(&arguments, &output),
        Verb::Record(arguments) => record::run(&arguments, &output),
        Verb::Demo(arguments) => demo::run(&arguments, &output),
        Verb::Prove(arguments) => prove::run(&arguments, &output),
        Verb::Bench(arguments) => bench::run(&arguments, &output),
        Verb::Test(arguments) => test::run(&arguments, &output),
    };
    ended.unwrap_or_else(|error| report(&error, &output))
}

fn report(error: &anyhow::Error, output: &Output) -> ExitCode {
    let reader_left = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe);
    if reader_left {
        // `tidegate … | head` is no failure.
        return ExitCode::Passed;
    }
    output.complain(format_args!(
        "{} {error:#}",
        red().bold().for_stderr().apply_to("error:")
    ));
    ExitCode::of(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_lists_every_exit_code() {
        let lines: Vec<String> = ExitCode::ALL
            .iter()
            .map(|code| format!("  {}  {}", code.number(), code.meaning()))
            .collect();
        assert_eq!(EXIT_CODES, format!("Exit codes:\n{}", lines.join("\n")));
    }
}
