//! Endpoints that fail, before workers that route and a leader that judges, in virtual time. Every
//! figure is of five seeds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "the numbers are small, and endpoints are named by their index"
)]

#[expect(dead_code, reason = "another file asks for the rest")]
mod routed;

use routed::{Answer, MS, Random, Run, SECOND, Trial, run};
use tidegate_policy::{panic_mode::Rule, passive::Outcome};

const SEEDS: u64 = 5;

const fn answer(after_ms: u64, outcome: Outcome) -> Answer {
    Answer {
        after_ns: after_ms * MS,
        outcome,
    }
}

const WELL: Answer = answer(50, Outcome::Success);
const BADLY: Answer = answer(1, Outcome::GatewayFailure);
const REFUSED: Answer = answer(1, Outcome::LocalFailure);
const TIMED_OUT: Answer = answer(1_000, Outcome::LocalFailure);

type Behaviour<'a> = dyn Fn(usize, u64, &mut Random) -> Answer + 'a;

/// Is ten endpoints of one zone, one attempt, 1000 requests a second for a minute, one worker.
const fn usual<'a>(behaves: &'a Behaviour<'a>) -> Trial<'a> {
    Trial {
        endpoints: 10,
        last_joins_ns: None,
        zones: 1,
        workers: 1,
        rate: 1_000.0,
        seconds: 60,
        attempts: 1,
        spares_recent: true,
        sees_attempts: true,
        seed: 1,
        behaves,
    }
}

fn all(trial: &Trial<'_>) -> Vec<Run> {
    (1..=SEEDS)
        .map(|seed| run(&Trial { seed, ..*trial }))
        .collect()
}

/// Is the share of errors in each run: its mean and the standard deviation of that mean.
fn share_of_errors(runs: &[Run]) -> (f64, f64) {
    let shares: Vec<f64> = runs
        .iter()
        .map(|run| run.errors as f64 / run.requests() as f64)
        .collect();
    let mean = shares.iter().sum::<f64>() / SEEDS as f64;
    let squares: f64 = shares.iter().map(|share| (share - mean).powi(2)).sum();
    (mean, (squares / (SEEDS * (SEEDS - 1)) as f64).sqrt())
}

fn one_fails_fast(endpoint: usize, _: u64, _: &mut Random) -> Answer {
    if endpoint == 0 { BADLY } else { WELL }
}

/// One attempt for each request: nothing hides a failure. Taking turns has 10 %, the fewest under
/// way 20 %.
#[test]
fn endpoint_that_fails_fast_gets_less_than_five_requests_in_ten_thousand() {
    for workers in [1, 16] {
        let runs = all(&Trial {
            workers,
            ..usual(&one_fails_fast)
        });
        let (mean, deviation) = share_of_errors(&runs);
        println!("{workers} workers: {mean:.6} ± {deviation:.6}");
        assert!(mean + 4.0 * deviation <= 0.000_5, "{workers}: {mean}");
    }
}

/// The leader's row alone comes too late: what a worker spares by itself is what the target needs.
#[test]
fn endpoint_that_fails_fast_is_too_attractive_to_wait_for_the_leader() {
    let runs = all(&Trial {
        spares_recent: false,
        ..usual(&one_fails_fast)
    });
    let (mean, _) = share_of_errors(&runs);
    println!("without sparing: {mean:.6}");
    assert!(mean > 0.000_5);
}

/// With a second attempt nobody sees an error, however slow the leader is to hear of it.
#[test]
fn endpoint_that_fails_fast_is_hidden_by_a_second_attempt() {
    for (workers, rate) in [(1, 100.0), (16, 1_000.0)] {
        for sees_attempts in [true, false] {
            let runs = all(&Trial {
                workers,
                rate,
                attempts: 2,
                sees_attempts,
                ..usual(&one_fails_fast)
            });
            assert_eq!(runs.iter().map(|run| run.errors).sum::<u64>(), 0);
            for run in runs {
                assert!(!run.ejected.is_empty(), "{workers} {sees_attempts}");
            }
        }
    }
}

