//! The real router before modelled endpoints, with what leader and workers hear of each other, in
//! virtual time: slow, failing, cold and idle endpoints, and a zone that is down. Every figure is of
//! five seeds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "the numbers are small, and endpoints are named by their index"
)]

mod routed;

use std::ops::Range;

use routed::{Answer, MS, Random, Run, SECOND, Trial, run};
use tidegate_policy::passive::Outcome;

const MEDIAN_NS: f64 = 167e6;
const SEEDS: Range<u64> = 201..206;
/// Are the 30 s for which one is slow.
const SLOW: Range<u64> = 15 * SECOND..45 * SECOND;

const fn well(after_ns: u64) -> Answer {
    Answer {
        after_ns,
        outcome: Outcome::Success,
    }
}

const BADLY: Answer = Answer {
    after_ns: MS,
    outcome: Outcome::GatewayFailure,
};

/// Is one worker, one attempt and a minute of 1000 requests a second to eleven endpoints.
const fn usual<'a>(behaves: &'a Behaviour<'a>) -> Trial<'a> {
    Trial {
        endpoints: 11,
        last_joins_ns: None,
        zones: 1,
        workers: 1,
        rate: 1_000.0,
        seconds: 60,
        attempts: 1,
        spares_recent: true,
        sees_attempts: false,
        seed: 0,
        behaves,
    }
}

type Behaviour<'a> = dyn Fn(usize, u64, &mut Random) -> Answer + 'a;

fn all(trial: &Trial<'_>) -> Vec<Run> {
    SEEDS.map(|seed| run(&Trial { seed, ..*trial })).collect()
}

/// Is a mean over the runs, and the standard deviation of that mean.
fn mean(runs: &[Run], figure: impl Fn(&Run) -> f64) -> (f64, f64) {
    let figures: Vec<f64> = runs.iter().map(figure).collect();
    let count = figures.len() as f64;
    let mean = figures.iter().sum::<f64>() / count;
    let squares: f64 = figures.iter().map(|figure| (figure - mean).powi(2)).sum();
    (mean, (squares / (count * (count - 1.0))).sqrt())
}

/// One of eleven takes 2 s for half of the time; the others, and it before and after, about 167 ms.
fn slow_middle(sigma: f64) -> impl Fn(usize, u64, &mut Random) -> Answer {
    move |endpoint, now_ns, random| {
        let is_slow = endpoint == 0 && SLOW.contains(&now_ns);
        well(if is_slow {
            2 * SECOND
        } else {
            random.around(MEDIAN_NS, sigma)
        })
    }
}

/// Each worker sends two to it until the age of the first says that it is slow: with sixteen that is
/// half of all, and what varies. So ten seeds, for a bound of four standard deviations.
#[test]
fn slow_endpoint_is_met_by_less_than_nine_requests_in_ten_thousand() {
    for (workers, sigma, is_bound) in [
        (1, 0.05, true),
        (4, 0.05, true),
        (16, 0.05, true),
        (1, 0.3, false),
        (16, 0.3, false),
    ] {
        for errors in [0.0, 0.01] {
            let slow = slow_middle(sigma);
            let behaves = |endpoint: usize, now_ns: u64, random: &mut Random| {
                if random.unit() < errors {
                    return BADLY;
                }
                slow(endpoint, now_ns, random)
            };
            let trial = Trial {
                workers,
                ..usual(&behaves)
            };
            let count = if is_bound && workers == 16 { 10 } else { 5 };
            let seeds = SEEDS.start..SEEDS.start + count;
            let runs: Vec<Run> = seeds.map(|seed| run(&Trial { seed, ..trial })).collect();
            let (mean, deviation) = mean(&runs, |run| run.share(|sent| sent.took_ns > SECOND));
            println!("{workers} workers, σ {sigma}, {errors} errors: {mean:.6} ± {deviation:.6}");
            if is_bound {
                assert!(mean + 4.0 * deviation <= 0.000_9, "{workers}: {mean}");
            }
        }
    }
}

fn one_fails_fast(endpoint: usize, _: u64, _: &mut Random) -> Answer {
    if endpoint == 0 { BADLY } else { well(50 * MS) }
}

/// At 100 a second the row of five is five of 6000 requests, and each worker meets one or two: a
/// second attempt hides them.
#[test]
fn endpoint_that_fails_fast_gets_less_than_five_requests_in_ten_thousand() {
    for (workers, rate, is_bound) in [
        (1, 1_000.0, true),
        (16, 1_000.0, true),
        (1, 100.0, false),
        (16, 100.0, false),
    ] {
        let runs = all(&Trial {
            endpoints: 10,
            workers,
            rate,
            ..usual(&one_fails_fast)
        });
        let (mean, deviation) = mean(&runs, |run| run.errors as f64 / run.requests() as f64);
        println!("{workers} workers, {rate}/s: {mean:.6} ± {deviation:.6}");
        if is_bound {
            assert!(mean + 4.0 * deviation <= 0.000_5, "{workers}: {mean}");
        }
    }
}

