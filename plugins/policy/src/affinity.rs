//! Keeps a session on the endpoint that served it first, by a cookie that only we can write.
//!
//! Why: WebSockets and in-memory sessions need the same endpoint for hours. Hashing the client's
//! address moves everybody behind one NAT together and moves clients when the set changes; a table
//! of sessions must be shared and dies with the gateway. A cookie is carried by whom it concerns:
//! any gateway with the key can serve it, also right after a restart. A plain one (base64 of an
//! address) would let every client choose its endpoint, so ours is sealed: XChaCha20-Poly1305.
//! Model: `value = base64url(version | key id | nonce | seal(issued, last seen, session nonce,
//! address, instance))` with associated data `label | version | key id | cluster | cookie name`.
//! `age = now − issued`; a session is kept while `age < ttl` and `now − last seen < idle timeout`.
//! A picture of the endpoints adds who is there and how they fare. A session whose endpoint is
//! ejected, drained or gone goes to its successor: the available endpoint with the highest score of
//! its nonce, which is stored nowhere and the same on every gateway with the same picture. The
//! response's cookie names whoever served, so that the return of the former endpoint pulls nobody
//! back; the session keeps its age and its nonce. What an endpoint's draining means is the
//! configuration's: [`Standing::course`] is the table.
//! Inputs / Output: the cookie headers, the kind of the request and the picture, then status and
//! the endpoint that served; which endpoint to take, which cookie to write, and the reason for both.
//! Requests that bring a key are placed by it instead ([`on_key`], [`Tables`]), with no cookie.
//! Cold start: without a cookie the proxy balances, and whoever served is pinned by the response.
//! Limits: at exactly the TTL a session is over. A clock that stands still or steps back makes no
//! cookie older; one issued more than 60 s in the future is refused. A value longer than 256 bytes
//! and cookie headers longer than 64 KiB together are not looked into. Two values under our name
//! are refused both. Without a picture a valid cookie is never replaced (unless `when_unreachable`
//! says so): `override_host` knows who is there. A cookie that was written before its address was
//! last absent, or for another instance than the one that is there, is refused: the session begins
//! anew. Where nobody is available a session stays where it is. An endpoint that the picture lacks
//! is gone only for cookies that are [`UNLISTED_GRACE`] older than the picture, so clocks of
//! gateways that differ by more than that move sessions of endpoints that have just joined.
//! Scope: stateless but for tables, so the same on every worker and every gateway. Cost: O(length
//! of the cookie headers) and one AEAD pass over at most 171 bytes, O(log endpoints) for the
//! picture, O(endpoints) for a successor; 102 to 224 bytes of cookie per session.
//! Source: RFC 6265 sections 4.1 and 5.2 (cookies), RFC 8439 (ChaCha20-Poly1305),
//! draft-irtf-cfrg-xchacha-03 (the 24-byte nonce).
//! Differs: from Envoy's own stateful session, whose cookie is unsigned and without an end.

mod clusters;
mod config;
mod cookie;
mod decision;
mod header;
mod key;
mod keys;
mod raw;
mod reason;
mod rules;
mod set_cookie;
mod standing;
mod tables;

pub use clusters::{Cluster, Match, Matcher};
pub use config::{Config, KeySource};
pub use cookie::{
    Address, Binding, COOKIE_VERSION, MAX_INSTANCE_BYTES, MAX_VALUE_BYTES, OpenError, Session,
    SessionCookie,
};
pub use decision::{
    CLOCK_SKEW_SECONDS, DRAWS, IDLE_RENEWAL_SHARE, Policy, RequestDecision, ResponseDecision,
    ServedBy, WhenUnreachable, Write,
};
pub use header::{MAX_HEADER_BYTES, Presented, present};
pub use key::{FirstRequest, Key, MAX_KEY_BYTES, client_hash, key_hash, on_key, query_hash};
pub use keys::{KeyRing, KeyRingError, MAX_KEYS};
pub(crate) use raw::RawInStack;
#[cfg(feature = "schema")]
pub use raw::schema;
// Filters know the role by this name.
pub use crate::chain::Role;
pub use reason::{RequestReason, ResponseReason};
pub use set_cookie::{CookieAttributes, SameSite, Secure};
pub use standing::{Course, Kind, Standing, UNLISTED_GRACE, WhenDraining, known_instance};
pub use tables::{MAX_TABLES, Tables};
