//! Measures what knowing the endpoints costs: fuel and host calls of a tick, the longest piece of work, memory per VM.
//!
//! Model: the real sticky-session with one cluster, one worker and the main thread's VM, in virtual time; probes every
//! 5 s; the source's answers are those of the model's admin, or a feed of the same endpoints. Half-way one endpoint
//! leaves. Fuel and host calls are the same on every machine. Time is estimated: the longest tick is timed on this
//! machine's core by wasmtime, host functions included, and what it took per unit of fuel is applied to all.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use cpu_time::ThreadTime;
use serde::Serialize;
use tidegate_host::{
    CallAnswer, Callback, CloseReason, ClusterConfig, HeaderMap, HostCall, Module, Observer,
    PendingCall, PluginConfig, Proxy, StreamAttributes,
};
use tidegate_model::admin::{Admin, ClusterView, HostStats};
use tidegate_model::balance::{Host, Hosts};
use tidegate_model::scenario::{CircuitBreakers, Health};

use crate::build::module_path;
use crate::engine::engine;
use crate::output::Output;

/// Is a second in nanoseconds.
const SECOND_NS: u64 = 1_000_000_000;

/// When everything begins; any time will do.
const START_NS: u64 = 1_700_000_000 * SECOND_NS;

/// How far the clock goes at a time: a tenth of a tick.
const LOOK_NS: u64 = 25_000_000;

/// How long the leader learns before ticks are measured.
const LEARNS_NS: u64 = 20 * SECOND_NS;

/// How long ticks are measured, before and after the change.
const MEASURED_NS: u64 = 20 * SECOND_NS;

/// How much of an answer a tick reads, as the plugin has it.
const SLICE_BYTES: usize = 64 * 1024;

/// How many requests are served to count their host calls.
const REQUESTS: u64 = 100;

/// What a piece of work may take, in microseconds.
pub const GOAL_US: u64 = 5_000;

/// What the memory of a VM may be at 1 000 endpoints, in bytes.
pub const MEMORY_GOAL_BYTES: u64 = 4 * 1024 * 1024;

/// Sources and numbers of endpoints that are measured: what each is for.
const CASES: [(Source, usize); 7] = [
    (Source::Admin, 10),
    (Source::Admin, 100),
    (Source::Admin, 1_000),
    (Source::Feed, 10),
    (Source::Feed, 100),
    (Source::Feed, 1_000),
    (Source::Feed, 10_000),
];

/// Where endpoints are known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Envoy's admin.
    Admin,
    /// An HTTP server.
    Feed,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: u32,
    /// Nanoseconds per thousand units of fuel: of the longest tick, on this machine.
    pub ns_per_kilofuel: u64,
    /// What was measured with each source and number of endpoints.
    pub cases: Vec<Measured>,
}

/// What was measured with one source and number of endpoints.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// The source.
    pub source: Source,
    /// How many endpoints the cluster has.
    pub endpoints: usize,
    /// Length of the source's answer.
    pub answer_bytes: usize,
    /// Ticks of the VM that leads in which nothing special happens.
    pub leader_steady: Ticks,
    /// Its ticks that read a slice of an answer.
    pub leader_reading: Ticks,
    /// Its ticks that publish.
    pub leader_publishing: Ticks,
    /// Ticks of the other VM in which nothing changed.
    pub follower_steady: Ticks,
    /// Its ticks that read a snapshot.
    pub follower_reading: Ticks,
    /// The longest piece of work of all, in fuel: a tick or the answer to a call-out.
    pub longest_fuel: u64,
    /// The same in microseconds, estimated.
    pub longest_us: u64,
    /// Host calls of a steady tick of the leader, by function.
    pub leader_calls_per_tick: BTreeMap<&'static str, f64>,
    /// Host calls of a steady tick of the other VM, by function.
    pub follower_calls_per_tick: BTreeMap<&'static str, f64>,
    /// Host calls of a request, by function.
    pub calls_per_request: BTreeMap<&'static str, f64>,
    /// Reads and writes of shared data per request.
    pub shared_data_per_request: f64,
    /// Linear memory of the VM that leads.
    pub leader_memory_bytes: u64,
    /// Linear memory of the other VM.
    pub follower_memory_bytes: u64,
}

/// What ticks of one kind cost, in fuel.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ticks {
    /// How many there were.
    pub count: u64,
    /// As many are cheaper as are dearer.
    pub median: u64,
    /// The dearest.
    pub max: u64,
}

