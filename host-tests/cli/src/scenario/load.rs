//! A scenario with all that its run needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_host::{Engine, FailurePolicy, Limits};
use tidegate_model::scenario::{self, Baseline, Filter, Latency, OnTrap, Scenario, Source, State};

use super::problem::ScenarioError;
use super::read::ReadScenario;
use super::recorded::Recording;
use crate::exit::{ExitCode, Failure};
use crate::output::Output;
use crate::replay::{self, Plugin};

/// A scenario with all that its run needs: compiled modules and opened recordings.
#[derive(Debug, Clone)]
pub struct LoadedScenario {
    /// The file's name without its ending.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What the file says.
    pub scenario: Scenario,
    /// The filter chain, as `scenario.filters` has it.
    pub filters: Vec<LoadedFilter>,
    /// For each of `scenario.clusters` the filters that each attempt passes.
    pub upstream_filters: Vec<Vec<LoadedFilter>>,
    /// The recordings among `scenario.traffic`, by position.
    pub recordings: BTreeMap<usize, Arc<Recording>>,
}

/// A filter that can be put into a chain.
#[derive(Debug, Clone)]
pub enum LoadedFilter {
    /// A Proxy-Wasm module with its configuration.
    Plugin(Box<Plugin>),
    /// Request headers that Envoy's own `header_mutation` removes, in lower case.
    RemoveHeaders(Vec<String>),
}

impl LoadedScenario {
    /// Reads a scenario, builds and compiles the modules that it names, and opens its recordings.
    ///
    /// # Errors
    /// The scenario is wrong, or a file that it names is missing (usage, a [`ScenarioError`] where the place is known);
    /// a module doesn't compile, or the host can't run it (guest).
    pub fn load(engine: &Engine, path: &Path, output: &Output) -> anyhow::Result<Self> {
        let read = ReadScenario::open(path).map_err(usage)?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let mut chains = Vec::new();
        for (place, filters) in ReadScenario::filters(&read.scenario) {
            let mut chain = Vec::new();
            for (index, filter) in filters.iter().enumerate() {
                chain.push(match filter {
                    Filter::RemoveHeaders(names) => LoadedFilter::RemoveHeaders(
                        names.0.iter().map(|name| name.to_lowercase()).collect(),
                    ),
                    Filter::Plugin(plugin) => {
                        let place = format!("{place}[{index}].plugin");
                        let loaded = load_plugin(engine, plugin, folder, output)
                            .map_err(|(field, error)| refuse(&read, &place, field, error))?;
                        LoadedFilter::Plugin(Box::new(loaded))
                    }
                });
            }
            chains.push(chain);
        }
        let mut chains = chains.into_iter();
        let name = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        Ok(Self {
            name,
            path: path.to_path_buf(),
            filters: chains.next().unwrap_or_default(),
            upstream_filters: chains.collect(),
            recordings: recordings(&read, folder)?,
            scenario: read.scenario,
        })
    }

    /// Returns the scenario that a baseline stands for: the same traffic and endpoints, without the plugins.
    #[must_use]
    pub fn baseline(&self, baseline: &Baseline) -> Self {
        let mut changed = self.clone();
        changed.scenario = self.scenario.with_baseline(baseline);
        changed.filters.retain(LoadedFilter::is_native);
        for filters in &mut changed.upstream_filters {
            filters.retain(LoadedFilter::is_native);
        }
        changed
    }
}

impl LoadedFilter {
    const fn is_native(&self) -> bool {
        matches!(self, Self::RemoveHeaders(_))
    }
}

/// Loads a plugin; an error comes with the field that it is about.
fn load_plugin(
    engine: &Engine,
    plugin: &scenario::Plugin,
    folder: &Path,
    output: &Output,
) -> Result<Plugin, (&'static str, anyhow::Error)> {
    let named = module_of(&plugin.module, folder);
    let environment: Vec<(String, String)> = plugin
        .environment
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let policy = match plugin.on_trap {
        OnTrap::FailClosed => FailurePolicy::FailClosed,
        OnTrap::FailOpen => FailurePolicy::FailOpen,
        OnTrap::FailReload => FailurePolicy::FailReload,
    };
    let mut loaded = replay::plugin(engine, &named, None, &environment, policy, output)
        .map_err(|error| ("module", error))?;
    let config = &mut loaded.config;
    config.configuration = configuration_of(plugin, folder)?;
    config.vm_configuration = plugin.vm_configuration.clone().into_bytes();
    config.root_id.clone_from(&plugin.root_id);
    config.vm_id.clone_from(&plugin.vm_id);
    if let Some(name) = &plugin.name {
        config.name.clone_from(name);
    }
    let unlimited = Limits::default();
    config.limits = Limits {
        fuel_per_callback: plugin
            .fuel_per_callback
            .unwrap_or(unlimited.fuel_per_callback),
        memory_bytes: plugin.memory_bytes.unwrap_or(unlimited.memory_bytes),
        ..unlimited
    };
    Ok(loaded)
}

