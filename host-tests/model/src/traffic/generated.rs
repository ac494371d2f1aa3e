//! Requests of one kind, at a rate.
//!
//! Model: requests that come independently are a Poisson process. With Λ(t) the number of requests expected until t, the
//! k-th comes where Λ(t) is the sum of k draws from the exponential distribution of mean 1; Λ is inverted in closed form.

use std::sync::Arc;

use super::template;
use super::{Arrival, Request, client_address};
use crate::draw::Draws;
use crate::scenario::{Arrivals, Clients, Generated};

/// Yields the requests of one source.
#[derive(Debug)]
pub(super) struct Generator {
    source: usize,
    from_ns: u64,
    until_ns: u64,
    arrivals: Arrivals,
    clients: Clients,
    request: Arc<Request>,
    /// The next request, from 0.
    number: u64,
    /// How many requests are expected until the last one, where they come independently.
    expected: f64,
    times: Draws,
    who: Draws,
}

impl Generator {
    pub(super) fn new(source: usize, of: &Generated, duration_ns: u64, seed: u64) -> Self {
        let index = u64::try_from(source).unwrap_or(0);
        Self {
            source,
            from_ns: of.from.ns(),
            until_ns: of
                .until
                .map_or(duration_ns, |until| until.ns().min(duration_ns)),
            arrivals: of.arrivals.clone(),
            clients: of.clients.clone(),
            request: Arc::new(template::request(&of.request)),
            number: 0,
            expected: 0.0,
            times: Draws::new(seed, "arrivals", index),
            who: Draws::new(seed, "clients", index),
        }
    }

    pub(super) fn next(&mut self) -> Option<Arrival> {
        let seconds = self.next_seconds()?;
        let at_ns = self.from_ns.saturating_add(nanoseconds(seconds)?);
        if at_ns >= self.until_ns {
            return None;
        }
        let number = self.number;
        self.number += 1;
        let client = match self.clients.count {
            0 => number,
            count => self.who.below(u64::from(count)),
        };
        Some(Arrival {
            at_ns,
            source: self.source,
            number,
            client,
            address: client_address(self.clients.address, client, self.source),
            // A client that never comes again needs none.
            keeps_cookies: self.clients.cookies && self.clients.count > 0,
            gives_up_after_ns: self.clients.gives_up_after.map(crate::units::Span::ns),
            request: Arc::clone(&self.request),
            recorded_latency_ns: None,
            chained: false,
        })
    }

    /// Returns when the next request comes, in seconds from the source's beginning; `None` never.
    fn next_seconds(&mut self) -> Option<f64> {
        let number = float(self.number);
        let lasts = seconds(self.until_ns.saturating_sub(self.from_ns));
        match &self.arrivals {
            Arrivals::Steady { per_second } => (*per_second > 0.0).then(|| number / per_second),
            Arrivals::Burst { size, every } => {
                let burst = self.number.checked_div(u64::from(*size))?;
                Some(seconds(every.ns().checked_mul(burst)?))
            }
            Arrivals::Poisson { per_second } => {
                self.expected += self.times.exponential(1.0);
                (*per_second > 0.0).then(|| self.expected / per_second)
            }
            Arrivals::Ramp { from, to } => {
                self.expected += self.times.exponential(1.0);
                on_ramp(self.expected, *from, *to, lasts)
            }
            Arrivals::Spike {
                base,
                peak,
                at,
                lasts,
            } => {
                self.expected += self.times.exponential(1.0);
                around_spike(self.expected, *base, *peak, at.seconds(), lasts.seconds())
            }
        }
    }
}

/// Inverts Λ(t) = from·t + (to − from)·t² / (2·lasts).
fn on_ramp(expected: f64, from: f64, to: f64, lasts: f64) -> Option<f64> {
    let slope = (to - from) / lasts;
    let discriminant = from * from + 2.0 * slope * expected;
    if !slope.is_finite() || discriminant < 0.0 {
        return None;
    }
    // The form of the root that doesn't subtract two numbers that are nearly the same.
    let divisor = from + libm::sqrt(discriminant);
    (divisor > 0.0).then(|| 2.0 * expected / divisor)
}

/// Inverts a Λ of three straight pieces.
fn around_spike(expected: f64, base: f64, peak: f64, at: f64, lasts: f64) -> Option<f64> {
    let before = base * at;
    let until = before + peak * lasts;
    let (already, begin, rate) = if expected < before {
        (0.0, 0.0, base)
    } else if expected < until {
        (before, at, peak)
    } else {
        (until, at + lasts, base)
    };
    (rate > 0.0).then(|| begin + (expected - already) / rate)
}

/// A float holds numbers up to 2^53 exactly, which is more requests than any run has.
#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of requests stay far below 2^53"
)]
const fn float(number: u64) -> f64 {
    number as f64
}

fn seconds(nanoseconds: u64) -> f64 {
    std::time::Duration::from_nanos(nanoseconds).as_secs_f64()
}

/// `None`: later than any scenario lasts.
fn nanoseconds(seconds: f64) -> Option<u64> {
    let time = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    u64::try_from(time.as_nanos()).ok()
}
