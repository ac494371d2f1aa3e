//! Scenarios with the real module, in both modes, and without it.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value, json};
use tidegate_host::{FailurePolicy, Module, PluginConfig};
use tidegate_model::scenario::{self, Arrivals, Filter, Source};

use super::record::Record;
use super::{Evidence, Options, SEEDS, runs};
use crate::build::module_path;
use crate::engine::engine;
use crate::replay::Plugin;
use crate::scenario::{LoadedFilter, LoadedScenario};
use crate::workspace;

/// The module under proof.
const MODULE: &str = "health-routing";

/// What the module takes outcomes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    /// Attempts: it stands in the cluster's chain as well.
    Attempts,
    /// Requests: it stands in the listener's chain alone.
    Requests,
}

impl Mode {
    /// Both, in the order of the claims.
    pub(super) const BOTH: [Self; 2] = [Self::Attempts, Self::Requests];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Requests => "requests",
        }
    }
}

/// The module, compiled.
#[derive(Debug)]
pub(super) struct Lab(Module);

impl Lab {
    /// Builds and compiles the module.
    pub(super) fn new() -> anyhow::Result<Self> {
        let path = module_path(MODULE)?;
        let bytes =
            fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        Ok(Self(Module::compile(&engine()?, MODULE, &bytes)?))
    }

    /// Reads one of the scenarios, whose only filter is the module.
    pub(super) fn load(&self, name: &str) -> anyhow::Result<Setting> {
        let path = workspace::root()
            .join("host-tests/scenarios/health")
            .join(name)
            .with_extension("yaml");
        let scenario = scenario_of(&path)?;
        let [Filter::Plugin(plugin)] = scenario.filters.as_slice() else {
            bail!("`{name}` has other filters than the module");
        };
        ensure!(plugin.module == MODULE, "`{name}` has another module");
        let plugin = Plugin {
            module: self.0.clone(),
            config: PluginConfig {
                name: MODULE.to_owned(),
                vm_id: plugin.vm_id.clone(),
                failure_policy: FailurePolicy::FailOpen,
                ..PluginConfig::default()
            },
        };
        let configuration = match scenario.filters.first() {
            Some(Filter::Plugin(plugin)) => plugin.configuration.clone(),
            _ => Value::Null,
        };
        Ok(Setting {
            loaded: LoadedScenario {
                name: name.to_owned(),
                path,
                filters: Vec::new(),
                upstream_filters: vec![Vec::new(); scenario.clusters.len()],
                recordings: BTreeMap::new(),
                scenario,
            },
            plugin,
            configuration,
        })
    }
}

fn scenario_of(path: &std::path::Path) -> anyhow::Result<scenario::Scenario> {
    Ok(crate::scenario::read(path)?)
}

/// A scenario that can be run in every way.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    loaded: LoadedScenario,
    plugin: Plugin,
    configuration: Value,
}

impl Setting {
    /// Changes what the scenario says.
    pub(super) fn change(&self, change: impl FnOnce(&mut scenario::Scenario)) -> Self {
        let mut changed = self.clone();
        change(&mut changed.loaded.scenario);
        changed
    }

    /// Changes the block that says how endpoints are known and judged.
    pub(super) fn endpoints(&self, change: impl FnOnce(&mut Map<String, Value>)) -> Self {
        let mut changed = self.clone();
        if let Some(Value::Object(endpoints)) = changed.configuration.get_mut("endpoints") {
            change(endpoints);
        }
        changed
    }

    /// Changes how many workers there are.
    pub(super) fn workers(&self, workers: u32) -> Self {
        self.change(|scenario| scenario.workers = workers)
    }

    /// Changes how many requests a second the first source sends.
    pub(super) fn rate(&self, rate: f64) -> Self {
        self.change(|scenario| {
            if let Some(Source::Generated(generated)) = scenario.traffic.first_mut() {
                generated.arrivals = Arrivals::Poisson { per_second: rate };
            }
        })
    }

    /// Is the scenario with the module in this mode.
    pub(super) fn ours(&self, mode: Mode) -> LoadedScenario {
        let mut loaded = self.loaded.clone();
        let plugin = |role: &str| {
            let mut plugin = self.plugin.clone();
            let mut configuration = self.configuration.clone();
            if let Value::Object(fields) = &mut configuration {
                fields.insert("observe".to_owned(), json!(mode.as_str()));
                fields.insert("role".to_owned(), json!(role));
            }
            plugin.config.configuration = configuration.to_string().into_bytes();
            // A VM of its own: the leader's probes would come back into the VM that sends them.
            plugin.config.vm_configuration = role.as_bytes().to_vec();
            LoadedFilter::Plugin(Box::new(plugin))
        };
        loaded.filters = vec![plugin("listener")];
        if mode == Mode::Attempts
            && let Some(chain) = loaded.upstream_filters.first_mut()
        {
            chain.push(plugin("upstream"));
        }
        loaded
    }