/// A path is one from the scenario's folder; a name is a plugin or guest of the checkout.
fn module_of(named: &str, folder: &Path) -> String {
    let is_path = named.contains('/')
        || Path::new(named)
            .extension()
            .is_some_and(|ending| ending == "wasm" || ending == "wat");
    if is_path {
        folder.join(named).display().to_string()
    } else {
        named.to_owned()
    }
}

fn configuration_of(
    plugin: &scenario::Plugin,
    folder: &Path,
) -> Result<Vec<u8>, (&'static str, anyhow::Error)> {
    if let Some(file) = &plugin.configuration_file {
        let path = folder.join(file);
        return fs::read(&path).map_err(|error| {
            let error = Failure::usage(format_args!("can't read `{}`: {error}", path.display()));
            ("configuration_file", error.into())
        });
    }
    match &plugin.configuration {
        serde_json::Value::Null => Ok(Vec::new()),
        serde_json::Value::String(text) => Ok(text.clone().into_bytes()),
        value => serde_json::to_vec(value).map_err(|error| ("configuration", error.into())),
    }
}

/// Opens the recordings.
fn recordings(
    read: &ReadScenario,
    folder: &Path,
) -> anyhow::Result<BTreeMap<usize, Arc<Recording>>> {
    let mut recordings = BTreeMap::new();
    for (index, source) in read.scenario.traffic.iter().enumerate() {
        let Source::Recording(recorded) = source else {
            continue;
        };
        let place = format!("traffic[{index}].recording.file");
        let refused = |message: String| usage(read.refuse([(place.clone(), message)]));
        let session = recorded.session.parse().unwrap_or_default();
        let recording = Recording::read(&folder.join(&recorded.file), &session)
            .map_err(|error| refused(error.to_string()))?;
        if recording.is_empty() {
            return Err(refused("there is no request in it".to_owned()));
        }
        recordings.insert(index, Arc::new(recording));
    }
    let has_latency = recordings.values().any(|recording| recording.has_latency());
    if !recordings.is_empty() && !has_latency {
        let problems = needs_latency(&read.scenario).map(|place| {
            let message = "no recording says how long its upstream took; write another latency";
            (place, message.to_owned())
        });
        let problems: Vec<_> = problems.collect();
        if !problems.is_empty() {
            return Err(usage(read.refuse(problems)));
        }
    }
    Ok(recordings)
}

/// Returns the places that ask for recorded latencies.
fn needs_latency(scenario: &Scenario) -> impl Iterator<Item = String> {
    let clusters = scenario.clusters.iter().enumerate();
    clusters.flat_map(|(cluster, of)| {
        of.endpoints
            .iter()
            .enumerate()
            .filter(|(_, endpoint)| {
                matches!(endpoint.latency, Latency::Recorded)
                    || endpoint
                        .timeline
                        .iter()
                        .any(|phase| matches!(phase.state, State::Slow(Latency::Recorded)))
            })
            .map(move |(index, _)| format!("clusters[{cluster}].endpoints[{index}].latency"))
    })
}

/// Puts an error to its place if the scenario is to blame.
fn refuse(read: &ReadScenario, place: &str, field: &str, error: anyhow::Error) -> anyhow::Error {
    if ExitCode::of(&error) != ExitCode::Usage {
        return error.context(format!("{place} of the scenario"));
    }
    usage(read.refuse([(format!("{place}.{field}"), format!("{error:#}"))]))
}

fn usage(error: ScenarioError) -> anyhow::Error {
    Failure::new(ExitCode::Usage, error).into()
}
