//! Shares in millionths.

/// Is a share from 0 to 1 in whole millionths, so that equal ones are equal on every machine.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Ppm(u32);

/// Is the number of millionths in one.
const ONE_PPM: u32 = 1_000_000;

impl Ppm {
    /// Is nothing.
    pub const ZERO: Self = Self(0);
    /// Is all.
    pub const ONE: Self = Self(ONE_PPM);

    /// Takes millionths; `None` above one.
    #[must_use]
    pub const fn try_new(ppm: u32) -> Option<Self> {
        if ppm > ONE_PPM {
            return None;
        }
        Some(Self(ppm))
    }

    /// Takes a ratio from 0 to 1, rounded to the nearest millionth; `None` for anything else, NaN
    /// among it. −0.0 is 0.
    #[must_use]
    pub fn from_ratio(ratio: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&ratio) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the ratio is from 0 to 1"
        )]
        let ppm = (ratio * f64::from(ONE_PPM) + 0.5) as u32;
        Self::try_new(ppm)
    }

    /// Is the share that `part` is of `whole`, rounded down; one where it is more. `None` of
    /// nothing.
    #[must_use]
    pub fn of(part: u64, whole: u64) -> Option<Self> {
        let part = u128::from(part.min(whole)).saturating_mul(u128::from(ONE_PPM));
        let ppm = part.checked_div(u128::from(whole))?;
        u32::try_from(ppm).ok().and_then(Self::try_new)
    }

    /// Is the number of millionths.
    #[must_use]
    pub const fn as_u32(self) -> u32 {
        self.0
    }

    /// Is what is missing to one.
    #[must_use]
    pub const fn complement(self) -> Self {
        Self(ONE_PPM.saturating_sub(self.0))
    }

    /// Is this share of `number`, rounded down.
    #[must_use]
    pub fn share_of(self, number: u32) -> u32 {
        let parts = u64::from(number).saturating_mul(u64::from(self.0));
        u32::try_from(parts / 1_000_000).unwrap_or(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_at_a_bound_is_taken_and_the_next_one_is_not() {
        assert_eq!(Ppm::from_ratio(0.0), Some(Ppm::ZERO));
        assert_eq!(Ppm::from_ratio(-0.0), Some(Ppm::ZERO));
        assert_eq!(Ppm::from_ratio(1.0), Some(Ppm::ONE));
        assert_eq!(Ppm::from_ratio(0.2).map(Ppm::as_u32), Some(200_000));
        for ratio in [-f64::MIN_POSITIVE, 1.0 + f64::EPSILON, f64::NAN] {
            assert_eq!(Ppm::from_ratio(ratio), None, "{ratio}");
        }
        for ratio in [f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Ppm::from_ratio(ratio), None, "{ratio}");
        }
        assert_eq!(Ppm::try_new(1_000_000), Some(Ppm::ONE));
        assert_eq!(Ppm::try_new(1_000_001), None);
    }

    #[test]
    fn share_is_rounded_down_and_never_above_the_whole() {
        assert_eq!(Ppm::of(1, 3).map(Ppm::as_u32), Some(333_333));
        assert_eq!(Ppm::of(2, 1), Some(Ppm::ONE));
        assert_eq!(Ppm::of(u64::MAX, u64::MAX), Some(Ppm::ONE));
        assert_eq!(Ppm::of(0, 0), None);
        assert_eq!(Ppm(999_999).share_of(u32::MAX), 4_294_963_000);
        assert_eq!(Ppm::ONE.share_of(u32::MAX), u32::MAX);
        assert_eq!(Ppm(499_999).complement(), Ppm(500_001));
    }
}
