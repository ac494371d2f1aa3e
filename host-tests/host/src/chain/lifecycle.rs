//! The beginning and the end of a stream's filters.

use crate::callback::CallbackKind;
use crate::config::FailurePolicy;
use crate::output::StreamId;
use crate::vm::run::Run;
use crate::world::streams::{Filter, FilterSide, StreamKind};

impl Run<'_> {
    /// Makes a filter of each plugin of the stream's chain; a dead VM is replaced where the policy
    /// says so.
    pub(crate) fn create_filters(&mut self, id: StreamId) {
        let Some((chain, thread)) = self
            .streams
            .get(id)
            .map(|stream| (stream.chain, stream.thread))
        else {
            return;
        };
        let count = self.chains.at(chain).len();
        for index in 0..count {
            let Some(plugin) = self.chains.at(chain).get(index).copied() else {
                return;
            };
            let available = self.plugin_on(plugin, thread);
            let policy = self.plugins.at(plugin).config.failure_policy;
            let mut filter = Filter {
                plugin,
                instance: None,
                context: 0,
                root: 0,
                created: false,
                connected: false,
                destroyed: false,
                skip: available.is_none() && policy == FailurePolicy::FailOpen,
                failed: false,
                end_of_stream: false,
                logging: false,
                request: FilterSide::default(),
                response: FilterSide::default(),
                last_buffer: u32::MAX,
                declared: Vec::new(),
            };
            if let Some(here) = available {
                filter.instance = Some(here.instance);
                filter.root = here.root;
                filter.context = self.instances.at_mut(here.instance).register(
                    plugin,
                    Some(here.root),
                    Some((id, index)),
                );
            }
            if let Some(stream) = self.streams.get_mut(id) {
                stream.filters.push(filter);
            }
        }
    }

    /// Ends a stream's filters. In Envoy all are logged first, then each has done and delete; by the
    /// specification each has done, log and delete. An attempt has no log.
    pub(crate) fn end_filters(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let count = stream.filters.len();
        let logs = stream.kind == StreamKind::Listener;
        let log_first = self.rules.log_comes_before_done;
        if logs && log_first {
            for index in 0..count {
                self.log_filter(id, index);
            }
        }
        for index in 0..count {
            self.destroy_filter(id, index, logs && !log_first);
        }
    }

    fn log_filter(&mut self, id: StreamId, index: usize) {
        let Some(filter) = self.streams.filter_mut(id, index) else {
            return;
        };
        if filter.skip {
            return;
        }
        // A filter that an earlier answer cut off gets its context now.
        self.create_context(id, index);
        let Some((instance, context)) = self.filter_context(id, index) else {
            return;
        };
        if self.is_dead(instance) {
            return;
        }
        if let Some(filter) = self.streams.filter_mut(id, index) {
            filter.logging = true;
        }
        self.call(
            instance,
            CallbackKind::Log,
            context,
            |exports| exports.log.as_ref(),
            context.id.cast_signed(),
        );
        self.after_call(instance);
        if let Some(filter) = self.streams.filter_mut(id, index) {
            filter.logging = false;
        }
    }

    fn destroy_filter(&mut self, id: StreamId, index: usize, logs: bool) {
        let Some(filter) = self.streams.filter_mut(id, index) else {
            return;
        };
        if filter.destroyed {
            return;
        }
        filter.destroyed = true;
        if logs && !filter.skip {
            self.create_context(id, index);
        }
        let Some(filter) = self.streams.filter_mut(id, index) else {
            return;
        };
        let created = filter.created;
        let Some((instance, context)) = self.filter_context(id, index) else {
            return;
        };
        if created && !self.is_dead(instance) {
            let raw = context.id.cast_signed();
            // What `proxy_on_done` answers counts for root contexts only.
            self.call(
                instance,
                CallbackKind::Done,
                context,
                |exports| exports.done.as_ref(),
                raw,
            );
            self.after_call(instance);
            if logs {
                self.log_filter(id, index);
            }
            if !self.is_dead(instance) {
                self.call(
                    instance,
                    CallbackKind::Delete,
                    context,
                    |exports| exports.delete.as_ref(),
                    raw,
                );
                self.after_call(instance);
            }
        }
        self.instances.at_mut(instance).contexts.remove(&context.id);
    }
}
