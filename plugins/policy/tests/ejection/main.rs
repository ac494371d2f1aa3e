//! Whom the leader ejects over what all workers report.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod court;
mod properties;

use court::{Court, at_ms, counts};
use tidegate_policy::{
    ejection::{Cause, Change, Config, Judge, MAX_ENDPOINTS, Start, Verdict},
    snapshot::{Endpoint, Failures, Since, State},
    units::{Ppm, WallTime},
};

fn keys(changes: &[Change<u32>]) -> Vec<u32> {
    changes.iter().map(|change| change.key).collect()
}

#[test]
fn row_of_gateway_failures_ejects_at_its_threshold() {
    let mut court = Court::new(2);
    court.saw(1, counts(10, 0, 0));
    court.saw(0, counts(0, 4, 0));
    assert_eq!(court.tick(), []);
    court.saw(0, counts(0, 1, 0));
    let until = at_ms(500 + 30_000);
    assert_eq!(
        court.tick(),
        [Change {
            key: 0,
            verdict: Verdict::Ejected { until },
            ejections: 1,
            cause: Some(Cause::GatewayRow { row: 5 }),
        }]
    );
    assert_eq!(court.draws, 1);
}

#[test]
fn row_of_local_failures_is_counted_apart() {
    let mut court = Court::new(2);
    court.saw(1, counts(10, 0, 0));
    court.saw(0, counts(0, 0, 4));
    court.saw(0, counts(0, 4, 0));
    assert_eq!(court.tick(), []);
    court.saw(0, counts(0, 0, 5));
    let changes = court.tick();
    assert_eq!(changes[0].cause, Some(Cause::LocalRow { row: 5 }));
}

#[test]
fn success_ends_a_row() {
    let mut court = Court::new(2);
    for _ in 0..10 {
        court.saw(0, counts(0, 4, 0));
        court.saw(1, counts(4, 0, 0));
        assert_eq!(court.tick(), []);
        court.saw(0, counts(40, 0, 0));
        assert_eq!(court.tick(), []);
    }
}

#[test]
fn one_of_two_may_be_ejected_and_one_of_one_may_not() {
    let mut court = Court::new(2);
    court.saw(0, counts(0, 9, 0));
    assert_eq!(keys(&court.tick()), [0]);
    let mut court = Court::new(1);
    court.saw(0, counts(0, 9, 0));
    assert_eq!(court.tick(), []);
    assert_eq!(court.judge.counters().spared, 1);
}

#[test]
fn failure_that_all_share_ejects_nobody() {
    for members in 2..=10 {
        let mut court = Court::new(members);
        for _ in 0..240 {
            for key in 0..members {
                court.saw(key, counts(0, 3 + key % 3, 2));
            }
            assert_eq!(court.tick(), [], "{members}");
        }
        assert!(court.judge.counters().shared_failures > 0);
    }
}

#[test]
fn failure_that_the_larger_half_shares_ejects_nobody_and_that_of_a_half_does() {
    for (failing, expected) in [(5, 5), (6, 0)] {
        let mut court = Court::new(10);
        for key in 0..10 {
            let failed = if key < failing { 30 } else { 0 };
            court.saw(key, counts(30 - failed, failed, 0));
        }
        let changes = court.tick();
        assert_eq!(changes.len(), expected, "{failing}");
    }
}

#[test]
fn rate_ejects_with_its_volume_and_its_excess_only() {
    let case = |attempts: u32, failures: u32, usual: u32| {
        let mut court = Court::new(3);
        for key in 1..3 {
            court.saw(key, counts(100 - usual, usual, 0));
        }
        court.saw(0, counts(attempts - failures, failures, 0));
        keys(&court.tick()) == [0]
    };
    assert!(case(50, 10, 0));
    assert!(!case(51, 10, 0));
    assert!(case(20, 10, 0));
    assert!(!case(20, 9, 0));
    assert!(!case(19, 18, 0));
    assert!(!case(300, 89, 10));
    assert!(case(300, 90, 10));
}

