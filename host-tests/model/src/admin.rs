//! What Envoy's admin interface answers, as far as filters ask it.
//!
//! Differs: endpoints have the counters that the model counts; the others are absent, as counters of 0 are.

use regex_lite::Regex;
use serde::Serialize;
use serde_json::ser::PrettyFormatter;
use serde_json::{Serializer, Value, json};

use crate::balance::Hosts;
use crate::scenario::{BadAnswer, CircuitBreakers, Health};

/// What is known of an endpoint besides what its balancer knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostStats {
    /// Connections that failed.
    pub cx_connect_fail: u64,
    /// Requests.
    pub rq_total: u64,
    /// Requests that were answered below 500.
    pub rq_success: u64,
    /// Requests that were answered with 500 or more, or not at all.
    pub rq_error: u64,
    /// Requests that timed out.
    pub rq_timeout: u64,
}

/// A cluster as the admin shows it.
#[derive(Debug, Clone, Copy)]
pub struct ClusterView<'a> {
    /// Name.
    pub name: &'a str,
    /// Endpoints.
    pub hosts: &'a Hosts,
    /// Counters by endpoint, in the order of [`Hosts::all`].
    pub stats: &'a [HostStats],
    /// Circuit breakers.
    pub limits: &'a CircuitBreakers,
}

/// The state that the admin changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Admin {
    /// Whether `/healthcheck/fail` was asked for.
    pub draining: bool,
}

/// An answer of the admin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminAnswer {
    /// Status.
    pub status: u16,
    /// Whether the body is JSON.
    pub is_json: bool,
    /// Body.
    pub body: String,
}

impl AdminAnswer {
    fn text(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            is_json: false,
            body: body.into(),
        }
    }

    /// Returns what comes in its place of an admin that answers badly; `None` for nothing ever.
    #[must_use]
    pub fn spoiled(self, with: BadAnswer) -> Option<Self> {
        /// Spaces between brackets: legal JSON that takes long to read and says nothing.
        const HUGE: usize = 10_000_000;
        Some(match with {
            BadAnswer::Garbage => Self::text(200, "<html>\u{fffd}{\"cluster_statuses\": }\0"),
            BadAnswer::Huge => {
                let spaces = " ".repeat(HUGE);
                Self::text(200, format!("{{\"cluster_statuses\": [{spaces}]}}"))
            }
            BadAnswer::Never => return None,
            BadAnswer::OtherCluster => Self {
                status: 200,
                is_json: true,
                body: String::from(
                    r#"{"cluster_statuses": [{"name": "another", "host_statuses": [{"address":
                    {"socket_address": {"address": "192.0.2.1", "port_value": 80}}}]}]}"#,
                ),
            },
            BadAnswer::Status(status) => Self::text(status, ""),
            BadAnswer::Truncated => Self {
                body: self
                    .body
                    .chars()
                    .take(self.body.chars().count() / 2)
                    .collect(),
                ..self
            },
        })
    }

    /// Returns the headers, `:status` first.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let kind = if self.is_json {
            "application/json"
        } else {
            "text/plain; charset=UTF-8"
        };
        vec![
            (":status", self.status.to_string()),
            ("content-type", kind.to_owned()),
            ("cache-control", "no-cache, max-age=0".to_owned()),
            ("x-content-type-options", "nosniff".to_owned()),
            ("server", "envoy".to_owned()),
        ]
    }
}

impl Admin {
    /// Answers a request. `stats` are further statistics, by name; those of the clusters' memberships are known.
    pub fn answer(
        &mut self,
        method: &str,
        target: &str,
        clusters: &[ClusterView<'_>],
        stats: &mut dyn Iterator<Item = (String, u64)>,
    ) -> AdminAnswer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let changes = matches!(
            path,
            "/healthcheck/fail" | "/healthcheck/ok" | "/drain_listeners"
        );
        if changes && method != "POST" {
            return AdminAnswer::text(405, format!("Method {method} not allowed, POST required."));
        }
        match path {
            "/healthcheck/fail" => {
                self.draining = true;
                AdminAnswer::text(200, "OK\n")
            }
            "/healthcheck/ok" => {
                self.draining = false;
                AdminAnswer::text(200, "OK\n")
            }
            "/drain_listeners" => AdminAnswer::text(200, "OK\n"),
            "/ready" if self.draining => AdminAnswer::text(503, "DRAINING\n"),
            "/ready" => AdminAnswer::text(200, "LIVE\n"),
            "/clusters" => filtered(query, |filter| {
                let chosen = clusters
                    .iter()
                    .filter(|cluster| filter.is_none_or(|filter| filter.is_match(cluster.name)));
                if parameter(query, "format").as_deref() == Some("json") {
                    clusters_json(chosen)
                } else {
                    AdminAnswer::text(200, chosen.map(cluster_text).collect::<String>())
                }
            }),
            "/stats" => filtered(query, |filter| {
                let mut all: Vec<(String, u64)> = clusters.iter().flat_map(memberships).collect();
                all.extend(stats);
                all.sort();
                all.retain(|(name, _)| filter.is_none_or(|filter| filter.is_match(name)));
                stats_answer(&all, query)
            }),
            _ => AdminAnswer::text(404, "invalid path. admin commands are:\n"),
        }
    }
}

