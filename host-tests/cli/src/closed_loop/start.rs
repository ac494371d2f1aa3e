//! Puts everything in its place before the first request.

use std::collections::BTreeMap;

use tidegate_host::{ClusterConfig, HostFault, LogLevel, Proxy, Status};
use tidegate_model::draw::Draws;
use tidegate_model::router::Edge;
use tidegate_model::scenario::{ClusterKind, Fault, FaultStatus, Route};

use super::RunError;
use super::client::Jars;
use super::cluster::Cluster;
use super::engine::Engine;
use super::queue::{Event, Queue};
use super::removal::Removal;
use crate::engine::engine as wasm_engine;
use crate::replay::observe::Watching;
use crate::scenario::{LoadedFilter, LoadedScenario, ScenarioTraffic};

/// When virtual time begins, in nanoseconds since the Unix epoch: 2023-11-14T22:13:20Z.
const START_NS: u64 = 1_700_000_000_000_000_000;

/// Makes everything ready for the first request.
pub(super) fn engine(loaded: &LoadedScenario, seed: u64) -> Result<Engine, RunError> {
    let scenario = &loaded.scenario;
    let mut first_server = 0;
    let mut clusters = Vec::new();
    for (index, cluster) in (0_u64..).zip(&scenario.clusters) {
        let cluster = Cluster::new(cluster, index, first_server, scenario.workers, seed);
        first_server += cluster.servers.len() as u64;
        clusters.push(cluster);
    }
    let mut queue = Queue::default();
    for (index, cluster) in clusters.iter().enumerate() {
        let mut changes: Vec<u64> = cluster
            .servers
            .iter()
            .flat_map(tidegate_model::endpoint::Server::changes)
            .filter(|change| *change > 0)
            .collect();
        changes.sort_unstable();
        changes.dedup();
        for at_ns in changes {
            queue.push(at_ns, Event::EndpointsChange { cluster: index });
        }
    }
    let (watching, proxy) = proxy(loaded, &clusters, seed)?;
    let mut routes = scenario.routes.clone();
    if routes.is_empty() {
        routes.push(Route {
            cluster: scenario.clusters.first().map(|first| first.name.clone()),
            ..Route::default()
        });
    }
    let upstream = loaded.upstream_filters.iter();
    Ok(Engine {
        traffic: ScenarioTraffic::new(loaded, seed).map_err(RunError::Recording)?,
        expected_ns: None,
        duration_ns: scenario.duration.ns(),
        workers: scenario.workers,
        seed,
        start_ns: START_NS,
        now_ns: 0,
        has_upstream_filters: loaded
            .upstream_filters
            .iter()
            .any(|filters| !filters.is_empty()),
        proxy,
        watching,
        edge: Edge::default(),
        edge_draws: Draws::new(seed, "edge", 0),
        router_draws: Draws::new(seed, "router", 0),
        removal: Removal::of(&loaded.filters),
        upstream_removals: upstream.map(|chain| Removal::of(chain)).collect(),
        routes,
        cluster_names: clusters
            .iter()
            .enumerate()
            .map(|(index, cluster)| (cluster.name.clone(), index))
            .collect(),
        clusters,
        queue,
        streams: BTreeMap::new(),
        next_stream: 0,
        works: BTreeMap::new(),
        next_work: 0,
        jars: Jars::default(),
        admin: tidegate_model::admin::Admin::default(),
        admin_calls: BTreeMap::new(),
        call_outs: 0,
        calls_now: 0,
        calls_at_ns: 0,
        traps: 0,
        guest_faults: 0,
        requests: 0,
    })
}

fn proxy(
    loaded: &LoadedScenario,
    clusters: &[Cluster],
    seed: u64,
) -> Result<(Watching, Proxy), RunError> {
    let scenario = &loaded.scenario;
    let engine = wasm_engine().map_err(|error| RunError::Engine(format!("{error:#}")))?;
    let (watching, eyes) = Watching::new(LogLevel::Info);
    let mut builder = Proxy::builder(&engine)
        .workers(scenario.workers)
        .seed(seed)
        .start_time_ns(START_NS)
        .log_level(LogLevel::Info)
        .shuffle_simultaneous(true)
        .observer(Box::new(eyes));
    for filter in &loaded.filters {
        if let LoadedFilter::Plugin(plugin) = filter {
            builder = builder.filter(&plugin.module, plugin.config.clone());
        }
    }
    for (cluster, filters) in clusters.iter().zip(&loaded.upstream_filters) {
        for filter in filters {
            if let LoadedFilter::Plugin(plugin) = filter {
                let config = plugin.config.clone();
                builder = builder.upstream_filter(&cluster.name, &plugin.module, config);
            }
        }
    }
    for cluster in clusters {
        builder = builder.cluster(ClusterConfig {
            name: cluster.name.clone(),
            endpoints: match cluster.kind {
                ClusterKind::Endpoints => cluster.members(),
                ClusterKind::Admin => vec!["127.0.0.1:9901".to_owned()],
            },
            override_header: cluster.override_header.clone(),
        });
    }
    for fault in &scenario.faults {
        builder = builder.fault(host_fault(fault));
    }
    Ok((watching, builder.build()?))
}

fn host_fault(fault: &Fault) -> HostFault {
    HostFault {
        function: fault.call.clone(),
        plugin: fault.plugin.clone(),
        nth: fault.nth,
        // A fault that is there from the beginning is there while the plugins start, too.
        from_ns: match fault.from.ns() {
            0 => 0,
            from_ns => START_NS + from_ns,
        },
        until_ns: fault.until.map(|until| START_NS + until.ns()),
        status: match fault.status {
            FaultStatus::NotFound => Status::NotFound,
            FaultStatus::BadArgument => Status::BadArgument,
            FaultStatus::SerializationFailure => Status::SerializationFailure,
            FaultStatus::ParseFailure => Status::ParseFailure,
            FaultStatus::InvalidMemoryAccess => Status::InvalidMemoryAccess,
            FaultStatus::Empty => Status::Empty,
            FaultStatus::CasMismatch => Status::CasMismatch,
            FaultStatus::InternalFailure => Status::InternalFailure,
            FaultStatus::Unimplemented => Status::Unimplemented,
        },
    }
}
