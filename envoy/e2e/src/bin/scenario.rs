//! Plays scenarios in the real Envoy: `scenario [--compare] [--seed N] FILE…`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use tidegate_cli::engine::engine;
use tidegate_cli::output::{Colour, Format, Output};
use tidegate_cli::scenario::LoadedScenario;
use tidegate_e2e::scenario;
use tidegate_model::report::{Row, Sink};

#[derive(Debug, Default)]
struct Options {
    compare: bool,
    seed: Option<u64>,
    files: Vec<PathBuf>,
}

/// Takes what nobody asked for.
struct Nothing;

impl Sink for Nothing {
    fn row(&mut self, _row: &Row) -> std::io::Result<()> {
        Ok(())
    }

    fn in_flight(&mut self, _endpoint: &str, _now_ns: u64, _count: u32) {}

    fn figure(&mut self, _name: &str, _value: f64) {}
}

fn options() -> Result<Options> {
    let mut options = Options::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--compare" => options.compare = true,
            "--seed" => {
                let seed = arguments.next().context("`--seed` needs a number")?;
                options.seed = Some(seed.parse().context("`--seed` needs a number")?);
            }
            name => {
                ensure!(!name.starts_with('-'), "unknown option `{name}`");
                options.files.push(name.into());
            }
        }
    }
    if options.files.is_empty() {
        bail!("no scenario is named");
    }
    Ok(options)
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = options()?;
    let output = Output::new(Format::Human, Colour::Auto, false);
    let engine = engine()?;
    let known = scenario::known()?;
    let mut holds = true;
    for file in &options.files {
        let loaded = LoadedScenario::load(&engine, file, &output)?;
        let first = loaded.scenario.seeds.first().copied().unwrap_or(1);
        let seed = options.seed.unwrap_or(first);
        let outcomes = scenario::run(&loaded, seed, &mut Nothing).await?;
        if options.compare {
            let comparison = scenario::compare(&loaded, seed, &outcomes, &known)?;
            holds &= comparison.holds();
            output.line(comparison)?;
        } else {
            for outcome in outcomes {
                output.line(format_args!("{outcome:?}"))?;
            }
        }
    }
    Ok(ExitCode::from(u8::from(!holds)))
}
