//! One request on its way through its attempts.

use super::breakers::Breakers;
use super::conditions::Decision;
use super::flags::Flags;
use super::headers::{Headers, HeadersMut, milliseconds};
use super::policy::{Policy, Wish};
use super::reply::{Reply, no_endpoint};
use super::{Reset, Verdict};
use crate::draw::Draws;
use crate::scenario;

const NS_PER_MS: u64 = 1_000_000;

/// Bytes of a request's body that a listener buffers for another attempt.
///
/// SOURCE: Envoy's default of `per_connection_buffer_limit_bytes`; seen: 1 048 576 bytes are sent again, one more is not.
const BUFFERED_BYTES: u64 = 1_048_576;

/// Headers by which a request tells the router something, and which it keeps to itself.
const CONSUMED: [&str; 11] = [
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-max-retries",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-stream-duration-ms",
];

/// One request on its way through its attempts.
#[derive(Debug, Clone)]
pub struct Attempts {
    /// From the request's end to the answer's end; `None` for ever.
    pub timeout_ns: Option<u64>,
    /// From an attempt's beginning, which is when it has a connection, to its answer's headers.
    pub per_try_timeout_ns: Option<u64>,
    /// How many attempts began. One for which there was no endpoint counts.
    pub count: u32,
    /// The most bytes of the request's body with which it is still repeated.
    pub buffered_bytes: u64,
    /// Whether `x-envoy-hedge-on-per-try-timeout: true` was there. Envoy then leaves an attempt that takes too long running
    /// next to the retry; here it ends like any other, and only the header about the expected time says so.
    pub hedges: bool,
    /// `None`: nothing is repeated, or nothing any more.
    policy: Option<Policy>,
    /// What a time-out is answered with.
    late_status: u16,
    count_in_request: bool,
    count_in_response: bool,
}

impl Attempts {
    /// Reads the time-outs and retries of a request from its route and its headers, as they leave the filters.
    ///
    /// A header's number replaces the route's if it is one: white space and a plus are let pass, a minus, a point or a list is
    /// not. A time of 0 is no time-out. An attempt's that isn't shorter than the total one doesn't count. Conditions add up.
    #[must_use]
    pub fn new(route: &scenario::Route, headers: &dyn Headers) -> Self {
        let retry = route.retry.as_ref();
        let told = |name| headers.value(name).and_then(milliseconds);
        let total_ms =
            told("x-envoy-upstream-rq-timeout-ms").unwrap_or(route.timeout.ns() / NS_PER_MS);
        let by_route = retry.map_or(0, |retry| retry.per_try_timeout.ns() / NS_PER_MS);
        let one_ms = told("x-envoy-upstream-rq-per-try-timeout-ms").unwrap_or(by_route);
        let shorter = total_ms == 0 || one_ms < total_ms;
        let is_late = headers
            .value("x-envoy-upstream-rq-timeout-alt-response")
            .is_some();
        Self {
            timeout_ns: nanoseconds(total_ms),
            per_try_timeout_ns: nanoseconds(one_ms).filter(|_| shorter),
            count: 0,
            buffered_bytes: BUFFERED_BYTES,
            hedges: headers.value("x-envoy-hedge-on-per-try-timeout") == Some(b"true"),
            policy: Policy::new(retry, headers),
            late_status: if is_late { 204 } else { 504 },
            count_in_request: route.attempt_count_in_request,
            count_in_response: route.attempt_count_in_response,
        }
    }

    /// Returns whether anything would be tried again at all.
    #[must_use]
    pub const fn may_repeat(&self) -> bool {
        self.policy.is_some()
    }

    /// An attempt begins; comes before an endpoint is chosen for it.
    pub fn begin(&mut self, breakers: &mut Breakers, now_ns: u64) {
        if self.count == 0 {
            breakers.budget.on_request(now_ns);
        }
        self.count = self.count.saturating_add(1);
    }

