//! Clusters.

use std::collections::{BTreeMap, BTreeSet};

use super::{Problems, endpoint};
use crate::scenario::{
    BadAnswer, Balancer, CircuitBreakers, Cluster, ClusterKind, RetryBudget, Scenario,
};
use crate::units::Span;

/// More of them than Envoy's admin answers about in a second.
const ENDPOINTS: u64 = 20_000;

/// SOURCE: Envoy 1.40, `RingHashLbConfig`: 8 Mi entries at most.
const RING: u64 = 8 * 1024 * 1024;

pub(super) fn check(scenario: &Scenario, problems: &mut Problems) {
    let mut names = BTreeSet::new();
    let mut addresses = BTreeMap::new();
    let mut count = 0_u64;
    for (index, of) in scenario.clusters.iter().enumerate() {
        let path = format!("clusters[{index}]");
        problems.when(
            of.name.is_empty(),
            format!("{path}.name"),
            "is empty; write a name",
        );
        if !names.insert(&of.name) {
            problems.add(
                format!("{path}.name"),
                format!(
                    "there is a cluster `{}` already; write another name",
                    of.name
                ),
            );
        }
        cluster(&path, of, scenario, problems);
        count += of
            .endpoints
            .iter()
            .map(|it| u64::from(it.count))
            .sum::<u64>();
        if count > ENDPOINTS {
            problems.add(
                format!("{path}.endpoints"),
                format!("are {count} with those before; a scenario has at most {ENDPOINTS}"),
            );
            return;
        }
        overlaps(&path, of, &mut addresses, problems);
    }
}

fn cluster(path: &str, of: &Cluster, scenario: &Scenario, problems: &mut Problems) {
    problems.when(
        of.kind == ClusterKind::Admin && !of.endpoints.is_empty(),
        format!("{path}.endpoints"),
        "aren't for the admin's cluster, which leads to the proxy itself; leave them out",
    );
    problems.when(
        of.kind != ClusterKind::Admin && !of.admin_faults.is_empty(),
        format!("{path}.admin_faults"),
        "are only for the admin's cluster, of the kind `admin`; leave them out",
    );
    for (index, fault) in of.admin_faults.iter().enumerate() {
        let path = format!("{path}.admin_faults[{index}]");
        problems.span(&path, fault.from, fault.until, scenario.duration);
        if let BadAnswer::Status(status) = fault.with {
            problems.status(format!("{path}.with.status"), status);
        }
    }
    problems.when(
        of.connect_timeout == Span::ZERO,
        format!("{path}.connect_timeout"),
        "must be longer than nothing; write a time such as `5s`",
    );
    balancer(&format!("{path}.balancer"), &of.balancer, problems);
    breakers(
        &format!("{path}.circuit_breakers"),
        &of.circuit_breakers,
        problems,
    );
    for (index, one) in of.endpoints.iter().enumerate() {
        endpoint::check(
            &format!("{path}.endpoints[{index}]"),
            one,
            scenario,
            problems,
        );
    }
}

/// Refuses an address that another endpoint has: figures are told by address.
fn overlaps(
    path: &str,
    of: &Cluster,
    seen: &mut BTreeMap<std::net::SocketAddr, String>,
    problems: &mut Problems,
) {
    for (index, endpoint) in of.endpoints.iter().enumerate() {
        let path = format!("{path}.endpoints[{index}]");
        for one in endpoint.each() {
            if let Some(other) = seen.get(&one.address) {
                let what = if endpoint.count > 1 {
                    "`count` leads to"
                } else {
                    "is"
                };
                problems.add(
                    format!("{path}.address"),
                    format!(
                        "{what} {}, which is an address of `{other}`; write another",
                        one.address
                    ),
                );
                break;
            }
            seen.insert(one.address, path.clone());
        }
    }
}

pub(super) fn balancer(path: &str, of: &Balancer, problems: &mut Problems) {
    match of {
        Balancer::RoundRobin | Balancer::Random | Balancer::Maglev | Balancer::Reference(_) => {}
        Balancer::LeastRequest { choice_count } => {
            if *choice_count < 2 {
                problems.add(
                    format!("{path}.least_request.choice_count"),
                    format!("must be at least 2, got {choice_count}; Envoy takes no less"),
                );
            }
        }
        Balancer::RingHash { minimum_ring_size } => {
            if !(1..=RING).contains(minimum_ring_size) {
                problems.add(
                    format!("{path}.ring_hash.minimum_ring_size"),
                    format!("must be from 1 to {RING}, got {minimum_ring_size}"),
                );
            }
        }
        Balancer::OverrideHost { header, fallback } => {
            let path = format!("{path}.override_host");
            problems.header_name(format!("{path}.header"), header);
            falls_back(&path, fallback, problems);
        }
        Balancer::StatefulSession { cookie, fallback } => {
            let path = format!("{path}.stateful_session");
            problems.when(
                cookie.is_empty(),
                format!("{path}.cookie"),
                "is empty; write the name of a cookie",
            );
            falls_back(&path, fallback, problems);
        }
    }
}

fn falls_back(path: &str, fallback: &Balancer, problems: &mut Problems) {
    let path = format!("{path}.fallback");
    if matches!(
        fallback,
        Balancer::OverrideHost { .. } | Balancer::StatefulSession { .. }
    ) {
        problems.add(
            path,
            "must choose by itself; write one such as `round_robin`",
        );
        return;
    }
    balancer(&path, fallback, problems);
}

pub(super) fn breakers(path: &str, of: &CircuitBreakers, problems: &mut Problems) {
    let path = format!("{path}.retry_budget");
    match of.retry_budget {
        None => {}
        Some(RetryBudget::Concurrency { budget_percent, .. }) => {
            problems.number(
                format!("{path}.concurrency.budget_percent"),
                budget_percent,
                0.0,
                100.0,
            );
        }
        Some(RetryBudget::Finagle { ratio, window, .. }) => {
            problems.number(format!("{path}.finagle.ratio"), ratio, 0.0, 1_000.0);
            problems.when(
                window < Span::ms(1_000),
                format!("{path}.finagle.window"),
                "must be at least 1s",
            );
        }
        Some(RetryBudget::Grpc {
            max_tokens,
            token_ratio,
        }) => {
            // SOURCE: gRPC A6: both are greater than 0, and maxTokens at most 1000.
            problems.number(
                format!("{path}.grpc.max_tokens"),
                max_tokens,
                0.001,
                1_000.0,
            );
            problems.number(
                format!("{path}.grpc.token_ratio"),
                token_ratio,
                0.001,
                1_000.0,
            );
        }
    }
}
