//! What is usual in a pool, and whether one endpoint is worse than chance would make it.

use core::time::Duration;

use crate::{snapshot::Counts, units::Ppm};

/// Is a probability of one, as rows are counted: so small parts that rounding says nothing.
const CERTAIN: u64 = 1_000_000_000_000;

/// Is how rare a row must be where failures are usual: one in 10^9 attempts. More ejects whoever has
/// bad luck, every few minutes at 1000 requests a second; less lets a dead endpoint go on for
/// longer in a pool where a tenth fails: 9 attempts do.
const RARE: u64 = CERTAIN / 1_000_000_000;

/// Is 2·ln(10^6), rounded up, in hundredths: an excess is more than what chance makes once in a
/// million windows. More often ejects who has bad luck, every few minutes in a pool where a third
/// fails.
const UNLIKELY_HUNDREDTHS: u128 = 2_764;

/// Counts attempts in the present half of the window and in the one before.
///
/// Both sums saturate. Cost: 32 bytes, O(1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Is the number of the present half.
    half: u64,
    now: Sums,
    before: Sums,
}

#[derive(Clone, Copy, Debug)]
struct Sums {
    attempts: u32,
    failures: u32,
}

impl Sums {
    const NONE: Self = Self {
        attempts: 0,
        failures: 0,
    };
}

impl Window {
    /// Is a window without attempts.
    pub(super) const NEW: Self = Self {
        half: 0,
        now: Sums::NONE,
        before: Sums::NONE,
    };

    /// Adds what came in.
    pub(super) fn add(&mut self, half: u64, counts: Counts) {
        self.turn(half);
        let failures = failures(counts);
        let attempts = counts.successes.saturating_add(failures);
        self.now.failures = self.now.failures.saturating_add(failures);
        self.now.attempts = self.now.attempts.saturating_add(attempts);
    }

    /// Is attempts and failures, as of the half with this number.
    pub(super) fn totals(&self, half: u64) -> (u32, u32) {
        let mut turned = *self;
        turned.turn(half);
        let attempts = turned.now.attempts.saturating_add(turned.before.attempts);
        let failures = turned.now.failures.saturating_add(turned.before.failures);
        (attempts, failures)
    }

    fn turn(&mut self, half: u64) {
        match half.saturating_sub(self.half) {
            0 => {}
            1 => (self.before, self.now) = (self.now, Sums::NONE),
            _ => (self.before, self.now) = (Sums::NONE, Sums::NONE),
        }
        self.half = self.half.max(half);
    }
}

/// Is the number of the half of a window at a moment.
pub(super) fn half_of(elapsed: Duration, window: Duration) -> u64 {
    let half = (window.as_nanos() / 2).max(1);
    let number = elapsed.as_nanos().checked_div(half).unwrap_or(0);
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Is how many of the outcomes are failures.
pub(super) const fn failures(counts: Counts) -> u32 {
    counts
        .gateway_failures
        .saturating_add(counts.local_failures)
}

/// Says what is usual in a pool.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Pool {
    /// Is the lower median of the failure rates of those with the minimum volume; `None` where
    /// these are less than half of the pool.
    pub(super) median: Option<Ppm>,
    /// Are all attempts in the window, and those that failed.
    pub(super) attempts: u64,
    pub(super) failures: u64,
    /// Says that the median endpoint is in a row itself.
    pub(super) shares_rows: bool,
}

impl Pool {
    /// Is the failure rate that is usual, beside an endpoint with these totals: the median, or that
    /// of the others together.
    pub(super) fn usual_rate(&self, (attempts, failures): (u32, u32)) -> Ppm {
        self.median.unwrap_or_else(|| {
            let others = self.attempts.saturating_sub(u64::from(attempts));
            let failed = self.failures.saturating_sub(u64::from(failures));
            Ppm::of(failed, others).unwrap_or_default()
        })
    }
}

/// Counts who is in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rows {
    pub(super) members: u32,
    pub(super) in_row: u32,
}

impl Rows {
    /// Says whether the lower median member is in a row. One alone has nobody to share with.
    pub(super) const fn are_shared(self) -> bool {
        let without = self.members.saturating_sub(self.in_row);
        let below_median = self.members.saturating_sub(1) / 2;
        self.members > 1 && without <= below_median
    }
}

/// Is the lower median; `None` of nothing. Orders the rates anew. Expected O(n).
pub(super) fn lower_median(rates: &mut [Ppm]) -> Option<Ppm> {
    let place = rates.len().checked_sub(1)? / 2;
    let (_, median, _) = rates.select_nth_unstable(place);
    Some(*median)
}

/// Says whether chance makes a row of `row` failures so rarely, where each attempt fails with
/// probability `rate`. O(row).
pub(super) fn is_rare_row(row: u8, rate: Ppm) -> bool {
    let mut chance = CERTAIN;
    for _ in 0..row {
        chance = chance.saturating_mul(u64::from(rate.as_u32())) / 1_000_000;
        if chance <= RARE {
            return true;
        }
    }
    false
}