/// Five in a row come by chance where a third fails: nobody is to blame for that.
#[test]
fn row_that_chance_makes_in_a_bad_pool_ejects_nobody() {
    let mut court = Court::new(4);
    for _ in 0..4 {
        for key in 0..4 {
            court.saw(key, counts(20, 10, 0));
        }
        court.saw(0, counts(0, 7, 0));
        for key in 1..4 {
            court.saw(key, counts(1, 0, 0));
        }
        assert_eq!(court.tick(), []);
    }
    assert!(court.judge.counters().shared_failures >= 4);
}

/// Where volumes are too small for a median, a row is measured by what the others do: a tenth of
/// theirs fails, so that chance makes a row of 8 too often and one of 9 once in 10^9.
#[test]
fn row_in_a_pool_of_little_traffic_is_measured_by_the_others() {
    let mut court = Court::new(2);
    court.saw(1, counts(9, 1, 0));
    court.saw(0, counts(0, 8, 0));
    assert_eq!(court.tick(), []);
    court.saw(0, counts(0, 1, 0));
    assert_eq!(court.tick()[0].cause, Some(Cause::GatewayRow { row: 9 }));
}

#[test]
fn trial_of_a_request_or_a_probe_readmits_and_its_failure_ejects_for_longer() {
    let mut court = Court::new(3);
    court.saw(0, counts(0, 5, 0));
    court.tick();
    let due = court.wait(30);
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].verdict, Verdict::Trial);
    assert_eq!(court.wait(100), [], "a trial waits for an attempt");
    court.saw(0, counts(0, 1, 0));
    let again = court.tick();
    let until = at_ms(court.now_ms + 60_000);
    assert_eq!(again[0].verdict, Verdict::Ejected { until });
    assert_eq!(again[0].cause, Some(Cause::TrialFailed));
    assert_eq!(again[0].ejections, 2);
    let due = court.wait(60);
    assert_eq!(due.len(), 1, "twice as long");
    let now = court.now();
    court.judge.on_probe(&0, true, now);
    let back = court.tick();
    let readmitted = Some(court.now());
    assert_eq!(back[0].verdict, Verdict::Serving { readmitted });
    assert_eq!(back[0].ejections, 2);
    assert_eq!(court.judge.counters().readmissions, 1);
}

#[test]
fn first_failure_after_a_probe_readmitted_ejects_and_after_a_success_it_does_not() {
    for succeeds in [false, true] {
        let mut court = Court::new(3);
        court.saw(0, counts(0, 5, 0));
        court.tick();
        court.wait(31);
        let now = court.now();
        court.judge.on_probe(&0, true, now);
        court.tick();
        if succeeds {
            court.saw(0, counts(1, 0, 0));
            court.tick();
        }
        court.saw(0, counts(0, 1, 0));
        court.saw(1, counts(1, 0, 0));
        assert_eq!(court.tick().len(), usize::from(!succeeds));
    }
}

#[test]
fn probe_says_nothing_of_one_that_is_not_on_trial() {
    let mut court = Court::new(3);
    court.saw(0, counts(0, 5, 0));
    court.tick();
    for ready in [true, false, true] {
        let now = court.now();
        court.judge.on_probe(&0, ready, now);
        court.judge.on_probe(&1, ready, now);
        assert_eq!(court.tick(), []);
    }
}

/// Its row goes on while it serves again, and waits for a failure of its own traffic.
#[test]
fn failed_probe_is_no_failure_of_traffic() {
    let mut court = Court::new(3);
    court.saw(0, counts(0, 5, 0));
    court.tick();
    court.wait(31);
    let now = court.now();
    court.judge.on_probe(&0, true, now);
    court.tick();
    court.judge.on_probe(&0, false, now);
    court.saw(1, counts(999, 1, 0));
    assert_eq!(court.tick(), []);
}

/// A predecessor's word that an endpoint is on trial does not keep it from being judged.
#[test]
fn endpoint_that_others_call_on_trial_serves_until_it_is_ejected() {
    let mut court = Court::new(2);
    court.judge.on_others(&0, State::Probing, at_ms(0));
    court.saw(0, counts(0, 5, 0));
    court.saw(1, counts(9, 0, 0));
    assert_eq!(keys(&court.tick()), [0]);
}

