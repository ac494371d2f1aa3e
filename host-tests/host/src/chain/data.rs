//! What the host hands to a root context as bare bytes: resolved names, foreign functions.

use crate::callback::CallbackKind;
use crate::lookup::{LookupAnswer, LookupId};
use crate::vm::instance::CALL_DATA;
use crate::vm::run::Run;

fn size(count: usize) -> i32 {
    u32::try_from(count).unwrap_or(u32::MAX).cast_signed()
}

impl Run<'_> {
    /// Answers a lookup.
    pub(crate) fn answer_lookup(&mut self, id: LookupId, answer: LookupAnswer) {
        let Some(lookup) = self.lookups.remove(&id) else {
            return;
        };
        let data = encode(answer);
        let (instance, root) = (lookup.instance, lookup.root);
        let length = size(data.len());
        let Some(context) = self.hand_over(instance, root, data) else {
            return;
        };
        self.call(
            instance,
            CallbackKind::ResolveDns,
            context,
            |exports| exports.resolve_dns.as_ref(),
            (
                root.cast_signed(),
                lookup.pending.token.cast_signed(),
                length,
            ),
        );
        self.take_back(instance, root);
        self.after_call(instance);
    }

    /// Calls a foreign function of the guest.
    pub(crate) fn call_foreign(
        &mut self,
        instance: usize,
        root: u32,
        function: u32,
        arguments: &[u8],
    ) {
        let length = size(arguments.len());
        let Some(context) = self.hand_over(instance, root, arguments.to_vec()) else {
            return;
        };
        self.call(
            instance,
            CallbackKind::ForeignFunction,
            context,
            |exports| exports.foreign_function.as_ref(),
            (root.cast_signed(), function.cast_signed(), length),
        );
        self.take_back(instance, root);
        self.after_call(instance);
    }

    /// Makes bytes readable as buffer 8.
    fn hand_over(
        &mut self,
        instance: usize,
        root: u32,
        data: Vec<u8>,
    ) -> Option<crate::vm::instance::Context> {
        let target = self.instances.at_mut(instance);
        if target.dead.is_some() {
            return None;
        }
        let state = target.root_mut(root)?;
        state.call_data = Some(data);
        state.last_buffer = CALL_DATA;
        target.contexts.get(&root).copied()
    }

    /// Envoy leaves the bytes until another buffer is read; by the specification they are gone.
    fn take_back(&mut self, instance: usize, root: u32) {
        if self.rules.buffer_8_is_the_last_read {
            return;
        }
        if let Some(state) = self.instances.at_mut(instance).root_mut(root) {
            state.call_data = None;
        }
    }
}

/// SOURCE: Envoy's encoding: the count, a time to live for each in seconds, then the addresses with a
/// NUL after each.
fn encode(answer: LookupAnswer) -> Vec<u8> {
    let LookupAnswer::Resolved(addresses) = answer else {
        return Vec::new();
    };
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    let mut encoded = count.to_le_bytes().to_vec();
    for address in &addresses {
        encoded.extend_from_slice(&address.ttl_seconds.to_le_bytes());
    }
    for address in &addresses {
        encoded.extend_from_slice(address.address.as_bytes());
        encoded.push(0);
    }
    encoded
}
