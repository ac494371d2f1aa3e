//! What operators see.

use tidegate_policy::affinity::{RequestReason, ResponseReason};
use tidegate_proxy::{HostError, metric::Counter};

/// Begins the names of the counters of decisions about requests; the reason follows.
pub const REQUESTS: &str = "tidegate_sticky_session_requests_total.reason.";

/// Begins the names of the counters of decisions about responses; the reason follows.
pub const RESPONSES: &str = "tidegate_sticky_session_responses_total.reason.";

/// Counts configurations that were refused.
pub const CONFIG_REJECTED: &str = "tidegate_sticky_session_config_rejected_total";

/// Counts callbacks that came while another one of the same VM was running, and which were let
/// through unseen: the filter in front and the one behind the router share a VM, and should not.
pub const REENTERED: &str = "tidegate_sticky_session_reentered_total";

/// Holds the counters of one configuration. Scope: the proxy sums over all VMs.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Vec<Counter>,
    responses: Vec<Counter>,
    reentered: Counter,
}

impl Metrics {
    /// Defines all counters.
    ///
    /// # Errors
    /// The host said no.
    pub(crate) fn define() -> Result<Self, HostError> {
        let requests = RequestReason::ALL
            .iter()
            .map(|reason| define(REQUESTS, reason.as_str()));
        let responses = ResponseReason::ALL
            .iter()
            .map(|reason| define(RESPONSES, reason.as_str()));
        Ok(Self {
            requests: requests.collect::<Result<_, _>>()?,
            responses: responses.collect::<Result<_, _>>()?,
            reentered: Counter::define(REENTERED)?,
        })
    }

    /// Counts a decision about a request.
    pub(crate) fn count_request(&self, reason: RequestReason) {
        count(self.requests.get(reason.index()));
    }

    /// Counts callbacks that were not looked at; none is nothing.
    pub(crate) fn count_reentered(&self, callbacks: u32) {
        // There is nowhere to report to that a counter could not be counted.
        let _ = self.reentered.increment(callbacks);
    }

    /// Counts a decision about a response.
    pub(crate) fn count_response(&self, reason: ResponseReason) {
        count(self.responses.get(reason.index()));
    }
}

/// Counts a configuration that was refused. It has a definition of its own, because the others
/// belong to a configuration that was not.
pub(crate) fn count_rejected_config() {
    count(Counter::define(CONFIG_REJECTED).ok().as_ref());
}

fn define(prefix: &str, reason: &str) -> Result<Counter, HostError> {
    Counter::define(&format!("{prefix}{reason}"))
}

fn count(counter: Option<&Counter>) {
    // There is nowhere to report to that a counter could not be counted.
    let _ = counter.map(|counter| counter.increment(1));
}
