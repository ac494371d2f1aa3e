//! What a proxy tells about itself: cost, VMs, metrics, shared data.

use crate::output::Thread;

/// Kind of a metric.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Is set, goes up and down.
    Gauge,
    /// Records values.
    Histogram,
}

/// Value of a metric, over all VMs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MetricValue {
    /// Sum of all increments.
    Counter(u64),
    /// Last value set, with the increments since.
    Gauge(u64),
    /// What was recorded.
    Histogram {
        /// How many values.
        count: u64,
        /// Their sum, saturating.
        sum: u64,
        /// The smallest; 0 without values.
        min: u64,
        /// The largest.
        max: u64,
    },
}

/// Cost of one callback of one plugin, over all its running VMs (not base and canary VMs).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CallbackCost {
    /// Export, such as `proxy_on_request_headers`.
    pub name: &'static str,
    /// How often it ran.
    pub calls: u64,
    /// Least fuel of one call.
    pub fuel_min: u64,
    /// Most fuel of one call.
    pub fuel_max: u64,
    /// Fuel of all calls.
    pub fuel_total: u64,
}

impl CallbackCost {
    /// Mean fuel per call, rounded down; 0 without calls.
    #[must_use]
    pub fn fuel_mean(&self) -> u64 {
        self.fuel_total.checked_div(self.calls).unwrap_or(0)
    }
}

/// Cost of one plugin.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PluginCost {
    /// Name of the plugin.
    pub plugin: String,
    /// Callbacks that ran at least once, in the order of the specification.
    pub callbacks: Vec<CallbackCost>,
    /// Host functions called at least once and how often, in the order of the specification.
    pub host_calls: Vec<(&'static str, u64)>,
}

/// State of a VM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum VmState {
    /// It serves.
    Running,
    /// It trapped, or broke a limit; the text says how.
    Dead(String),
}

/// A VM of the proxy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VmInfo {
    /// Number of the VM, from 0 in order of creation.
    pub vm: u32,
    /// Thread that it belongs to.
    pub thread: Thread,
    /// Plugins that it runs.
    pub plugins: Vec<String>,
    /// Whether it runs.
    pub state: VmState,
    /// Linear memory in bytes.
    pub memory_bytes: u64,
    /// How often memory could not grow because of the limit.
    pub memory_refused: u64,
    /// Contexts alive, root contexts included.
    pub contexts: usize,
    /// How often it was replaced after a trap.
    pub reloads: u64,
}

/// An entry of shared data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SharedEntry<'a> {
    /// Key.
    pub key: &'a [u8],
    /// Value.
    pub value: &'a [u8],
    /// Compare-and-swap number.
    pub cas: u32,
}
