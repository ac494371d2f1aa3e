//! Health, panic, and endpoints to avoid.

use super::*;

fn with_health(healths: &[Health]) -> Hosts {
    let mut hosts = hosts(&vec![1; healths.len()]);
    for (host, health) in hosts.all.iter_mut().zip(healths) {
        host.health = *health;
    }
    hosts
}

/// So many healthy, degraded and unhealthy endpoints, in this order.
fn mix(healthy: usize, degraded: usize, unhealthy: usize) -> Hosts {
    let of = |health, count| std::iter::repeat_n(health, count);
    let healths: Vec<Health> = of(Health::Healthy, healthy)
        .chain(of(Health::Degraded, degraded))
        .chain(of(Health::Unhealthy, unhealthy))
        .collect();
    with_health(&healths)
}

/// Shares of the healthy, degraded and unhealthy endpoints in picks of a balancer that draws uniformly.
fn shares(healthy: usize, degraded: usize, unhealthy: usize, threshold: f64) -> Option<[f64; 3]> {
    let mut draws = Draws::new(1, "balancer", 0);
    let mut balancer = balancer(&Of::LeastRequest { choice_count: 1 }, threshold, &mut draws);
    let hosts = mix(healthy, degraded, unhealthy);
    let mut counts = [0_u32; 3];
    for _ in 0..100_000 {
        let picked = balancer.pick(&hosts, &Pick::default(), &mut draws)?;
        let class = usize::from(picked >= healthy) + usize::from(picked >= healthy + degraded);
        counts[class] += 1;
    }
    Some(counts.map(|count| f64::from(count) / 100_000.0))
}

#[test]
fn load_follows_health_until_too_few_are_left() {
    // Healthy, degraded and unhealthy endpoints, the panic threshold, and the shares of each.
    let cases = [
        ("all healthy", (10, 0, 0), 0.5, [1.0, 0.0, 0.0]),
        ("exactly half", (5, 0, 5), 0.5, [1.0, 0.0, 0.0]),
        ("less than half", (4, 0, 6), 0.5, [0.4, 0.0, 0.6]),
        ("a threshold of none", (1, 0, 9), 0.0, [1.0, 0.0, 0.0]),
        // 140 × 8 / 10 is more than 100: no panic, whatever the threshold.
        ("enough for any threshold", (8, 0, 2), 1.0, [1.0, 0.0, 0.0]),
        ("just not enough", (7, 0, 3), 1.0, [0.7, 0.0, 0.3]),
        // Health 98, degraded 42, of 100 together: 98 to the healthy ones and what is left to the degraded.
        ("few degraded", (7, 3, 0), 0.5, [0.98, 0.02, 0.0]),
        // 42 and 84 of 100.
        ("many degraded", (3, 6, 1), 0.5, [0.42, 0.58, 0.0]),
        ("all degraded", (0, 10, 0), 0.5, [0.0, 1.0, 0.0]),
        // 28 and 42, of 70: 40 and 60.
        ("half is left", (2, 3, 5), 0.5, [0.4, 0.6, 0.0]),
        ("less is left", (2, 2, 6), 0.5, [0.2, 0.2, 0.6]),
        // 28 and 56, of 84: 33 and 66, and the one that rounding leaves is the healthy ones'.
        ("a rest of rounding", (1, 2, 2), 0.5, [0.34, 0.66, 0.0]),
        ("all unhealthy", (0, 0, 10), 0.5, [0.0, 0.0, 1.0]),
    ];
    for (name, (healthy, degraded, unhealthy), threshold, expected) in cases {
        let shares = shares(healthy, degraded, unhealthy, threshold).unwrap();
        println!("{name}");
        assert_shares(&shares, &expected, 100_000);
    }
    assert_eq!(shares(0, 0, 10, 0.0), None);
}

