//! Plugins know the endpoints, in the real Envoy with two workers: who they are, how they fare, and what follows for sessions.

#![expect(
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too, and a JSON value gets a field that it lacks"
)]

mod attempts;
mod faults;
mod feed;
mod leader;
mod membership;
mod readiness;
mod sessions;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tidegate_e2e::clients::http::Client;
use tidegate_e2e::endpoints::Rig;
use tidegate_e2e::sticky;

use crate::affinity::served_by;

/// Begins sessions until a backend has so many; they come with the address that serves them.
async fn sessions_on(rig: &Rig, backend: usize, count: usize) -> Result<Vec<Client>> {
    const AT_MOST: usize = 400;
    let address = rig.backends[backend].address().to_string();
    let mut sessions = Vec::new();
    for _ in 0..AT_MOST {
        if sessions.len() == count {
            return Ok(sessions);
        }
        let mut client = rig.client()?;
        if served_by(&mut client, "/").await? == address {
            sessions.push(client);
        }
    }
    anyhow::bail!(
        "of {AT_MOST} new sessions {} are on {address}",
        sessions.len()
    )
}

/// Begins so many sessions and says how many each backend has.
async fn spread(rig: &Rig, count: usize) -> Result<BTreeMap<String, usize>> {
    let mut sessions = BTreeMap::new();
    for _ in 0..count {
        let mut client = rig.client()?;
        *sessions
            .entry(served_by(&mut client, "/").await?)
            .or_default() += 1;
    }
    Ok(sessions)
}

/// Returns a client's cookie.
fn cookie(client: &Client) -> Result<String> {
    let value = client.jar.value(sticky::COOKIE);
    Ok(value.context("the session has no cookie")?.to_owned())
}
