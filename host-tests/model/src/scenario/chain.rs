//! The filter chain.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::units::Span;

/// A filter of the listener or of a cluster.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Filter {
    /// A Proxy-Wasm module.
    Plugin(Box<Plugin>),
    /// Envoy's own `header_mutation`, removing request headers.
    RemoveHeaders(HeaderRemoval),
}

/// Names of request headers that are removed, whoever sent them.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct HeaderRemoval(pub Vec<String>);

/// A Proxy-Wasm module with its configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// A plugin of the checkout by name, or a file, from the folder of the scenario.
    pub module: String,
    /// Its name in logs and in the report; without it, the module's.
    pub name: Option<String>,
    /// Root ID.
    #[serde(default)]
    pub root_id: String,
    /// VM ID: plugins with the same one share data and queues.
    #[serde(default)]
    pub vm_id: String,
    /// What `proxy_on_vm_start` gets.
    #[serde(default)]
    pub vm_configuration: String,
    /// What `proxy_on_configure` gets: this value as JSON, or a string as it is.
    #[serde(default)]
    pub configuration: serde_json::Value,
    /// The same, from a file.
    pub configuration_file: Option<PathBuf>,
    /// Environment variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// What becomes of traffic after a trap.
    #[serde(default)]
    pub on_trap: OnTrap,
    /// Least fuel after which a callback is stopped; without it, about a second of compiled code.
    pub fuel_per_callback: Option<u64>,
    /// The most linear memory of a VM, in bytes; without it, 1 GiB.
    pub memory_bytes: Option<u64>,
}

/// What becomes of traffic after a trap: Envoy's failure policies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTrap {
    /// 503, for good.
    #[default]
    FailClosed,
    /// Later traffic passes the plugin by.
    FailOpen,
    /// 503, then a fresh VM.
    FailReload,
}

/// Host calls that fail.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The host function, such as `proxy_get_shared_data`.
    pub call: String,
    /// The plugin whose calls fail; without it, every plugin's.
    pub plugin: Option<String>,
    /// Which of its calls fails, counted from 1 over all VMs; without it, every one.
    pub nth: Option<u64>,
    /// When calls begin to fail.
    #[serde(default)]
    pub from: Span,
    /// When they stop failing.
    pub until: Option<Span>,
    /// What the calls answer; nothing else happens.
    #[serde(default)]
    pub status: FaultStatus,
}

/// What a failing host call answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultStatus {
    /// 1.
    NotFound,
    /// 2.
    BadArgument,
    /// 3.
    SerializationFailure,
    /// 4.
    ParseFailure,
    /// 6.
    InvalidMemoryAccess,
    /// 7.
    Empty,
    /// 8.
    CasMismatch,
    /// 10.
    #[default]
    InternalFailure,
    /// 12.
    Unimplemented,
}
