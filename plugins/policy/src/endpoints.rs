//! Knows a cluster's endpoints: one VM of an Envoy learns and probes, all of them read.
//!
//! Why: a Proxy-Wasm filter cannot ask Envoy who is healthy. Every VM asking for itself would be
//! workers + 1 times the load, and workers would disagree.
//! Model: the holder of the lease runs a [`Lead`]: membership, probes and the workers' reports go
//! in, snapshots and their versions come out. Every VM runs a [`Follower`]: it reads the versions
//! on a tick, a snapshot when its version changed, and gives requests a [`Picture`]. VMs that see
//! attempts run an [`Observer`] and report into their slot.
//! Inputs / Output: a [`Config`]; ticks, answers of call-outs, bytes of shared data, draws; calls to
//! make, bytes to write.
//! Cold start: nothing is known until the first snapshot: [`Unknown::NotYet`].
//! Limits: those of `membership`, `probe`, `slots` and `snapshot`.
//! Scope: plugins whose `endpoints` blocks are equal share one leader and one picture, because all
//! keys carry the block's digest; other blocks work apart.

mod config;
mod follow;
mod keys;
mod lead;
mod observe;
mod seen;
mod status;
mod under_way;

pub use config::{Admin, Config, Feed, RawEndpoints, Selector, Source};
pub use follow::{FollowCounts, Follower, Known, MAX_FOLLOWED, Picture, Unknown};
pub use keys::{seen_key, slot_key};
pub use lead::{
    Answer, Call, CallKey, Happened, Lead, LeadCounts, MAX_SEEN, Publication, SourceError,
};
pub use observe::{Attempt, KEPT_REPORTS, Observer, ObserverCounts, Started};
pub use seen::{SEEN_FORMAT, Seen, SeenError, decode_seen, encode_seen};
pub use status::{MAX_STATUS_BYTES, Status, StatusQuery};

use core::time::Duration;

/// Is the plugin part of all keys: the picture belongs to no plugin.
pub const KEY_PLUGIN: &str = "endpoints";

/// Is how often VMs tick. Shorter costs each VM more host calls, longer makes takeovers and drains
/// late: twice this and the lease's second are the longest time without a leader.
pub const TICK_PERIOD: Duration = Duration::from_millis(250);
