//! Balancers over modelled endpoints, in virtual time: what the formulae give at a slow endpoint,
//! at one that joins cold, and between zones. Every figure is the mean or the worst of five seeds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "the numbers are small, and endpoints are named by their index"
)]

mod balancing;

use std::num::NonZeroU32;

use balancing::{Asked, Behaviour, MS, Random, SECOND, Sent, Trial, at, endpoint, run};
use tidegate_policy::{
    balance::Reason,
    snapshot::{Endpoint, State},
};

const MEDIAN_NS: f64 = 167e6;
const SEEDS: u64 = 5;

type Member = (usize, Endpoint, &'static [u8]);

/// Are so many endpoints of one zone, which were always there.
fn steady(endpoints: usize) -> Vec<Member> {
    (0..endpoints)
        .map(|index| (index, endpoint(), &b"a"[..]))
        .collect()
}

fn share(sent: &[Sent], counts: impl Fn(&Sent) -> bool) -> f64 {
    sent.iter().filter(|sent| counts(sent)).count() as f64 / sent.len() as f64
}

/// One of eleven takes 2 s for half of the time; the others, and it before and after, about 167 ms.
fn slow_middle(asked: Asked, random: &mut Random) -> (f64, bool) {
    if asked.endpoint == 0 && (15 * SECOND..45 * SECOND).contains(&asked.at_ns) {
        return (2e9, true);
    }
    (random.around(MEDIAN_NS, 0.05), true)
}

/// The same, and one request in a hundred fails in 1 ms wherever it goes.
fn slow_middle_with_errors(asked: Asked, random: &mut Random) -> (f64, bool) {
    let answer = slow_middle(asked, random);
    if random.unit() < 0.01 {
        (1e6, false)
    } else {
        answer
    }
}

/// Is the share of requests over a second, of 60 s at 1000 a second: its mean and the standard
/// deviation of that mean, over the seeds.
fn share_of_slow_ones(workers: usize, merged: bool, behaves: &Behaviour<'_>) -> (f64, f64) {
    let shares: Vec<f64> = (1..=SEEDS)
        .map(|seed| {
            let sent = run(&Trial {
                rate: 1_000.0,
                seconds: 60,
                workers,
                merged,
                seed,
                members: &|_| steady(11),
                behaves,
            });
            share(&sent, |sent| sent.took_ns > SECOND)
        })
        .collect();
    let mean = shares.iter().sum::<f64>() / SEEDS as f64;
    let squares: f64 = shares.iter().map(|share| (share - mean).powi(2)).sum();
    let deviation = (squares / (SEEDS * (SEEDS - 1)) as f64).sqrt();
    println!("{workers} workers, merged: {merged}: {mean:.6} ± {deviation:.6}");
    (mean, deviation)
}

/// Peak EWMA without the age of the oldest request has 0.079 %, and with 16 workers that know
/// nothing of each other 0.132 %.
#[test]
fn slow_middle_is_met_by_less_than_nine_requests_in_ten_thousand() {
    for (workers, merged) in [(1, false), (4, true), (16, true)] {
        for behaves in [&slow_middle as &Behaviour<'_>, &slow_middle_with_errors] {
            let (mean, deviation) = share_of_slow_ones(workers, merged, behaves);
            assert!(mean + 4.0 * deviation <= 0.000_9, "{workers}: {mean}");
        }
    }
}

/// What merging is for: sixteen workers find out for themselves, each by requests of its own.
#[test]
fn slow_middle_is_met_more_often_by_workers_that_do_not_hear_of_each_other() {
    let (isolated, _) = share_of_slow_ones(16, false, &slow_middle);
    let (merged, deviation) = share_of_slow_ones(16, true, &slow_middle);
    assert!(isolated > merged + 4.0 * deviation, "{isolated} {merged}");
    assert!(isolated < 0.001_32, "{isolated}");
}

/// The cost of 2 s is that of the others, 167 ms and more, after at most 10 s · ln(2 / 0.167) =
/// 24.8 s; then the first pair with it is enough.
#[test]
fn endpoint_that_was_slow_is_tried_again_within_25_s() {
    for rate in [20.0, 100.0, 1_000.0] {
        let longest = (1..=SEEDS).map(|seed| {
            let sent = run(&Trial {
                rate,
                seconds: 75,
                workers: 1,
                merged: false,
                seed,
                members: &|_| steady(11),
                behaves: &slow_middle,
            });
            let slow = sent.iter().filter(|sent| sent.endpoint == 0);
            let starts: Vec<u64> = slow.map(|sent| sent.at_ns).collect();
            starts
                .windows(2)
                .map(|pair| pair[1] - pair[0])
                .max()
                .unwrap()
        });
        let longest = longest.max().unwrap();
        println!("{rate}/s: not tried for {} ms", longest / MS);
        assert!(longest <= 25 * SECOND, "{rate}: {longest}");
    }
}

const JOINS_NS: u64 = 10 * SECOND;

/// Is what a joiner goes through: its share of each quarter of the window, in parts of what slow
/// start gives it, and the most requests that it had under way in its first second.
fn cold_start(
    warm: usize,
    rate: f64,
    workers: usize,
    median_ns: f64,
    seed: u64,
) -> ([f64; 4], u32) {
    let sent = run(&Trial {
        rate,
        seconds: 70,
        workers,
        merged: true,
        seed,
        members: &|now_ns| {
            let mut members = steady(warm);
            if now_ns >= JOINS_NS {
                let mut joiner = endpoint();
                joiner.state = State::Available {
                    slow_start: Some(at(JOINS_NS)),
                };
                members.push((warm, joiner, b"a"));
            }
            members
        },
        behaves: &|asked, random| {
            let mut took_ns = random.around(median_ns, 0.05);
            if asked.endpoint == warm {
                // Eleven times as slow at first, in a straight line to as fast as the others.
                let warmth = (asked.at_ns - JOINS_NS) as f64 / 10e9;
                took_ns *= 1.0 + 10.0 * (1.0 - warmth).max(0.0);
            }
            (took_ns, true)
        },
    });
    let (mut got, mut given) = ([0.0; 4], [0.0; 4]);
    let mut peak = 0;
    for sent in sent.iter().filter(|sent| sent.at_ns >= JOINS_NS) {
        let passed_ns = sent.at_ns - JOINS_NS;
        let quarter = (passed_ns / (15 * SECOND)) as usize;
        let factor = (passed_ns as f64 / 60e9).max(0.1);
        given[quarter] += factor / (warm as f64 + factor);
        if sent.endpoint == warm {
            got[quarter] += 1.0;
            if passed_ns < SECOND {
                peak = peak.max(sent.in_flight);
            }
        }
    }
    for (got, given) in got.iter_mut().zip(given) {
        *got /= given;
    }
    (got, peak)
}

#[test]
fn cold_start_is_gentle_and_never_starved() {
    for (warm, rate) in [(10, 2_000.0), (5, 50.0)] {
        for (workers, median_ns) in [(1, 50e6), (4, 50e6), (16, 50e6), (1, 167e6), (4, 167e6)] {
            let (mut shares, mut peak) = ([0.0; 4], 0);
            for seed in 1..=SEEDS {
                let (quarters, in_flight) = cold_start(warm, rate, workers, median_ns, seed);
                peak = peak.max(in_flight);
                for (share, quarter) in shares.iter_mut().zip(quarters) {
                    *share += quarter / SEEDS as f64;
                }
            }
            let name = format!("{rate}/s, {workers} workers, {} ms", median_ns / 1e6);
            println!("{name}: peak {peak}, shares {shares:.2?}");
            assert!(peak <= 10, "{name}: {peak}");
            for share in shares {
                assert!(share >= 0.5, "{name}: {shares:?}");
            }
        }
    }
}

/// All joined at once, so that nobody is a newcomer: the slow one among them is left alone as in a
/// fleet that was always there.
#[test]
fn fleet_that_is_all_new_balances_as_an_old_one() {
    let sent = run(&Trial {
        rate: 1_000.0,
        seconds: 60,
        workers: 1,
        merged: false,
        seed: 1,
        members: &|_| {
            let mut members = steady(11);
            for (_, endpoint, _) in &mut members {
                endpoint.state = State::Available {
                    slow_start: Some(at(0)),
                };
            }
            members
        },
        behaves: &slow_middle,
    });
    assert!(sent.iter().all(|sent| sent.reason != Reason::Newcomer));
    let slow = share(&sent, |sent| sent.took_ns > SECOND);
    assert!(slow <= 0.000_9, "{slow}");
}

/// Falls from an eleventh to nothing in a straight line: half of an eleventh, near enough.
#[test]
fn endpoint_that_drains_gets_less_and_less_and_nothing_at_the_end() {
    let sent = run(&Trial {
        rate: 1_000.0,
        seconds: 70,
        workers: 1,
        merged: false,
        seed: 1,
        members: &|_| {
            let mut members = steady(11);
            members[0].1.state = State::Draining {
                until: at(60 * SECOND),
            };
            members
        },
        behaves: &slow_middle_never,
    });
    let per_quarter: Vec<usize> = (0..5)
        .map(|quarter| {
            let from = quarter * 15 * SECOND;
            let is_in = |sent: &&Sent| {
                sent.endpoint == 0 && (from..from + 15 * SECOND).contains(&sent.at_ns)
            };
            sent.iter().filter(is_in).count()
        })
        .collect();
    println!("{per_quarter:?}");
    assert!(
        per_quarter
            .windows(2)
            .all(|pair| pair[1] < pair[0] || pair[0] == 0)
    );
    // 15 000 requests in a quarter; 7/8 of an eleventh, less what integers of requests cost.
    assert!((900..=1_300).contains(&per_quarter[0]), "{per_quarter:?}");
    assert_eq!(per_quarter[4], 0, "{per_quarter:?}");
}

fn slow_middle_never(_: Asked, random: &mut Random) -> (f64, bool) {
    (random.around(MEDIAN_NS, 0.05), true)
}

/// With seventeen requests under way at each it is 3/4. With a tenth it is less: the estimate of one
/// that is asked a third as often has decayed for three times as long.
#[test]
fn shares_follow_the_weights() {
    for (rate, shares) in [(6.0, 0.63..=0.75), (1_000.0, 0.73..=0.77)] {
        let sent: Vec<Sent> = (1..=SEEDS)
            .flat_map(|seed| {
                run(&Trial {
                    rate,
                    seconds: if rate < 100.0 { 2_000 } else { 60 },
                    workers: 1,
                    merged: false,
                    seed,
                    members: &|_| {
                        let mut members = steady(10);
                        for (index, endpoint, _) in &mut members {
                            let weight = if *index < 5 { 1 } else { 3 };
                            endpoint.weight = NonZeroU32::new(weight).unwrap();
                        }
                        members
                    },
                    behaves: &slow_middle_never,
                })
            })
            .collect();
        let heavy = share(&sent, |sent| sent.endpoint >= 5);
        println!("{rate}/s: {heavy:.4} of 0.75");
        assert!(shares.contains(&heavy), "{rate}: {heavy}");
    }
}

/// Are three zones with three endpoints each; the proxy is in the first.
fn three_zones(_: u64) -> Vec<Member> {
    let zones = [&b"a"[..], b"b", b"c"];
    (0..9)
        .map(|index| (index, endpoint(), zones[index / 3]))
        .collect()
}

fn zones(workers: usize, rate: f64, seed: u64, behaves: &Behaviour<'_>) -> Vec<Sent> {
    run(&Trial {
        rate,
        seconds: 90,
        workers,
        merged: true,
        seed,
        members: &three_zones,
        behaves,
    })
}

#[test]
fn own_zone_keeps_its_requests_and_no_zone_is_forgotten() {
    for workers in [1, 4] {
        for seed in 1..=SEEDS {
            let sent = zones(workers, 600.0, seed, &|_, random| {
                (random.around(50e6, 0.05), true)
            });
            let left = share(&sent, |sent| sent.endpoint >= 3);
            println!("{workers} workers: {left:.4} left the zone");
            assert!(left <= 0.03, "{left}");
            for other in 3..9 {
                let starts = sent.iter().filter(|sent| sent.endpoint == other);
                let starts: Vec<u64> = starts.map(|sent| sent.at_ns).collect();
                let longest = starts.windows(2).map(|pair| pair[1] - pair[0]).max();
                // 10 s · ln 1.5 = 4.1 s until it is worth two thirds; more until its pressure is
                // more than what is under way, and until a pick draws it.
                assert!(longest.unwrap() <= 12 * SECOND, "{other}: {longest:?}");
            }
        }
    }
}

/// Ten times as slow for 30 s: what is left in the zone are the tries. The peaks of 500 ms are worth
/// 75 ms after 10 s · ln(500 / 75) = 19 s.
#[test]
fn own_zone_that_is_slow_is_left_and_returned_to() {
    for seed in 1..=SEEDS {
        let sent = zones(1, 600.0, seed, &|asked, random| {
            let is_slow = asked.endpoint < 3 && (15 * SECOND..45 * SECOND).contains(&asked.at_ns);
            let median_ns = if is_slow { 500e6 } else { 50e6 };
            (random.around(median_ns, 0.05), true)
        });
        let stayed = |from: u64, to: u64| {
            let during: Vec<Sent> = sent
                .iter()
                .filter(|sent| (from * SECOND..to * SECOND).contains(&sent.at_ns))
                .copied()
                .collect();
            share(&during, |sent| sent.endpoint < 3)
        };
        let stays = [stayed(5, 15), stayed(16, 45), stayed(75, 90)];
        println!("stayed before, while and after it was slow: {stays:.4?}");
        assert!(
            stays[0] > 0.97 && stays[1] < 0.05 && stays[2] > 0.97,
            "{stays:?}"
        );
    }
}

/// Each endpoint serves four at a time in 50 ms and makes the others wait: the own zone could serve
/// 240 of the requests a second, and all together 720.
#[test]
fn own_zone_that_is_too_small_is_used_but_not_overrun() {
    for (rate, least) in [(200.0, 0.8), (400.0, 0.45), (600.0, 0.35)] {
        for seed in 1..=SEEDS {
            let sent = zones(1, rate, seed, &|asked, random| {
                let waits = (f64::from(asked.in_flight) / 4.0).max(1.0);
                (random.around(50e6, 0.05) * waits, true)
            });
            let stayed = share(&sent, |sent| sent.endpoint < 3);
            let late = share(&sent, |sent| sent.took_ns > 200 * MS);
            println!("{rate}/s: {stayed:.3} stayed, {late:.5} took more than 200 ms");
            // More than a third, which is what it would get if zones didn't count.
            assert!(stayed > least, "{rate}: {stayed}");
            assert!(late < 0.01, "{rate}: {late}");
        }
    }
}