#[test]
fn what_was_sent_before_the_ejection_says_nothing() {
    let mut court = Court::new(3);
    court.saw(0, counts(0, 5, 0));
    court.tick();
    court.saw(0, counts(50, 0, 0));
    assert_eq!(court.tick(), []);
    court.saw(0, counts(0, 50, 0));
    assert_eq!(court.tick(), []);
    assert_eq!(court.wait(30).len(), 1);
}

#[test]
fn good_time_is_told_as_it_forgives() {
    let mut court = Court::new(3);
    court.saw(0, counts(0, 5, 0));
    court.tick();
    court.wait(30);
    court.saw(0, counts(1, 0, 0));
    court.tick();
    let forgiven = court.wait(30);
    assert_eq!(forgiven.len(), 1);
    assert_eq!((forgiven[0].ejections, forgiven[0].cause), (0, None));
    assert_eq!(court.wait(300), []);
}

/// Whoever is not ready or leaves is neither ejected nor counted as available.
#[test]
fn ejection_leaves_enough_beside_those_that_others_took_out() {
    let never = WallTime::from_ns(u64::MAX);
    let mut court = Court::new(10);
    for key in 0..4 {
        let others = State::Ejected { until: never };
        court.judge.on_others(&key, others, at_ms(0));
    }
    for key in 0..10 {
        let failed = if key < 7 { 30 } else { 0 };
        court.saw(key, counts(30 - failed, failed, 0));
    }
    for key in 0..4 {
        // These had their attempts before: without them three of six fail.
        court.judge.remove(&key);
        court.judge.add(key, Start::New, at_ms(0)).unwrap();
        court
            .judge
            .on_others(&key, State::Ejected { until: never }, at_ms(0));
    }
    assert_eq!(keys(&court.tick()), [4], "six of ten, then five");
    assert_eq!(court.judge.counters().spared, 2);
    let mut leaving = Court::new(10);
    for key in 0..8 {
        let others = State::Draining { until: never };
        leaving.judge.on_others(&key, others, at_ms(0));
        leaving.saw(key, counts(0, 9, 0));
    }
    leaving.saw(8, counts(0, 9, 0));
    leaving.saw(9, counts(9, 0, 0));
    assert_eq!(keys(&leaving.tick()), [8], "one of the two that stay");
}

#[test]
fn worst_is_ejected_first_where_not_all_may_be() {
    let mut court = Court::with("{\"min_available_ratio\": 0.8}", 10);
    for key in 0..10 {
        let failed = if key < 4 { 10 + key } else { 0 };
        court.saw(key, counts(20 - failed, failed, 0));
    }
    assert_eq!(keys(&court.tick()), [3, 2]);
    assert_eq!(court.judge.counters().spared, 2);
}

#[test]
fn utilisation_bounds_ejections_where_it_is_known() {
    let mut court = Court::new(10);
    for key in 0..10 {
        let failed = if key < 5 { 30 } else { 0 };
        court.saw(key, counts(30 - failed, failed, 0));
    }
    let changes = court.judge.on_tick(Some(800_000), at_ms(250), &mut || 0);
    assert_eq!(keys(&changes), [0, 1]);
}

#[test]
fn new_leader_goes_on_with_what_its_predecessor_published() {
    let mut judge: Judge<u32> = Judge::new(Config::parse("{}").unwrap());
    let endpoint = |state, ejections| {
        let mut endpoint = Endpoint::new(Since {
            generation: 1,
            at: at_ms(0),
        });
        endpoint.state = state;
        endpoint.failures.ejections = ejections;
        Start::Restored(endpoint)
    };
    let until = at_ms(20_000);
    let slow_start = Some(at_ms(0));
    let starts = [
        endpoint(State::Ejected { until }, 3),
        endpoint(State::Probing, 2),
        endpoint(State::Available { slow_start }, 2),
        endpoint(State::Available { slow_start: None }, 0),
        endpoint(
            State::Ejected {
                until: WallTime::from_ns(u64::MAX),
            },
            1,
        ),
        // A predecessor whose clock was ahead by a year.
        endpoint(
            State::Ejected {
                until: at_ms(31_536_000_000),
            },
            1,
        ),
    ];
    for (key, start) in (0..).zip(starts) {
        judge.add(key, start, at_ms(10_000)).unwrap();
    }
    let verdict = |judge: &Judge<u32>, key| judge.verdict(&key).unwrap();
    assert_eq!(verdict(&judge, 0), (Verdict::Ejected { until }, 3));
    assert_eq!(verdict(&judge, 1), (Verdict::Trial, 2));
    let readmitted = slow_start;
    assert_eq!(verdict(&judge, 2), (Verdict::Serving { readmitted }, 2));
    let serving = Verdict::Serving { readmitted: None };
    assert_eq!(verdict(&judge, 3), (serving, 0));
    assert_eq!(verdict(&judge, 4), (serving, 1));
    let until = at_ms(310_000);
    assert_eq!(verdict(&judge, 5), (Verdict::Ejected { until }, 1));
    let due = judge.on_tick(None, at_ms(20_000), &mut || 0);
    assert_eq!(keys(&due), [0]);
}

