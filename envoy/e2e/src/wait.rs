//! Waiting for something to become true: the only place of this crate that lets time pass.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything may take before a test gives up: far beyond what a busy machine needs, since a passing test never
/// waits for it.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The pause between two looks: short against every step of a test, long against the cost of a look.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks `probe` again and again until it has an answer.
///
/// # Errors
/// What `probe` fails with, at once; or, after [`DEADLINE`], that `what` did not happen.
pub async fn until<T>(
    what: impl Display,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = probe().await? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s in vain: {what}", DEADLINE.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Lets a client think between two requests, as users do: part of a traffic plan, never a way to wait for something.
pub async fn think(time: Duration) {
    tokio::time::sleep(time).await;
}