impl Ticks {
    fn of<'a>(ticks: impl Iterator<Item = &'a Tick>) -> Self {
        let mut fuel: Vec<u64> = ticks.map(|tick| tick.fuel).collect();
        fuel.sort_unstable();
        Self {
            count: u64::try_from(fuel.len()).unwrap_or(u64::MAX),
            median: fuel.get(fuel.len() / 2).copied().unwrap_or(0),
            max: fuel.last().copied().unwrap_or(0),
        }
    }
}

/// Measures every case.
///
/// # Errors
/// The plugin doesn't build or start.
pub fn run(output: &Output) -> anyhow::Result<Report> {
    let path = module_path("sticky-session")?;
    let bytes = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let module = Module::compile(&engine()?, "sticky-session", &bytes)?;
    let progress = output.progress("measuring", u64::try_from(CASES.len()).ok());
    let (mut cases, mut longest) = (Vec::new(), (0, Duration::ZERO));
    for (source, endpoints) in CASES {
        progress.message(format!("{endpoints} endpoints"));
        let mut gateway = Gateway::start(&module, source, endpoints)?;
        cases.push(gateway.measure()?);
        longest = longest.max(gateway.longest);
        progress.advance(1);
    }
    progress.finish();
    let (fuel, time) = longest;
    let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let ns_per_kilofuel = ns.saturating_mul(1_000).checked_div(fuel).unwrap_or(0);
    for case in &mut cases {
        case.longest_us = case.longest_fuel.saturating_mul(ns_per_kilofuel) / 1_000_000;
    }
    Ok(Report {
        schema: 1,
        ns_per_kilofuel,
        cases,
    })
}

/// A callback of a VM.
#[derive(Debug, Clone, Default)]
struct Tick {
    vm: u32,
    at_ns: u64,
    is_tick: bool,
    fuel: u64,
    calls: BTreeMap<&'static str, u64>,
    wrote_snapshot: bool,
    read_snapshot: bool,
    reads_answer: bool,
}

/// Remembers callbacks.
#[derive(Debug, Clone, Default)]
struct Watch(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// Is what the present callback of each VM has done.
    open: BTreeMap<u32, Tick>,
    ticks: Vec<Tick>,
    of_streams: BTreeMap<&'static str, u64>,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watch {
    fn wants_host_calls(&self) -> bool {
        true
    }

    fn host_call(&mut self, call: HostCall<'_>) {
        let mut seen = self.lock();
        if call.place.stream.is_some() {
            *seen.of_streams.entry(call.name).or_default() += 1;
            return;
        }
        let tick = seen.open.entry(call.place.vm).or_default();
        *tick.calls.entry(call.name).or_default() += 1;
        if call.arguments.contains(".snapshot.") {
            tick.wrote_snapshot |= call.name == "proxy_set_shared_data";
            tick.read_snapshot |= call.name == "proxy_get_shared_data";
        }
    }

    fn wants_callbacks(&self) -> bool {
        true
    }

    fn callback(&mut self, callback: Callback<'_>) {
        let mut seen = self.lock();
        if callback.place.stream.is_some() {
            return;
        }
        let mut tick = seen.open.remove(&callback.place.vm).unwrap_or_default();
        tick.vm = callback.place.vm;
        tick.at_ns = callback.place.at_ns;
        tick.is_tick = callback.name == "proxy_on_tick";
        tick.fuel = callback.fuel;
        seen.ticks.push(tick);
    }
}

/// A proxy, its endpoints, and whoever tells of them.
struct Gateway {
    proxy: Proxy,
    watch: Watch,
    source: Source,
    hosts: Hosts,
    admin: Admin,
    answer_bytes: usize,
    /// Until when ticks read an answer, and since when.
    reading_ns: Vec<(u64, u64)>,
    /// Is the dearest tick and what it took.
    longest: (u64, Duration),
}