    /// Makes the headers of the attempt that just began out of the request's: what was for the router goes, and
    /// `x-envoy-expected-rq-timeout-ms` and, if the route wants it, `x-envoy-attempt-count` come.
    ///
    /// `since_request_end_ns` is how long ago the request ended; 0 while it has not.
    pub fn prepare(&self, headers: &mut dyn HeadersMut, since_request_end_ns: u64) {
        for name in CONSUMED {
            headers.remove(name);
        }
        if let Some(expected_ms) = self.expected_ms(since_request_end_ns / NS_PER_MS) {
            let value = expected_ms.to_string();
            headers.set("x-envoy-expected-rq-timeout-ms", value.as_bytes());
        }
        if self.count_in_request {
            let value = self.count.to_string();
            headers.set("x-envoy-attempt-count", value.as_bytes());
        }
    }

    /// Finishes the headers of an answer that passes. `since_request_end_ns` is `None` when the request has not ended.
    pub fn finish_answer(&self, headers: &mut dyn HeadersMut, since_request_end_ns: Option<u64>) {
        if self.count_in_response {
            let value = self.count.to_string();
            headers.set("x-envoy-attempt-count", value.as_bytes());
        }
        if let Some(since) = since_request_end_ns {
            let value = (since / NS_PER_MS).to_string();
            headers.set("x-envoy-upstream-service-time", value.as_bytes());
        }
    }

    /// There is no endpoint for the attempt that just began. That is never repeated.
    pub fn on_no_endpoint(&mut self, breakers: &mut Breakers) -> Reply {
        self.finish(breakers);
        let mut reply = no_endpoint();
        self.add_count(&mut reply);
        reply
    }

    /// A part of the request's body came: so many bytes have come in all. `under_way` says whether an attempt is, rather than
    /// the wait for one.
    ///
    /// What doesn't fit into the buffer is not repeated. When the first attempt has already failed, nothing is left to be
    /// done but to answer.
    pub fn on_request_body(
        &mut self,
        bytes_in_all: u64,
        under_way: bool,
        breakers: &mut Breakers,
    ) -> Option<Reply> {
        if self.policy.is_none() || bytes_in_all <= self.buffered_bytes {
            return None;
        }
        self.finish(breakers);
        if under_way {
            return None;
        }
        let mut reply = Reply::new(
            507,
            "exceeded request buffer limit while retrying upstream",
            "request_payload_exceeded_retry_buffer_limit",
            Flags::NONE,
        );
        self.add_count(&mut reply);
        Some(reply)
    }

    /// The request ended; an upgrade's does with its headers. Returns the time after which [`Self::on_timeout`] is to be told.
    ///
    /// While the request waits for another attempt Envoy starts no timer, and later neither: such a request has no total
    /// time-out.
    #[must_use]
    pub const fn on_request_end(&self, under_way: bool) -> Option<u64> {
        if under_way { self.timeout_ns } else { None }
    }

    /// `100 Continue` or the like came from an endpoint: an answer has begun, and nothing is repeated any more.
    pub fn on_informational(&mut self, breakers: &mut Breakers) {
        self.finish(breakers);
    }

    /// An answer's headers came. Comes before the connection is given back to its pool.
    pub fn on_answer(
        &mut self,
        status: u16,
        headers: &dyn Headers,
        breakers: &mut Breakers,
        now_ns: u64,
        draws: &mut Draws,
    ) -> Verdict {
        let decision = self.policy.as_ref().map_or(Decision::Never, |policy| {
            policy.about_answer(status, headers)
        });
        let succeeded = status < 500 && decision == Decision::Never;
        breakers.budget.on_outcome(succeeded, now_ns);
        match self.wish(decision, breakers, now_ns, draws) {
            Ok(after_ns) => Verdict::Retry { after_ns },
            Err(flags) => Verdict::Pass { flags },
        }
    }

