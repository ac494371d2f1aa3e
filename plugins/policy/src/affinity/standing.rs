//! What becomes of a session, by what is known of its own endpoint.
//!
//! Identity comes before health: whoever has the address now must be the process that the session
//! knows. Then one table decides, by standing, mode and kind of the request; [`Standing::course`]
//! is all of it.

use core::{num::NonZeroU64, time::Duration};

use serde::Deserialize;

use super::{
    cookie::{Address, Session},
    reason::RequestReason,
};
use crate::{
    endpoints::{Known, Picture},
    snapshot::{Endpoint, EndpointAddress, SnapshotView, State},
    successor::{Candidate, successor},
    units::WallTime,
};

/// Is how much younger than the picture's confirmation a cookie may be for its endpoint to count as
/// gone when the picture does not have it.
///
/// Another gateway, or this proxy itself, may know an endpoint earlier than the picture: its lag is
/// a poll and a tick. Less takes sessions off endpoints that have just come; more leaves those of
/// endpoints that have just gone to the proxy's balancing for longer.
pub const UNLISTED_GRACE: Duration = Duration::from_secs(5);

/// Says what happens to the sessions of an endpoint that drains.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(expecting = "a string", rename_all = "snake_case")]
pub enum WhenDraining {
    /// Upgrades go to the successor; a plain request is served where its session is once more, and
    /// its response carries the successor's cookie.
    #[default]
    HandOver,
    /// All stay until the deadline.
    Keep,
    /// All go to the successor at once.
    Move,
}

impl WhenDraining {
    /// Is the name in the configuration.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::HandOver => "hand_over",
            Self::Keep => "keep",
            Self::Move => "move",
        }
    }
}

/// Says how long a request may bind its endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// One request and its response.
    Plain,
    /// A WebSocket or another tunnel: it lives as long as both ends like.
    Upgrade,
}

/// Says how a session's endpoint stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It takes requests.
    Available,
    /// It drained: its deadline has passed.
    Drained,
    /// It drains, and its deadline lies ahead.
    Draining,
    /// It takes no requests for now.
    Ejected,
    /// It left the cluster: it vanished, or a picture that is younger than the cookie lacks it.
    Gone,
    /// The picture does not have it, and the cookie is too young for that to mean something.
    Unlisted,
}

/// Says what becomes of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Course {
    /// Served by its own endpoint once more; the response's cookie names the successor.
    HandOver,
    /// Served by its successor from now on.
    Leave,
    /// Served by its own endpoint.
    Stay,
}

impl Standing {
    /// Says how an endpoint stands that the picture has or does not have, for a cookie that was
    /// written at `written`.
    fn of(
        endpoint: Option<&Endpoint>,
        written: WallTime,
        known: &Known<'_>,
        now: WallTime,
    ) -> Self {
        let Some(endpoint) = endpoint else {
            let margin = known.version.confirmed_at.saturating_since(written);
            return if margin > UNLISTED_GRACE {
                Self::Gone
            } else {
                Self::Unlisted
            };
        };
        match endpoint.state {
            State::Available { .. } | State::Probing | State::Unknown => Self::Available,
            State::Draining { until } if now < until => Self::Draining,
            State::Draining { .. } => Self::Drained,
            State::Ejected { .. } => Self::Ejected,
            State::Vanished { .. } => Self::Gone,
        }
    }

    /// Says what becomes of a session whose endpoint stands like this.
    #[must_use]
    pub const fn course(self, mode: WhenDraining, kind: Kind) -> Course {
        match (self, mode, kind) {
            (Self::Available | Self::Unlisted, _, _) | (Self::Draining, WhenDraining::Keep, _) => {
                Course::Stay
            }
            (Self::Draining, WhenDraining::HandOver, Kind::Plain) => Course::HandOver,
            (Self::Draining, WhenDraining::HandOver, Kind::Upgrade)
            | (Self::Draining, WhenDraining::Move, _)
            | (Self::Drained | Self::Ejected | Self::Gone, _, _) => Course::Leave,
        }
    }

    /// Is the reason of a request that goes to the successor.
    const fn successor_reason(self) -> RequestReason {
        match self {
            Self::Drained | Self::Draining => RequestReason::SuccessorDraining,
            Self::Available | Self::Ejected => RequestReason::SuccessorEjected,
            Self::Gone | Self::Unlisted => RequestReason::SuccessorGone,
        }
    }
}

