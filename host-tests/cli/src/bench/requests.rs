//! Measures what a request costs where endpoints are known: fuel and host calls, at 4 to 10 000 endpoints.
//!
//! Model: the real modules with one cluster in three zones, one worker and the main thread's VM, in virtual time; the
//! leader has the endpoints of a feed. Each request is served by the first endpoint of its list in 20 ms, and one in ten
//! by the second at its second attempt. Requests to sticky-session carry the cookie of a session; in a chain with
//! health-routing half of them do.
//! Requests are counted twice: soon after the start, where with many endpoints nearly each request is the first that its
//! endpoint gets, and again once nearly all endpoints had requests. The goal holds for both.
//! What is counted is exact and the same on every machine. The cost must not grow with the number of endpoints: what is
//! looked up is found in tables. Time per request is measured elsewhere, in the real Envoy.
//! The host logs warnings only, as in production: lines for debugging are not made. Allocations are not seen from here.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use serde::Serialize;
use tidegate_host::{
    CallAnswer, Callback, CloseReason, ClusterConfig, HeaderMap, HostCall, LogLevel, Module,
    Observer, Output as Effect, PluginConfig, Proxy, StreamAttributes, StreamId, Thread,
    UpstreamAttributes,
};

use crate::build::module_path;
use crate::engine::engine;
use crate::output::Output;
use crate::workspace;

/// Is a second in nanoseconds.
const SECOND_NS: u64 = 1_000_000_000;

/// When everything begins; any time will do.
const START_NS: u64 = 1_700_000_000 * SECOND_NS;

/// How far the clock goes at a time.
const LOOK_NS: u64 = 25_000_000;

/// How long the leader learns before requests are counted.
const LEARNS_NS: u64 = 25 * SECOND_NS;

/// How long an endpoint takes.
const SERVED_NS: u64 = 20_000_000;

/// How many requests are served before those that count.
const WARM_UP: u64 = 200;

/// How many requests each endpoint gets, on average, before requests are counted again. Of endpoints that are drawn alike
/// e^−4 had none by then: one in fifty.
const SETTLED: u64 = 4;

/// How long an endpoint takes until then: nothing is counted, and ticks take long.
const SETTLING_NS: u64 = 500_000;

/// How many requests count.
const REQUESTS: u64 = 1_000;

/// Numbers of endpoints that are measured.
const ENDPOINTS: [usize; 4] = [4, 100, 1_000, 10_000];

/// What fuel per request may grow by, from the fewest endpoints to the most.
pub const GROWTH_GOAL: f64 = 1.2;

/// The header that names endpoints.
const ENDPOINT_HEADER: &str = "x-tidegate-endpoint";

/// What is measured: a chain of plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Chain {
    /// sticky-session alone.
    StickySession,
    /// health-routing alone, which sees requests only.
    HealthRouting,
    /// health-routing in front of the router and behind it.
    HealthRoutingAttempts,
    /// Both in one chain, as modules of their own.
    Both,
    /// Both in one module.
    Stack,
}

impl Chain {
    const ALL: [Self; 5] = [
        Self::StickySession,
        Self::HealthRouting,
        Self::HealthRoutingAttempts,
        Self::Both,
        Self::Stack,
    ];

    /// The name in the report.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StickySession => "sticky-session",
            Self::HealthRouting => "health-routing",
            Self::HealthRoutingAttempts => "health-routing, attempts seen",
            Self::Both => "sticky-session, health-routing",
            Self::Stack => "stack",
        }
    }

    /// The modules of the chain, in its order.
    const fn modules(self) -> &'static [&'static str] {
        match self {
            Self::StickySession => &["sticky-session"],
            Self::HealthRouting | Self::HealthRoutingAttempts => &["health-routing"],
            Self::Both => &["sticky-session", "health-routing"],
            Self::Stack => &["stack"],
        }
    }

    fn exists(self) -> bool {
        self.modules()
            .iter()
            .all(|name| workspace::root().join("plugins").join(name).is_dir())
    }

    /// Of ten requests, how many belong to a session.
    const fn sessions_of_ten(self) -> u64 {
        match self {
            Self::StickySession => 10,
            Self::HealthRouting | Self::HealthRoutingAttempts => 0,
            Self::Both | Self::Stack => 5,
        }
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: u32,
    /// How many requests were counted in each case.
    pub requests: u64,
    /// What was measured with each chain and number of endpoints.
    pub cases: Vec<Measured>,
    /// By what the cost grows.
    pub growth: Vec<Growth>,
}

/// By what the fuel of a request grows, from the fewest endpoints to the most.
#[derive(Debug, Serialize)]
pub struct Growth {
    /// The chain.
    pub chain: Chain,
    /// At the most endpoints, in parts of what it is at the fewest, soon after the start.
    pub ratio: f64,
    /// The same once nearly all endpoints had requests.
    pub settled_ratio: f64,
    /// What it should be at most.
    pub goal: f64,
    /// Whether both are.
    pub met: bool,
}

