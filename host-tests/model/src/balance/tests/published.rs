//! The smallest closed loop, around balancers alone: figures that others published of them come out. `tidegate prove
//! model` has the same from the whole runner.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;

/// What an endpoint does with a request: how long it takes, and whether it answers well.
type Behaviour = fn(host: usize, now_ns: u64, draws: &mut Draws) -> (u64, bool);

/// Share of requests for which `counts` holds, of 60 s at 1000 a second, that come independently, on so many workers.
fn share(
    of: &Of,
    endpoints: usize,
    workers: usize,
    seed: u64,
    behaves: Behaviour,
    counts: fn(u64, bool) -> bool,
) -> f64 {
    let mut picks = Draws::new(seed, "balancers", 0);
    let mut balancers: Vec<_> = (0..workers)
        .map(|_| balancer(of, 0.5, &mut picks))
        .collect();
    let (mut arrivals, mut latencies) = (
        Draws::new(seed, "arrivals", 0),
        Draws::new(seed, "latencies", 0),
    );
    let hosts = hosts(&vec![1; endpoints]);
    let mut under_way = BinaryHeap::new();
    let (mut now, mut all, mut counted) = (0.0, 0_u32, 0_u32);
    loop {
        now += arrivals.exponential(1e6);
        let now_ns = std::time::Duration::from_secs_f64(now / 1e9).as_nanos();
        let now_ns = u64::try_from(now_ns).unwrap();
        if now_ns >= 60 * SECOND {
            return f64::from(counted) / f64::from(all);
        }
        while let Some(Reverse((ends_ns, worker, host, took_ns, succeeded))) = under_way.pop() {
            if ends_ns > now_ns {
                under_way.push(Reverse((ends_ns, worker, host, took_ns, succeeded)));
                break;
            }
            let balancer: &mut Box<dyn Balancer> = &mut balancers[worker];
            balancer.on_end(
                host,
                Ended {
                    now_ns: ends_ns,
                    took_ns,
                    succeeded,
                },
            );
        }
        let worker = arrivals.index(workers);
        let pick = Pick {
            attempt: 1,
            now_ns,
            ..Pick::default()
        };
        let host = balancers[worker].pick(&hosts, &pick, &mut picks).unwrap();
        balancers[worker].on_start(host, now_ns);
        let (took_ns, succeeded) = behaves(host, now_ns, &mut latencies);
        all += 1;
        counted += u32::from(counts(took_ns, succeeded));
        under_way.push(Reverse((
            now_ns + took_ns,
            worker,
            host,
            took_ns,
            succeeded,
        )));
    }
}

/// Asserts that the mean over five seeds is a published figure, which is one run's and rounded: within four standard
/// deviations of the difference between one run and a mean of five.
#[track_caller]
fn assert_published(published: f64, rounding: f64, run: impl Fn(u64) -> f64) {
    let runs: Vec<f64> = (1..=5).map(run).collect();
    let mean = runs.iter().sum::<f64>() / 5.0;
    let variance = runs.iter().map(|run| (run - mean).powi(2)).sum::<f64>() / 4.0;
    let bound = rounding + 4.0 * (variance * 1.2).sqrt();
    assert!((mean - published).abs() <= bound, "{published}: {runs:?}");
}

/// One of eleven takes 2 s for half of the time; the others, and it before and after, about 167 ms.
fn slow_endpoint(host: usize, now_ns: u64, draws: &mut Draws) -> (u64, bool) {
    if host == 0 && (15 * SECOND..45 * SECOND).contains(&now_ns) {
        return (2 * SECOND, true);
    }
    let seconds = 0.167 * libm::exp(0.05 * draws.normal());
    let nanoseconds = std::time::Duration::from_secs_f64(seconds).as_nanos();
    (u64::try_from(nanoseconds).unwrap(), true)
}

#[test]
fn share_of_slow_requests_with_one_slow_endpoint_is_the_published_one() {
    let over_a_second = |took_ns, _| took_ns > SECOND;
    let cases = [
        (Of::RoundRobin, 1, 0.0455, 0.000_05),
        (Of::Reference(Reference::LeastLoaded), 1, 0.0051, 0.000_05),
        (
            Of::Reference(Reference::IngressNginxEwma),
            1,
            0.0120,
            0.000_05,
        ),
        (
            Of::Reference(Reference::FinaglePeakEwma),
            1,
            0.000_79,
            0.000_005,
        ),
        (
            Of::Reference(Reference::FinaglePeakEwma),
            16,
            0.001_32,
            0.000_005,
        ),
    ];
    for (of, workers, published, rounding) in cases {
        assert_published(published, rounding, |seed| {
            share(&of, 11, workers, seed, slow_endpoint, over_a_second)
        });
    }
}

/// One of ten fails in 1 ms, the others take 50 ms.
fn quick_failure(host: usize, _now_ns: u64, _draws: &mut Draws) -> (u64, bool) {
    if host == 0 {
        (MILLISECOND, false)
    } else {
        (50 * MILLISECOND, true)
    }
}

#[test]
fn endpoint_that_fails_quickly_draws_the_published_share() {
    let cases = [
        (Of::RoundRobin, 0.10),
        (Of::Reference(Reference::FinaglePeakEwma), 0.20),
        (Of::Reference(Reference::IngressNginxEwma), 0.20),
        (Of::Reference(Reference::LeastLoaded), 0.20),
        (Of::Reference(Reference::TraefikLeastTime), 1.00),
    ];
    for (of, published) in cases {
        assert_published(published, 0.005, |seed| {
            share(&of, 10, 1, seed, quick_failure, |_, succeeded| !succeeded)
        });
    }
}
