//! Who is picked, how often and why.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "the numbers are small, and seats are named by their index"
)]

use std::{cell::Cell, collections::BTreeMap, num::NonZeroU32};

use proptest::prelude::*;
use tidegate_policy::{
    balance::{
        Candidate, Candidates, DRAWS, Load, NotPicked, Picked, Reason, Seat, Sight, Spill, Zone,
    },
    digest::xxh64,
    panic_mode::Fitness,
};

const PICKS: u32 = 100_000;

fn candidate(seat: u32) -> Candidate {
    Candidate {
        seat: Seat(seat),
        weight: 1,
        factor: 1.0,
        newcomer: false,
        zone: Zone::Own,
        fitness: Fitness::Available,
    }
}

fn sight(cost_ms: f64, in_flight: u32) -> Sight {
    Sight {
        cost_ns: Some(cost_ms * 1e6),
        oldest_age_ns: 0.0,
        in_flight,
        has_failed: false,
    }
}

fn prepared(candidates: &[Candidate], workers: u32, look: impl Fn(Seat) -> Sight) -> Candidates {
    let mut prepared = Candidates::new(Spill::new(1_500_000));
    let workers = NonZeroU32::new(workers).unwrap();
    prepared.prepare(candidates.iter().copied(), workers, look);
    prepared
}

/// Are the n-th of a fixed row of random draws.
fn draws(index: u32) -> [u64; DRAWS] {
    [0, 1, 2].map(|seed| xxh64(&index.to_le_bytes(), seed))
}

/// Picks often, and counts by seat.
fn count(candidates: &Candidates, look: impl Fn(Seat) -> Sight) -> BTreeMap<(u32, Reason), u32> {
    let mut counts = BTreeMap::new();
    for index in 0..PICKS {
        let picked = candidates.pick(&look, draws(index)).unwrap();
        *counts
            .entry((picked.endpoint.seat.0, picked.reason))
            .or_insert(0) += 1;
    }
    counts
}

/// Is how often a seat was picked, for whatever reason.
fn of(counts: &BTreeMap<(u32, Reason), u32>, seat: u32) -> u32 {
    let of_seat = counts.iter().filter(|((picked, _), _)| *picked == seat);
    of_seat.map(|(_, count)| count).sum()
}

/// Holds a count to within four standard deviations of its probability.
#[track_caller]
fn assert_probability(count: u32, p: f64, what: &str) {
    let (observed, n) = (f64::from(count), f64::from(PICKS));
    let bound = 4.0 * (n * p * (1.0 - p)).sqrt();
    assert!(
        (observed - n * p).abs() <= bound,
        "{what}: {observed} of {n} at {p}, ± {bound}"
    );
}

fn equals(endpoints: u32) -> Vec<Candidate> {
    (0..endpoints).map(candidate).collect()
}

#[test]
fn nobody_is_picked_of_nobody() {
    let none = [
        vec![],
        vec![Candidate {
            weight: 0,
            ..candidate(0)
        }],
        vec![Candidate {
            factor: 0.0,
            ..candidate(0)
        }],
        vec![Candidate {
            factor: -1.0,
            ..candidate(0)
        }],
        vec![Candidate {
            factor: f64::NAN,
            ..candidate(0)
        }],
        vec![Candidate {
            factor: 1e-7,
            ..candidate(0)
        }],
    ];
    for candidates in none {
        let candidates = prepared(&candidates, 1, |_| Sight::default());
        assert!(candidates.is_empty());
        let picked = candidates.pick(|_| Sight::default(), [0; DRAWS]);
        assert_eq!(picked, Err(NotPicked::NoCandidate));
    }
}

#[test]
fn only_one_is_picked_without_a_comparison() {
    let candidates = prepared(&[candidate(3)], 1, |_| Sight::default());
    let picked = candidates
        .pick(|_| sight(2.0, 1), [u64::MAX; DRAWS])
        .unwrap();
    let expected = Picked {
        endpoint: Load {
            seat: Seat(3),
            estimate_ns: 2e6,
            in_flight: 1,
            load: 4e6,
            fitness: Fitness::Available,
            has_failed: false,
        },
        other: None,
        reason: Reason::Only,
    };
    assert_eq!(picked, expected);
}

