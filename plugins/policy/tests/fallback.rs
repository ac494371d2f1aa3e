//! Who serves a request's next attempts.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tidegate_policy::{
    fallback::{List, MAX_ENTRIES, STEPS, Spares, ZoneDigest, write_list},
    snapshot::EndpointAddress,
};

/// Is SplitMix64.
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Are so many endpoints of each zone; endpoint `zone · 1000 + number`.
fn spares(zones: &[u32]) -> Spares<u32> {
    let mut spares = Spares::new();
    spares.prepare((0_u32..).zip(zones).flat_map(|(zone, endpoints)| {
        (0..*endpoints).map(move |number| (zone * 1000 + number, ZoneDigest::from(zone)))
    }));
    spares
}

fn zone_of(key: u32) -> ZoneDigest {
    ZoneDigest::from(key / 1000)
}

fn list(spares: &Spares<u32>, first: u32, attempts: usize, failed: &[u32], seed: u64) -> Vec<u32> {
    let mut list = List::new(first, zone_of(first));
    let mut random = Random(seed);
    spares.fill(
        &mut list,
        attempts,
        |key| failed.contains(&key),
        &mut || random.draw(),
    );
    list.iter().collect()
}

#[test]
fn each_attempt_has_another_zone_as_long_as_there_is_one() {
    let spares = spares(&[4, 4, 4]);
    for seed in 0..1000 {
        let list = list(&spares, 1002, 5, &[], seed);
        assert_eq!(list.len(), 5);
        let zones: BTreeSet<ZoneDigest> = list.iter().take(3).map(|key| zone_of(*key)).collect();
        assert_eq!(zones.len(), 3, "{list:?}");
        assert_eq!(list.iter().collect::<BTreeSet<_>>().len(), 5, "{list:?}");
    }
}

#[test]
fn small_zone_is_found_beside_a_large_one() {
    let spares = spares(&[1000, 1]);
    for seed in 0..1000 {
        assert_eq!(list(&spares, 7, 2, &[], seed), [7, 1000]);
    }
}

#[test]
fn endpoint_with_a_recent_failure_is_taken_only_where_there_is_no_other() {
    let spares = spares(&[2, 2]);
    for seed in 0..100 {
        assert_eq!(list(&spares, 0, 2, &[1000], seed), [0, 1001]);
        // The own zone's that is well comes before the other zone's that failed.
        assert_eq!(list(&spares, 0, 2, &[1000, 1001], seed), [0, 1]);
        let last = list(&spares, 0, 2, &[1, 1000, 1001], seed);
        assert!(last[1] >= 1000, "{last:?}");
    }
}

#[test]
fn list_ends_where_nobody_is_left() {
    for seed in 0..100 {
        assert_eq!(list(&spares(&[1]), 0, 8, &[], seed), [0]);
        assert_eq!(list(&spares(&[0]), 0, 8, &[], seed), [0]);
        assert_eq!(list(&spares(&[2]), 0, 8, &[], seed), [0, 1]);
        assert_eq!(list(&spares(&[50]), 0, 99, &[], seed).len(), MAX_ENTRIES);
    }
    assert_eq!(list(&spares(&[9]), 0, 0, &[], 0), [0]);
}

#[test]
fn first_endpoint_needs_not_be_a_candidate() {
    let spares = spares(&[1, 1]);
    for seed in 0..100 {
        assert_eq!(list(&spares, 5000, 3, &[], seed).len(), 3);
    }
}

#[test]
fn one_draw_is_taken_for_each_entry_that_is_looked_for() {
    let draws = |zones: &[u32], attempts| {
        let mut draws = 0;
        let mut list = List::new(0, 0);
        spares(zones).fill(&mut list, attempts, |_| true, &mut || {
            draws += 1;
            0
        });
        draws
    };
    assert_eq!(draws(&[9, 9], 1), 0);
    assert_eq!(draws(&[9, 9], 3), 2);
    assert_eq!(draws(&[100, 100], 8), 7);
    // The last one finds nobody.
    assert_eq!(draws(&[3], 8), 3);
}

