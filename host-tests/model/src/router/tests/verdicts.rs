//! What the end of an attempt leads to, and what the client gets.

use proptest::prelude::*;

use super::{begun, breakers, draws, line, map, ms, route};
use crate::draw::Draws;
use crate::router::{
    Attempts, Breakers, Reset, Verdict, direct_response, handshake_failed, no_cluster, no_route,
};
use crate::scenario::{BackOff, CircuitBreakers, RetryOn, RetryPolicy, Route};
use crate::units::Span;

const UCE: &str = "upstream connect error or disconnect/reset before headers.";

#[test]
fn ends_without_an_answer_are_answered_as_envoy_does() {
    let cases = [
        (
            Reset::ConnectFailure,
            "503 UF {remote_connection_failure|delayed_connect_error:_Connection_refused} \
             remote connection failure",
        ),
        (
            Reset::ConnectTimeout,
            "503 UF {connection_timeout} connection timeout",
        ),
        (
            Reset::ConnectionTermination,
            "503 UC {connection_termination} connection termination",
        ),
        (Reset::Local, "503 LR {local_reset} local reset"),
        (
            Reset::ProtocolError,
            "502 UPE {protocol_error} protocol error",
        ),
        (Reset::RemoteReset, "503 UR {remote_reset} remote reset"),
        (
            Reset::RefusedStream,
            "503 UR {remote_refused_stream_reset} remote refused stream reset",
        ),
    ];
    for (reset, expected) in cases {
        let (start, reason) = expected.split_once("} ").unwrap();
        let start = start.replace('{', "upstream_reset_before_response_started{");
        let mut breakers = breakers();
        let mut attempts = begun(&Route::default(), &[], &mut breakers);
        assert_eq!(
            line(&attempts.on_reset(reset, false, &mut breakers, 0, &mut draws())),
            format!("{start}}} \"{UCE} reset reason: {reason}\"")
        );
        // After a retry the body says so, and `URX` is set.
        let mut attempts = begun(&route(&[RetryOn::ServerError], 1), &[], &mut breakers);
        let again = attempts.on_reset(Reset::Local, false, &mut breakers, 0, &mut draws());
        assert_eq!(line(&again), "again");
        attempts.begin(&mut breakers, 0);
        let start = start.replacen(' ', " URX,", 1);
        assert_eq!(
            line(&attempts.on_reset(reset, false, &mut breakers, 0, &mut draws())),
            format!("{start}}} \"{UCE} retried and the latest reset reason: {reason}\"")
        );
    }
}

#[test]
fn an_overflow_says_so_and_is_not_repeated() {
    let mut breakers = breakers();
    let everything = [
        RetryOn::ServerError,
        RetryOn::Reset,
        RetryOn::ConnectFailure,
    ];
    let mut attempts = begun(&route(&everything, 2), &[], &mut breakers);
    let verdict = attempts.on_reset(Reset::Overflow, false, &mut breakers, 0, &mut draws());
    assert_eq!(
        line(&verdict),
        format!(
            "503 UO upstream_reset_before_response_started{{overflow}} \"{UCE} reset reason: \
             overflow\" x-envoy-overloaded=true"
        )
    );
}

#[test]
fn times_that_pass_are_answered_as_envoy_does() {
    let mut breakers = breakers();
    let late = "504 UT response_timeout \"upstream request timeout\"";
    let mut attempts = begun(&route(&[RetryOn::ServerError], 2), &[], &mut breakers);
    assert_eq!(line(&attempts.on_timeout(false, &mut breakers)), late);
    // Between two attempts, too.
    let mut attempts = begun(&route(&[RetryOn::ServerError], 2), &[], &mut breakers);
    attempts.on_answer(503, &map(&[]), &mut breakers, 0, &mut draws());
    assert_eq!(breakers.retries, 1);
    assert_eq!(line(&attempts.on_timeout(false, &mut breakers)), late);
    assert_eq!(breakers.retries, 0);

    let mut attempts = begun(&Route::default(), &[], &mut breakers);
    let one = |attempts: &mut Attempts, breakers: &mut Breakers| {
        line(&attempts.on_reset(Reset::PerTryTimeout, false, breakers, 0, &mut draws()))
    };
    assert_eq!(
        one(&mut attempts, &mut breakers),
        "504 UT upstream_per_try_timeout \"upstream request timeout\""
    );
    let mut attempts = begun(&route(&[RetryOn::ServerError], 0), &[], &mut breakers);
    assert_eq!(
        one(&mut attempts, &mut breakers),
        "504 URX,UT upstream_per_try_timeout \"upstream request timeout\""
    );
    let alternative = [("x-envoy-upstream-rq-timeout-alt-response", "1")];
    let mut attempts = begun(&Route::default(), &alternative, &mut breakers);
    assert_eq!(
        one(&mut attempts, &mut breakers),
        "204 UT upstream_per_try_timeout \"\""
    );
    let mut attempts = begun(&Route::default(), &alternative, &mut breakers);
    assert_eq!(
        line(&attempts.on_timeout(false, &mut breakers)),
        "204 UT response_timeout \"\""
    );
}

