//! How long an endpoint takes, as the worst that was seen of it lately: a Peak EWMA.
//!
//! Why: a mean notices a slow endpoint late and forgives it at its first quick answer; a peak is
//! adopted at once and forgiven slowly. Failures are no samples: one that is quick would attract
//! requests, and a penalty would spoil the estimate of everybody who fails now and then.
//! Model: on a sample, `cost = rtt` if `rtt > cost`, else `cost·w + rtt·(1 − w)` with
//! `w = e^(−Δ/τ)`, `Δ` the time since the last sample and `τ` = 10 s. Read at a later time it is
//! `cost·e^(−Δ/τ)`: an endpoint that nobody tries gets better, so that somebody tries it.
//! Cold start: no estimate before the first sample, which is adopted as it is.
//! Limits: whole numbers, the same on every machine: `w` is right to 2^−30, a cost to 2^−24 µs per
//! sample, so that a thousand samples a second do not drift. A sample has at most 2^32 − 1 µs (71
//! minutes). Equal times and steps back have `Δ` = 0, and the estimate then counts from the new
//! time; after 32 half-lives (222 s) `w` is zero.
//! Scope: per endpoint and VM. Cost: O(1), 16 bytes.
//! Source: Finagle's Peak EWMA.

use core::{num::NonZeroU32, time::Duration};

use crate::{snapshot::Latency, units::WallTime};

/// Is the time in which an estimate falls to 1/e, about 37 %. Shorter forgives a slow endpoint
/// while it still is, longer keeps one that has recovered from its share.
pub const DECAY: Duration = Duration::from_secs(10);

/// Is `DECAY` in microseconds.
const DECAY_US: u64 = 10_000_000;

/// Is how many bits of a fraction have their own factor; the others are so small that the first
/// term of the series is exact.
const FACTOR_BITS: u32 = 16;

/// Are 2^(−2^−i) for i = 1 to 16, times 2^32.
const FACTORS: [u64; FACTOR_BITS as usize] = [
    3_037_000_500,
    3_611_622_603,
    3_938_502_376,
    4_112_874_773,
    4_202_935_003,
    4_248_701_965,
    4_271_771_996,
    4_283_353_945,
    4_289_156_690,
    4_292_061_010,
    4_293_513_907,
    4_294_240_540,
    4_294_603_903,
    4_294_785_595,
    4_294_876_445,
    4_294_921_870,
];

/// Is log2(e) times 2^32.
const LOG2_E: u64 = 6_196_328_019;

/// Is ln(2) times 2^32.
const LN_2: u64 = 2_977_044_472;

/// Is one, as a weight.
const ONE: u64 = 1 << 32;

/// Is how many bits of a cost are a fraction of a microsecond.
const COST_FRACTION_BITS: u32 = 24;

/// Is the estimate of one endpoint's latency.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PeakEwma {
    /// Is the cost in 2^−24 microseconds: at most 56 bits.
    cost: u64,
    at: WallTime,
}

impl PeakEwma {
    /// Adopts a first sample.
    pub(crate) fn new(sample_us: u32, now: WallTime) -> Self {
        Self {
            cost: u64::from(sample_us) << COST_FRACTION_BITS,
            at: now,
        }
    }

    /// Takes a sample.
    pub(crate) fn on_sample(&mut self, sample_us: u32, now: WallTime) {
        let sample = u64::from(sample_us) << COST_FRACTION_BITS;
        self.cost = if sample > self.cost {
            sample
        } else {
            let above = self.cost.saturating_sub(sample);
            sample.saturating_add(times(above, weight(now.saturating_since(self.at))))
        };
        self.at = now;
    }

    /// Is the estimate as it was at the last sample; a reader projects it to its own time.
    pub(crate) fn latency(self) -> Latency {
        Latency::new(
            Duration::from_micros(self.cost >> COST_FRACTION_BITS),
            self.at,
        )
    }
}

/// Is what an estimate is worth after a time, in microseconds: never more than it was.
#[must_use]
pub fn decayed(estimate_us: NonZeroU32, elapsed: Duration) -> u32 {
    let worth = times(u64::from(estimate_us.get()), weight(elapsed));
    u32::try_from(worth).unwrap_or(u32::MAX)
}

/// Is e^(−Δ/τ), times 2^32.
fn weight(elapsed: Duration) -> u64 {
    // 32 half-lives are 222 s, which has 28 bits of microseconds; the product has 61.
    let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    let Some(half_lives) = elapsed_us.checked_mul(LOG2_E).map(|all| all / DECAY_US) else {
        return 0;
    };
    let (whole, fraction) = (half_lives >> 32, half_lives % ONE);
    let mut weight = ONE;
    for (place, factor) in (1_u32..).zip(FACTORS) {
        if fraction
            .checked_shr(32_u32.saturating_sub(place))
            .unwrap_or(0)
            % 2
            == 1
        {
            weight = times(weight, factor);
        }
    }
    let rest = fraction % (ONE >> FACTOR_BITS);
    weight = times(weight, ONE.saturating_sub(times(rest, LN_2)));
    u32::try_from(whole)
        .ok()
        .and_then(|whole| weight.checked_shr(whole))
        .unwrap_or(0)
}

