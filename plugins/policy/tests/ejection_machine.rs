//! What an endpoint's traffic makes of it after each event.
//!
//! `BLESS=1 cargo test -p tidegate-policy --test ejection_machine` writes the table again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fmt::Write, fs, time::Duration};

use proptest::prelude::*;
use tidegate_policy::{
    ejection::{Config, Event, State, Times, Verdict, combine, others_of},
    snapshot::State as Published,
    units::WallTime,
};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ejection_machine.txt");
const NOW: Duration = Duration::from_secs(1000);

fn times() -> Times {
    Config::parse("{}").unwrap().times()
}

fn serving(ejections: u8, since_seconds: u64) -> State {
    let since = Duration::from_secs(since_seconds);
    State::Serving { ejections, since }
}

fn ejected(ejections: u8, until_seconds: u64) -> State {
    let until = Duration::from_secs(until_seconds);
    State::Ejected { ejections, until }
}

#[test]
fn table_of_states_and_events_is_the_committed_one() {
    let states = [
        State::Absent,
        serving(0, 1000),
        serving(0, 0),
        serving(2, 971),
        serving(2, 970),
        serving(2, 900),
        serving(255, 1000),
        ejected(1, 1001),
        ejected(1, 1000),
        ejected(255, 1001),
        State::Trial { ejections: 1 },
        State::Trial { ejections: 9 },
        State::Trial { ejections: 255 },
    ];
    let events = [
        Event::Added,
        Event::Crossed { draw: 0 },
        Event::Crossed { draw: u64::MAX },
        Event::Failed { draw: 0 },
        Event::Removed,
        Event::Succeeded,
        Event::Tick,
    ];
    let mut table = String::from("At 1000s, with 30s for each ejection and at most 300s.\n");
    for state in states {
        writeln!(table, "\n{state:?}").unwrap();
        for event in events {
            let next = match state.next(event, &times(), NOW) {
                Ok(next) => format!("{next:?}"),
                Err(rejected) => format!("rejected: {rejected}"),
            };
            writeln!(table, "  {:38} {next}", format!("{event:?}")).unwrap();
        }
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(TABLE, &table).unwrap();
    }
    let written = fs::read_to_string(TABLE).unwrap();
    assert_eq!(written, table, "BLESS=1 writes it again");
}

#[test]
fn ejection_lasts_longer_each_time_and_never_longer_than_the_longest() {
    let mut state = serving(0, 1000);
    for number in 1..=255_u64 {
        let crossed = match state {
            State::Serving { .. } => Event::Crossed { draw: 0 },
            _ => Event::Failed { draw: 0 },
        };
        state = state.next(crossed, &times(), NOW).unwrap();
        let ejections = u8::try_from(number).unwrap();
        assert_eq!(state, ejected(ejections, 1000 + (30 * number).min(300)));
        state = State::Trial { ejections };
    }
}

#[test]
fn good_time_forgives_one_ejection_after_the_other() {
    let after = |seconds| serving(3, 0).next(Event::Tick, &times(), Duration::from_secs(seconds));
    assert_eq!(after(29), Ok(serving(3, 0)));
    assert_eq!(after(30), Ok(serving(2, 30)));
    assert_eq!(after(59), Ok(serving(2, 30)));
    assert_eq!(after(89), Ok(serving(1, 60)));
    assert_eq!(after(90), Ok(serving(0, 90)));
    assert_eq!(after(31_536_000), Ok(serving(0, 90)));
}

proptest! {
    /// Whatever happens: at most the longest time, at least nine tenths of the shortest.
    #[test]
    fn ejection_stays_within_its_times(
        events in prop::collection::vec((0_u8..7, any::<u64>(), 0_u64..400), 0..80),
    ) {
        let mut state = State::Absent;
        let mut now = Duration::ZERO;
        for (event, draw, seconds) in events {
            now += Duration::from_secs(seconds);
            let event = match event {
                0 => Event::Added,
                1 => Event::Crossed { draw },
                2 | 3 => Event::Failed { draw },
                4 => Event::Removed,
                5 => Event::Succeeded,
                _ => Event::Tick,
            };
            let before = state;
            state = before.next(event, &times(), now).unwrap_or(before);
            if let State::Ejected { ejections, until } = state && before != state {
                let whole = Duration::from_secs(u64::from(ejections) * 30).min(times().max_time);
                let length = until - now;
                prop_assert!(length <= whole, "{length:?}");
                prop_assert!(length >= whole * 9 / 10, "{length:?}");
                prop_assert_eq!(before.ejections().saturating_add(1), ejections);
            }
            // Nobody serves again but by a success, and none does by time alone.
            if matches!(before, State::Ejected { .. } | State::Trial { .. }) && event != Event::Added {
                let back = matches!(state, State::Serving { .. });
                let tried = matches!(before, State::Trial { .. }) && event == Event::Succeeded;
                prop_assert_eq!(back, tried);
            }
        }
    }
}

/// The table of the documentation, column by column.
#[test]
fn what_others_say_comes_before_what_traffic_says() {
    let at = WallTime::from_seconds;
    let (joined, readmitted, until) = (at(100), at(200), at(300));
    let verdicts = [
        Verdict::Serving { readmitted: None },
        Verdict::Serving {
            readmitted: Some(readmitted),
        },
        Verdict::Ejected { until },
        Verdict::Trial,
    ];
    let available = |slow_start| Published::Available { slow_start };
    let row = |others| verdicts.map(|verdict| combine(others, verdict));
    let ejected = Published::Ejected { until };
    for others in [
        Published::Vanished { until: joined },
        Published::Draining { until: joined },
        Published::Ejected { until: joined },
    ] {
        assert_eq!(row(others), [others; 4]);
    }
    let rising = available(Some(readmitted));
    let rest = [ejected, Published::Probing];
    for (others, serving) in [
        (Published::Unknown, [Published::Unknown, rising]),
        (Published::Probing, [Published::Unknown, rising]),
        (available(None), [available(None), rising]),
        (available(Some(joined)), [available(Some(joined)), rising]),
        (
            available(Some(until)),
            [available(Some(until)), available(Some(until))],
        ),
    ] {
        assert_eq!(row(others), [serving[0], serving[1], rest[0], rest[1]]);
    }
}

/// A new leader takes apart what its predecessor brought together.
#[test]
fn what_others_said_is_told_from_what_traffic_said() {
    let at = WallTime::from_seconds;
    let never = WallTime::from_ns(u64::MAX);
    let available = Published::Available { slow_start: None };
    let until = at(300);
    for traffic in [Verdict::Ejected { until }, Verdict::Trial] {
        let published = combine(Published::Unknown, traffic);
        let others = others_of(published, at(100));
        assert_eq!(others, available);
        assert_eq!(combine(others, traffic), published);
    }
    for others in [
        Published::Unknown,
        Published::Available {
            slow_start: Some(at(50)),
        },
        Published::Ejected { until: never },
        Published::Draining { until },
        Published::Draining { until: at(1) },
        Published::Vanished { until },
    ] {
        assert_eq!(others_of(others, at(100)), others);
    }
}