/// What was measured with one chain and number of endpoints.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// The chain.
    pub chain: Chain,
    /// How many endpoints the cluster has.
    pub endpoints: usize,
    /// Fuel of all callbacks of a request.
    pub fuel_per_request: f64,
    /// The same once nearly all endpoints had requests.
    pub settled_fuel_per_request: f64,
    /// The dearest request, in fuel.
    pub fuel_max: u64,
    /// The same by callback.
    pub callbacks: BTreeMap<&'static str, f64>,
    /// Host calls of a request, by function.
    pub host_calls: BTreeMap<&'static str, f64>,
    /// All of them.
    pub host_calls_per_request: f64,
    /// Requests that had a list, of all: without a picture there is none.
    pub listed_ratio: f64,
    /// Linear memory of the largest VM that serves, at the end.
    pub memory_bytes: u64,
    /// By how much that grew over the requests that were counted.
    pub memory_growth_bytes: u64,
}

/// Measures every case.
///
/// # Errors
/// A plugin doesn't build or start.
pub fn run(output: &Output) -> anyhow::Result<Report> {
    let chains: Vec<Chain> = Chain::ALL.into_iter().filter(|it| it.exists()).collect();
    let count = chains.len() * ENDPOINTS.len();
    let progress = output.progress("measuring", u64::try_from(count).ok());
    let (mut cases, mut growth) = (Vec::new(), Vec::new());
    for chain in chains {
        let modules = Modules::compile(chain)?;
        for endpoints in ENDPOINTS {
            progress.message(format!("{}, {endpoints} endpoints", chain.as_str()));
            cases.push(Gateway::start(&modules, chain, endpoints)?.measure()?);
            progress.advance(1);
        }
        growth.extend(grown(chain, &cases));
    }
    progress.finish();
    Ok(Report {
        schema: 1,
        requests: REQUESTS,
        cases,
        growth,
    })
}

fn grown(chain: Chain, cases: &[Measured]) -> Option<Growth> {
    let mut cases = cases.iter().filter(|case| case.chain == chain);
    let fewest = cases.next()?;
    let most = cases.next_back()?;
    let ratio = most.fuel_per_request / fewest.fuel_per_request;
    let settled_ratio = most.settled_fuel_per_request / fewest.settled_fuel_per_request;
    Some(Growth {
        chain,
        ratio,
        settled_ratio,
        goal: GROWTH_GOAL,
        met: ratio.max(settled_ratio) <= GROWTH_GOAL,
    })
}

