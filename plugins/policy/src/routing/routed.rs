//! What was decided about one request, and what its answer showed.

use core::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use super::reason::Reason;
use crate::{
    balance::{Load, Picked, Seat, Ticket},
    endpoints::Attempt,
    fallback::{List, MAX_ENTRIES},
    panic_mode::Fitness,
    passive::{Conclusion, Honoured, Notice, Outcome},
    snapshot::EndpointAddress,
    units::WallTime,
};

/// Is what was decided about a request, to be kept until it ends. Shown, it is what a line in the
/// log says: the reason, the endpoint and its numbers, those of the one that lost, and who is next.
#[derive(Debug)]
#[must_use = "a request that is lost counts as under way for ever"]
pub struct Routed {
    /// Says why.
    pub reason: Reason,
    /// Is how the endpoint was picked, with its numbers; `None` where nothing was compared.
    pub picked: Option<Picked>,
    /// Is who lost the comparison.
    pub(super) other: Option<EndpointAddress>,
    pub(super) list: Listing,
    pub(super) ticket: Option<Ticket>,
    pub(super) began_at: WallTime,
    /// Is the router that decided.
    pub(super) router: RouterId,
}

/// Names a router, so that what an earlier one decided means nothing to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct RouterId(pub(super) u64);

impl RouterId {
    /// Is no router's.
    pub(super) const NONE: Self = Self(u64::MAX);
}

/// Are the endpoints of a request's attempts, in their order, each with its seat in the pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listing {
    addresses: [EndpointAddress; MAX_ENTRIES],
    seats: [Seat; MAX_ENTRIES],
    len: usize,
}

impl Listing {
    /// Lists nobody.
    pub(super) const EMPTY: Self = Self {
        addresses: [NOBODY; MAX_ENTRIES],
        seats: [Seat::NONE; MAX_ENTRIES],
        len: 0,
    };

    /// Names the endpoints of a list; it ends at the first that has no address.
    pub(super) fn of(list: &List<Seat>, address: impl Fn(Seat) -> Option<EndpointAddress>) -> Self {
        let mut listing = Self::EMPTY;
        let named = list.iter().map_while(|seat| Some((seat, address(seat)?)));
        let places = listing.addresses.iter_mut().zip(&mut listing.seats);
        for ((place, seat_place), (seat, address)) in places.zip(named) {
            *place = address;
            *seat_place = seat;
            listing.len = listing.len.saturating_add(1);
        }
        listing
    }

    /// Are the addresses.
    pub(super) fn addresses(&self) -> &[EndpointAddress] {
        self.addresses.get(..self.len).unwrap_or_default()
    }

    /// Are addresses and seats.
    pub(super) fn entries(&self) -> impl Iterator<Item = (EndpointAddress, Seat)> + use<'_> {
        let seats = self.seats.iter().copied();
        self.addresses().iter().copied().zip(seats)
    }
}

/// Fills places that are not looked at.
const NOBODY: EndpointAddress = EndpointAddress {
    ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    port: 0,
};

/// Is how a request was answered, as a filter sees it which runs once for each.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// Is how many attempts there were; `None` where the proxy does not say.
    pub attempts: Option<u64>,
    /// Is who served the last one.
    pub served_by: Option<EndpointAddress>,
    /// Is how it ended.
    pub outcome: Outcome,
    /// Says that it became a stream that lives on.
    pub is_upgrade: bool,
    /// Says that the answer carries a drain header: its endpoint is spared like one that failed,
    /// until the picture says more.
    pub says_draining: bool,
}

/// Is what an answer showed.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Concluded {
    /// Is what the endpoints did.
    pub conclusion: Conclusion,
    /// Is worth a line in the log.
    pub notice: Option<Notice>,
}

impl Concluded {
    /// Is what shows nothing.
    pub(super) const NOTHING: Self = Self {
        conclusion: Conclusion::NOTHING,
        notice: None,
    };

