//! Who takes over a session: agreement, shares, and how little moves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate_policy::digest::xxh64;
use tidegate_policy::successor::{Candidate, Placement, place, successor};

/// Is a set of endpoints that owns its names.
type Set = BTreeMap<String, u32>;

fn endpoints(weights: &[u32]) -> Set {
    (1_u32..)
        .zip(weights)
        .map(|(index, weight)| (format!("10.0.0.{index}:8080"), *weight))
        .collect()
}

fn candidates(set: &Set) -> impl Iterator<Item = Candidate<'_>> {
    set.iter().map(|(name, weight)| Candidate {
        name: name.as_bytes(),
        weight: *weight,
    })
}

fn pick(nonce: u64, set: &Set) -> Option<String> {
    let picked = successor(nonce.to_le_bytes(), candidates(set))?;
    Some(String::from_utf8(picked.name.to_vec()).unwrap())
}

/// Is the n-th of a fixed row of random nonces.
fn nonce(index: u64) -> u64 {
    xxh64(&index.to_le_bytes(), 99)
}

/// Holds each count to within four standard deviations of its share of the whole.
#[track_caller]
fn assert_shares(counts: &BTreeMap<String, u32>, shares: &Set) {
    let total: f64 = counts.values().map(|count| f64::from(*count)).sum();
    let weights: f64 = shares.values().map(|weight| f64::from(*weight)).sum();
    for (name, weight) in shares {
        let p = f64::from(*weight) / weights;
        let observed = f64::from(counts.get(name).copied().unwrap_or(0));
        let bound = 4.0 * (total * p * (1.0 - p)).sqrt();
        assert!(
            (observed - total * p).abs() <= bound,
            "{name}: {observed} of {total} at {p}, ± {bound}"
        );
    }
}

fn count(set: &Set, nonces: u64) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for index in 0..nonces {
        *counts.entry(pick(nonce(index), set).unwrap()).or_insert(0) += 1;
    }
    counts
}

#[test]
fn sessions_are_shared_by_weight() {
    for weights in [
        vec![1; 10],
        vec![7; 3],
        vec![1, 2, 3, 4, 5],
        vec![1, 128],
        vec![u32::MAX, u32::MAX / 3, 1 << 30],
        vec![100, 0, 50],
    ] {
        let set = endpoints(&weights);
        assert_shares(&count(&set, 100_000), &set);
    }
}

/// Sequential nonces and addresses that differ in a digit are no worse than random ones.
#[test]
fn nonces_in_a_row_are_shared_like_random_ones() {
    let set = endpoints(&[1; 10]);
    let mut counts = BTreeMap::new();
    for index in 0..100_000 {
        *counts.entry(pick(index, &set).unwrap()).or_insert(0) += 1;
    }
    assert_shares(&counts, &set);
}

#[test]
fn sessions_of_an_endpoint_that_leaves_spread_over_all_others_by_weight() {
    let before = endpoints(&[1, 1, 2, 3, 4]);
    let (gone, _) = before.first_key_value().unwrap();
    let mut after = before.clone();
    after.remove(gone);
    let mut counts = BTreeMap::new();
    for index in 0..200_000 {
        let (from, to) = (pick(nonce(index), &before), pick(nonce(index), &after));
        if from.as_ref() == Some(gone) {
            *counts.entry(to.unwrap()).or_insert(0) += 1;
        } else {
            assert_eq!(from, to);
        }
    }
    assert_shares(&counts, &after);
}

#[test]
fn session_moves_once_per_departure_and_never_back() {
    let all = endpoints(&[1; 6]);
    for index in 0..2000 {
        let nonce = nonce(index).to_le_bytes();
        let own = |set: &Set, own: &str| match place(own.as_bytes(), nonce, candidates(set)) {
            Placement::Kept => own.to_owned(),
            Placement::Moved(to) => String::from_utf8(to.name.to_vec()).unwrap(),
            Placement::Nobody => panic!("there are some"),
        };
        let first = all.keys().nth(usize::try_from(index % 6).unwrap()).unwrap();
        assert_eq!(&own(&all, first), first);
        let mut set = all.clone();
        set.remove(first);
        let second = own(&set, first);
        // The return of the first changes nothing for the cookie that names the second.
        assert_eq!(own(&all, &second), second);
        set.remove(&second);
        let third = own(&set, &second);
        assert!(third != *first && third != second);
        assert_eq!(pick(u64::from_le_bytes(nonce), &set), Some(third.clone()));
        assert_eq!(own(&all, &third), third);
    }
}

#[test]
fn endpoint_of_weight_zero_keeps_its_own_and_takes_nobody_else() {
    let set = endpoints(&[0, 0]);
    let own = place(b"10.0.0.1:8080", [1; 8], candidates(&set));
    assert_eq!(own, Placement::Kept);
    assert_eq!(
        place(b"10.0.0.3:8080", [1; 8], candidates(&set)),
        Placement::Nobody
    );
    assert_eq!(place(b"10.0.0.3:8080", [1; 8], []), Placement::Nobody);
    assert_eq!(successor([1; 8], []), None);
}

