//! One run of a scenario: endpoints, Envoy, clients, and what came of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use tempfile::TempDir;
use tidegate_cli::exit::{ExitCode, WithCode};
use tidegate_cli::scenario::LoadedScenario;
use tidegate_model::report::{Row, Sink};
use tidegate_model::scenario::{Cluster, ClusterKind, Scenario};
use tidegate_model::traffic::Arrival;

use super::bootstrap::{self, LISTENER, Place};
use super::client::{Clients, Told};
use super::clock::Clock;
use super::endpoint::{Endpoint, Recorded, Setting, addresses};
use super::log::{self, Logged};
use super::membership::Membership;
use super::relay::Relay;
use super::traffic::{Sent, send_all};
use crate::envoy::{self, Envoy};
use crate::wait;

/// What became of a request, and what the client was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// As the model has it.
    pub row: Row,
    /// The beginning of the answer's body.
    pub text: String,
}

/// What came of a scenario.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Played {
    /// What became of each request, in the order in which they came.
    pub outcomes: Vec<Outcome>,
    /// Each time that more requests than before were under way at an endpoint: its address, the time in nanoseconds, and how
    /// many.
    pub peaks: Vec<(String, u64, u32)>,
    /// Figures of the whole run: traps, and the plugins' counters and gauges.
    pub figures: BTreeMap<String, u64>,
}

impl Played {
    /// Reports it as the model does.
    ///
    /// # Errors
    /// What is reported can't be written.
    pub fn report(&self, sink: &mut dyn Sink) -> std::io::Result<()> {
        for outcome in &self.outcomes {
            sink.row(&outcome.row)?;
        }
        for (endpoint, at_ns, count) in &self.peaks {
            sink.in_flight(endpoint, *at_ns, *count);
        }
        for (name, value) in &self.figures {
            sink.figure(name, as_figure(*value));
        }
        Ok(())
    }
}

/// A cluster with what is behind it.
#[derive(Debug)]
struct Running {
    endpoints: Vec<Endpoint>,
    membership: Membership,
}

/// Plays a scenario once, with one seed.
///
/// # Errors
/// The scenario has something that no Envoy can run, Envoy can't be had or doesn't start, or what it says contradicts what
/// clients and endpoints saw.
pub async fn run(loaded: &LoadedScenario, seed: u64) -> Result<Played> {
    refuse(&loaded.scenario).with_code(ExitCode::Usage)?;
    let folder = tempfile::Builder::new()
        .prefix("tidegate-scenario-")
        .tempdir()?;
    let clock = Clock::stopped();
    let recorded = Recorded::default();
    let setting = Setting {
        clock: clock.clone(),
        seed,
        recorded: Arc::clone(&recorded),
    };
    let relay = Relay::start().await?;
    let clusters = start(&loaded.scenario, &folder, &setting, &relay)?;
    let mut envoy = start_envoy(loaded, folder.path()).await?;
    relay.lead_to(envoy.admin_address());
    let clients = Arc::new(Clients::new(envoy.listener(LISTENER)?, clock.clone()));
    clock.begin();
    let told = {
        let changes = clusters
            .iter()
            .map(|cluster| cluster.membership.follow(&cluster.endpoints, &clock));
        let changes = futures_util::future::try_join_all(changes);
        let traffic = send_all(loaded, seed, &clients, &clock, &recorded);
        let changes = async {
            changes.await?;
            // The scenario ends with its traffic.
            std::future::pending::<Result<()>>().await
        };
        tokio::select! {
            told = traffic => told?,
            Err(error) = changes => return Err(error),
        }
    };
    let mut played = Played::default();
    for (name, value) in envoy.stats().await? {
        if let Some(name) = name.strip_prefix("wasmcustom.") {
            played.figures.insert(format!("metrics.{name}"), value);
        }
    }
    envoy.stop().await?;
    let traps = envoy
        .log()
        .lines()
        .filter(|line| tells_of_a_trap(line))
        .count();
    played
        .figures
        .insert("traps".to_owned(), u64::try_from(traps)?);
    let logged = log::read(&envoy.folder().join("access.log"))?;
    played.outcomes = outcomes(told, logged)?;
    for endpoint in clusters.iter().flat_map(|cluster| &cluster.endpoints) {
        let mut most = 0;
        for seen in endpoint.seen() {
            if seen.under_way > most {
                most = seen.under_way;
                let peak = (endpoint.address().to_string(), seen.at_ns, most);
                played.peaks.push(peak);
            }
        }
    }
    Ok(played)
}

