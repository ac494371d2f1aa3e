//! What a whole replay comes to.

use serde::Serialize;
use tidegate_host::{MetricKind, MetricValue, Proxy, VmState};

use super::exchange::{Exchange, Trap};

/// Traps that are kept with their text; of a plugin that traps at every request the first ones say it all.
const TRAPS_MAX: usize = 20;

/// Sums over all exchanges, and what the plugins say of themselves at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Events of the recording.
    pub events: u64,
    /// Streams of the recording.
    pub streams: u64,
    /// Streams that sent request headers.
    pub requests: u64,
    /// Clients.
    pub sessions: u64,
    /// Streams that became WebSockets.
    pub websockets: u64,
    /// Time of the first event, in nanoseconds since the Unix epoch.
    pub first_ns: u64,
    /// Time of the last event.
    pub last_ns: u64,
    /// Requests that the plugins changed.
    pub changed_requests: u64,
    /// Responses that the plugins changed.
    pub changed_responses: u64,
    /// Requests that the plugins sent elsewhere than the recorded proxy did.
    pub diverged: u64,
    /// Answers that the plugins gave themselves.
    pub local_replies: u64,
    /// Streams that the plugins or the proxy cut.
    pub resets: u64,
    /// Streams that were still held back when the recording ended them.
    pub held: u64,
    /// Streams that the recording doesn't end.
    pub unfinished: u64,
    /// Calls that the plugins made.
    pub call_outs: u64,
    /// Traps of the plugins.
    pub traps: u64,
    /// The first traps, with their text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub first_traps: Vec<Trap>,
    /// Metrics of the plugins, by name.
    pub metrics: Vec<Metric>,
    /// What the plugins cost, in the order of the chain.
    pub cost: Vec<Cost>,
    /// The VMs.
    pub vms: Vec<Vm>,
}

/// A metric of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its value; of a histogram the sum.
    pub value: u64,
    /// Of a histogram the number of values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// What a plugin cost, over all its VMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// The plugin.
    pub plugin: String,
    /// Its callbacks.
    pub callbacks: Vec<CallbackCost>,
    /// Host functions that it called, with how often.
    pub host_calls: Vec<(&'static str, u64)>,
}

/// What a callback cost. Fuel is about one unit per instruction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallbackCost {
    /// The callback.
    pub name: &'static str,
    /// How often it ran.
    pub calls: u64,
    /// Least fuel of a call.
    pub fuel_min: u64,
    /// Mean fuel of a call, rounded down.
    pub fuel_mean: u64,
    /// Most fuel of a call.
    pub fuel_max: u64,
}

/// A VM at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vm {
    /// Thread that it belongs to.
    pub thread: String,
    /// Plugins that it runs.
    pub plugins: Vec<String>,
    /// Linear memory in bytes.
    pub memory_bytes: u64,
    /// What it died of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub died_of: Option<String>,
    /// How often it was replaced after a trap.
    pub reloads: u64,
}

impl Totals {
    /// Adds an exchange that is over.
    pub(super) fn add(&mut self, exchange: &Exchange) {
        self.websockets += u64::from(exchange.websocket);
        self.diverged += u64::from(exchange.diverged);
        self.local_replies += u64::from(exchange.local_reply.is_some());
        self.resets += u64::from(exchange.reset.is_some());
        self.held += u64::from(exchange.held);
        self.unfinished += u64::from(exchange.unfinished);
    }

    /// Adds traps, wherever they happened.
    pub(super) fn add_traps(&mut self, traps: &[Trap]) {
        self.traps += traps.len() as u64;
        let room = TRAPS_MAX.saturating_sub(self.first_traps.len());
        self.first_traps.extend(traps.iter().take(room).cloned());
    }

    /// Asks the proxy for what it knows.
    pub(super) fn ask(&mut self, proxy: &Proxy) {
        self.metrics = proxy
            .metrics()
            .map(|(name, kind, value)| Metric::new(name, kind, &value))
            .collect();
        self.cost = proxy
            .cost()
            .into_iter()
            .map(|cost| Cost {
                plugin: cost.plugin,
                callbacks: cost
                    .callbacks
                    .iter()
                    .map(|callback| CallbackCost {
                        name: callback.name,
                        calls: callback.calls,
                        fuel_min: callback.fuel_min,
                        fuel_mean: callback.fuel_mean(),
                        fuel_max: callback.fuel_max,
                    })
                    .collect(),
                host_calls: cost.host_calls,
            })
            .collect();
        self.vms = proxy
            .vms()
            .into_iter()
            .map(|vm| Vm {
                thread: vm.thread.to_string(),
                plugins: vm.plugins,
                memory_bytes: vm.memory_bytes,
                died_of: match vm.state {
                    VmState::Running => None,
                    VmState::Dead(message) => Some(message),
                },
                reloads: vm.reloads,
            })
            .collect();
    }

    /// Returns the value of a counter of the plugins; 0 when there is none of that name.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.metrics
            .iter()
            .find(|metric| metric.name == name)
            .map_or(0, |metric| metric.value)
    }
}

impl Metric {
    fn new(name: &str, kind: MetricKind, value: &MetricValue) -> Self {
        let (value, count) = match value {
            MetricValue::Counter(value) | MetricValue::Gauge(value) => (*value, None),
            MetricValue::Histogram { count, sum, .. } => (*sum, Some(*count)),
        };
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        Self {
            name: name.to_owned(),
            kind,
            value,
            count,
        }
    }
}
