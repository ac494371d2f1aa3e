//! Compares what the model says of a scenario with what the real Envoy did.
//!
//! Requests that a scenario lists are compared one by one: status, flags, details, attempts, the endpoint of each, bytes of
//! the body, what happened on a WebSocket. Of generated ones shares are compared, within four standard deviations.
//! Endpoints that a policy draws are not the same ones in both: where policies take turns, the two must be the same but for
//! where the turn began; where they draw each time, only whether there was one is compared.

mod differences;
mod shares;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use tidegate_cli::closed_loop;
use tidegate_cli::scenario::LoadedScenario;
use tidegate_model::report::{Row, Sink, Socket};
use tidegate_model::router::Flags;
use tidegate_model::scenario::{Balancer, Scenario, Source};

use super::Played;
pub use differences::{Known, known};

/// One thing in which the two differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The request, such as `named 3`, or the source.
    pub of: String,
    /// What differs.
    pub field: &'static str,
    /// What the model says.
    pub model: String,
    /// What the real Envoy did.
    pub envoy: String,
}

/// How the two compare.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    /// The scenario's name.
    pub scenario: String,
    /// Requests that were compared one by one.
    pub rows: usize,
    /// Shares that were compared.
    pub shares: usize,
    /// Differences that nobody knows of.
    pub differences: Vec<Difference>,
    /// Differences that are listed, with why they are there.
    pub explained: Vec<(Difference, String)>,
    /// What is listed, and isn't so.
    pub stale: Vec<String>,
}

impl Comparison {
    /// Whether the two agree, but for what is listed.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.differences.is_empty() && self.stale.is_empty()
    }
}

/// Runs the model, and compares it with what Envoy did.
///
/// # Errors
/// The model can't run the scenario.
pub fn compare(
    loaded: &LoadedScenario,
    seed: u64,
    envoy: &Played,
    known: &[Known],
) -> Result<Comparison> {
    let mut rows = Rows::default();
    closed_loop::run(loaded, seed, &mut rows)?;
    let envoy: Vec<&Row> = envoy.outcomes.iter().map(|outcome| &outcome.row).collect();
    let model: Vec<&Row> = rows.0.iter().collect();
    let mut comparison = of(&loaded.scenario, &model, &envoy);
    comparison.scenario.clone_from(&loaded.name);
    differences::explain(&mut comparison, known);
    Ok(comparison)
}

/// Keeps the rows of a run.
#[derive(Debug, Default)]
struct Rows(Vec<Row>);

impl Sink for Rows {
    fn row(&mut self, row: &Row) -> std::io::Result<()> {
        self.0.push(row.clone());
        Ok(())
    }

    fn in_flight(&mut self, _endpoint: &str, _now_ns: u64, _count: u32) {}

    fn figure(&mut self, _name: &str, _value: f64) {}
}

fn of(scenario: &Scenario, model: &[&Row], envoy: &[&Row]) -> Comparison {
    let mut comparison = Comparison::default();
    let mut turns = Turns::default();
    for (index, source) in scenario.traffic.iter().enumerate() {
        let name = name(source, index);
        let model = model.iter().copied().filter(|row| row.source == index);
        let envoy = envoy.iter().copied().filter(|row| row.source == index);
        if !matches!(source, Source::Requests(_)) {
            shares::compare(
                &name,
                &model.collect::<Vec<_>>(),
                &envoy.collect::<Vec<_>>(),
                &mut comparison,
            );
            continue;
        }
        let mut envoy: BTreeMap<u64, &Row> = envoy.map(|row| (row.number, row)).collect();
        for row in model {
            let of = format!("{name} {}", row.number);
            match envoy.remove(&row.number) {
                Some(other) => {
                    comparison.rows += 1;
                    let found = one(scenario, row, other, &mut turns);
                    comparison.differences.extend(found.into_iter().map(
                        |(field, model, envoy)| Difference {
                            of: of.clone(),
                            field,
                            model,
                            envoy,
                        },
                    ));
                }
                None => comparison
                    .differences
                    .push(only(of, "the model has it", "")),
            }
        }
        for number in envoy.into_keys() {
            comparison
                .differences
                .push(only(format!("{name} {number}"), "", "Envoy has it"));
        }
    }
    comparison
}

fn only(of: String, model: &str, envoy: &str) -> Difference {
    Difference {
        of,
        field: "request",
        model: model.to_owned(),
        envoy: envoy.to_owned(),
    }
}

/// A source's name; without one, its place.
fn name(source: &Source, index: usize) -> String {
    let name = match source {
        Source::Generated(source) => &source.name,
        Source::Recording(source) => &source.name,
        Source::Requests(source) => &source.name,
    };
    name.clone().unwrap_or_else(|| format!("traffic[{index}]"))
}

