//! Which condition repeats what.

use super::{begun, breakers, draws, map, route};
use crate::router::{Reset, Verdict};
use crate::scenario::RetryOn;

const CONDITIONS: [(&str, RetryOn); 15] = [
    ("5xx", RetryOn::ServerError),
    ("gateway-error", RetryOn::GatewayError),
    ("connect-failure", RetryOn::ConnectFailure),
    ("envoy-ratelimited", RetryOn::EnvoyRatelimited),
    ("refused-stream", RetryOn::RefusedStream),
    ("reset", RetryOn::Reset),
    ("reset-before-request", RetryOn::ResetBeforeRequest),
    ("retriable-4xx", RetryOn::Retriable4xx),
    ("retriable-headers", RetryOn::RetriableHeaders),
    ("retriable-status-codes", RetryOn::RetriableStatusCodes),
    ("cancelled", RetryOn::Cancelled),
    ("deadline-exceeded", RetryOn::DeadlineExceeded),
    ("internal", RetryOn::Internal),
    ("resource-exhausted", RetryOn::ResourceExhausted),
    ("unavailable", RetryOn::Unavailable),
];

/// An answer, and the conditions that repeat it.
type Answer = (u16, &'static [(&'static str, &'static str)], &'static str);

const ANSWERS: [Answer; 23] = [
    (200, &[], ""),
    (404, &[], ""),
    (409, &[], "retriable-4xx"),
    (418, &[], "retriable-status-codes"),
    (425, &[], "retriable-status-codes"),
    (429, &[], ""),
    (429, &[("x-envoy-ratelimited", "true")], "envoy-ratelimited"),
    (499, &[], ""),
    (500, &[], "5xx"),
    (501, &[], "5xx"),
    (502, &[], "5xx gateway-error"),
    (503, &[], "5xx gateway-error"),
    (503, &[("x-envoy-ratelimited", "")], "envoy-ratelimited"),
    (503, &[("x-envoy-overloaded", "true")], "5xx gateway-error"),
    (503, &[("retry-after", "5")], "5xx gateway-error"),
    (504, &[], "5xx gateway-error"),
    (505, &[], "5xx"),
    (599, &[], "5xx"),
    (200, &[("x-again", "")], "retriable-headers"),
    (200, &[("grpc-status", "1")], "cancelled"),
    (200, &[("grpc-status", "014")], "unavailable"),
    (200, &[("grpc-status", "-1")], ""),
    (500, &[("grpc-status", "8")], "5xx resource-exhausted"),
];

#[test]
fn answers_are_repeated_by_the_conditions_that_envoy_repeats_them_by() {
    for (status, headers, expected) in ANSWERS {
        assert_eq!(
            by_condition(|condition| {
                let mut breakers = breakers();
                let route = route(&[condition], 1);
                let mut attempts = begun(&route, &[], &mut breakers);
                attempts.on_answer(status, &map(headers), &mut breakers, 0, &mut draws())
            }),
            expected,
            "{status} {headers:?}"
        );
    }
}

#[test]
fn each_grpc_condition_repeats_its_own_status() {
    for (status, expected) in [
        ("0", ""),
        ("1", "cancelled"),
        ("2", ""),
        ("4", "deadline-exceeded"),
        ("8", "resource-exhausted"),
        ("13", "internal"),
        ("14", "unavailable"),
        ("16", ""),
        ("99", ""),
    ] {
        let repeated = by_condition(|condition| {
            let mut breakers = breakers();
            let mut attempts = begun(&route(&[condition], 1), &[], &mut breakers);
            let answer = map(&[("grpc-status", status)]);
            attempts.on_answer(200, &answer, &mut breakers, 0, &mut draws())
        });
        assert_eq!(repeated, expected, "{status}");
    }
}

#[test]
fn ends_without_an_answer_are_repeated_by_the_conditions_that_envoy_repeats_them_by() {
    let unsent = "5xx gateway-error connect-failure reset reset-before-request";
    let sent = "5xx gateway-error reset";
    for (reset, expected) in [
        (Reset::ConnectFailure, unsent),
        (Reset::ConnectTimeout, unsent),
        (Reset::ConnectionTermination, sent),
        (Reset::Overflow, ""),
        (Reset::Local, sent),
        (Reset::PerTryTimeout, sent),
        (Reset::ProtocolError, sent),
        (Reset::RemoteReset, sent),
        // By the source: no HTTP/2 endpoint was at hand.
        (
            Reset::RefusedStream,
            "5xx gateway-error refused-stream reset",
        ),
    ] {
        let repeated = by_condition(|condition| {
            let mut breakers = breakers();
            let mut attempts = begun(&route(&[condition], 1), &[], &mut breakers);
            attempts.on_reset(reset, false, &mut breakers, 0, &mut draws())
        });
        assert_eq!(repeated, expected, "{reset:?}");
    }
}

