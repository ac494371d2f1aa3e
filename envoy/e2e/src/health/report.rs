//! All figures, next to those of `least_request` and to what they are to be.

use anyhow::Result;
use serde::Serialize;

use super::{Observe, dying, failing, joining, slow};

/// What our 99th percentile may at most be of the other's, when one endpoint is slow.
pub const P99_AT_MOST: f64 = 1.0 / 3.0;

/// The share of requests that may at most go to one that fails, after its first second.
pub const FAILING_AT_MOST: f64 = 0.01;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Raised when the meaning of a field changes.
    pub schema: u32,
    /// What outcomes were taken from.
    pub observe: &'static str,
    /// The figures.
    pub figures: Vec<Figure>,
}

/// One figure.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// Its name, for programs.
    pub id: &'static str,
    /// What it is of.
    pub what: &'static str,
    /// What it counts: `ratio`, `ms`, `requests`.
    pub unit: &'static str,
    /// With our filter.
    pub ours: f64,
    /// With `least_request`, in the same run.
    pub least_request: Option<f64>,
    /// What ours is to be, where that was promised.
    pub goal: Option<String>,
    /// Whether it is.
    pub holds: Option<bool>,
}

impl Figure {
    /// Promises nothing.
    fn new(id: &'static str, what: &'static str, unit: &'static str, values: [f64; 2]) -> Self {
        let [ours, least_request] = values;
        Self {
            id,
            what,
            unit,
            ours,
            least_request: Some(least_request),
            goal: None,
            holds: None,
        }
    }

    fn promised(self, goal: String, holds: bool) -> Self {
        Self {
            goal: Some(goal),
            holds: Some(holds),
            ..self
        }
    }
}

/// Measures everything, one after the other.
///
/// # Errors
/// Envoy can't be run, or the picture is never there.
pub async fn measure(observe: Observe) -> Result<Report> {
    let mut figures = of_slow(&slow::run(observe).await?);
    figures.extend(of_failing(&failing::run(observe).await?));
    figures.extend(of_joining(&joining::run(observe).await?));
    figures.extend(of_dying(&dying::run(observe).await?));
    Ok(Report {
        schema: 1,
        observe: observe.name(),
        figures,
    })
}

fn of_slow(slow: &slow::Slow) -> Vec<Figure> {
    let sides = [slow.ours, slow.least_request];
    let ms = |us: u64| count(us) / 1_000.0;
    let limit = ms(slow.least_request.p99_us) * P99_AT_MOST;
    vec![
        Figure::new(
            "slow.p50",
            "one endpoint 10 x slower: p50",
            "ms",
            sides.map(|side| ms(side.p50_us)),
        ),
        Figure::new("slow.p99", "p99", "ms", sides.map(|side| ms(side.p99_us))).promised(
            format!("<= {limit:.1} ms, a third"),
            slow.p99_ratio() <= P99_AT_MOST,
        ),
        Figure::new(
            "slow.share",
            "its share of requests",
            "ratio",
            sides.map(|side| side.slow_share),
        ),
        Figure::new(
            "slow.first",
            "its requests in the first second",
            "requests",
            sides.map(|side| number(side.slow_at_first)),
        ),
        Figure::new(
            "slow.later",
            "in the next eleven",
            "requests",
            sides.map(|side| number(side.slow_later)),
        ),
    ]
}

fn of_failing(failing: &failing::Failing) -> Vec<Figure> {
    let sides = [failing.ours, failing.least_request];
    vec![
        Figure::new(
            "failing.share",
            "one answers 500 in 1 ms: its share after 1 s",
            "ratio",
            sides.map(|side| side.share),
        )
        .promised("< 1 %".to_owned(), failing.ours.share < FAILING_AT_MOST),
        Figure::new(
            "failing.first",
            "failures in the first second",
            "requests",
            sides.map(|side| number(side.failed_at_first)),
        ),
        Figure::new(
            "failing.later",
            "failures in the next five",
            "requests",
            sides.map(|side| number(side.failed_later)),
        ),
    ]
}

fn of_joining(joining: &joining::Joining) -> Vec<Figure> {
    const QUARTERS: [(&str, &str); 4] = [
        ("joining.first", "one joins cold: its requests, 1st quarter"),
        ("joining.second", "2nd quarter"),
        ("joining.third", "3rd quarter"),
        ("joining.fourth", "4th quarter"),
    ];
    let quarters = QUARTERS.into_iter().zip(&joining.quarters);
    quarters
        .map(|((id, what), quarter)| {
            let values = [quarter.joiner, quarter.least_request].map(number);
            Figure::new(id, what, "requests", values).promised(
                format!(
                    "{:.0}, 4 sigma: {:.0} to {:.0}",
                    quarter.expected,
                    quarter.least.max(0.0),
                    quarter.most
                ),
                quarter.is_as_expected(),
            )
        })
        .collect()
}

fn of_dying(dying: &dying::Dying) -> Vec<Figure> {
    let sides = [dying.ours, dying.least_request];
    vec![
        Figure::new(
            "dying.failed",
            "one dies: failed, unsent or repeatable",
            "requests",
            sides.map(|side| number(side.failed)),
        )
        .promised("0".to_owned(), dying.ours.failed == 0),
        Figure::new(
            "dying.lost",
            "lost: sent to it, not to be repeated",
            "requests",
            sides.map(|side| number(side.lost)),
        ),
        Figure::new(
            "dying.retried",
            "took more than one attempt",
            "requests",
            sides.map(|side| number(side.retried)),
        ),
    ]
}

fn number(count: usize) -> f64 {
    self::count(u64::try_from(count).unwrap_or(u64::MAX))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a run are far below 2^52"
)]
fn count(count: u64) -> f64 {
    count as f64
}
