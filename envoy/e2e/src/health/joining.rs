//! A fifth endpoint joins four others, and is cold: three times as slow as they are.
//!
//! Model: with `t` since it joined and a window `W`, each of `N` endpoints' fifth is given to the newcomer with probability
//! `factor/N`, `factor = max(0.1, t/W)`. A request is a draw with that probability, so that a count of them is within `4σ` of the sum
//! of the probabilities, `σ² = Σ p(1 − p)`. A cold one gets nothing beside that: whenever it is compared with another, it loses.
//! Limits: workers know factors as of their last tick, from the leader's last one; the lower bound is that much later.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

use super::{LEAST_REQUEST, OURS, Observe, WELL, all_available, pair, plan, targets};
use crate::discovery::Health::Healthy;
use crate::endpoints::{Conduct, Rig};
use crate::load::{self, Load, Sample, Samples};
use crate::wait;

const BACKENDS: usize = 5;

/// How long the four take.
const WARM_MS: u64 = 20;

/// How long the joiner takes.
const COLD_MS: u64 = 60;

/// How long its share rises.
const WINDOW: Duration = Duration::from_secs(10);

/// The share of its share with which it begins.
const LEAST: f64 = 0.1;

/// How late what workers know may be: a tick of the leader's and one of theirs.
const LAG: Duration = Duration::from_millis(500);

/// How long the joiner's discovery may take, and that of its first readiness.
const DISCOVERY: Duration = Duration::from_secs(3);

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Joining {
    /// The quarters of the window.
    pub quarters: Vec<Quarter>,
}

/// What happened in a quarter of the window.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quarter {
    /// How many requests were decided by us.
    pub requests: usize,
    /// How many of them went to the joiner.
    pub joiner: usize,
    /// The least that is within four standard deviations of what slow start gives it.
    pub least: f64,
    /// What slow start gives it.
    pub expected: f64,
    /// The most.
    pub most: f64,
    /// How many `least_request` sent to it, of as many.
    pub least_request: usize,
}

impl Quarter {
    /// Says whether the joiner had its share.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of a run is far below 2^52"
    )]
    pub fn is_as_expected(&self) -> bool {
        (self.least..=self.most).contains(&(self.joiner as f64))
    }
}

/// Tries it.
///
/// # Errors
/// Envoy can't be run, or the joiner is never in the picture.
pub async fn run(observe: Observe) -> Result<Joining> {
    let window = json!({ "balance": { "slow_start_window": format!("{}s", WINDOW.as_secs()) } });
    let plan = plan(BACKENDS, observe)
        .with_members(BACKENDS - 1)
        .with_rule(&window);
    let mut rig = pair(&plan).await?;
    for backend in &rig.backends {
        backend.behave(Conduct::takes_ms(WARM_MS));
    }
    all_available(&rig, BACKENDS - 1).await?;
    let joiner = rig.backends.last().context("no backend")?;
    joiner.behave(Conduct::takes_ms(COLD_MS));
    let load = Load {
        rate: 150,
        time: WELL + DISCOVERY + WINDOW,
        post_every: 0,
    };
    let targets = targets(&rig)?;
    let (samples, joined) = tokio::join!(load::run(&targets, load), async {
        wait::think(WELL).await;
        let all: Vec<_> = (0..BACKENDS).map(|index| (index, Healthy)).collect();
        rig.publish(&all)?;
        joined(&rig, joiner.address()).await
    });
    let (samples, joined) = (samples?, joined?);
    // From the beginning of the load; what began before it would not have joined.
    let joined = joined.saturating_sub(samples.began.duration_since(UNIX_EPOCH)?);
    let joining = Joining {
        quarters: (0..4)
            .map(|quarter| quarter_of(&samples, joined, quarter, joiner.address()))
            .collect(),
    };
    rig.envoy.stop().await?;
    Ok(joining)
}

/// Waits until the picture says when the joiner's share began to rise, and returns that, since the epoch.
async fn joined(rig: &Rig, joiner: SocketAddr) -> Result<Duration> {
    let address = joiner.to_string();
    wait::until("the joiner's share rises", async || {
        let picture = rig.picture().await?;
        let endpoints = picture.pointer("/clusters/0/endpoints");
        let mut endpoints = endpoints.and_then(Value::as_array).into_iter().flatten();
        let found = endpoints.find(|endpoint| endpoint.get("address") == Some(&json!(address)));
        let since = found.and_then(|endpoint| endpoint.get("slow_start_ms")?.as_u64());
        Ok(since.map(Duration::from_millis))
    })
    .await
}

fn quarter_of(samples: &Samples, joined: Duration, quarter: u32, joiner: SocketAddr) -> Quarter {
    let length = WINDOW / 4;
    let begin = joined + length * quarter;
    let span = begin..begin + length;
    let went = |target| {
        let of = samples.of(target, span.clone());
        of.filter(|sample| sample.served_by == Some(joiner)).count()
    };
    let ours = || samples.of(OURS, span.clone());
    let chance = |sample: &Sample| chance(sample.due.saturating_sub(joined));
    let expected: f64 = ours().map(chance).sum();
    let late: f64 = ours()
        .map(|sample| {
            sample
                .due
                .checked_sub(joined + LAG)
                .map_or(0.0, self::chance)
        })
        .sum();
    let variance: f64 = ours().map(chance).map(|p| p * (1.0 - p)).sum();
    let deviation = 4.0 * variance.sqrt();
    Quarter {
        requests: ours().count(),
        joiner: went(OURS),
        least: late - deviation,
        expected,
        most: expected + deviation,
        least_request: went(LEAST_REQUEST),
    }
}

/// Returns the probability that a request goes to an endpoint which joined so long ago.
#[expect(clippy::cast_precision_loss, reason = "there are five endpoints")]
fn chance(age: Duration) -> f64 {
    (age.as_secs_f64() / WINDOW.as_secs_f64()).clamp(LEAST, 1.0) / BACKENDS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_rises_from_a_tenth_of_a_fifth_to_a_fifth() {
        let of = |seconds| chance(Duration::from_secs(seconds));
        let near = |seconds, expected: f64| (of(seconds) - expected).abs() < 1e-12;
        assert!(near(0, 0.02) && near(1, 0.02) && near(5, 0.1) && near(20, 0.2));
    }

    #[test]
    fn a_quarter_expects_the_integral_of_the_factor() {
        let joiner = SocketAddr::from(([127, 0, 0, 1], 9));
        let all = (0..4_000_u32).map(|number| Sample {
            target: OURS,
            number,
            is_post: false,
            due: Duration::from_secs(1) + WINDOW / 4_000 * number,
            latency: Duration::ZERO,
            status: 200,
            served_by: (number % 10 == 0).then_some(joiner),
        });
        let samples = Samples {
            began: UNIX_EPOCH,
            all: all.collect(),
        };
        let of = |quarter| quarter_of(&samples, Duration::from_secs(1), quarter, joiner);
        // A thousand requests at a mean of 0.625 of a fifth, and one of ten is less than that and more than 0.125.
        let third = of(2);
        assert_eq!((third.requests, third.joiner), (1_000, 100));
        assert!((third.expected - 125.0).abs() < 0.1, "{third:?}");
        assert!(
            third.is_as_expected() && third.least < 83.0 && third.most < 168.0,
            "{third:?}"
        );
        assert!(!of(0).is_as_expected() && !of(3).is_as_expected());
    }
}
