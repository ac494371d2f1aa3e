//! What an estimate of a latency is worth after a time without samples.
//!
//! Model: `worth = estimate · e^(−age/τ)` with τ = 10 s, which is `estimate · 2^(−age/6931 ms)`: the
//! whole half-lives by shifting, the rest by a line between sixteenths of one.
//! Limits: at most 0.03 % too large; it never rises with age, and is 0 after 32 half-lives (221 s).
//! Integers only, so that every machine finds the same.
//! Cost: O(1), one multiplication of 64 bits and two divisions.

use core::{num::NonZeroU32, time::Duration};

/// Is τ·ln 2, in microseconds.
const HALF_LIFE_US: u64 = 6_931_472;

/// Is `2^32 · 2^(−i/16)` for i from 0 to 16.
const SIXTEENTHS: [u64; 17] = [
    4_294_967_296,
    4_112_874_773,
    3_938_502_376,
    3_771_522_796,
    3_611_622_603,
    3_458_501_653,
    3_311_872_529,
    3_171_459_999,
    3_037_000_500,
    2_908_241_642,
    2_784_941_738,
    2_666_869_345,
    2_553_802_834,
    2_445_529_972,
    2_341_847_524,
    2_242_560_872,
    2_147_483_648,
];

/// Is what an estimate in microseconds is worth after `age`, rounded down.
pub(super) fn decayed(estimate_us: NonZeroU32, age: Duration) -> u32 {
    let age_us = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
    let halvings = u32::try_from(age_us / HALF_LIFE_US).unwrap_or(u32::MAX);
    let rest = (age_us % HALF_LIFE_US).saturating_mul(16);
    let index = usize::try_from(rest / HALF_LIFE_US).unwrap_or_default();
    let inside = rest % HALF_LIFE_US;
    let at = |index: usize| SIXTEENTHS.get(index).copied().unwrap_or_default();
    let (from, to) = (at(index), at(index.saturating_add(1)));
    let drop = from.saturating_sub(to).saturating_mul(inside) / HALF_LIFE_US;
    let factor = from.saturating_sub(drop);
    let worth = u64::from(estimate_us.get())
        .saturating_mul(factor)
        .checked_shr(halvings.saturating_add(32))
        .unwrap_or(0);
    u32::try_from(worth).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u32, age: Duration) -> u32 {
        decayed(NonZeroU32::new(us).unwrap(), age)
    }

    #[test]
    fn estimate_decays_as_the_formula_says() {
        for estimate in [1_000_u32, 167_000, 2_000_000, u32::MAX] {
            for age_ms in (0_u64..60_000).step_by(97) {
                let exact = f64::from(estimate) * (-(age_ms as f64) / 10_000.0).exp();
                let worth = f64::from(at(estimate, Duration::from_millis(age_ms)));
                let most = exact.mul_add(1.0003, 1.0);
                assert!(worth >= exact - 1.5 && worth <= most, "{estimate} {age_ms}");
            }
        }
        assert_eq!(at(2_000_000, Duration::ZERO), 2_000_000);
    }

    #[test]
    fn estimate_never_rises_with_age_and_ends_at_zero() {
        let mut last = u32::MAX;
        for age_ms in 0..230_000 {
            let worth = at(u32::MAX, Duration::from_millis(age_ms));
            assert!(worth <= last, "{age_ms}");
            last = worth;
        }
        assert_eq!(last, 0);
        assert_eq!(at(u32::MAX, Duration::MAX), 0);
    }
}