/// Says where a session's request goes.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// To its own endpoint. `leaving` says that this one will soon be gone: whoever else serves may
    /// have the session.
    Own {
        reason: RequestReason,
        leaving: bool,
        /// Is who the response's cookie names.
        heir: Option<Address>,
    },
    /// To its successor.
    Successor {
        reason: RequestReason,
        successor: Address,
    },
    /// The session is over.
    Refused(RequestReason),
}

impl Place {
    pub(super) const fn own(reason: RequestReason) -> Self {
        Self::Own {
            reason,
            leaving: false,
            heir: None,
        }
    }
}

/// Decides where a session's request goes. O(log endpoints) while its own endpoint is available,
/// else O(endpoints); allocates only a successor's text.
pub(super) fn place(
    session: &Session,
    mode: WhenDraining,
    kind: Kind,
    known: &Known<'_>,
    now: WallTime,
) -> Place {
    // An address that no picture can hold says nothing by its absence.
    let Some(address) = EndpointAddress::parse(session.address.as_str().as_bytes()) else {
        return Place::own(RequestReason::PinnedUnlisted);
    };
    let entry = known.view.get(&address);
    let endpoint = entry.as_ref().map(|entry| &entry.endpoint);
    if let Some(reason) = endpoint.and_then(|endpoint| refusal(session, endpoint)) {
        return Place::Refused(reason);
    }
    let standing = Standing::of(endpoint, session.last_seen, known, now);
    let course = standing.course(mode, kind);
    if course == Course::Stay {
        return Place::Own {
            reason: match standing {
                Standing::Draining => RequestReason::PinnedDraining,
                Standing::Unlisted => RequestReason::PinnedUnlisted,
                _ => RequestReason::Pinned,
            },
            leaving: standing == Standing::Draining,
            heir: None,
        };
    }
    let Some(successor) = best(session.nonce, known.view) else {
        return Place::own(RequestReason::PinnedNoSuccessor);
    };
    if course == Course::HandOver {
        return Place::Own {
            reason: RequestReason::PinnedHandOver,
            leaving: true,
            heir: Some(successor.into()),
        };
    }
    Place::Successor {
        reason: standing.successor_reason(),
        successor: successor.into(),
    }
}

/// Says whether somebody else has the address of a session's endpoint now. A cookie that was written
/// before the address was last absent was written for another one.
fn refusal(session: &Session, endpoint: &Endpoint) -> Option<RequestReason> {
    if session.last_seen < endpoint.since.at {
        return Some(RequestReason::RefusedReusedAddress);
    }
    let differ = session
        .instance()
        .zip(endpoint.instance)
        .is_some_and(|(bound, known)| bound != known);
    differ.then_some(RequestReason::RefusedOtherInstance)
}

/// Picks the available endpoint with the highest score for a nonce, of the lowest priority that has
/// one; `None` where nobody is available. O(endpoints), no allocation.
pub(super) fn best(nonce: [u8; 8], view: SnapshotView<'_>) -> Option<EndpointAddress> {
    let level = if view.has_levels() { level(view)? } else { 0 };
    let available = view
        .iter()
        .filter(|entry| entry.endpoint.priority == level && is_available(entry.endpoint.state));
    let candidates = available.map(|entry| Candidate {
        name: entry.name,
        weight: entry.endpoint.weight.get(),
    });
    EndpointAddress::from_name(successor(nonce, candidates)?.name)
}

/// Is the lowest priority of those that are available. One that is on trial counts only where nobody
/// else is there: a level would else go to it whole.
fn level(view: SnapshotView<'_>) -> Option<u8> {
    let available = view
        .iter()
        .map(|entry| entry.endpoint)
        .filter(|endpoint| is_available(endpoint.state));
    let order = available.map(|endpoint| (endpoint.state == State::Probing, endpoint.priority));
    order.min().map(|(_, priority)| priority)
}

/// Says whether an endpoint takes new requests: nothing speaks against it. One that is probed on
/// trial takes them too, or its trial would never end.
pub(super) const fn is_available(state: State) -> bool {
    match state {
        State::Available { .. } | State::Probing | State::Unknown => true,
        State::Draining { .. } | State::Ejected { .. } | State::Vanished { .. } => false,
    }
}

/// Is the instance that a picture has of an endpoint; `None` where it has none.
#[must_use]
pub fn known_instance(picture: Picture<'_>, address: &Address) -> Option<NonZeroU64> {
    let Picture::Known(known) = picture else {
        return None;
    };
    let address = EndpointAddress::parse(address.as_str().as_bytes())?;
    known.view.get(&address)?.endpoint.instance
}