/// What differs between two rows of one request.
fn one(
    scenario: &Scenario,
    model: &Row,
    envoy: &Row,
    turns: &mut Turns,
) -> Vec<(&'static str, String, String)> {
    let mut found = Vec::new();
    let mut field = |name, model: String, envoy: String| {
        if model != envoy {
            found.push((name, model, envoy));
        }
    };
    let status = |row: &Row| {
        row.status
            .map_or_else(|| "none".to_owned(), |status| status.to_string())
    };
    field("status", status(model), status(envoy));
    // The order of flags is no statement.
    field("flags", model.flags.names(), envoy.flags.names());
    field("details", model.details.clone(), envoy.details.clone());
    field(
        "attempts",
        model.attempts.to_string(),
        envoy.attempts.to_string(),
    );
    field(
        "body_bytes",
        model.body_bytes.to_string(),
        envoy.body_bytes.to_string(),
    );
    field(
        "socket",
        socket(model.socket.as_ref()),
        socket(envoy.socket.as_ref()),
    );
    let envoy_row = envoy;
    let same = model.endpoints.len() == envoy.endpoints.len()
        && model
            .endpoints
            .iter()
            .zip(&envoy.endpoints)
            .all(|(model, envoy)| match (model, envoy) {
                (Some(model), Some(envoy)) => turns.same(scenario, model, envoy),
                (None, None) => true,
                // Of an attempt that a circuit breaker stopped, Envoy doesn't log the endpoint.
                (Some(_), None) => envoy_row.flags.contains(Flags::UPSTREAM_OVERFLOW),
                (None, Some(_)) => false,
            });
    if !same {
        found.push(("endpoints", endpoints(model), endpoints(envoy)));
    }
    found
}

fn socket(socket: Option<&Socket>) -> String {
    socket.map_or_else(
        || "none".to_owned(),
        |socket| {
            let code = socket
                .close_code
                .map_or_else(|| "cut".to_owned(), |code| code.to_string());
            format!("sent {}, received {}, {code}", socket.sent, socket.received)
        },
    )
}

fn endpoints(row: &Row) -> String {
    let names = row.endpoints.iter();
    let names: Vec<&str> = names
        .map(|name| name.as_deref().unwrap_or("none"))
        .collect();
    names.join(", ")
}

/// How much of an endpoint's choice the two have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chosen {
    /// All: the same endpoint.
    Exactly,
    /// All but where the turn begins.
    InTurn,
    /// Nothing.
    ByChance,
}

/// Which endpoint stands for which, where turns began at different ones.
#[derive(Debug, Default)]
struct Turns {
    of_model: BTreeMap<String, String>,
    of_envoy: BTreeMap<String, String>,
}

impl Turns {
    fn same(&mut self, scenario: &Scenario, model: &str, envoy: &str) -> bool {
        match chosen(scenario, model) {
            Chosen::Exactly => model == envoy,
            Chosen::ByChance => true,
            Chosen::InTurn => {
                let there = self.of_model.entry(model.to_owned());
                let there = there.or_insert_with(|| envoy.to_owned()) == envoy;
                let back = self.of_envoy.entry(envoy.to_owned());
                there && back.or_insert_with(|| model.to_owned()) == model
            }
        }
    }
}

fn chosen(scenario: &Scenario, endpoint: &str) -> Chosen {
    let cluster = scenario.clusters.iter().find(|cluster| {
        let mut specs = cluster.endpoints.iter();
        specs.any(|spec| {
            let addresses = super::endpoint::addresses(spec);
            addresses
                .iter()
                .any(|address| address.to_string() == endpoint)
        })
    });
    cluster.map_or(Chosen::Exactly, |cluster| by(&cluster.balancer))
}

fn by(balancer: &Balancer) -> Chosen {
    match balancer {
        Balancer::RoundRobin => Chosen::InTurn,
        Balancer::RingHash { .. } | Balancer::Maglev | Balancer::Reference(_) => Chosen::Exactly,
        Balancer::LeastRequest { .. } | Balancer::Random => Chosen::ByChance,
        Balancer::OverrideHost { fallback, .. } | Balancer::StatefulSession { fallback, .. } => {
            by(fallback)
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            of,
            field,
            model,
            envoy,
        } = self;
        write!(
            formatter,
            "{of}: {field}: the model `{model}`, Envoy `{envoy}`"
        )
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.holds() { "agrees" } else { "DIFFERS" };
        writeln!(
            formatter,
            "{verdict}  {}: {} requests, {} shares, {} listed differences",
            self.scenario,
            self.rows,
            self.shares,
            self.explained.len()
        )?;
        for difference in &self.differences {
            writeln!(formatter, "  {difference}")?;
        }
        for stale in &self.stale {
            writeln!(formatter, "  listed, and not so: {stale}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
