//! One request and its response, as the filters of a chain see it.
//!
//! Why: a call to the host costs more than most decisions. Filters that stand in one chain want to
//! know the same things.
//! Model: everything is asked for at its first use and remembered: for the callback, where it changes
//! or goes away after it, else as long as the stream lives. What filters want written is collected
//! here; the chain writes it.
//! Limits: what the host refuses is not remembered, and asked for again by the next who wants it.
//! Scope: one stream. Cost: no allocation besides the host's own bytes.

use std::{borrow::Cow, cell::OnceCell};

use tidegate_policy::{
    endpoints::Started,
    passive::{Ended, FailureStatuses, LastAttempt, Outcome, classify},
    plan::{PLAN_PROPERTY, Plan, Proposal},
    probe::DRAIN_HEADER,
    snapshot::{EndpointAddress, cluster_digest},
    units::WallTime,
};
use tidegate_proxy::{
    HostError, clock,
    headers::{Map, Pairs},
    property::{self, Property},
};

use crate::common::Common;

/// Is what filters say to each other about a stream.
pub(crate) const PLAN: Property<Vec<u8>> = Property::new(PLAN_PROPERTY);

/// Is what a response that an endpoint gave has as its details.
const VIA_UPSTREAM: &[u8] = b"via_upstream";

/// Is the least status that is one.
const FIRST_STATUS: u16 = 100;

/// Is the least status that an endpoint's failure, or the proxy's answer to one, can have.
const FIRST_ERROR: u16 = 500;

/// Is one request and its response.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Is the time of this callback.
    now: OnceCell<WallTime>,
    /// Are there during the callback for them.
    request_headers: OnceCell<Pairs>,
    /// Is asked for before any header changes: a change makes the proxy forget its route.
    cluster: OnceCell<Vec<u8>>,
    /// Is when the request came; `None` where nobody wanted to know.
    began_at: Option<WallTime>,
    /// Is the plan that a filter in front, in another module, made.
    plan: Option<Plan>,
    proposal: Option<Proposal>,
    names_endpoints: bool,
    /// Is the endpoint that is named first.
    first: Option<EndpointAddress>,
    /// Is the first attempt, where its wait is followed.
    started: Option<Started>,
    /// Are there during the callback for them.
    response_headers: OnceCell<Pairs>,
    status: OnceCell<u16>,
    details: OnceCell<Vec<u8>>,
    served_by: OnceCell<Vec<u8>>,
    attempts: OnceCell<Option<u64>>,
    is_reported: bool,
}

impl Exchange {
    /// Is the time: one for the whole callback.
    ///
    /// # Errors
    /// The host has no clock.
    pub fn now(&self) -> Result<WallTime, HostError> {
        remember(&self.now, clock::wall_time).copied()
    }

    /// Is the time at which the request came, asked for now: for filters that time the response.
    ///
    /// # Errors
    /// The host has no clock.
    pub fn begin(&mut self) -> Result<WallTime, HostError> {
        let now = self.now()?;
        self.began_at = Some(now);
        Ok(now)
    }

    /// Are the request's headers, as they came. They are there until the request goes on.
    ///
    /// # Errors
    /// The host said no.
    pub fn request_headers(&self) -> Result<&Pairs, HostError> {
        remember(&self.request_headers, || Map::RequestHeaders.read())
    }

    /// Is the cluster that the route leads to; empty where there is none.
    ///
    /// # Errors
    /// The host said no.
    pub fn cluster(&self) -> Result<&[u8], HostError> {
        remember(&self.cluster, || {
            Ok(property::CLUSTER_NAME.read()?.unwrap_or_default())
        })
        .map(Vec::as_slice)
    }

