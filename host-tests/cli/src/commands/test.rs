//! `tidegate test`.

use serde::Serialize;

use crate::exit::ExitCode;
use crate::output::{Align, Output, Table};
use crate::testing::{self, Request, Stage, Summary};

/// Arguments of `tidegate test`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run tests whose name contains one of these; all if none is given.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// Run only this stage; may be given several times.
    #[arg(long, value_enum, value_name = "STAGE")]
    only: Vec<Stage>,
    /// List the stages and run nothing.
    #[arg(long)]
    list: bool,
    /// Install system packages without asking, if they are needed.
    #[arg(short, long)]
    yes: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    #[serde(flatten)]
    summary: Summary,
}

#[derive(Debug, Serialize)]
struct Row {
    stage: Stage,
    what: &'static str,
}

/// Runs the tests.
///
/// # Errors
/// Cargo can't be asked about the workspace, or no test has the name.
pub fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<ExitCode> {
    if arguments.list {
        return list(output);
    }
    let request = Request {
        only: arguments.only.clone(),
        filters: arguments.filters.clone(),
        yes: arguments.yes,
    };
    let summary = testing::run(&request, output)?;
    let ended = testing::exit_code(&summary);
    if output.is_json() {
        output.json(&Report { schema: 1, summary })?;
    } else {
        output.line(summary.verdict())?;
    }
    Ok(ended)
}

fn list(output: &Output) -> anyhow::Result<ExitCode> {
    if output.is_json() {
        output.json(&Stage::ALL.map(|stage| Row {
            stage,
            what: stage.what(),
        }))?;
        return Ok(ExitCode::Passed);
    }
    let mut table = Table::new(&[("stage", Align::Left), ("what it does", Align::Left)]);
    for stage in Stage::ALL {
        table.row([stage.name(), stage.what()]);
    }
    output.line(table)?;
    Ok(ExitCode::Passed)
}
