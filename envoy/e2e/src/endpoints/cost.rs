//! What knowing the endpoints costs a real Envoy, thread by thread.
//!
//! Model: two Envoys run at the same time in front of the same endpoints, with the same requests: one with the `endpoints` block and
//! the filter of the cluster, one without either. The processor time of their threads is read at the ends of rounds, and what is
//! told is the difference within a round, so that a busy machine costs both alike.
//! Limits: a machine's caches are shared by both; a figure of another machine is another figure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;
use serde_json::json;
use tidegate_cli::bench::Spread;
use tokio::task::JoinSet;

use super::{Plan, Rig, STATUS_PATH};
use crate::bootstrap::{Bootstrap, STICKY_SESSION};
use crate::clients::http::Client;
use crate::envoy::{Envoy, KINDS, Scenario};
use crate::{sticky, wait};

/// How many connections the requests of one Envoy share.
const CONNECTIONS: u32 = 4;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many endpoints there are.
    pub endpoints: usize,
    /// How many rounds.
    pub rounds: u32,
    /// How long a round is.
    pub round: Duration,
    /// How many requests per second each Envoy serves meanwhile.
    pub rate: u32,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Raised when the meaning of a field changes.
    pub schema: u32,
    /// How many endpoints there were.
    pub endpoints: usize,
    /// How many rounds there were.
    pub rounds: u32,
    /// How long a round was, in milliseconds.
    pub round_ms: u64,
    /// How many requests per second each Envoy was to serve.
    pub rate: u32,
    /// How many requests each Envoy served in fact, over all rounds: with, without.
    pub served: [u64; 2],
    /// What the threads cost, in microseconds of processor time per second.
    pub threads: Vec<Thread>,
    /// Questions to the admin per second, in all rounds.
    pub admin_calls_per_second: f64,
    /// Those among them that list the endpoints.
    pub lists_per_second: f64,
    /// Probes per second, over all endpoints.
    pub probes_per_second: f64,
    /// The memory that each Envoy has resident at the end, in bytes: with, without.
    pub resident_bytes: [u64; 2],
}

/// What a kind of threads cost.
#[derive(Debug, Serialize)]
pub struct Thread {
    /// `main`, `workers` (all of them together) or `others`.
    pub kind: &'static str,
    /// With the picture, in microseconds of processor time per second.
    pub with_us: Spread,
    /// Without.
    pub without_us: Spread,
    /// What is more with it, within a round; 0 where it is less.
    pub more_us: Spread,
}

/// Processor time so far, by kind of threads.
type Times = BTreeMap<&'static str, Duration>;

