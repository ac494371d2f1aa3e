//! What is decided about one request, and what about its response.

use alloc::string::String;
use core::{num::NonZeroU64, time::Duration};

use serde::Deserialize;

use super::{
    cookie::{Address, Binding, Session, SessionCookie},
    header::Presented,
    key::{FirstRequest, Key},
    keys::KeyRing,
    reason::{RequestReason, ResponseReason},
    set_cookie::CookieAttributes,
    standing::{Kind, Place, WhenDraining, best, known_instance, place},
};
use crate::{
    endpoints::{Picture, Unknown},
    successor::TableSize,
    units::WallTime,
};

/// Is how far in the future a cookie may be issued, in seconds: clocks of two gateways differ.
///
/// Less refuses sessions that another gateway has just begun; more accepts cookies of a gateway
/// whose clock is broken, which then outlive their time by as much.
pub const CLOCK_SKEW_SECONDS: u64 = 60;

/// Is the share of the idle timeout after which a response renews the cookie: a tenth.
///
/// A session so ends after 90 to 100 % of its idle timeout. A larger share would end it earlier, a
/// smaller one would send a cookie with nearly every response.
pub const IDLE_RENEWAL_SHARE: u32 = 10;

/// Is how many draws a written cookie takes: three for the cipher's nonce, one for the session's.
pub const DRAWS: usize = 4;

/// Says what happens to a valid cookie whose endpoint did not serve although nothing is known to
/// speak against it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(expecting = "a string", rename_all = "snake_case")]
pub enum WhenUnreachable {
    /// Keeps it: the endpoint may come back.
    #[default]
    Keep,
    /// Pins the session to the endpoint that served instead, with a new cookie.
    RePin,
}

impl WhenUnreachable {
    /// Is the name in the configuration.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::RePin => "re_pin",
        }
    }
}

impl<'a> Presented<'a> {
    /// Is the one value to open.
    ///
    /// # Errors
    /// Nothing to open: the reason, which is then the decision.
    pub const fn value(self) -> Result<&'a [u8], RequestReason> {
        match self {
            Self::Absent => Err(RequestReason::NewSession),
            Self::Duplicate => Err(RequestReason::RefusedDuplicate),
            Self::One(value) => Ok(value),
            Self::TooLong => Err(RequestReason::RefusedTooLong),
        }
    }
}

/// Is the decision about a request. The response is decided with it in hand.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub struct RequestDecision {
    /// Says why.
    pub reason: RequestReason,
    route: Route,
}

/// Says where a request goes, and whose it is.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Route {
    /// It has no session: to this endpoint, or where the proxy sends it.
    New(Option<Address>),
    /// To its session's own endpoint.
    Own {
        session: Session,
        /// Says that the cookie's last-seen time is old enough to be written again, or that the
        /// cookie does not know the endpoint's instance yet.
        renewal_due: bool,
        /// Says that the endpoint will soon be gone: whoever else serves may have the session.
        leaving: bool,
        /// Is who the response's cookie names.
        heir: Option<Address>,
    },
    /// To its session's successor.
    Successor {
        session: Session,
        successor: Address,
    },
}

impl RequestDecision {
    /// Decides nothing but the reason: the request goes where the proxy sends it.
    pub const fn unpinned(reason: RequestReason) -> Self {
        Self {
            reason,
            route: Route::New(None),
        }
    }

    /// Decides about a request that belongs to no session, and names an endpoint or none.
    pub(super) const fn new(reason: RequestReason, endpoint: Option<Address>) -> Self {
        Self {
            reason,
            route: Route::New(endpoint),
        }
    }

    /// Is the endpoint that the request is to go to; `None`: where the proxy sends it.
    #[must_use]
    pub const fn endpoint(&self) -> Option<&Address> {
        match &self.route {
            Route::New(endpoint) => endpoint.as_ref(),
            Route::Own { session, .. } => Some(&session.address),
            Route::Successor { successor, .. } => Some(successor),
        }
    }

