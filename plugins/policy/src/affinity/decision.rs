//! What is decided about one request, and what about its response.

use alloc::string::String;
use core::time::Duration;

use serde::Deserialize;

use super::{
    cookie::{Address, Binding, OpenError, Session, SessionCookie},
    header::Presented,
    keys::KeyRing,
    set_cookie::CookieAttributes,
};
use crate::units::WallTime;

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

/// Says what is known about a cluster's endpoints.
///
/// A snapshot will add a variant that knows them; the rule for a session whose endpoint is gone
/// belongs to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Membership {
    /// Nothing: the proxy checks the address when it picks, and no valid cookie is replaced.
    Unknown,
}

/// Says what happens to a valid cookie whose endpoint did not serve, as long as nothing is known
/// about the cluster's endpoints.
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

/// Makes an enum of reasons with their names in metrics, logs and headers.
macro_rules! reasons {
    (
        $(#[$attribute:meta])*
        $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Lists all of them, in the order of their names.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Is the name in metrics, logs and headers.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Is the position in [`Self::ALL`].
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

reasons! {
    /// Says why a request was pinned or was not.
    RequestReason {
        /// The host did not do what it was asked: the request went on unpinned.
        HostError = "host_error",
        /// There was no cookie.
        NewSession = "new_session",
        /// The route has no cluster.
        NoCluster = "no_cluster",
        /// A valid cookie named the endpoint.
        Pinned = "pinned",
        /// There was more than one value under our name.
        RefusedDuplicate = "refused_duplicate",
        /// The session is as old as its TTL.
        RefusedExpired = "refused_expired",
        /// The session was not seen for the idle timeout.
        RefusedIdle = "refused_idle",
        /// The value is not a session cookie.
        RefusedMalformed = "refused_malformed",
        /// The session begins in the future.
        RefusedNotYetValid = "refused_not_yet_valid",
        /// The value, or all cookies together, are too long.
        RefusedTooLong = "refused_too_long",
        /// The value was not sealed by us for this cluster, or was changed.
        RefusedUnauthentic = "refused_unauthentic",
        /// The value was sealed by a key that is not known.
        RefusedUnknownKey = "refused_unknown_key",
        /// The value has another version.
        RefusedVersion = "refused_version",
        /// The configuration does not list the cluster.
        UnlistedCluster = "unlisted_cluster",
    }
}

reasons! {
    /// Says why a response carries a cookie or does not.
    ResponseReason {
        /// The host did not do what it was asked: the response went on as it was.
        HostError = "host_error",
        /// A session began: it is pinned to the endpoint that served.
        Issued = "issued",
        /// The session's endpoint served.
        Kept = "kept",
        /// The endpoint that served has no address with a port: nothing to pin to.
        NotIssuedAddress = "not_issued_address",
        /// The response is a failure (5xx): no session begins with one.
        NotIssuedError = "not_issued_error",
        /// No endpoint served: the proxy answered itself.
        NotIssuedLocalReply = "not_issued_local_reply",
        /// Another endpoint served, and the session moved to it.
        RePinned = "re_pinned",
        /// The session's endpoint served, and the cookie now says so.
        Refreshed = "refreshed",
        /// Another endpoint served; the cookie stays.
        ServedElsewhere = "served_elsewhere",
    }
}

impl From<OpenError> for RequestReason {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Malformed => Self::RefusedMalformed,
            OpenError::TooLong => Self::RefusedTooLong,
            OpenError::Unauthentic => Self::RefusedUnauthentic,
            OpenError::UnknownKey => Self::RefusedUnknownKey,
            OpenError::Version => Self::RefusedVersion,
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
    /// Is the session of a valid cookie.
    session: Option<Session>,
    /// Says that the cookie's last-seen time is old enough to be written again.
    renewal_due: bool,
}

impl RequestDecision {
    /// Decides nothing but the reason: the request goes where the proxy sends it.
    pub const fn unpinned(reason: RequestReason) -> Self {
        Self {
            reason,
            session: None,
            renewal_due: false,
        }
    }

    /// Is the endpoint that the request is pinned to.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Address> {
        self.session.as_ref().map(|session| &session.address)
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
}

/// Is a cookie to write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write {
    /// A session that begins, on this endpoint.
    New(Address),
    /// A session that goes on.
    Renewed(Session),
}

/// Is how one cluster's sessions are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    pub(super) ttl: Duration,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) when_unreachable: WhenUnreachable,
    pub(super) attributes: CookieAttributes,
}

impl Policy {
    /// Decides about the one value that a request brought.
    pub fn on_request(
        &self,
        value: &[u8],
        keys: &KeyRing,
        binding: Binding<'_>,
        membership: Membership,
        now: WallTime,
    ) -> RequestDecision {
        let session = match SessionCookie::open(value, keys, binding) {
            Ok(session) => session,
            Err(error) => return RequestDecision::unpinned(error.into()),
        };
        if let Some(reason) = self.refusal(&session, now) {
            return RequestDecision::unpinned(reason);
        }
        let renewal_due = self.idle_timeout.is_some_and(|idle_timeout| {
            let due = idle_timeout
                .checked_div(IDLE_RENEWAL_SHARE)
                .unwrap_or(idle_timeout);
            idle(&session, now) >= due
        });
        match membership {
            // `override_host` sends the request elsewhere when the address is not there.
            Membership::Unknown => RequestDecision {
                reason: RequestReason::Pinned,
                session: Some(session),
                renewal_due,
            },
        }
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
        match &request.session {
            Some(session) if session.address.as_str().as_bytes() == address => {
                if !request.renewal_due {
                    return Ok(ResponseDecision::without(ResponseReason::Kept));
                }
                let write = Some(Write::Renewed(session.clone()));
                Ok(ResponseDecision {
                    reason: ResponseReason::Refreshed,
                    write,
                })
            }
            Some(_) if self.when_unreachable == WhenUnreachable::Keep || is_failure(status()?) => {
                Ok(ResponseDecision::without(ResponseReason::ServedElsewhere))
            }
            Some(_) => Ok(pin(
                address,
                ResponseReason::RePinned,
                ResponseReason::ServedElsewhere,
            )),
            None if is_failure(status()?) => {
                Ok(ResponseDecision::without(ResponseReason::NotIssuedError))
            }
            None => Ok(pin(
                address,
                ResponseReason::Issued,
                ResponseReason::NotIssuedAddress,
            )),
        }
    }

    /// Writes the `set-cookie` value. `https` is whether the request came over `https`.
    ///
    /// The draws must be random; exactly [`DRAWS`] are used. `None` only where the session cannot
    /// be sealed, which a parsed configuration excludes.
    #[must_use]
    pub fn write(
        &self,
        write: &Write,
        keys: &KeyRing,
        binding: Binding<'_>,
        https: bool,
        now: WallTime,
        draws: [u64; DRAWS],
    ) -> Option<String> {
        let now = WallTime::from_seconds(now.as_seconds());
        let [first, second, third, session_nonce] = draws;
        let session = match write {
            Write::New(address) => Session {
                issued: now,
                last_seen: now,
                nonce: session_nonce.to_le_bytes(),
                address: address.clone(),
                instance: alloc::vec::Vec::new(),
            },
            Write::Renewed(session) => Session {
                last_seen: now.max(session.last_seen),
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
fn pin(address: &[u8], pinned: ResponseReason, otherwise: ResponseReason) -> ResponseDecision {
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
