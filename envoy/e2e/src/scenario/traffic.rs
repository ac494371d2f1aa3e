//! Sends the traffic of a scenario at its times.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tidegate_cli::scenario::{LoadedScenario, ScenarioTraffic};
use tidegate_model::scenario::{Scenario, Source};
use tidegate_model::traffic::Arrival;
use tokio::task::JoinSet;

use super::client::{Clients, Told};
use super::clock::Clock;
use super::endpoint::Recorded;

/// How long nothing may happen while requests are under way, beyond what the scenario's own times explain.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request that was sent, under which id, and what its client was told.
pub(super) type Sent = (Arrival, String, Told);

/// Sends all requests, and returns when the last has ended.
///
/// # Errors
/// A source can't be sent from, the proxy takes no connection, or requests don't end.
pub(super) async fn send_all(
    loaded: &LoadedScenario,
    seed: u64,
    clients: &Arc<Clients>,
    clock: &Clock,
    recorded: &Recorded,
) -> Result<Vec<Sent>> {
    let scenario = &loaded.scenario;
    let patience = PATIENCE + Duration::from_nanos(scenario.duration.ns());
    let mut traffic = ScenarioTraffic::new(loaded, seed)?;
    let mut running: JoinSet<Result<Sent>> = JoinSet::new();
    let mut under_way = BTreeSet::new();
    let mut sent = Vec::new();
    loop {
        let next = traffic.next_ns();
        if next.is_none() && running.is_empty() {
            return Ok(sent);
        }
        tokio::select! {
            Some(ended) = running.join_next() => {
                let (arrival, id, told) = ended.context("a client panicked")??;
                under_way.remove(&id);
                traffic.ended(arrival.source, arrival.number, clock.now_ns());
                sent.push((arrival, id, told));
            }
            () = clock.until(next.unwrap_or(0)), if next.is_some() => {
                let Some(arrival) = traffic.next()? else {
                    continue;
                };
                let id = format!("scenario-{}-{}", arrival.source, arrival.number);
                under_way.insert(id.clone());
                if let Some(ns) = arrival.recorded_latency_ns {
                    super::endpoint::lock(recorded).insert(id.clone(), ns);
                }
                let returns = returns(scenario, &arrival);
                let clients = Arc::clone(clients);
                running.spawn(async move {
                    let told = clients.send(&arrival, &id, returns).await?;
                    Ok((arrival, id, told))
                });
            }
            () = tokio::time::sleep(patience) => {
                bail!("these requests don't end: {}", under_way.into_iter().collect::<Vec<_>>().join(", "));
            }
        }
    }
}

/// Whether the client of a request may send another one.
fn returns(scenario: &Scenario, arrival: &Arrival) -> bool {
    match scenario.traffic.get(arrival.source) {
        Some(Source::Generated(generated)) => generated.clients.count > 0,
        _ => true,
    }
}