    /// Says whether a request without a session may be placed by [`Policy::place_first`].
    #[must_use]
    pub const fn is_new(&self) -> bool {
        matches!(self.route, Route::New(_))
    }
}

/// Says who served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ServedBy<'a> {
    /// An endpoint whose address the proxy writes like this.
    Endpoint(&'a [u8]),
    /// The proxy itself.
    Nobody,
}

/// Is the decision about a response.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub struct ResponseDecision {
    /// Says why.
    pub reason: ResponseReason,
    /// Is the cookie to write.
    pub write: Option<Write>,
}

impl ResponseDecision {
    /// Decides to write nothing.
    const fn without(reason: ResponseReason) -> Self {
        Self {
            reason,
            write: None,
        }
    }

    const fn with(reason: ResponseReason, write: Write) -> Self {
        Self {
            reason,
            write: Some(write),
        }
    }
}

/// Is a cookie to write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write {
    /// A session that goes on at another endpoint. It keeps its age and its nonce.
    Moved(Session, Address),
    /// A session that begins, on this endpoint.
    New(Address),
    /// A session that goes on where it is.
    Renewed(Session),
}

impl Write {
    /// Is the endpoint that the cookie names.
    #[must_use]
    pub const fn address(&self) -> &Address {
        match self {
            Self::Moved(_, address) | Self::New(address) => address,
            Self::Renewed(session) => &session.address,
        }
    }
}

/// Is how one cluster's sessions are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    pub(super) ttl: Duration,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) when_unreachable: WhenUnreachable,
    pub(super) when_draining: WhenDraining,
    pub(super) first_request: FirstRequest,
    pub(super) key: Option<Key>,
    pub(super) table_size: TableSize,
    pub(super) attributes: CookieAttributes,
}

impl Policy {
    /// Decides about the one value that a request brought.
    ///
    /// Without a picture a session that is not over is pinned to its own endpoint: `override_host`
    /// sends the request elsewhere when the address is not there.
    pub fn on_request(
        &self,
        value: &[u8],
        keys: &KeyRing,
        binding: Binding<'_>,
        kind: Kind,
        picture: Picture<'_>,
        now: WallTime,
    ) -> RequestDecision {
        let session = match SessionCookie::open(value, keys, binding) {
            Ok(session) => session,
            Err(error) => return RequestDecision::unpinned(error.into()),
        };
        if let Some(reason) = self.refusal(&session, now) {
            return RequestDecision::unpinned(reason);
        }
        let place = match picture {
            Picture::Known(known) => place(&session, self.when_draining, kind, &known, now),
            Picture::Unknown(unknown) => Place::own(match unknown {
                Unknown::NotConfigured => RequestReason::Pinned,
                Unknown::NotYet => RequestReason::PinnedNoPicture,
                Unknown::Stale => RequestReason::PinnedStalePicture,
            }),
        };
        let (reason, route) = match place {
            Place::Own {
                reason,
                leaving,
                heir,
            } => {
                let renewal_due = self.is_renewal_due(&session, picture, now);
                let route = Route::Own {
                    session,
                    renewal_due,
                    leaving,
                    heir,
                };
                (reason, route)
            }
            Place::Successor { reason, successor } => {
                (reason, Route::Successor { session, successor })
            }
            Place::Refused(reason) => return RequestDecision::unpinned(reason),
        };
        RequestDecision { reason, route }
    }

    /// Says whether the client's address names the endpoint of a request that has no session.
    #[must_use]
    pub fn places_first(&self) -> bool {
        self.first_request == FirstRequest::ClientAddress
    }

    /// Names an endpoint for a request that has no session: the highest score of its client's
    /// address, so that a client's parallel first requests agree, on every gateway. `client` is
    /// [`super::client_hash`]. Without it, or without a picture, the decision stays as it is.
    pub fn place_first(
        &self,
        decision: RequestDecision,
        client: Option<u64>,
        picture: Picture<'_>,
    ) -> RequestDecision {
        let Picture::Known(known) = picture else {
            return decision;
        };
        let endpoint = client.and_then(|client| best(client.to_le_bytes(), known.view));
        match endpoint {
            Some(endpoint) if decision.is_new() => RequestDecision {
                reason: match decision.reason {
                    RequestReason::NewSession => RequestReason::NewSessionByAddress,
                    // Why there is no session says more.
                    reason => reason,
                },
                route: Route::New(Some(endpoint.into())),
            },
            _ => decision,
        }
    }

