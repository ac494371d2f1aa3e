//! Traefik's least time.
//!
//! Model: `score = mean × (under way + 1) / weight`, the mean over an endpoint's last 100 times to the first byte in
//! whole milliseconds, 0 without any. The lowest score of all endpoints wins; equals take turns by weight, earliest
//! deadline first. A failure that has an answer is a sample like any other.
//! Scope: per worker (Traefik is one process). Cost: O(n) per pick, 900 bytes per endpoint.
//! Source: Traefik `pkg/server/service/loadbalancer/leasttime/leasttime.go` (1343cf7).
//! Differs: a time ends with the attempt, not with the answer's first byte.

use std::collections::VecDeque;

use super::{Listed, PerHost};
use crate::balance::{Balancer, Ended, Hosts, Pick};
use crate::draw::Draws;

/// Times that a mean is taken of.
///
/// SOURCE: `sampleSize`.
const SAMPLES: usize = 100;

#[derive(Debug, Default)]
pub(in crate::balance) struct LeastTime {
    listed: Listed,
    servers: PerHost<Server>,
    /// The greatest deadline given so far, where newcomers begin.
    deadline: f64,
}

#[derive(Debug, Default)]
struct Server {
    /// `None` until it is first listed.
    deadline: Option<f64>,
    pending: u32,
    samples_ms: VecDeque<u64>,
    sum_ms: u64,
}

impl Server {
    fn score(&self, weight: f64) -> f64 {
        let count = u32::try_from(self.samples_ms.len()).unwrap_or(u32::MAX);
        let sum = u32::try_from(self.sum_ms).map_or(f64::INFINITY, f64::from);
        let mean = if count == 0 {
            0.0
        } else {
            sum / f64::from(count)
        };
        mean * (1.0 + f64::from(self.pending)) / weight
    }
}

impl Balancer for LeastTime {
    fn pick(&mut self, hosts: &Hosts, _pick: &Pick<'_>, _draws: &mut Draws) -> Option<usize> {
        let weight_of = |host: usize| {
            hosts
                .all
                .get(host)
                .map_or(1.0, |host| f64::from(host.weight.max(1)))
        };
        if self.listed.refresh(hosts) {
            for host in &self.listed.list {
                let Some(server) = self.servers.of(*host) else {
                    continue;
                };
                if server.deadline.is_none() {
                    self.deadline += 1.0 / weight_of(*host);
                    server.deadline = Some(self.deadline);
                }
            }
        }
        // The lowest score, then the earliest deadline, then the first in the list.
        let mut best: Option<(f64, f64, usize)> = None;
        for host in &self.listed.list {
            let Some(server) = self.servers.of(*host) else {
                continue;
            };
            let (score, deadline) = (
                server.score(weight_of(*host)),
                server.deadline.unwrap_or_default(),
            );
            let is_better = best.is_none_or(|(best_score, best_deadline, _)| {
                (score.total_cmp(&best_score))
                    .then(deadline.total_cmp(&best_deadline))
                    .is_lt()
            });
            if is_better {
                best = Some((score, deadline, *host));
            }
        }
        let (score, deadline, chosen) = best?;
        // Only a tie moves a deadline.
        let mut ties = 0;
        for host in &self.listed.list {
            let same = |server: &mut Server| server.score(weight_of(*host)).total_cmp(&score);
            ties += u32::from(
                self.servers
                    .of(*host)
                    .map(same)
                    .is_some_and(|order| order.is_eq()),
            );
        }
        if ties > 1
            && let Some(server) = self.servers.of(chosen)
        {
            let next = deadline + 1.0 / weight_of(chosen);
            server.deadline = Some(next);
            self.deadline = self.deadline.max(next);
        }
        Some(chosen)
    }

    fn on_start(&mut self, host: usize, _now_ns: u64) {
        if let Some(server) = self.servers.of(host) {
            server.pending = server.pending.saturating_add(1);
        }
    }

    fn on_end(&mut self, host: usize, ended: Ended) {
        if let Some(server) = self.servers.of(host) {
            server.pending = server.pending.saturating_sub(1);
            if server.samples_ms.len() >= SAMPLES
                && let Some(oldest) = server.samples_ms.pop_front()
            {
                server.sum_ms = server.sum_ms.saturating_sub(oldest);
            }
            let sample_ms = ended.took_ns / 1_000_000;
            server.samples_ms.push_back(sample_ms);
            server.sum_ms = server.sum_ms.saturating_add(sample_ms);
        }
    }
}
