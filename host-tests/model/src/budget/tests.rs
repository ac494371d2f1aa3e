use proptest::prelude::*;

use super::Budget;
use crate::scenario::{CircuitBreakers, RetryBudget};
use crate::units::Span;

const SECOND: u64 = 1_000_000_000;

fn budget(of: RetryBudget) -> Budget {
    Budget::new(&CircuitBreakers {
        retry_budget: Some(of),
        ..CircuitBreakers::default()
    })
}

fn finagle(ratio: f64, min_retries_per_second: u32) -> Budget {
    budget(RetryBudget::Finagle {
        ratio,
        min_retries_per_second,
        window: Span::ms(10_000),
    })
}

fn grpc() -> Budget {
    budget(RetryBudget::Grpc {
        max_tokens: 10.0,
        token_ratio: 0.1,
    })
}

/// Takes as many retries as there are, up to 10 000.
fn drain(budget: &mut Budget, now_ns: u64) -> u32 {
    (0..10_000)
        .map_while(|_| budget.may_retry(0, 0, now_ns).then_some(()))
        .fold(0, |n, ()| n + 1)
}

#[test]
fn breaker_without_a_budget_bounds_retries_at_a_time() {
    let mut breaker = Budget::new(&CircuitBreakers::default());
    assert!(breaker.may_retry(1_000, 2, 0));
    assert!(!breaker.may_retry(1_000, 3, 0));
}

#[test]
fn concurrency_is_a_share_of_requests_cut_to_a_whole_number_but_never_below_the_floor() {
    let mut of_a_fifth = budget(RetryBudget::Concurrency {
        budget_percent: 20.0,
        min_retry_concurrency: 3,
    });
    // Requests under way, and how many retries may be.
    for (requests, most) in [
        (0, 3),
        (15, 3),
        (19, 3),
        (20, 4),
        (24, 4),
        (25, 5),
        (1_000, 200),
    ] {
        assert!(of_a_fifth.may_retry(requests, most - 1, 0), "{requests}");
        assert!(!of_a_fifth.may_retry(requests, most, 0), "{requests}");
    }
}

#[test]
fn finagle_pays_one_retry_of_five_requests_and_the_reserve_once_a_window() {
    let mut of_both = finagle(0.2, 10);
    for _ in 0..1_000 {
        of_both.on_request(0);
    }
    assert_eq!(drain(&mut of_both, 0), 200 + 100);
    // Nothing has expired after nine tenths of the window; all of it has at its end.
    assert_eq!(drain(&mut of_both, 9 * SECOND), 0);
    assert_eq!(drain(&mut of_both, 10 * SECOND), 100);
}

#[test]
fn finagle_deposits_expire_and_withdrawals_with_them() {
    let mut without_reserve = finagle(0.2, 0);
    for _ in 0..100 {
        without_reserve.on_request(0);
    }
    assert_eq!(drain(&mut without_reserve.clone(), 9 * SECOND), 20);
    assert_eq!(drain(&mut without_reserve, 10 * SECOND), 0);
}

#[test]
fn finagle_of_no_ratio_has_the_reserve_only_and_of_nothing_none() {
    let mut reserve_only = finagle(0.0, 1);
    for _ in 0..1_000 {
        reserve_only.on_request(0);
    }
    assert_eq!(drain(&mut reserve_only, 0), 10);
    assert_eq!(drain(&mut finagle(0.0, 0), 0), 0);
}

#[test]
fn finagle_survives_a_clock_that_stands_steps_back_or_jumps_a_year() {
    let mut same_instant = finagle(0.2, 0);
    for _ in 0..5 {
        same_instant.on_request(7);
    }
    assert_eq!(drain(&mut same_instant, 7), 1);
    let mut back = finagle(0.2, 0);
    for _ in 0..5 {
        back.on_request(60 * SECOND);
    }
    assert_eq!(drain(&mut back.clone(), 0), 1);
    assert_eq!(drain(&mut back, 365 * 86_400 * SECOND), 0);
}

#[test]
fn grpc_stops_at_half_of_the_tokens() {
    let mut tokens = grpc();
    for failures in 1..=5 {
        tokens.on_outcome(false, 0);
        // Four failures leave 6, the fifth leaves 5, which is not more than half.
        assert_eq!(tokens.may_retry(0, 0, 0), failures < 5, "{failures}");
    }
    // One success gives a tenth, which is more than half again.
    tokens.on_outcome(true, 0);
    assert!(tokens.may_retry(0, 0, 0));
}

#[test]
fn grpc_tokens_stay_between_none_and_all() {
    let mut tokens = grpc();
    for _ in 0..1_000 {
        tokens.on_outcome(true, 0);
    }
    let mut failures = 0;
    while tokens.may_retry(0, 0, 0) {
        tokens.on_outcome(false, 0);
        failures += 1;
    }
    assert_eq!(failures, 5);
    for _ in 0..1_000 {
        tokens.on_outcome(false, 0);
    }
    // From none, 51 successes of a tenth are more than half.
    for _ in 0..50 {
        tokens.on_outcome(true, 0);
    }
    assert!(!tokens.may_retry(0, 0, 0));
    tokens.on_outcome(true, 0);
    assert!(tokens.may_retry(0, 0, 0));
}

proptest! {
    #[test]
    fn withdrawals_of_any_window_stay_within_reserve_and_deposits(
        events in prop::collection::vec((0_u64..2 * SECOND, any::<bool>()), 0..400),
        ratio in 0.05_f64..1.0,
        floor in 0_u32..4,
    ) {
        let mut budget = finagle(ratio, floor);
        let (mut now, mut deposits, mut withdrawals) = (0, Vec::new(), Vec::new());
        for (pause, is_request) in events {
            now += pause;
            if is_request {
                budget.on_request(now);
                deposits.push(now);
            } else if budget.may_retry(0, 0, now) {
                withdrawals.push(now);
            }
        }
        // Slices begin anew with the first look after their time, so what is called a window lasts up to ten slices
        // and ten gaps of up to two seconds: 30 s. Within any 9 s nothing expires. What was withdrawn within them was
        // covered by the reserve and by deposits of at most a window before. What a retry costs is cut to a whole
        // number of at least 1000.
        for (at, from) in withdrawals.iter().enumerate() {
            let within = withdrawals.iter().skip(at).take_while(|time| **time < from + 9 * SECOND).count();
            let paid = deposits
                .iter()
                .filter(|time| **time + 30 * SECOND >= *from && **time < from + 9 * SECOND)
                .count();
            let most = f64::from(floor) * 10.0 + ratio * 1.002 * f64::from(u32::try_from(paid).unwrap());
            prop_assert!(f64::from(u32::try_from(within).unwrap()) <= most + 1e-9, "{within} > {most}");
        }
    }
}