/// Multiplies by a weight of at most one, and rounds down.
fn times(value: u64, weight: u64) -> u64 {
    let product = u128::from(value).saturating_mul(u128::from(weight)) >> 32;
    u64::try_from(product).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "a naive twin computes in f64")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at_us(us: u64) -> WallTime {
        WallTime::from_ns(1_700_000_000_000_000_000_u64.saturating_add(us.saturating_mul(1000)))
    }

    fn decayed_us(estimate_us: u32, seconds: u64) -> u32 {
        decayed(
            NonZeroU32::new(estimate_us).unwrap(),
            Duration::from_secs(seconds),
        )
    }

    #[test]
    fn estimate_decays_as_the_formula_says() {
        // 1e9 · e^(−t/10).
        let cases = [
            (0, 1_000_000_000),
            (1, 904_837_418),
            (10, 367_879_441),
            (100, 45_399),
            (221, 0),
            (31_536_000, 0),
            (u64::MAX, 0),
        ];
        for (seconds, expected) in cases {
            let worth = decayed_us(1_000_000_000, seconds);
            assert!(worth.abs_diff(expected) <= 2, "{seconds} s: {worth}");
        }
        assert_eq!(decayed_us(u32::MAX, 0), u32::MAX);
        assert_eq!(decayed_us(1, 0), 1);
    }

    #[test]
    fn peak_is_adopted_at_once_and_forgiven_slowly() {
        let mut estimate = PeakEwma::new(167_000, at_us(0));
        let us = |estimate: PeakEwma| estimate.latency().estimate_us.get();
        assert_eq!(us(estimate), 167_000);
        estimate.on_sample(2_000_000, at_us(1));
        assert_eq!(us(estimate), 2_000_000);
        // Ten seconds later 167 ms: 2 s / e + 167 ms · (1 − 1/e).
        estimate.on_sample(167_000, at_us(10_000_001));
        assert_eq!(us(estimate), 841_323);
        assert_eq!(estimate.latency().at, at_us(10_000_001));
    }

    #[test]
    fn estimate_survives_any_clock() {
        let year_us = 31_536_000_000_000_u64;
        // Time of the second sample, and the estimate then.
        let cases = [
            (year_us, 2_000_000),
            (year_us.saturating_sub(1_000_000), 2_000_000),
            (0, 2_000_000),
            (year_us.saturating_mul(2), 167_000),
        ];
        for (now, expected) in cases {
            let mut estimate = PeakEwma::new(2_000_000, at_us(year_us));
            estimate.on_sample(167_000, at_us(now));
            assert_eq!(estimate.latency().estimate_us.get(), expected, "{now}");
            assert_eq!(estimate.latency().at, at_us(now));
        }
    }

    #[test]
    fn thousand_samples_a_second_do_not_drift() {
        let mut estimate = PeakEwma::new(1_001, at_us(0));
        for ms in 1..=10_000_u64 {
            estimate.on_sample(1_000, at_us(ms.saturating_mul(1000)));
        }
        // 1 000 + 1/e, and not a microsecond less per sample.
        assert_eq!(estimate.latency().estimate_us.get(), 1_000);
        let left = estimate.cost % (1 << COST_FRACTION_BITS);
        assert!(left.abs_diff(6_171_990) < 20_000, "{left}");
    }

    proptest! {
        #[test]
        fn estimate_is_that_of_a_naive_one_and_never_above_its_samples(
            first in 1_u32..,
            samples in proptest::collection::vec((1_u32.., 0..60_000_000_u64), 0..50),
        ) {
            let mut now_us = 0_u64;
            let mut estimate = PeakEwma::new(first, at_us(0));
            let mut naive = f64::from(first);
            let mut largest = first;
            for (sample, after_us) in samples {
                now_us = now_us.saturating_add(after_us);
                estimate.on_sample(sample, at_us(now_us));
                let weight = (-(after_us as f64) / 1e7).exp();
                let sample_us = f64::from(sample);
                naive = if sample_us > naive {
                    sample_us
                } else {
                    naive * weight + sample_us * (1.0 - weight)
                };
                largest = largest.max(sample);
                let us = estimate.latency().estimate_us.get();
                prop_assert!(us <= largest);
                prop_assert!(us >= sample || us.abs_diff(sample) <= 1);
                prop_assert!((f64::from(us) - naive).abs() <= 2.0 + naive * 1e-8, "{us} {naive}");
            }
        }

        #[test]
        fn decay_never_rises(estimate_us: u32, ms in 0..300_000_u64, later_ms in 0..300_000_u64) {
            let estimate_us = NonZeroU32::new(estimate_us).unwrap_or(NonZeroU32::MIN);
            let worth = |ms| decayed(estimate_us, Duration::from_millis(ms));
            let (sooner, later) = (worth(ms), worth(ms.saturating_add(later_ms)));
            prop_assert!(later <= sooner && sooner <= estimate_us.get());
        }
    }
}
