//! A scenario with all that its run needs.

use std::path::PathBuf;

use tidegate_model::scenario::{Baseline, Scenario};

use crate::replay::Plugin;

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
}

/// A filter that can be put into a chain.
#[derive(Debug, Clone)]
pub enum LoadedFilter {
    /// A Proxy-Wasm module with its configuration.
    Plugin(Plugin),
    /// Request headers that Envoy's own `header_mutation` removes, in lower case.
    RemoveHeaders(Vec<String>),
}

impl LoadedScenario {
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
