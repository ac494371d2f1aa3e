//! The loop: what happens next, and what of it concerns whom.

use std::collections::BTreeMap;

use tidegate_host::{CallId, CloseReason, Proxy, ResponseAttributes};
use tidegate_model::admin::Admin;
use tidegate_model::draw::Draws;
use tidegate_model::report::Sink;
use tidegate_model::router::{Edge, Flags};
use tidegate_model::scenario::{ClusterKind, Route};
use tidegate_model::units::Span;

use super::RunError;
use super::calls::AdminCall;
use super::client::Jars;
use super::cluster::Cluster;
use super::endpoints::{FAILED, Work};
use super::queue::{Event, Queue};
use super::removal::Removal;
use super::router::deciding;
use super::stream::Stream;
use crate::replay::observe::Watching;
use crate::scenario::ScenarioTraffic;

/// Everything while a scenario runs.
pub(super) struct Engine {
    pub(super) traffic: ScenarioTraffic,
    /// When the next request is expected.
    pub(super) expected_ns: Option<u64>,
    pub(super) duration_ns: u64,
    pub(super) workers: u32,
    pub(super) seed: u64,
    /// When the scenario begins, in nanoseconds since the Unix epoch.
    pub(super) start_ns: u64,
    /// Now, in nanoseconds since the scenario began.
    pub(super) now_ns: u64,
    pub(super) has_upstream_filters: bool,
    pub(super) proxy: Proxy,
    pub(super) watching: Watching,
    pub(super) edge: Edge,
    pub(super) edge_draws: Draws,
    pub(super) router_draws: Draws,
    /// Headers that the listener removes.
    pub(super) removal: Removal,
    /// Headers that each cluster removes from its attempts.
    pub(super) upstream_removals: Vec<Removal>,
    pub(super) routes: Vec<Route>,
    pub(super) cluster_names: BTreeMap<String, usize>,
    pub(super) clusters: Vec<Cluster>,
    pub(super) queue: Queue,
    pub(super) streams: BTreeMap<u64, Stream>,
    pub(super) next_stream: u64,
    pub(super) works: BTreeMap<u64, Work>,
    pub(super) next_work: u64,
    pub(super) jars: Jars,
    pub(super) admin: Admin,
    pub(super) admin_calls: BTreeMap<CallId, AdminCall>,
    pub(super) call_outs: u64,
    /// How many of them were made at the instant of the last.
    pub(super) calls_now: u32,
    pub(super) calls_at_ns: u64,
    pub(super) traps: u64,
    pub(super) guest_faults: u64,
    pub(super) requests: u64,
}

/// What the host says of a callback that crossed a limit.
const FAULTS: [&str; 2] = ["out of fuel", " limit: "];

/// So long after the last request could come what is still under way is cut: 10 minutes.
const AFTERWARDS_NS: u64 = 600_000_000_000;

/// The most calls that plugins may make at one instant. A plugin that calls again whenever it is answered would keep an
/// endpoint that takes no time, and the run, busy for ever.
const CALLS_AT_ONCE: u32 = 100_000;

impl Engine {
    /// Runs to the end: until no request is under way and none comes.
    pub(super) fn run(
        mut self,
        sink: &mut dyn Sink,
        watch: &mut dyn FnMut(u64, &Proxy),
    ) -> Result<(), RunError> {
        self.expect_arrival()?;
        loop {
            let timer_ns = self.next_timer_ns();
            let next_ns = [self.queue.next_ns(), timer_ns].into_iter().flatten().min();
            let Some(next_ns) = next_ns else {
                break;
            };
            // Plugins tick to the scenario's end, also when no request comes any more.
            let is_idle = self.streams.is_empty() && self.expected_ns.is_none();
            if is_idle && next_ns > self.duration_ns
                || !self.queue.is_pending() && !self.may_timers_help()
                || next_ns > self.duration_ns.saturating_add(AFTERWARDS_NS)
            {
                break;
            }
            match (self.queue.next_ns(), timer_ns) {
                (Some(event_ns), Some(timer_ns)) if timer_ns <= event_ns => {
                    self.timers(timer_ns, sink)?;
                }
                (None, Some(timer_ns)) => self.timers(timer_ns, sink)?,
                _ => {
                    let Some((at_ns, event)) = self.queue.pop() else {
                        break;
                    };
                    self.advance(at_ns);
                    self.on_event(event, sink)?;
                    self.after_plugins(sink)?;
                }
            }
            watch(self.now_ns, &self.proxy);
        }
        self.cut_the_rest(sink)?;
        self.figures(sink);
        Ok(())
    }

