//! Calls that plugins make: to endpoints, as attempts go there, and to the proxy's own admin.

use tidegate_host::{CallAnswer, CallId, HeaderMap, InputError, PendingCall, Thread};
use tidegate_model::balance::Pick;
use tidegate_model::endpoint::Serving;
use tidegate_model::report::Sink;
use tidegate_model::scenario::{AdminFault, Answer, ClusterKind};

use super::RunError;
use super::endpoints::{End, FAILED, Owner, WholeRequest};
use super::engine::Engine;
use super::queue::Event;

/// A call to the admin that is on its way.
#[derive(Debug)]
pub(super) struct AdminCall {
    method: String,
    target: String,
    faults: Vec<AdminFault>,
}

/// The largest body that an endpoint's answer to a call has.
const BODY_MAX: u64 = 16 << 20;

impl Engine {
    /// A plugin made a call.
    pub(super) fn call_out(
        &mut self,
        call: PendingCall,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let text = |name: &str| call.headers.get_str(name).unwrap_or_default().to_owned();
        let Some(index) = self.cluster_names.get(&call.cluster).copied() else {
            return self.answer(call.id, CallAnswer::Refused, sink);
        };
        let now_ns = self.now_ns;
        let thread = match call.thread {
            Thread::Worker(worker) => usize::try_from(worker).unwrap_or(usize::MAX),
            Thread::Main => usize::try_from(self.workers).unwrap_or(usize::MAX),
        };
        let Some(cluster) = self.clusters.get_mut(index) else {
            return Ok(());
        };
        if cluster.kind == ClusterKind::Admin {
            let asked = AdminCall {
                method: text(":method"),
                target: text(":path"),
                faults: cluster.admin_faults.clone(),
            };
            self.admin_calls.insert(call.id, asked);
            self.queue
                .push(now_ns, Event::AdminAnswers { call: call.id });
            return Ok(());
        }
        let wanted = cluster
            .override_header
            .as_ref()
            .and_then(|header| call.headers.get_str(header));
        let used = std::cell::Cell::new(0);
        let pick = Pick {
            attempt: 1,
            wanted,
            used: Some(&used),
            now_ns,
            ..Pick::default()
        };
        let Some(host) = cluster.pick(thread, &pick) else {
            let answer = CallAnswer::Response {
                headers: HeaderMap::from([(":status", "503"), ("content-type", "text/plain")]),
                body: b"no healthy upstream".to_vec(),
                trailers: HeaderMap::new(),
            };
            return self.answer(call.id, answer, sink);
        };
        let work = self.begin_work(Owner::Call(call.id), index, host, thread, sink)?;
        if let Some(deadline_ns) = call.deadline_ns {
            let at_ns = deadline_ns.saturating_sub(self.start_ns);
            self.queue.push(at_ns, Event::CallEnds { work });
        }
        let request = WholeRequest {
            path: text(":path"),
            is_upgrade: false,
            recorded_ns: None,
        };
        self.complete(work, request);
        Ok(())
    }

    /// An endpoint answers a call.
    pub(super) fn call_served(
        &mut self,
        call: CallId,
        work: u64,
        serving: Serving,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let answer = match serving {
            Serving::Answer(answer) | Serving::Socket(answer) => answer,
            Serving::Silence => return Ok(()),
            Serving::Disconnect | Serving::DisconnectInBody(_) => {
                return self.call_failed(call, work, sink);
            }
        };
        let end = End {
            keeps_connection: true,
            succeeded: answer.status < 500,
        };
        self.end_work(work, end, sink)?;
        self.answer(call, call_answer(&answer), sink)
    }

    /// A call gets no answer.
    pub(super) fn call_failed(
        &mut self,
        call: CallId,
        work: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let had_begun = self.works.get(&work).is_some_and(|work| work.has_begun);
        self.end_work(work, FAILED, sink)?;
        let answer = if had_begun {
            CallAnswer::Disconnected
        } else {
            CallAnswer::Refused
        };
        self.answer(call, answer, sink)
    }

    /// The time of a call is over; its plugin has been told by the host.
    pub(super) fn call_ends(&mut self, work: u64, sink: &mut dyn Sink) -> Result<(), RunError> {
        self.end_work(work, FAILED, sink)
    }

    /// The admin answers.
    pub(super) fn admin_answers(
        &mut self,
        call: CallId,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let Some(asked) = self.admin_calls.remove(&call) else {
            return Ok(());
        };
        let clusters: Vec<_> = self
            .clusters
            .iter()
            .map(super::cluster::Cluster::view)
            .collect();
        let metrics = self.proxy.metrics().filter_map(|(name, _, value)| {
            use tidegate_host::MetricValue as Value;
            match value {
                Value::Counter(value) | Value::Gauge(value) => {
                    Some((format!("wasmcustom.{name}"), value))
                }
                Value::Histogram { .. } => None,
            }
        });
        let answered = self
            .admin
            .answer(&asked.method, &asked.target, &clusters, &mut { metrics });
        let bad = asked
            .faults
            .iter()
            .find(|fault| fault.holds(self.now_ns, &asked.target));
        let answered = match bad {
            None => answered,
            Some(fault) => match answered.spoiled(fault.with) {
                Some(answered) => answered,
                // The host times it out.
                None => return Ok(()),
            },
        };
        let headers = answered.headers();
        let answer = CallAnswer::Response {
            headers: headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect(),
            body: answered.body.into_bytes(),
            trailers: HeaderMap::new(),
        };
        self.answer(call, answer, sink)
    }

    /// Tells a plugin; one that doesn't wait any more hears nothing.
    fn answer(
        &mut self,
        call: CallId,
        answer: CallAnswer,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        match self.proxy.answer_call(call, answer) {
            Ok(()) => self.pump_all(sink),
            Err(InputError::UnknownCall) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn call_answer(answer: &Answer) -> CallAnswer {
    let mut headers = HeaderMap::new();
    headers.add(":status", answer.status.to_string());
    for (name, value) in &answer.headers {
        headers.add(name, value);
    }
    headers.add("content-length", answer.length().to_string());
    let body = match &answer.body {
        Some(body) => body.clone().into_bytes(),
        None => vec![0; usize::try_from(answer.body_bytes.min(BODY_MAX)).unwrap_or(0)],
    };
    CallAnswer::Response {
        headers,
        body,
        trailers: HeaderMap::new(),
    }
}