/// Returns the names of the conditions by which something is repeated.
fn by_condition(mut played: impl FnMut(RetryOn) -> Verdict) -> String {
    let names: Vec<&str> = CONDITIONS
        .iter()
        .filter(|(_, condition)| matches!(played(*condition), Verdict::Retry { .. }))
        .map(|(name, _)| *name)
        .collect();
    names.join(" ")
}

#[test]
fn conditions_of_headers_add_to_the_routes() {
    // What the headers say, and how many attempts a request has whose answers are all the same.
    type Case = (
        &'static [(&'static str, &'static str)],
        u16,
        &'static [(&'static str, &'static str)],
        bool,
    );
    let cases: [Case; 22] = [
        (&[], 503, &[], false),
        (&[], 409, &[], true),
        (&[("x-envoy-retry-on", "5xx")], 503, &[], true),
        (&[("x-envoy-retry-on", "5xx")], 409, &[], true),
        (&[("x-envoy-retry-on", "5XX")], 503, &[], false),
        (&[("x-envoy-retry-on", " 5xx , x")], 503, &[], true),
        (&[("x-envoy-retry-on", "reset,,5xx")], 503, &[], true),
        (&[("x-envoy-retry-on", "5xx;reset")], 503, &[], false),
        (&[("x-envoy-retry-on", "x,5xx")], 503, &[], true),
        (&[("x-envoy-retry-on", "")], 503, &[], false),
        (
            &[("x-envoy-retry-on", "unavailable")],
            200,
            &[("grpc-status", "14")],
            false,
        ),
        (
            &[("x-envoy-retry-grpc-on", "unavailable, 5xx")],
            503,
            &[],
            false,
        ),
        (
            &[("x-envoy-retry-grpc-on", "x, unavailable")],
            200,
            &[("grpc-status", "14")],
            true,
        ),
        (
            &[("x-envoy-retriable-status-codes", "404")],
            404,
            &[],
            false,
        ),
        (
            &[
                ("x-envoy-retry-on", "retriable-status-codes"),
                ("x-envoy-retriable-status-codes", "x, 404 ,"),
            ],
            404,
            &[],
            true,
        ),
        // The route's own statuses count besides.
        (
            &[
                ("x-envoy-retry-on", "retriable-status-codes"),
                ("x-envoy-retriable-status-codes", "404"),
            ],
            418,
            &[],
            true,
        ),
        (
            &[
                ("x-envoy-retry-on", "retriable-status-codes"),
                ("x-envoy-retriable-status-codes", "404.0"),
            ],
            404,
            &[],
            false,
        ),
        (
            &[
                ("x-envoy-retry-on", "retriable-headers"),
                ("x-envoy-retriable-header-names", "x-b, X-A"),
            ],
            200,
            &[("x-a", "1")],
            true,
        ),
        (
            &[
                ("x-envoy-retry-on", "retriable-headers"),
                ("x-envoy-retriable-header-names", "x-b"),
            ],
            200,
            &[("x-again", "1")],
            true,
        ),
        (
            &[
                ("x-envoy-retry-on", "retriable-headers"),
                ("x-envoy-retriable-header-names", "x-b"),
            ],
            200,
            &[("x-a", "1")],
            false,
        ),
        (
            &[
                ("x-envoy-retry-on", "retriable-headers"),
                ("x-envoy-retriable-header-names", ":status"),
            ],
            200,
            &[],
            true,
        ),
        (
            &[("x-envoy-retriable-header-names", "x-a")],
            200,
            &[("x-a", "1")],
            false,
        ),
    ];
    for (request, status, answer, expected) in cases {
        let mut breakers = breakers();
        let route = route(&[RetryOn::Retriable4xx], 1);
        let mut attempts = begun(&route, request, &mut breakers);
        let verdict = attempts.on_answer(status, &map(answer), &mut breakers, 0, &mut draws());
        let repeated = matches!(verdict, Verdict::Retry { .. });
        assert_eq!(repeated, expected, "{request:?} {status} {answer:?}");
    }
}

#[test]
fn too_early_is_tried_again_at_once_and_draws_nothing() {
    let mut breakers = breakers();
    let route = route(&[RetryOn::RetriableStatusCodes], 1);
    let mut attempts = begun(&route, &[], &mut breakers);
    let mut drawn = draws();
    let verdict = attempts.on_answer(425, &map(&[]), &mut breakers, 0, &mut drawn);
    assert_eq!(verdict, Verdict::Retry { after_ns: 0 });
    assert_eq!(drawn.next_u64(), draws().next_u64());
}
