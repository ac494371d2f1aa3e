//! What takes the place of a VM that died.

use std::time::Duration;

use rand_chacha::rand_core::Rng as _;

use crate::config::FailurePolicy;
use crate::observer::VmEvent;
use crate::vm::instance::Context;
use crate::vm::run::Run;
use crate::world::{PluginThread, Reloads};

/// SOURCE: Envoy's default `reload_config.backoff.base_interval`.
const RELOAD_BACKOFF: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// The plugin on a thread, for a new stream. A dead VM is replaced if the policy and the back-off
    /// allow it; `None` when there is no living VM.
    pub(crate) fn plugin_on(&mut self, plugin: usize, thread: u32) -> Option<PluginThread> {
        let here = (*self.plugins.at(plugin).threads.get(thread as usize)?)?;
        if !self.is_dead(here.instance) {
            return Some(here);
        }
        if self.plugins.at(plugin).config.failure_policy != FailurePolicy::FailReload {
            return None;
        }
        let context = Context {
            id: here.root,
            plugin,
            root: here.root,
            stream: None,
        };
        if self.now_ns.saturating_sub(here.loaded_ns) < self.draw_backoff_ns(plugin) {
            self.count_reload(plugin, |reloads| &mut reloads.backoff);
            self.vm_event(here.instance, context, |place| VmEvent::ReloadPutOff {
                place,
            });
            return None;
        }
        let now_ns = self.now_ns;
        match self.load_plugin(plugin, thread) {
            Ok(fresh) => {
                if let Some(place) = self.plugins.at_mut(plugin).threads.get_mut(thread as usize) {
                    *place = Some(fresh);
                }
                self.count_reload(plugin, |reloads| &mut reloads.success);
                self.vm_event(fresh.instance, context, |place| VmEvent::Reloaded { place });
                Some(fresh)
            }
            Err(failure) => {
                // The time of the try counts as well as that of a success.
                if let Some(Some(place)) =
                    self.plugins.at_mut(plugin).threads.get_mut(thread as usize)
                {
                    place.loaded_ns = now_ns;
                }
                self.count_reload(plugin, |reloads| &mut reloads.failure);
                let message = failure.message();
                self.observe(here.instance, context, |observer, place| {
                    observer.vm(VmEvent::ReloadFailed {
                        place,
                        message: &message,
                    });
                });
                None
            }
        }
    }

    fn count_reload(&mut self, plugin: usize, which: impl FnOnce(&mut Reloads) -> &mut u64) {
        let count = which(&mut self.plugins.at_mut(plugin).reloads);
        *count = count.saturating_add(1);
    }

    /// How long a plugin's VM has to be old before it is replaced: the base and up to half of it.
    ///
    /// SOURCE: Envoy's `JitteredLowerBoundBackOffStrategy`, which counts whole milliseconds.
    fn draw_backoff_ns(&mut self, plugin: usize) -> u64 {
        const NS_PER_MS: u64 = 1_000_000;
        let base = self.plugins.at(plugin).config.reload_backoff;
        let base_ms = base.unwrap_or(RELOAD_BACKOFF).as_millis();
        let base_ms = u64::try_from(base_ms).unwrap_or(u64::MAX).max(1);
        let drawn = self.rng.next_u64();
        let jitter_ms = drawn.checked_rem(base_ms / 2).unwrap_or(0);
        base_ms.saturating_add(jitter_ms).saturating_mul(NS_PER_MS)
    }
}
