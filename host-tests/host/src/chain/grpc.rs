//! gRPC call-outs: what comes back, on its way to the guest.

use crate::callback::CallbackKind;
use crate::grpc::{GrpcEvent, GrpcId};
use crate::headers::HeaderMap;
use crate::vm::instance::Context;
use crate::vm::run::Run;

const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;
/// SOURCE: what Envoy 1.40 was seen to tell; where a status came from is appended to its message.
const VIA_UPSTREAM: &str = "via_upstream";
const TIMED_OUT: &str = "response_timeout";
const REFUSED: &str = "upstream_reset_before_response_started\
                       {remote_connection_failure|delayed_connect_error:_Connection_refused}";

fn size(count: usize) -> i32 {
    u32::try_from(count).unwrap_or(u32::MAX).cast_signed()
}

impl Run<'_> {
    /// Takes in what an upstream sent.
    pub(crate) fn give_grpc(&mut self, id: GrpcId, event: GrpcEvent) {
        let Some(found) = self.grpc.get_mut(&id) else {
            return;
        };
        // A call shows its message alone, where the rules say so.
        let is_call = found.pending.message.is_some();
        match event {
            GrpcEvent::InitialMetadata(metadata) => {
                if !self.is_quiet(id) {
                    self.tell_initial_metadata(id, metadata, true);
                }
            }
            GrpcEvent::Message(data) if is_call => found.answer = Some(data),
            GrpcEvent::Message(data) => {
                self.tell_initial_metadata(id, HeaderMap::new(), true);
                self.tell_message(id, data);
            }
            GrpcEvent::Close {
                status,
                message,
                metadata,
            } => self.close_from_upstream(id, status, &message, metadata),
            GrpcEvent::Refused => {
                self.tell_no_metadata(id);
                self.end_grpc(id, UNAVAILABLE, REFUSED);
            }
        }
    }

    /// The proxy's own end of a call that took too long.
    pub(crate) fn time_out_grpc(&mut self, id: GrpcId) {
        self.tell_no_metadata(id);
        self.end_grpc(id, UNAVAILABLE, TIMED_OUT);
    }

    /// A stream that was never answered: the guest sees empty metadata at both ends.
    pub(crate) fn tell_no_metadata(&mut self, id: GrpcId) {
        if self.is_quiet(id) {
            return;
        }
        self.tell_initial_metadata(id, HeaderMap::new(), false);
        self.tell_metadata(
            id,
            CallbackKind::GrpcReceiveTrailingMetadata,
            HeaderMap::new(),
        );
    }

    /// Whether the guest sees no metadata of it: it is a call, and the rules say so.
    fn is_quiet(&self, id: GrpcId) -> bool {
        self.grpc.get(&id).is_none_or(|found| {
            found.pending.message.is_some() && self.rules.grpc_calls_end_with_their_message
        })
    }

    fn close_from_upstream(
        &mut self,
        id: GrpcId,
        status: u32,
        message: &str,
        mut metadata: HeaderMap,
    ) {
        let Some(found) = self.grpc.get_mut(&id) else {
            return;
        };
        let is_call = found.pending.message.is_some();
        let answer = found.answer.take();
        if is_call && self.rules.grpc_calls_end_with_their_message {
            match answer {
                _ if status != 0 => self.end_grpc(id, status, &with_origin(message)),
                Some(data) => {
                    self.tell_message(id, data);
                    self.forget_grpc(id);
                }
                None => self.end_grpc(id, INTERNAL, ""),
            }
            return;
        }
        // Without anything before it, it is an answer of trailers alone.
        self.tell_initial_metadata(id, HeaderMap::new(), answer.is_some());
        if let Some(data) = answer {
            self.tell_message(id, data);
        }
        if metadata.get("grpc-status").is_none() {
            metadata.add("grpc-status", status.to_string());
        }
        if metadata.get("grpc-message").is_none() && !message.is_empty() {
            metadata.add("grpc-message", message);
        }
        self.tell_metadata(id, CallbackKind::GrpcReceiveTrailingMetadata, metadata);
        self.end_grpc(id, status, &with_origin(message));
    }

    fn end_grpc(&mut self, id: GrpcId, status: u32, message: &str) {
        let Some(found) = self.grpc.get_mut(&id) else {
            return;
        };
        let (instance, root, token) = (found.instance, found.root, found.pending.token);
        found.closed_by_upstream = true;
        // The guest has to close its end of a stream, too.
        let keep = found.pending.message.is_none() && !found.closed_by_guest;
        let timer = found.timer.take();
        if let Some(due) = timer {
            self.timers.remove(due);
        }
        if !keep {
            self.forget_grpc(id);
        }
        self.tell_grpc_close(instance, root, token, status, message);
    }

    /// Tells a guest that a call or stream is over.
    pub(crate) fn tell_grpc_close(
        &mut self,
        instance: usize,
        root: u32,
        token: u32,
        status: u32,
        message: &str,
    ) {
        let Some(context) = self.grpc_context(instance, root) else {
            return;
        };
        if self.instances.at(instance).exports.grpc_close.is_none() {
            return;
        }
        if let Some(state) = self.instances.at_mut(instance).root_mut(root) {
            state.status_code = status;
            message.clone_into(&mut state.status_message);
        }
        self.call(
            instance,
            CallbackKind::GrpcClose,
            context,
            |exports| exports.grpc_close.as_ref(),
            (
                root.cast_signed(),
                token.cast_signed(),
                status.cast_signed(),
            ),
        );
        if let Some(state) = self.instances.at_mut(instance).root_mut(root) {
            state.status_message.clear();
        }
        self.after_call(instance);
    }

    /// Tells initial metadata, once. `is_real`: it came from an upstream, so it has an HTTP status.
    fn tell_initial_metadata(&mut self, id: GrpcId, mut metadata: HeaderMap, is_real: bool) {
        let told = self
            .grpc
            .get_mut(&id)
            .is_none_or(|found| std::mem::replace(&mut found.is_answered, true));
        if told {
            return;
        }
        if is_real && metadata.get(":status").is_none() {
            metadata.add(":status", "200");
        }
        self.tell_metadata(id, CallbackKind::GrpcReceiveInitialMetadata, metadata);
    }

    fn tell_metadata(&mut self, id: GrpcId, kind: CallbackKind, metadata: HeaderMap) {
        let Some(found) = self.grpc.get(&id) else {
            return;
        };
        let (instance, root, token) = (found.instance, found.root, found.pending.token);
        let Some(context) = self.grpc_context(instance, root) else {
            return;
        };
        let count = size(metadata.len());
        let is_initial = kind == CallbackKind::GrpcReceiveInitialMetadata;
        self.show_metadata(instance, root, is_initial, Some(metadata));
        self.call(
            instance,
            kind,
            context,
            |exports| {
                if is_initial {
                    exports.grpc_initial_metadata.as_ref()
                } else {
                    exports.grpc_trailing_metadata.as_ref()
                }
            },
            (root.cast_signed(), token.cast_signed(), count),
        );
        self.after_call(instance);
        self.show_metadata(instance, root, is_initial, None);
    }

    fn show_metadata(
        &mut self,
        instance: usize,
        root: u32,
        is_initial: bool,
        metadata: Option<HeaderMap>,
    ) {
        if let Some(state) = self.instances.at_mut(instance).root_mut(root) {
            if is_initial {
                state.grpc_initial = metadata;
            } else {
                state.grpc_trailing = metadata;
            }
        }
    }

    fn tell_message(&mut self, id: GrpcId, data: Vec<u8>) {
        let Some(found) = self.grpc.get(&id) else {
            return;
        };
        let (instance, root, token) = (found.instance, found.root, found.pending.token);
        let Some(context) = self.grpc_context(instance, root) else {
            return;
        };
        let length = size(data.len());
        if let Some(state) = self.instances.at_mut(instance).root_mut(root) {
            state.grpc_message = Some(data);
        }
        self.call(
            instance,
            CallbackKind::GrpcReceive,
            context,
            |exports| exports.grpc_receive.as_ref(),
            (root.cast_signed(), token.cast_signed(), length),
        );
        if let Some(state) = self.instances.at_mut(instance).root_mut(root) {
            state.grpc_message = None;
        }
        self.after_call(instance);
    }

    fn grpc_context(&self, instance: usize, root: u32) -> Option<Context> {
        let target = self.instances.at(instance);
        if target.dead.is_some() {
            return None;
        }
        target.contexts.get(&root).copied()
    }
}

/// Appends where a status came from.
fn with_origin(message: &str) -> String {
    if message.is_empty() {
        VIA_UPSTREAM.to_owned()
    } else {
        format!("{message}{{{VIA_UPSTREAM}}}")
    }
}
