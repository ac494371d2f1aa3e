//! The EWMA balancer of ingress-nginx.
//!
//! Model, times in seconds, τ = 10 s, `Δ` the time since the last sample:
//! - A sample: `ewma = ewma·e^(−Δ/τ) + sample·(1 − e^(−Δ/τ))`.
//! - `score = ewma·e^(−Δ/τ)`; reading changes nothing. Requests under way don't count.
//! - Of two distinct endpoints the one with the lower score; the first of equals.
//! - An endpoint that joins begins with the mean of the others. One of the first list has the score 0 until its first
//!   sample, which counts fully.
//!
//! An attempt that failed is a sample like any other. Times are whole milliseconds, as nginx has them.
//! Scope: per worker. Cost: O(1), 16 bytes per endpoint.
//! Source: ingress-nginx `rootfs/etc/nginx/lua/balancer/ewma.lua` (437fbf7, and 02ace1b for new endpoints).
//! Differs: later versions keep the estimates in a dictionary that all workers of one nginx share.

use super::{Listed, PerHost};
use crate::balance::{Balancer, Ended, Hosts, Pick};
use crate::draw::Draws;

/// τ in milliseconds.
const DECAY_MS: f64 = 10_000.0;

#[derive(Debug, Default)]
pub(in crate::balance) struct NginxEwma {
    listed: Listed,
    estimates: PerHost<Option<Estimate>>,
}

#[derive(Debug, Clone, Copy)]
struct Estimate {
    ewma_ms: f64,
    sampled_ms: u64,
}

impl Estimate {
    fn decayed(self, sample_ms: f64, now_ms: u64) -> f64 {
        let weight = libm::exp(-milliseconds(now_ms.saturating_sub(self.sampled_ms)) / DECAY_MS);
        self.ewma_ms * weight + sample_ms * (1.0 - weight)
    }
}

impl NginxEwma {
    fn score(&mut self, host: usize, now_ms: u64) -> f64 {
        let estimate = self.estimates.of(host).copied().flatten();
        estimate.map_or(0.0, |estimate| estimate.decayed(0.0, now_ms))
    }

    /// Gives members that weren't listed before the mean of those that were, and forgets who is gone.
    fn sync(&mut self, before: &[usize], now_ms: u64) {
        if before.is_empty() {
            return;
        }
        let mut sum = 0.0;
        for host in before {
            let estimate = self.estimates.of(*host).copied().flatten();
            sum += estimate.map_or(0.0, |estimate| estimate.ewma_ms);
        }
        let count = u32::try_from(before.len()).map_or(f64::INFINITY, f64::from);
        let fresh = Estimate {
            ewma_ms: sum / count,
            sampled_ms: now_ms,
        };
        let mut known = PerHost::default();
        for host in &self.listed.list {
            let estimate = self.estimates.of(*host).copied().flatten();
            let is_new = !before.contains(host);
            if let Some(slot) = known.of(*host) {
                *slot = estimate.or(is_new.then_some(fresh));
            }
        }
        self.estimates = known;
    }
}

impl Balancer for NginxEwma {
    fn pick(&mut self, hosts: &Hosts, pick: &Pick<'_>, draws: &mut Draws) -> Option<usize> {
        let now_ms = pick.now_ns / 1_000_000;
        if self.listed.is_stale(hosts) {
            let before = self.listed.list.clone();
            self.listed.refresh(hosts);
            self.sync(&before, now_ms);
        }
        let (first, second) = self.listed.two(draws)?;
        let Some(second) = second else {
            return Some(first);
        };
        let (score, other) = (self.score(first, now_ms), self.score(second, now_ms));
        Some(if other < score { second } else { first })
    }

    fn on_end(&mut self, host: usize, ended: Ended) {
        let now_ms = ended.now_ns / 1_000_000;
        let sample_ms = milliseconds(ended.took_ns / 1_000_000);
        if !self.listed.list.contains(&host) {
            return;
        }
        if let Some(slot) = self.estimates.of(host) {
            *slot = Some(slot.map_or(
                // Its last sample was at the epoch, so to speak.
                Estimate {
                    ewma_ms: sample_ms,
                    sampled_ms: now_ms,
                },
                |estimate| Estimate {
                    ewma_ms: estimate.decayed(sample_ms, now_ms),
                    sampled_ms: now_ms.max(estimate.sampled_ms),
                },
            ));
        }
    }
}

fn milliseconds(whole: u64) -> f64 {
    u32::try_from(whole).map_or_else(|_| f64::from(u32::MAX), f64::from)
}