    /// Is the scenario without the module, as some of its baselines have it.
    pub(super) fn baselines(&self, names: &[&str]) -> BTreeMap<String, LoadedScenario> {
        let baselines = self.loaded.scenario.baselines.iter();
        baselines
            .filter(|baseline| names.contains(&baseline.name.as_str()))
            .map(|baseline| (baseline.name.clone(), self.loaded.baseline(baseline)))
            .collect()
    }
}

/// What was measured of each run of each scenario.
#[derive(Debug, Default)]
pub(super) struct Measured<T> {
    runs: BTreeMap<String, Vec<T>>,
}

/// Runs scenarios, each with the usual number of seeds, and measures the runs. With every figure comes the number of
/// requests that it is about.
pub(super) fn measure<T: Send>(
    scenarios: &BTreeMap<String, LoadedScenario>,
    options: Options,
    of: impl Fn(&str, &Record) -> T + Sync,
) -> anyhow::Result<Measured<(T, u64)>> {
    measure_often(scenarios, SEEDS, options, of)
}

/// Runs scenarios, each with so many seeds, and measures the runs.
pub(super) fn measure_often<T: Send>(
    scenarios: &BTreeMap<String, LoadedScenario>,
    seeds: u64,
    options: Options,
    measure: impl Fn(&str, &Record) -> T + Sync,
) -> anyhow::Result<Measured<(T, u64)>> {
    let runs = runs::of(scenarios, seeds, options, |name, record: Record| {
        (measure(name, &record), record.count())
    })?;
    Ok(Measured { runs })
}

/// Takes one figure of a setting in both modes, and of some of its baselines.
pub(super) fn in_both_modes(
    setting: &Setting,
    baselines: &[&str],
    seeds: u64,
    options: Options,
    figure: impl Fn(&Record) -> f64 + Sync,
) -> anyhow::Result<Measured<(f64, u64)>> {
    let mut scenarios = setting.baselines(baselines);
    for mode in Mode::BOTH {
        scenarios.insert(format!("{mode:?}"), setting.ours(mode));
    }
    measure_often(&scenarios, seeds, options, |_, record| figure(record))
}

/// Makes the means of both modes evidence, next to those of the baselines.
pub(super) fn next_to(
    runs: &Measured<(f64, u64)>,
    baselines: &[&'static str],
) -> anyhow::Result<[Evidence; 2]> {
    let mut evidence = Mode::BOTH.map(|_| Evidence::default());
    for (evidence, mode) in evidence.iter_mut().zip(Mode::BOTH) {
        *evidence = runs.mean(&format!("{mode:?}"), |figure| *figure)?;
        for name in baselines {
            let figure = runs.mean(name, |figure| *figure)?.figure;
            evidence.baseline.insert(name, figure);
        }
    }
    Ok(evidence)
}

impl<T> Measured<T> {
    /// The runs of a scenario.
    pub(super) fn of(&self, name: &str) -> anyhow::Result<&[T]> {
        let runs = self.runs.get(name).map(Vec::as_slice);
        runs.with_context(|| format!("no run of `{name}`"))
    }

    /// The names of the scenarios.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.runs.keys().map(String::as_str)
    }
}

impl<T> Measured<(T, u64)> {
    /// The mean of one figure over the runs of a scenario.
    pub(super) fn mean(&self, name: &str, figure: impl Fn(&T) -> f64) -> anyhow::Result<Evidence> {
        let runs = self.of(name)?;
        let figures: Vec<f64> = runs.iter().map(|(measured, _)| figure(measured)).collect();
        let requests = runs.iter().map(|(_, requests)| requests).sum();
        Ok(Evidence::mean(&figures, requests))
    }

    /// The largest value of one figure in any run of a scenario.
    pub(super) fn most(&self, name: &str, figure: impl Fn(&T) -> f64) -> anyhow::Result<Evidence> {
        let runs = self.of(name)?;
        let figures = runs.iter().map(|(measured, _)| figure(measured));
        Ok(Evidence {
            figure: figures.fold(f64::NEG_INFINITY, f64::max),
            cases: runs.iter().map(|(_, requests)| requests).sum(),
            ..Evidence::default()
        })
    }
}