#[test]
fn draining_ones_are_chosen_from_in_panic_and_never_are_why_there_is_any() {
    use Health::{Draining, Healthy, Unhealthy};
    let picked = |health: &[Health]| {
        let hosts = with_health(health);
        let mut bench = Bench::new(&Of::RoundRobin, 1);
        let mut picked: Vec<usize> = (0..10).map(|_| bench.pick(&hosts).unwrap()).collect();
        picked.sort_unstable();
        picked.dedup();
        picked
    };
    assert_eq!(picked(&[Healthy, Draining, Healthy]), [0, 2]);
    // One of four, and one of one that counts.
    assert_eq!(picked(&[Healthy, Draining, Draining, Draining]), [0]);
    assert_eq!(
        picked(&[Healthy, Unhealthy, Unhealthy, Unhealthy, Draining]),
        [0, 1, 2, 3, 4]
    );
    assert_eq!(picked(&[Draining, Draining]), [0, 1]);
}

#[test]
fn change_of_health_counts_with_its_generation() {
    let mut hosts = mix(3, 0, 0);
    let mut bench = Bench::new(&Of::RoundRobin, 1);
    bench.pick(&hosts);
    hosts.all[0].health = Health::Unhealthy;
    hosts.generation += 1;
    assert!((0..9).all(|_| bench.pick(&hosts) != Some(0)));
}

#[test]
fn hashes_know_of_no_degraded_endpoints() {
    for of in [
        Of::Maglev,
        Of::RingHash {
            minimum_ring_size: 64,
        },
    ] {
        let mut bench = Bench::new(&of, 1);
        let hosts = mix(1, 9, 0);
        assert!((0..100).all(|_| bench.pick(&hosts) == Some(0)));
        let mut degraded = mix(0, 3, 0);
        degraded.generation = 2;
        assert_eq!(bench.pick(&degraded), None);
        let mut unhealthy = mix(0, 0, 3);
        unhealthy.generation = 3;
        assert!(bench.pick(&unhealthy).is_some());
    }
}

#[test]
fn endpoint_to_avoid_is_chosen_only_when_the_tries_run_out() {
    let hosts = hosts(&[1; 4]);
    let pick = |avoid_attempts| Pick {
        attempt: 2,
        avoid: &[0],
        avoid_attempts,
        ..Pick::default()
    };
    for (of, shares_of_first) in [
        // Each try is of all four.
        (Of::Random, [0.25, 0.0625, 0.25_f64.powi(5)]),
        // The next one in turn is another one.
        (Of::RoundRobin, [0.25, 0.0, 0.0]),
    ] {
        for (avoid_attempts, expected) in [0, 1, 4].into_iter().zip(shares_of_first) {
            let mut bench = Bench::new(&of, 1);
            let picks = 10_000;
            let count = (0..picks)
                .filter(|_| bench.pick_for(&hosts, &pick(avoid_attempts)) == Some(0))
                .count();
            let share = f64::from(u32::try_from(count).unwrap()) / f64::from(picks);
            assert_shares(&[share], &[expected], picks);
        }
    }
}

#[test]
fn hash_to_avoid_goes_elsewhere() {
    let hosts = hosts(&[1; 10]);
    for of in [
        Of::Maglev,
        Of::RingHash {
            minimum_ring_size: 1_024,
        },
    ] {
        let mut bench = Bench::new(&of, 1);
        let mut draws = Draws::new(1, "hashes", 0);
        for _ in 0..1_000 {
            let first = Pick {
                hash: Some(draws.next_u64()),
                ..Pick::default()
            };
            let avoid = [bench.pick_for(&hosts, &first).unwrap()];
            let again = Pick {
                avoid: &avoid,
                avoid_attempts: 20,
                ..first
            };
            assert_ne!(bench.pick_for(&hosts, &again), Some(avoid[0]), "{of:?}");
        }
    }
}

#[test]
fn other_projects_have_no_unhealthy_endpoints_in_their_lists() {
    for of in [
        Reference::FinaglePeakEwma,
        Reference::IngressNginxEwma,
        Reference::LeastLoaded,
        Reference::TraefikLeastTime,
    ] {
        let mut bench = Bench::new(&Of::Reference(of), 1);
        let hosts = mix(1, 1, 8);
        for _ in 0..100 {
            assert!(bench.pick(&hosts).unwrap() < 2, "{of:?}");
        }
        let mut none = mix(0, 0, 3);
        none.generation = 2;
        assert_eq!(bench.pick(&none), None);
    }
}
