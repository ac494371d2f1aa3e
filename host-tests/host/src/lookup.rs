//! Names that guests ask the proxy to resolve.

use crate::output::Thread;

/// Names a lookup of one proxy.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LookupId(pub(crate) u64);

/// A lookup that waits for its answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PendingLookup {
    /// Name for [`Proxy::answer_lookup`](crate::Proxy::answer_lookup).
    pub id: LookupId,
    /// ID that the guest knows the lookup by.
    pub token: u32,
    /// Plugin that asked.
    pub plugin: String,
    /// Thread that it asked on.
    pub thread: Thread,
    /// Name to resolve.
    pub name: String,
}

/// An address that a name resolves to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResolvedAddress {
    /// Address as `ip:port`; Envoy's resolver gives port 0.
    pub address: String,
    /// How long it may be kept, in seconds.
    pub ttl_seconds: u32,
}

/// The answer to a lookup.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LookupAnswer {
    /// The resolver answered.
    Resolved(Vec<ResolvedAddress>),
    /// The resolver failed: the guest sees no bytes.
    Failed,
}
