//! What rounds say together, and how sure that is.
//!
//! Model: a figure is a function of sums over rounds, so that a busy moment weighs no more than the time that it took; its
//! interval holds 95 % of what the same function gives for rounds drawn again and again from those that were measured.

use serde::Serialize;
use tidegate_model::draw::Draws;

/// How often rounds are drawn again.
const DRAWS: usize = 2_000;

/// A figure with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// The figure.
    pub value: f64,
    /// Its 95 % interval.
    pub ci95: [f64; 2],
}

impl Figure {
    /// Takes a figure of so many rounds; `of` gets the rounds to look at, some of them several times.
    pub(super) fn of(rounds: usize, of: impl Fn(&[usize]) -> f64) -> Self {
        let all: Vec<usize> = (0..rounds).collect();
        // The same intervals from the same rounds.
        let mut draws = Draws::new(1, "rounds", 0);
        let mut drawn: Vec<f64> = (0..DRAWS)
            .map(|_| {
                let some: Vec<usize> = all.iter().map(|_| draws.index(rounds)).collect();
                of(&some)
            })
            .collect();
        drawn.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| drawn.get(index).copied().unwrap_or_default();
        Self {
            value: of(&all),
            ci95: [at(DRAWS / 40), at(DRAWS - DRAWS / 40 - 1)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(rounds: &[(f64, f64)]) -> Figure {
        Figure::of(rounds.len(), |some| {
            let sum = |part: fn(&(f64, f64)) -> f64| -> f64 {
                some.iter().map(|round| part(&rounds[*round])).sum()
            };
            sum(|round| round.0) / sum(|round| round.1)
        })
    }

    #[test]
    fn rounds_that_agree_leave_no_doubt() {
        let figure = ratio(&[(3.0, 2.0), (6.0, 4.0), (1.5, 1.0)]);
        assert!((figure.value - 1.5).abs() < 1e-12);
        assert!((figure.ci95[1] - figure.ci95[0]).abs() < 1e-12);
    }

    #[test]
    fn rounds_that_differ_widen_the_interval_around_the_ratio_of_sums() {
        let figure = ratio(&[(1.0, 1.0), (2.0, 1.0), (1.0, 1.0), (2.0, 1.0)]);
        assert!((figure.value - 1.5).abs() < 1e-12);
        assert!(figure.ci95[0] < 1.3 && figure.ci95[1] > 1.7, "{figure:?}");
        assert!(figure.ci95[0] >= 1.0 && figure.ci95[1] <= 2.0, "{figure:?}");
    }
}
