//! gRPC call-outs: what comes back, on its way to the guest.

use crate::callback::CallbackKind;
use crate::grpc::{GrpcEvent, GrpcId};
use crate::headers::HeaderMap;
use crate::vm::instance::Context;
use crate::vm::run::Run;

const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;

/// An answer that the proxy gives itself: its text, and the response code details that Envoy appends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local {
    text: &'static str,
    details: &'static str,
}

/// SOURCE: what a real Envoy 1.40 was seen to tell.
pub(crate) const NO_ENDPOINT: Local = Local {
    text: "no healthy upstream",
    details: "no_healthy_upstream",
};
const TIMED_OUT: Local = Local {
    text: "upstream request timeout",
    details: "response_timeout",
};
const REFUSED: Local = Local {
    text: "upstream connect error or disconnect/reset before headers. \
           reset reason: remote connection failure",
    details: "upstream_reset_before_response_started\
              {remote_connection_failure|delayed_connect_error:_Connection_refused}",
};
const VIA_UPSTREAM: &str = "via_upstream";

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
            } => self.close_grpc(id, status, &message, VIA_UPSTREAM, metadata),
            GrpcEvent::Refused => self.answer_grpc(id, REFUSED),
        }
    }

    /// The proxy's own end of a call that took too long.
    pub(crate) fn time_out_grpc(&mut self, id: GrpcId) {
        self.answer_grpc(id, TIMED_OUT);
    }

    fn answer_grpc(&mut self, id: GrpcId, local: Local) {
        self.close_grpc(id, UNAVAILABLE, local.text, local.details, HeaderMap::new());
    }

    /// What a guest sees of a stream inside the call that opens it to a cluster without endpoints.
    pub(crate) fn tell_no_endpoint(&mut self, id: GrpcId) {
        self.tell_last_metadata(id, UNAVAILABLE, NO_ENDPOINT.text, HeaderMap::new());
    }

    /// Whether the guest sees no metadata of it: it is a call, and the rules say so.
    fn is_quiet(&self, id: GrpcId) -> bool {
        self.grpc.get(&id).is_none_or(|found| {
            found.pending.message.is_some() && self.rules.grpc_calls_end_with_their_message
        })
    }

    /// Ends a call or stream with a status; `details` say where that came from.
    fn close_grpc(
        &mut self,
        id: GrpcId,
        status: u32,
        message: &str,
        details: &str,
        metadata: HeaderMap,
    ) {
        let Some(found) = self.grpc.get_mut(&id) else {
            return;
        };
        let answer = found.answer.take();
        if self.is_quiet(id) {
            match answer {
                _ if status != 0 => self.end_grpc(id, status, &with_details(message, details)),
                Some(data) => {
                    self.tell_message(id, data);
                    self.forget_grpc(id);
                }
                None => self.end_grpc(id, INTERNAL, ""),
            }
            return;
        }
        if let Some(data) = answer {
            self.tell_initial_metadata(id, HeaderMap::new(), true);
            self.tell_message(id, data);
        }
        self.tell_last_metadata(id, status, message, metadata);
        self.end_grpc(id, status, &with_details(message, details));
    }

    /// Tells trailing metadata. Where nothing came before it, it is an answer of trailers alone: initial
    /// metadata is empty, and what HTTP has in the headers is among the trailers.
    fn tell_last_metadata(
        &mut self,
        id: GrpcId,
        status: u32,
        message: &str,
        mut metadata: HeaderMap,
    ) {
        let is_first = self.grpc.get(&id).is_some_and(|found| !found.is_answered);
        self.tell_initial_metadata(id, HeaderMap::new(), false);
        if is_first {
            add_missing(&mut metadata, ":status", "200");
            add_missing(&mut metadata, "content-type", "application/grpc");
        }
        add_missing(&mut metadata, "grpc-status", &status.to_string());
        if !message.is_empty() {
            add_missing(&mut metadata, "grpc-message", message);
        }
        self.tell_metadata(id, CallbackKind::GrpcReceiveTrailingMetadata, metadata);
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

fn add_missing(map: &mut HeaderMap, name: &str, value: &str) {
    if map.get(name).is_none() {
        map.add(name, value);
    }
}

/// SOURCE: Envoy appends the response code details to the message.
fn with_details(message: &str, details: &str) -> String {
    if message.is_empty() {
        details.to_owned()
    } else {
        format!("{message}{{{details}}}")
    }
}

impl Local {
    /// The whole text, as a guest sees it.
    pub(crate) fn message(self) -> String {
        with_details(self.text, self.details)
    }
}
