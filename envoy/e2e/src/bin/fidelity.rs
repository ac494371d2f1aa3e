//! Compares the runner's host with the real Envoy, case by case: `fidelity [--bless] [--json] [CASE…]`.
//!
//! Where no Envoy can be had, the logs that are kept of it are what the runner is compared with.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use tidegate_cli::output::{Colour, Format, Output};
use tidegate_e2e::fidelity::{Options, prove};

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut options = Options::default();
    let mut format = Format::Human;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--bless" => options.bless = true,
            "--json" => format = Format::Json,
            "--kept" => options.kept = true,
            name => {
                ensure!(!name.starts_with('-'), "unknown option `{name}`");
                options.only.push(name.to_owned());
            }
        }
    }
    let output = Output::new(format, Colour::Auto, false);
    let proven = prove(&options).await?;
    let holds = proven.proofs.holds();
    if output.is_json() {
        output.json(&proven.proofs)?;
    } else {
        output.line(&proven)?;
    }
    Ok(ExitCode::from(u8::from(!holds)))
}