    /// Whether a stream is left that a plugin's tick may still let go.
    fn may_timers_help(&self) -> bool {
        // Nothing else happens any more: a minute is long enough for a plugin.
        const PATIENCE_NS: u64 = 60_000_000_000;
        self.next_timer_ns().is_some_and(|timer_ns| {
            timer_ns <= self.duration_ns.saturating_add(PATIENCE_NS)
                || timer_ns <= self.now_ns.saturating_add(1)
        })
    }

    fn next_timer_ns(&self) -> Option<u64> {
        Some(self.proxy.next_timer_ns()?.saturating_sub(self.start_ns))
    }

    fn advance(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        self.proxy
            .advance_to(self.start_ns.saturating_add(self.now_ns));
    }

    fn timers(&mut self, at_ns: u64, sink: &mut dyn Sink) -> Result<(), RunError> {
        self.advance(at_ns);
        self.pump_all(sink)?;
        self.after_plugins(sink)
    }

    /// Gets the next request ready.
    pub(super) fn expect_arrival(&mut self) -> Result<(), RunError> {
        let next = self.traffic.next_ns();
        let Some(at_ns) = next.filter(|at_ns| *at_ns < self.duration_ns) else {
            return Ok(());
        };
        // One that waited for another's end can come before the one that was expected.
        if self
            .expected_ns
            .is_none_or(|expected_ns| at_ns < expected_ns)
        {
            self.queue.push(at_ns.max(self.now_ns), Event::Arrive);
            self.expected_ns = Some(at_ns);
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event, sink: &mut dyn Sink) -> Result<(), RunError> {
        match event {
            Event::Arrive => {
                self.expected_ns = None;
                let next_ns = self.traffic.next_ns();
                if next_ns.is_some_and(|at_ns| at_ns <= self.now_ns && at_ns < self.duration_ns)
                    && let Some(arrival) = self.traffic.next().map_err(RunError::Recording)?
                {
                    self.expect_arrival()?;
                    return self.arrive(arrival, sink);
                }
                self.expect_arrival()
            }
            Event::RequestBody { stream, part } => self.request_body(stream, part, sink),
            Event::Frame { stream, index } => self.client_frame(stream, index, sink),
            Event::GiveUp { stream } => self.give_up(stream, sink),
            Event::Timeout { stream } => self.timed_out(stream, sink),
            Event::PerTryTimeout { stream, work } => self.attempt_timed_out(stream, work, sink),
            Event::Retry { stream } => self.retry(stream, sink),
            Event::Connected {
                cluster,
                thread,
                host,
            } => self.connected(cluster, thread, host, sink),
            Event::ConnectFails {
                cluster,
                thread,
                host,
                reset,
            } => self.connect_failed(cluster, thread, host, reset, sink),
            Event::Fails { work, reset } => self.fails(work, reset, sink),
            Event::Serves { work } => self.serves(work, sink),
            Event::BodyEnds { work, is_cut } => self.body_ends(work, is_cut, sink),
            Event::SocketData {
                work,
                bytes,
                is_over,
            } => self.socket_data(work, &bytes, is_over, sink),
            Event::AdminAnswers { call } => self.admin_answers(call, sink),
            Event::CallEnds { work } => self.call_ends(work, sink),
            Event::EndpointsChange { cluster } => self.endpoints_change(cluster, sink),
        }
    }

    fn endpoints_change(&mut self, index: usize, sink: &mut dyn Sink) -> Result<(), RunError> {
        let now_ns = self.now_ns;
        let Some(cluster) = self.clusters.get_mut(index) else {
            return Ok(());
        };
        if cluster.update(now_ns) && cluster.kind == ClusterKind::Endpoints {
            let (name, members) = (cluster.name.clone(), cluster.members());
            self.proxy.set_endpoints(&name, members);
        }
        self.close_refused(index, sink)
    }

    /// Lets out everything that has left the filters of all streams.
    pub(super) fn pump_all(&mut self, sink: &mut dyn Sink) -> Result<(), RunError> {
        let keys: Vec<u64> = self.streams.keys().copied().collect();
        for key in keys {
            self.pump(key, sink)?;
        }
        Ok(())
    }

    /// Does what follows from callbacks that ran: call-outs, traps.
    fn after_plugins(&mut self, sink: &mut dyn Sink) -> Result<(), RunError> {
        while let Some(call) = self.proxy.poll_call() {
            self.call_outs += 1;
            if self.calls_at_ns != self.now_ns {
                self.calls_at_ns = self.now_ns;
                self.calls_now = 0;
            }
            self.calls_now += 1;
            if self.calls_now > CALLS_AT_ONCE {
                return Err(RunError::CallStorm {
                    plugin: call.plugin,
                    at: Span(self.now_ns),
                });
            }
            self.call_out(call, sink)?;
        }
        if let Some(seen) = self.watching.take() {
            for trap in &seen.traps {
                self.traps += 1;
                let is_fault = FAULTS.iter().any(|text| trap.message.contains(text));
                self.guest_faults += u64::from(is_fault);
            }
            for log in &seen.logs {
                sink.log(log.level, &log.message);
            }
            for trap in seen.traps {
                sink.trap(&trap.plugin, &trap.callback, &trap.thread, &trap.message);
            }
        }
        Ok(())
    }

    /// Ends what nothing would end.
    fn cut_the_rest(&mut self, sink: &mut dyn Sink) -> Result<(), RunError> {
        while let Some(key) = self.streams.first_key_value().map(|(key, _)| *key) {
            self.finish(key, CloseReason::ClientReset, sink)?;
        }
        Ok(())
    }

    /// Ends a stream and hands out its row.
    pub(super) fn finish(
        &mut self,
        key: u64,
        reason: CloseReason,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        self.drop_attempt(key, FAILED, sink)?;
        let Some(mut stream) = self.streams.remove(&key) else {
            return Ok(());
        };
        if let Some((attempts, breakers)) = deciding(&mut stream, &mut self.clusters) {
            attempts.finish(breakers);
            stream.row.attempts = attempts.count;
        }
        if reason == CloseReason::ClientReset {
            stream.row.flags |= Flags::DOWNSTREAM_CONNECTION_TERMINATION;
            "downstream_remote_disconnect".clone_into(&mut stream.row.details);
        }
        self.proxy.set_response(
            stream.id,
            ResponseAttributes {
                flags: stream.row.flags.0,
                code_details: stream.row.details.clone(),
                backend_latency_ns: None,
            },
        )?;
        self.proxy.close_stream(stream.id, reason)?;
        while self.proxy.poll_output(stream.id).is_some() {}
        stream.row.total_ns = self.now_ns.saturating_sub(stream.row.started_ns);
        sink.row(&stream.row)?;
        let (source, number) = (stream.row.source, stream.row.number);
        self.traffic.ended(source, number, self.now_ns);
        self.expect_arrival()
    }

    fn figures(&self, sink: &mut dyn Sink) {
        sink.figure("call_outs", as_figure(self.call_outs));
        sink.figure("traps", as_figure(self.traps));
        let refused: u64 = self.proxy.vms().iter().map(|vm| vm.memory_refused).sum();
        let faults = self.guest_faults.saturating_add(refused);
        sink.figure("guest_faults", as_figure(faults));
        let fuel: u64 = self
            .proxy
            .cost()
            .iter()
            .flat_map(|plugin| &plugin.callbacks)
            .map(|callback| callback.fuel_total)
            .sum();
        if self.requests > 0 {
            sink.figure(
                "fuel_per_request",
                as_figure(fuel) / as_figure(self.requests),
            );
        }
        for (name, _, value) in self.proxy.metrics() {
            use tidegate_host::MetricValue as Value;
            if let Value::Counter(value) | Value::Gauge(value) = value {
                sink.figure(&format!("metrics.{name}"), as_figure(value));
            }
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a figure has no more than 53 bits"
)]
const fn as_figure(count: u64) -> f64 {
    count as f64
}