impl Gateway {
    fn start(module: &Module, source: Source, endpoints: usize) -> anyhow::Result<Self> {
        let host = |number: usize| Host {
            address: format!(
                "10.{}.{}.{}:8080",
                number >> 16,
                (number >> 8) & 255,
                number & 255
            ),
            weight: 1,
            zone: format!(
                "eu-west-1{}",
                ["a", "b", "c"].get(number % 3).copied().unwrap_or("a")
            ),
            health: Health::Healthy,
            active_requests: 0,
        };
        let hosts = Hosts {
            all: (0..endpoints).map(host).collect(),
            members: (0..endpoints).collect(),
            generation: 1,
        };
        let told = match source {
            Source::Admin => r#"{"admin": {}}"#,
            Source::Feed => r#"{"feed": {}}"#,
        };
        let configuration = format!(
            r#"{{"clusters": [{{"name": "app"}}], "keys": {{"inline": "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}},
            "endpoints": {{"clusters": [{{"name": "app"}}], "source": {told}, "probe": {{}}}}}}"#
        );
        let config = PluginConfig {
            name: "sticky-session".into(),
            configuration: configuration.into_bytes(),
            ..PluginConfig::default()
        };
        let cluster = |name: &str, endpoints| ClusterConfig {
            name: name.into(),
            endpoints,
            ..ClusterConfig::default()
        };
        let watch = Watch::default();
        let addresses = hosts.all.iter().map(|host| host.address.clone()).collect();
        let proxy = Proxy::builder(&engine()?)
            .workers(1)
            .seed(1)
            .start_time_ns(START_NS)
            .cluster(cluster("app", addresses))
            .cluster(cluster("envoy_admin", vec!["127.0.0.1:9901".into()]))
            .cluster(cluster("endpoint_feed", vec!["127.0.0.1:9902".into()]))
            .filter(module, config)
            .observer(Box::new(watch.clone()))
            .build()
            .context("failed to start a gateway")?;
        Ok(Self {
            proxy,
            watch,
            source,
            hosts,
            admin: Admin::default(),
            answer_bytes: 0,
            reading_ns: Vec::new(),
            longest: (0, Duration::ZERO),
        })
    }

    fn measure(&mut self) -> anyhow::Result<Measured> {
        // The worker serves, so that the main thread's VM leads.
        self.request()?;
        self.pass(LEARNS_NS)?;
        self.watch.lock().ticks.clear();
        self.pass(MEASURED_NS)?;
        self.hosts.members.pop();
        self.hosts.generation += 1;
        self.pass(MEASURED_NS)?;
        let mut ticks = std::mem::take(&mut self.watch.lock().ticks);
        self.watch.lock().of_streams.clear();
        for _ in 0..REQUESTS {
            self.request()?;
        }
        for tick in &mut ticks {
            tick.reads_answer = self
                .reading_ns
                .iter()
                .any(|(from, until)| (*from..=*until).contains(&tick.at_ns));
        }
        let calls = std::mem::take(&mut self.watch.lock().of_streams);
        let shared = ["proxy_get_shared_data", "proxy_set_shared_data"]
            .iter()
            .filter_map(|name| calls.get(name))
            .sum::<u64>();
        let leader = ticks
            .iter()
            .find(|tick| tick.calls.contains_key("proxy_http_call"))
            .map_or(0, |tick| tick.vm);
        let leads = |tick: &&Tick| tick.is_tick && tick.vm == leader;
        let follows = |tick: &&Tick| tick.is_tick && tick.vm != leader;
        let is_plain = |tick: &&Tick| !tick.wrote_snapshot && !tick.read_snapshot;
        let leader_steady = || {
            ticks
                .iter()
                .filter(leads)
                .filter(is_plain)
                .filter(|tick| !tick.reads_answer)
        };
        let follower_steady = || ticks.iter().filter(follows).filter(is_plain);
        let memory = |leads: bool| {
            let vms = self.proxy.vms();
            let vm = vms.iter().find(|vm| (vm.vm == leader) == leads);
            vm.map_or(0, |vm| vm.memory_bytes)
        };
        Ok(Measured {
            source: self.source,
            endpoints: self.hosts.all.len(),
            answer_bytes: self.answer_bytes,
            leader_steady: Ticks::of(leader_steady()),
            leader_reading: Ticks::of(
                ticks
                    .iter()
                    .filter(leads)
                    .filter(is_plain)
                    .filter(|tick| tick.reads_answer),
            ),
            leader_publishing: Ticks::of(
                ticks
                    .iter()
                    .filter(leads)
                    .filter(|tick| tick.wrote_snapshot),
            ),
            follower_steady: Ticks::of(follower_steady()),
            follower_reading: Ticks::of(
                ticks
                    .iter()
                    .filter(follows)
                    .filter(|tick| tick.read_snapshot),
            ),
            longest_fuel: ticks.iter().map(|tick| tick.fuel).max().unwrap_or(0),
            longest_us: 0,
            leader_calls_per_tick: per_tick(leader_steady()),
            follower_calls_per_tick: per_tick(follower_steady()),
            calls_per_request: calls
                .iter()
                .map(|(name, count)| (*name, as_figure(*count) / as_figure(REQUESTS)))
                .collect(),
            shared_data_per_request: as_figure(shared) / as_figure(REQUESTS),
            leader_memory_bytes: memory(true),
            follower_memory_bytes: memory(false),
        })
    }

    /// Lets time pass; call-outs are answered at once.
    fn pass(&mut self, duration_ns: u64) -> anyhow::Result<()> {
        let end_ns = self.proxy.now_ns().saturating_add(duration_ns);
        while self.proxy.now_ns() < end_ns {
            let before = self.watch.lock().ticks.len();
            let begin = ThreadTime::now();
            self.proxy
                .advance_to(self.proxy.now_ns().saturating_add(LOOK_NS));
            let time = begin.elapsed();
            let fuel = {
                let seen = self.watch.lock();
                let new = seen.ticks.get(before..).unwrap_or_default();
                new.iter().map(|tick| tick.fuel).sum::<u64>()
            };
            self.longest = self.longest.max((fuel, time));
            while let Some(call) = self.proxy.poll_call() {
                let answer = self.answer(&call);
                self.proxy.answer_call(call.id, answer)?;
            }
        }
        Ok(())
    }

    fn answer(&mut self, call: &PendingCall) -> CallAnswer {
        let path = call.headers.get_str(":path").unwrap_or_default();
        let (headers, body) = if path.starts_with("/stats") || path.starts_with("/clusters") {
            let stats = vec![HostStats::default(); self.hosts.all.len()];
            let limits = CircuitBreakers::default();
            let view = ClusterView {
                name: "app",
                hosts: &self.hosts,
                stats: &stats,
                limits: &limits,
            };
            let answer = self
                .admin
                .answer("GET", path, &[view], &mut std::iter::empty());
            let headers = answer.headers();
            let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
            (headers.collect(), answer.body.into_bytes())
        } else if path == "/endpoints" {
            (HeaderMap::from([(":status", "200")]), self.feed())
        } else {
            (HeaderMap::from([(":status", "200")]), Vec::new())
        };
        if path.starts_with("/clusters") || path == "/endpoints" {
            self.answer_bytes = body.len();
            let ticks = u64::try_from(body.len() / SLICE_BYTES + 1).unwrap_or(u64::MAX);
            let now_ns = self.proxy.now_ns();
            self.reading_ns
                .push((now_ns, now_ns.saturating_add(ticks * SECOND_NS / 4)));
        }
        CallAnswer::Response {
            headers,
            body,
            trailers: HeaderMap::default(),
        }
    }

    fn feed(&self) -> Vec<u8> {
        let members = self
            .hosts
            .members
            .iter()
            .filter_map(|place| self.hosts.all.get(*place));
        let endpoints: Vec<String> = members
            .map(|host| format!(r#"{{"address":"{}","zone":"{}"}}"#, host.address, host.zone))
            .collect();
        format!(
            r#"{{"version":1,"clusters":[{{"name":"app","endpoints":[{}]}}]}}"#,
            endpoints.join(",")
        )
        .into_bytes()
    }

    fn request(&mut self) -> anyhow::Result<()> {
        let attributes = StreamAttributes {
            cluster_name: "app".into(),
            source_address: "192.0.2.7:40000".into(),
            protocol: "HTTP/1.1".into(),
            ..StreamAttributes::default()
        };
        let stream = self.proxy.open_stream(0, attributes)?;
        let headers = [
            (":method", "GET"),
            (":path", "/"),
            (":authority", "gateway"),
            (":scheme", "https"),
        ];
        self.proxy
            .request_headers(stream, HeaderMap::from(headers), true)?;
        self.proxy
            .response_headers(stream, HeaderMap::from([(":status", "200")]), true)?;
        self.proxy.close_stream(stream, CloseReason::Complete)?;
        while self.proxy.poll_output(stream).is_some() {}
        Ok(())
    }
}

/// Counts host calls by function, per tick.
fn per_tick<'a>(ticks: impl Iterator<Item = &'a Tick>) -> BTreeMap<&'static str, f64> {
    let (mut count, mut calls) = (0_u64, BTreeMap::<&'static str, u64>::new());
    for tick in ticks {
        count += 1;
        for (name, of_tick) in &tick.calls {
            *calls.entry(name).or_default() += of_tick;
        }
    }
    calls
        .into_iter()
        .map(|(name, calls)| (name, as_figure(calls) / as_figure(count.max(1))))
        .collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count of calls has no more than 53 bits"
)]
const fn as_figure(count: u64) -> f64 {
    count as f64
}
