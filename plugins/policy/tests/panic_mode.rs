//! When too few endpoints are available, and whom to choose among then.
//!
//! `BLESS=1 cargo test -p tidegate-policy --test panic_mode` writes the table again.

use std::{fmt::Write, fs, num::NonZeroU32};

use proptest::prelude::*;
use tidegate_policy::{
    panic_mode::{Census, Fitness, Mode, Rule, utilisation_ppm},
    snapshot::State,
    units::{Ppm, WallTime},
};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/panic_mode.txt");
const NOW: WallTime = WallTime::from_seconds(1_700_000_000);

fn census(available: u32, unavailable: u32, draining: u32) -> Census {
    Census {
        available,
        unavailable,
        draining,
    }
}

fn count(states: &[State]) -> Census {
    let mut census = Census::default();
    for state in states {
        census.count(Fitness::of(*state, NOW));
    }
    census
}

#[test]
fn table_of_who_is_chosen_among_is_the_committed_one() {
    let rule = Rule::default();
    let mut table = String::from("members available draining safe mode\n");
    let mut row = |available: u32, members: u32, draining: u32| {
        let census = census(available, members - available, draining);
        let safe = rule.safe_ejections(members, None);
        let mode = rule.mode(&census, None).as_str();
        writeln!(
            table,
            "{members:7} {available:9} {draining:8} {safe:4} {mode}"
        )
        .unwrap();
    };
    for members in [0, 1, 2, 3, 9, 10] {
        for available in 0..=members {
            row(available, members, 0);
        }
    }
    for available in [49, 50, 51] {
        row(available, 100, 0);
    }
    // All draining; some draining beside nobody, and beside somebody.
    for (available, members) in [(0, 0), (0, 2), (1, 2), (1, 3)] {
        row(available, members, 4);
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(TABLE, &table).unwrap();
    }
    let written = fs::read_to_string(TABLE).unwrap();
    assert_eq!(written, table, "BLESS=1 writes it again");
}

#[test]
fn panic_begins_strictly_under_half() {
    let rule = Rule::default();
    assert_eq!(rule.mode(&census(49, 51, 0), None), Mode::Panic);
    assert_eq!(rule.mode(&census(50, 50, 0), None), Mode::Normal);
    assert_eq!(rule.mode(&census(51, 49, 0), None), Mode::Normal);
    assert_eq!(rule.mode(&census(4, 5, 0), None), Mode::Panic);
    assert_eq!(rule.mode(&census(5, 4, 0), None), Mode::Normal);
}

#[test]
fn safe_ejections_by_capacity_are_exact() {
    let rule = Rule::default();
    assert_eq!(rule.safe_ejections(10, Some(800_000)), 2);
    assert_eq!(rule.safe_ejections(10, Some(500_000)), 5);
    assert_eq!(rule.safe_ejections(10, Some(1_000_000)), 0);
    assert_eq!(rule.safe_ejections(10, Some(u32::MAX)), 0);
    // Never the last one, however idle they are.
    assert_eq!(rule.safe_ejections(10, Some(0)), 9);
    assert_eq!(rule.safe_ejections(1, Some(0)), 0);
    let spared = Rule {
        max_utilisation: Ppm::try_new(800_000).unwrap(),
        ..rule
    };
    assert_eq!(spared.safe_ejections(10, Some(800_000)), 0);
    assert_eq!(spared.safe_ejections(10, Some(640_000)), 2);
    assert_eq!(spared.safe_ejections(10, Some(640_001)), 1);
}

#[test]
fn capacity_replaces_the_count_in_both_directions() {
    let rule = Rule::default();
    // Three of ten are enough for a tenth of the load, and seven are not for nine tenths.
    assert_eq!(rule.mode(&census(3, 7, 0), Some(100_000)), Mode::Normal);
    assert_eq!(rule.mode(&census(3, 7, 0), None), Mode::Panic);
    assert_eq!(rule.mode(&census(8, 2, 0), Some(900_000)), Mode::Panic);
    assert_eq!(rule.mode(&census(8, 2, 0), None), Mode::Normal);
    assert_eq!(rule.mode(&census(0, 10, 0), Some(0)), Mode::NobodyAvailable);
}

#[test]
fn all_new_are_all_available_and_all_draining_are_the_least_bad() {
    let rule = Rule::default();
    let new = [State::Available {
        slow_start: Some(NOW),
    }; 3];
    assert_eq!(rule.mode(&count(&new), None), Mode::Normal);
    assert_eq!(rule.mode(&count(&[State::Unknown; 3]), None), Mode::Normal);
    let later = WallTime::from_seconds(1_700_000_060);
    let draining = [State::Draining { until: later }; 3];
    let mode = rule.mode(&count(&draining), None);
    assert_eq!(mode, Mode::NobodyAvailable);
    assert!(mode.admits(Fitness::Draining));
    let drained = [
        State::Draining { until: NOW },
        State::Vanished { until: later },
    ];
    assert_eq!(rule.mode(&count(&drained), None), Mode::Nobody);
    assert_eq!(rule.mode(&Census::default(), None), Mode::Nobody);
}

