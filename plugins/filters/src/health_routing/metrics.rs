//! What operators see.
//!
//! Counts are kept here and told at ticks. Scope: the proxy sums over all VMs.

use tidegate_policy::{endpoints::Attempt, passive::Honoured, routing::Reason};
use tidegate_proxy::{HostError, metric::Counter};

/// Begins the names of the counters of decisions about requests; the reason follows.
pub const REQUESTS: &str = "tidegate_health_routing_requests_total.reason.";

/// Begins the names of the counters of responses to routed requests, by whether the proxy went by
/// the list.
pub const ANSWERS: &str = "tidegate_health_routing_answers_total.honoured.";

/// Begins the names of the counters of attempts, as far as they are seen in front; the outcome
/// follows.
pub const ATTEMPTS: &str = "tidegate_health_routing_attempts_total.outcome.";

/// Counts configurations that were refused.
pub const CONFIG_REJECTED: &str = "tidegate_health_routing_config_rejected_total";

/// Counts callbacks that came while another one of the same VM was running, and which were let
/// through unseen: the filter in front and the one behind the router share a VM, and should not.
pub const REENTERED: &str = "tidegate_health_routing_reentered_total";

/// Are the answers to whether a list was honoured, in the order of their counters.
pub const HONOURED: [&str; 3] = ["no", "unclear", "yes"];

/// Are the outcomes of attempts, in the order of their counters.
pub const OUTCOMES: [&str; 4] = ["gateway_failure", "local_failure", "neutral", "success"];

/// Is a counter with what it was not told yet.
#[derive(Debug)]
struct Pending {
    counter: Counter,
    news: u32,
}

/// Holds the counters of one configuration.
#[derive(Debug)]
pub(super) struct Metrics {
    requests: Vec<Pending>,
    answers: Vec<Pending>,
    attempts: Vec<Pending>,
    reentered: Counter,
}

impl Metrics {
    /// Defines all counters.
    ///
    /// # Errors
    /// The host said no.
    pub(super) fn define() -> Result<Self, HostError> {
        let reasons = Reason::ALL.iter().map(|reason| reason.as_str());
        Ok(Self {
            requests: define(REQUESTS, reasons)?,
            answers: define(ANSWERS, HONOURED.into_iter())?,
            attempts: define(ATTEMPTS, OUTCOMES.into_iter())?,
            reentered: Counter::define(REENTERED)?,
        })
    }

    /// Counts a decision about a request.
    pub(super) fn count_request(&mut self, reason: Reason) {
        count(self.requests.get_mut(reason.index()));
    }

    /// Counts a response to a request that has a list.
    pub(super) fn count_answer(&mut self, honoured: Honoured) {
        count(self.answers.get_mut(honoured_index(honoured)));
    }

    /// Counts an attempt.
    pub(super) fn count_attempt(&mut self, attempt: Attempt) {
        let index = match attempt {
            Attempt::GatewayFailure => 0,
            Attempt::LocalFailure => 1,
            Attempt::Neutral => 2,
            Attempt::Success { .. } | Attempt::UntimedSuccess => 3,
        };
        count(self.attempts.get_mut(index));
    }

    /// Counts callbacks that were not looked at; none is nothing.
    pub(super) fn count_reentered(&self, callbacks: u32) {
        // There is nowhere to report to that a counter could not be counted.
        let _ = self.reentered.increment(callbacks);
    }

    /// Tells the host what is new.
    pub(super) fn on_tick(&mut self) {
        let counters = self.requests.iter_mut().chain(&mut self.answers);
        for pending in counters.chain(&mut self.attempts) {
            if pending.news > 0 && pending.counter.increment(pending.news).is_ok() {
                pending.news = 0;
            }
        }
    }
}

/// Is the name of whether a list was honoured.
pub(super) fn honoured_name(honoured: Honoured) -> &'static str {
    HONOURED
        .get(honoured_index(honoured))
        .copied()
        .unwrap_or_default()
}

const fn honoured_index(honoured: Honoured) -> usize {
    match honoured {
        Honoured::No => 0,
        Honoured::Unclear => 1,
        Honoured::Yes => 2,
    }
}

/// Counts a configuration that was refused. It has a definition of its own, because the others
/// belong to a configuration that was not.
pub(super) fn count_rejected_config() {
    // There is nowhere to report to that a counter could not be counted.
    let _ = Counter::define(CONFIG_REJECTED).map(|counter| counter.increment(1));
}

fn define<'a>(
    prefix: &str,
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<Pending>, HostError> {
    names
        .map(|name| {
            let counter = Counter::define(&format!("{prefix}{name}"))?;
            Ok(Pending { counter, news: 0 })
        })
        .collect()
}

fn count(pending: Option<&mut Pending>) {
    if let Some(pending) = pending {
        pending.news = pending.news.saturating_add(1);
    }
}
