//! What operators see.

use tidegate_policy::affinity::{RequestReason, ResponseReason};
use tidegate_proxy::{HostError, metric::Counter};

/// Begins the name of every counter of this plugin.
const PREFIX: &str = "tidegate_sticky_session_";

/// Holds the counters of one configuration. Scope: the proxy sums over all VMs.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Vec<Counter>,
    responses: Vec<Counter>,
}

impl Metrics {
    /// Defines all counters.
    ///
    /// # Errors
    /// The host said no.
    pub(crate) fn define() -> Result<Self, HostError> {
        let define = |kind: &str, reason: &str| {
            Counter::define(&format!("{PREFIX}{kind}_total.reason.{reason}"))
        };
        Ok(Self {
            requests: RequestReason::ALL
                .iter()
                .map(|reason| define("requests", reason.as_str()))
                .collect::<Result<_, _>>()?,
            responses: ResponseReason::ALL
                .iter()
                .map(|reason| define("responses", reason.as_str()))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Counts a decision about a request.
    pub(crate) fn count_request(&self, reason: RequestReason) {
        count(self.requests.get(reason.index()));
    }

    /// Counts a decision about a response.
    pub(crate) fn count_response(&self, reason: ResponseReason) {
        count(self.responses.get(reason.index()));
    }
}

/// Counts a configuration that was refused. It has a definition of its own, because the others belong to
/// a configuration that was not.
pub(crate) fn count_rejected_config() {
    let counter = Counter::define(&format!("{PREFIX}config_rejected_total"));
    count(counter.ok().as_ref());
}

fn count(counter: Option<&Counter>) {
    // There is nowhere to report to that a counter could not be counted.
    let _ = counter.map(|counter| counter.increment(1));
}