#[test]
fn load_follows_the_formula() {
    // Weights 1 and 3 have the mean 2; a factor of 0.5; 100 ms and 2 requests under way.
    let heavy = Candidate {
        weight: 3,
        factor: 0.5,
        ..candidate(0)
    };
    let candidates = prepared(&[heavy, candidate(1)], 1, |_| sight(100.0, 2));
    let mut loads = BTreeMap::new();
    for index in 0..100 {
        let picked = candidates.pick(|_| sight(100.0, 2), draws(index)).unwrap();
        for load in [Some(picked.endpoint), picked.other].into_iter().flatten() {
            loads.insert(load.seat, load.load / 1e6);
        }
    }
    assert!(
        (loads[&Seat(0)] - 100.0 * (2.0 / 1.5 + 1.0) / 0.5).abs() < 1e-9,
        "{loads:?}"
    );
    assert!(
        (loads[&Seat(1)] - 100.0 * (2.0 / 0.5 + 1.0)).abs() < 1e-9,
        "{loads:?}"
    );
}

#[test]
fn estimate_is_the_age_of_the_oldest_where_that_is_more() {
    let candidates = prepared(&equals(1), 1, |_| Sight::default());
    for (cost_ms, age_ms, expected_ms) in [(100.0, 50.0, 100.0), (100.0, 250.0, 250.0)] {
        let look = |_| Sight {
            oldest_age_ns: age_ms * 1e6,
            ..sight(cost_ms, 1)
        };
        let picked = candidates.pick(look, [0; DRAWS]).unwrap();
        assert!((picked.endpoint.estimate_ns - expected_ms * 1e6).abs() < 1.0);
    }
}

#[test]
fn endpoint_without_a_sample_is_worth_the_mean_of_the_others() {
    let look = |seat: Seat| match seat.0 {
        0 => sight(100.0, 0),
        1 => sight(300.0, 0),
        _ => Sight::default(),
    };
    let candidates = prepared(&equals(3), 1, look);
    let counts = count(&candidates, look);
    // 200 ms wins against 300 ms and loses against 100 ms: of three pairs each wins as it should.
    assert_probability(of(&counts, 0), 2.0 / 3.0, "the fastest");
    assert_probability(of(&counts, 2), 1.0 / 3.0, "the unknown one");
    assert_eq!(of(&counts, 1), 0);
}

#[test]
fn long_idle_endpoints_are_equals_whatever_is_left_of_their_costs() {
    let look = |seat: Seat| sight(if seat.0 == 0 { 1e-30 } else { 1e-12 }, 0);
    let counts = count(&prepared(&equals(2), 1, look), look);
    assert_probability(of(&counts, 0), 0.5, "either");
}

#[test]
fn equals_are_picked_alike() {
    for endpoints in [2, 3, 10, 1_000] {
        let look = |_| sight(50.0, 3);
        let counts = count(&prepared(&equals(endpoints), 1, look), look);
        assert!(counts.keys().all(|(_, reason)| *reason == Reason::Equal));
        for seat in 0..endpoints {
            let p = 1.0 / f64::from(endpoints);
            assert_probability(of(&counts, seat), p, "one of equals");
        }
    }
}

#[test]
fn strictly_worse_endpoint_is_never_picked_and_the_best_by_all_its_pairs() {
    let look = |seat: Seat| sight(f64::from(seat.0 + 1), 0);
    let counts = count(&prepared(&equals(10), 1, look), look);
    assert_eq!(of(&counts, 9), 0);
    // In a pair with probability 2/10, and the n-th best wins against 9 − n others.
    for seat in 0..9 {
        let p = 0.2 * f64::from(9 - seat) / 9.0;
        assert_probability(of(&counts, seat), p, "by rank");
    }
}

#[test]
fn shares_of_idle_endpoints_follow_their_weights() {
    for weights in [
        vec![1, 2, 3, 4],
        vec![1, 128],
        vec![100, 0, 50],
        vec![u32::MAX, u32::MAX / 3, 1 << 30],
        vec![7, 7, 7, 8],
    ] {
        let candidates: Vec<Candidate> = (0..)
            .zip(&weights)
            .map(|(seat, weight)| Candidate {
                weight: *weight,
                ..candidate(seat)
            })
            .collect();
        let look = |_| sight(50.0, 0);
        let counts = count(&prepared(&candidates, 1, look), look);
        let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for (seat, weight) in (0..).zip(&weights) {
            assert_probability(of(&counts, seat), f64::from(*weight) / sum, "by weight");
        }
    }
}

