//! Routes and retries.

use super::Problems;
use crate::scenario::{RetryOn, RetryPolicy, Route, Scenario};
use crate::units::Span;

pub(super) fn check(scenario: &Scenario, problems: &mut Problems) {
    for (index, of) in scenario.routes.iter().enumerate() {
        route(&format!("routes[{index}]"), of, scenario, problems);
    }
}

fn route(path: &str, of: &Route, scenario: &Scenario, problems: &mut Problems) {
    problems.when(
        !of.prefix.starts_with('/'),
        format!("{path}.prefix"),
        "must begin with `/`, as every path does",
    );
    let ways = usize::from(of.cluster.is_some())
        + usize::from(!of.weighted_clusters.is_empty())
        + usize::from(of.direct_response.is_some());
    problems.when(
        ways != 1,
        path,
        "must have one of `cluster`, `weighted_clusters` and `direct_response`",
    );
    let mut known = |path: String, name: &String| {
        if scenario
            .clusters
            .iter()
            .any(|cluster| cluster.name == *name)
        {
            return;
        }
        let names: Vec<&str> = scenario
            .clusters
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        problems.add(
            path,
            format!(
                "there is no cluster `{name}`; there are `{}`",
                names.join("`, `")
            ),
        );
    };
    if let Some(cluster) = &of.cluster {
        known(format!("{path}.cluster"), cluster);
    }
    for name in of.weighted_clusters.keys() {
        known(format!("{path}.weighted_clusters.{name}"), name);
    }
    problems.when(
        !of.weighted_clusters.is_empty() && of.weighted_clusters.values().all(|it| *it == 0),
        format!("{path}.weighted_clusters"),
        "have weights of 0 only; give one at least 1",
    );
    if let Some(status) = of.direct_response {
        problems.status(format!("{path}.direct_response"), status);
    }
    if let Some(of) = &of.retry {
        retry(&format!("{path}.retry"), of, problems);
    }
}

pub(super) fn retry(path: &str, of: &RetryPolicy, problems: &mut Problems) {
    problems.when(
        of.on.contains(&RetryOn::RetriableStatusCodes) && of.retriable_status_codes.is_empty(),
        format!("{path}.retriable_status_codes"),
        "are empty, but `on` has `retriable-status-codes`; write them",
    );
    problems.when(
        of.on.contains(&RetryOn::RetriableHeaders) && of.retriable_headers.is_empty(),
        format!("{path}.retriable_headers"),
        "are empty, but `on` has `retriable-headers`; write them",
    );
    for (index, name) in of.retriable_headers.iter().enumerate() {
        problems.header_name(format!("{path}.retriable_headers[{index}]"), name);
    }
    problems.when(
        of.back_off.base < Span::ms(1),
        format!("{path}.back_off.base"),
        "must be at least 1ms; Envoy takes no less",
    );
    if let Some(max) = of.back_off.max
        && max < of.back_off.base
    {
        problems.add(
            format!("{path}.back_off.max"),
            format!(
                "must be at least `base`, which is {}, got {max}",
                of.back_off.base
            ),
        );
    }
}
