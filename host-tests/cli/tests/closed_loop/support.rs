//! Runs a scenario that a test writes down.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use tidegate_cli::closed_loop;
use tidegate_cli::engine::engine;
use tidegate_cli::output::{Colour, Format, Output};
use tidegate_cli::scenario::LoadedScenario;
use tidegate_model::report::{Row, Sink};

/// Everything that a run handed out.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    pub(crate) rows: Vec<Row>,
    pub(crate) figures: BTreeMap<String, f64>,
    pub(crate) traps: Vec<String>,
    pub(crate) logs: Vec<String>,
    pub(crate) in_flight_max: BTreeMap<String, u32>,
}

impl Sink for Ran {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        self.rows.push(row.clone());
        Ok(())
    }

    fn in_flight(&mut self, endpoint: &str, _now_ns: u64, count: u32) {
        let most = self.in_flight_max.entry(endpoint.to_owned()).or_default();
        *most = count.max(*most);
    }

    fn figure(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), value);
    }

    fn log(&mut self, _level: &str, message: &str) {
        self.logs.push(message.to_owned());
    }

    fn trap(&mut self, plugin: &str, callback: &str, thread: &str, message: &str) {
        let first = message.lines().next().unwrap_or_default();
        self.traps
            .push(format!("{plugin} {callback} {thread}: {first}"));
    }
}

impl Ran {
    /// Each request in a line: when it came, its path, status, endpoints (their last number), flags, details, when it
    /// was answered, in milliseconds.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.rows.iter().map(line).collect()
    }

    pub(crate) fn figure(&self, name: &str) -> f64 {
        self.figures.get(name).copied().unwrap_or(f64::NAN)
    }
}

fn line(row: &Row) -> String {
    let endpoints: Vec<&str> = row
        .endpoints
        .iter()
        .map(|endpoint| {
            let ip = endpoint
                .as_deref()
                .and_then(|address| address.split(':').next());
            ip.and_then(|ip| ip.rsplit('.').next()).unwrap_or("-")
        })
        .collect();
    let status = row
        .status
        .map_or_else(|| "cut".to_owned(), |status| status.to_string());
    format!(
        "{} {} {status} [{}] {} {} {}",
        row.started_ns / 1_000_000,
        row.path,
        endpoints.join(" "),
        row.flags.names(),
        row.details,
        row.total_ns / 1_000_000,
    )
}

/// Loads a scenario from its text, without `what` and `duration` if they don't matter.
pub(crate) fn load(yaml: &str) -> anyhow::Result<LoadedScenario> {
    let mut text = yaml.to_owned();
    for (field, default) in [("what:", "what: a test"), ("duration:", "duration: 10s")] {
        if !yaml.lines().any(|line| line.starts_with(field)) {
            text.push_str(&format!("\n{default}\n"));
        }
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("scenario.yaml");
    fs::write(&path, text)?;
    let output = Output::new(Format::Human, Colour::Never, true);
    LoadedScenario::load(&engine()?, &path, &output)
}

/// Runs a scenario with seed 1.
pub(crate) fn run(yaml: &str) -> Ran {
    run_with(yaml, 1)
}

pub(crate) fn run_with(yaml: &str, seed: u64) -> Ran {
    let loaded = load(yaml).unwrap();
    let mut ran = Ran::default();
    closed_loop::run(&loaded, seed, &mut ran).unwrap();
    ran
}

/// Runs a scenario of one request to a cluster that is described.
pub(crate) fn one(request: &str, rest: &str) -> Vec<String> {
    run(&format!(
        "traffic:\n  - requests: {{ list: [ {request} ] }}\n{rest}"
    ))
    .lines()
}
