//! Earliest deadline first: picks in proportion to weights that may change at every pick.
//!
//! Model: each entry has a deadline, at first `1 / weight`; the earliest is picked, becomes the time `t`, and gets
//! the deadline `t + 1 / weight`. Ties go to the entry that was put in first.
//! Cost: O(log n) per pick, O(n) to begin; 24 bytes per entry.
//! Source: Envoy `source/common/upstream/edf_scheduler.h` as of 1.40, with its way to begin after so many picks.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A schedule of endpoints.
#[derive(Debug, Default)]
pub(super) struct Edf {
    queue: BinaryHeap<Entry>,
    time: f64,
    order: u64,
}

#[derive(Debug)]
struct Entry {
    deadline: f64,
    order: u64,
    host: usize,
}

/// Picks beyond this are the same as those below: it is what Envoy takes the number modulo.
///
/// SOURCE: `createWithPicks`, a tenth of the largest 32-bit number.
const MOST_PICKS: u64 = 429_496_729;

/// Keeps weights that are multiples of each other from being rounded apart.
///
/// SOURCE: `createWithPicks`.
const EPSILON: f64 = 1e-13;

impl Edf {
    /// Begins as if there had been so many picks; of `seed` the lower 32 bits count, as in Envoy.
    pub(super) fn new(hosts: &[usize], weight: impl Fn(usize) -> f64, seed: u64) -> Self {
        let picks = (seed & 0xffff_ffff) % MOST_PICKS;
        let picks_float = float(picks);
        let sum: f64 = hosts.iter().map(|host| weight(*host) + EPSILON).sum();
        let mut edf = Self::default();
        let mut done = 0;
        for host in hosts {
            let weight = weight(*host) + EPSILON;
            let mut before = (weight * picks_float / sum).floor();
            if before > 0.0 && before / weight >= picks_float / sum {
                before -= 1.0;
            }
            edf.time = edf.time.max(before / weight);
            edf.queue.push(Entry {
                deadline: (before + 1.0) / weight,
                order: edf.order,
                host: *host,
            });
            edf.order += 1;
            done += whole(before);
        }
        // Fewer are left than there are entries.
        for _ in done..picks {
            edf.pick(&weight);
        }
        edf
    }

    /// Picks the next; its weight is asked for again.
    pub(super) fn pick(&mut self, weight: impl Fn(usize) -> f64) -> Option<usize> {
        let Entry { deadline, host, .. } = self.queue.pop()?;
        self.time = deadline;
        self.queue.push(Entry {
            deadline: deadline + 1.0 / weight(host).max(f64::MIN_POSITIVE),
            order: self.order,
            host,
        });
        self.order += 1;
        Some(host)
    }
}

/// Both directions are exact: no number of picks has more than 32 bits.
fn float(picks: u64) -> f64 {
    f64::from(u32::try_from(picks).unwrap_or(u32::MAX))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number of picks, which fits"
)]
const fn whole(picks: f64) -> u64 {
    picks as u64
}

impl Ord for Entry {
    /// The greatest is the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.deadline.total_cmp(&self.deadline)).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}