/// Says whether `failures` of `attempts` are above `rate` by the excess, and by more than chance
/// makes: `n·d² ≥ 2·ln(10⁶)·(p·(1 − p) + d/3)`, where `d` is how far above.
pub(super) fn is_excess(attempts: u32, failures: u32, rate: Ppm, excess: Ppm) -> bool {
    let Some(own) = Ppm::of(u64::from(failures), u64::from(attempts)) else {
        return false;
    };
    let above = own.as_u32().saturating_sub(rate.as_u32());
    if above == 0 || above < excess.as_u32() {
        return false;
    }
    let (above, attempts) = (u128::from(above), u128::from(attempts));
    // Bernstein's inequality for sums of independent trials, times 300 and 10^12: both sides stay
    // below 2^84.
    let seen = above
        .saturating_mul(above)
        .saturating_mul(attempts)
        .saturating_mul(300);
    let variance = u128::from(rate.as_u32()).saturating_mul(u128::from(rate.complement().as_u32()));
    let range = above.saturating_mul(u128::from(Ppm::ONE.as_u32()));
    let by_chance = variance.saturating_mul(3).saturating_add(range);
    seen >= by_chance.saturating_mul(UNLIKELY_HUNDREDTHS)
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]
mod tests {
    use std::{vec, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    fn ppm(ppm: u32) -> Ppm {
        Ppm::try_new(ppm).unwrap()
    }

    #[test]
    fn rare_row_gets_longer_with_the_usual_rate() {
        // SOURCE: the least r with rate^r <= 10^-9.
        let cases = [
            (0, 1),
            (1_000, 3),
            (100_000, 9),
            (300_000, 18),
            (500_000, 30),
            (900_000, 197),
            (920_000, 249),
        ];
        for (rate, least) in cases {
            assert!(is_rare_row(least, ppm(rate)), "{rate}");
            assert!(!is_rare_row(least - 1, ppm(rate)), "{rate}");
        }
        assert!(!is_rare_row(u8::MAX, ppm(930_000)));
        assert!(!is_rare_row(u8::MAX, Ppm::ONE));
    }

    #[test]
    fn excess_needs_its_share_and_more_than_chance() {
        let excess = ppm(200_000);
        assert!(is_excess(50, 10, Ppm::ZERO, excess));
        assert!(!is_excess(51, 10, Ppm::ZERO, excess));
        assert!(is_excess(10, 10, Ppm::ZERO, excess));
        assert!(!is_excess(9, 9, Ppm::ZERO, excess));
        // Where a half fails, 0.3 more of 100 are once in exp(9 / 0.7) = 384 000; of 110, 1.4·10^6.
        assert!(!is_excess(100, 80, ppm(500_000), excess));
        assert!(is_excess(110, 88, ppm(500_000), excess));
        assert!(!is_excess(0, 0, Ppm::ZERO, Ppm::ZERO));
        assert!(!is_excess(10, 5, ppm(500_000), Ppm::ZERO));
        assert!(is_excess(u32::MAX, u32::MAX, Ppm::ZERO, Ppm::ONE));
    }

    #[test]
    fn row_is_shared_from_the_median_on() {
        let shared = |members, in_row| Rows { members, in_row }.are_shared();
        let cases = [
            (0, 0, false),
            (1, 1, false),
            (2, 1, false),
            (2, 2, true),
            (3, 1, false),
            (3, 2, true),
            (10, 5, false),
            (10, 6, true),
        ];
        for (members, in_row, expected) in cases {
            assert_eq!(shared(members, in_row), expected, "{in_row} of {members}");
        }
    }

    /// Is one thing that came in: in which half, successes and failures.
    type Step = (u64, u32, u32);

    proptest! {
        /// The median is the place (n − 1) / 2 of the sorted rates, and at most half are above it.
        #[test]
        fn median_is_that_of_the_sorted_rates(
            rates in prop::collection::vec(0_u32..=1_000_000, 0..60),
        ) {
            let mut rates: Vec<Ppm> = rates.into_iter().map(ppm).collect();
            let mut sorted = rates.clone();
            sorted.sort();
            let median = lower_median(&mut rates);
            let place = sorted.len().saturating_sub(1) / 2;
            prop_assert_eq!(median, sorted.get(place).copied());
            let above = rates.iter().filter(|rate| Some(**rate) > median).count();
            prop_assert!(above * 2 <= rates.len());
        }

        /// The window is the sum over a list of everything that ever came in.
        #[test]
        fn window_is_what_a_list_of_everything_says(
            steps in prop::collection::vec((0_u64..3, 0_u32..9, 0_u32..9), 0..60),
        ) {
            let mut window = Window::NEW;
            let mut everything: Vec<Step> = vec![];
            let mut half = 0;
            for (later, successes, failed) in steps {
                half += later;
                let counts = Counts { successes, gateway_failures: failed, local_failures: 0 };
                window.add(half, counts);
                everything.push((half, successes, failed));
                for ahead in 0..3 {
                    let recent = everything.iter().filter(|step| step.0 + 1 >= half + ahead);
                    let expected = recent.fold((0, 0), |sums, step| {
                        (sums.0 + step.1 + step.2, sums.1 + step.2)
                    });
                    prop_assert_eq!(window.totals(half + ahead), expected);
                }
            }
        }
    }
}
