//! What holds with knowledge of the endpoints: all of it learned by the module itself, from a
//! discovery service and from probes.

use std::collections::BTreeMap;

use super::{Claim, Target, endpoints, none};
use crate::prove::lab::{Asked, Exchange, Gateway, Lab, Listed, SECOND_NS, START_SECONDS, Setup};
use crate::prove::random::Random;

pub(super) mod drain;
pub(super) mod first;
pub(super) mod identity;
pub(super) mod keys;
pub(super) mod modes;
pub(super) mod rollout;
pub(super) mod scale;

/// Seeds of every proof that chance has a part in.
const SEEDS: u64 = 5;

/// Makes a configuration for the cluster `echo`, whose endpoints come from the discovery service.
/// `rule` and `block` are further fields.
fn configuration(rule: &str, block: &str) -> String {
    format!(
        "{{\"clusters\": [{{\"name\": \"echo\"{rule}}}], \"endpoints\": {{\"clusters\": \
         [{{\"name\": \"echo\"}}], \"source\": {{\"feed\": {{\"interval\": \"250ms\"}}}}{block}}}, \
         \"reason_header\": true}}"
    )
}

/// Starts gateways that know the same endpoints.
#[derive(Debug)]
struct Fleet<'a> {
    lab: &'a Lab,
    configuration: String,
    keys: String,
    seed: u64,
}

impl<'a> Fleet<'a> {
    fn new(lab: &'a Lab, rule: &str, block: &str, seed: u64) -> Self {
        Self {
            lab,
            configuration: configuration(rule, block),
            keys: crate::prove::lab::key(1, &mut Random::new(seed)),
            seed,
        }
    }

    /// Starts a gateway, which knows nothing yet.
    fn start_at(&self, number: u64, now_ns: u64) -> anyhow::Result<Gateway> {
        self.lab.start(&Setup {
            configuration: self.configuration.clone(),
            keys: self.keys.clone(),
            start_ns: now_ns,
            seed: self.seed.wrapping_mul(1000).wrapping_add(number),
            endpoints: Vec::new(),
        })
    }

    /// Starts so many gateways, which know these endpoints.
    fn start(&self, count: u64, endpoints: &[String]) -> anyhow::Result<Vec<Gateway>> {
        let start = |number| {
            let mut gateway = self.start_at(number, START_SECONDS * SECOND_NS)?;
            gateway.serve(endpoints)?;
            Ok(gateway)
        };
        (0..count).map(start).collect()
    }

    /// Starts one gateway that knows these endpoints.
    fn start_one(&self, endpoints: &[String]) -> anyhow::Result<Gateway> {
        let mut gateway = self.start_at(0, START_SECONDS * SECOND_NS)?;
        gateway.serve(endpoints)?;
        Ok(gateway)
    }
}

/// A client that has a cookie.
#[derive(Debug, Clone)]
struct Session {
    cookie: String,
    endpoint: String,
}

impl Session {
    fn begin(gateway: &mut Gateway) -> anyhow::Result<Self> {
        let exchange = gateway.request("echo", &[])?;
        Ok(Self {
            cookie: exchange.cookie()?,
            endpoint: exchange.served_by,
        })
    }

    /// Begins so many, at the gateways in turn.
    fn begin_many(gateways: &mut [Gateway], count: usize) -> anyhow::Result<Vec<Self>> {
        let mut sessions = Vec::new();
        for number in 0..count {
            let index = number.checked_rem(gateways.len()).unwrap_or(0);
            if let Some(gateway) = gateways.get_mut(index) {
                sessions.push(Self::begin(gateway)?);
            }
        }
        Ok(sessions)
    }

    /// Sends a request and changes nothing here: one of several at the same time.
    fn peek(&self, gateway: &mut Gateway, is_upgrade: bool) -> anyhow::Result<Exchange> {
        gateway.ask(&Asked {
            cookies: &[self.cookie.as_bytes()],
            is_upgrade,
            ..Asked::default()
        })
    }

    /// Takes over what a response says.
    fn take(&mut self, exchange: &Exchange) -> anyhow::Result<()> {
        if exchange.set_cookie.is_some() {
            self.cookie = exchange.cookie()?;
        }
        self.endpoint.clone_from(&exchange.served_by);
        Ok(())
    }

    /// Sends a request and says whether another endpoint than before served it.
    fn moves(&mut self, gateway: &mut Gateway) -> anyhow::Result<bool> {
        let exchange = self.peek(gateway, false)?;
        let moved = exchange.served_by != self.endpoint;
        self.take(&exchange)?;
        Ok(moved)
    }
}

fn count_moves(sessions: &mut [Session], gateway: &mut Gateway) -> anyhow::Result<u64> {
    let mut moved = 0;
    for session in sessions {
        moved += u64::from(session.moves(gateway)?);
    }
    Ok(moved)
}

/// Splits sessions into those of an endpoint and the others.
fn split(sessions: Vec<Session>, endpoint: &str) -> (Vec<Session>, Vec<Session>) {
    sessions
        .into_iter()
        .partition(|session| session.endpoint == endpoint)
}

/// Lists endpoints, some of them with another health.
fn listed(endpoints: &[String], health: &[(&str, &'static str)]) -> Vec<Listed> {
    let health: BTreeMap<&str, &'static str> = health.iter().copied().collect();
    let listed = endpoints.iter().map(|address| Listed {
        health: health.get(address.as_str()).copied().unwrap_or("healthy"),
        ..Listed::healthy(address)
    });
    listed.collect()
}

/// Turns a length into a count of cases.
fn cases(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Turns a count into a figure; all of ours are far below 2^32.
fn figure(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// The share of some in all; of nothing it is nothing that holds.
fn share(part: u64, all: u64) -> f64 {
    figure(part) / figure(all)
}