/// Returns a parameter of the query, percent-decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))?
        .1;
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        let rest = bytes.as_slice_of(value);
        let escape = (byte == b'%').then(|| rest.get(..2)).flatten();
        let escaped = escape.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                decoded.push(byte);
                bytes.nth(1);
            }
            None => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).ok()
}

/// What is left of a text behind the bytes that an iterator has taken.
trait Rest {
    fn as_slice_of<'a>(&self, text: &'a str) -> &'a str;
}

impl Rest for std::str::Bytes<'_> {
    fn as_slice_of<'a>(&self, text: &'a str) -> &'a str {
        text.get(text.len().saturating_sub(self.len())..)
            .unwrap_or_default()
    }
}

fn filtered(query: &str, answer: impl FnOnce(Option<&Regex>) -> AdminAnswer) -> AdminAnswer {
    match parameter(query, "filter").map(|filter| Regex::new(&filter)) {
        None => answer(None),
        Some(Ok(filter)) => answer(Some(&filter)),
        Some(Err(_)) => AdminAnswer::text(400, "Invalid re2 regex"),
    }
}

fn stats_answer(stats: &[(String, u64)], query: &str) -> AdminAnswer {
    if parameter(query, "format").as_deref() != Some("json") {
        let lines = stats
            .iter()
            .map(|(name, value)| format!("{name}: {value}\n"));
        return AdminAnswer::text(200, lines.collect::<String>());
    }
    let stats: Vec<Value> = stats
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    AdminAnswer {
        status: 200,
        is_json: true,
        body: json!({ "stats": stats }).to_string(),
    }
}

fn memberships(cluster: &ClusterView<'_>) -> [(String, u64); 5] {
    let count = |wanted: Option<Health>| {
        let members = cluster.hosts.members.iter();
        let matching = members.filter(|index| {
            let host = cluster.hosts.all.get(**index);
            host.is_some_and(|host| wanted.is_none_or(|wanted| host.health == wanted))
        });
        u64::try_from(matching.count()).unwrap_or(u64::MAX)
    };
    let named = |name: &str, value| (format!("cluster.{}.membership_{name}", cluster.name), value);
    [
        named("change", cluster.hosts.generation),
        named("degraded", count(Some(Health::Degraded))),
        named("excluded", count(Some(Health::Draining))),
        named("healthy", count(Some(Health::Healthy))),
        named("total", count(None)),
    ]
}

/// Envoy's name of a health status.
const fn eds_name(health: Health) -> &'static str {
    match health {
        Health::Healthy => "HEALTHY",
        Health::Degraded => "DEGRADED",
        Health::Unhealthy => "UNHEALTHY",
        Health::Draining => "DRAINING",
    }
}

fn counters(stats: &HostStats, active: u32) -> [(&'static str, bool, u64); 7] {
    [
        ("cx_connect_fail", false, stats.cx_connect_fail),
        ("rq_error", false, stats.rq_error),
        ("rq_success", false, stats.rq_success),
        ("rq_timeout", false, stats.rq_timeout),
        ("rq_total", false, stats.rq_total),
        ("cx_active", true, u64::from(active)),
        ("rq_active", true, u64::from(active)),
    ]
}

/// The answer's fields in the order in which Envoy writes them; filters that read it in pieces count on some order.
#[derive(Serialize)]
struct ClustersJson<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cluster_statuses: Vec<ClusterJson<'a>>,
}

#[derive(Serialize)]
struct ClusterJson<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    host_statuses: Vec<HostJson<'a>>,
    circuit_breakers: ThresholdsJson,
    observability_name: &'a str,
}

#[derive(Serialize)]
struct HostJson<'a> {
    address: AddressJson<'a>,
    stats: Vec<StatJson>,
    health_status: HealthJson,
    weight: u32,
    locality: LocalityJson<'a>,
}

#[derive(Serialize)]
struct AddressJson<'a> {
    socket_address: SocketAddressJson<'a>,
}

