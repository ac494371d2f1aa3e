//! One endpoint of five answers 500 at once, which by its latency makes it the best of all.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{LEAST_REQUEST, OURS, Observe, WELL, all_available, pair, plan, targets};
use crate::endpoints::Conduct;
use crate::load::{self, Load, Samples, share};
use crate::wait;

const BACKENDS: usize = 5;

/// How long the others take.
const GOOD_MS: u64 = 20;

/// How the failing one behaves.
const FAILS: Conduct = Conduct {
    delay: Duration::from_millis(1),
    status: 500,
};

/// How long its failures may go unnoticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(1);

/// How long it fails.
const TIME: Duration = Duration::from_secs(6);

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Failing {
    /// What is decided by us.
    pub ours: Side,
    /// What is decided by `least_request`.
    pub least_request: Side,
}

/// What one of the two did.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Side {
    /// How many requests there were after the first second of failures.
    pub requests: usize,
    /// The share of them that the failing one answered.
    pub share: f64,
    /// How many failures clients saw in the first second.
    pub failed_at_first: usize,
    /// How many they saw afterwards.
    pub failed_later: usize,
}

/// Tries it.
///
/// # Errors
/// Envoy can't be run, or the picture is never there.
pub async fn run(observe: Observe) -> Result<Failing> {
    let mut rig = pair(&plan(BACKENDS, observe)).await?;
    for backend in &rig.backends {
        backend.behave(Conduct::takes_ms(GOOD_MS));
    }
    all_available(&rig, BACKENDS).await?;
    let failing = rig.backends.first().context("no backend")?;
    let load = Load {
        rate: 200,
        time: WELL + TIME,
        post_every: 0,
    };
    let targets = targets(&rig)?;
    let (samples, ()) = tokio::join!(load::run(&targets, load), async {
        wait::think(WELL).await;
        failing.behave(FAILS);
    });
    let samples = samples?;
    let failing = Failing {
        ours: side(&samples, OURS, failing.address()),
        least_request: side(&samples, LEAST_REQUEST, failing.address()),
    };
    rig.envoy.stop().await?;
    Ok(failing)
}

fn side(samples: &Samples, target: usize, failing: SocketAddr) -> Side {
    let noticed = WELL + NOTICED_WITHIN;
    let (first, later) = (
        samples.of(target, WELL..noticed),
        samples.of(target, noticed..WELL + TIME),
    );
    Side {
        requests: later.clone().count(),
        share: share(later.clone(), failing),
        failed_at_first: first.filter(|sample| !sample.is_good()).count(),
        failed_later: later.filter(|sample| !sample.is_good()).count(),
    }
}