    /// Names an endpoint for a request that has no session: an available one, by weight and by
    /// chance, which `draw` is. For a cluster with a member that takes nothing new
    /// ([`turns_away`](crate::snapshot::SnapshotView::turns_away)): the proxy's own balancing does not
    /// know that. Where nobody is available, the decision stays as it is.
    pub fn place_anew(
        &self,
        decision: RequestDecision,
        draw: u64,
        picture: Picture<'_>,
    ) -> RequestDecision {
        let Picture::Known(known) = picture else {
            return decision;
        };
        match best(draw.to_le_bytes(), known.view) {
            Some(endpoint) if decision.is_new() => RequestDecision {
                reason: match decision.reason {
                    RequestReason::NewSession => RequestReason::NewSessionByPicture,
                    // Why there is no session says more.
                    reason => reason,
                },
                route: Route::New(Some(endpoint.into())),
            },
            _ => decision,
        }
    }

    /// Is the key that requests are placed by instead of a cookie.
    #[must_use]
    pub const fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// Is the number of entries of the table that keys are looked up in.
    #[must_use]
    pub const fn table_size(&self) -> TableSize {
        self.table_size
    }

    /// Says whether the times of an authentic session speak against it.
    fn refusal(&self, session: &Session, now: WallTime) -> Option<RequestReason> {
        let latest = WallTime::from_seconds(now.as_seconds().saturating_add(CLOCK_SKEW_SECONDS));
        if session.issued > latest || session.last_seen > latest {
            return Some(RequestReason::RefusedNotYetValid);
        }
        if age(session, now) >= self.ttl {
            return Some(RequestReason::RefusedExpired);
        }
        let timeout = self.idle_timeout?;
        (idle(session, now) >= timeout).then_some(RequestReason::RefusedIdle)
    }

    /// Says whether the cookie is to be written again when the session's endpoint serves: its
    /// last-seen time is old, or it does not know the instance that the picture knows.
    fn is_renewal_due(&self, session: &Session, picture: Picture<'_>, now: WallTime) -> bool {
        let seen_long_ago = self.idle_timeout.is_some_and(|idle_timeout| {
            let due = idle_timeout
                .checked_div(IDLE_RENEWAL_SHARE)
                .unwrap_or(idle_timeout);
            idle(session, now) >= due
        });
        seen_long_ago
            || (session.instance().is_none() && known_instance(picture, &session.address).is_some())
    }

    /// Decides about the response to a request that this policy decided about. `status` is asked for
    /// only where it decides.
    ///
    /// # Errors
    /// What `status` fails with.
    pub fn on_response<E>(
        &self,
        request: &RequestDecision,
        served_by: ServedBy<'_>,
        status: impl Fn() -> Result<u16, E>,
    ) -> Result<ResponseDecision, E> {
        let ServedBy::Endpoint(address) = served_by else {
            return Ok(ResponseDecision::without(
                ResponseReason::NotIssuedLocalReply,
            ));
        };
        let is_served_by = |session: &Session| session.address.as_str().as_bytes() == address;
        let failed = || status().map(is_failure);
        Ok(match &request.route {
            Route::New(_) if failed()? => ResponseDecision::without(ResponseReason::NotIssuedError),
            Route::New(_) => begin(
                address,
                ResponseReason::Issued,
                ResponseReason::NotIssuedAddress,
            ),
            Route::Own {
                session,
                heir: Some(heir),
                ..
            } if is_served_by(session) => ResponseDecision::with(
                ResponseReason::HandedOver,
                Write::Moved(session.clone(), heir.clone()),
            ),
            Route::Own {
                session,
                renewal_due: true,
                ..
            } if is_served_by(session) => {
                ResponseDecision::with(ResponseReason::Refreshed, Write::Renewed(session.clone()))
            }
            Route::Own { session, .. } | Route::Successor { session, .. }
                if is_served_by(session) =>
            {
                ResponseDecision::without(ResponseReason::Kept)
            }
            Route::Own { leaving: false, .. }
                if self.when_unreachable == WhenUnreachable::Keep || failed()? =>
            {
                ResponseDecision::without(ResponseReason::ServedElsewhere)
            }
            Route::Own { leaving: false, .. } => begin(
                address,
                ResponseReason::RePinned,
                ResponseReason::ServedElsewhere,
            ),
            Route::Own { session, .. } | Route::Successor { session, .. } => {
                match Address::parse(address) {
                    Some(address) if !failed()? => ResponseDecision::with(
                        ResponseReason::RePinned,
                        Write::Moved(session.clone(), address),
                    ),
                    _ => ResponseDecision::without(ResponseReason::ServedElsewhere),
                }
            }
        })
    }

