//! What becomes of attempts, for the picture of the endpoints.
//!
//! Behind the router, in the role `upstream`, every attempt is seen with the endpoint that it goes
//! to. Only attempts of requests are looked at whose plan the filter in front has set: of probes and
//! of other plugins' calls nothing is touched, not one header. In front, where the source learns from
//! traffic, the last attempt of a request is seen when its response comes.

use tidegate_policy::{
    endpoints::Attempt,
    passive::{Ended, classify},
    plan::{PLAN_PROPERTY, Plan},
    probe::DRAIN_HEADER,
    snapshot::{EndpointAddress, cluster_digest},
    units::WallTime,
};
use tidegate_proxy::{
    HostError, clock,
    headers::Map,
    property::{self, Property},
};

use crate::{root::StickySession, stream::status};

/// Is what filters say to each other about a stream.
const PLAN: Property<Vec<u8>> = Property::new(PLAN_PROPERTY);

/// Are the response flags of a stream that ended for its client's sake: the client went away or broke
/// the protocol, or the stream was idle or open for too long, or the proxy is overloaded.
///
/// Behind the router the flags are those of the client's stream, and the proxy writes why an attempt
/// failed only after the attempt is gone: a reset, a connection that failed and a time-out leave them
/// empty (seen with Envoy 1.40). A request that a circuit breaker refuses never gets here.
///
/// SOURCE: the order of `CoreResponseFlag` in Envoy's `envoy/stream_info/stream_info.h`.
const FOR_THE_CLIENT: u64 = 1 << 14 | 1 << 16 | 1 << 17 | 1 << 18 | 1 << 22 | 1 << 25 | 1 << 28;

/// Is an attempt that is under way.
#[derive(Debug)]
pub(crate) struct Attempting {
    cluster: Vec<u8>,
    /// Is the endpoint that it goes to; `None` where that is known with the response only.
    address: Option<EndpointAddress>,
    began_at: WallTime,
}

/// Says to the filters behind that a request to this cluster is looked after.
pub(crate) fn plan(plugin: &StickySession, cluster: &[u8]) {
    if plugin
        .endpoints
        .as_ref()
        .is_some_and(|endpoints| endpoints.knows(cluster))
    {
        let plan = Plan {
            cluster: cluster_digest(cluster),
            proposal: None,
        };
        // Without it the attempts are not observed; the request goes on.
        let _ = PLAN.write(&plan.encode());
    }
}

impl Attempting {
    /// Begins to look at an attempt behind the router; `None` where its stream has no plan for this
    /// cluster.
    ///
    /// # Errors
    /// The host said no.
    pub(crate) fn behind(plugin: &mut StickySession) -> Result<Option<Self>, HostError> {
        let Some(endpoints) = &mut plugin.endpoints else {
            return Ok(None);
        };
        let plan = PLAN.read()?.and_then(|plan| Plan::decode(&plan));
        let Some(plan) = plan else {
            return Ok(None);
        };
        let cluster = property::CLUSTER_NAME.read()?.unwrap_or_default();
        if cluster_digest(&cluster) != plan.cluster {
            return Ok(None);
        }
        endpoints.on_stream(&cluster);
        let address = property::UPSTREAM_ADDRESS.read()?;
        Ok(Some(Self {
            cluster,
            address: address.and_then(|address| EndpointAddress::parse(&address)),
            began_at: clock::wall_time()?,
        }))
    }

    /// Begins to look at a request in front, where this VM reports what it sees; else `None`.
    ///
    /// # Errors
    /// The host said no.
    pub(crate) fn in_front(
        plugin: &StickySession,
        cluster: &[u8],
    ) -> Result<Option<Self>, HostError> {
        let observes = plugin
            .endpoints
            .as_ref()
            .is_some_and(|endpoints| endpoints.observes() && endpoints.knows(cluster));
        if !observes {
            return Ok(None);
        }
        Ok(Some(Self {
            cluster: cluster.to_vec(),
            address: None,
            began_at: clock::wall_time()?,
        }))
    }

    /// Takes the response's headers.
    ///
    /// # Errors
    /// The host said no.
    pub(crate) fn answered(self, plugin: &mut StickySession) -> Result<(), HostError> {
        let Some(endpoints) = &plugin.endpoints else {
            return Ok(());
        };
        let now = clock::wall_time()?;
        let status = status()?;
        let details = property::RESPONSE_CODE_DETAILS.read()?.unwrap_or_default();
        let ended = Ended {
            status: Some(status),
            details: &details,
            says_draining: status == 503 && Map::ResponseHeaders.value(DRAIN_HEADER)?.is_some(),
            client_left: false,
        };
        let outcome = classify(&ended, endpoints.failure_statuses());
        // In front, a response of a later attempt says nothing of how long that one took.
        let is_timed =
            self.address.is_some() || property::UPSTREAM_ATTEMPTS.read()?.unwrap_or(1) <= 1;
        let latency = is_timed.then(|| now.saturating_since(self.began_at));
        self.end(plugin, outcome.to_attempt(latency), now)
    }

    /// Takes note that the stream ended without a response.
    ///
    /// # Errors
    /// The host said no.
    pub(crate) fn gone(self, plugin: &mut StickySession) -> Result<(), HostError> {
        let flags = property::RESPONSE_FLAGS.read()?.unwrap_or(0);
        if flags & FOR_THE_CLIENT != 0 {
            return Ok(());
        }
        self.end(plugin, Attempt::LocalFailure, clock::wall_time()?)
    }

    fn end(
        self,
        plugin: &mut StickySession,
        attempt: Attempt,
        now: WallTime,
    ) -> Result<(), HostError> {
        let address = match self.address {
            Some(address) => Some(address),
            None => property::UPSTREAM_ADDRESS
                .read()?
                .and_then(|address| EndpointAddress::parse(&address)),
        };
        if let (Some(endpoints), Some(address)) = (&mut plugin.endpoints, address) {
            endpoints.on_attempt(&self.cluster, address, attempt, now);
        }
        Ok(())
    }
}
