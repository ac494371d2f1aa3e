//! When an attempt is repeated.

use super::Reset;
use super::headers::{Headers, list, number};
use crate::scenario::RetryOn;

/// A set of conditions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Conditions(u32);

/// Conditions by their names in `x-envoy-retry-on`.
const BY_NAME: [(&str, RetryOn); 10] = [
    ("5xx", RetryOn::ServerError),
    ("connect-failure", RetryOn::ConnectFailure),
    ("envoy-ratelimited", RetryOn::EnvoyRatelimited),
    ("gateway-error", RetryOn::GatewayError),
    ("refused-stream", RetryOn::RefusedStream),
    ("reset", RetryOn::Reset),
    ("reset-before-request", RetryOn::ResetBeforeRequest),
    ("retriable-4xx", RetryOn::Retriable4xx),
    ("retriable-headers", RetryOn::RetriableHeaders),
    ("retriable-status-codes", RetryOn::RetriableStatusCodes),
];

/// Conditions by their names in `x-envoy-retry-grpc-on`, with their gRPC statuses.
const BY_GRPC_NAME: [(&str, RetryOn, u64); 5] = [
    ("cancelled", RetryOn::Cancelled, 1),
    ("deadline-exceeded", RetryOn::DeadlineExceeded, 4),
    ("internal", RetryOn::Internal, 13),
    ("resource-exhausted", RetryOn::ResourceExhausted, 8),
    ("unavailable", RetryOn::Unavailable, 14),
];

/// Whether an attempt is repeated, and how soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Never,
    AtOnce,
    AfterBackOff,
}

impl Conditions {
    /// Takes the conditions of a route.
    pub(super) fn new(conditions: &[RetryOn]) -> Self {
        conditions
            .iter()
            .fold(Self::default(), |set, condition| set.with(*condition))
    }

    /// Adds those that `x-envoy-retry-on` names; other names don't matter. Names are in lower case.
    pub(super) fn with_names(self, value: &[u8]) -> Self {
        list(value)
            .filter_map(|name| BY_NAME.iter().find(|(known, _)| *known == name))
            .fold(self, |set, (_, condition)| set.with(*condition))
    }

    /// Adds those that `x-envoy-retry-grpc-on` names.
    pub(super) fn with_grpc_names(self, value: &[u8]) -> Self {
        list(value)
            .filter_map(|name| BY_GRPC_NAME.iter().find(|(known, _, _)| *known == name))
            .fold(self, |set, (_, condition, _)| set.with(*condition))
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    const fn has(self, condition: RetryOn) -> bool {
        self.0 & Self::bit(condition) != 0
    }

    const fn with(self, condition: RetryOn) -> Self {
        Self(self.0 | Self::bit(condition))
    }

    const fn bit(condition: RetryOn) -> u32 {
        1 << condition as u32
    }

    /// Decides about an answer. `x-envoy-overloaded` in it says nothing.
    pub(super) fn about_answer(
        self,
        status: u16,
        answer: &dyn Headers,
        statuses: &[u64],
        names: &[String],
    ) -> Decision {
        // An answer of a rate limit is repeated only if that is asked for by its name, and whatever its status.
        if answer.value("x-envoy-ratelimited").is_some() {
            return after_back_off(self.has(RetryOn::EnvoyRatelimited));
        }
        let status = u64::from(status);
        let by_status = self.has(RetryOn::ServerError) && (500..600).contains(&status)
            || self.has(RetryOn::GatewayError) && (502..=504).contains(&status)
            || self.has(RetryOn::Retriable4xx) && status == 409;
        if by_status {
            return Decision::AfterBackOff;
        }
        if self.has(RetryOn::RetriableStatusCodes) && statuses.contains(&status) {
            // 425 is about how early a request was sent: it is sent again at once.
            return if status == 425 {
                Decision::AtOnce
            } else {
                Decision::AfterBackOff
            };
        }
        let by_header = self.has(RetryOn::RetriableHeaders)
            && names.iter().any(|name| has_header(answer, name));
        let grpc = answer.value("grpc-status").and_then(number);
        let by_grpc = BY_GRPC_NAME
            .iter()
            .any(|(_, condition, number)| self.has(*condition) && grpc == Some(*number));
        after_back_off(by_header || by_grpc)
    }

    /// Decides about an attempt that ended without an answer.
    pub(super) fn about_reset(self, reset: Reset) -> Decision {
        // Sending begins with the connection, and so does an attempt's time-out: all other ends come after the beginning.
        let unsent = matches!(reset, Reset::ConnectFailure | Reset::ConnectTimeout);
        let if_unsent = self.has(RetryOn::ConnectFailure) || self.has(RetryOn::ResetBeforeRequest);
        let always = self.has(RetryOn::Reset)
            || self.has(RetryOn::ServerError)
            || self.has(RetryOn::GatewayError);
        let refused = reset == Reset::RefusedStream && self.has(RetryOn::RefusedStream);
        after_back_off(reset != Reset::Overflow && (unsent && if_unsent || always || refused))
    }
}

/// Every answer has a status, which Envoy has among its headers.
fn has_header(answer: &dyn Headers, name: &str) -> bool {
    name == ":status" || answer.value(name).is_some()
}

const fn after_back_off(yes: bool) -> Decision {
    if yes {
        Decision::AfterBackOff
    } else {
        Decision::Never
    }
}