/// Refuses what can't be played.
fn refuse(scenario: &Scenario) -> Result<()> {
    bootstrap::balancers_exist(scenario)?;
    ensure!(
        scenario.faults.is_empty(),
        "no Envoy fails host calls on demand: a scenario with `faults` runs in the model only"
    );
    Ok(())
}

fn start(
    scenario: &Scenario,
    folder: &TempDir,
    setting: &Setting,
    relay: &Relay,
) -> Result<Vec<Running>> {
    let mut running = Vec::new();
    let mut index = 0;
    std::fs::create_dir(folder.path().join("membership"))?;
    std::fs::create_dir(folder.path().join("modules"))?;
    for cluster in &scenario.clusters {
        let membership = Membership::new(&cluster.name, &folder.path().join("membership"));
        let mut endpoints = Vec::new();
        if cluster.kind == ClusterKind::Admin {
            membership.write_plain(relay.address())?;
        } else {
            for (spec, address) in each(cluster) {
                endpoints.push(Endpoint::start(spec, address, index, setting)?);
                index += 1;
            }
            membership.write(&endpoints, 0)?;
        }
        running.push(Running {
            endpoints,
            membership,
        });
    }
    Ok(running)
}

fn each(
    cluster: &Cluster,
) -> impl Iterator<Item = (&tidegate_model::scenario::Endpoint, std::net::SocketAddr)> {
    cluster.endpoints.iter().flat_map(|spec| {
        addresses(spec)
            .into_iter()
            .map(move |address| (spec, address))
    })
}

async fn start_envoy(loaded: &LoadedScenario, folder: &Path) -> Result<Envoy> {
    let place = Place {
        membership: &folder.join("membership"),
        modules: &folder.join("modules"),
    };
    let bootstrap = bootstrap::of(loaded, place)?;
    let scenario = envoy::Scenario::new(bootstrap)
        .concurrency(loaded.scenario.workers)
        .log_level("warning");
    let envoy = Envoy::start(scenario).await?;
    for cluster in &loaded.scenario.clusters {
        // Envoy is ready when it has read the files once; what is a member then is there.
        let path = format!("/clusters?filter=^{}$", cluster.name);
        wait::until(
            format!("Envoy knows the cluster `{}`", cluster.name),
            async || {
                let known = envoy.admin(&path).await?;
                Ok(known.contains(&format!("{}::", cluster.name)).then_some(()))
            },
        )
        .await?;
    }
    Ok(envoy)
}

/// Puts together what the client, Envoy and the endpoints say of each request.
fn outcomes(told: Vec<Sent>, mut logged: BTreeMap<String, Logged>) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for (arrival, id, told) in told {
        let Some(logged) = logged.remove(&id) else {
            bail!("Envoy's access log has nothing of request {id}, whose client was told {told:?}");
        };
        outcomes.push(outcome(&arrival, told, logged));
    }
    outcomes.sort_by_key(|outcome| {
        let row = &outcome.row;
        (row.started_ns, row.source, row.number)
    });
    Ok(outcomes)
}

fn outcome(arrival: &Arrival, told: Told, logged: Logged) -> Outcome {
    let header = |wanted: &str| {
        let mut headers = arrival.request.headers.iter();
        let found = headers.find(|(name, _)| name == wanted.as_bytes());
        found.map_or_else(String::new, |(_, value)| {
            String::from_utf8_lossy(value).into_owned()
        })
    };
    let mut endpoints = logged.endpoints;
    // An attempt that found no endpoint has no line of its own; only the last can be one.
    let attempts = usize::try_from(logged.attempts).unwrap_or(usize::MAX);
    if endpoints.len() < attempts {
        endpoints.resize(attempts, None);
    }
    Outcome {
        row: Row {
            source: arrival.source,
            number: arrival.number,
            client: arrival.client,
            started_ns: told.started_ns,
            worker: 0,
            method: header(":method"),
            path: header(":path"),
            status: told.status,
            flags: logged.flags,
            details: logged.details,
            endpoints,
            attempts: logged.attempts,
            first_byte_ns: told.first_byte_ns,
            total_ns: told.total_ns,
            body_bytes: told.body_bytes,
            socket: told.socket,
        },
        text: told.text,
    }
}

/// Whether a line of Envoy's log says that a callback of a module trapped.
fn tells_of_a_trap(line: &str) -> bool {
    line.contains("Function: proxy_on_") && line.contains(" failed: ")
}

/// A count as a figure; beyond what a float holds exactly nobody counts here.
fn as_figure(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
