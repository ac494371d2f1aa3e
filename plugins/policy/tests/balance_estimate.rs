//! The average of peaks, and the share that rises: their formulae, and clocks that stand still, step
//! back and jump.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{num::NonZeroU32, time::Duration};

use proptest::prelude::*;
use tidegate_policy::{
    balance::{Decay, PeakEwma, SlowStart, drain_share},
    snapshot::Latency,
    units::WallTime,
};

const START_NS: u64 = 1_700_000_000_000_000_000;
const YEAR: Duration = Duration::from_secs(31_536_000);

fn at(ms: u64) -> WallTime {
    WallTime::from_ns(START_NS + ms * 1_000_000)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn decay() -> Decay {
    Decay::new(Duration::from_secs(10))
}

/// Is an estimate after samples of so many milliseconds at so many milliseconds.
fn sampled(samples: &[(u64, u64)]) -> PeakEwma {
    let mut estimate = PeakEwma::default();
    for (latency_ms, at_ms) in samples {
        estimate.on_sample(ms(*latency_ms), decay(), at(*at_ms));
    }
    estimate
}

fn cost_ms(estimate: &PeakEwma, at_ms: u64) -> f64 {
    estimate.cost_ns_at(decay(), at(at_ms)).unwrap() / 1e6
}

#[track_caller]
fn assert_is(observed: f64, expected: f64) {
    let error = (observed - expected).abs();
    assert!(error <= 1e-9 * expected.abs(), "{observed} {expected}");
}

#[test]
fn cost_follows_the_formula_at_two_points() {
    let estimate = sampled(&[(1_000, 0), (100, 5_000)]);
    // 1000·e^−½ + 100·(1 − e^−½) = 645.877 593 741.
    assert_is(cost_ms(&estimate, 5_000), 645.877_593_741_370_1);
    // A τ later it is worth 1/e of that.
    assert_is(cost_ms(&estimate, 15_000), 237.605_088_250_730_63);
}

#[test]
fn higher_sample_is_adopted_at_once_and_a_lower_one_by_its_weight() {
    let estimate = sampled(&[(100, 0), (2_000, 1)]);
    assert_is(cost_ms(&estimate, 1), 2_000.0);
    let estimate = sampled(&[(100, 0), (2_000, 1), (100, 1_001)]);
    let weight = (-0.1_f64).exp();
    assert_is(
        cost_ms(&estimate, 1_001),
        2_000.0 * weight + 100.0 * (1.0 - weight),
    );
}

#[test]
fn endpoint_without_a_sample_has_no_estimate() {
    let estimate = PeakEwma::default();
    assert!(estimate.cost_ns_at(decay(), at(0)).is_none());
    assert!(estimate.to_latency().is_none());
}

#[test]
fn sample_of_no_time_is_a_nanosecond() {
    assert_is(cost_ms(&sampled(&[(0, 0)]), 0), 1e-6);
}

#[test]
fn samples_of_the_same_instant_keep_the_highest() {
    for order in [[50, 200, 100], [200, 100, 50], [100, 50, 200]] {
        let estimate = sampled(&order.map(|latency| (latency, 0)));
        assert_is(cost_ms(&estimate, 0), 200.0);
    }
}

#[test]
fn sample_after_a_step_back_counts_as_of_the_same_instant_and_decays_from_there() {
    let estimate = sampled(&[(200, 3_600_000), (100, 0)]);
    assert_is(cost_ms(&estimate, 0), 200.0);
    assert_is(cost_ms(&estimate, 10_000), 200.0 / std::f64::consts::E);
}

#[test]
fn estimate_ahead_of_the_clock_is_brought_back_on_the_tick() {
    let mut estimate = sampled(&[(200, 3_600_000)]);
    assert_is(cost_ms(&estimate, 10_000), 200.0);
    assert!(estimate.on_clock(at(0)));
    assert!(!estimate.on_clock(at(0)));
    assert_is(cost_ms(&estimate, 10_000), 200.0 / std::f64::consts::E);
}

#[test]
fn jump_of_a_year_leaves_nothing_of_a_cost_and_the_next_sample_all() {
    let mut estimate = sampled(&[(2_000, 0)]);
    let later = WallTime::from_ns(at(0).as_ns() + u64::try_from(YEAR.as_nanos()).unwrap());
    assert_eq!(estimate.cost_ns_at(decay(), later), Some(0.0));
    estimate.on_sample(ms(100), decay(), later);
    assert_eq!(estimate.cost_ns_at(decay(), later), Some(1e8));
}

#[test]
fn endless_sample_is_the_longest_time_there_is() {
    let mut estimate = PeakEwma::default();
    estimate.on_sample(Duration::MAX, decay(), at(0));
    let cost_ns = estimate.cost_ns_at(decay(), at(0)).unwrap();
    assert_is(cost_ns, 2_f64.powi(64));
    assert_eq!(
        estimate.to_latency().unwrap().estimate_us.get(),
        u32::MAX,
        "the format's end"
    );
}

#[test]
fn merged_estimate_is_the_larger_one_at_any_later_time() {
    let theirs = Latency::new(ms(500), at(0));
    let mut estimate = sampled(&[(200, 8_000)]);
    estimate.merge(theirs, decay(), at(8_000));
    // 500·e^−0.8 = 224.66 is more than 200.
    assert_is(cost_ms(&estimate, 8_000), 500.0 * (-0.8_f64).exp());
    let mut estimate = sampled(&[(300, 8_000)]);
    estimate.merge(theirs, decay(), at(8_000));
    assert_is(cost_ms(&estimate, 8_000), 300.0);
    let mut estimate = PeakEwma::default();
    estimate.merge(theirs, decay(), at(0));
    assert_is(cost_ms(&estimate, 0), 500.0);
}

#[test]
fn merged_estimate_from_the_future_is_of_now() {
    let mut estimate = PeakEwma::default();
    estimate.merge(Latency::new(ms(500), at(60_000)), decay(), at(0));
    assert_eq!(estimate.at(), at(0));
}

#[test]
fn tau_of_nothing_forgets_at_once() {
    let decay = Decay::new(Duration::ZERO);
    let mut estimate = PeakEwma::default();
    estimate.on_sample(ms(100), decay, at(0));
    estimate.on_sample(ms(10), decay, at(1));
    assert_eq!(estimate.cost_ns_at(decay, at(1)), Some(1e7));
}

/// Is the same estimator in the platform's floats.
fn naive(samples: &[(u64, u64)]) -> f64 {
    let (mut cost, mut last) = (0.0_f64, 0);
    for (latency_ns, at_ns) in samples {
        let weight = (-(at_ns.saturating_sub(last) as f64) / 1e10).exp();
        let sample = (*latency_ns as f64).max(1.0);
        cost = if sample > cost {
            sample
        } else {
            cost * weight + sample * (1.0 - weight)
        };
        last = *at_ns;
    }
    cost
}

/// Are samples with the times between them, now and then backwards.
fn samples() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let step = prop_oneof![
        4 => 0..1_000_000_000_i64,
        1 => Just(0_i64),
        1 => -5_000_000_000..0_i64,
        1 => 0..100_000_000_000_i64,
    ];
    let latency = prop_oneof![4 => 1_000_000..5_000_000_000_u64, 1 => Just(0), 1 => any::<u64>()];
    prop::collection::vec((latency, step), 1..100).prop_map(|steps| {
        let mut now = START_NS;
        steps
            .into_iter()
            .map(|(latency, step)| {
                now = now.saturating_add_signed(step);
                (latency, now)
            })
            .collect()
    })
}

