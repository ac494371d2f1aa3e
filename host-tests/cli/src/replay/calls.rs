//! What plugins ask of others while traffic is replayed: HTTP and gRPC calls, names to resolve.

use tidegate_host::{CallAnswer, GrpcEvent, InputError, LookupAnswer, PendingCall};

use super::exchange::CallOut;
use super::world::{Stream, World};

/// Call-outs that are answered after one event. A plugin may call again in each answer; the rest waits for the next event.
const ANSWERS_MAX: usize = 1_000;

impl World {
    /// Answers HTTP calls as the options say, and refuses everything else.
    ///
    /// # Errors
    /// The proxy refuses an answer: a fault of this tool.
    pub(super) fn answer_calls(
        &mut self,
        mut stream: Option<&mut Stream>,
    ) -> Result<(), InputError> {
        self.refuse_others(stream.as_deref_mut())?;
        for _ in 0..ANSWERS_MAX {
            let Some(call) = self.proxy.pending_calls().next() else {
                return Ok(());
            };
            self.totals.call_outs += 1;
            let id = call.id;
            let answer = self
                .answers
                .as_mut()
                .map_or(CallAnswer::Refused, |answers| answers(call));
            if let Some(stream) = &mut stream {
                stream.exchange.call_outs.push(shown(call));
            }
            self.proxy.answer_call(id, answer)?;
            if let Some(stream) = &mut stream {
                self.drain(stream);
            }
        }
        Ok(())
    }

    /// No recording knows what a gRPC upstream or a resolver said: both are out of reach.
    fn refuse_others(&mut self, mut stream: Option<&mut Stream>) -> Result<(), InputError> {
        for _ in 0..ANSWERS_MAX {
            let call = self.proxy.pending_grpc().next().cloned();
            let lookup = self.proxy.pending_lookups().next().cloned();
            let shown = if let Some(call) = call {
                let shown = CallOut {
                    cluster: call.cluster,
                    method: "gRPC".to_owned(),
                    path: format!("/{}/{}", call.service, call.method),
                };
                self.proxy.grpc_event(call.id, GrpcEvent::Refused)?;
                shown
            } else if let Some(lookup) = lookup {
                let shown = CallOut {
                    cluster: String::new(),
                    method: "DNS".to_owned(),
                    path: lookup.name,
                };
                self.proxy.answer_lookup(lookup.id, LookupAnswer::Failed)?;
                shown
            } else {
                return Ok(());
            };
            self.totals.call_outs += 1;
            if let Some(stream) = &mut stream {
                stream.exchange.call_outs.push(shown);
                self.drain(stream);
            }
        }
        Ok(())
    }
}

fn shown(call: &PendingCall) -> CallOut {
    let text = |name| call.headers.get_str(name).unwrap_or_default().to_owned();
    CallOut {
        cluster: call.cluster.clone(),
        method: text(":method"),
        path: text(":path"),
    }
}
