//! Shares of generated traffic.
//!
//! Model: a share is a proportion of independent requests, so that the difference of two of them has the variance
//! `p (1 − p) (1/n + 1/m)` with the pooled `p`; a mean's is its sample variance over the count. Four standard deviations are
//! crossed once in 16 000 comparisons by chance. Turns vary less than chance: there the bound is a generous one.

use std::collections::BTreeMap;

use tidegate_model::report::Row;

use super::{Comparison, Difference};

/// How many standard deviations two shares may be apart.
const SIGMAS: f64 = 4.0;

/// Compares the shares of one source.
pub(super) fn compare(of: &str, model: &[&Row], envoy: &[&Row], comparison: &mut Comparison) {
    let mut check = |field, what: &str, left: Sample, right: Sample| {
        comparison.shares += 1;
        if !left.agrees(right) {
            comparison.differences.push(Difference {
                of: format!("{of} {what}"),
                field,
                model: format!("{:.4}", left.mean),
                envoy: format!("{:.4}", right.mean),
            });
        }
    };
    // The same seed gives both the same requests.
    if model.len() != envoy.len() {
        comparison.differences.push(Difference {
            of: of.to_owned(),
            field: "requests",
            model: model.len().to_string(),
            envoy: envoy.len().to_string(),
        });
        return;
    }
    check(
        "share",
        "errors",
        Sample::share(model, failed),
        Sample::share(envoy, failed),
    );
    let attempts = |row: &Row| f64::from(row.attempts);
    check(
        "attempts_per_request",
        "attempts",
        Sample::of(model, attempts),
        Sample::of(envoy, attempts),
    );
    let mut names: BTreeMap<&str, ()> = BTreeMap::new();
    for row in model.iter().chain(envoy) {
        names.extend(row.served_by().map(|name| (name, ())));
    }
    for name in names.into_keys() {
        let served = |row: &Row| row.served_by() == Some(name);
        check(
            "share",
            name,
            Sample::share(model, served),
            Sample::share(envoy, served),
        );
    }
}

fn failed(row: &Row) -> bool {
    row.status.is_none_or(|status| status >= 500)
}

/// A mean of so many values, with their variance.
#[derive(Debug, Clone, Copy)]
struct Sample {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Sample {
    fn share(rows: &[&Row], counts: impl Fn(&Row) -> bool) -> Self {
        Self::of(rows, |row| f64::from(u8::from(counts(row))))
    }

    fn of(rows: &[&Row], value: impl Fn(&Row) -> f64) -> Self {
        let count = f64::from(u32::try_from(rows.len()).unwrap_or(u32::MAX)).max(1.0);
        let mean = rows.iter().map(|row| value(row)).sum::<f64>() / count;
        let squares = rows
            .iter()
            .map(|row| (value(row) - mean).powi(2))
            .sum::<f64>();
        Self {
            count,
            mean,
            variance: squares / count,
        }
    }

    fn agrees(self, other: Self) -> bool {
        let pooled = (self.variance * self.count + other.variance * other.count)
            / (self.count + other.count);
        // A share of 0 or 1 in both has no variance, and then no difference either; one request more or less says nothing.
        let least = 1.0 / self.count.min(other.count);
        let spread = (pooled * (1.0 / self.count + 1.0 / other.count)).sqrt();
        (self.mean - other.mean).abs() <= (SIGMAS * spread).max(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_agree_within_four_standard_deviations_and_not_beyond() {
        let rows = |failing: u32| -> Vec<Row> {
            let row = |number: u32| Row {
                status: Some(if number < failing { 503 } else { 200 }),
                ..Row::default()
            };
            (0..1_000).map(row).collect()
        };
        let differs = |left: u32, right: u32| {
            let (left, right) = (rows(left), rows(right));
            let mut comparison = Comparison::default();
            compare(
                "x",
                &left.iter().collect::<Vec<_>>(),
                &right.iter().collect::<Vec<_>>(),
                &mut comparison,
            );
            !comparison.differences.is_empty()
        };
        // At p = 0.1 and 1 000 requests each, four standard deviations are 0.0537.
        assert!(!differs(100, 100) && !differs(75, 125) && !differs(0, 1));
        assert!(differs(70, 130) && differs(0, 25));
    }
}