#[test]
fn draining_endpoint_is_no_candidate_while_anybody_is_available() {
    let rule = Rule::default();
    for available in 1..=5 {
        let mode = rule.mode(&census(available, 5 - available, 10), None);
        assert!(!mode.admits(Fitness::Draining), "{available}");
        assert!(!mode.admits(Fitness::Gone), "{available}");
        assert!(mode.admits(Fitness::Available), "{available}");
    }
}

#[test]
fn state_stands_as_its_moment_says() {
    let ejected = |until| Fitness::of(State::Ejected { until }, NOW);
    assert_eq!(ejected(WallTime::from_ns(u64::MAX)), Fitness::Unhealthy);
    let rounded = WallTime::from_ns(u64::MAX / 1_000_000 * 1_000_000);
    assert_eq!(ejected(rounded), Fitness::Unhealthy);
    let before = WallTime::from_ns(rounded.as_ns() - 1);
    assert_eq!(ejected(before), Fitness::Ejected);
    assert_eq!(ejected(WallTime::default()), Fitness::Ejected);
    let draining = |until| Fitness::of(State::Draining { until }, NOW);
    assert_eq!(draining(NOW), Fitness::Gone);
    let next = WallTime::from_ns(NOW.as_ns() + 1);
    assert_eq!(draining(next), Fitness::Draining);
}

#[test]
fn utilisation_is_of_what_this_gateway_may_take() {
    let concurrency = NonZeroU32::new(20).unwrap();
    let quarter = Ppm::try_new(250_000).unwrap();
    assert_eq!(utilisation_ppm(40, 10, concurrency, quarter), Some(800_000));
    assert_eq!(utilisation_ppm(0, 10, concurrency, quarter), Some(0));
    assert_eq!(utilisation_ppm(1, 0, concurrency, quarter), None);
    assert_eq!(utilisation_ppm(1, 1, concurrency, Ppm::ZERO), None);
    let most = utilisation_ppm(u64::MAX, 1, NonZeroU32::MIN, quarter);
    assert_eq!(most, Some(u32::MAX));
}

proptest! {
    /// The share is looked at as the definition says it, with no division.
    #[test]
    fn count_rule_is_the_share_under_the_threshold(
        available in 1_u32..20_000,
        unavailable in 0_u32..20_000,
        threshold in 0_u32..=1_000_000,
    ) {
        let rule = Rule { min_available: Ppm::try_new(threshold).unwrap(), ..Rule::default() };
        let members = u64::from(available) + u64::from(unavailable);
        let under = u64::from(available) * 1_000_000 < members * u64::from(threshold);
        let mode = rule.mode(&census(available, unavailable, 0), None);
        prop_assert_eq!(mode == Mode::Panic, under);
    }

    /// Whoever is left after the safe ejections is not overloaded, and one more would be.
    #[test]
    fn capacity_rule_leaves_enough_and_no_more(
        members in 1_u32..20_000,
        utilisation in 0_u32..2_000_000,
        most in 1_u32..=1_000_000,
    ) {
        let rule = Rule { max_utilisation: Ppm::try_new(most).unwrap(), ..Rule::default() };
        let safe = rule.safe_ejections(members, Some(utilisation));
        prop_assert!(safe < members);
        let fits = |ejected: u32| {
            let left = u64::from(members - ejected);
            u64::from(members) * u64::from(utilisation) <= left * u64::from(most)
        };
        prop_assert!(safe == 0 || fits(safe));
        prop_assert!(safe + 1 == members || !fits(safe + 1));
    }

    #[test]
    fn mode_of_any_counts_admits_somebody_unless_there_is_nobody(
        available: u32, unavailable: u32, draining: u32, utilisation: Option<u32>,
    ) {
        let census = census(available, unavailable, draining);
        let mode = Rule::default().mode(&census, utilisation);
        let admitted = (available > 0 && mode.admits(Fitness::Available))
            || (unavailable > 0 && mode.admits(Fitness::Ejected))
            || (draining > 0 && mode.admits(Fitness::Draining));
        prop_assert_eq!(admitted, mode != Mode::Nobody);
        prop_assert_eq!(mode == Mode::Nobody, available == 0 && unavailable == 0 && draining == 0);
    }
}