#[test]
fn clock_that_stands_still_ends_no_ejection_and_loses_no_failure() {
    let mut court = Court::new(3);
    for _ in 0..5 {
        court.saw(0, counts(0, 1, 0));
    }
    let now = at_ms(0);
    assert_eq!(court.judge.on_tick(None, now, &mut || 0).len(), 1);
    for _ in 0..1000 {
        assert_eq!(court.judge.on_tick(None, now, &mut || 0), []);
    }
}

#[test]
fn clock_that_steps_back_is_as_one_that_stands_still() {
    let mut court = Court::new(3);
    court.saw(0, counts(0, 5, 0));
    court.tick();
    court.wait(20);
    court.now_ms = 0;
    assert_eq!(court.wait(9), []);
    assert_eq!(court.judge.counters().clock_regressions, 1);
    assert_eq!(court.wait(2).len(), 1);
}

#[test]
fn clock_that_jumps_a_year_makes_the_trial_due_and_forgets_the_window() {
    let mut court = Court::new(3);
    court.saw(0, counts(0, 5, 0));
    court.tick();
    court.saw(1, counts(15, 4, 0));
    court.now_ms += 31_536_000_000;
    let changes = court.tick();
    assert_eq!(keys(&changes), [0]);
    assert_eq!(changes[0].verdict, Verdict::Trial);
    court.saw(1, counts(1, 1, 0));
    assert_eq!(court.tick(), [], "two attempts are no rate");
}

#[test]
fn judge_that_is_full_takes_a_known_member_and_no_other() {
    let mut judge: Judge<usize> = Judge::new(Config::parse("{}").unwrap());
    for key in 0..MAX_ENDPOINTS {
        judge.add(key, Start::New, at_ms(0)).unwrap();
    }
    assert!(judge.add(MAX_ENDPOINTS, Start::New, at_ms(0)).is_err());
    assert!(judge.add(0, Start::New, at_ms(0)).is_ok());
    assert_eq!(judge.len(), MAX_ENDPOINTS);
    for key in 0..MAX_ENDPOINTS {
        assert!(judge.remove(&key));
    }
    assert!(!judge.remove(&0));
    assert!(judge.is_empty());
}

#[test]
fn churn_leaves_nothing_behind() {
    let mut judge: Judge<u32> = Judge::new(Config::parse("{}").unwrap());
    for key in 0..100_000_u32 {
        judge.add(key, Start::New, at_ms(u64::from(key))).unwrap();
        let rows = Failures {
            gateway_in_row: 5,
            ..Failures::default()
        };
        judge.on_attempts(&key, counts(0, 5, 0), rows, at_ms(u64::from(key)));
        if key >= 3 {
            judge.remove(&(key - 3));
        }
        let _ = judge.on_tick(None, at_ms(u64::from(key)), &mut || 0);
    }
    assert_eq!(judge.len(), 3);
}

#[test]
fn shares_of_causes_are_what_was_seen() {
    let mut court = Court::new(3);
    for key in 1..3 {
        court.saw(key, counts(90, 10, 0));
    }
    court.saw(0, counts(50, 50, 0));
    let expected = Cause::ExcessRate {
        rate: Ppm::try_new(500_000).unwrap(),
        usual: Ppm::try_new(100_000).unwrap(),
    };
    assert_eq!(court.tick()[0].cause, Some(expected));
    assert_eq!(expected.as_str(), "excess_rate");
}