fn run(samples: &[(u64, u64)]) -> PeakEwma {
    let mut estimate = PeakEwma::default();
    for (latency_ns, at_ns) in samples {
        let now = WallTime::from_ns(*at_ns);
        estimate.on_sample(Duration::from_nanos(*latency_ns), decay(), now);
    }
    estimate
}

proptest! {
    #[test]
    fn cost_is_that_of_the_naive_estimator(samples in samples()) {
        let estimate = run(&samples);
        let ours = estimate.cost_ns_at(decay(), estimate.at()).unwrap();
        let theirs = naive(&samples);
        prop_assert!((ours - theirs).abs() <= 1e-9 * theirs, "{ours} {theirs}");
    }

    #[test]
    fn cost_is_never_above_the_largest_sample_nor_below_the_least(samples in samples()) {
        let estimate = run(&samples);
        let cost = estimate.cost_ns_at(decay(), estimate.at()).unwrap();
        let latencies = || samples.iter().map(|(latency, _)| *latency);
        prop_assert!(cost.is_finite());
        prop_assert!(cost <= (latencies().max().unwrap() as f64).max(1.0));
        prop_assert!(cost >= (latencies().min().unwrap() as f64).max(1.0));
    }

    #[test]
    fn cost_read_later_is_never_more(samples in samples(), passed: [u32; 2]) {
        let estimate = run(&samples);
        let read = |passed_us: u32| {
            let later = estimate.at().as_ns().saturating_add(u64::from(passed_us) * 1_000);
            estimate.cost_ns_at(decay(), WallTime::from_ns(later)).unwrap()
        };
        let [sooner, later] = [passed[0].min(passed[1]), passed[0].max(passed[1])].map(read);
        // The weight is right to a few parts in 10^15, and may rise by as much.
        prop_assert!(later <= sooner * (1.0 + 1e-13), "{sooner} {later}");
    }

    #[test]
    fn projection_is_that_of_the_estimate_and_no_more(us in 1..=u32::MAX, passed_ms in 0..100_000_u64) {
        let us = NonZeroU32::new(us).unwrap();
        let projected = decay().project(us, ms(passed_ms));
        let exact = f64::from(us.get()) * (-(passed_ms as f64) / 1e4).exp();
        prop_assert!(f64::from(projected) <= exact * (1.0 + 1e-12));
        prop_assert!(f64::from(projected) >= exact * (1.0 - 1e-12) - 1.0);
        // In two steps it is no more than in one.
        if let Some(half) = NonZeroU32::new(decay().project(us, ms(passed_ms / 2))) {
            prop_assert!(decay().project(half, ms(passed_ms - passed_ms / 2)) <= projected);
        }
    }

    /// Two workers that each see a part and hear of each other are never below one that saw all.
    #[test]
    fn merging_loses_no_peak(samples in samples()) {
        let mut sorted = samples;
        // A report holds whole microseconds, at most 71 minutes of them.
        sorted.iter_mut().for_each(|(latency, _)| *latency = (*latency).min(4_000_000_000_000));
        sorted.sort_by_key(|(_, at)| *at);
        let parts = [0, 1].map(|part| {
            let of = |(index, sample): (usize, &(u64, u64))| (index % 2 == part).then_some(*sample);
            run(&sorted.iter().enumerate().filter_map(of).collect::<Vec<_>>())
        });
        let now = WallTime::from_ns(sorted.last().unwrap().1);
        let cost = |estimate: &PeakEwma| estimate.cost_ns_at(decay(), now).unwrap_or(0.0);
        let mut merged = parts[0];
        if let Some(latency) = parts[1].to_latency() {
            merged.merge(latency, decay(), now);
        }
        let largest = cost(&parts[0]).max(cost(&parts[1]));
        prop_assert!(cost(&merged) >= largest - 1_000.0, "{} {largest}", cost(&merged));
    }
}

