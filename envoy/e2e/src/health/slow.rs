//! One endpoint of five becomes ten times as slow as the others.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{LEAST_REQUEST, OURS, Observe, WELL, all_available, pair, plan, targets};
use crate::endpoints::Conduct;
use crate::load::{self, Load, Samples, quantile, share};
use crate::wait;

const BACKENDS: usize = 5;

/// How long the others take. A busy machine adds tens of milliseconds to any latency at times; the ratio of the two hides in them
/// if this is less.
const QUICK_MS: u64 = 50;

/// How long the slow one takes.
const SLOW_MS: u64 = 500;

/// How long it is slow. Each worker has to send it a request or two to find out, which one of a hundred may be.
const TIME: Duration = Duration::from_secs(12);

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Slow {
    /// What is decided by us.
    pub ours: Side,
    /// What is decided by `least_request`.
    pub least_request: Side,
}

/// What one of the two did, from the moment on at which the endpoint became slow.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Side {
    /// How many requests there were.
    pub requests: usize,
    /// How many of them got no good answer.
    pub failed: usize,
    /// The middle of the latencies, in microseconds.
    pub p50_us: u64,
    /// The latency that one request of a hundred exceeds, in microseconds.
    pub p99_us: u64,
    /// The share of the requests that went to the slow one.
    pub slow_share: f64,
    /// How many went there in the first second, which it took to find out.
    pub slow_at_first: usize,
    /// How many went there afterwards.
    pub slow_later: usize,
}

impl Slow {
    /// Returns what our 99th percentile is of the other's.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a latency in microseconds is far below 2^52"
    )]
    pub fn p99_ratio(&self) -> f64 {
        self.ours.p99_us as f64 / self.least_request.p99_us.max(1) as f64
    }
}

/// Tries it.
///
/// # Errors
/// Envoy can't be run, or the picture is never there.
pub async fn run(observe: Observe) -> Result<Slow> {
    let mut rig = pair(&plan(BACKENDS, observe)).await?;
    for backend in &rig.backends {
        backend.behave(Conduct::takes_ms(QUICK_MS));
    }
    all_available(&rig, BACKENDS).await?;
    let slow = rig.backends.first().context("no backend")?;
    let load = Load {
        // One request under way at every other endpoint: with more of them, the noise of a busy machine counts more.
        rate: 100,
        time: WELL + TIME,
        post_every: 0,
    };
    let targets = targets(&rig)?;
    let (samples, ()) = tokio::join!(load::run(&targets, load), async {
        wait::think(WELL).await;
        slow.behave(Conduct::takes_ms(SLOW_MS));
    });
    let samples = samples?;
    let side = |target| side(&samples, target, slow.address());
    let slow = Slow {
        ours: side(OURS)?,
        least_request: side(LEAST_REQUEST)?,
    };
    rig.envoy.stop().await?;
    Ok(slow)
}

fn side(samples: &Samples, target: usize, slow: std::net::SocketAddr) -> Result<Side> {
    let of = samples.of(target, WELL..WELL + TIME);
    let found_out = WELL + Duration::from_secs(1);
    let went = |span| {
        let span = samples.of(target, span);
        span.filter(|sample| sample.served_by == Some(slow)).count()
    };
    let us = |per_mille| u64::try_from(quantile(of.clone(), per_mille).as_micros());
    Ok(Side {
        requests: of.clone().count(),
        failed: of.clone().filter(|sample| !sample.is_good()).count(),
        p50_us: us(500)?,
        p99_us: us(990)?,
        slow_share: share(of.clone(), slow),
        slow_at_first: went(WELL..found_out),
        slow_later: went(found_out..WELL + TIME),
    })
}
