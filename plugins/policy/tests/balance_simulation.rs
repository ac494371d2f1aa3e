//! Balancers over modelled endpoints, in virtual time: what the formulae give.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "the numbers are small, and endpoints are named by their index"
)]

mod balancing;

use balancing::{MS, Random, SECOND, Sent, Trial, address, at, endpoint, run, settings};

const MEDIAN_NS: f64 = 167e6;
const SEEDS: u64 = 5;

/// One of eleven takes 2 s for half of the time; the others, and it before and after, about 167 ms.
fn slow_endpoint(index: usize, now_ns: u64, random: &mut Random) -> (f64, bool) {
    if index == 0 && (15 * SECOND..45 * SECOND).contains(&now_ns) {
        return (2e9, true);
    }
    (random.around(MEDIAN_NS, 0.05), true)
}

fn share(sent: &[Sent], counts: impl Fn(&Sent) -> bool) -> f64 {
    sent.iter().filter(|sent| counts(sent)).count() as f64 / sent.len() as f64
}

#[test]
fn explore_t1() {
    let errors = |index: usize, now_ns: u64, random: &mut Random| {
        let (took, _) = slow_endpoint(index, now_ns, random);
        if random.unit() < 0.01 {
            (1e6, false)
        } else {
            (took, true)
        }
    };
    for (name, behaves) in [
        (
            "T1",
            &slow_endpoint as &dyn Fn(usize, u64, &mut Random) -> (f64, bool),
        ),
        ("T1b", &errors),
    ] {
        for (workers, merged) in [(1, false), (4, false), (4, true), (16, false), (16, true)] {
            let shares: Vec<f64> = (1..=SEEDS)
                .map(|seed| {
                    let sent = run(&Trial {
                        rate: 1_000.0,
                        seconds: 60,
                        workers,
                        merged,
                        seed,
                        members: &|_| {
                            (0..11)
                                .map(|index| (index, endpoint(), &b"a"[..]))
                                .collect()
                        },
                        behaves,
                    });
                    share(&sent, |sent| sent.took_ns > SECOND)
                })
                .collect();
            let mean = shares.iter().sum::<f64>() / SEEDS as f64;
            println!(
                "{name} {workers} {merged}: {:.4} % {shares:?}",
                mean * 100.0
            );
        }
    }
}
