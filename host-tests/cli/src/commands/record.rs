//! `tidegate record`.

use crate::exit::{ExitCode, Failure};
use crate::output::Output;

/// Arguments of `tidegate record`.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(_arguments: &Arguments, _output: &Output) -> anyhow::Result<ExitCode> {
    Err(Failure::usage("`record` is on its way").into())
}
