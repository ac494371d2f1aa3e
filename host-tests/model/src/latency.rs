//! How long an endpoint works on a request.

use crate::draw::Draws;
use crate::scenario::Latency;

/// Draws times from a distribution. Every draw of [`Sampler::draw`] takes the same number of draws of the stream.
#[derive(Debug, Clone)]
pub enum Sampler {
    /// Always the same, in nanoseconds.
    Constant(u64),
    /// Exponential, by its mean in nanoseconds.
    Exponential(f64),
    /// Log-normal.
    LogNormal {
        /// Median in nanoseconds.
        median_ns: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Straight lines between percentiles: shares between 0 and 1 with nanoseconds, ascending.
    Percentiles(Vec<(f64, f64)>),
    /// What is recorded of the request.
    Recorded,
}

/// The longest time that is drawn: a day.
const LONGEST_NS: f64 = 86_400e9;

impl Sampler {
    /// Takes what a scenario says.
    #[must_use]
    pub fn new(latency: &Latency) -> Self {
        match latency {
            Latency::None => Self::Constant(0),
            Latency::Constant(span) => Self::Constant(span.ns()),
            Latency::Exponential { mean } => Self::Exponential(mean.seconds() * 1e9),
            Latency::LogNormal { median, sigma } => Self::LogNormal {
                median_ns: median.seconds() * 1e9,
                sigma: *sigma,
            },
            Latency::Percentiles(percentiles) => {
                let mut points: Vec<(f64, f64)> = percentiles
                    .iter()
                    .filter_map(|(percent, span)| {
                        Some((percent.parse::<f64>().ok()? / 100.0, span.seconds() * 1e9))
                    })
                    .collect();
                points.sort_by(|left, right| left.0.total_cmp(&right.0));
                Self::Percentiles(points)
            }
            Latency::Recorded => Self::Recorded,
        }
    }

    /// Draws a time in nanoseconds; `recorded_ns` is what the recording says of the request.
    pub fn draw(&self, recorded_ns: Option<u64>, draws: &mut Draws) -> u64 {
        match self {
            Self::Constant(ns) => *ns,
            Self::Exponential(mean_ns) => rounded(draws.exponential(*mean_ns)),
            Self::LogNormal { median_ns, sigma } => {
                rounded(median_ns * libm::exp(sigma * draws.normal()))
            }
            Self::Percentiles(points) => rounded(interpolate(points, draws.unit())),
            Self::Recorded => recorded_ns.unwrap_or(0),
        }
    }
}

fn interpolate(points: &[(f64, f64)], at: f64) -> f64 {
    let mut before = None;
    for &(share, ns) in points {
        if at <= share {
            return match before {
                Some((low, low_ns)) if share > low => {
                    low_ns + (ns - low_ns) * (at - low) / (share - low)
                }
                _ => ns,
            };
        }
        before = Some((share, ns));
    }
    before.map_or(0.0, |(_, ns)| ns)
}

/// Takes a product of nanoseconds; what is no time is none.
pub(crate) fn rounded(ns: f64) -> u64 {
    if ns.is_nan() {
        return 0;
    }
    std::time::Duration::try_from_secs_f64(ns.min(LONGEST_NS) / 1e9)
        .map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::units::Span;

    fn median_and_99th(latency: &Latency) -> (u64, u64) {
        let sampler = Sampler::new(latency);
        let mut draws = Draws::new(3, "test", 0);
        let mut drawn: Vec<u64> = (0..100_001)
            .map(|_| sampler.draw(None, &mut draws))
            .collect();
        drawn.sort_unstable();
        let at = |index: usize| drawn.get(index).copied().unwrap_or(0) / 1_000_000;
        (at(50_000), at(99_000))
    }

    #[test]
    fn quantiles_are_those_of_the_distributions() {
        let log_normal = Latency::LogNormal {
            median: Span::ms(1_000),
            sigma: 0.5,
        };
        // exp(0.5 · 2.3263) = 3.2002; the standard errors of the quantiles are 2 and 20 ms.
        let (median, high) = median_and_99th(&log_normal);
        assert!(median.abs_diff(1_000) <= 8, "{median}");
        assert!(high.abs_diff(3_200) <= 80, "{high}");
        // ln 2 and ln 100.
        let (median, high) = median_and_99th(&Latency::Exponential {
            mean: Span::ms(1_000),
        });
        assert!(median.abs_diff(693) <= 13, "{median}");
        assert!(high.abs_diff(4_605) <= 130, "{high}");
        let percentiles = BTreeMap::from([
            ("0".to_owned(), Span::ms(0)),
            ("100".to_owned(), Span::ms(2_000)),
            ("50".to_owned(), Span::ms(1_000)),
            ("99".to_owned(), Span::ms(1_900)),
        ]);
        let (median, high) = median_and_99th(&Latency::Percentiles(percentiles));
        assert!(median.abs_diff(1_000) <= 12, "{median}");
        assert!(high.abs_diff(1_900) <= 12, "{high}");
    }

    #[test]
    fn recorded_times_are_passed_on_and_nonsense_is_no_time() {
        let mut draws = Draws::new(3, "test", 0);
        assert_eq!(Sampler::Recorded.draw(Some(5), &mut draws), 5);
        assert_eq!(Sampler::Recorded.draw(None, &mut draws), 0);
        for nonsense in [f64::NAN, -1.0] {
            assert_eq!(rounded(nonsense), 0, "{nonsense}");
        }
        assert_eq!(rounded(f64::INFINITY), 86_400_000_000_000);
    }
}