/// The modules of a chain.
struct Modules(Vec<(&'static str, Module)>);

impl Modules {
    fn compile(chain: Chain) -> anyhow::Result<Self> {
        let compiled = chain.modules().iter().map(|name| {
            let path = module_path(name)?;
            let bytes =
                fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
            Ok((*name, Module::compile(&engine()?, name, &bytes)?))
        });
        Ok(Self(compiled.collect::<anyhow::Result<_>>()?))
    }
}

/// What one chain is configured with.
fn configuration(chain: Chain, module: &str, role: &str) -> String {
    let clusters = r#""clusters": [{"name": "app"}]"#;
    let keys = r#""keys": {"inline": "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}"#;
    let endpoints = r#""endpoints": {"clusters": [{"name": "app"}], "source": {"feed": {}}}"#;
    let observe = match chain {
        Chain::HealthRoutingAttempts => "attempts",
        _ => "requests",
    };
    match module {
        "sticky-session" => format!(r#"{{{clusters}, {keys}, {endpoints}}}"#),
        "health-routing" => {
            format!(r#"{{{clusters}, {endpoints}, "observe": "{observe}", "role": "{role}"}}"#)
        }
        _ => format!(
            r#"{{"sticky_session": {{{clusters}, {keys}}}, "health_routing": {{{clusters}}}, {endpoints}}}"#
        ),
    }
}

/// Counts what streams cost.
#[derive(Debug, Clone, Default)]
struct Watch(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// Is the fuel of the present request.
    fuel: u64,
    callbacks: BTreeMap<&'static str, u64>,
    calls: BTreeMap<&'static str, u64>,
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
        if call.place.stream.is_some() {
            *self.lock().calls.entry(call.name).or_default() += 1;
        }
    }

    fn wants_callbacks(&self) -> bool {
        true
    }

    fn callback(&mut self, callback: Callback<'_>) {
        if callback.place.stream.is_none() {
            return;
        }
        let mut seen = self.lock();
        seen.fuel += callback.fuel;
        *seen.callbacks.entry(callback.name).or_default() += callback.fuel;
    }
}

/// A proxy, its endpoints, and whoever tells of them.
struct Gateway {
    proxy: Proxy,
    watch: Watch,
    chain: Chain,
    addresses: Vec<String>,
    cookie: Option<String>,
    /// How long endpoints take at present.
    takes_ns: u64,
    served: u64,
    listed: u64,
}

impl Gateway {
    fn start(modules: &Modules, chain: Chain, endpoints: usize) -> anyhow::Result<Self> {
        let addresses: Vec<String> = (0..endpoints)
            .map(|number| {
                let (high, middle) = (number >> 16, (number >> 8) & 255);
                format!("10.{high}.{middle}.{}:8080", number & 255)
            })
            .collect();
        let cluster = |name: &str, endpoints| ClusterConfig {
            name: name.into(),
            endpoints,
            ..ClusterConfig::default()
        };
        let watch = Watch::default();
        let mut builder = Proxy::builder(&engine()?)
            .workers(1)
            .seed(1)
            .start_time_ns(START_NS)
            .log_level(LogLevel::Warn)
            .cluster(cluster("app", addresses.clone()))
            .cluster(cluster("endpoint_feed", vec!["127.0.0.1:9902".into()]))
            .observer(Box::new(watch.clone()));
        for (name, module) in &modules.0 {
            let plugin = |role: &str| PluginConfig {
                name: (*name).into(),
                vm_id: "tidegate".into(),
                vm_configuration: role.as_bytes().to_vec(),
                configuration: configuration(chain, name, role).into_bytes(),
                ..PluginConfig::default()
            };
            builder = builder.filter(module, plugin("listener"));
            if chain == Chain::HealthRoutingAttempts {
                builder = builder.upstream_filter("app", module, plugin("upstream"));
            }
        }
        Ok(Self {
            proxy: builder.build().context("failed to start a gateway")?,
            watch,
            chain,
            addresses,
            cookie: None,
            takes_ns: SERVED_NS,
            served: 0,
            listed: 0,
        })
    }

    fn measure(&mut self) -> anyhow::Result<Measured> {
        // The worker serves, so that the main thread's VM leads.
        self.request()?;
        self.pass(LEARNS_NS)?;
        for _ in 0..WARM_UP {
            self.request()?;
        }
        let memory_before = self.memory_bytes();
        self.listed = 0;
        *self.watch.lock() = Seen::default();
        let (fuel, fuel_max) = self.count()?;
        let seen = std::mem::take(&mut *self.watch.lock());
        let memory_bytes = self.memory_bytes();
        let listed = self.listed;
        let endpoints = u64::try_from(self.addresses.len()).unwrap_or(u64::MAX);
        self.takes_ns = SETTLING_NS;
        for _ in 0..endpoints.saturating_mul(SETTLED) {
            self.request()?;
        }
        self.takes_ns = SERVED_NS;
        for _ in 0..WARM_UP {
            self.request()?;
        }
        self.watch.lock().fuel = 0;
        let (settled_fuel, _) = self.count()?;
        Ok(Measured {
            chain: self.chain,
            endpoints: self.addresses.len(),
            fuel_per_request: per_request(fuel),
            settled_fuel_per_request: per_request(settled_fuel),
            fuel_max,
            callbacks: each(&seen.callbacks),
            host_calls: each(&seen.calls),
            host_calls_per_request: per_request(seen.calls.values().sum()),
            listed_ratio: per_request(listed),
            memory_bytes,
            memory_growth_bytes: memory_bytes.saturating_sub(memory_before),
        })
    }

    /// Serves the requests that count; what they cost in all, and the dearest.
    fn count(&mut self) -> anyhow::Result<(u64, u64)> {
        let (mut fuel, mut fuel_max) = (0, 0);
        for _ in 0..REQUESTS {
            self.request()?;
            let of_request = std::mem::take(&mut self.watch.lock().fuel);
            fuel += of_request;
            fuel_max = of_request.max(fuel_max);
        }
        Ok((fuel, fuel_max))
    }

    /// Is the memory of the worker's largest VM.
    fn memory_bytes(&self) -> u64 {
        let vms = self.proxy.vms();
        let serving = vms
            .iter()
            .filter(|vm| matches!(vm.thread, Thread::Worker(_)));
        serving.map(|vm| vm.memory_bytes).max().unwrap_or(0)
    }

    /// Lets time pass; call-outs are answered at once.
    fn pass(&mut self, duration_ns: u64) -> anyhow::Result<()> {
        let end_ns = self.proxy.now_ns().saturating_add(duration_ns);
        while self.proxy.now_ns() < end_ns {
            let next_ns = self.proxy.now_ns().saturating_add(LOOK_NS).min(end_ns);
            self.proxy.advance_to(next_ns);
            while let Some(call) = self.proxy.poll_call() {
                let answer = CallAnswer::Response {
                    headers: HeaderMap::from([(":status", "200")]),
                    body: self.feed(),
                    trailers: HeaderMap::default(),
                };
                self.proxy.answer_call(call.id, answer)?;
            }
        }
        Ok(())
    }

    fn feed(&self) -> Vec<u8> {
        let endpoints: Vec<String> = self
            .addresses
            .iter()
            .zip(["a", "b", "c"].iter().cycle())
            .map(|(address, zone)| format!(r#"{{"address":"{address}","zone":"eu-west-1{zone}"}}"#))
            .collect();
        format!(
            r#"{{"version":1,"clusters":[{{"name":"app","endpoints":[{}]}}]}}"#,
            endpoints.join(",")
        )
        .into_bytes()
    }

    /// Serves one request from beginning to end.
    fn request(&mut self) -> anyhow::Result<()> {
        let number = self.served;
        self.served += 1;
        let attributes = StreamAttributes {
            cluster_name: "app".into(),
            source_address: "192.0.2.7:40000".into(),
            protocol: "HTTP/1.1".into(),
            ..StreamAttributes::default()
        };
        let stream = self.proxy.open_stream(0, attributes)?;
        let mut headers = HeaderMap::from([
            (":method", "GET"),
            (":path", "/api/items?page=2"),
            (":authority", "gateway"),
            (":scheme", "https"),
            ("user-agent", "bench"),
            ("accept", "application/json"),
        ]);
        if let Some(cookie) = &self.cookie
            && number % 10 < self.chain.sessions_of_ten()
        {
            headers.add("cookie", cookie);
        }
        self.proxy.request_headers(stream, headers, true)?;
        let list = self.list(stream);
        self.listed += u64::from(list.is_some());
        let entries: Vec<&str> = list.as_deref().unwrap_or_default().split(", ").collect();
        let attempts = if number % 10 == 9 && entries.len() > 1 {
            2
        } else {
            1
        };
        let mut address = String::new();
        for attempt in 1..=attempts {
            let entry = entries.get(attempt - 1).filter(|entry| !entry.is_empty());
            entry
                .copied()
                .or(self.addresses.first().map(String::as_str))
                .unwrap_or_default()
                .clone_into(&mut address);
            self.attempt(stream, &address, attempt, attempt == attempts)?;
        }
        let upstream = upstream(&address, attempts);
        self.proxy.set_upstream(stream, upstream)?;
        let answer = HeaderMap::from([(":status", "200"), ("content-type", "application/json")]);
        self.proxy.response_headers(stream, answer, true)?;
        self.proxy.close_stream(stream, CloseReason::Complete)?;
        while let Some(effect) = self.proxy.poll_output(stream) {
            if let Effect::ResponseHeaders { headers, .. } = effect
                && let Some(cookie) = headers.get_str("set-cookie")
                && self.cookie.is_none()
            {
                self.cookie = cookie.split(';').next().map(ToOwned::to_owned);
            }
        }
        Ok(())
    }

    /// Is the list that the router reads.
    fn list(&mut self, stream: StreamId) -> Option<String> {
        while let Some(effect) = self.proxy.poll_output(stream) {
            if let Effect::RequestHeaders { headers, .. } = effect {
                return headers.get_str(ENDPOINT_HEADER).map(ToOwned::to_owned);
            }
        }
        None
    }

    /// Lets an endpoint answer one attempt, through the cluster's chain where there is one.
    fn attempt(
        &mut self,
        stream: StreamId,
        address: &str,
        attempt: usize,
        succeeds: bool,
    ) -> anyhow::Result<()> {
        let upstream = upstream(address, attempt);
        let opened = self.proxy.open_attempt(stream, "app", upstream)?;
        if let Some(attempt) = opened {
            let headers = HeaderMap::from([(":method", "GET"), (":path", "/api/items?page=2")]);
            self.proxy.request_headers(attempt, headers, true)?;
        }
        self.pass(self.takes_ns)?;
        if let Some(attempt) = opened {
            let status = if succeeds { "200" } else { "503" };
            let headers = HeaderMap::from([(":status", status)]);
            self.proxy.response_headers(attempt, headers, true)?;
            self.proxy.close_stream(attempt, CloseReason::Complete)?;
            while self.proxy.poll_output(attempt).is_some() {}
        }
        Ok(())
    }
}

fn upstream(address: &str, attempts: usize) -> UpstreamAttributes {
    UpstreamAttributes {
        address: address.to_owned(),
        attempt_count: u64::try_from(attempts).unwrap_or(u64::MAX),
        ..UpstreamAttributes::default()
    }
}

fn each(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, f64> {
    let counts = counts.iter();
    counts
        .map(|(name, count)| (*name, per_request(*count)))
        .collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count of calls has no more than 53 bits"
)]
const fn per_request(count: u64) -> f64 {
    count as f64 / REQUESTS as f64
}
