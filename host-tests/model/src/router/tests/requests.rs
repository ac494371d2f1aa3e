//! What a request's headers and its route say, and the headers of its attempts.

use super::{Map, begun, breakers, draws, map, ms, route, text};
use crate::router::{Attempts, HeadersMut, Verdict};
use crate::scenario::{RetryOn, RetryPolicy, Route};
use crate::units::Span;

#[test]
fn the_header_of_the_most_retries_goes_before_the_route() {
    let cases = [
        (None, 3),
        (Some("0"), 1),
        (Some("1"), 2),
        (Some("5"), 6),
        (Some(" 1 "), 2),
        (Some("+1"), 2),
        (Some("x"), 3),
        (Some("-1"), 3),
        (Some("1.5"), 3),
        (Some("0x1"), 3),
        (Some(""), 3),
        // Envoy joins what came twice.
        (Some("0,5"), 3),
        (Some("99999999999999999999"), 3),
        // It counts in 32 bits.
        (Some("4294967296"), 1),
        (Some("4294967297"), 2),
    ];
    for (value, expected) in cases {
        let headers: Vec<(&str, &str)> = value
            .iter()
            .map(|value| ("x-envoy-max-retries", *value))
            .collect();
        assert_eq!(
            attempts_of(&route(&[RetryOn::ServerError], 2), &headers),
            expected,
            "{value:?}"
        );
    }
}

