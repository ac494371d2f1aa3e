//! `tidegate build`.

use serde::Serialize;

use crate::build::{self, Kind, Request, Toolchain, Way};
use crate::exit::ExitCode;
use crate::inspect::Inspection;
use crate::module_file::ModuleFile;
use crate::output::{Align, Output, Table, bytes, thousands};

/// Arguments of `tidegate build`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Build these plugins or guests; all plugins if none is named.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Build the guests of the tests too, to `target/guests`.
    #[arg(long)]
    guests: bool,
    /// Which compiler to take.
    #[arg(long, value_enum, default_value_t, value_name = "WAY")]
    toolchain: Toolchain,
    /// Install system packages without asking, if they are needed.
    #[arg(short, long)]
    yes: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    way: Way,
    compiler: String,
    seconds: f64,
    modules: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    kind: Kind,
    changed: bool,
    #[serde(flatten)]
    inspection: Inspection,
}

/// Builds the modules and prints what came out.
///
/// # Errors
/// No compiler and none to be had, or a package doesn't compile.
pub fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<ExitCode> {
    let request = Request {
        toolchain: arguments.toolchain,
        names: arguments.names.clone(),
        guests: arguments.guests,
        yes: arguments.yes,
        root: None,
    };
    let built = build::build(&request, output)?;
    let mut rows = Vec::new();
    for module in built.modules {
        let inspection = Inspection::of(&ModuleFile::read(&module.path)?)?;
        rows.push(Row {
            name: module.name,
            kind: module.kind,
            changed: module.changed,
            inspection,
        });
    }
    if output.is_json() {
        let seconds = built.elapsed.as_secs_f64();
        output.json(&Report {
            schema: 1,
            way: built.way,
            compiler: built.compiler,
            seconds,
            modules: rows,
        })?;
        return Ok(ExitCode::Passed);
    }
    output.line(format_args!(
        "{} ({}), {:.1} s",
        built.compiler.split(" (").next().unwrap_or_default(),
        built.way,
        built.elapsed.as_secs_f64()
    ))?;
    let mut table = Table::new(&[
        ("module", Align::Left),
        ("bytes", Align::Right),
        ("gzip", Align::Right),
        ("ABI", Align::Left),
        ("imports", Align::Right),
        ("sha256", Align::Left),
        ("", Align::Left),
    ]);
    for row in &rows {
        table.row([
            row.name.clone(),
            thousands(row.inspection.bytes),
            bytes(row.inspection.gzip_bytes),
            row.inspection
                .abi
                .clone()
                .unwrap_or_else(|| "none".to_owned()),
            row.inspection.imports.len().to_string(),
            row.inspection.sha256.clone(),
            if row.changed {
                "new".to_owned()
            } else {
                String::new()
            },
        ]);
    }
    output.line(table)?;
    for row in &rows {
        let names: Vec<&str> = row
            .inspection
            .imports
            .iter()
            .map(|import| import.name.as_str())
            .collect();
        output.line(format_args!("{} imports {}", row.name, names.join(", ")))?;
    }
    Ok(ExitCode::Passed)
}
