//! What an endpoint is after each event, and what an answer says.
//!
//! `BLESS=1 cargo test -p tidegate-policy --test probe_machine` writes the table again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fmt::Write, fs, time::Duration};

use proptest::prelude::*;
use tidegate_policy::{
    digest::fnv1a_64,
    probe::{
        Announcement, Answer, Config, Event, Failure, MAX_DRAIN_SECONDS, MAX_INSTANCE_BYTES,
        Outcome, State, Thresholds,
    },
};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/probe_machine.txt");
const NOW: Duration = Duration::from_secs(100);

fn thresholds() -> Thresholds {
    Config::parse("{}").unwrap().thresholds()
}

fn draining(until_seconds: u64, successes: u8) -> State {
    let until = Duration::from_secs(until_seconds);
    State::Draining { until, successes }
}

fn after(state: State, events: &[Event]) -> State {
    events.iter().fold(state, |state, event| {
        state.next(*event, thresholds(), NOW).unwrap()
    })
}

#[test]
fn table_of_states_and_events_is_the_committed_one() {
    let states = [
        State::Absent,
        State::NEW,
        State::Unproven {
            failures: 2,
            successes: 0,
        },
        State::Unproven {
            failures: 0,
            successes: 1,
        },
        State::Healthy { failures: 0 },
        State::Healthy { failures: 1 },
        State::Healthy { failures: 2 },
        State::Unhealthy { successes: 0 },
        State::Unhealthy { successes: 1 },
        draining(130, 0),
        draining(130, 1),
        draining(100, 0),
        draining(100, 1),
    ];
    let events = [
        Event::Added,
        Event::Drain { seconds: 0 },
        Event::Drain { seconds: 60 },
        Event::Drain { seconds: u16::MAX },
        Event::Failure(Failure::DrainMalformed),
        Event::Failure(Failure::NoAnswer),
        Event::Failure(Failure::Status),
        Event::Failure(Failure::Timeout),
        Event::Removed,
        Event::Replaced,
        Event::Success,
    ];
    let mut table = String::from("At 100s, with 3 failures and 2 successes in a row.\n");
    for state in states {
        writeln!(table, "\n{state:?}").unwrap();
        for event in events {
            let next = match state.next(event, thresholds(), NOW) {
                Ok(next) => format!("{next:?}"),
                Err(rejected) => format!("rejected: {rejected}"),
            };
            writeln!(table, "  {:24} {next}", format!("{event:?}")).unwrap();
        }
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(TABLE, &table).unwrap();
    }
    let written = fs::read_to_string(TABLE).unwrap();
    assert_eq!(written, table, "BLESS=1 writes it again");
}

#[test]
fn endpoint_changes_its_verdict_with_a_whole_streak_only() {
    let failure = Event::Failure(Failure::Status);
    let success = Event::Success;
    let healthy = State::Healthy { failures: 0 };
    let unhealthy = State::Unhealthy { successes: 0 };
    assert_eq!(
        after(healthy, &[failure; 2]),
        State::Healthy { failures: 2 }
    );
    assert_eq!(after(healthy, &[failure; 3]), unhealthy);
    let flicker = [failure, failure, success, failure, failure, success];
    assert_eq!(after(healthy, &flicker), healthy);
    assert_eq!(
        after(unhealthy, &[success, failure, success]),
        State::Unhealthy { successes: 1 }
    );
    assert_eq!(after(unhealthy, &[success, success]), healthy);
    assert_eq!(
        after(State::NEW, &[failure, success, failure, failure, failure]),
        unhealthy
    );
    assert_eq!(after(State::NEW, &[success, success]), healthy);
}

#[test]
fn drain_ends_by_its_earliest_deadline_or_by_a_streak_of_successes() {
    let drain = |seconds| Event::Drain { seconds };
    let failure = Event::Failure(Failure::NoAnswer);
    let healthy = State::Healthy { failures: 2 };
    assert_eq!(after(healthy, &[drain(60), drain(90)]), draining(160, 0));
    assert_eq!(
        after(healthy, &[drain(60), drain(30), drain(60)]),
        draining(130, 0)
    );
    assert_eq!(after(healthy, &[drain(u16::MAX)]), draining(3700, 0));
    assert_eq!(
        after(healthy, &[drain(60), failure, failure, failure, failure]),
        draining(160, 0)
    );
    assert_eq!(
        after(draining(100, 1), &[failure]),
        State::Unhealthy { successes: 0 }
    );
    let back = [drain(60), Event::Success, Event::Success];
    assert_eq!(after(healthy, &back), State::Healthy { failures: 0 });
    assert_eq!(
        after(
            healthy,
            &[drain(60), Event::Success, failure, Event::Success]
        ),
        draining(160, 1)
    );
}

/// Classifies an answer that came at once.
fn classify(status: u16, drain: Option<&[u8]>, instance: Option<&[u8]>) -> Answer {
    let header = |name: &str| match name {
        "x-tidegate-drain" => drain,
        "x-tidegate-instance" => instance,
        _ => None,
    };
    Config::parse("{}")
        .unwrap()
        .classify(Some(status), header, Duration::ZERO)
}

