//! Lengths of time, counted so that their percentiles can be told.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Counts lengths of time. Percentiles have three significant digits; maximum and mean are exact.
///
/// Cost: at most some 60 KB for times up to 10 s, nothing before the first.
#[derive(Debug, Clone, Default)]
pub(super) struct Times {
    /// In microseconds.
    counts: Option<Histogram<u32>>,
    count: u64,
    sum_ns: u128,
    max_ns: u64,
}

/// What is told of lengths of time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TimesFigures {
    /// Half took at most this long.
    pub p50: f64,
    /// 90 % did.
    pub p90: f64,
    /// 95 % did.
    pub p95: f64,
    /// 99 % did.
    pub p99: f64,
    /// 99.9 % did.
    pub p999: f64,
    /// All did.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

impl Times {
    pub(super) fn add(&mut self, ns: u64) {
        self.count += 1;
        self.sum_ns += u128::from(ns);
        self.max_ns = self.max_ns.max(ns);
        if self.counts.is_none() {
            self.counts = Histogram::new(3).ok();
        }
        if let Some(counts) = &mut self.counts {
            // It grows by itself, and only a time beyond all numbers could be too long for it.
            let _ = counts.record(ns / 1_000);
        }
    }

    pub(super) fn figures(&self) -> Option<TimesFigures> {
        let counts = self.counts.as_ref()?;
        let at = |quantile: f64| {
            let micros = counts.median_equivalent(counts.value_at_quantile(quantile));
            rounded(ms(micros.saturating_mul(1_000))).min(ms(self.max_ns))
        };
        let mean_ns = self.sum_ns / u128::from(self.count.max(1));
        Some(TimesFigures {
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: ms(self.max_ns),
            mean: ms(u64::try_from(mean_ns).unwrap_or(u64::MAX)),
        })
    }
}

/// Rounds to the three digits that are known, so that what took 50 ms is told as 50.
fn rounded(value: f64) -> f64 {
    // Rust writes the shortest text that reads as the rounded number.
    format!("{value:.2e}").parse().unwrap_or(value)
}

#[expect(clippy::cast_precision_loss, reason = "30 days are below 2^53 ns")]
pub(super) const fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the figures are exactly these")]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_figures() {
        assert_eq!(Times::default().figures(), None);
    }

    #[test]
    fn what_takes_one_time_is_told_as_that_time() {
        for millis in [0, 1, 5, 50, 167, 2_000, 86_400_000] {
            let mut times = Times::default();
            times.add(millis * 1_000_000);
            let figures = times.figures().unwrap();
            let expected = ms(millis * 1_000_000);
            assert_eq!(figures.mean, expected);
            assert_eq!(figures.max, expected);
            assert!(
                (figures.p50 - expected).abs() <= expected * 0.005,
                "{figures:?}"
            );
        }
    }

    #[test]
    fn percentiles_are_those_of_what_was_counted() {
        let mut times = Times::default();
        for millis in 1..=1_000 {
            times.add(millis * 1_000_000);
        }
        let figures = times.figures().unwrap();
        assert_eq!(figures.p50, 500.0);
        assert_eq!(figures.p90, 900.0);
        assert_eq!(figures.p99, 990.0);
        assert_eq!(figures.p999, 999.0);
        assert_eq!(figures.max, 1_000.0);
        assert_eq!(figures.mean, 500.5);
    }
}
