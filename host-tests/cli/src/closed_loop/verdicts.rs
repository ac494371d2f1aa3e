//! What the ends of attempts lead to: another attempt, an answer of the proxy, a cut stream.

use tidegate_host::{CloseReason, ResponseAttributes};
use tidegate_model::report::Sink;
use tidegate_model::router::{Flags, Reply, Reset, Verdict};

use super::RunError;
use super::endpoints::{End, FAILED};
use super::engine::Engine;
use super::queue::Event;
use super::router::deciding;

impl Engine {
    /// An attempt ends without an answer, or within one.
    pub(super) fn attempt_failed(
        &mut self,
        key: u64,
        work: u64,
        reset: Reset,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let now_ns = self.now_ns;
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        if stream.current.as_ref().map(|current| current.work) != Some(work) {
            return Ok(());
        }
        let begun = stream.is_answered;
        let Some((attempts, breakers)) = deciding(stream, &mut self.clusters) else {
            return Ok(());
        };
        let draws = &mut self.router_draws;
        let verdict = attempts.on_reset(reset, begun, breakers, now_ns, draws);
        self.on_verdict(key, verdict, sink)
    }

    pub(super) fn on_verdict(
        &mut self,
        key: u64,
        verdict: Verdict,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        match verdict {
            Verdict::Pass { flags } => {
                if let Some(stream) = self.streams.get_mut(&key) {
                    stream.row.flags |= flags;
                }
                Ok(())
            }
            Verdict::Retry { after_ns } => {
                self.drop_attempt(key, FAILED, sink)?;
                let at_ns = self.now_ns.saturating_add(after_ns);
                self.queue.push(at_ns, Event::Retry { stream: key });
                Ok(())
            }
            Verdict::Reply(reply) => {
                self.drop_attempt(key, FAILED, sink)?;
                self.reply(key, reply)?;
                self.pump(key, sink)
            }
            Verdict::Cut { flags, details } => self.cut(key, flags, details, sink),
        }
    }

    /// The client's stream is cut within its answer.
    pub(super) fn cut(
        &mut self,
        key: u64,
        flags: Flags,
        details: String,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.row.flags |= flags;
            stream.row.details = details;
        }
        self.finish(key, CloseReason::Complete, sink)
    }

    pub(super) fn retry(&mut self, key: u64, sink: &mut dyn Sink) -> Result<(), RunError> {
        let waits = self
            .streams
            .get(&key)
            .is_some_and(|stream| stream.current.is_none() && !stream.is_answered);
        if !waits {
            return Ok(());
        }
        self.begin_attempt(key, sink)?;
        self.pump(key, sink)
    }

    pub(super) fn timed_out(&mut self, key: u64, sink: &mut dyn Sink) -> Result<(), RunError> {
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        if stream.socket.is_some() {
            return Ok(());
        }
        let begun = stream.is_answered;
        let Some((attempts, breakers)) = deciding(stream, &mut self.clusters) else {
            return Ok(());
        };
        let verdict = attempts.on_timeout(begun, breakers);
        self.on_verdict(key, verdict, sink)
    }

    pub(super) fn attempt_timed_out(
        &mut self,
        key: u64,
        work: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let has_answer = self
            .streams
            .get(&key)
            .is_none_or(|stream| stream.is_answered);
        if has_answer {
            return Ok(());
        }
        if let Some(work) = self.works.get(&work)
            && let Some(stats) = self
                .clusters
                .get_mut(work.cluster)
                .and_then(|cluster| cluster.stats.get_mut(work.host))
        {
            stats.rq_timeout += 1;
        }
        self.attempt_failed(key, work, Reset::PerTryTimeout, sink)
    }

    /// The attempt is over.
    pub(super) fn drop_attempt(
        &mut self,
        key: u64,
        end: End,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        self.close_attempt(key, CloseReason::Complete, end, sink)
    }

    /// Ends the present attempt, for a reason that its filters see. Why an attempt failed is none: the proxy writes
    /// that when they are gone.
    pub(super) fn close_attempt(
        &mut self,
        key: u64,
        reason: CloseReason,
        end: End,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let Some(current) = self
            .streams
            .get_mut(&key)
            .and_then(|stream| stream.current.take())
        else {
            return Ok(());
        };
        if let Some(filters) = current.filters {
            self.proxy.close_stream(filters, reason)?;
            while self.proxy.poll_output(filters).is_some() {}
        }
        self.end_work(current.work, end, sink)
    }

    /// The proxy answers itself.
    pub(super) fn reply(&mut self, key: u64, reply: Reply) -> Result<(), RunError> {
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        stream.is_answered = true;
        stream.row.flags |= reply.flags;
        stream.row.details.clone_from(&reply.details);
        let id = stream.id;
        let facts = ResponseAttributes {
            flags: stream.row.flags.0,
            ..ResponseAttributes::default()
        };
        self.proxy.set_response(id, facts)?;
        let headers = reply
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        self.proxy.local_reply(
            id,
            u32::from(reply.status),
            headers.collect(),
            reply.body.as_bytes(),
            &reply.details,
        )?;
        Ok(())
    }
}
