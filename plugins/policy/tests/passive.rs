//! What the end of a request shows about the endpoints that it was sent to.
//!
//! `BLESS=1 cargo test -p tidegate-policy --test passive` writes the table again.

use std::{fmt::Write, fs, time::Duration};

use proptest::prelude::*;
use tidegate_policy::{
    endpoints::Attempt,
    passive::{
        Ended, FailureStatuses, Honour, Honoured, LastAttempt, MAX_NOTICES, MAX_TRIALS, Notice,
        Outcome, Recent, TRIAL_SPREAD, Trials, classify, conclude,
    },
    snapshot::EndpointAddress,
    units::WallTime,
};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/passive.txt");

fn address(number: u8) -> EndpointAddress {
    EndpointAddress {
        ip: [10, 0, 0, number].into(),
        port: 80,
    }
}

fn at_ms(ms: u64) -> WallTime {
    WallTime::from_ns(1_700_000_000_000_000_000 + ms * 1_000_000)
}

#[test]
fn status_and_the_proxys_words_say_whose_failure_it_is() {
    use Outcome::{GatewayFailure, LocalFailure, Neutral, Success};
    let cases: [(Option<u16>, &[u8], Outcome); 31] = [
        (Some(200), b"via_upstream", Success),
        (Some(101), b"via_upstream", Success),
        (Some(404), b"via_upstream", Success),
        (Some(499), b"", Success),
        (Some(501), b"via_upstream", Success),
        (Some(600), b"via_upstream", Success),
        (Some(0), b"via_upstream", Success),
        (Some(429), b"via_upstream", Neutral),
        (Some(429), b"", Neutral),
        (Some(429), b"request_rate_limited", Neutral),
        (Some(500), b"via_upstream", GatewayFailure),
        (Some(502), b"", GatewayFailure),
        (Some(503), b"via_upstream", GatewayFailure),
        (Some(504), b"via_upstream", GatewayFailure),
        (None, b"", LocalFailure),
        (None, b"via_upstream", LocalFailure),
        (Some(504), b"upstream_response_timeout", LocalFailure),
        (Some(504), b"upstream_per_try_timeout", LocalFailure),
        (
            Some(503),
            b"upstream_reset_before_response_started{remote_connection_failure}",
            LocalFailure,
        ),
        (
            Some(200),
            b"upstream_reset_after_response_started{connection_termination}",
            LocalFailure,
        ),
        (
            Some(503),
            b"upstream_reset_before_response_started{overflow}",
            Neutral,
        ),
        (Some(503), b"no_healthy_upstream", Neutral),
        (Some(503), b"cluster_not_found", Neutral),
        (Some(200), b"direct_response", Neutral),
        (Some(503), b"overload", Neutral),
        (Some(408), b"stream_idle_timeout", Neutral),
        (None, b"downstream_remote_disconnect", Neutral),
        (Some(0), b"downstream_remote_disconnect", Neutral),
        (Some(503), b"tidegate_retry_budget", Neutral),
        (Some(503), b"\xff", Neutral),
        (Some(504), b"upstream_max_stream_duration_reached", Neutral),
    ];
    for (status, details, expected) in cases {
        let ended = Ended {
            status,
            details,
            says_draining: false,
            client_left: false,
        };
        let outcome = classify(&ended, FailureStatuses::default());
        assert_eq!(outcome, expected, "{status:?} {details:?}");
        let left = Ended {
            client_left: true,
            ..ended
        };
        assert_eq!(classify(&left, FailureStatuses::default()), Neutral);
        let draining = Ended {
            says_draining: true,
            ..ended
        };
        let outcome = classify(&draining, FailureStatuses::default());
        let announced = status == Some(503) && expected == GatewayFailure;
        assert_eq!(outcome, if announced { Neutral } else { expected });
    }
}

#[test]
fn failure_statuses_are_those_of_the_servers_kind() {
    assert_eq!(FailureStatuses::NONE.with(499), None);
    assert_eq!(FailureStatuses::NONE.with(600), None);
    let all = FailureStatuses::NONE
        .with(500)
        .and_then(|all| all.with(599));
    let all = all.unwrap_or_default();
    assert_eq!(all.iter().collect::<Vec<_>>(), [500, 599]);
    assert!(!all.has(0) && !all.has(u16::MAX) && !all.has(501));
    let default: Vec<u16> = FailureStatuses::default().iter().collect();
    assert_eq!(default, [500, 502, 503, 504]);
}