/// Measures.
///
/// # Errors
/// Envoy can't be run, or the picture is never there.
pub async fn measure(options: Options) -> Result<Report> {
    ensure!(options.endpoints > 0, "no endpoints");
    let shipped = json!({
        "probe": { "interval": "5s", "timeout": "3s" },
        "status_path": STATUS_PATH,
    });
    let mut rig = Rig::start(&Plan::of(options.endpoints).with_block(&shipped)).await?;
    let mut plain = Envoy::start(without(&rig)?).await?;
    wait::until("the picture has all endpoints", async || {
        let picture = rig.picture().await?.to_string();
        let known = rig
            .backends
            .iter()
            .all(|backend| picture.contains(&backend.address().to_string()));
        Ok(known.then_some(()))
    })
    .await?;
    let served: [Arc<AtomicU64>; 2] = Default::default();
    let mut load = JoinSet::new();
    for (envoy, served) in [&rig.envoy, &plain].into_iter().zip(&served) {
        let address = envoy.listener("edge")?;
        for _ in 0..CONNECTIONS {
            load.spawn(requests(address, options.rate, Arc::clone(served)));
        }
    }
    // The first round is no round: connections open, and the picture settles.
    wait::think(options.round).await;
    let asked_before = rig.admin.asked().len();
    let probes_before = rig.probes().len();
    let served_before = [0, 1].map(|index: usize| count(&served, index));
    let begin = Instant::now();
    let mut rounds: Vec<[BTreeMap<&'static str, u64>; 2]> = Vec::new();
    for _ in 0..options.rounds {
        let (start, before) = (
            Instant::now(),
            [rig.envoy.time_by_kind()?, plain.time_by_kind()?],
        );
        wait::think(options.round).await;
        let (after, elapsed) = (
            [rig.envoy.time_by_kind()?, plain.time_by_kind()?],
            start.elapsed(),
        );
        rounds.push([0, 1].map(|index: usize| spent(before.get(index), after.get(index), elapsed)));
    }
    let seconds = begin.elapsed().as_secs_f64();
    let asked = rig.admin.asked();
    let lists = asked
        .iter()
        .skip(asked_before)
        .filter(|asked| asked.path.starts_with("/clusters"));
    let report = Report {
        schema: 1,
        endpoints: options.endpoints,
        rounds: options.rounds,
        round_ms: u64::try_from(options.round.as_millis())?,
        rate: options.rate,
        served: [0, 1].map(|index: usize| {
            count(&served, index) - served_before.get(index).copied().unwrap_or_default()
        }),
        threads: KINDS.iter().map(|kind| thread(kind, &rounds)).collect(),
        admin_calls_per_second: per_second(asked.len() - asked_before, seconds),
        lists_per_second: per_second(lists.count(), seconds),
        probes_per_second: per_second(rig.probes().len() - probes_before, seconds),
        resident_bytes: [rig.envoy.resident_bytes()?, plain.resident_bytes()?],
    };
    load.shutdown().await;
    plain.stop().await?;
    rig.envoy.stop().await?;
    Ok(report)
}

/// The same without the block and without the filter of the cluster.
fn without(rig: &Rig) -> Result<Scenario> {
    let mut scenario = rig.envoy.scenario();
    let bootstrap: &mut Bootstrap = scenario.bootstrap();
    bootstrap.configure_everywhere(STICKY_SESSION, &mut |configuration| {
        if let Some(configuration) = configuration.as_object_mut() {
            configuration.remove("endpoints");
        }
    })?;
    if let Some(cluster) = bootstrap.cluster(sticky::CLUSTER)?.as_object_mut() {
        cluster.remove("typed_extension_protocol_options");
    }
    Ok(scenario)
}

/// Sends requests of one session at a steady rate, its share of the whole.
async fn requests(address: SocketAddr, rate: u32, served: Arc<AtomicU64>) {
    let mut client = Client::new(address);
    let period = Duration::from_secs(1) * CONNECTIONS / rate.max(1);
    let mut ticks = tokio::time::interval(period);
    loop {
        ticks.tick().await;
        if client
            .get("/")
            .await
            .is_ok_and(|answer| answer.status == 200)
        {
            served.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn count(served: &[Arc<AtomicU64>; 2], index: usize) -> u64 {
    served
        .get(index)
        .map_or(0, |served| served.load(Ordering::Relaxed))
}

/// Is what was spent in a round, in microseconds per second.
fn spent(
    before: Option<&Times>,
    after: Option<&Times>,
    elapsed: Duration,
) -> BTreeMap<&'static str, u64> {
    let time = |times: Option<&Times>, kind| {
        times
            .and_then(|times| times.get(kind))
            .copied()
            .unwrap_or_default()
    };
    let of = |kind: &'static str| {
        let spent = time(after, kind).saturating_sub(time(before, kind));
        let rate = spent.as_nanos() * 1_000_000 / elapsed.as_nanos().max(1);
        (kind, u64::try_from(rate).unwrap_or(u64::MAX))
    };
    KINDS.into_iter().map(of).collect()
}

fn thread(kind: &'static str, rounds: &[[BTreeMap<&'static str, u64>; 2]]) -> Thread {
    let pairs = || {
        rounds.iter().map(|[with, without]| {
            let of =
                |times: &BTreeMap<&'static str, u64>| times.get(kind).copied().unwrap_or_default();
            (of(with), of(without))
        })
    };
    Thread {
        kind,
        with_us: Spread::of(pairs().map(|(with, _)| with).collect()),
        without_us: Spread::of(pairs().map(|(_, without)| without).collect()),
        more_us: Spread::of(
            pairs()
                .map(|(with, without)| with.saturating_sub(without))
                .collect(),
        ),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a run are far below 2^52"
)]
fn per_second(count: usize, seconds: f64) -> f64 {
    count as f64 / seconds
}
