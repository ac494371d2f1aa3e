//! Lookups and foreign functions, from the driver's side.

use super::{InputError, Proxy};
use crate::lookup::{LookupAnswer, LookupId, PendingLookup};
use crate::output::Thread;

impl Proxy {
    /// Names that wait to be resolved, oldest first.
    pub fn pending_lookups(&self) -> impl Iterator<Item = &PendingLookup> {
        self.home.lookups.values().map(|lookup| &lookup.pending)
    }

    /// Answers a lookup; the callback runs at once.
    ///
    /// # Errors
    ///
    /// No such lookup → [`InputError::UnknownCall`].
    pub fn answer_lookup(
        &mut self,
        lookup: LookupId,
        answer: LookupAnswer,
    ) -> Result<(), InputError> {
        if !self.home.lookups.contains_key(&lookup) {
            return Err(InputError::UnknownCall);
        }
        self.run(|run| run.answer_lookup(lookup, answer));
        Ok(())
    }

    /// Calls `proxy_on_foreign_function` of a plugin's root context, as a host's own extension would.
    /// Envoy 1.40 has none that does.
    ///
    /// # Errors
    ///
    /// No such plugin on that thread, or its VM is dead → [`InputError::UnknownPlugin`].
    pub fn call_foreign_function(
        &mut self,
        plugin: &str,
        thread: Thread,
        function: u32,
        arguments: &[u8],
    ) -> Result<(), InputError> {
        let thread = match thread {
            Thread::Worker(worker) if worker >= self.home.workers => {
                return Err(InputError::UnknownWorker);
            }
            Thread::Worker(worker) => worker,
            Thread::Main => self.home.workers,
        };
        let here = self
            .home
            .plugins
            .iter()
            .find(|known| known.config.name == plugin)
            .and_then(|known| *known.threads.get(thread as usize)?)
            .filter(|here| self.home.instances.at(here.instance).dead.is_none())
            .ok_or(InputError::UnknownPlugin)?;
        self.run(|run| run.call_foreign(here.instance, here.root, function, arguments));
        Ok(())
    }
}