#[test]
fn an_answer_that_began_is_cut_and_never_repeated() {
    let mut breakers = breakers();
    let mut attempts = begun(
        &route(&[RetryOn::ServerError, RetryOn::Reset], 2),
        &[],
        &mut breakers,
    );
    let passes = attempts.on_answer(200, &map(&[]), &mut breakers, 0, &mut draws());
    assert_eq!(line(&passes), "passes -");
    let mut cut = |reset| line(&attempts.on_reset(reset, true, &mut breakers, 0, &mut draws()));
    assert_eq!(
        cut(Reset::ProtocolError),
        "cut UPE upstream_reset_after_response_started{protocol_error}"
    );
    assert_eq!(
        cut(Reset::ConnectionTermination),
        "cut UC upstream_reset_after_response_started{connection_termination}"
    );
    assert_eq!(cut(Reset::PerTryTimeout), "passes -");
    assert_eq!(
        line(&attempts.on_timeout(true, &mut breakers)),
        "cut UT response_timeout"
    );
}

#[test]
fn an_answer_that_is_exhausted_or_overflows_passes_with_its_flag() {
    let answer = |limits, header: &[(&str, &str)]| {
        let mut breakers = Breakers::new(limits);
        let mut attempts = begun(&route(&[RetryOn::ServerError], 2), header, &mut breakers);
        let verdict = attempts.on_answer(503, &map(&[]), &mut breakers, 0, &mut draws());
        (line(&verdict), breakers.retries)
    };
    let none = CircuitBreakers {
        max_retries: 0,
        ..CircuitBreakers::default()
    };
    let no_header = [("x-envoy-max-retries", "0")];
    assert_eq!(answer(none, &[]), ("passes UO".to_owned(), 0));
    assert_eq!(answer(none, &no_header), ("passes URX".to_owned(), 0));
    let three = CircuitBreakers::default();
    assert_eq!(answer(three, &no_header), ("passes URX".to_owned(), 0));
    assert_eq!(answer(three, &[]), ("again".to_owned(), 1));
}

#[test]
fn a_reset_that_overflows_has_both_flags() {
    let mut breakers = Breakers::new(CircuitBreakers {
        max_retries: 0,
        ..CircuitBreakers::default()
    });
    let mut attempts = begun(&route(&[RetryOn::Reset], 2), &[], &mut breakers);
    let reset = Reset::ConnectionTermination;
    let verdict = attempts.on_reset(reset, false, &mut breakers, 0, &mut draws());
    assert!(line(&verdict).starts_with("503 UO,UC "), "{verdict:?}");
}

#[test]
fn a_retry_counts_until_the_headers_of_its_answer() {
    let mut breakers = Breakers::new(CircuitBreakers {
        max_retries: 1,
        ..CircuitBreakers::default()
    });
    let route = route(&[RetryOn::ServerError], 2);
    let answered = |attempts: &mut Attempts, status, breakers: &mut Breakers| {
        line(&attempts.on_answer(status, &map(&[]), breakers, 0, &mut draws()))
    };
    let mut first = begun(&route, &[], &mut breakers);
    let mut second = begun(&route, &[], &mut breakers);
    let mut third = begun(&route, &[], &mut breakers);
    assert_eq!(answered(&mut first, 503, &mut breakers), "again");
    assert_eq!(answered(&mut second, 503, &mut breakers), "passes UO");
    // Its own second retry has the place that the first one had.
    first.begin(&mut breakers, 0);
    assert_eq!(answered(&mut first, 503, &mut breakers), "again");
    first.begin(&mut breakers, 0);
    assert_eq!(answered(&mut first, 200, &mut breakers), "passes -");
    assert_eq!(answered(&mut third, 503, &mut breakers), "again");
    // The client goes away.
    third.finish(&mut breakers);
    third.finish(&mut breakers);
    assert_eq!(breakers.retries, 0);
}