    /// Is the cluster as far as anybody asked for it; empty where nobody did.
    #[must_use]
    pub fn known_cluster(&self) -> &[u8] {
        self.cluster.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Is the endpoint that a filter in front wants the request to go to.
    #[must_use]
    pub const fn proposal(&self) -> Option<Proposal> {
        self.proposal
    }

    /// Says to the filters behind where the request should go.
    pub const fn propose(&mut self, proposal: Option<Proposal>) {
        self.proposal = proposal;
    }

    /// Says that the text of [`crate::Common`] names the request's endpoints from now on, this one
    /// first; `None` where that is no address.
    pub const fn name_endpoints(&mut self, first: Option<EndpointAddress>) {
        self.names_endpoints = true;
        self.first = first;
    }

    /// Says whether a filter named the request's endpoints.
    #[must_use]
    pub const fn names_endpoints(&self) -> bool {
        self.names_endpoints
    }

    /// Reads the plan of a filter in another module, and takes over its proposal; says whether there
    /// is one for this cluster.
    ///
    /// # Errors
    /// The host said no.
    pub(crate) fn read_plan(&mut self) -> Result<bool, HostError> {
        let Some(plan) = PLAN.read()?.and_then(|plan| Plan::decode(&plan)) else {
            return Ok(false);
        };
        if cluster_digest(self.cluster()?) != plan.cluster {
            return Ok(false);
        }
        self.proposal = plan.proposal;
        self.plan = Some(plan);
        Ok(true)
    }

    /// Says whether a filter in front, in another module, made a plan.
    pub(crate) const fn has_plan(&self) -> bool {
        self.plan.is_some()
    }

    /// Writes the plan for filters in other modules, unless it says nothing new.
    ///
    /// # Errors
    /// The host said no.
    pub(crate) fn write_plan(&self) -> Result<(), HostError> {
        let plan = Plan {
            cluster: cluster_digest(self.known_cluster()),
            proposal: self.proposal,
        };
        if self.plan == Some(plan) {
            return Ok(());
        }
        PLAN.write(&plan.encode())
    }

    /// Follows the first attempt, where this VM reports and a filter named its endpoint: others hear
    /// of one that hangs before it ends.
    pub(crate) fn start(&mut self, common: &mut Common) {
        if let (Some(first), Some(began_at)) = (self.first, self.began_at) {
            self.started = common.start(self.known_cluster(), first, began_at);
        }
    }

    /// Follows the first attempt no more: it was answered, or nobody waits for it.
    pub(crate) fn stop(&mut self, common: &mut Common) {
        if let Some(started) = self.started.take() {
            common.stop(&started);
        }
    }

    /// Ends the callback for the request's headers.
    pub(crate) fn on_request_end(&mut self) {
        self.request_headers.take();
        self.now.take();
    }

    /// Ends the callback for the response's headers.
    pub(crate) fn on_response_end(&mut self) {
        self.response_headers.take();
        self.now.take();
    }

    /// Is the response's status; zero, which is no failure, where it has none.
    ///
    /// # Errors
    /// The host said no.
    pub fn status(&self) -> Result<u16, HostError> {
        remember(&self.status, || {
            let text = self.response_value(":status")?.unwrap_or_default();
            let status = str::from_utf8(&text).ok();
            Ok(status.and_then(|text| text.parse().ok()).unwrap_or(0))
        })
        .copied()
    }

    /// Are the response's headers, as they came. A filter that wants more than one of them asks for
    /// all first. They are there during the callback for them.
    ///
    /// # Errors
    /// The host said no.
    pub fn response_headers(&self) -> Result<&Pairs, HostError> {
        remember(&self.response_headers, || Map::ResponseHeaders.read())
    }

    /// Is the first value of one of the response's headers.
    ///
    /// # Errors
    /// The host said no.
    pub fn response_value(&self, name: &str) -> Result<Option<Cow<'_, [u8]>>, HostError> {
        match self.response_headers.get() {
            Some(headers) => Ok(headers.values(name).next().map(Cow::Borrowed)),
            None => Ok(Map::ResponseHeaders.value(name)?.map(Cow::Owned)),
        }
    }

    /// Says whether the response's endpoint announces that it drains.
    ///
    /// # Errors
    /// The host said no.
    pub fn says_draining(&self) -> Result<bool, HostError> {
        Ok(self.response_value(DRAIN_HEADER)?.is_some())
    }

