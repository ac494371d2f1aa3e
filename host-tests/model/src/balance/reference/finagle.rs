//! Finagle's balancers with two distinct choices: peak EWMA and least loaded.
//!
//! Model of peak EWMA, with `t` the time of the last look at an endpoint, reading included, and τ = 10 s:
//! - A sample, or a reading as a sample of 0: `cost = sample if sample > cost else cost·w + sample·(1 − w)`, `w =
//!   e^(−Δt/τ)`.
//! - `load = cost·(pending + 1)`, or a penalty of `2^47 ns + pending` while there is no cost yet but a request under
//!   way.
//! - Of two distinct endpoints the one with the lower load; the second of equals.
//!
//! Because a reading moves `t`, a sample below the cost counts for the time since the last reading only, which is
//! short: the cost decays towards 0 rather than towards the samples, and follows the peaks of the last seconds. An
//! attempt that failed is a sample like any other.
//! Scope: per worker. Cost: O(1), 24 bytes per endpoint.
//! Source: Finagle `finagle-core/src/main/scala/com/twitter/finagle/loadbalancer/PeakEwma.scala` (ad0c9d1),
//! `p2c/P2CPick.scala` (1f1986d) and `LeastLoaded.scala` (6a15499); `decayTime` of `Balancers.p2cPeakEwma` is 10 s.
//! Differs: no aperture, no failure accrual (an endpoint's status is always open).

use super::{Listed, PerHost};
use crate::balance::{Balancer, Ended, Hosts, Pick};
use crate::draw::Draws;

/// Finagle's `Long.MaxValue >> 16`.
const PENALTY: f64 = 140_737_488_355_327.0;

/// τ in nanoseconds.
const DECAY_NS: f64 = 10e9;

#[derive(Debug, Default)]
pub(in crate::balance) struct PeakEwma {
    listed: Listed,
    metrics: PerHost<Metric>,
}

#[derive(Debug, Default)]
struct Metric {
    seen_ns: u64,
    pending: u32,
    cost_ns: f64,
}

impl Metric {
    fn observe(&mut self, sample_ns: f64, now_ns: u64) {
        let passed = nanoseconds(now_ns.saturating_sub(self.seen_ns));
        let weight = libm::exp(-passed / DECAY_NS);
        self.cost_ns = if sample_ns > self.cost_ns {
            sample_ns
        } else {
            self.cost_ns * weight + sample_ns * (1.0 - weight)
        };
        self.seen_ns = self.seen_ns.max(now_ns);
    }

    fn load(&mut self, now_ns: u64) -> f64 {
        self.observe(0.0, now_ns);
        if self.cost_ns <= 0.0 && self.pending != 0 {
            PENALTY + f64::from(self.pending)
        } else {
            self.cost_ns * (f64::from(self.pending) + 1.0)
        }
    }
}

impl PeakEwma {
    fn load(&mut self, host: usize, now_ns: u64) -> f64 {
        (self.metrics.of(host)).map_or(f64::INFINITY, |metric| metric.load(now_ns))
    }
}

impl Balancer for PeakEwma {
    fn pick(&mut self, hosts: &Hosts, pick: &Pick<'_>, draws: &mut Draws) -> Option<usize> {
        self.listed.refresh(hosts);
        let (first, second) = self.listed.two(draws)?;
        let Some(second) = second else {
            return Some(first);
        };
        let (load, other) = (
            self.load(first, pick.now_ns),
            self.load(second, pick.now_ns),
        );
        Some(if load < other { first } else { second })
    }

    fn on_start(&mut self, host: usize, _now_ns: u64) {
        if let Some(metric) = self.metrics.of(host) {
            metric.pending = metric.pending.saturating_add(1);
        }
    }

    fn on_end(&mut self, host: usize, ended: Ended) {
        if let Some(metric) = self.metrics.of(host) {
            metric.pending = metric.pending.saturating_sub(1);
            metric.observe(nanoseconds(ended.took_ns), ended.now_ns);
        }
    }
}

/// The one with fewer requests under way of two distinct choices; the second of equals.
#[derive(Debug, Default)]
pub(in crate::balance) struct LeastLoaded {
    listed: Listed,
    pending: PerHost<u32>,
}

impl Balancer for LeastLoaded {
    fn pick(&mut self, hosts: &Hosts, _pick: &Pick<'_>, draws: &mut Draws) -> Option<usize> {
        self.listed.refresh(hosts);
        let (first, second) = self.listed.two(draws)?;
        let Some(second) = second else {
            return Some(first);
        };
        let load = self.pending.of(first).copied();
        let other = self.pending.of(second).copied();
        Some(if load < other { first } else { second })
    }

    fn on_start(&mut self, host: usize, _now_ns: u64) {
        if let Some(pending) = self.pending.of(host) {
            *pending = pending.saturating_add(1);
        }
    }

    fn on_end(&mut self, host: usize, _ended: Ended) {
        if let Some(pending) = self.pending.of(host) {
            *pending = pending.saturating_sub(1);
        }
    }
}

/// Turns nanoseconds into a float; beyond 2^53 of them, a hundred days, the last digits go.
fn nanoseconds(whole: u64) -> f64 {
    std::time::Duration::from_nanos(whole).as_secs_f64() * 1e9
}
