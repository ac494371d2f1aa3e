//! One endpoint of five dies with requests under way: its process is gone, and its connections with it.
//!
//! Why: what was not sent, and what may be sent twice, need not fail for it.
//! Model: a request that fails is looked up in the access log: who was asked last, and with which method. Nothing is owed to one
//! that was already sent to the dying endpoint and must not be repeated.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;

use super::{LEAST_REQUEST, OURS, Observe, WELL, all_available, pair, plan, targets};
use crate::endpoints::Conduct;
use crate::load::{self, Load, Sample, Samples};
use crate::wait;

const BACKENDS: usize = 5;

/// How long requests take: of two hundred per second, four are under way at each endpoint, half of them POSTs.
const TAKES_MS: u64 = 100;

/// How long the endpoint is dead.
const TIME: Duration = Duration::from_secs(4);

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Dying {
    /// What is decided by us.
    pub ours: Side,
    /// What is decided by `least_request`.
    pub least_request: Side,
}

/// What one of the two did.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Side {
    /// How many requests there were, from a second before the death on.
    pub requests: usize,
    /// How many of them failed that were not sent to the dying one, or that may be repeated.
    pub failed: usize,
    /// How many of them failed that were sent to it, and must not be repeated.
    pub lost: usize,
    /// How many took more than one attempt.
    pub retried: usize,
}

/// Tries it.
///
/// # Errors
/// Envoy can't be run, or the picture is never there.
pub async fn run(observe: Observe) -> Result<Dying> {
    let mut rig = pair(&plan(BACKENDS, observe)).await?;
    for backend in &rig.backends {
        backend.behave(Conduct::takes_ms(TAKES_MS));
    }
    all_available(&rig, BACKENDS).await?;
    let load = Load {
        rate: 200,
        time: WELL + TIME,
        post_every: 2,
    };
    let targets = targets(&rig)?;
    let victim = rig.backends.remove(0);
    let address = victim.address();
    let (samples, grave) = tokio::join!(load::run(&targets, load), async {
        wait::think(WELL).await;
        victim.die().await
    });
    let (samples, _grave) = (samples?, grave?);
    rig.envoy.stop().await?;
    let logged = logged(&std::fs::read_to_string(
        rig.envoy.folder().join("access.log"),
    )?)?;
    let side = |target| side(&samples, target, &logged, address);
    Ok(Dying {
        ours: side(OURS)?,
        least_request: side(LEAST_REQUEST)?,
    })
}

/// What Envoy says of a request.
#[derive(Debug)]
struct Logged {
    asked_last: String,
    attempts: u64,
}

/// Reads an access log: what is said of each request of a load, by its number.
fn logged(text: &str) -> Result<BTreeMap<u32, Logged>> {
    let mut logged = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).context("no line of an access log")?;
        let field = |name| line.get(name).and_then(Value::as_str).unwrap_or_default();
        if let Some(number) = field("path").strip_prefix("/?number=") {
            let attempts = line.get("upstream_request_attempt_count");
            let said = Logged {
                asked_last: field("upstream_host").to_owned(),
                attempts: attempts.and_then(Value::as_u64).unwrap_or_default(),
            };
            logged.insert(number.parse()?, said);
        }
    }
    Ok(logged)
}

fn side(
    samples: &Samples,
    target: usize,
    logged: &BTreeMap<u32, Logged>,
    victim: SocketAddr,
) -> Result<Side> {
    let mut side = Side {
        requests: 0,
        failed: 0,
        lost: 0,
        retried: 0,
    };
    let said = |sample: &Sample| match logged.get(&sample.number) {
        Some(logged) => Ok((logged.asked_last == victim.to_string(), logged.attempts)),
        None => bail!("request {} is not in the access log", sample.number),
    };
    for sample in samples.of(target, WELL - Duration::from_secs(1)..WELL + TIME) {
        let (was_sent_to_victim, attempts) = said(sample)?;
        side.requests += 1;
        side.retried += usize::from(attempts > 1);
        if !sample.is_good() {
            let is_lost = sample.is_post && was_sent_to_victim;
            *(if is_lost {
                &mut side.lost
            } else {
                &mut side.failed
            }) += 1;
        }
    }
    Ok(side)
}