const JOINS_NS: u64 = 10 * SECOND;

/// Is what a joiner goes through: its share of each quarter of the window, in parts of what slow
/// start gives it, and the most that it had under way in its first second.
fn cold_start(run: &Run, warm: usize) -> ([f64; 4], u32) {
    let (mut got, mut given) = ([0.0; 4], [0.0; 4]);
    let mut peak = 0;
    for sent in run.sent.iter().filter(|sent| sent.at_ns >= JOINS_NS) {
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
            let behaves = |endpoint: usize, now_ns: u64, random: &mut Random| {
                let mut took_ns = random.around(median_ns, 0.05) as f64;
                if endpoint == warm {
                    // Eleven times as slow at first, in a straight line to as fast as the others.
                    let warmth = now_ns.saturating_sub(JOINS_NS) as f64 / 10e9;
                    took_ns *= 1.0 + 10.0 * (1.0 - warmth).max(0.0);
                }
                well(took_ns as u64)
            };
            let runs = all(&Trial {
                endpoints: warm + 1,
                last_joins_ns: Some(JOINS_NS),
                workers,
                rate,
                seconds: 70,
                ..usual(&behaves)
            });
            let seen: Vec<([f64; 4], u32)> = runs.iter().map(|run| cold_start(run, warm)).collect();
            let peak = seen.iter().map(|(_, peak)| *peak).max().unwrap();
            let shares = [0, 1, 2, 3].map(|quarter| {
                seen.iter().map(|(shares, _)| shares[quarter]).sum::<f64>() / seen.len() as f64
            });
            let name = format!("{rate}/s, {workers} workers, {} ms", median_ns / 1e6);
            println!("{name}: peak {peak}, shares {shares:.2?}");
            assert!(peak <= 10, "{name}: {peak}");
            assert!(
                shares.iter().all(|share| *share >= 0.5),
                "{name}: {shares:?}"
            );
        }
    }
}

/// Its sample came after 2 s and is forgotten 20 s later; then a pair with it is enough.
#[test]
fn endpoint_that_was_slow_is_tried_again_within_25_s() {
    let behaves = slow_middle(0.05);
    for workers in [1, 16] {
        for rate in [20.0, 100.0, 1_000.0] {
            let runs = all(&Trial {
                rate,
                workers,
                seconds: 75,
                ..usual(&behaves)
            });
            let longest = runs.iter().map(|run| {
                let slow = run.sent.iter().filter(|sent| sent.endpoint == 0);
                let starts: Vec<u64> = slow.map(|sent| sent.at_ns).collect();
                let pairs = starts.windows(2);
                pairs.map(|pair| pair[1] - pair[0]).max().unwrap()
            });
            let longest = longest.max().unwrap();
            println!(
                "{workers} workers, {rate}/s: not tried for {} ms",
                longest / MS
            );
            assert!(longest <= 25 * SECOND, "{workers}, {rate}: {longest}");
        }
    }
}

/// One of three zones is down for 40 s. Every second attempt is in another zone.
#[test]
fn second_attempt_succeeds_while_a_zone_is_down() {
    for after_ns in [MS, SECOND] {
        let down = Answer {
            after_ns,
            outcome: Outcome::LocalFailure,
        };
        let behaves = move |endpoint: usize, now_ns: u64, random: &mut Random| {
            let is_down = (10 * SECOND..50 * SECOND).contains(&now_ns);
            if is_down && endpoint.is_multiple_of(3) {
                down
            } else {
                well(random.around(50e6, 0.05))
            }
        };
        for workers in [1, 4, 16] {
            for sees_attempts in [true, false] {
                let runs = all(&Trial {
                    endpoints: 12,
                    zones: 3,
                    workers,
                    rate: 400.0,
                    attempts: 2,
                    sees_attempts,
                    ..usual(&behaves)
                });
                let sum = |count: fn(&Run) -> u64| runs.iter().map(count).sum::<u64>();
                let attempts = sum(|run| run.second_attempts);
                let successes = sum(|run| run.second_successes);
                println!(
                    "{workers} workers, attempts seen: {sees_attempts}: {successes} of {attempts}"
                );
                assert!(attempts > 0);
                assert!(successes as f64 >= 0.999 * attempts as f64);
            }
        }
    }
}
