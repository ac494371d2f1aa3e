//! `tidegate inspect`.

use crate::exit::{ExitCode, Failure};
use crate::output::Output;

/// Arguments of `tidegate inspect`.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(_arguments: &Arguments, _output: &Output) -> anyhow::Result<ExitCode> {
    Err(Failure::usage("`inspect` is on its way").into())
}