    /// Says whether the response is an endpoint's: the proxy's own answer after an attempt that
    /// failed has an address as well. A host that does not tell is believed.
    ///
    /// # Errors
    /// The host said no.
    pub fn is_via_upstream(&self) -> Result<bool, HostError> {
        let details = self.details()?;
        Ok(details.is_empty() || details == VIA_UPSTREAM)
    }

    /// Is who served the request or was tried last, as the proxy writes it; empty for nobody.
    ///
    /// # Errors
    /// The host said no.
    pub fn served_by(&self) -> Result<&[u8], HostError> {
        remember(&self.served_by, || {
            Ok(property::UPSTREAM_ADDRESS.read()?.unwrap_or_default())
        })
        .map(Vec::as_slice)
    }

    /// Is how many attempts there were; `None` where the host does not say.
    ///
    /// # Errors
    /// The host said no.
    pub fn attempts(&self) -> Result<Option<u64>, HostError> {
        remember(&self.attempts, || property::UPSTREAM_ATTEMPTS.read()).copied()
    }

    /// Says what the response to a request shows about the endpoint that was tried last.
    ///
    /// What the proxy says about an answer is asked for only where it makes a difference: its own
    /// answers to attempts that failed are errors, and those of other filters come without an
    /// address.
    ///
    /// # Errors
    /// The host said no.
    pub fn outcome(&self, failures: FailureStatuses) -> Result<Outcome, HostError> {
        if self.status()? >= FIRST_ERROR || self.served_by()?.is_empty() {
            self.outcome_of_attempt(failures)
        } else {
            self.classify(VIA_UPSTREAM, failures)
        }
    }

    /// Says what the response to an attempt shows about its endpoint: behind the router, where it has
    /// an address whoever answered.
    ///
    /// # Errors
    /// The host said no.
    pub(crate) fn outcome_of_attempt(
        &self,
        failures: FailureStatuses,
    ) -> Result<Outcome, HostError> {
        self.classify(self.details()?, failures)
    }

    fn classify(&self, details: &[u8], failures: FailureStatuses) -> Result<Outcome, HostError> {
        let status = self.status()?;
        if status < FIRST_STATUS {
            return Ok(Outcome::Neutral);
        }
        let says_draining = status == 503 && self.says_draining()?;
        let ended = Ended {
            status: Some(status),
            details,
            says_draining,
            client_left: false,
        };
        Ok(classify(&ended, failures))
    }

    /// Is who served or was tried last, where that is an address.
    ///
    /// # Errors
    /// The host said no.
    pub fn endpoint(&self) -> Result<Option<EndpointAddress>, HostError> {
        Ok(EndpointAddress::parse(self.served_by()?))
    }

    /// Is all that is seen of the request's end.
    ///
    /// # Errors
    /// The host said no.
    pub(crate) fn last_attempt(&self, outcome: Outcome) -> Result<LastAttempt, HostError> {
        let now = self.now()?;
        let latency = |began_at| now.saturating_since(began_at);
        Ok(LastAttempt {
            attempts: self.attempts()?,
            served_by: self.endpoint()?,
            outcome,
            latency: self.began_at.map(latency),
        })
    }

    /// Says that what became of the attempts is reported.
    pub const fn mark_reported(&mut self) {
        self.is_reported = true;
    }

    /// Says whether what became of the attempts is reported.
    pub(crate) const fn is_reported(&self) -> bool {
        self.is_reported
    }

    fn details(&self) -> Result<&[u8], HostError> {
        remember(&self.details, || {
            Ok(property::RESPONSE_CODE_DETAILS.read()?.unwrap_or_default())
        })
        .map(Vec::as_slice)
    }
}

/// Is what was remembered, or what the host says now.
fn remember<T>(
    cell: &OnceCell<T>,
    ask: impl FnOnce() -> Result<T, HostError>,
) -> Result<&T, HostError> {
    if let Some(known) = cell.get() {
        return Ok(known);
    }
    let value = ask()?;
    Ok(cell.get_or_init(|| value))
}
