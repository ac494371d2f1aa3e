//! A running form, and what it has cost.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::forms::Form;
use super::load::Load;
use crate::endpoints::Admin;
use crate::envoy::{Envoy, KINDS};

/// What one turn of a form cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// Its requests.
    pub(super) requests: u64,
    /// Those that were answered 200.
    pub(super) ok: u64,
    /// How long it took.
    pub(super) elapsed: Duration,
    /// The processor time of its Envoy meanwhile, by [`KINDS`].
    pub(super) spent: [Duration; KINDS.len()],
    /// How long the Envoy had nothing to do since its turn before.
    pub(super) idle: Duration,
    /// The processor time of its Envoy meanwhile.
    pub(super) spent_idle: Duration,
}

impl Turn {
    /// Returns the processor time of all threads.
    pub(super) fn total(&self) -> Duration {
        self.spent.iter().sum()
    }
}

/// A running form with its clients.
#[derive(Debug)]
pub(super) struct Gateway {
    /// Its Envoy.
    pub(super) envoy: Envoy,
    load: Load,
    _admin: Admin,
    /// When its last turn ended, and what it had cost then.
    last: (Instant, [Duration; KINDS.len()]),
}

impl Gateway {
    /// Starts a form in front of these endpoints, with so many clients.
    ///
    /// # Errors
    /// Envoy cannot be had or refuses the configuration, or a module cannot be built.
    pub(super) async fn start(
        form: Form,
        servers: &[SocketAddr],
        connections: u32,
    ) -> Result<Self> {
        let admin = Admin::start().await?;
        let envoy = Envoy::start(form.scenario(servers, admin.address())?).await?;
        admin.lead_to(envoy.admin_address());
        let load = Load::open(envoy.listener("edge")?, connections).await?;
        let last = (Instant::now(), times(&envoy)?);
        Ok(Self {
            envoy,
            load,
            _admin: admin,
            last,
        })
    }

    /// Serves so many requests at so many per second.
    ///
    /// # Errors
    /// A request gets no answer.
    pub(super) async fn turn(&mut self, requests: u32, rate: u32) -> Result<Turn> {
        let (begin, before) = (Instant::now(), times(&self.envoy)?);
        let served = self.load.turn(requests, rate).await?;
        let (end, after) = (Instant::now(), times(&self.envoy)?);
        let (last, cost) = std::mem::replace(&mut self.last, (end, after));
        ensure!(
            served.answers == u64::from(requests),
            "{} of {requests} requests were sent",
            served.answers
        );
        Ok(Turn {
            requests: served.answers,
            ok: served.ok,
            elapsed: end - begin,
            spent: difference(after, before),
            idle: begin - last,
            spent_idle: difference(before, cost).iter().sum(),
        })
    }
}

fn difference(
    after: [Duration; KINDS.len()],
    before: [Duration; KINDS.len()],
) -> [Duration; KINDS.len()] {
    let mut difference = after;
    for (after, before) in difference.iter_mut().zip(before) {
        *after = after.saturating_sub(before);
    }
    difference
}

/// Returns the processor time of an Envoy so far, by [`KINDS`].
fn times(envoy: &Envoy) -> Result<[Duration; KINDS.len()]> {
    let times: BTreeMap<&'static str, Duration> = envoy.time_by_kind()?;
    Ok(KINDS.map(|kind| times.get(kind).copied().unwrap_or_default()))
}
