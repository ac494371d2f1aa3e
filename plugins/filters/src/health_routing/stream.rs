//! One request and its response.

use tidegate_policy::{
    passive::{Honoured, Outcome},
    routing::{Answered, Reason, Routed},
};
use tidegate_proxy::{
    HostError,
    log::{self, Level},
};

use super::{HealthRouting, metrics::honoured_name};
use crate::{common::Common, exchange::Exchange};

/// Is the status of a response that becomes a stream of its own.
const SWITCHING_PROTOCOLS: u16 = 101;

/// Remembers of a request what its response is concluded with.
#[derive(Debug, Default)]
pub struct HealthStream {
    /// Is what was decided, where a router did.
    routed: Option<Routed>,
    /// Is what was decided about the request.
    pub(super) reason: Option<Reason>,
    /// Is what the response showed.
    answer: Option<(Honoured, Option<u64>)>,
}

impl HealthRouting {
    /// Decides about a request, and names its endpoints.
    pub(super) fn route(
        &mut self,
        common: &mut Common,
        exchange: &mut Exchange,
        stream: &mut HealthStream,
    ) -> Result<Reason, HostError> {
        let now = exchange.begin()?;
        let cluster = exchange.cluster()?;
        if cluster.is_empty() {
            return Ok(Reason::NoCluster);
        }
        let (routers, draws) = (&mut self.routers, &mut self.draws);
        let draw = &mut || draws.draw();
        let routed = routers.on_request(cluster, exchange.proposal(), now, draw);
        let reason = routed.reason;
        let first = routed.addresses().next();
        if first.is_some() {
            common.set_endpoints_text(routed.addresses());
            exchange.name_endpoints(first);
        }
        stream.routed = Some(routed);
        Ok(reason)
    }

    /// Counts what was decided about a request.
    pub(super) fn count_request(&mut self, common: &mut Common, stream: &mut HealthStream) {
        let reason = *stream.reason.get_or_insert(Reason::HostError);
        if let Some(metrics) = &mut self.metrics {
            metrics.count_request(reason);
        }
        common.debug(|| match &stream.routed {
            Some(routed) => format!("health-routing request: {routed}"),
            None => format!("health-routing request: {}", reason.as_str()),
        });
    }

    /// Takes the response, or that there is none; `outcome` is `None` where the response says it.
    pub(super) fn conclude(
        &mut self,
        common: &mut Common,
        exchange: &mut Exchange,
        stream: &mut HealthStream,
        outcome: Option<Outcome>,
    ) -> Result<(), HostError> {
        let Some(routed) = &mut stream.routed else {
            return Ok(());
        };
        let answered = answered(common, exchange, outcome)?;
        let now = exchange.now()?;
        let concluded = self.routers.on_answer(routed, &answered, now);
        let cluster = exchange.known_cluster();
        let reports = common.reports(cluster);
        for (address, attempt) in concluded.attempts(routed) {
            if let Some(metrics) = &mut self.metrics {
                metrics.count_attempt(attempt);
            }
            if reports {
                common.report(cluster, address, attempt, now);
            }
        }
        let honoured = concluded.conclusion.honoured;
        if routed.addresses().next().is_some() {
            stream.answer = Some((honoured, answered.attempts));
            if let Some(metrics) = &mut self.metrics {
                metrics.count_answer(honoured);
            }
        }
        if let Some(notice) = concluded.notice {
            let cluster = String::from_utf8_lossy(cluster);
            log::write(
                Level::Warn,
                &format!(
                    "health-routing: the last {} answers of cluster {cluster:?} came from outside \
                     of their lists; has it the override_host policy, with this filter's \
                     endpoint_header?",
                    notice.row
                ),
            );
        }
        exchange.mark_reported();
        common.debug(|| format!("health-routing response: {}", concluded.explain(routed)));
        Ok(())
    }

    /// Lets go of a request that goes on as if nothing had been decided.
    pub(super) fn forget(&mut self, stream: &mut HealthStream) {
        self.finish(core::mem::take(stream));
    }

    /// Takes that a stream ended.
    pub(super) fn finish(&mut self, stream: HealthStream) {
        if let Some(routed) = stream.routed {
            self.routers.on_end(routed);
        }
    }
}

impl HealthStream {
    /// Says what was decided and what came of it.
    pub(super) fn explain(&self, say: &mut dyn FnMut(&str)) {
        let Some(reason) = self.reason else {
            return;
        };
        let mut text = format!("health-routing;request={}", reason.as_str());
        if let Some((honoured, attempts)) = self.answer {
            if let Some(attempts) = attempts {
                text.push_str(&format!(";attempts={attempts}"));
            }
            text.push_str(&format!(";honoured={}", honoured_name(honoured)));
        }
        say(&text);
    }
}

/// Is how a request was answered.
fn answered(
    common: &Common,
    exchange: &Exchange,
    outcome: Option<Outcome>,
) -> Result<Answered, HostError> {
    let (outcome, is_upgrade, says_draining) = match outcome {
        Some(outcome) => (outcome, false, false),
        None => {
            // All of them at once are one call, and two are wanted.
            exchange.response_headers()?;
            (
                exchange.outcome(common.failure_statuses())?,
                exchange.status()? == SWITCHING_PROTOCOLS,
                exchange.says_draining()?,
            )
        }
    };
    Ok(Answered {
        attempts: exchange.attempts()?,
        served_by: exchange.endpoint()?,
        outcome,
        is_upgrade,
        says_draining,
    })
}
