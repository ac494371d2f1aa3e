//! What operators see of the stack itself; the rest is what its filters show.

use tidegate_proxy::{HostError, metric::Counter};

/// Counts configurations that were refused.
pub const CONFIG_REJECTED: &str = "tidegate_stack_config_rejected_total";

/// Counts callbacks that came while another one of the same VM was running, and which were let
/// through unseen: the filter in front and the one behind the router share a VM, and should not.
pub const REENTERED: &str = "tidegate_stack_reentered_total";

/// Holds the counters of one configuration. Scope: the proxy sums over all VMs.
#[derive(Debug)]
pub(crate) struct Metrics {
    reentered: Counter,
}

impl Metrics {
    /// Defines all counters.
    ///
    /// # Errors
    /// The host said no.
    pub(crate) fn define() -> Result<Self, HostError> {
        Ok(Self {
            reentered: Counter::define(REENTERED)?,
        })
    }

    /// Counts callbacks that were not looked at; none is nothing.
    pub(crate) fn count_reentered(&self, callbacks: u32) {
        // There is nowhere to report to that a counter could not be counted.
        let _ = self.reentered.increment(callbacks);
    }
}

/// Counts a configuration that was refused. It has a definition of its own, because the others
/// belong to a configuration that was not.
pub(crate) fn count_rejected_config() {
    if let Ok(counter) = Counter::define(CONFIG_REJECTED) {
        let _ = counter.increment(1);
    }
}
