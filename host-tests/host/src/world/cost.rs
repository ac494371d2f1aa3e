//! What callbacks cost, counted as they run.

use crate::callback::CallbackKind;
use crate::host::HostFunction;
use crate::report::{CallbackCost, PluginCost};

/// Cost of one plugin so far.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    callbacks: [Fuel; CallbackKind::COUNT],
    host_calls: [u64; HostFunction::COUNT],
}

#[derive(Clone, Copy, Debug, Default)]
struct Fuel {
    calls: u64,
    min: u64,
    max: u64,
    total: u64,
}

impl Default for Cost {
    fn default() -> Self {
        Self {
            callbacks: [Fuel::default(); CallbackKind::COUNT],
            host_calls: [0; HostFunction::COUNT],
        }
    }
}

impl Cost {
    pub(crate) fn callback(&mut self, kind: CallbackKind, fuel: u64) {
        let Some(cost) = self.callbacks.get_mut(kind as usize) else {
            return;
        };
        cost.min = if cost.calls == 0 {
            fuel
        } else {
            cost.min.min(fuel)
        };
        cost.max = cost.max.max(fuel);
        cost.calls = cost.calls.saturating_add(1);
        cost.total = cost.total.saturating_add(fuel);
    }

    pub(crate) fn host_call(&mut self, function: HostFunction) {
        if let Some(count) = self.host_calls.get_mut(function as usize) {
            *count = count.saturating_add(1);
        }
    }

    pub(crate) fn report(&self, plugin: &str) -> PluginCost {
        PluginCost {
            plugin: plugin.to_owned(),
            callbacks: crate::callback::CALLBACKS
                .iter()
                .zip(&self.callbacks)
                .filter(|(_, cost)| cost.calls > 0)
                .map(|((name, ..), cost)| CallbackCost {
                    name,
                    calls: cost.calls,
                    fuel_min: cost.min,
                    fuel_max: cost.max,
                    fuel_total: cost.total,
                })
                .collect(),
            host_calls: HostFunction::NAMES
                .iter()
                .zip(&self.host_calls)
                .filter(|(_, count)| **count > 0)
                .map(|(name, count)| (*name, *count))
                .collect(),
        }
    }
}
