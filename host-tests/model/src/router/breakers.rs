//! What a cluster may have under way, and the connections that requests wait for.

use std::collections::VecDeque;

use crate::budget::Budget;
use crate::scenario;

/// What a cluster has under way, which its circuit breakers bound; over all workers.
#[derive(Debug, Clone)]
pub struct Breakers {
    /// The bounds.
    pub limits: scenario::CircuitBreakers,
    /// Connections, also those being made.
    pub connections: u32,
    /// Requests under way: those that have a connection.
    pub requests: u32,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// Retries under way: from the decision to the attempt's headers, or its end.
    pub retries: u32,
    /// Decides whether there may be one more retry.
    pub budget: Budget,
}

impl Breakers {
    /// Begins with nothing under way.
    #[must_use]
    pub fn new(limits: scenario::CircuitBreakers) -> Self {
        Self {
            limits,
            connections: 0,
            requests: 0,
            pending: 0,
            retries: 0,
            budget: Budget::new(&limits),
        }
    }

    /// Decides whether one more retry may begin.
    pub(super) fn may_retry(&mut self, now_ns: u64) -> bool {
        let under_way = self.requests.saturating_add(self.pending);
        self.budget.may_retry(under_way, self.retries, now_ns)
    }
}

/// The HTTP/1.1 connections of one worker to one endpoint. Who waits is named by numbers of the caller's.
///
/// An attempt asks. With an idle connection it begins at once, unless `max_requests` are under way. Without one it waits,
/// unless `max_pending_requests` do; a cold cluster therefore needs room for one that waits. Those who wait are served in
/// order, each with a connection that is made or becomes free, and then again only if `max_requests` are not under way. A
/// connection is made for each that waits while there are fewer than `max_connections`; a pool without any makes its first
/// one whatever the others have. A connection that can't be made fails all that wait in its pool, not only the one that it
/// was begun for.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    idle: u32,
    busy: u32,
    connecting: u32,
    waiting: VecDeque<u64>,
}

/// What becomes of an attempt that asks for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It begins on a connection that was idle.
    Begins,
    /// It waits.
    Waits {
        /// So many connections begin to be made; each ends with [`Pool::on_connected`] or [`Pool::on_connect_failed`].
        connects: u32,
    },
    /// There is an idle connection, but `max_requests` are under way: [`super::Reset::Overflow`].
    Overflows,
    /// There is none, and `max_pending_requests` wait: [`super::Reset::Overflow`] too, and Envoy names no endpoint for the
    /// attempt.
    Full,
}

/// What becomes of one that waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Who.
    pub id: u64,
    /// Whether it begins; otherwise a circuit breaker is in its way: [`super::Reset::Overflow`].
    pub begins: bool,
}

/// What the end of an attempt leads to for those that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freed {
    /// Those that are served.
    pub served: Vec<Served>,
    /// So many connections begin to be made.
    pub connects: u32,
}

/// Connections that Envoy begins at once, at the most.
const CONNECTS_AT_ONCE: u32 = 3;

impl Pool {
    /// An attempt asks for a connection.
    pub fn ask(&mut self, id: u64, breakers: &mut Breakers) -> Asked {
        if self.idle > 0 {
            return if self.take(breakers) {
                Asked::Begins
            } else {
                Asked::Overflows
            };
        }
        if breakers.pending >= breakers.limits.max_pending_requests {
            return Asked::Full;
        }
        breakers.pending = breakers.pending.saturating_add(1);
        self.waiting.push_back(id);
        Asked::Waits {
            connects: self.connect(breakers),
        }
    }

    /// A connection was made.
    pub fn on_connected(&mut self, breakers: &mut Breakers) -> Vec<Served> {
        if self.connecting == 0 {
            return Vec::new();
        }
        self.connecting = self.connecting.saturating_sub(1);
        self.idle = self.idle.saturating_add(1);
        self.serve(breakers)
    }

    /// A connection could not be made: returns those that waited, which all fail.
    pub fn on_connect_failed(&mut self, breakers: &mut Breakers) -> Vec<u64> {
        if self.connecting == 0 {
            return Vec::new();
        }
        self.connecting = self.connecting.saturating_sub(1);
        breakers.connections = breakers.connections.saturating_sub(1);
        let failed: Vec<u64> = self.waiting.drain(..).collect();
        let count = u32::try_from(failed.len()).unwrap_or(u32::MAX);
        breakers.pending = breakers.pending.saturating_sub(count);
        failed
    }

    /// An attempt that began ended. `keeps` says whether its connection can take another: both messages were whole, and the
    /// endpoint did not close it. Cutting an attempt short, as a time-out does, closes the connection.
    pub fn on_ended(&mut self, keeps: bool, breakers: &mut Breakers) -> Freed {
        if self.busy == 0 {
            return Freed::default();
        }
        self.busy = self.busy.saturating_sub(1);
        breakers.requests = breakers.requests.saturating_sub(1);
        if keeps {
            self.idle = self.idle.saturating_add(1);
            return Freed {
                served: self.serve(breakers),
                connects: 0,
            };
        }
        breakers.connections = breakers.connections.saturating_sub(1);
        Freed {
            served: Vec::new(),
            connects: self.connect(breakers),
        }
    }

    /// The endpoint closed its idle connections.
    pub const fn on_idle_closed(&mut self, breakers: &mut Breakers) {
        breakers.connections = breakers.connections.saturating_sub(self.idle);
        self.idle = 0;
    }

    /// An attempt that waits is given up. A connection being made for it is made, and then idle.
    pub fn cancel(&mut self, id: u64, breakers: &mut Breakers) {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| *waiting != id);
        if self.waiting.len() < before {
            breakers.pending = breakers.pending.saturating_sub(1);
        }
    }

    /// Returns how many connections there are, also those being made.
    #[must_use]
    pub const fn connections(&self) -> u32 {
        self.idle
            .saturating_add(self.busy)
            .saturating_add(self.connecting)
    }

    /// Begins an attempt on an idle connection.
    const fn take(&mut self, breakers: &mut Breakers) -> bool {
        if breakers.requests >= breakers.limits.max_requests {
            return false;
        }
        breakers.requests = breakers.requests.saturating_add(1);
        self.idle = self.idle.saturating_sub(1);
        self.busy = self.busy.saturating_add(1);
        true
    }

    fn serve(&mut self, breakers: &mut Breakers) -> Vec<Served> {
        let mut served = Vec::new();
        while self.idle > 0
            && let Some(id) = self.waiting.pop_front()
        {
            breakers.pending = breakers.pending.saturating_sub(1);
            let begins = self.take(breakers);
            served.push(Served { id, begins });
        }
        served
    }

    /// Begins connections for those that wait and have none coming.
    fn connect(&mut self, breakers: &mut Breakers) -> u32 {
        let mut connects = 0;
        while connects < CONNECTS_AT_ONCE {
            let waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
            let allowed =
                breakers.connections < breakers.limits.max_connections || self.connections() == 0;
            if waiting <= self.connecting || !allowed {
                break;
            }
            self.connecting = self.connecting.saturating_add(1);
            breakers.connections = breakers.connections.saturating_add(1);
            connects += 1;
        }
        connects
    }
}
