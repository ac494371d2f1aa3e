//! `tidegate inspect`.

use serde::Serialize;

use crate::exit::ExitCode;
use crate::inspect::{Inspection, obstacle};
use crate::module_file::ModuleFile;
use crate::output::{Output, bold, bytes, green, red, thousands};

/// Arguments of `tidegate inspect`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Modules: files (`.wasm`, or `.wat` text), or names of plugins and guests, which are built first.
    #[arg(required = true, value_name = "FILE")]
    modules: Vec<String>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    modules: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    inspection: Inspection,
    /// Whether the host can load it.
    runs: bool,
    /// Why it can't.
    obstacle: Option<String>,
}

/// Shows what the modules are.
///
/// # Errors
/// A file can't be read or is no module.
pub fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<ExitCode> {
    let mut rows = Vec::new();
    for named in &arguments.modules {
        let file = ModuleFile::load(named, output)?;
        let inspection = Inspection::of(&file)?;
        let obstacle = obstacle(&file)?.map(|error| error.to_string());
        rows.push(Row {
            inspection,
            runs: obstacle.is_none(),
            obstacle,
        });
    }
    let ended = if rows.iter().all(|row| row.runs) {
        ExitCode::Passed
    } else {
        ExitCode::GuestTrapped
    };
    if output.is_json() {
        output.json(&Report {
            schema: 1,
            modules: rows,
        })?;
        return Ok(ended);
    }
    for row in &rows {
        print(row, output)?;
    }
    Ok(ended)
}

fn print(row: &Row, output: &Output) -> anyhow::Result<()> {
    let module = &row.inspection;
    let field = |name: &str, value: &str| output.line(format_args!("  {name:<9} {value}"));
    output.line(bold().apply_to(&module.path))?;
    field(
        "size",
        &format!(
            "{} bytes, {} gzipped",
            thousands(module.bytes),
            bytes(module.gzip_bytes)
        ),
    )?;
    field("sha256", &module.sha256)?;
    field("ABI", module.abi.as_deref().unwrap_or("none named"))?;
    let memory = module.memory.as_ref().map_or_else(
        || "none".to_owned(),
        |memory| {
            let most = memory.maximum_bytes.map_or_else(
                || "no limit of its own".to_owned(),
                |most| format!("at most {}", bytes(most)),
            );
            format!("{} at the start, {most}", bytes(memory.initial_bytes))
        },
    );
    field("memory", &memory)?;
    if !module.producers.is_empty() {
        field("made by", &module.producers.join(", "))?;
    }
    let sections: Vec<String> = module
        .sections
        .iter()
        .map(|section| format!("{} {}", section.name, bytes(section.bytes)))
        .collect();
    field("sections", &sections.join(", "))?;
    field("imports", &module.imports.len().to_string())?;
    for import in &module.imports {
        let signature = import.signature.as_deref().unwrap_or_default();
        output.line(format_args!(
            "    {}.{} {signature}",
            import.module, import.name
        ))?;
    }
    field("exports", &module.exports.len().to_string())?;
    for export in &module.exports {
        output.line(format_args!(
            "    {} {}",
            export.name,
            export.signature.as_deref().unwrap_or_default()
        ))?;
    }
    match &row.obstacle {
        None => field(
            "runs",
            &green()
                .apply_to("yes, the host has every import")
                .to_string(),
        )?,
        Some(obstacle) => field(
            "runs",
            &red().apply_to(format_args!("no: {obstacle}")).to_string(),
        )?,
    }
    Ok(())
}