#[test]
fn table_of_conclusions_is_the_committed_one() {
    let list = [address(1), address(2), address(3)];
    let name = |address: EndpointAddress| match list.iter().position(|entry| *entry == address) {
        Some(place) => format!("entry {}", place + 1),
        None => "another".to_owned(),
    };
    let mut table = String::from("Three are listed; the last attempt succeeded after 5 ms.\n");
    for believed in [false, true] {
        writeln!(table, "\nbelieved: {believed}").unwrap();
        for attempts in [None, Some(0), Some(1), Some(2), Some(3), Some(4), Some(9)] {
            for served_by in [1, 2, 3, 9, 0] {
                let served_by = (served_by > 0).then(|| address(served_by));
                let last = LastAttempt {
                    attempts,
                    served_by,
                    outcome: Outcome::Success,
                    latency: Some(Duration::from_millis(5)),
                };
                let conclusion = conclude(&list, &last, believed);
                let who = conclusion
                    .last
                    .map_or("nobody".to_owned(), |(address, attempt)| {
                        format!("{} {attempt:?}", name(address))
                    });
                writeln!(
                    table,
                    "  attempt {:4} by {:8} failed {} honoured {:8} last {who}",
                    attempts.map_or("?".to_owned(), |attempts: u64| attempts.to_string()),
                    served_by.map_or("?".to_owned(), name),
                    conclusion.failed,
                    format!("{:?}", conclusion.honoured),
                )
                .unwrap();
            }
        }
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(TABLE, &table).unwrap();
    }
    let written = fs::read_to_string(TABLE).unwrap();
    assert_eq!(written, table, "BLESS=1 writes it again");
}

#[test]
fn earlier_entries_failed_and_only_the_first_attempt_is_a_sample() {
    let list = [address(1), address(2), address(3)];
    let last = |attempts, served_by, outcome| {
        let last = LastAttempt {
            attempts: Some(attempts),
            served_by: Some(address(served_by)),
            outcome,
            latency: Some(Duration::from_millis(7)),
        };
        conclude(&list, &last, true)
            .attempts(&list)
            .collect::<Vec<_>>()
    };
    let sample = Attempt::Success { latency_us: 7000 };
    assert_eq!(last(1, 1, Outcome::Success), [(address(1), sample)]);
    let failed = |number| (address(number), Attempt::GatewayFailure);
    assert_eq!(
        last(3, 3, Outcome::Success),
        [failed(1), failed(2), (address(3), Attempt::UntimedSuccess)]
    );
    assert_eq!(
        last(2, 2, Outcome::LocalFailure),
        [failed(1), (address(2), Attempt::LocalFailure)]
    );
    // Somebody outside of the list: nobody on it is blamed.
    assert_eq!(
        last(2, 9, Outcome::Success),
        [(address(9), Attempt::UntimedSuccess)]
    );
}

#[test]
fn attempt_of_its_own_has_its_own_latency() {
    let latency = Some(Duration::from_secs(1 << 40));
    let longest = Attempt::Success {
        latency_us: u32::MAX,
    };
    assert_eq!(Outcome::Success.to_attempt(latency), longest);
    assert_eq!(Outcome::Neutral.to_attempt(latency), Attempt::Neutral);
    assert_eq!(Outcome::Success.to_attempt(None), Attempt::UntimedSuccess);
    for outcome in [Outcome::GatewayFailure, Outcome::LocalFailure] {
        assert_eq!(outcome.to_attempt(latency), outcome.to_attempt(None));
        assert!(outcome.is_failure());
    }
}

#[test]
fn cluster_that_ignores_lists_is_noticed_at_ten_and_then_rarely() {
    let mut honour = Honour::new();
    assert!(!honour.is_believed());
    let notices: Vec<u32> = (0..100_000)
        .filter_map(|_| honour.on_answer(Honoured::No))
        .map(|Notice { row }| row)
        .collect();
    assert_eq!(notices, [10, 100, 1_000, 10_000, 100_000]);
    assert!(honour.is_ignored());
    assert_eq!(honour.on_answer(Honoured::Unclear), None);
    assert!(honour.is_ignored());
    assert_eq!(honour.on_answer(Honoured::Yes), None);
    assert!(honour.is_believed() && !honour.is_ignored());
}

#[test]
fn endpoint_that_just_left_is_no_notice() {
    let mut honour = Honour::new();
    for _ in 0..1000 {
        for _ in 0..9 {
            assert_eq!(honour.on_answer(Honoured::No), None);
        }
        assert_eq!(honour.on_answer(Honoured::Yes), None);
    }
}

#[test]
fn failure_is_recent_until_a_success_or_its_limit() {
    let limit = Duration::from_secs(1);
    let mut recent = Recent::default();
    let failed = |recent: Recent, ms| recent.has_failed(at_ms(ms), limit);
    assert!(!failed(recent, 0));
    recent.on_outcome(Outcome::LocalFailure, at_ms(0));
    // The same instant, a step back, a jump of a year.
    assert!(failed(recent, 0));
    let back = at_ms(0).as_ns() - 999_999_999;
    assert!(recent.has_failed(WallTime::from_ns(back), limit));
    assert!(!recent.has_failed(WallTime::from_ns(back - 1), limit));
    assert!(!failed(recent, 31_536_000_000));
    assert!(failed(recent, 999));
    assert!(!failed(recent, 1000));
    recent.on_outcome(Outcome::Neutral, at_ms(1));
    assert!(failed(recent, 2));
    recent.on_outcome(Outcome::Success, at_ms(2));
    assert!(!failed(recent, 2));
    recent.on_outcome(Outcome::GatewayFailure, at_ms(3));
    assert!(failed(recent, 4));
    assert!(!recent.has_failed(at_ms(3), Duration::ZERO));
}

