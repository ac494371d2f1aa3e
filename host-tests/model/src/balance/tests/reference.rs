//! Balancers of other projects: their formulae at points that can be computed by hand, and their distributions.

use super::*;

const SECOND: u64 = 1_000_000_000;

fn bench(of: Reference) -> Bench {
    Bench::new(&Of::Reference(of), 1)
}

fn at(now_ns: u64) -> Pick<'static> {
    Pick {
        now_ns,
        ..Pick::default()
    }
}

fn ended(now_ns: u64, took_ns: u64) -> Ended {
    Ended {
        now_ns,
        took_ns,
        succeeded: true,
    }
}

/// Says which of two endpoints is preferred at a time; an endpoint alone with another one is always compared.
fn preferred(bench: &mut Bench, now_ns: u64) -> usize {
    let hosts = hosts(&[1, 1]);
    let picked: Vec<Option<usize>> = (0..20)
        .map(|_| bench.pick_for(&hosts, &at(now_ns)))
        .collect();
    assert!(picked.iter().all(|pick| *pick == picked[0]), "{picked:?}");
    picked[0].unwrap()
}

#[test]
fn two_choices_are_distinct_and_equal_costs_uniform() {
    for of in [
        Reference::FinaglePeakEwma,
        Reference::IngressNginxEwma,
        Reference::LeastLoaded,
    ] {
        let shares = bench(of).shares(&hosts(&[1; 5]), 100_000);
        assert_shares(&shares, &[0.2; 5], 100_000);
    }
    // One that is strictly worse is in two fifths of the pairs, and never chosen.
    let mut bench = bench(Reference::LeastLoaded);
    bench.balancer.on_start(3, 0);
    let shares = bench.shares(&hosts(&[1; 5]), 100_000);
    assert_shares(&shares, &[0.25, 0.25, 0.25, 0.0, 0.25], 100_000);
}

#[test]
fn least_loaded_counts_what_ended_no_longer() {
    let mut bench = bench(Reference::LeastLoaded);
    bench.balancer.on_start(0, 0);
    assert_eq!(preferred(&mut bench, 0), 1);
    bench.balancer.on_start(1, 0);
    bench.balancer.on_start(1, 0);
    assert_eq!(preferred(&mut bench, 0), 0);
    bench.balancer.on_end(1, ended(1, 1));
    bench.balancer.on_end(1, ended(1, 1));
    bench.balancer.on_end(1, ended(1, 1));
    assert_eq!(preferred(&mut bench, 0), 1);
}

#[test]
fn peak_ewma_takes_a_peak_at_once_and_lets_it_decay_by_ten_seconds() {
    let mut bench = bench(Reference::FinaglePeakEwma);
    bench.balancer.on_start(0, 0);
    bench.balancer.on_end(0, ended(SECOND, SECOND));
    bench.balancer.on_start(1, SECOND);
    bench.balancer.on_end(1, ended(SECOND, SECOND / 2));
    assert_eq!(preferred(&mut bench, SECOND), 1);
    // The first decays from 1 s, the second is held at about 0.5 s by new peaks: they cross after 10 s × ln 2 = 6.93 s.
    for (after_ms, expected) in [(6_900, 1), (6_960, 0)] {
        let now_ns = SECOND + after_ms * 1_000_000;
        bench.balancer.on_start(1, now_ns);
        bench.balancer.on_end(1, ended(now_ns, SECOND / 2));
        assert_eq!(preferred(&mut bench, now_ns), expected, "{after_ms}");
    }
}

#[test]
fn peak_ewma_multiplies_by_requests_under_way_and_keeps_away_from_the_unknown() {
    let mut bench = bench(Reference::FinaglePeakEwma);
    // An endpoint without a sample is free until it has a request under way, then nearly forbidden.
    bench.balancer.on_start(0, 0);
    bench.balancer.on_end(0, ended(0, 100));
    assert_eq!(preferred(&mut bench, 0), 1);
    bench.balancer.on_start(1, 0);
    assert_eq!(preferred(&mut bench, 0), 0);
    // 250 × 1 against 100 × (1 + 1), then against 100 × (2 + 1).
    bench.balancer.on_end(1, ended(0, 250));
    bench.balancer.on_start(0, 0);
    assert_eq!(preferred(&mut bench, 0), 0);
    bench.balancer.on_start(0, 0);
    assert_eq!(preferred(&mut bench, 0), 1);
}