fn slow_start(window_s: u64, aggression_ppm: u32, minimum_ppm: u32) -> SlowStart {
    SlowStart::new(
        Duration::from_secs(window_s),
        NonZeroU32::new(aggression_ppm).unwrap(),
        minimum_ppm,
    )
}

#[test]
fn factor_rises_as_the_formula_says() {
    let cases = [
        (60, 1_000_000, 0, 0.1),
        (60, 1_000_000, 5_000, 0.1),
        (60, 1_000_000, 10_000, 1.0 / 6.0),
        (60, 1_000_000, 30_000, 0.5),
        (60, 1_000_000, 59_999, 0.999_983_333_333),
        (60, 1_000_000, 60_000, 1.0),
        (60, 1_000_000, 1_000_000, 1.0),
        // The square root, and the square.
        (60, 2_000_000, 15_000, 0.5),
        (60, 500_000, 30_000, 0.25),
        (60, 500_000, 10_000, 0.1),
    ];
    for (window, aggression, passed_ms, expected) in cases {
        let factor = slow_start(window, aggression, 100_000).factor_at(Some(at(0)), at(passed_ms));
        let error = (factor - expected).abs();
        assert!(
            error < 1e-9,
            "{aggression} {passed_ms}: {factor} {expected}"
        );
    }
}

