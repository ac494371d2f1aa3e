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
//! Inputs / Output: the cookie headers, then status and the endpoint that served; which endpoint to
//! take, which cookie to write, and the reason for both.
//! Cold start: without a cookie the proxy balances, and whoever served is pinned by the response.
//! Limits: at exactly the TTL a session is over. A clock that stands still or steps back makes no
//! cookie older; one issued more than 60 s in the future is refused. A value longer than 256 bytes
//! and cookie headers longer than 64 KiB together are not looked into. Two values under our name
//! are refused both. Without a membership snapshot a valid cookie is never replaced (unless
//! `when_unreachable` says so): `override_host` knows who is there.
//! Scope: stateless, so the same on every worker and every gateway. Cost: O(length of the cookie
//! headers) and one AEAD pass over at most 171 bytes; 102 to 224 bytes of cookie per session.
//! Source: RFC 6265 sections 4.1 and 5.2 (cookies), RFC 8439 (ChaCha20-Poly1305),
//! draft-irtf-cfrg-xchacha-03 (the 24-byte nonce).
//! Differs: from Envoy's own stateful session, whose cookie is unsigned and without an end.

mod clusters;
mod config;
mod cookie;
mod decision;
mod header;
mod keys;
mod raw;
mod set_cookie;

pub use clusters::{Cluster, Match, Matcher};
pub use config::{Config, KeySource};
pub use cookie::{
    Address, Binding, COOKIE_VERSION, MAX_INSTANCE_BYTES, MAX_VALUE_BYTES, OpenError, Session,
    SessionCookie,
};
pub use decision::{
    CLOCK_SKEW_SECONDS, DRAWS, IDLE_RENEWAL_SHARE, Membership, Policy, RequestDecision,
    RequestReason, ResponseDecision, ResponseReason, ServedBy, WhenUnreachable, Write,
};
pub use header::{MAX_HEADER_BYTES, Presented, present};
pub use keys::{KeyRing, KeyRingError, MAX_KEYS};
pub use raw::Role;
#[cfg(feature = "schema")]
pub use raw::schema;
pub use set_cookie::{CookieAttributes, SameSite, Secure};