    /// An attempt ended without an answer, or, with `begun`, within one. An attempt's time-out within an answer is passed over.
    pub fn on_reset(
        &mut self,
        reset: Reset,
        begun: bool,
        breakers: &mut Breakers,
        now_ns: u64,
        draws: &mut Draws,
    ) -> Verdict {
        if begun {
            if reset == Reset::PerTryTimeout {
                return Verdict::Pass { flags: Flags::NONE };
            }
            self.finish(breakers);
            let (flags, details) = reset.cut();
            return Verdict::Cut { flags, details };
        }
        breakers.budget.on_outcome(false, now_ns);
        let decision = self
            .policy
            .as_ref()
            .map_or(Decision::Never, |policy| policy.about_reset(reset));
        match self.wish(decision, breakers, now_ns, draws) {
            Ok(after_ns) => Verdict::Retry { after_ns },
            Err(flags) => {
                let mut reply = match reset {
                    Reset::PerTryTimeout => self.late("upstream_per_try_timeout"),
                    _ => reset.reply(self.count > 1),
                };
                reply.flags |= flags;
                self.add_count(&mut reply);
                Verdict::Reply(reply)
            }
        }
    }

    /// The total time-out passed, in an attempt or between two.
    pub fn on_timeout(&mut self, begun: bool, breakers: &mut Breakers) -> Verdict {
        self.finish(breakers);
        if begun {
            return Verdict::Cut {
                flags: Flags::UPSTREAM_REQUEST_TIMEOUT,
                details: "response_timeout".to_owned(),
            };
        }
        let mut reply = self.late("response_timeout");
        self.add_count(&mut reply);
        Verdict::Reply(reply)
    }

    /// The request is over for whatever reason, such as that the client went away. May be told more than once.
    pub fn finish(&mut self, breakers: &mut Breakers) {
        if let Some(policy) = &mut self.policy {
            policy.release(breakers);
        }
        self.policy = None;
    }

    fn wish(
        &mut self,
        decision: Decision,
        breakers: &mut Breakers,
        now_ns: u64,
        draws: &mut Draws,
    ) -> Result<u64, Flags> {
        let wish = self.policy.as_mut().map_or(Wish::None, |policy| {
            policy.wish(decision, breakers, now_ns, draws)
        });
        let flags = match wish {
            Wish::Granted { after_ns } => return Ok(after_ns),
            Wish::None => Flags::NONE,
            Wish::Exhausted => Flags::UPSTREAM_RETRY_LIMIT_EXCEEDED,
            Wish::Overflows => Flags::UPSTREAM_OVERFLOW,
        };
        self.finish(breakers);
        Err(flags)
    }

    /// Returns what an endpoint is told about the time that is left, in milliseconds.
    fn expected_ms(&self, since_request_end_ms: u64) -> Option<u64> {
        let total_ms = self.timeout_ns.map(|total| total / NS_PER_MS);
        let one_ms = self
            .per_try_timeout_ns
            .filter(|_| !self.hedges)
            .map(|one| one / NS_PER_MS);
        let Some(total_ms) = total_ms else {
            return one_ms;
        };
        // 0 would be no time-out.
        let left_ms = total_ms.saturating_sub(since_request_end_ms).max(1);
        Some(one_ms.map_or(left_ms, |one_ms| one_ms.min(left_ms)))
    }

    fn late(&self, details: &str) -> Reply {
        let body = match self.late_status {
            504 => "upstream request timeout",
            _ => "",
        };
        Reply::new(
            self.late_status,
            body,
            details,
            Flags::UPSTREAM_REQUEST_TIMEOUT,
        )
    }

    fn add_count(&self, reply: &mut Reply) {
        if self.count_in_response {
            let count = self.count.to_string();
            reply.headers.push(("x-envoy-attempt-count", count));
        }
    }
}

/// 0 is no time.
fn nanoseconds(milliseconds: u64) -> Option<u64> {
    (milliseconds > 0).then(|| milliseconds.saturating_mul(NS_PER_MS))
}
