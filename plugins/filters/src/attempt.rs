//! What becomes of attempts, for the picture of the endpoints.
//!
//! Behind the router, in the role `upstream`, every attempt is seen with the endpoint that it goes
//! to. Only attempts of requests are looked at whose plan a filter in front has set: of probes and
//! of other plugins' calls nothing is touched, not one header. In front the last attempt of a request
//! is seen when its response comes.

use tidegate_policy::{
    endpoints::Started,
    passive::{Outcome, conclude},
    plan::Plan,
    snapshot::{EndpointAddress, cluster_digest},
    units::WallTime,
};
use tidegate_proxy::{HostError, property};

use crate::{
    common::Common,
    exchange::{Exchange, PLAN},
};

/// Are the response flags of a stream that ended for its client's sake: the client went away or broke
/// the protocol, or the stream was idle or open for too long, or the proxy is overloaded.
///
/// Behind the router the flags are those of the client's stream, and the proxy writes why an attempt
/// failed only after the attempt is gone: a reset, a connection that failed and a time-out leave them
/// empty (seen with Envoy 1.40). A request that a circuit breaker refuses never gets here.
///
/// SOURCE: the order of `CoreResponseFlag` in Envoy's `envoy/stream_info/stream_info.h`.
const FOR_THE_CLIENT: u64 = 1 << 14 | 1 << 16 | 1 << 17 | 1 << 18 | 1 << 22 | 1 << 25 | 1 << 28;

/// Is an attempt that is under way, behind the router.
#[derive(Debug)]
pub(crate) struct Attempting {
    /// Is the endpoint that it goes to; `None` where that is known with the response only.
    address: Option<EndpointAddress>,
    began_at: WallTime,
    /// Is there where its wait is followed.
    started: Option<Started>,
}

impl Attempting {
    /// Begins to look at an attempt; `None` where its stream has no plan for this cluster.
    ///
    /// # Errors
    /// The host said no.
    pub(crate) fn begin(
        common: &mut Common,
        exchange: &Exchange,
    ) -> Result<Option<Self>, HostError> {
        let Some(endpoints) = &mut common.endpoints else {
            return Ok(None);
        };
        let plan = PLAN.read()?.and_then(|plan| Plan::decode(&plan));
        let Some(plan) = plan else {
            return Ok(None);
        };
        let cluster = exchange.cluster()?;
        if cluster_digest(cluster) != plan.cluster {
            return Ok(None);
        }
        endpoints.on_stream(cluster);
        // Asked for again with the response where it is not known yet.
        let address = property::UPSTREAM_ADDRESS.read()?;
        let address = address.and_then(|address| EndpointAddress::parse(&address));
        let began_at = exchange.now()?;
        Ok(Some(Self {
            address,
            began_at,
            started: address.and_then(|address| common.start(cluster, address, began_at)),
        }))
    }

    /// Takes the response's headers.
    ///
    /// # Errors
    /// The host said no.
    pub(crate) fn answered(
        self,
        common: &mut Common,
        exchange: &Exchange,
    ) -> Result<(), HostError> {
        self.lost(common);
        let outcome = exchange.outcome_of_attempt(common.failure_statuses())?;
        self.end(common, exchange, outcome)
    }

    /// Takes note that the stream ended without a response.
    ///
    /// # Errors
    /// The host said no.
    pub(crate) fn gone(self, common: &mut Common, exchange: &Exchange) -> Result<(), HostError> {
        self.lost(common);
        if is_for_the_client()? {
            return Ok(());
        }
        self.end(common, exchange, Outcome::LocalFailure)
    }

    /// Takes note that the attempt waits no more.
    pub(crate) fn lost(&self, common: &mut Common) {
        if let Some(started) = &self.started {
            common.stop(started);
        }
    }

    fn end(
        self,
        common: &mut Common,
        exchange: &Exchange,
        outcome: Outcome,
    ) -> Result<(), HostError> {
        let address = match self.address {
            Some(address) => Some(address),
            None => exchange.endpoint()?,
        };
        if let Some(address) = address {
            let now = exchange.now()?;
            let attempt = outcome.to_attempt(Some(now.saturating_since(self.began_at)));
            common.report(exchange.known_cluster(), address, attempt, now);
        }
        Ok(())
    }
}

/// Reports how a request ended, where this VM reports and no filter did: the last attempt only, since
/// no list is known. `outcome` is `None` where a response says it.
///
/// # Errors
/// The host said no.
pub(crate) fn report_request(
    common: &mut Common,
    exchange: &mut Exchange,
    outcome: Option<Outcome>,
) -> Result<(), HostError> {
    if exchange.is_reported() || !common.reports(exchange.known_cluster()) {
        return Ok(());
    }
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => exchange.outcome(common.failure_statuses())?,
    };
    let last = exchange.last_attempt(outcome)?;
    if let Some((address, attempt)) = conclude(&[], &last, false).last {
        let now = exchange.now()?;
        common.report(exchange.known_cluster(), address, attempt, now);
    }
    exchange.mark_reported();
    Ok(())
}

/// Says whether the stream ended for its client's sake.
///
/// # Errors
/// The host said no.
pub(crate) fn is_for_the_client() -> Result<bool, HostError> {
    Ok(property::RESPONSE_FLAGS.read()?.unwrap_or(0) & FOR_THE_CLIENT != 0)
}