/// One of three zones is down for 40 s. Every second attempt is in another zone.
#[test]
fn second_attempt_succeeds_while_a_zone_is_down() {
    for down in [REFUSED, TIMED_OUT] {
        let behaves = move |endpoint: usize, now: u64, _: &mut Random| {
            let is_down = (10 * SECOND..50 * SECOND).contains(&now) && endpoint.is_multiple_of(3);
            if is_down { down } else { WELL }
        };
        for (workers, sees_attempts) in [(1, false), (16, true)] {
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
            let (attempts, successes) = (
                sum(|run| run.second_attempts),
                sum(|run| run.second_successes),
            );
            println!("{workers} workers: {successes} of {attempts}");
            assert!(attempts > 0);
            assert!(successes as f64 >= 0.999 * attempts as f64);
        }
    }
}

/// A failure that all share ejects nobody, whatever its rate and that of the requests.
#[test]
fn failure_that_all_share_ejects_nobody_in_five_minutes() {
    for share in [0.01, 0.1, 0.3, 0.5, 0.9, 1.0] {
        let behaves = move |_: usize, _: u64, random: &mut Random| {
            if random.unit() < share { BADLY } else { WELL }
        };
        for rate in [20.0, 300.0] {
            let runs = all(&Trial {
                workers: 4,
                rate,
                ..usual(&behaves)
            });
            let ejections: usize = runs.iter().map(|run| run.ejected.len()).sum();
            println!("{share} of {rate}/s: {ejections} ejections in {SEEDS} minutes");
            assert_eq!(ejections, 0, "{share} {rate}");
            assert_eq!(runs.iter().map(|run| run.in_panic).sum::<u64>(), 0);
        }
    }
}

/// Everything fails for 20 s, and is well again at once: no ejection outlives it.
#[test]
fn pool_that_failed_as_a_whole_serves_as_soon_as_it_is_well() {
    let behaves = |_: usize, now: u64, _: &mut Random| {
        let is_down = (20 * SECOND..40 * SECOND).contains(&now);
        if is_down { BADLY } else { WELL }
    };
    for workers in [1, 16] {
        for run in all(&Trial {
            workers,
            rate: 300.0,
            ..usual(&behaves)
        }) {
            let after: u64 = run
                .errors_by_second
                .range(41..)
                .map(|(_, errors)| errors)
                .sum();
            assert_eq!(after, 0);
            let safe = Rule::default().safe_ejections(10, None);
            assert!(run.most_unavailable <= safe, "{}", run.most_unavailable);
        }
    }
}

/// Endpoints fail and recover at random, for seconds at a time, in pools of every size: never are
/// more ejected than leaves half of them, and requests always go somewhere.
#[test]
fn ejection_never_ejects_more_than_the_panic_rule_allows() {
    let behaves = |endpoint: usize, now: u64, random: &mut Random| {
        let mut mood = Random(now / (3 * SECOND) * 1_000 + endpoint as u64);
        match mood.draw() % 3 {
            0 => BADLY,
            1 if random.unit() < 0.4 => REFUSED,
            _ => WELL,
        }
    };
    for endpoints in [1, 2, 3, 9, 10] {
        for run in all(&Trial {
            endpoints,
            workers: 4,
            rate: 100.0,
            attempts: 2,
            sees_attempts: endpoints % 2 == 0,
            ..usual(&behaves)
        }) {
            let safe = Rule::default().safe_ejections(endpoints as u32, None);
            assert!(run.most_unavailable <= safe, "{endpoints}");
            assert_eq!(run.ejected.is_empty(), endpoints == 1, "{endpoints}");
            assert!(run.requests() > 5_000, "{endpoints}: {}", run.requests());
        }
    }
}

/// It fails for 10 s: it is ejected, tried after 30 s, and has its whole share in the end.
#[test]
fn endpoint_that_recovered_is_readmitted_by_one_trial() {
    let behaves = |endpoint: usize, now: u64, _: &mut Random| {
        let is_down = (5 * SECOND..15 * SECOND).contains(&now) && endpoint == 0;
        if is_down { BADLY } else { WELL }
    };
    for workers in [1, 16] {
        for run in all(&Trial {
            workers,
            rate: 100.0,
            seconds: 180,
            ..usual(&behaves)
        }) {
            assert_eq!(run.ejected.len(), 1);
            let (endpoint, at) = run.ejected[0];
            assert_eq!(endpoint, 0);
            // The first is spared for a second, four times, and the leader hears of the fifth.
            assert!(at < 12 * SECOND, "{at}");
            // 139 s of a tenth of 100/s, less 60 s at half of that.
            assert!(run.attempts_at[0] > 800, "{}", run.attempts_at[0]);
            assert!(run.errors <= 24, "{}", run.errors);
        }
    }
}