#[test]
fn replies_carry_the_count_only_once_the_router_had_a_cluster() {
    let counts = Route {
        attempt_count_in_response: true,
        ..Route::default()
    };
    let mut breakers = breakers();
    let mut attempts = begun(&counts, &[], &mut breakers);
    let verdict = Verdict::Reply(attempts.on_no_endpoint(&mut breakers));
    assert_eq!(
        line(&verdict),
        "503 UH no_healthy_upstream \"no healthy upstream\" x-envoy-attempt-count=1"
    );
    let mut attempts = begun(&counts, &[], &mut breakers);
    let verdict = attempts.on_timeout(false, &mut breakers);
    assert!(line(&verdict).ends_with("timeout\" x-envoy-attempt-count=1"));
    let mut attempts = begun(&counts, &[], &mut breakers);
    let verdict = attempts.on_reset(Reset::Overflow, false, &mut breakers, 0, &mut draws());
    assert!(line(&verdict).ends_with(" x-envoy-overloaded=true x-envoy-attempt-count=1"));
    let others = [no_route(), no_cluster(), direct_response(418)];
    assert_eq!(
        others.map(|reply| line(&Verdict::Reply(reply))),
        [
            "404 NR route_not_found \"\"",
            "503 NC cluster_not_found \"\"",
            "418 - direct_response \"\"",
        ]
    );
}

#[test]
fn a_body_beyond_the_buffer_is_not_repeated() {
    let repeats = |bytes, headers: &[(&str, &str)]| {
        let mut breakers = breakers();
        let mut attempts = begun(&route(&[RetryOn::ServerError], 2), headers, &mut breakers);
        assert_eq!(attempts.on_request_body(bytes, true, &mut breakers), None);
        line(&attempts.on_answer(503, &map(&[]), &mut breakers, 0, &mut draws()))
    };
    assert_eq!(repeats(1_048_576, &[]), "again");
    assert_eq!(repeats(1_048_577, &[]), "passes -");
}

#[test]
fn a_body_that_outgrows_the_buffer_between_two_attempts_is_answered() {
    let mut breakers = breakers();
    let mut attempts = begun(&route(&[RetryOn::ServerError], 2), &[], &mut breakers);
    attempts.buffered_bytes = 100;
    assert_eq!(attempts.on_request_body(50, true, &mut breakers), None);
    attempts.on_answer(503, &map(&[]), &mut breakers, 0, &mut draws());
    assert_eq!(attempts.on_request_body(100, false, &mut breakers), None);
    let reply = attempts.on_request_body(101, false, &mut breakers).unwrap();
    assert_eq!(
        line(&Verdict::Reply(reply)),
        "507 - request_payload_exceeded_retry_buffer_limit \
         \"exceeded request buffer limit while retrying upstream\""
    );
    assert_eq!(breakers.retries, 0);
}

#[test]
fn a_request_that_ends_between_two_attempts_has_no_total_timeout() {
    let attempts = Attempts::new(&route(&[RetryOn::ServerError], 2), &map(&[]));
    assert_eq!(attempts.on_request_end(true), Some(ms(15_000)));
    assert_eq!(attempts.on_request_end(false), None);
}

#[test]
fn nothing_is_repeated_after_an_informational_answer() {
    let mut breakers = breakers();
    let mut attempts = begun(&route(&[RetryOn::ServerError], 2), &[], &mut breakers);
    assert!(attempts.may_repeat());
    attempts.on_informational(&mut breakers);
    assert!(!attempts.may_repeat());
    let verdict = attempts.on_answer(503, &map(&[]), &mut breakers, 0, &mut draws());
    assert_eq!(line(&verdict), "passes -");
}

#[test]
fn an_upgrade_fails_when_it_is_answered_neither_with_101_nor_with_an_error() {
    let failed: Vec<u16> = [101, 200, 201, 204, 302, 304, 399, 400, 404, 500]
        .into_iter()
        .filter(|status| handshake_failed(*status))
        .collect();
    assert_eq!(failed, [200, 201, 204, 302, 304, 399]);
}