/// Drawn twice with the probability of its share squared; the only way to be picked.
#[test]
fn strictly_worse_endpoint_of_some_weight_is_picked_only_if_drawn_twice() {
    let candidates = [
        candidate(0),
        Candidate {
            weight: 2,
            ..candidate(1)
        },
        Candidate {
            weight: 2,
            ..candidate(2)
        },
    ];
    let look = |seat: Seat| sight(if seat.0 == 1 { 500.0 } else { 50.0 }, 0);
    let counts = count(&prepared(&candidates, 1, look), look);
    assert_probability(of(&counts, 1), 0.4 * 0.4, "twice");
    assert_eq!(
        counts.get(&(1, Reason::Only)).copied(),
        Some(of(&counts, 1))
    );
}

fn newcomer(seat: u32, factor: f64) -> Candidate {
    Candidate {
        factor,
        newcomer: true,
        ..candidate(seat)
    }
}

/// Nine idle endpoints and one that is slow and joined: never by its load.
#[test]
fn newcomer_is_picked_with_probability_factor_over_all() {
    let look = |seat: Seat| sight(if seat.0 == 9 { 500.0 } else { 50.0 }, 0);
    for factor in [0.1, 0.5, 0.9] {
        let mut candidates = equals(9);
        candidates.push(newcomer(9, factor));
        let counts = count(&prepared(&candidates, 1, look), look);
        assert_probability(of(&counts, 9), factor / 10.0, "outright");
        assert_eq!(
            counts.get(&(9, Reason::Newcomer)).copied(),
            Some(of(&counts, 9))
        );
    }
}

#[test]
fn newcomer_is_not_taken_outright_beyond_its_limit() {
    let look = |in_flight: u32| {
        move |seat: Seat| match seat.0 {
            9 => sight(500.0, in_flight),
            _ => sight(50.0, 0),
        }
    };
    let mut candidates = equals(9);
    candidates.push(newcomer(9, 0.1));
    for (workers, last) in [(1, 7), (2, 3), (8, 0), (64, 0)] {
        let candidates = prepared(&candidates, workers, look(0));
        assert!(of(&count(&candidates, look(last)), 9) > 0, "{workers}");
        assert_eq!(of(&count(&candidates, look(last + 1)), 9), 0, "{workers}");
    }
    // 3 · 0.1 · 100 of the mean of 100 under way is more than 8.
    let busy =
        |in_flight: u32| move |seat: Seat| sight(50.0, if seat.0 == 9 { in_flight } else { 100 });
    let candidates = prepared(&candidates, 1, busy(100));
    for (in_flight, is_taken) in [(29, true), (30, false)] {
        let counts = count(&candidates, busy(in_flight));
        assert_eq!(
            counts.contains_key(&(9, Reason::Newcomer)),
            is_taken,
            "{in_flight}"
        );
    }
}

/// Ten times as slow as the mean with 0.1 · 30 under way of four workers each would be 120 at once
/// instead of 6.
#[test]
fn newcomer_that_nobody_has_a_sample_of_is_tried_carefully() {
    let look = |seat: Seat| match seat.0 {
        9 => Sight::default(),
        _ => sight(50.0, 30),
    };
    let mut candidates = equals(9);
    candidates.push(newcomer(9, 0.1));
    let candidates = prepared(&candidates, 4, look);
    let counts = count(&candidates, look);
    let outright = counts.get(&(9, Reason::Newcomer)).copied().unwrap();
    assert_probability(outright, 0.01 * 6.0 / (0.1 * 27.0 * 4.0 * 10.0), "tried");
    let busy = |seat: Seat| match seat.0 {
        9 => Sight {
            in_flight: 1,
            ..Sight::default()
        },
        _ => sight(50.0, 30),
    };
    assert!(!count(&candidates, busy).contains_key(&(9, Reason::Newcomer)));
}

#[test]
fn nobody_is_new_among_the_equally_new() {
    let candidates: Vec<Candidate> = (0..4).map(|seat| newcomer(seat, 0.1)).collect();
    let look = |_| sight(50.0, 0);
    let counts = count(&prepared(&candidates, 1, look), look);
    assert!(counts.keys().all(|(_, reason)| *reason == Reason::Equal));
}

#[test]
fn endpoint_that_drains_is_not_taken_outright() {
    let mut candidates = equals(3);
    candidates.push(Candidate {
        factor: 0.5,
        ..candidate(3)
    });
    let look = |_| sight(50.0, 0);
    assert_eq!(of(&count(&prepared(&candidates, 1, look), look), 3), 0);
    // With requests under way everywhere else it is: 50 · 1 / 0.5 against 50 · 3.
    let look = |seat: Seat| sight(50.0, if seat.0 == 3 { 0 } else { 2 });
    let counts = count(&prepared(&candidates, 1, look), look);
    assert_probability(of(&counts, 3), 0.5, "in each of its pairs");
}