#[test]
fn a_request_alone_asks_for_one_retry_unless_it_says_how_many() {
    let plain = Route::default();
    assert_eq!(attempts_of(&plain, &[]), 1);
    assert_eq!(attempts_of(&plain, &[("x-envoy-max-retries", "3")]), 1);
    assert_eq!(attempts_of(&plain, &[("x-envoy-retry-on", "5xx")]), 2);
    let both = [("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "3")];
    assert_eq!(attempts_of(&plain, &both), 4);
}

/// Counts the attempts of a request that is always answered 503.
fn attempts_of(route: &Route, headers: &[(&str, &str)]) -> u32 {
    let mut breakers = breakers();
    let mut attempts = begun(route, headers, &mut breakers);
    let mut draws = draws();
    while let Verdict::Retry { .. } =
        attempts.on_answer(503, &map(&[]), &mut breakers, 0, &mut draws)
    {
        attempts.begin(&mut breakers, 0);
    }
    attempts.count
}

/// Returns the time-outs in milliseconds; 0 is for ever.
fn timeouts(route: &Route, headers: &Map) -> (u64, u64) {
    let attempts = Attempts::new(route, headers);
    let ms = |time: Option<u64>| time.unwrap_or(0) / 1_000_000;
    (ms(attempts.timeout_ns), ms(attempts.per_try_timeout_ns))
}

fn timed(total: Span, one: Span) -> Route {
    Route {
        timeout: total,
        retry: Some(RetryPolicy {
            per_try_timeout: one,
            ..RetryPolicy::default()
        }),
        ..Route::default()
    }
}

#[test]
fn timeouts_come_from_the_route_and_then_from_the_headers() {
    const TOTAL: &str = "x-envoy-upstream-rq-timeout-ms";
    const ONE: &str = "x-envoy-upstream-rq-per-try-timeout-ms";
    type Case = (
        u64,
        u64,
        &'static [(&'static str, &'static str)],
        (u64, u64),
    );
    let cases: [Case; 21] = [
        (300, 0, &[], (300, 0)),
        (0, 0, &[], (0, 0)),
        (300, 200, &[], (300, 200)),
        // An attempt's time must be shorter.
        (300, 300, &[], (300, 0)),
        (300, 301, &[], (300, 0)),
        (0, 301, &[], (0, 301)),
        (300, 0, &[(TOTAL, "200")], (200, 0)),
        (300, 0, &[(TOTAL, " 200 ")], (200, 0)),
        (300, 0, &[(TOTAL, "+200")], (200, 0)),
        (300, 0, &[(TOTAL, "0")], (0, 0)),
        (300, 0, &[(TOTAL, "x")], (300, 0)),
        (300, 0, &[(TOTAL, "-5")], (300, 0)),
        (300, 0, &[(TOTAL, "")], (300, 0)),
        (300, 0, &[(TOTAL, "200,200")], (300, 0)),
        (300, 0, &[(TOTAL, "18446744073709551615")], (300, 0)),
        (300, 0, &[(TOTAL, "99999999999999999999")], (300, 0)),
        (300, 200, &[(TOTAL, "150")], (150, 0)),
        (300, 200, &[(ONE, "100")], (300, 100)),
        (300, 200, &[(ONE, "0")], (300, 0)),
        (300, 200, &[(ONE, "x")], (300, 200)),
        (300, 200, &[(ONE, "500")], (300, 0)),
    ];
    for (total, one, headers, expected) in cases {
        let route = timed(Span::ms(total), Span::ms(one));
        assert_eq!(
            timeouts(&route, &map(headers)),
            expected,
            "{total} {one} {headers:?}"
        );
    }
}

#[test]
fn times_beyond_all_bounds_saturate() {
    let headers = map(&[("x-envoy-upstream-rq-timeout-ms", "9223372036854775807")]);
    let attempts = Attempts::new(&Route::default(), &headers);
    assert_eq!(attempts.timeout_ns, Some(u64::MAX));
}

#[test]
fn times_below_a_millisecond_are_none_as_envoy_cuts_them() {
    let route = timed(Span(999_999), Span(1_999_999));
    assert_eq!(timeouts(&route, &map(&[])), (0, 1));
}

#[test]
fn the_grpc_timeout_is_left_alone() {
    let headers = map(&[
        ("content-type", "application/grpc"),
        ("grpc-timeout", "100m"),
    ]);
    assert_eq!(
        timeouts(&timed(Span::ms(300), Span::ZERO), &headers),
        (300, 0)
    );
}

/// Returns the headers of an attempt.
fn prepared(route: &Route, headers: &[(&str, &str)], count: u32, since_ms: u64) -> String {
    let mut headers = map(headers);
    let mut attempts = Attempts::new(route, &headers);
    attempts.count = count;
    attempts.prepare(&mut headers, ms(since_ms));
    text(&headers)
}

#[test]
fn attempts_tell_how_much_time_is_left() {
    let route = |total, one| timed(Span::ms(total), Span::ms(one));
    let cases = [
        (route(300, 0), 0, "x-envoy-expected-rq-timeout-ms=300"),
        (route(300, 200), 0, "x-envoy-expected-rq-timeout-ms=200"),
        (route(300, 200), 206, "x-envoy-expected-rq-timeout-ms=94"),
        (route(300, 0), 206, "x-envoy-expected-rq-timeout-ms=94"),
        (route(300, 0), 300, "x-envoy-expected-rq-timeout-ms=1"),
        (route(300, 0), 9_000, "x-envoy-expected-rq-timeout-ms=1"),
        (route(0, 200), 9_000, "x-envoy-expected-rq-timeout-ms=200"),
        (route(0, 0), 0, ""),
    ];
    for (route, since, expected) in cases {
        assert_eq!(prepared(&route, &[], 1, since), expected);
    }
    let hedged = [("x-envoy-hedge-on-per-try-timeout", "true")];
    assert_eq!(
        prepared(&route(300, 200), &hedged, 1, 0),
        "x-envoy-expected-rq-timeout-ms=300"
    );
}

#[test]
fn what_is_for_the_router_stays_with_it() {
    let headers = [
        ("host", "x"),
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-retry-grpc-on", "x"),
        ("x-envoy-max-retries", "1"),
        ("x-envoy-upstream-rq-timeout-ms", "5000"),
        ("x-envoy-upstream-rq-per-try-timeout-ms", "500"),
        ("x-envoy-attempt-count", "9"),
        ("x-envoy-decorator-operation", "d"),
        ("x-envoy-expected-rq-timeout-ms", "77"),
        ("x-envoy-retriable-status-codes", "1"),
        ("x-envoy-retriable-header-names", "a"),
        ("x-envoy-upstream-alt-stat-name", "n"),
        ("x-envoy-hedge-on-per-try-timeout", "x"),
        ("x-envoy-upstream-rq-timeout-alt-response", "1"),
        ("x-envoy-upstream-stream-duration-ms", "9000"),
        ("x-envoy-is-timeout-retry", "9"),
    ];
    // The expected time is replaced in its place.
    let left = "host=x x-envoy-attempt-count=9 x-envoy-decorator-operation=d \
                x-envoy-expected-rq-timeout-ms=500 x-envoy-is-timeout-retry=9";
    assert_eq!(prepared(&Route::default(), &headers, 1, 0), left);
    let counts = Route {
        attempt_count_in_request: true,
        ..Route::default()
    };
    assert_eq!(
        prepared(&counts, &headers, 2, 0),
        left.replace("count=9", "count=2")
    );
    assert_eq!(
        prepared(&counts, &[], 1, 0),
        "x-envoy-expected-rq-timeout-ms=15000 x-envoy-attempt-count=1"
    );
}

#[test]
fn passing_answers_get_the_count_and_the_time_that_they_took() {
    let finished = |route: &Route, since| {
        let mut attempts = Attempts::new(route, &map(&[]));
        attempts.count = 2;
        let mut headers = map(&[("x-envoy-attempt-count", "7"), ("x", "y")]);
        attempts.finish_answer(&mut headers, since);
        text(&headers)
    };
    let counts = Route {
        attempt_count_in_response: true,
        ..Route::default()
    };
    assert_eq!(
        finished(&counts, Some(ms(12) + 999_999)),
        "x-envoy-attempt-count=2 x=y x-envoy-upstream-service-time=12"
    );
    // An answer that came before the request's end says nothing about time.
    assert_eq!(
        finished(&Route::default(), None),
        "x-envoy-attempt-count=7 x=y"
    );
}

#[test]
fn hostile_values_never_do_harm() {
    let values: [&[u8]; 6] = [
        b"\xff\xfe",
        b"\0",
        b",,,,",
        b"5xx,\xff",
        b"1\n",
        b"\xe2\x80\x8b1",
    ];
    let names = [
        "x-envoy-retry-on",
        "x-envoy-retry-grpc-on",
        "x-envoy-max-retries",
        "x-envoy-retriable-status-codes",
        "x-envoy-retriable-header-names",
        "x-envoy-upstream-rq-timeout-ms",
        "x-envoy-upstream-rq-per-try-timeout-ms",
        "x-envoy-hedge-on-per-try-timeout",
        "grpc-status",
    ];
    for value in values {
        let mut headers = Map::new();
        for name in names {
            headers.set(name, value);
        }
        let mut breakers = breakers();
        let mut attempts = Attempts::new(&route(&[RetryOn::Unavailable], 2), &headers);
        attempts.begin(&mut breakers, 0);
        attempts.on_answer(200, &headers, &mut breakers, 0, &mut draws());
        let mut prepared = headers.clone();
        attempts.prepare(&mut prepared, u64::MAX);
        assert_eq!(text(&prepared).matches("x-envoy").count(), 1, "{value:?}");
    }
}
