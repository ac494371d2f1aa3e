//! Filters and faults.

use std::path::Path;

use super::Problems;
use crate::scenario::{Filter, Plugin, Scenario};

pub(super) fn check(scenario: &Scenario, problems: &mut Problems) {
    let mut plugins = Vec::new();
    filters("filters", &scenario.filters, &mut plugins, problems);
    for (index, cluster) in scenario.clusters.iter().enumerate() {
        let path = format!("clusters[{index}].upstream_filters");
        filters(&path, &cluster.upstream_filters, &mut plugins, problems);
    }
    for (index, fault) in scenario.faults.iter().enumerate() {
        let path = format!("faults[{index}]");
        problems.span(&path, fault.from, fault.until, scenario.duration);
        problems.when(
            fault.nth == Some(0),
            format!("{path}.nth"),
            "counts from 1; leave it out for every call",
        );
        if let Some(plugin) = &fault.plugin
            && !plugins.contains(plugin)
        {
            let known = plugins.join("`, `");
            let advice = if known.is_empty() {
                "there is no plugin at all".to_owned()
            } else {
                format!("there are `{known}`")
            };
            problems.add(
                format!("{path}.plugin"),
                format!("there is no plugin `{plugin}`; {advice}"),
            );
        }
    }
}

fn filters(path: &str, filters: &[Filter], names: &mut Vec<String>, problems: &mut Problems) {
    let is_plugin = |filter: &Filter| matches!(filter, Filter::Plugin(_));
    let first = filters.iter().position(is_plugin).unwrap_or(filters.len());
    let last = filters.iter().rposition(is_plugin).unwrap_or(0);
    for (index, filter) in filters.iter().enumerate() {
        match filter {
            Filter::Plugin(of) => {
                plugin(&format!("{path}[{index}].plugin"), of, problems);
                let module = Path::new(&of.module).file_stem().unwrap_or_default();
                let name = of.name.clone();
                names.push(name.unwrap_or_else(|| module.to_string_lossy().into_owned()));
            }
            Filter::RemoveHeaders(of) => {
                let path = format!("{path}[{index}].remove_headers");
                problems.when(
                    first < index && index < last,
                    path.clone(),
                    "stands between two plugins; it can be in front of all of them or behind",
                );
                problems.when(
                    of.0.is_empty(),
                    path.clone(),
                    "names no header; leave it out",
                );
                for (header, name) in of.0.iter().enumerate() {
                    problems.header_name(format!("{path}[{header}]"), name);
                }
            }
        }
    }
}

fn plugin(path: &str, of: &Plugin, problems: &mut Problems) {
    problems.when(
        of.module.is_empty(),
        format!("{path}.module"),
        "names no module; write a plugin of the checkout or a file",
    );
    problems.when(
        of.configuration_file.is_some() && !of.configuration.is_null(),
        format!("{path}.configuration_file"),
        "and `configuration` can't both be; keep one",
    );
    problems.when(
        of.fuel_per_callback == Some(0),
        format!("{path}.fuel_per_callback"),
        "of 0 lets no callback run; leave it out",
    );
    problems.when(
        of.memory_bytes == Some(0),
        format!("{path}.memory_bytes"),
        "of 0 lets no VM start; leave it out",
    );
}
