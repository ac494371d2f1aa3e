//! Endpoints that stand better are picked before those whose load is lower.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, num::NonZeroU32};

use proptest::prelude::*;
use tidegate_policy::{
    balance::{Candidate, Candidates, DRAWS, FURTHER, Picked, Reason, Seat, Sight, Spill, Zone},
    digest::xxh64,
    panic_mode::Fitness,
};

const PICKS: u32 = 100_000;

fn candidate(seat: u32, fitness: Fitness) -> Candidate {
    Candidate {
        seat: Seat(seat),
        weight: 1,
        factor: 1.0,
        newcomer: false,
        zone: Zone::Own,
        fitness,
    }
}

/// Are so many available ones, as their seats.
fn available(endpoints: u32) -> Vec<Candidate> {
    (0..endpoints)
        .map(|seat| candidate(seat, Fitness::Available))
        .collect()
}

fn well(cost_ms: f64) -> Sight {
    Sight {
        cost_ns: Some(cost_ms * 1e6),
        ..Sight::default()
    }
}

fn failed(cost_ms: f64) -> Sight {
    Sight {
        has_failed: true,
        ..well(cost_ms)
    }
}

fn prepared(candidates: &[Candidate], look: impl Fn(Seat) -> Sight) -> Candidates {
    let mut prepared = Candidates::new(Spill::new(2_000_000));
    prepared.prepare(candidates.iter().copied(), NonZeroU32::MIN, look);
    prepared
}

fn draws(index: u32) -> [u64; DRAWS] {
    [0, 1, 2].map(|seed| xxh64(&index.to_le_bytes(), seed))
}

fn picks(candidates: &[Candidate], look: impl Fn(Seat) -> Sight + Copy) -> Vec<Picked> {
    let candidates = prepared(candidates, look);
    (0..PICKS)
        .map(|index| candidates.pick(look, draws(index)).unwrap())
        .collect()
}