    /// Lists what each endpoint did, in the order of attempts. `routed` is what was decided about
    /// the request.
    pub fn attempts<'a>(
        &self,
        routed: &'a Routed,
    ) -> impl Iterator<Item = (EndpointAddress, Attempt)> + use<'a> {
        self.conclusion.attempts(routed.list.addresses())
    }

    /// Is what a line in the log says: how each attempt ended, and whether the list was honoured.
    #[must_use]
    pub const fn explain<'a>(&'a self, routed: &'a Routed) -> impl fmt::Display + use<'a> {
        Explained {
            concluded: self,
            routed,
        }
    }
}

impl Routed {
    /// Was decided about a request that is left alone.
    pub const fn alone(reason: Reason, now: WallTime) -> Self {
        Self {
            reason,
            picked: None,
            other: None,
            list: Listing::EMPTY,
            ticket: None,
            began_at: now,
            router: RouterId::NONE,
        }
    }

    /// Lists the endpoints of its attempts; none where the request is left alone.
    pub fn addresses(&self) -> impl Iterator<Item = EndpointAddress> + use<'_> {
        self.list.addresses().iter().copied()
    }

    /// Is when it was decided.
    #[must_use]
    pub const fn began_at(&self) -> WallTime {
        self.began_at
    }
}

impl fmt::Display for Routed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.as_str())?;
        let mut addresses = self.addresses();
        let Some(first) = addresses.next() else {
            return Ok(());
        };
        write!(f, " {first}")?;
        if let Some(picked) = &self.picked {
            write!(f, " ({})", Numbers(&picked.endpoint))?;
            if let (Some(other), Some(address)) = (&picked.other, self.other) {
                write!(f, " over {address} ({})", Numbers(other))?;
            }
        }
        for (place, address) in addresses.enumerate() {
            let before = if place == 0 { ", then" } else { "," };
            write!(f, "{before} {address}")?;
        }
        Ok(())
    }
}

/// Shows what an endpoint was compared by.
struct Numbers<'a>(&'a Load);

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = self.0;
        write!(
            f,
            "load {} us, estimate {} us, in flight {}",
            micros(load.load),
            micros(load.estimate_ns),
            load.in_flight
        )?;
        if load.fitness != Fitness::Available {
            write!(f, ", {}", load.fitness.as_str())?;
        }
        if load.has_failed {
            f.write_str(", failed lately")?;
        }
        Ok(())
    }
}

/// Is a number of nanoseconds in microseconds, rounded down: whole numbers need no code to show
/// floats, which a module would carry for this alone.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturating is what is wanted, and rounding down"
)]
const fn micros(nanoseconds: f64) -> u64 {
    (nanoseconds / 1e3) as u64
}

struct Explained<'a> {
    concluded: &'a Concluded,
    routed: &'a Routed,
}

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (address, attempt) in self.concluded.attempts(self.routed) {
            write!(f, "{address} ")?;
            match attempt {
                Attempt::Success { latency_us } => write!(f, "answered in {latency_us} us")?,
                Attempt::UntimedSuccess => f.write_str("answered")?,
                Attempt::GatewayFailure => f.write_str("failed")?,
                Attempt::LocalFailure => f.write_str("was given up")?,
                Attempt::Neutral => f.write_str("showed nothing")?,
            }
            f.write_str(", ")?;
        }
        f.write_str(match self.concluded.conclusion.honoured {
            Honoured::No => "not by the list",
            Honoured::Unclear => "by the list or not",
            Honoured::Yes => "by the list",
        })
    }
}

impl Answered {
    /// Is the latency that counts, of an answer that took so long.
    pub(super) fn timed(conclusion: &Conclusion, latency: Duration) -> Option<Duration> {
        let (_, attempt) = conclusion.last?;
        matches!(attempt, Attempt::Success { .. }).then_some(latency)
    }
}
