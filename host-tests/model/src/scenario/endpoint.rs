//! Endpoints: how fast they answer, how many at a time, and what happens to them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Deserialize;

use crate::units::{Ratio, Span};

/// An endpoint, or several alike.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Its address.
    pub address: SocketAddr,
    /// How many of them there are; the others' addresses count up from this one.
    #[serde(default = "one")]
    pub count: u32,
    /// Its zone; none without it.
    #[serde(default)]
    pub zone: String,
    /// Its weight.
    #[serde(default = "one")]
    pub weight: u32,
    /// How long it works on a request.
    #[serde(default)]
    pub latency: Latency,
    /// How many requests it works on at a time; without it, any number. Upgraded connections don't count.
    pub concurrency: Option<u32>,
    /// How many more wait in it; one beyond them is answered 503 at once. Without it, any number.
    pub queue: Option<u32>,
    /// Answers that go wrong.
    #[serde(default)]
    pub errors: Vec<Errors>,
    /// What it answers otherwise.
    #[serde(default)]
    pub answer: Answer,
    /// What it does with WebSockets.
    #[serde(default)]
    pub sockets: Sockets,
    /// What happens to it, in any order. Phases of one kind don't overlap, except for `fails` (the last that happens holds) and
    /// `announces`.
    #[serde(default)]
    pub timeline: Vec<Phase>,
}

const fn one() -> u32 {
    1
}

/// How long an endpoint works on a request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Latency {
    /// No time.
    #[default]
    None,
    /// Always the same.
    Constant(Span),
    /// Exponentially distributed.
    Exponential {
        /// The mean.
        mean: Span,
    },
    /// Log-normally distributed.
    LogNormal {
        /// The median.
        median: Span,
        /// The standard deviation of the logarithm.
        sigma: f64,
    },
    /// By percentiles, such as `{ "0": 1ms, "50": 5ms, "99": 40ms, "100": 80ms }`; straight lines between them.
    Percentiles(BTreeMap<String, Span>),
    /// What the recording says of the request; only with a recording that has it.
    Recorded,
}

/// Answers that go wrong.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Errors {
    /// The share of requests that it happens to.
    pub ratio: Ratio,
    /// What happens.
    #[serde(default)]
    pub with: Failure,
    /// How long that takes; without it, as long as an answer.
    pub after: Option<Span>,
}

/// A way for a request to fail at an endpoint that took the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Failure {
    /// An answer with this status.
    Status(u16),
    /// The connection is closed before any of the answer.
    Disconnect,
    /// The connection is closed after the headers, short of the length that they tell.
    DisconnectInBody,
    /// Nothing ever comes.
    Silence,
}

impl Default for Failure {
    fn default() -> Self {
        Self::Status(503)
    }
}

/// What an endpoint answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The status.
    #[serde(default = "okay")]
    pub status: u16,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Bytes of the body, if what they are doesn't matter.
    #[serde(default)]
    pub body_bytes: u64,
    /// The body as a text, which a plugin's call gets as it is.
    pub body: Option<String>,
    /// Time from its headers to its end.
    #[serde(default)]
    pub body_takes: Span,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: okay(),
            headers: BTreeMap::new(),
            body_bytes: 0,
            body: None,
            body_takes: Span::ZERO,
        }
    }
}

impl Answer {
    /// Returns how many bytes its body has.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.body
            .as_ref()
            .map_or(self.body_bytes, |body| body.len() as u64)
    }
}

const fn okay() -> u16 {
    200
}

/// What an endpoint does with WebSockets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sockets {
    /// Takes them and sends every message back.
    #[default]
    Echo,
    /// Answers the upgrade like any other request.
    Refuse,
}

/// Something that happens to an endpoint from a time on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// When it begins.
    #[serde(default)]
    pub from: Span,
    /// When it ends; without it, never.
    pub until: Option<Span>,
    /// What it is.
    pub state: State,
}

/// What an endpoint is for a while.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum State {
    /// Requests (this share) fail in this way.
    Fails(Errors),
    /// It works as long as this on a request.
    Slow(Latency),
    /// It works so many times as long; `slower: 10`.
    Slower(f64),
    /// It just started: it works this many times as long at first, and less until the phase's end.
    Cold(f64),
    /// It takes no connection, at once. Connections that it has are closed.
    Refuses,
    /// Connections to it are never made; those that it has stay silent.
    Unreachable,
    /// It takes requests and answers none.
    Hangs,
    /// It isn't in the membership.
    Absent,
    /// Its health in the membership.
    Membership(Health),
    /// Its answer to requests whose path begins with this, such as a readiness path.
    Probe {
        /// The path's beginning.
        path: String,
        /// The answer.
        answer: Answer,
    },
    /// Headers on each of its answers, such as `x-tidegate-drain: 60`.
    Announces(BTreeMap<String, String>),
}

/// Envoy's `HealthStatus` of an endpoint in the membership.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// `HEALTHY`.
    #[default]
    Healthy,
    /// `DEGRADED`.
    Degraded,
    /// `UNHEALTHY`.
    Unhealthy,
    /// `DRAINING`.
    Draining,
}

impl Endpoint {
    /// Returns each of the endpoints that this one stands for: `count` of them, with addresses that count up.
    pub fn each(&self) -> impl Iterator<Item = Self> {
        (0..self.count).map(|offset| {
            let mut one = self.clone();
            one.count = 1;
            let ip = match self.address.ip() {
                IpAddr::V4(ip) => {
                    IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits().wrapping_add(offset)))
                }
                IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(
                    ip.to_bits().wrapping_add(u128::from(offset)),
                )),
            };
            one.address.set_ip(ip);
            one
        })
    }
}
