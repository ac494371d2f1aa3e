//! Endpoints that do in real time what the model's endpoints do in virtual time: the decisions are the same code's.

mod answer;
mod door;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tidegate_model::endpoint::{Asked, Begun, Connects, Served, Server};
use tidegate_model::scenario;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::clock::Clock;

/// How long the recorded endpoint took, by request id.
pub(super) type Recorded = Arc<Mutex<HashMap<String, u64>>>;

/// A running endpoint. Dropping it closes its port and its connections.
#[derive(Debug)]
pub(super) struct Endpoint {
    shared: Arc<Shared>,
    address: SocketAddr,
    real: SocketAddr,
    zone: String,
    weight: u32,
    task: JoinHandle<()>,
}

/// A request that came to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its `x-request-id`.
    pub(super) id: String,
    /// When, in nanoseconds of the scenario.
    pub(super) at_ns: u64,
    /// How many were under way there then, itself included.
    pub(super) under_way: u32,
}

/// What a cluster's endpoints are started with.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) clock: Clock,
    pub(super) seed: u64,
    pub(super) recorded: Recorded,
}

/// What all connections of an endpoint need.
#[derive(Debug)]
struct Shared {
    clock: Clock,
    recorded: Recorded,
    /// When something changes, in order.
    changes: Vec<u64>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    server: Server,
    /// The next request's number.
    number: u64,
    under_way: u32,
    waiting: HashMap<u64, oneshot::Sender<Served>>,
    seen: Vec<Seen>,
}

/// A request that an endpoint is at, until this is dropped.
#[derive(Debug)]
struct Work {
    shared: Arc<Shared>,
    number: u64,
}

/// Returns the addresses of an endpoint that stands for several.
pub(super) fn addresses(spec: &scenario::Endpoint) -> Vec<SocketAddr> {
    (0..spec.count)
        .map(|index| SocketAddr::new(counted(spec.address.ip(), index), spec.address.port()))
        .collect()
}

fn counted(ip: IpAddr, index: u32) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits().wrapping_add(index)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits().wrapping_add(index.into())).into(),
    }
}

impl Endpoint {
    /// Starts the endpoint that the scenario has at `address`, on a port that the kernel chooses. `index` is its own among
    /// all endpoints of the scenario.
    ///
    /// # Errors
    /// No port is free.
    pub(super) fn start(
        spec: &scenario::Endpoint,
        address: SocketAddr,
        index: u64,
        setting: &Setting,
    ) -> Result<Self> {
        let spec = scenario::Endpoint {
            address,
            count: 1,
            ..spec.clone()
        };
        let (zone, weight) = (spec.zone.clone(), spec.weight);
        let server = Server::new(spec, setting.seed, index);
        let mut changes: Vec<u64> = server.changes().filter(|time| *time > 0).collect();
        changes.sort_unstable();
        changes.dedup();
        let shared = Arc::new(Shared {
            clock: setting.clock.clone(),
            recorded: Arc::clone(&setting.recorded),
            changes,
            state: Mutex::new(State {
                server,
                number: 0,
                under_way: 0,
                waiting: HashMap::new(),
                seen: Vec::new(),
            }),
        });
        let port = door::Port::reserve().context("cannot reserve a port for an endpoint")?;
        let real = port.address();
        let task = tokio::spawn(door::keep(port, Arc::clone(&shared)));
        Ok(Self {
            shared,
            address,
            real,
            zone,
            weight,
            task,
        })
    }

    /// Returns its address in the scenario.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address that connections to it go to.
    pub(super) const fn real(&self) -> SocketAddr {
        self.real
    }

    /// Returns its zone.
    pub(super) fn zone(&self) -> &str {
        &self.zone
    }

    /// Returns its weight.
    pub(super) const fn weight(&self) -> u32 {
        self.weight
    }

    /// Returns its health in the membership; `None`: it isn't a member then.
    pub(super) fn membership(&self, now_ns: u64) -> Option<scenario::Health> {
        lock(&self.shared.state).server.membership(now_ns)
    }

    /// Returns the times at which something changes about it, in order.
    pub(super) fn changes(&self) -> &[u64] {
        &self.shared.changes
    }

    /// Takes what has come so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut lock(&self.shared.state).seen)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn connects(&self) -> Connects {
        let now = self.clock.now_ns();
        lock(&self.state).server.connects(now)
    }

    /// Notes that a request came; its headers are here.
    fn arrived(self: &Arc<Self>, id: &str) -> Work {
        let mut state = lock(&self.state);
        state.under_way += 1;
        state.number += 1;
        let seen = Seen {
            id: id.to_owned(),
            at_ns: self.clock.now_ns(),
            under_way: state.under_way,
        };
        state.seen.push(seen);
        Work {
            shared: Arc::clone(self),
            number: state.number,
        }
    }
}

impl Work {
    /// Begins with a request that came whole, when there is room, and says what becomes of it; `None` when the endpoint ends
    /// before that.
    async fn begin(&self, path: &str, upgrade: bool, id: &str) -> Option<Served> {
        let recorded_ns = lock(&self.shared.recorded).get(id).copied();
        let turn = {
            let mut state = lock(&self.shared.state);
            let asked = Asked {
                path,
                upgrade,
                recorded_ns,
            };
            let now = self.shared.clock.now_ns();
            match state.server.begin(self.number, &asked, now) {
                Begun::Serves(served) => return Some(served),
                Begun::Waits => {
                    let (sender, turn) = oneshot::channel();
                    state.waiting.insert(self.number, sender);
                    turn
                }
            }
        };
        turn.await.ok()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let now = self.shared.clock.now_ns();
        let mut state = lock(&self.shared.state);
        state.under_way -= 1;
        state.waiting.remove(&self.number);
        if let Some((next, served)) = state.server.end(self.number, now)
            && let Some(turn) = state.waiting.remove(&next)
        {
            // Its request may have been given up in this moment; its own end then makes room again.
            let _ = turn.send(served);
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
