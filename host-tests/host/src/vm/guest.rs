//! What lives in a VM's store.

use std::sync::Arc;

use wasmtime::{Memory, ResourceLimiter};

use crate::config::{Limits, PluginConfig};
use crate::host::HostFunction;
use crate::module::AbiVersion;
use crate::vm::exports::Exports;
use crate::world::Home;

/// Elements that all tables of a VM may have together with growth: far more than any filter has
/// functions, far less than hurts the host.
const TABLE_ELEMENTS: usize = 1_000_000;

/// Data of a VM's store.
pub(crate) struct Guest {
    /// The shared world, while the VM is being called.
    pub(crate) world: Home,
    pub(crate) instance: usize,
    pub(crate) memory: Option<Memory>,
    pub(crate) exports: Arc<Exports>,
    pub(crate) limiter: Limiter,
    pub(crate) phase: Phase,
    pub(crate) budget: Budget,
    pub(crate) limits: Limits,
    pub(crate) abi: AbiVersion,
    pub(crate) denied: Denied,
}

/// Host functions that a VM may not use: a bit for each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Denied(u128);

const _: () = assert!(HostFunction::COUNT <= 128, "a bit for each host function");

impl Denied {
    pub(crate) fn of(config: &PluginConfig) -> Self {
        let bits = HostFunction::NAMES
            .iter()
            .enumerate()
            // Envoy's own functions are not restricted.
            .filter(|(_, name)| !name.starts_with("envoy_") && !config.allows(name))
            .fold(0, |bits, (index, _)| bits | (1 << index));
        Self(bits)
    }

    #[inline]
    pub(crate) const fn has(self, function: HostFunction) -> bool {
        self.0 >> (function as u32) & 1 == 1
    }
}

/// Which host functions may be called now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// All.
    Callback,
    /// The module's own start functions run: logs, clock, randomness, environment.
    Start,
    /// The guest allocates for the host: logs and clock.
    Allocate,
}

/// What the callback that runs may still make the host do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) host_bytes: u64,
    pub(crate) host_work: u64,
}

impl Budget {
    pub(crate) const fn of(limits: &Limits) -> Self {
        Self {
            host_bytes: limits.host_bytes_per_callback,
            host_work: limits.host_work_per_callback,
        }
    }
}

/// Keeps a VM's memory within its limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limiter {
    pub(crate) memory_bytes: u64,
    pub(crate) refused: u64,
    /// Size wanted by the last refused growth that nobody was told of yet.
    pub(crate) wanted: Option<u64>,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let desired = desired as u64;
        if desired <= self.memory_bytes {
            return Ok(true);
        }
        self.refused = self.refused.saturating_add(1);
        self.wanted = Some(desired);
        Ok(false)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }
}