fn count(picks: &[Picked], counts: impl Fn(&Picked) -> bool) -> u32 {
    picks.iter().map(|picked| u32::from(counts(picked))).sum()
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

/// Of `n` with `k` fit ones: `1 − C(n − k, 2)/C(n, 2)`, and the same for each of the others.
#[test]
fn fit_ones_get_the_share_of_pairs_that_they_are_in() {
    for (fit, all) in [(1, 2), (1, 3), (4, 9), (4, 10), (1, 10), (49, 100)] {
        let candidates: Vec<Candidate> = (0..all)
            .map(|seat| {
                let is_fit = seat < fit;
                let fitness = if is_fit {
                    Fitness::Available
                } else {
                    Fitness::Unhealthy
                };
                candidate(seat, fitness)
            })
            .collect();
        // The unfit ones are faster: that is no reason.
        let picks = picks(&candidates, |seat| {
            well(if seat.0 < fit { 50.0 } else { 1.0 })
        });
        let unfit = f64::from(all - fit);
        let pairs = f64::from(all) * f64::from(all - 1);
        let p = 1.0 - unfit * (unfit - 1.0) / pairs;
        let to_fit = count(&picks, |picked| picked.endpoint.seat.0 < fit);
        if unfit > 1.0 {
            assert_probability(to_fit, p, "fit");
            let last = count(&picks, |picked| picked.endpoint.seat.0 == all - 1);
            assert_probability(last, (1.0 - p) / unfit, "one of the others");
        } else {
            assert_eq!(to_fit, PICKS);
        }
        let by_fitness = count(&picks, |picked| picked.reason == Reason::Fitter);
        assert_probability(
            by_fitness,
            2.0 * f64::from(fit) * unfit / pairs,
            "pairs of both",
        );
    }
}

#[test]
fn fitness_has_an_order() {
    let order = [
        Fitness::Available,
        Fitness::Draining,
        Fitness::Probing,
        Fitness::Ejected,
        Fitness::Unhealthy,
    ];
    for pair in order.windows(2) {
        let candidates = [candidate(0, pair[1]), candidate(1, pair[0])];
        let picks = picks(&candidates, |seat| {
            well(if seat.0 == 0 { 1.0 } else { 50.0 })
        });
        assert!(picks.iter().all(|picked| picked.endpoint.seat == Seat(1)));
    }
}

#[test]
fn endpoint_that_failed_lately_is_not_picked_while_another_did_not() {
    let look = |seat: Seat| {
        if seat.0 == 0 {
            failed(0.01)
        } else {
            well(50.0)
        }
    };
    for endpoints in [2, 3, 10] {
        let picks = picks(&available(endpoints), look);
        assert_eq!(count(&picks, |picked| picked.endpoint.seat == Seat(0)), 0);
        let spared = count(&picks, |picked| picked.reason == Reason::OtherFailed);
        assert_probability(spared, 2.0 / f64::from(endpoints), "a pair with it");
    }
}

/// Three of ten: a pair of them with 3/45, and then each of the further ones with 3/10.
#[test]
fn two_that_failed_lately_are_not_the_last_to_be_looked_at() {
    let look = |seat: Seat| if seat.0 < 3 { failed(0.01) } else { well(50.0) };
    let picks = picks(&available(10), look);
    let further = i32::try_from(FURTHER).unwrap();
    let p = 3.0 / 45.0 * 0.3_f64.powi(further);
    let to_failed = count(&picks, |picked| picked.endpoint.seat.0 < 3);
    assert_probability(to_failed, p, "nobody better was drawn");
    let mut shares = BTreeMap::new();
    for picked in &picks {
        *shares.entry(picked.endpoint.seat.0).or_insert(0) += 1;
    }
    for seat in 3..10 {
        assert_probability(shares[&seat], (1.0 - p) / 7.0, "all others alike");
    }
}

/// One that is drawn twice, by its weight, is not the only one.
#[test]
fn heavy_endpoint_that_failed_lately_is_spared_as_well() {
    let heavy = Candidate {
        weight: 3,
        ..candidate(0, Fitness::Available)
    };
    let candidates = [heavy, candidate(1, Fitness::Available)];
    let look = |seat: Seat| {
        if seat.0 == 0 {
            failed(0.01)
        } else {
            well(50.0)
        }
    };
    let picks = picks(&candidates, look);
    let further = i32::try_from(FURTHER).unwrap();
    let to_failed = count(&picks, |picked| picked.endpoint.seat == Seat(0));
    assert_probability(to_failed, 0.75_f64.powi(2 + further), "never the other");
}

#[test]
fn newcomer_that_failed_lately_is_not_taken_outright() {
    let newcomer = Candidate {
        factor: 0.5,
        newcomer: true,
        ..candidate(0, Fitness::Available)
    };
    let candidates = [newcomer, candidate(1, Fitness::Available)];
    let of_newcomer = |sight: Sight| {
        let look = move |seat: Seat| if seat.0 == 0 { sight } else { well(50.0) };
        count(&picks(&candidates, look), |picked| {
            picked.endpoint.seat == Seat(0)
        })
    };
    assert!(of_newcomer(well(500.0)) > 0);
    assert_eq!(of_newcomer(failed(0.01)), 0);
}

#[test]
fn zone_whose_endpoints_failed_lately_is_left_and_a_well_one_is_not() {
    let other = |seat: u32| Candidate {
        zone: Zone::Other,
        ..candidate(seat, Fitness::Available)
    };
    let candidates = [
        candidate(0, Fitness::Available),
        candidate(1, Fitness::Available),
        other(2),
        other(3),
    ];
    let left = |look: fn(Seat) -> Sight| {
        let picks = picks(&candidates, look);
        count(&picks, |picked| picked.endpoint.seat.0 >= 2)
    };
    let own_failed = |seat: Seat| if seat.0 < 2 { failed(1.0) } else { well(50.0) };
    let others_failed = |seat: Seat| {
        if seat.0 < 2 {
            well(5_000.0)
        } else {
            failed(1.0)
        }
    };
    assert_eq!(left(own_failed), PICKS);
    assert_eq!(left(others_failed), 0);
}

proptest! {
    /// Where all failed lately it is as if none had.
    #[test]
    fn failures_that_all_share_change_nothing(
        loads in prop::collection::vec((1.0..1e3_f64, 0..20_u32), 1..12),
        draws: [u64; DRAWS],
    ) {
        let look = |has_failed: bool| {
            let loads = loads.clone();
            move |seat: Seat| {
                let (cost_ms, in_flight) = loads[usize::try_from(seat.0).unwrap()];
                Sight { has_failed, in_flight, ..well(cost_ms) }
            }
        };
        let candidates = available(u32::try_from(loads.len()).unwrap());
        let candidates = prepared(&candidates, look(false));
        let none = candidates.pick(look(false), draws).unwrap();
        let all = candidates.pick(look(true), draws).unwrap();
        prop_assert_eq!(none.endpoint.seat, all.endpoint.seat);
        prop_assert_eq!(none.reason, all.reason);
    }

    /// Whoever lost is not better: no fitter; of those that are as fit none without a failure, unless
    /// it is over twice as slow; else none of a lower load.
    #[test]
    fn one_that_loses_is_not_better(
        given in prop::collection::vec((0..5_usize, any::<bool>(), 1.0..1e3_f64), 1..12),
        draws: [u64; DRAWS],
    ) {
        let fitnesses = [
            Fitness::Available,
            Fitness::Draining,
            Fitness::Probing,
            Fitness::Ejected,
            Fitness::Unhealthy,
        ];
        let candidates: Vec<Candidate> = (0..)
            .zip(&given)
            .map(|(seat, (fitness, _, _))| candidate(seat, fitnesses[*fitness]))
            .collect();
        let look = |seat: Seat| {
            let (_, has_failed, cost_ms) = given[usize::try_from(seat.0).unwrap()];
            Sight { has_failed, ..well(cost_ms) }
        };
        let picked = prepared(&candidates, look).pick(look, draws).unwrap();
        if let Some(other) = picked.other {
            let winner = picked.endpoint;
            prop_assert!(winner.fitness <= other.fitness, "{picked:?}");
            if winner.fitness == other.fitness {
                let is_slow = other.estimate_ns > 2.0 * winner.estimate_ns;
                let is_spared = !winner.has_failed && other.has_failed;
                prop_assert!(!winner.has_failed || other.has_failed || is_slow, "{picked:?}");
                prop_assert!(is_spared || winner.load <= other.load, "{picked:?}");
            }
        }
    }
}
