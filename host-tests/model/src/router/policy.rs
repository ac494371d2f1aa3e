//! What a request may still repeat, and how long it waits for that.

use super::Reset;
use super::breakers::Breakers;
use super::conditions::{Conditions, Decision};
use super::headers::{Headers, list, number};
use crate::draw::Draws;
use crate::scenario::RetryPolicy;

/// What becomes of a wish to repeat an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// There was none.
    None,
    /// Granted; the attempt begins after this time.
    Granted { after_ns: u64 },
    /// The request has used up its retries.
    Exhausted,
    /// The cluster has none to spare.
    Overflows,
}

/// The retries of one request.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    on: Conditions,
    remaining: u32,
    statuses: Vec<u64>,
    /// Names of headers, in lower case.
    names: Vec<String>,
    /// Bound of the next back-off, and the bound of the bounds, in milliseconds; at least 1.
    next_ms: u64,
    max_ms: u64,
    /// Whether the cluster counts a retry of this request.
    counted: bool,
}

impl Policy {
    /// Reads what a route and a request's headers say. `None` when nothing is ever repeated.
    pub(super) fn new(route: Option<&RetryPolicy>, headers: &dyn Headers) -> Option<Self> {
        let default = RetryPolicy {
            num_retries: 1,
            ..RetryPolicy::default()
        };
        let route = route.unwrap_or(&default);
        let mut on = Conditions::new(&route.on);
        if let Some(names) = headers.value("x-envoy-retry-on") {
            on = on.with_names(names);
        }
        if let Some(names) = headers.value("x-envoy-retry-grpc-on") {
            on = on.with_grpc_names(names);
        }
        if on.is_empty() {
            return None;
        }
        let mut statuses: Vec<u64> = route
            .retriable_status_codes
            .iter()
            .map(|status| u64::from(*status))
            .collect();
        if let Some(more) = headers.value("x-envoy-retriable-status-codes") {
            statuses.extend(list(more).filter_map(|status| number(status.as_bytes())));
        }
        let mut names: Vec<String> = route
            .retriable_headers
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect();
        if let Some(more) = headers.value("x-envoy-retriable-header-names") {
            names.extend(list(more).map(str::to_ascii_lowercase));
        }
        let base_ms = (route.back_off.base.ns() / 1_000_000).max(1);
        let max_ms = route
            .back_off
            .max
            .map_or(base_ms.saturating_mul(10), |max| max.ns() / 1_000_000);
        Some(Self {
            on,
            remaining: headers
                .value("x-envoy-max-retries")
                .and_then(number)
                .map_or(route.num_retries, low_half),
            statuses,
            names,
            next_ms: base_ms,
            max_ms: max_ms.max(base_ms),
            counted: false,
        })
    }

    pub(super) fn about_answer(&self, status: u16, answer: &dyn Headers) -> Decision {
        self.on
            .about_answer(status, answer, &self.statuses, &self.names)
    }

    pub(super) fn about_reset(&self, reset: Reset) -> Decision {
        self.on.about_reset(reset)
    }

    /// Asks for another attempt. A retry that was under way has ended.
    pub(super) fn wish(
        &mut self,
        decision: Decision,
        breakers: &mut Breakers,
        now_ns: u64,
        draws: &mut Draws,
    ) -> Wish {
        self.release(breakers);
        if decision == Decision::Never {
            return Wish::None;
        }
        let Some(remaining) = self.remaining.checked_sub(1) else {
            return Wish::Exhausted;
        };
        self.remaining = remaining;
        if !breakers.may_retry(now_ns) {
            return Wish::Overflows;
        }
        breakers.retries = breakers.retries.saturating_add(1);
        self.counted = true;
        Wish::Granted {
            after_ns: match decision {
                Decision::AtOnce => 0,
                _ => self.back_off_ns(draws),
            },
        }
    }

    /// Takes the request's retry from the cluster's count.
    pub(super) const fn release(&mut self, breakers: &mut Breakers) {
        if self.counted {
            breakers.retries = breakers.retries.saturating_sub(1);
            self.counted = false;
        }
    }

    /// Draws a whole number of milliseconds below a bound, which doubles from one to the next.
    fn back_off_ns(&mut self, draws: &mut Draws) -> u64 {
        let drawn = draws.below(self.next_ms);
        self.next_ms = self.next_ms.saturating_mul(2).min(self.max_ms);
        drawn.saturating_mul(1_000_000)
    }
}

/// Envoy keeps the lower 32 bits of `x-envoy-max-retries`: 4294967296 is none.
fn low_half(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}