fn other_zone(seat: u32) -> Candidate {
    Candidate {
        zone: Zone::Other,
        ..candidate(seat)
    }
}

#[test]
fn requests_leave_the_own_zone_by_estimate_and_load() {
    let candidates = [candidate(0), candidate(1), other_zone(2), other_zone(3)];
    // Own and other estimate and requests under way, and whether requests leave.
    let cases = [
        (50.0, 0, 50.0, 0, false),
        (50.0, 100, 50.0, 0, false),
        (75.0, 1_000, 50.0, 0, false),
        // A pressure of 0.33: 100 · 3 · 0.33 is more than 50, and 100 · 0.33 is less.
        (100.0, 2, 50.0, 0, true),
        (100.0, 0, 50.0, 0, false),
        (100.0, 2, 50.0, 1, false),
        // Twice the factor and more: the loads alone.
        (150.0, 0, 50.0, 1, true),
        (150.0, 0, 50.0, 3, false),
        (2_000.0, 0, 50.0, 30, true),
        (2_000.0, 0, 50.0, 50, false),
    ];
    for (own_ms, own, other_ms, other, leaves) in cases {
        let look = |seat: Seat| {
            if seat.0 < 2 {
                sight(own_ms, own)
            } else {
                sight(other_ms, other)
            }
        };
        let counts = count(&prepared(&candidates, 1, look), look);
        let left = of(&counts, 2) + of(&counts, 3);
        let expected = if leaves { PICKS } else { 0 };
        assert_eq!(left, expected, "{own_ms} {own} {other_ms} {other}");
        let is_explained = |((seat, reason), _): (&(u32, Reason), &u32)| {
            (*seat >= 2) == (*reason == Reason::OtherZone)
        };
        assert!(counts.iter().all(is_explained));
    }
}

/// Its turn is its turn: a newcomer that is slow at first would otherwise be left to other zones.
#[test]
fn newcomer_of_the_own_zone_keeps_its_turn() {
    let candidates = [candidate(0), newcomer(1, 0.5), other_zone(2)];
    let look = |seat: Seat| match seat.0 {
        0 => sight(50.0, 0),
        1 => sight(500.0, 3),
        _ => sight(50.0, 0),
    };
    let counts = count(&prepared(&candidates, 1, look), look);
    let outright = counts.get(&(1, Reason::Newcomer)).copied().unwrap();
    assert_probability(outright, 0.25, "outright");
    assert_eq!(of(&counts, 2), 0);
}

#[test]
fn endpoints_of_other_zones_are_compared_like_those_of_the_own_one() {
    let look = |seat: Seat| match seat.0 {
        0 => sight(5_000.0, 9),
        seat => sight(f64::from(seat), 0),
    };
    let candidates = [candidate(0), other_zone(1), other_zone(2), other_zone(3)];
    let counts = count(&prepared(&candidates, 1, look), look);
    assert_probability(of(&counts, 1), 2.0 / 3.0, "the best");
    assert_probability(of(&counts, 2), 1.0 / 3.0, "the second");
    assert_eq!(of(&counts, 3), 0);
}

#[test]
fn zone_without_endpoints_is_none() {
    let look = |_| sight(50.0, 0);
    let counts = count(&prepared(&[other_zone(0), other_zone(1)], 1, look), look);
    assert!(counts.keys().all(|(_, reason)| *reason == Reason::Equal));
    for (zone, own, expected) in [
        ("a", "a", Zone::Own),
        ("b", "a", Zone::Other),
        ("", "a", Zone::Other),
        ("a", "", Zone::Own),
        ("", "", Zone::Own),
    ] {
        assert_eq!(Zone::of(zone.as_bytes(), own.as_bytes()), expected);
    }
}

#[test]
fn pick_looks_at_no_more_endpoints_of_ten_thousand_than_of_four() {
    for (endpoints, other_zones, most) in [(4, false, 2), (10_000, false, 2), (10_000, true, 4)] {
        let mut candidates = equals(endpoints);
        if other_zones {
            candidates.extend((endpoints..2 * endpoints).map(other_zone));
        }
        let candidates = prepared(&candidates, 1, |_| sight(50.0, 0));
        for index in 0..1_000 {
            let looks = Cell::new(0);
            let look = |_| {
                looks.set(looks.get() + 1);
                sight(50.0, 1)
            };
            let _ = candidates.pick(look, draws(index)).unwrap();
            assert_eq!(looks.get(), most, "{endpoints}");
        }
    }
}