#[test]
fn name_that_stands_twice_counts_once_with_its_larger_weight() {
    let name = b"10.0.0.1:8080".as_slice();
    let other = Candidate {
        name: b"10.0.0.2:8080",
        weight: 5,
    };
    let once = [Candidate { name, weight: 7 }, other];
    let twice = [
        Candidate { name, weight: 1 },
        other,
        Candidate { name, weight: 7 },
    ];
    for index in 0..10_000 {
        let nonce = nonce(index).to_le_bytes();
        assert_eq!(successor(nonce, once), successor(nonce, twice));
    }
}

/// A change of one of these is another `HASH_VERSION`: replicas of two versions would disagree. A
/// program of its own, with decimals for logarithms and fractions for turns, computed the same.
#[test]
fn picks_are_the_golden_ones() {
    let equal = endpoints(&[1; 10]);
    let weighted = endpoints(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    let last = |set: &Set, nonce| {
        let name = pick(nonce, set).unwrap();
        name.trim_start_matches("10.0.0.")
            .trim_end_matches(":8080")
            .parse::<u32>()
            .unwrap()
    };
    let picks = |set: &Set| (0..16).map(|nonce| last(set, nonce)).collect::<Vec<_>>();
    assert_eq!(
        picks(&equal),
        [5, 2, 5, 9, 4, 1, 5, 7, 6, 4, 4, 6, 10, 7, 6, 10]
    );
    assert_eq!(
        picks(&weighted),
        [5, 2, 5, 9, 8, 9, 5, 7, 9, 10, 9, 6, 10, 7, 6, 10]
    );
}

/// The same race in floating point: an independent reading of the formula.
#[test]
fn picks_are_those_of_the_formula_in_floating_point() {
    let set = endpoints(&[3, 1, 4, 1, 5, 9, 2, 6, 128, 1000]);
    for index in 0..20_000 {
        let nonce = nonce(index);
        let arrival = |(name, weight): (&String, &u32)| {
            let u = (xxh64(name.as_bytes(), nonce) as f64 + 0.5) / f64::from(2_u32).powi(64);
            -u.ln() / f64::from(*weight)
        };
        let first = set
            .iter()
            .min_by(|a, b| arrival(*a).total_cmp(&arrival(*b)))
            .unwrap();
        assert_eq!(pick(nonce, &set).as_ref(), Some(first.0), "{nonce}");
    }
}

fn any_set() -> impl Strategy<Value = Set> {
    prop::collection::btree_map("[a-z0-9.:]{0,12}", 0_u32..200, 1..24)
}

proptest! {
    #[test]
    fn order_of_the_set_has_no_part_in_the_pick(
        set in any_set(),
        nonce in any::<[u8; 8]>(),
        turn in 0_usize..24,
    ) {
        let mut list: Vec<Candidate<'_>> = candidates(&set).collect();
        let picked = successor(nonce, list.iter().copied());
        let turn = turn % list.len();
        list.rotate_left(turn);
        prop_assert_eq!(successor(nonce, list.iter().copied()), picked);
        list.reverse();
        prop_assert_eq!(successor(nonce, list.iter().copied()), picked);
        prop_assert_eq!(picked.is_none(), set.values().all(|weight| *weight == 0));
    }

    /// Two gateways whose sets differ by one endpoint disagree only about its sessions.
    #[test]
    fn removal_moves_only_the_sessions_of_the_removed(
        set in any_set(),
        nonce in any::<u64>(),
        which in any::<prop::sample::Index>(),
    ) {
        let mut less = set.clone();
        let gone = set.keys().nth(which.index(set.len())).unwrap();
        less.remove(gone);
        let before = pick(nonce, &set);
        if before.as_ref() != Some(gone) {
            prop_assert_eq!(pick(nonce, &less), before);
        }
    }

    #[test]
    fn heavier_endpoint_takes_sessions_and_loses_none(
        set in any_set(),
        nonce in any::<u64>(),
        which in any::<prop::sample::Index>(),
        more in 1_u32..1000,
    ) {
        let raised = set.keys().nth(which.index(set.len())).unwrap();
        let mut heavier = set.clone();
        *heavier.get_mut(raised).unwrap() += more;
        let (before, after) = (pick(nonce, &set), pick(nonce, &heavier));
        prop_assert!(after == before || after.as_ref() == Some(raised));
    }

    #[test]
    fn pick_of_any_bytes_and_weights_is_one_of_them(
        names in prop::collection::vec((any::<Vec<u8>>(), any::<u32>()), 0..20),
        nonce in any::<[u8; 8]>(),
    ) {
        let list = names.iter().map(|(name, weight)| Candidate { name, weight: *weight });
        if let Some(picked) = successor(nonce, list.clone()) {
            prop_assert!(list.clone().any(|candidate| candidate == picked));
        }
    }
}