#[test]
fn trial_is_due_where_the_draw_says_and_again_after_the_spread() {
    let mut trials = Trials::new();
    let on_trial = [address(1)];
    let half = 1 << 63;
    trials.on_picture(on_trial.into_iter(), at_ms(0), &mut || half);
    assert_eq!(trials.take(at_ms(0)), None);
    assert_eq!(trials.take(at_ms(2_499)), None);
    assert_eq!(trials.take(at_ms(2_500)), Some(address(1)));
    assert_eq!(trials.take(at_ms(2_501)), None);
    // The same picture again is no other draw.
    trials.on_picture(on_trial.into_iter(), at_ms(3_000), &mut || 0);
    assert_eq!(trials.take(at_ms(7_499)), None);
    assert_eq!(trials.take(at_ms(7_500)), Some(address(1)));
    trials.on_picture([].into_iter(), at_ms(8_000), &mut || 0);
    assert!(trials.is_empty());
    assert_eq!(trials.take(at_ms(60_000)), None);
}

#[test]
fn trials_at_a_clock_that_stands_steps_back_or_jumps_go_on() {
    let mut trials = Trials::new();
    trials.on_picture([address(1)].into_iter(), at_ms(10_000), &mut || u64::MAX);
    for _ in 0..100 {
        assert_eq!(trials.take(at_ms(10_000)), None);
    }
    assert_eq!(trials.take(at_ms(5_001)), Some(address(1)), "stepped back");
    assert_eq!(trials.take(at_ms(5_002)), None);
    assert_eq!(trials.take(at_ms(31_536_000_000)), Some(address(1)));
    assert_eq!(trials.take(at_ms(31_536_000_000)), None);
}

#[test]
fn trials_are_bounded() {
    let mut trials = Trials::new();
    let mut draws = 0;
    trials.on_picture((0..=255).map(address), at_ms(0), &mut || {
        draws += 1;
        0
    });
    assert_eq!((trials.len(), draws), (MAX_TRIALS, MAX_TRIALS));
    assert_eq!(TRIAL_SPREAD.as_secs(), 5);
}

prop_compose! {
    fn any_last()(
        attempts in prop::option::of(prop_oneof![0_u64..6, any::<u64>()]),
        served_by in prop::option::of(0_u8..6),
        outcome in prop::sample::select(vec![
            Outcome::Success, Outcome::GatewayFailure, Outcome::LocalFailure, Outcome::Neutral,
        ]),
        latency_ms in prop::option::of(0_u64..1000),
    ) -> LastAttempt {
        LastAttempt {
            attempts,
            served_by: served_by.map(address),
            outcome,
            latency: latency_ms.map(Duration::from_millis),
        }
    }
}

proptest! {
    /// Nobody is blamed without a reason, nothing is sampled but a first attempt, and never more
    /// endpoints than there were attempts.
    #[test]
    fn conclusion_blames_nobody_without_a_reason(
        list in prop::collection::btree_set(0_u8..6, 0..5),
        last in any_last(),
        believed: bool,
    ) {
        let list: Vec<EndpointAddress> = list.into_iter().map(address).collect();
        let conclusion = conclude(&list, &last, believed);
        let all: Vec<_> = conclusion.attempts(&list).collect();
        let attempts = last.attempts.unwrap_or(1);
        prop_assert!(u64::try_from(all.len()).unwrap() <= attempts);
        if conclusion.honoured == Honoured::Yes {
            let place = usize::try_from(attempts).unwrap() - 1;
            prop_assert_eq!(last.served_by, list.get(place).copied());
        } else {
            prop_assert!(conclusion.failed == 0 || believed);
        }
        if conclusion.honoured == Honoured::No {
            prop_assert!(!list.contains(&last.served_by.unwrap()));
            prop_assert_eq!(conclusion.failed, 0);
        }
        for (address, attempt) in all {
            if let Attempt::Success { .. } = attempt {
                prop_assert_eq!(last.attempts, Some(1));
            }
            prop_assert!(last.served_by == Some(address) || list.contains(&address));
        }
    }

    #[test]
    fn any_end_is_classified(
        status: Option<u16>, details in any::<Vec<u8>>(), says_draining: bool, client_left: bool,
    ) {
        let ended = Ended { status, details: &details, says_draining, client_left };
        let outcome = classify(&ended, FailureStatuses::default());
        prop_assert!(!client_left || outcome == Outcome::Neutral);
    }

    #[test]
    fn notices_are_bounded_whatever_flickers(
        answers in prop::collection::vec((0_u8..3, 1_u32..3000), 0..60),
    ) {
        let mut honour = Honour::new();
        let mut notices = 0;
        for (answer, times) in answers {
            let honoured = [Honoured::No, Honoured::Unclear, Honoured::Yes][usize::from(answer)];
            for _ in 0..times {
                notices += u32::from(honour.on_answer(honoured).is_some());
            }
        }
        prop_assert!(notices <= MAX_NOTICES);
    }
}