#[test]
fn peak_ewma_survives_a_clock_that_stands_steps_back_or_jumps_a_year() {
    let mut bench = bench(Reference::FinaglePeakEwma);
    let hosts = hosts(&[1; 3]);
    for now_ns in [
        5 * SECOND,
        5 * SECOND,
        0,
        365 * 86_400 * SECOND,
        u64::MAX,
        0,
    ] {
        for host in 0..3 {
            bench.balancer.on_start(host, now_ns);
            bench.balancer.on_end(host, ended(now_ns, now_ns));
        }
        assert!(bench.pick_for(&hosts, &at(now_ns)).is_some());
    }
}

#[test]
fn nginx_averages_by_time_and_ignores_requests_under_way() {
    let mut bench = bench(Reference::IngressNginxEwma);
    let ms = |milliseconds: u64| milliseconds * 1_000_000;
    bench.pick(&hosts(&[1, 1]));
    // The first sample counts fully.
    bench.balancer.on_end(0, ended(ms(0), ms(100)));
    bench.balancer.on_end(1, ended(ms(0), ms(110)));
    assert_eq!(preferred(&mut bench, 0), 0);
    for _ in 0..100 {
        bench.balancer.on_start(0, 0);
    }
    assert_eq!(preferred(&mut bench, 0), 0);
    // After 1 s a sample of 1000 ms weighs 1 − e^(−0.1) = 0.0952: 100 × 0.9048 + 95.2 = 185.6, and the other has
    // decayed.
    bench.balancer.on_end(0, ended(ms(1_000), ms(1_000)));
    assert_eq!(preferred(&mut bench, ms(1_000)), 1);
    // A sample of 1031 ms makes 110 × 0.9048 + 98.1 = 197.7 of the other; one of 900 ms would have made 185.2 of it.
    let mut close = Bench::new(&Of::Reference(Reference::IngressNginxEwma), 1);
    for (sample, expected) in [(900, 1), (910, 0)] {
        close.pick(&hosts(&[1, 1]));
        close.balancer.on_end(0, ended(ms(0), ms(100)));
        close.balancer.on_end(1, ended(ms(0), ms(110)));
        close.balancer.on_end(0, ended(ms(1_000), ms(1_000)));
        close.balancer.on_end(1, ended(ms(1_000), ms(sample)));
        assert_eq!(preferred(&mut close, ms(1_000)), expected, "{sample}");
        close = Bench::new(&Of::Reference(Reference::IngressNginxEwma), 1);
    }
}

#[test]
fn nginx_gives_a_newcomer_the_mean_of_the_others() {
    let mut bench = bench(Reference::IngressNginxEwma);
    let mut hosts = hosts(&[1; 3]);
    hosts.members = vec![0, 1];
    bench.pick_for(&hosts, &at(0));
    bench.balancer.on_end(0, ended(0, 100_000_000));
    bench.balancer.on_end(1, ended(0, 200_000_000));
    hosts.members = vec![0, 1, 2];
    hosts.generation = 2;
    let shares: Vec<f64> = bench.shares(&hosts, 30_000);
    // Each pair comes a third of the time: the first wins two, the newcomer with 150 ms wins one.
    assert_shares(&shares, &[2.0 / 3.0, 0.0, 1.0 / 3.0], 30_000);
}

#[test]
fn least_time_takes_the_lowest_mean_times_requests_and_equals_in_turn() {
    let mut bench = bench(Reference::TraefikLeastTime);
    let hosts = hosts(&[1, 2, 1]);
    // All have the score 0: by weight, to one pick.
    let shares = bench.shares(&hosts, 400);
    for (share, expected) in shares.iter().zip([0.25, 0.5, 0.25]) {
        assert!((share - expected).abs() < 1.5 / 400.0, "{shares:?}");
    }
    let sample = |bench: &mut Bench, host, took_ms: u64| {
        bench.balancer.on_start(host, 0);
        bench
            .balancer
            .on_end(host, ended(0, took_ms * 1_000_000 + 999_999));
    };
    sample(&mut bench, 0, 50);
    sample(&mut bench, 1, 90);
    sample(&mut bench, 2, 60);
    // 50, 45 by its weight, 60.
    assert_eq!(bench.pick(&hosts), Some(1));
    bench.balancer.on_start(1, 0);
    assert_eq!(bench.pick(&hosts), Some(0));
    bench.balancer.on_start(0, 0);
    assert_eq!(bench.pick(&hosts), Some(2));
    // A hundred samples later one of a minute is forgotten.
    sample(&mut bench, 2, 60_000);
    for _ in 0..100 {
        sample(&mut bench, 2, 10);
    }
    bench.balancer.on_end(0, ended(0, 50_000_000));
    bench.balancer.on_end(1, ended(0, 90_000_000));
    assert_eq!(bench.pick(&hosts), Some(2));
    for _ in 0..100 {
        sample(&mut bench, 2, 60);
    }
    assert_eq!(bench.pick(&hosts), Some(1));
}