/// Is the comparison of equals by weight, in plain words.
fn naive(loads: &[f64], draws: [u64; DRAWS]) -> usize {
    let index = |draw: u64, below: usize| ((u128::from(draw) * below as u128) >> 64) as usize;
    let first = index(draws[0], loads.len());
    let others: Vec<usize> = (0..loads.len()).filter(|other| *other != first).collect();
    match others.get(index(draws[1], others.len())) {
        Some(second) if loads[*second] < loads[first] => *second,
        _ => first,
    }
}

/// Are numbers that come out of a calculation, and those that should not.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![4 => 0.0..1e12_f64, 1 => any::<f64>()]
}

proptest! {
    #[test]
    fn pick_is_that_of_the_naive_comparison(
        seen in prop::collection::vec((1e6..1e10_f64, 0..100_u32), 1..20),
        draws: [u64; DRAWS],
    ) {
        let look = |seat: Seat| {
            let (cost_ns, in_flight) = seen[seat.0 as usize];
            Sight { cost_ns: Some(cost_ns), oldest_age_ns: 0.0, in_flight, has_failed: false }
        };
        let candidates = prepared(&equals(seen.len() as u32), 1, look);
        let loads: Vec<f64> = seen
            .iter()
            .map(|(cost_ns, in_flight)| cost_ns * (f64::from(*in_flight) + 1.0))
            .collect();
        let picked = candidates.pick(look, draws).unwrap();
        prop_assert_eq!(picked.endpoint.seat.0 as usize, naive(&loads, draws));
    }

    /// Whatever is seen, whatever is asked: a candidate is picked, by numbers that are some.
    #[test]
    fn pick_is_always_a_candidate_with_a_finite_load(
        given in prop::collection::vec(
            (any::<u32>(), number(), any::<bool>(), any::<bool>()), 1..20),
        seen in prop::collection::vec((prop::option::of(number()), number(), any::<u32>()), 20),
        workers in 1..=u32::MAX,
        draws: [u64; DRAWS],
    ) {
        let look = |seat: Seat| {
            let (cost_ns, oldest_age_ns, in_flight) = seen[seat.0 as usize];
            Sight { cost_ns, oldest_age_ns, in_flight, has_failed: in_flight.is_multiple_of(3) }
        };
        let given: Vec<Candidate> = (0..)
            .zip(given)
            .map(|(seat, (weight, factor, newcomer, own))| Candidate {
                seat: Seat(seat),
                weight,
                factor,
                newcomer,
                zone: if own { Zone::Own } else { Zone::Other },
                fitness: Fitness::Available,
            })
            .collect();
        let is_eligible = |one: &Candidate| one.weight > 0 && one.factor >= 1e-6;
        let candidates = prepared(&given, workers, look);
        prop_assert_eq!(candidates.len(), given.iter().filter(|one| is_eligible(one)).count());
        match candidates.pick(look, draws) {
            Ok(picked) => {
                for load in [Some(picked.endpoint), picked.other].into_iter().flatten() {
                    prop_assert!(is_eligible(&given[load.seat.0 as usize]));
                    prop_assert!(load.load.is_finite() && load.load > 0.0, "{picked:?}");
                }
                let other = picked.other.map(|other| other.seat);
                prop_assert_ne!(other, Some(picked.endpoint.seat));
            }
            Err(NotPicked::NoCandidate) => prop_assert!(candidates.is_empty()),
        }
    }

    /// The same candidates, sights and draws decide the same, in a new table as in a used one.
    #[test]
    fn pick_depends_on_nothing_else(
        weights in prop::collection::vec(0..5_u32, 1..20),
        before in prop::collection::vec(0..5_u32, 0..30),
        draws: [u64; DRAWS],
    ) {
        let look = |seat: Seat| sight(f64::from(seat.0 % 3 + 1), seat.0 % 2);
        let given = |weights: &[u32]| -> Vec<Candidate> {
            (0..)
                .zip(weights)
                .map(|(seat, weight)| Candidate { weight: *weight, ..candidate(seat) })
                .collect()
        };
        let fresh = prepared(&given(&weights), 1, look);
        let mut used = prepared(&given(&before), 1, look);
        used.prepare(given(&weights).into_iter(), NonZeroU32::MIN, look);
        prop_assert_eq!(fresh.pick(look, draws), used.pick(look, draws));
    }
}
