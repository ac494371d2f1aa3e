//! Knows who the endpoints of a cluster are, from whichever source.
//!
//! Why: a Proxy-Wasm filter cannot ask Envoy for its endpoints. Whoever picks from a list that is
//! too old, half read or another cluster's sends traffic to addresses that now belong to others,
//! which is worse than not picking at all.
//! Model: a source's answer becomes a complete [`Listing`] or nothing ([`ClustersParser`] for
//! Envoy's admin, [`FeedParser`] for a controller's feed, [`static_listing`] for a configuration).
//! [`Membership::apply`] compares it with the last one: who is new gets a new generation, who is
//! missing is draining until `now + window` and then forgotten. [`Poll`] says what to ask when.
//! Inputs / Output: answers as bytes, times, draws; who is there, since when, in which generation,
//! with which weight, zone and health ([`Member`]), and what a listing changed ([`Change`]).
//! Cold start: nothing is known until the first listing, and endpoints in it have never been seen
//! absent. Without any source, [`Membership::learn`] knows who served.
//! Limits: all or nothing. A broken, truncated or foreign answer changes nothing and is counted;
//! the last good listing ages ([`Cluster::age`]) and its user decides when it is too old. An empty
//! listing of a cluster that had endpoints is believed when a second one says the same at least
//! [`EMPTY_CONFIRMATION`] after the first, with no good listing that has some in between. At most
//! [`MAX_CLUSTERS`] clusters and [`MAX_ENDPOINTS`] endpoints, and as many vanished ones besides.
//! A clock that stands still keeps everybody, a step back restarts the windows that it passed, a
//! jump of a year ends them.
//! Scope: the leader; what workers see is what it publishes. A new leader starts cold unless it is
//! given what the last one published ([`Membership::restore`]).
//! Cost: parsing O(bytes), in slices of the caller's size: 966 bytes per endpoint of Envoy's admin
//! on a busy day, 50 of a feed, and 3 to 8 ns per byte in V8, so that 64 KiB take about 0.5 ms and
//! 256 KiB stay below 5 ms on a machine half as fast. Applying is one piece, O(n log n): 1.5 ms for
//! 10 000 endpoints. About 200 bytes per endpoint, 100 of them while an answer is read.
//! Source: Envoy 1.40.0's admin, measured; RFC 8259 (JSON).
//! Differs: from Envoy's own view in that a vanished endpoint is remembered, and in the generation.

mod cluster;
mod clusters;
mod feed;
mod fixed;
mod listing;
mod parser;
mod poll;
mod question;
mod refusal;
mod roster;
mod stats;
pub(crate) mod timer;
mod walk;
mod want;

pub use cluster::{Change, Cluster, Member, Presence};
pub use clusters::ClustersParser;
pub use feed::{FEED_VERSION, FeedParser};
pub use fixed::{StaticEndpoint, static_listing};
pub use listing::{
    Discovered, Health, Listed, Listing, MAX_CLUSTERS, MAX_ENDPOINTS, MAX_NAME_BYTES,
    MAX_ZONE_BYTES, MAX_ZONES, Standing, ZoneId,
};
pub use parser::{MAX_ANSWER_BYTES, Progress};
pub use poll::{MAX_PATH_BYTES, Pace, Poll, Question, Subject};
pub use question::{re2_literal, stat_name};
pub use refusal::{Refused, Why};
pub use roster::{
    DRAIN_WINDOW, EMPTY_CONFIRMATION, LEARNED_IDLE, Limits, Membership, NotApplied, Totals,
};
pub use stats::{Counters, StatsParser};
pub use walk::{MAX_DEPTH, MAX_TOKEN_BYTES};
pub use want::{Happening, Unexpected, Want, next_want};
