//! Plays scenarios in the real Envoy: `scenario [--compare] [--json] [--junit FILE] [--requests FILE] [--seed N] FILE…`.
//!
//! Without `--compare` it prints the report that `tidegate replay` prints of the model; with it, in what the two differ.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use tidegate_cli::commands::replay::finish;
use tidegate_cli::engine::engine;
use tidegate_cli::exit::{ExitCode as Code, WithCode};
use tidegate_cli::output::{Colour, Format, Output};
use tidegate_cli::scenario::{LoadedScenario, ScenarioError, outcome};
use tidegate_e2e::scenario;
use tidegate_model::report::Sink;
use tokio::runtime::Runtime;

#[derive(Debug, Default)]
struct Options {
    compare: bool,
    json: bool,
    junit: Option<PathBuf>,
    requests: Option<PathBuf>,
    seed: Option<u64>,
    files: Vec<PathBuf>,
}

fn options() -> Result<Options> {
    let mut options = Options::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let value = arguments.next();
            value.with_context(|| format!("`{argument}` needs a value"))
        };
        match argument.as_str() {
            "--compare" => options.compare = true,
            "--json" => options.json = true,
            "--junit" => options.junit = Some(value()?.into()),
            "--requests" => options.requests = Some(value()?.into()),
            "--seed" => options.seed = Some(value()?.parse().context("`--seed` needs a number")?),
            name => {
                ensure!(!name.starts_with('-'), "unknown option `{name}`");
                options.files.push(name.into());
            }
        }
    }
    ensure!(!options.files.is_empty(), "no scenario is named");
    Ok(options)
}

fn main() -> ExitCode {
    let error = match run() {
        Ok(code) => return code,
        Err(error) => error,
    };
    let mut causes = error.chain();
    match causes.find_map(|cause| cause.downcast_ref::<ScenarioError>()) {
        Some(problems) => eprint!("{}", problems.render(false)),
        None => eprintln!("error: {error:#}"),
    }
    Code::of(&error).into()
}

fn run() -> Result<ExitCode> {
    let options = options().with_code(Code::Usage)?;
    let format = if options.json {
        Format::Json
    } else {
        Format::Human
    };
    let output = Output::new(format, Colour::Auto, false);
    let engine = engine()?;
    let mut all = Vec::new();
    for file in &options.files {
        let mut loaded = LoadedScenario::load(&engine, file, &output)?;
        if let Some(seed) = options.seed {
            loaded.scenario.seeds = vec![seed];
        }
        all.push(loaded);
    }
    let runtime = Runtime::new()?;
    if options.compare {
        return compare(&runtime, &all, &output);
    }
    let mut requests = match &options.requests {
        Some(path) => Some(BufWriter::new(File::create(path)?)),
        None => None,
    };
    let progress = output.progress("playing", None);
    let mut outcomes = Vec::new();
    for loaded in &all {
        let mut run = |loaded: &LoadedScenario, seed, sink: &mut dyn Sink| {
            let played = runtime.block_on(scenario::run(loaded, seed))?;
            played.report(sink)?;
            Ok(())
        };
        let requests = requests.as_mut().map(|file| file as &mut dyn Write);
        outcomes.push(outcome(loaded, &mut run, requests, &progress)?);
    }
    progress.finish();
    if let Some(requests) = &mut requests {
        requests.flush()?;
    }
    let code = finish(&outcomes, options.junit.as_deref(), &output)?;
    Ok(ExitCode::from(code.number()))
}

fn compare(runtime: &Runtime, all: &[LoadedScenario], output: &Output) -> Result<ExitCode> {
    let known = scenario::known()?;
    let mut holds = true;
    for loaded in all {
        for seed in &loaded.scenario.seeds {
            let played = runtime.block_on(scenario::run(loaded, *seed))?;
            let comparison = scenario::compare(loaded, *seed, &played, &known)?;
            holds &= comparison.holds();
            output.line(comparison)?;
        }
    }
    Ok(ExitCode::from(u8::from(!holds)))
}
