//! One request and its response.

use std::net::{IpAddr, Ipv4Addr};

use tidegate_policy::{
    fallback::MAX_ENTRIES,
    passive::{Honoured, Outcome},
    routing::{Answered, Reason, Routed},
    snapshot::EndpointAddress,
};
use tidegate_proxy::{
    HostError,
    log::{self, Level},
};

use super::{HealthRouting, metrics::honoured_name};
use crate::{common::Common, exchange::Exchange};

/// Is the status of a response that becomes a stream of its own.
const SWITCHING_PROTOCOLS: u16 = 101;

/// Is in a place of a list that has no entry.
const NOBODY: EndpointAddress = EndpointAddress {
    ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    port: 0,
};

/// Remembers of a request what its response is concluded with.
#[derive(Debug, Default)]
pub struct HealthStream {
    /// Is what was decided, where a router did, and the number of the configuration that it is of.
    routed: Option<(u64, Routed)>,
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
        let proposal = exchange.proposal();
        let number = self.number;
        let (router, draws) = match self.router(common, exchange.cluster()?, now) {
            Ok(found) => found,
            Err(reason) => return Ok(reason),
        };
        let routed = router.on_request(proposal, now, &mut || draws.draw());
        let reason = routed.reason;
        if routed.addresses().next().is_some() {
            common.set_endpoints_text(routed.addresses());
            exchange.name_endpoints();
        }
        stream.routed = Some((number, routed));
        Ok(reason)
    }

    /// Counts what was decided about a request.
    pub(super) fn count_request(&mut self, common: &mut Common, stream: &mut HealthStream) {
        let reason = *stream.reason.get_or_insert(Reason::HostError);
        if let Some(metrics) = &mut self.metrics {
            metrics.count_request(reason);
        }
        let picked = stream.routed.as_ref().and_then(|(_, routed)| routed.picked);
        common.debug(|| match picked {
            Some(picked) => format!("health-routing request: {} {picked:?}", reason.as_str()),
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
        let Some((number, routed)) = &mut stream.routed else {
            return Ok(());
        };
        let Some(router) = self.routers.get_mut(exchange.known_cluster()) else {
            return Ok(());
        };
        if *number != self.number {
            return Ok(());
        }
        let answered = answered(common, exchange, outcome)?;
        let now = exchange.now()?;
        let concluded = router.on_answer(routed, &answered, now);
        let cluster = exchange.known_cluster();
        let reports = common.reports(cluster);
        for (address, attempt) in concluded.conclusion.attempts(&listed(routed)) {
            if let Some(metrics) = &mut self.metrics {
                metrics.count_attempt(attempt);
            }
            if reports {
                common.report(cluster, address, attempt, now);
            }
        }
        let honoured = concluded.conclusion.honoured;
        stream.answer = Some((honoured, answered.attempts));
        if let Some(metrics) = &mut self.metrics {
            metrics.count_answer(honoured);
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
        common.debug(|| {
            format!(
                "health-routing response: {:?} {:?} honoured {}",
                answered.outcome,
                answered.attempts,
                honoured_name(honoured)
            )
        });
        Ok(())
    }

    /// Lets go of a request that goes on as if nothing had been decided.
    pub(super) fn forget(&mut self, exchange: &Exchange, stream: &mut HealthStream) {
        self.finish(exchange, core::mem::take(stream));
    }

    /// Takes that a stream ended.
    pub(super) fn finish(&mut self, exchange: &Exchange, stream: HealthStream) {
        if let Some((number, routed)) = stream.routed
            && number == self.number
            && let Some(router) = self.routers.get_mut(exchange.known_cluster())
        {
            router.on_end(routed);
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
    let (outcome, is_upgrade) = match outcome {
        Some(outcome) => (outcome, false),
        None => (
            exchange.outcome(common.failure_statuses())?,
            exchange.status()? == SWITCHING_PROTOCOLS,
        ),
    };
    Ok(Answered {
        attempts: exchange.attempts()?,
        served_by: exchange.endpoint()?,
        outcome,
        is_upgrade,
    })
}

/// Is a request's list, and behind it places that nobody looks at.
fn listed(routed: &Routed) -> [EndpointAddress; MAX_ENTRIES] {
    let mut addresses = routed.addresses();
    std::array::from_fn(|_| addresses.next().unwrap_or(NOBODY))
}
