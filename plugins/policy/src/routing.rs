//! The configuration of the filter that routes by health.
//!
//! Why: every threshold of the policies that it brings together stands in one place, with the range
//! in which it does what it says.
//! Model: [`Config::parse`] reads, checks and collects all problems; [`Rules`] finds the rule of a
//! cluster, exact names before prefixes, these in their order.
//! Limits: 1 to 1024 rules; requests to other clusters are left alone. A configuration holds no
//! secret.
//! Scope: the same on every worker. Cost: a rule is found in O(log names + prefixes), without allocation.

mod config;
mod levels;
mod raw;
mod reason;
mod routed;
mod router;
mod routers;
mod rules;

pub use config::{Balance, Config};
pub use raw::Observe;
pub(crate) use raw::RawInStack;
#[cfg(feature = "schema")]
pub use raw::schema;
pub use reason::Reason;
pub use routed::{Answered, Concluded, Routed};
pub use router::{Router, Surroundings};
pub use routers::{MAX_ROUTERS, Routers};
pub use rules::{Rule, Rules};