#[test]
fn endpoint_that_was_not_seen_to_join_has_all_of_its_share() {
    let factor = slow_start(60, 1_000_000, 100_000).factor_at(None, at(0));
    assert_eq!(factor.to_bits(), 1.0_f64.to_bits());
}

#[test]
fn window_of_nothing_and_a_minimum_of_all_have_no_slow_start() {
    for slow_start in [
        slow_start(0, 1_000_000, 0),
        slow_start(60, 1_000_000, 5_000_000),
    ] {
        let factor = slow_start.factor_at(Some(at(0)), at(0));
        assert_eq!(factor.to_bits(), 1.0_f64.to_bits());
    }
}

#[test]
fn second_joiner_does_not_reset_the_first() {
    let slow_start = slow_start(60, 1_000_000, 100_000);
    let before = slow_start.factor_at(Some(at(0)), at(30_000));
    let second = slow_start.factor_at(Some(at(30_000)), at(30_000));
    let first = slow_start.factor_at(Some(at(0)), at(30_000));
    assert!(first.total_cmp(&before).is_eq() && second < first);
}

#[test]
fn factor_after_a_step_back_is_the_least_and_far_behind_it_the_whole() {
    let slow_start = slow_start(60, 1_000_000, 100_000);
    for (now_ms, expected) in [(99_999, 0.1), (40_001, 0.1), (40_000, 1.0), (0, 1.0)] {
        let factor = slow_start.factor_at(Some(at(100_000)), at(now_ms));
        assert_eq!(factor.to_bits(), f64::to_bits(expected), "{now_ms}");
    }
}

#[test]
fn share_of_one_that_drains_is_what_is_left_of_the_window() {
    let window = Duration::from_secs(60);
    let cases = [
        (0, 1.0),
        (15_000, 0.75),
        (45_000, 0.25),
        (60_000, 0.0),
        (1_000_000, 0.0),
    ];
    for (now_ms, expected) in cases {
        let share = drain_share(at(60_000), window, at(now_ms));
        assert!((share - expected).abs() < 1e-12, "{now_ms}: {share}");
    }
    // A clock that stepped back, and no window.
    assert_eq!(
        drain_share(at(60_000), window, WallTime::default()).to_bits(),
        1.0_f64.to_bits()
    );
    assert_eq!(drain_share(at(60_000), Duration::ZERO, at(0)).to_bits(), 0);
}

proptest! {
    #[test]
    fn factor_never_falls_and_stays_between_the_minimum_and_one(
        window_ms in 1..100_000_u64,
        aggression in 1..10_000_000_u32,
        minimum in 0..=1_000_000_u32,
        times: [u32; 2],
    ) {
        let aggression = NonZeroU32::new(aggression).unwrap();
        let slow_start = SlowStart::new(ms(window_ms), aggression, minimum);
        let factor = |passed: u32| slow_start.factor_at(Some(at(0)), at(u64::from(passed % 120_000)));
        let least = f64::from(minimum) / 1e6;
        let [sooner, later] = {
            let mut times = times.map(|time| time % 120_000);
            times.sort_unstable();
            times.map(factor)
        };
        prop_assert!((least..=1.0).contains(&sooner));
        prop_assert!(later >= sooner * (1.0 - 1e-11), "{sooner} {later}");
    }
}
