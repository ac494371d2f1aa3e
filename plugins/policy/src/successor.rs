//! Decides which endpoint takes over a session whose own is gone, and which one a bare key belongs
//! to.
//!
//! Why: when an endpoint leaves, all gateways must send its sessions to the same places without a
//! word to each other. A stored successor is wrong as soon as the successor leaves too; `hash mod
//! n` moves every session. The highest score of (session, endpoint) depends on nobody else in the
//! set. Keys without a cookie (a header, a query parameter, the client's address) are looked up
//! with every request, so they get a table: one hash instead of one per endpoint.
//! Model: rendezvous: `score = xxh64(endpoint, seed = nonce)`; with weights the least
//! `−log2((score + ½) / 2⁶⁴) / weight` wins: an exponential race at rates like the weights. Table:
//! Maglev with `offset = xxh64(endpoint, 0) mod M`, `skip = xxh64(endpoint, 1) mod (M − 1) + 1`; an
//! endpoint's k-th turn, from 0, comes at `(2k + 1) / weight`, and a key has the entry
//! `xxh64(key, 0) mod M`.
//! Inputs / Output: the endpoints, each with its name and weight, in any order, and a nonce or a
//! key; one endpoint, and whether that is a move.
//! Cold start: without endpoints the answer is `Nobody` or `None`: let the proxy balance.
//! Limits: a name is any bytes that every replica writes alike (`ip:port`, or a fixed binary form;
//! never a mixture). Weight 0 takes nothing. Equal scores go to the smaller name; of two entries
//! with one name the heavier counts. Nothing here knows time, so nothing flaps: a session moves
//! only when its own endpoint is not in the set, its cookie then names the successor, and the
//! return of the former endpoint changes nothing for it. That is [`place`]; [`successor`] alone
//! would pull back.
//! A table is built of all members, available or not; where it names an endpoint that is not
//! available, ask [`successor`] with [`key_nonce`] of the key: so an ejection moves only the keys
//! of the ejected, at once, and the table is built again only when the membership changes.
//! Removing one of `N` from a table of `M` moves its keys (`1/N`) and few others. Entry `c` goes to
//! the endpoint that comes to it first, about the one with the least place of `c` in its own order;
//! those places do not change. What changes is how far each has come when, by the spread of
//! `√(M/N)` places, beside `M/N` places between the first two to come: so a share like `√(N/M)` of
//! all keys moves needlessly. Measured at 65 537 entries: 0.24 % with 10 endpoints, 0.57 % with
//! 100, 0.82 % with 655; a test bounds it by `½·√(N/M)`.
//! Scope: stateless, the same on every worker and every gateway of one [`HASH_VERSION`]. Cost:
//! rendezvous O(endpoints), one hash each and about ln(endpoints) logarithms; table: one hash per
//! lookup, 2 bytes per entry (131 074 at 65 537) and each endpoint's name; building takes about
//! `M·ln M` steps, at most 753 000 measured at 65 537, in slices as small as the caller likes.
//! Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998);
//! Eisenbud et al., "Maglev: a fast and reliable software network load balancer" (NSDI 2016),
//! section 3.4.
//! Differs: weights in the table are turns by Webster's method, not skipped rounds, so that 1
//! beside 10⁹ costs no more to build. With equal weights it is Envoy's table.

mod maglev;
mod rendezvous;

pub use maglev::{
    Builder, MAX_MEMBERS, MAX_NAME_BYTES, MAX_TABLE_SIZE, MIN_TABLE_SIZE, Progress, SLICE_STEPS,
    Table, TableError, TableSize,
};
pub use rendezvous::{Placement, key_nonce, place, successor};

/// Is the version of everything that decides who gets a session: hash, seeds, formulae, ties.
///
/// Replicas agree only when it is equal. A change of any golden vector is a new version.
pub const HASH_VERSION: u32 = 1;

/// Is one endpoint that may take sessions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Candidate<'a> {
    /// Names the endpoint, by the same bytes on every replica. Empty is a legal name.
    pub name: &'a [u8],
    /// Is its share beside the others'. Equal ones share equally; 0 takes nothing.
    pub weight: u32,
}
