//! Powers and logarithms that give the same bits on every target.
//!
//! Why: `core` has none, and the platform's differ in the last place, so that a replay would decide
//! otherwise than the proxy did. Additions, multiplications and divisions of `f64` are exact to the
//! rule on every target, and nothing else is used here.
//! Scope: functions without state. Cost: O(1), about 30 operations each.

use core::f64::consts::{LN_2, LOG2_E, SQRT_2};

/// Is 2^52: a float above it has no places after the point, so adding it rounds to a whole.
const WHOLE: f64 = 4_503_599_627_370_496.0;

/// Is how many terms of the series of e^x are summed. At |x| ≤ 0.35 the first one left out, x^14/14!,
/// is below 5e-18, and thus lost in the rounding of the sum.
const EXP_TERMS: usize = 14;

/// Is how many terms of the series of the logarithm are summed. At |s| ≤ 0.1716 the first one left
/// out, 2·s^21/21, is below 8e-18.
const LN_TERMS: usize = 10;

/// Are 1/n!, from n = 0.
const RECIPROCAL_FACTORIALS: [f64; EXP_TERMS] = [
    1.0,
    1.0,
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5_040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
    1.0 / 6_227_020_800.0,
];

/// Are 1/(2n + 1), from n = 0.
const RECIPROCAL_ODDS: [f64; LN_TERMS] = [
    1.0,
    1.0 / 3.0,
    1.0 / 5.0,
    1.0 / 7.0,
    1.0 / 9.0,
    1.0 / 11.0,
    1.0 / 13.0,
    1.0 / 15.0,
    1.0 / 17.0,
    1.0 / 19.0,
];

/// Is the largest `x` for which e^−x is told from 0: 1e-304.
const MAX_EXPONENT: f64 = 700.0;

/// Is e^−x, from 0 to 1; what is no positive number counts as 0.
///
/// The relative error is at most `2^-51 + x · 2^-51`: the roundings of the sum, and of `x − k·ln 2`.
/// Above 700 it is 0.
pub(super) fn exp_negative(x: f64) -> f64 {
    if x.is_nan() || x <= 0.0 {
        return 1.0;
    }
    if x > MAX_EXPONENT {
        return 0.0;
    }
    // e^−x = 2^−k · e^−r, with r at most half of ln 2 away from 0.
    let rounded = x * LOG2_E + WHOLE;
    let r = x - (rounded - WHOLE) * LN_2;
    let power = horner(&RECIPROCAL_FACTORIALS, -r);
    // The lowest bits of a float between 2^52 and 2^53 are its whole number: k, at most 1010.
    let k = rounded.to_bits() & 0xfff;
    let scale = f64::from_bits(1023_u64.saturating_sub(k) << 52);
    (power * scale).min(1.0)
}

/// Is `x^exponent` for `x` from 0 to 1 and a positive exponent; below 1e-300 `x` counts as that.
///
/// The relative error is at most `(1 + y) · 2^-49` with `y = exponent · −ln x`.
pub(super) fn power(x: f64, exponent: f64) -> f64 {
    if x >= 1.0 {
        return 1.0;
    }
    exp_negative(exponent * ln_negative(x.max(1e-300)))
}

/// Is −ln x for a normal `x` from 0 to 1.
fn ln_negative(x: f64) -> f64 {
    // x = m · 2^−k, m from √½ to √2; ln m = 2·artanh((m − 1)/(m + 1)).
    let bits = x.to_bits();
    let mut m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | (1023 << 52));
    let mut k = f64::from_bits((1023_u64.saturating_sub(bits >> 52)) | WHOLE.to_bits()) - WHOLE;
    if m > SQRT_2 {
        m *= 0.5;
        k -= 1.0;
    }
    let s = (m - 1.0) / (m + 1.0);
    k * LN_2 - 2.0 * s * horner(&RECIPROCAL_ODDS, s * s)
}

/// Is the polynomial with these coefficients, the constant one first.
fn horner(coefficients: &[f64], x: f64) -> f64 {
    coefficients
        .iter()
        .rev()
        .fold(0.0, |sum, coefficient| sum * x + coefficient)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The platform's is right to 1 in 2^52.
    #[track_caller]
    fn assert_close(ours: f64, theirs: f64, bound: f64, what: &str) {
        let error = (ours - theirs).abs() / theirs;
        assert!(
            error <= bound + f64::EPSILON,
            "{what}: {ours} {theirs} {error}"
        );
    }

    #[test]
    fn power_of_e_is_right_to_its_bound_over_the_whole_range() {
        for step in 0..=1_000_000_u32 {
            let x = f64::from(step) * 0.0007;
            assert_close(
                exp_negative(x),
                (-x).exp(),
                (1.0 + x) * 2_f64.powi(-51),
                "exp",
            );
        }
    }

    #[test]
    fn power_of_e_never_rises_between_neighbours() {
        let mut last = 1.0;
        for step in 0..3_000_000_u32 {
            // From a nanosecond to 10 s of a τ of 10 s, then in coarser steps up to 7 000 s.
            let x = if step < 1_000_000 {
                f64::from(step) * 1e-10
            } else {
                f64::from(step - 999_999) * 1e-4
            };
            if step == 1_000_000 {
                last = 1.0;
            }
            let power = exp_negative(x);
            assert!(power <= last * (1.0 + 2e-15), "{x}: {power} {last}");
            last = power;
        }
    }

    #[test]
    fn power_of_e_is_whole_at_its_ends() {
        for nothing in [0.0, -0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(exp_negative(nothing).to_bits(), 1.0_f64.to_bits());
        }
        assert_eq!(exp_negative(f64::from_bits(1)).to_bits(), 1.0_f64.to_bits());
        for all in [700.1, 1e300, f64::INFINITY] {
            assert_eq!(exp_negative(all).to_bits(), 0);
        }
        assert!(exp_negative(700.0) > 0.0);
    }

    /// The bits themselves: another target, or another order of the same operations, would show.
    #[test]
    fn power_of_e_has_these_bits() {
        let bits = [0.001, 0.5, 1.0, 10.0, 100.0].map(|x| exp_negative(x).to_bits());
        let expected: [u64; 5] = [
            4_607_173_416_102_861_470,
            4_603_638_362_051_417_610,
            4_600_298_746_774_613_816,
            4_541_824_671_844_433_047,
            3_957_129_287_720_677_201,
        ];
        assert_eq!(bits, expected);
    }

    proptest! {
        #[test]
        fn power_is_right_to_its_bound(x in 1e-9..=1.0_f64, exponent in 0.01..=10.0_f64) {
            let y = exponent * -x.ln();
            assert_close(
                power(x, exponent),
                x.powf(exponent),
                (1.0 + y) * 2_f64.powi(-49),
                "power",
            );
        }

        #[test]
        fn power_of_anything_is_between_0_and_1(x: f64, exponent: f64) {
            let power = power(x, exponent);
            prop_assert!((0.0..=1.0).contains(&power), "{power}");
        }
    }
}