#[derive(Serialize)]
struct SocketAddressJson<'a> {
    address: &'a str,
    port_value: u16,
}

#[derive(Serialize)]
struct StatJson {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    name: &'static str,
    /// As JSON of protobuf has it: a number of 64 bits is text, and 0 is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

#[derive(Serialize)]
struct HealthJson {
    eds_health_status: &'static str,
}

#[derive(Serialize)]
struct LocalityJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    zone: &'a str,
}

#[derive(Serialize)]
struct ThresholdsJson {
    thresholds: [ThresholdJson; 2],
}

#[derive(Serialize)]
struct ThresholdJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<&'static str>,
    max_connections: u32,
    max_pending_requests: u32,
    max_requests: u32,
    max_retries: u32,
}

impl ThresholdJson {
    const fn new(priority: Option<&'static str>, limits: &CircuitBreakers) -> Self {
        Self {
            priority,
            max_connections: limits.max_connections,
            max_pending_requests: limits.max_pending_requests,
            max_requests: limits.max_requests,
            max_retries: limits.max_retries,
        }
    }
}

fn clusters_json<'a>(clusters: impl Iterator<Item = &'a ClusterView<'a>>) -> AdminAnswer {
    let shown = ClustersJson {
        cluster_statuses: clusters.map(cluster_json).collect(),
    };
    let mut body = Vec::new();
    let format = PrettyFormatter::with_indent(b" ");
    let written = shown.serialize(&mut Serializer::with_formatter(&mut body, format));
    AdminAnswer {
        status: if written.is_ok() { 200 } else { 500 },
        is_json: true,
        body: String::from_utf8(body).unwrap_or_default() + "\n",
    }
}

fn cluster_json<'a>(cluster: &ClusterView<'a>) -> ClusterJson<'a> {
    let members = cluster.hosts.members.iter();
    ClusterJson {
        name: cluster.name,
        host_statuses: members
            .filter_map(|index| host_json(cluster, *index))
            .collect(),
        circuit_breakers: ThresholdsJson {
            thresholds: [
                ThresholdJson::new(None, cluster.limits),
                ThresholdJson::new(Some("HIGH"), &CircuitBreakers::default()),
            ],
        },
        observability_name: cluster.name,
    }
}

fn host_json<'a>(cluster: &ClusterView<'a>, index: usize) -> Option<HostJson<'a>> {
    let host = cluster.hosts.all.get(index)?;
    let (address, port) = host.address.rsplit_once(':')?;
    let stats = cluster.stats.get(index).copied().unwrap_or_default();
    let stats = counters(&stats, host.active_requests);
    Some(HostJson {
        address: AddressJson {
            socket_address: SocketAddressJson {
                address: address.trim_matches(['[', ']']),
                port_value: port.parse().unwrap_or(0),
            },
        },
        stats: stats
            .into_iter()
            .map(|(name, is_gauge, value)| StatJson {
                kind: is_gauge.then_some("GAUGE"),
                name,
                value: (value > 0).then(|| value.to_string()),
            })
            .collect(),
        health_status: HealthJson {
            eds_health_status: eds_name(host.health),
        },
        weight: host.weight,
        locality: LocalityJson { zone: &host.zone },
    })
}

fn cluster_text(cluster: &ClusterView<'_>) -> String {
    let name = cluster.name;
    let mut text = format!(
        "{name}::observability_name::{name}\n\
         {name}::default_priority::max_connections::{}\n\
         {name}::default_priority::max_pending_requests::{}\n\
         {name}::default_priority::max_requests::{}\n\
         {name}::default_priority::max_retries::{}\n\
         {name}::added_via_api::false\n",
        cluster.limits.max_connections,
        cluster.limits.max_pending_requests,
        cluster.limits.max_requests,
        cluster.limits.max_retries,
    );
    let default = HostStats::default();
    for &index in &cluster.hosts.members {
        let Some(host) = cluster.hosts.all.get(index) else {
            continue;
        };
        let mut line = |field: &str, value: &dyn std::fmt::Display| {
            text.push_str(&format!("{name}::{}::{field}::{value}\n", host.address));
        };
        let stats = cluster.stats.get(index).unwrap_or(&default);
        for (field, _, value) in counters(stats, host.active_requests) {
            line(field, &value);
        }
        let flags = match host.health {
            Health::Healthy => "healthy",
            Health::Degraded => "/failed_eds_health/degraded_eds_health",
            Health::Unhealthy => "/failed_eds_health",
            Health::Draining => "/eds_status_draining",
        };
        line("health_flags", &flags);
        line("weight", &host.weight);
        line("zone", &host.zone);
    }
    text
}

#[cfg(test)]
mod tests;
