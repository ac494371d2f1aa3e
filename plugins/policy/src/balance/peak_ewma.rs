//! Estimates how long an endpoint takes: an average that follows peaks at once.
//!
//! Why: a mean notices a slow endpoint after several samples, each of which is a request that was
//! slow. One bad sample is reason enough to look elsewhere; many good ones are needed to come back.
//! Model: on a sample, `cost = rtt if rtt > cost else cost·w + rtt·(1 − w)`, `w = e^(−Δ/τ)`, Δ the
//! time since the last sample. Read at a time, it is `cost·e^(−Δ/τ)`: an endpoint that nobody asks
//! gets cheaper until somebody does, after at most `τ · ln(cost / others' load)`; after 2 τ it is as
//! if it had never had a sample.
//! Inputs / Output: times to the response's headers of attempts that were answered. An attempt that
//! failed gives no sample, neither its short time nor a penalty: failures eject, which is another
//! module's decision. With a penalty of 5 s and one failure in a thousand the share of slow
//! requests is ten times as large.
//! Cold start: without a sample there is no estimate. A sample of no time counts as 1 ns.
//! Limits: reading changes nothing. Samples of one instant are legal: the highest of them is kept.
//! A sample from before the last one counts as of the same instant, and time goes on from there:
//! after a step back of the clock an estimate would otherwise not decay until the clock has caught
//! up. The cost is from 1 ns to the largest sample, and never more than 584 years.
//! Scope: per worker VM; [`PeakEwma::merge`] brings in the others'. Cost: O(1), 16 bytes.
//! Source: Finagle's `PeakEwma.scala` (ad0c9d1), Apache-2.0. Differs: there, reading counts as a
//! sample of no time, so that the cost sinks towards zero and not towards the samples; failures
//! give samples; and time never goes back.

use core::{num::NonZeroU32, time::Duration};

use super::math::exp_negative;
use crate::{snapshot::Latency, units::WallTime};

/// Is how fast estimates lose weight: by a factor of e in each τ.
#[derive(Clone, Copy, Debug)]
pub struct Decay {
    /// Is 1/τ per nanosecond.
    rate: f64,
}

impl Default for Decay {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Decay {
    /// Is τ = 10 s. The VM that merges the estimates decays them by this one, whatever others do.
    pub const DEFAULT: Self = Self { rate: 1e-10 };

    /// Takes τ; less than a nanosecond counts as one.
    ///
    /// A shorter τ tries a slow endpoint sooner and forgets a peak sooner; a longer one is steadier.
    #[must_use]
    pub fn new(tau: Duration) -> Self {
        Self {
            rate: 1.0 / nanoseconds(tau).max(1.0),
        }
    }

    /// Is the weight of what was known `passed` ago, from 0 to 1.
    #[must_use]
    pub fn weight(self, passed: Duration) -> f64 {
        exp_negative(nanoseconds(passed) * self.rate)
    }

    /// Is what an estimate in microseconds is worth after a time; rounded down, so that it never
    /// rises, however often it is done.
    ///
    /// It is what `snapshot::Merger::merge` wants to know.
    #[must_use]
    pub fn project(self, estimate_us: NonZeroU32, passed: Duration) -> u32 {
        whole_u32(f64::from(estimate_us.get()) * self.weight(passed))
    }
}

/// Is the weight under which a sample decides nothing: e^−2, after 2 τ. By its decay alone an
/// estimate of 2 s is worth the 167 ms of others after 2.5 τ, and at a low rate a while passes until
/// somebody compares the two.
const FORGOTTEN: f64 = 0.135_335_283_236_612_7;

/// Is the estimate of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeakEwma {
    /// Is the cost at that time; 0 before the first sample.
    cost_ns: f64,
    /// Is when the last sample came.
    at: WallTime,
}

impl PeakEwma {
    /// Takes how long an attempt took that was answered.
    pub fn on_sample(&mut self, latency: Duration, decay: Decay, now: WallTime) {
        let sample_ns = nanoseconds(latency).max(1.0);
        self.cost_ns = if sample_ns > self.cost_ns {
            sample_ns
        } else {
            let weight = decay.weight(now.saturating_since(self.at));
            // The sum of both weights is 1 but for rounding.
            (self.cost_ns * weight + sample_ns * (1.0 - weight)).clamp(sample_ns, self.cost_ns)
        };
        self.at = now;
    }

    /// Takes an estimate that other workers agree on, where it is the larger one.
    ///
    /// Both decay alike, so it is the same as asking for the larger of both from now on. A time
    /// ahead of `now` counts as `now`.
    pub fn merge(&mut self, latency: Latency, decay: Decay, now: WallTime) {
        let theirs = Self {
            cost_ns: f64::from(latency.estimate_us.get()) * 1e3,
            at: latency.at.min(now),
        };
        let theirs_now = theirs.cost_ns * decay.weight(now.saturating_since(theirs.at));
        let ours_now = self.cost_ns * decay.weight(now.saturating_since(self.at));
        if theirs_now > ours_now {
            *self = theirs;
        }
    }

    /// Is the estimate in nanoseconds at a time; `None` before the first sample.
    #[must_use]
    pub fn cost_ns_at(&self, decay: Decay, now: WallTime) -> Option<f64> {
        let cost_ns = self.cost_ns * decay.weight(now.saturating_since(self.at));
        (self.cost_ns > 0.0).then_some(cost_ns)
    }

    /// Is the same for a decision: `None` as well where the last sample is older than 2 τ. What it
    /// said is not true any more, and whoever was slow then is worth a try.
    #[must_use]
    pub fn known_ns_at(&self, decay: Decay, now: WallTime) -> Option<f64> {
        let weight = decay.weight(now.saturating_since(self.at));
        (self.cost_ns > 0.0 && weight >= FORGOTTEN).then_some(self.cost_ns * weight)
    }

    /// Is what a report says of it: the cost of the last sample, and when that was. `None` before
    /// the first one.
    #[must_use]
    pub fn to_latency(&self) -> Option<Latency> {
        let micros = whole_u32(self.cost_ns / 1e3);
        (self.cost_ns > 0.0)
            .then(|| Latency::new(Duration::from_micros(u64::from(micros)), self.at))
    }

    /// Is when the last sample came; the epoch before the first.
    #[must_use]
    pub const fn at(&self) -> WallTime {
        self.at
    }

    /// Brings an estimate from ahead of the clock back to it, so that it decays; says whether it
    /// was. For the tick: an endpoint that gets no requests takes no samples either.
    pub fn on_clock(&mut self, now: WallTime) -> bool {
        let is_ahead = self.at > now;
        self.at = self.at.min(now);
        is_ahead
    }
}

/// Is a duration in nanoseconds; saturates at 2^64 of them, and above 2^53 (104 days) the last
/// digits go.
pub(super) fn nanoseconds(duration: Duration) -> f64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX) as f64
}

/// Rounds down; saturates at both ends.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturating is what is wanted, and rounding down"
)]
const fn whole_u32(number: f64) -> u32 {
    number as u32
}