/// Of 12 candidates in other zones each has 1/12: 4σ at 12 000 lists is 4·√(12000·11)/12 = 121.
#[test]
fn second_attempts_are_spread_alike() {
    let spares = spares(&[6, 6, 6]);
    let mut seen = vec![0_i64; 3000];
    let lists = 12_000;
    for seed in 0..lists {
        let second = list(&spares, 0, 2, &[], seed)[1];
        seen[second as usize] += 1;
    }
    for zone in 1..3 {
        for number in 0..6 {
            let count = seen[zone * 1000 + number];
            assert!((count - 1000).abs() <= 121, "{zone} {number}: {count}");
        }
    }
}

#[test]
fn look_at_candidates_is_bounded_however_many_failed() {
    let spares = spares(&[2000, 2000]);
    let looks = std::cell::Cell::new(0);
    let mut list = List::new(0, 0);
    let mut random = Random(1);
    spares.fill(
        &mut list,
        3,
        |_| {
            looks.set(looks.get() + 1);
            true
        },
        &mut || random.draw(),
    );
    assert_eq!(list.len(), 3);
    // The second entry: the other zone, then all; the third, for which no zone is left: all.
    assert_eq!(looks.get(), 3 * STEPS);
}

#[test]
fn header_value_uses_one_buffer() {
    let address = |text: &str| EndpointAddress::parse(text.as_bytes()).unwrap();
    let mut value = String::new();
    write_list(
        &mut value,
        [address("10.0.0.1:80"), address("[2001:db8::1]:443")],
    );
    assert_eq!(value, "10.0.0.1:80, [2001:db8::1]:443");
    let (place, capacity) = (value.as_ptr(), value.capacity());
    write_list(&mut value, [address("10.0.0.2:80")]);
    assert_eq!(value, "10.0.0.2:80");
    assert_eq!((value.as_ptr(), value.capacity()), (place, capacity));
    write_list(&mut value, []);
    assert_eq!(value, "");
}

#[test]
fn preparing_again_uses_the_same_memory_and_forgets_who_left() {
    let mut spares = spares(&[100]);
    for round in 0..10_000_u32 {
        spares.prepare((0..3).map(|number| (round + number, 0)));
    }
    assert_eq!(spares.len(), 3);
    let mut list = List::new(9_999, 0);
    spares.fill(&mut list, 8, |_| false, &mut || 0);
    let mut keys: Vec<u32> = list.iter().collect();
    keys.sort_unstable();
    assert_eq!(keys, [9_999, 10_000, 10_001]);
}

proptest! {
    /// Any pool, any failures, any draws: what a list of everything says is allowed, is what comes.
    #[test]
    fn entry_is_as_good_as_any_that_there_is(
        zones in prop::collection::vec(0_u32..6, 0..4),
        failed in prop::collection::btree_set(0_u32..6, 0..6),
        first in 0_u32..6,
        attempts in 0_usize..10,
        seed: u64,
    ) {
        let spares = spares(&zones);
        let failed: Vec<u32> = failed.iter().flat_map(|n| [*n, 1000 + n, 2000 + n]).collect();
        let list = list(&spares, first, attempts, &failed, seed);
        let all: Vec<u32> = (0_u32..).zip(&zones)
            .flat_map(|(zone, count)| (0..*count).map(move |number| zone * 1000 + number))
            .collect();
        prop_assert_eq!(list[0], first);
        for place in 1..list.len() {
            let (before, entry) = (&list[..place], list[place]);
            // The fewer, the better: with a recent failure, in a zone that was there.
            let rank = |key: u32| {
                let same_zone = before.iter().any(|other| zone_of(*other) == zone_of(key));
                (failed.contains(&key), same_zone)
            };
            let free = all.iter().filter(|key| !before.contains(key));
            let best = free.map(|key| rank(*key)).min();
            prop_assert_eq!(Some(rank(entry)), best);
        }
        let distinct: BTreeSet<u32> = list.iter().copied().collect();
        prop_assert_eq!(distinct.len(), list.len());
        let others = all.iter().filter(|key| **key != first).count();
        prop_assert_eq!(list.len(), (others + 1).min(attempts.clamp(1, MAX_ENTRIES)));
    }
}
