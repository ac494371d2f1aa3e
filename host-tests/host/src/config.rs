//! What plugins, clusters and limits are declared with.

use std::time::Duration;

use crate::headers::HeaderMap;

/// The proxy whose behaviour is modelled where the specification and proxies differ.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Profile {
    /// Envoy 1.40.
    #[default]
    Envoy,
    /// The specification of ABI 0.2.1, to the letter.
    Spec,
}

/// What becomes of traffic after a trap.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum FailurePolicy {
    /// 503 for the request that trapped and for every later one on that thread.
    #[default]
    FailClosed,
    /// 503 for the request that trapped; later traffic passes the plugin untouched.
    FailOpen,
    /// 503 for the request that trapped; the next one gets a fresh VM, unless the last one is younger
    /// than the back-off.
    FailReload,
}

/// What a guest may use. A guest that crosses a limit is stopped; the host is not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Fuel (about one unit per instruction) for one callback; a callback that needs more traps.
    pub fuel_per_callback: u64,
    /// Linear memory of one VM in bytes; growing beyond it fails as it does in the proxy.
    pub memory_bytes: u64,
    /// Bytes that one callback may make the host keep for it (headers, bodies, shared data, queues,
    /// logs); a callback that needs more traps.
    pub host_bytes_per_callback: u64,
    /// Bytes that one callback may make the host move or compare on its behalf; a callback that
    /// needs more traps. This is what bounds a loop over host calls, which costs little fuel.
    pub host_work_per_callback: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A second or so of compiled code.
            fuel_per_callback: 1_000_000_000,
            // SOURCE: proxy-wasm-cpp-host allows 1 GiB of linear memory.
            memory_bytes: 1 << 30,
            host_bytes_per_callback: 64 << 20,
            host_work_per_callback: 4 << 30,
        }
    }
}

/// One plugin, as an Envoy `PluginConfig` has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginConfig {
    /// Name of the plugin, for logs, reports and the property `plugin_name`.
    pub name: String,
    /// Root ID; plugins of one VM with the same root ID and configuration share a root context.
    pub root_id: String,
    /// VM ID: VMs with the same one share data and queues.
    pub vm_id: String,
    /// Bytes handed to `proxy_on_vm_start`.
    pub vm_configuration: Vec<u8>,
    /// Bytes handed to `proxy_on_configure`.
    pub configuration: Vec<u8>,
    /// Environment variables of the VM, in order.
    pub environment: Vec<(String, String)>,
    /// What becomes of traffic after a trap.
    pub failure_policy: FailurePolicy,
    /// Least time between two VMs of the plugin on a thread with [`FailurePolicy::FailReload`]; up to
    /// half of it more is drawn each time. `None` is a second, as in Envoy; less than a millisecond
    /// counts as one.
    pub reload_backoff: Option<Duration>,
    /// Host functions, WASI functions and callbacks that the plugin's VM may use, by name
    /// (`proxy_log`, `fd_write`, `proxy_on_tick`). Empty: all. A denied host function answers
    /// INTERNAL_FAILURE, a denied WASI function 76, and a denied callback is never called. The module's
    /// own start functions and allocators need no leave. VMs with different lists are not shared.
    pub allowed_capabilities: Vec<String>,
    /// Whether a pause in `proxy_on_request_headers` lets body callbacks go on.
    pub allow_on_headers_stop_iteration: bool,
    /// What the plugin's VM may use. The first plugin of a shared VM decides.
    pub limits: Limits,
}

impl PluginConfig {
    /// Whether the plugin may use a function or get a callback.
    pub(crate) fn allows(&self, capability: &str) -> bool {
        self.allowed_capabilities.is_empty()
            || self
                .allowed_capabilities
                .iter()
                .any(|allowed| allowed == capability)
    }
}

/// A cluster that call-outs can name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClusterConfig {
    /// Name of the cluster.
    pub name: String,
    /// Addresses as `ip:port`. A call-out to a cluster without any fails inline.
    pub endpoints: Vec<String>,
    /// The header in which a request names the endpoint that it wants, in lower case.
    pub override_header: Option<String>,
}

impl ClusterConfig {
    /// The endpoint that the upstream filters of a call-out are told: the first that its header names, if it is a
    /// member; else the cluster's first.
    pub(crate) fn endpoint_for(&self, headers: &HeaderMap) -> Option<&str> {
        let named = self
            .override_header
            .as_ref()
            .and_then(|header| headers.get_str(header))
            .and_then(|list| list.split(',').next())
            .map(str::trim);
        let mut members = self.endpoints.iter();
        named
            .and_then(|named| members.clone().find(|member| *member == named))
            .or_else(|| members.next())
            .map(String::as_str)
    }
}
