//! The filters, as a library: a module is one of them, or a chain of several.
//!
//! Why: the same code decides in a module of its own and in one that has all filters, where a
//! request crosses into the VM once and not once for each.
//! Model: a [`Chain`] is a plugin made of a [`Filter`]. For each stream it has an [`Exchange`], which
//! asks the host for everything once, and only for what somebody wants to know; and it writes what
//! the filters decided, once, after the last of them. The picture of the endpoints is in [`Common`].
//! Limits: what the host refuses costs a request its routing and nothing else.
//! Scope: one chain per configuration and VM.

mod attempt;
mod chain;
mod common;
mod exchange;
mod filter;
pub mod health_routing;
mod hygiene;
pub mod sticky_session;

pub use chain::{Chain, ChainStream};
pub use common::{Common, Settings};
pub use exchange::Exchange;
pub use filter::{Configured, Filter, Written};