#[test]
fn status_and_drain_header_say_how_the_endpoint_is() {
    let drain = |seconds| Outcome::Draining { seconds };
    let (status, malformed) = (
        Outcome::Failure(Failure::Status),
        Outcome::Failure(Failure::DrainMalformed),
    );
    let cases: [(u16, Option<&[u8]>, Outcome); 26] = [
        (200, None, Outcome::Success),
        (299, None, Outcome::Success),
        (204, Some(b"60"), Outcome::Success),
        (199, None, status),
        (300, None, status),
        (0, None, status),
        (429, None, status),
        (500, Some(b"60"), status),
        (503, None, status),
        (504, None, Outcome::Failure(Failure::Timeout)),
        (503, Some(b"60"), drain(60)),
        (503, Some(b" 60\t"), drain(60)),
        (503, Some(b"0"), drain(0)),
        (503, Some(b"007"), drain(7)),
        (503, Some(b"3600"), drain(MAX_DRAIN_SECONDS)),
        (503, Some(b"3601"), drain(MAX_DRAIN_SECONDS)),
        (503, Some(b"65536"), drain(MAX_DRAIN_SECONDS)),
        (503, Some(b"99999999999999999999"), drain(MAX_DRAIN_SECONDS)),
        (503, Some(b"000000000000000000000"), malformed),
        (503, Some(b""), malformed),
        (503, Some(b"-1"), malformed),
        (503, Some(b"+1"), malformed),
        (503, Some(b"1.5"), malformed),
        (503, Some(b"60s"), malformed),
        (503, Some(b"60, 60"), malformed),
        (503, Some("\u{661}".as_bytes()), malformed),
    ];
    for (code, header, expected) in cases {
        assert_eq!(
            classify(code, header, None).outcome,
            expected,
            "{code} {header:?}"
        );
    }
}

#[test]
fn answer_at_the_timeout_is_too_late() {
    let config = Config::parse("{}").unwrap();
    let outcome = |status, elapsed_ns| {
        let elapsed = Duration::from_nanos(elapsed_ns);
        config.classify(status, |_| None, elapsed).outcome
    };
    assert_eq!(outcome(Some(200), 2_999_999_999), Outcome::Success);
    assert_eq!(
        outcome(Some(200), 3_000_000_000),
        Outcome::Failure(Failure::Timeout)
    );
    assert_eq!(
        outcome(None, 2_999_999_999),
        Outcome::Failure(Failure::NoAnswer)
    );
    assert_eq!(
        outcome(None, 3_000_000_000),
        Outcome::Failure(Failure::Timeout)
    );
}

#[test]
fn instance_is_a_bounded_token() {
    let longest = [b'a'; MAX_INSTANCE_BYTES];
    let longer = [b'a'; MAX_INSTANCE_BYTES + 1];
    let cases: [(Option<&[u8]>, Announcement); 8] = [
        (None, Announcement::Absent),
        (Some(b"pod-7f"), Announcement::Digest(fnv1a_64(b"pod-7f"))),
        (Some(b" pod-7f "), Announcement::Digest(fnv1a_64(b"pod-7f"))),
        (Some(&longest), Announcement::Digest(fnv1a_64(&longest))),
        (Some(&longer), Announcement::Malformed),
        (Some(b""), Announcement::Malformed),
        (Some(b"a b"), Announcement::Malformed),
        (Some(b"\xff"), Announcement::Malformed),
    ];
    for (value, expected) in cases {
        assert_eq!(classify(503, None, value).instance, expected, "{value:?}");
    }
}

proptest! {
    #[test]
    fn answer_of_any_bytes_is_classified(
        status in any::<Option<u16>>(),
        value in any::<Option<Vec<u8>>>(),
        elapsed_ns in any::<u64>(),
    ) {
        let config = Config::parse("{}").unwrap();
        let elapsed = Duration::from_nanos(elapsed_ns);
        let answer = config.classify(status, |_| value.as_deref(), elapsed);
        if let Outcome::Draining { seconds } = answer.outcome {
            prop_assert!(seconds <= MAX_DRAIN_SECONDS);
        }
        prop_assert_ne!(answer.instance, Announcement::Digest(0));
    }

    /// Streaks stay under their thresholds, whatever happens.
    #[test]
    fn streak_is_never_whole_and_still_there(events in prop::collection::vec(0_u8..7, 0..60)) {
        let mut state = State::Absent;
        for (step, event) in (0_u64..).zip(events) {
            let event = match event {
                0 => Event::Added,
                1 => Event::Drain { seconds: 5 },
                2 => Event::Removed,
                3 => Event::Replaced,
                4 | 5 => Event::Failure(Failure::Timeout),
                _ => Event::Success,
            };
            state = state
                .next(event, thresholds(), Duration::from_secs(step))
                .unwrap_or(state);
            let fits = match state {
                State::Absent => true,
                State::Draining { successes, .. } | State::Unhealthy { successes } => successes < 2,
                State::Healthy { failures } => failures < 3,
                State::Unproven { failures, successes } => {
                    failures < 3 && successes < 2 && (failures == 0 || successes == 0)
                }
            };
            prop_assert!(fits, "{state:?}");
        }
    }
}