    /// Writes the `set-cookie` header of a decision. `instance` names the process behind
    /// [`Write::address`], where it is known. `https` is the request's scheme; the draws must be
    /// random; exactly [`DRAWS`] are used. `None` only where the session cannot be sealed, which a
    /// parsed configuration excludes.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a fact of its own, and a struct for one caller would hide none"
    )]
    pub fn write(
        &self,
        write: &Write,
        instance: Option<NonZeroU64>,
        keys: &KeyRing,
        binding: Binding<'_>,
        https: bool,
        now: WallTime,
        draws: [u64; DRAWS],
    ) -> Option<String> {
        let now = WallTime::from_seconds(now.as_seconds());
        let [first, second, third, session_nonce] = draws;
        let instance = instance.map(|instance| instance.get().to_be_bytes().to_vec());
        let session = match write {
            Write::Moved(session, address) => Session {
                last_seen: now.max(session.last_seen),
                address: address.clone(),
                instance: instance.unwrap_or_default(),
                ..session.clone()
            },
            Write::New(address) => Session {
                issued: now,
                last_seen: now,
                nonce: session_nonce.to_le_bytes(),
                address: address.clone(),
                instance: instance.unwrap_or_default(),
            },
            Write::Renewed(session) => Session {
                last_seen: now.max(session.last_seen),
                instance: instance.unwrap_or_else(|| session.instance.clone()),
                ..session.clone()
            },
        };
        let mut nonce = [0_u8; 24];
        for (bytes, draw) in nonce.chunks_exact_mut(8).zip([first, second, third]) {
            bytes.copy_from_slice(&draw.to_le_bytes());
        }
        let value = SessionCookie::seal(&session, keys, binding, nonce)?;
        let remaining = self.ttl.saturating_sub(age(&session, now));
        Some(
            self.attributes
                .write(binding.cookie_name, &value, remaining, https),
        )
    }
}

/// Decides to begin a session on an endpoint, or that its address is none to pin to.
fn begin(address: &[u8], pinned: ResponseReason, otherwise: ResponseReason) -> ResponseDecision {
    Address::parse(address).map_or(ResponseDecision::without(otherwise), |address| {
        ResponseDecision {
            reason: pinned,
            write: Some(Write::New(address)),
        }
    })
}

/// Is how old a session is, in whole seconds: cookies carry no more.
const fn age(session: &Session, now: WallTime) -> Duration {
    Duration::from_secs(now.as_seconds().saturating_sub(session.issued.as_seconds()))
}

/// Is how long a session was not seen, in whole seconds.
const fn idle(session: &Session, now: WallTime) -> Duration {
    Duration::from_secs(
        now.as_seconds()
            .saturating_sub(session.last_seen.as_seconds()),
    )
}

/// Says whether a status is the upstream's or the proxy's failure.
const fn is_failure(status: u16) -> bool {
    status >= 500
}
