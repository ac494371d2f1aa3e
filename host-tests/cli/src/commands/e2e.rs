//! Programs of the package that starts Envoy, which depends on this one and is therefore run by cargo.

use std::process::Command;

use anyhow::Context;

use crate::exit::ExitCode;
use crate::output::Output;
use crate::workspace;

/// Runs a program with these arguments, and `--json` when that is asked for, in the checkout's folder.
///
/// # Errors
/// Cargo can't be run.
pub(super) fn run(
    program: &str,
    output: &Output,
    arguments: impl FnOnce(&mut Command),
) -> anyhow::Result<ExitCode> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["run", "--quiet", "--package", "tidegate-e2e", "--bin"])
        .args([program, "--"])
        .current_dir(workspace::root());
    if output.is_json() {
        command.arg("--json");
    }
    arguments(&mut command);
    let status = command.status().context("failed to run cargo")?;
    let ended = ExitCode::ALL
        .into_iter()
        .find(|code| status.code() == Some(i32::from(code.number())));
    Ok(ended.unwrap_or(ExitCode::Internal))
}