/// Plays a request that is always answered 503 and returns the times between its attempts in milliseconds.
fn back_offs(back_off: BackOff, retries: u32, draws: &mut Draws) -> Vec<u64> {
    let route = Route {
        retry: Some(RetryPolicy {
            on: vec![RetryOn::ServerError],
            num_retries: retries,
            back_off,
            ..RetryPolicy::default()
        }),
        ..Route::default()
    };
    let mut breakers = breakers();
    let mut attempts = begun(&route, &[], &mut breakers);
    let mut times = Vec::new();
    while let Verdict::Retry { after_ns } =
        attempts.on_answer(503, &map(&[]), &mut breakers, 0, draws)
    {
        assert_eq!(after_ns % 1_000_000, 0);
        times.push(after_ns / 1_000_000);
        attempts.begin(&mut breakers, 0);
    }
    times
}

#[test]
fn back_off_is_uniform_below_a_bound_that_doubles() {
    let mut draws = draws();
    let rounds = 20_000;
    let bounds = [25, 50, 100, 200, 250, 250];
    let mut sums = [0_u64; 6];
    for _ in 0..rounds {
        for (sum, (time, bound)) in sums.iter_mut().zip(
            back_offs(BackOff::default(), 6, &mut draws)
                .iter()
                .zip(bounds),
        ) {
            assert!(*time < bound);
            *sum += time;
        }
    }
    // The mean of whole numbers below b is (b − 1) / 2, their variance (b² − 1) / 12.
    for (sum, bound) in sums
        .into_iter()
        .zip([25.0, 50.0, 100.0, 200.0, 250.0, 250.0_f64])
    {
        let n = f64::from(rounds);
        let mean = u32::try_from(sum).map(f64::from).unwrap() / n;
        let deviation = ((bound * bound - 1.0) / 12.0 / n).sqrt();
        assert!(
            (mean - (bound - 1.0) / 2.0).abs() < 4.0 * deviation,
            "{bound}: {mean}"
        );
    }
}

#[test]
fn a_base_below_a_millisecond_is_one() {
    let back_off = BackOff {
        base: Span(1),
        max: None,
    };
    assert_eq!(back_offs(back_off, 1, &mut draws()), [0]);
}

#[test]
fn each_back_off_takes_one_draw() {
    let mut used = draws();
    back_offs(BackOff::default(), 5, &mut used);
    let mut counted = draws();
    (0..5).for_each(|_| {
        counted.next_u64();
    });
    assert_eq!(used.next_u64(), counted.next_u64());
}

proptest! {
    #[test]
    fn a_request_has_at_most_one_attempt_more_than_retries(
        retries in 0_u32..6,
        ends in prop::collection::vec(0_u8..12, 0..40),
        base in 0_u64..40,
        max in prop::option::of(0_u64..100),
    ) {
        let on = [RetryOn::ServerError, RetryOn::Reset, RetryOn::RetriableStatusCodes];
        let mut route = route(&on, retries);
        if let Some(retry) = &mut route.retry {
            retry.back_off = BackOff { base: Span::ms(base), max: max.map(Span::ms) };
        }
        let bound = max.unwrap_or(base.max(1) * 10).max(base).max(1);
        let mut breakers = breakers();
        let mut attempts = begun(&route, &[], &mut breakers);
        let mut draws = draws();
        for end in ends {
            let verdict = match end {
                0 => attempts.on_reset(Reset::ConnectFailure, false, &mut breakers, 0, &mut draws),
                1 => attempts.on_reset(Reset::PerTryTimeout, false, &mut breakers, 0, &mut draws),
                2 => attempts.on_answer(425, &map(&[]), &mut breakers, 0, &mut draws),
                3 => attempts.on_reset(Reset::Overflow, false, &mut breakers, 0, &mut draws),
                4 => attempts.on_timeout(false, &mut breakers),
                5 => attempts.on_answer(200, &map(&[]), &mut breakers, 0, &mut draws),
                _ => attempts.on_answer(503, &map(&[]), &mut breakers, 0, &mut draws),
            };
            let Verdict::Retry { after_ns } = verdict else {
                prop_assert_eq!(breakers.retries, 0);
                break;
            };
            prop_assert!(after_ns < ms(bound));
            prop_assert_eq!(breakers.retries, 1);
            attempts.begin(&mut breakers, 0);
        }
        prop_assert!(attempts.count <= retries + 1);
        attempts.finish(&mut breakers);
        prop_assert_eq!(breakers.retries, 0);
    }
}
