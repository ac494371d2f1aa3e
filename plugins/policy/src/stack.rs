//! The configuration of several filters in one module.
//!
//! Why: what filters of one chain have to agree on stands once, so that they cannot disagree; which of
//! them act, and in which order, is a list, so that one is switched off without a new chain.
//! Model: [`Config::parse`] gives every filter the configuration that it would have alone, made of its
//! own object and of the settings that all share. So a filter decides the same in both forms.
//! Limits: a filter is in the list once at most and has an object. One with an object that is not in
//! the list is off, and checked all the same: switching it on brings no surprise. The keys of one that
//! is off are not asked for.
//! Scope: the same on every worker.

mod config;
mod raw;

pub use config::Config;
pub use raw::Filter;
#[cfg(feature = "schema")]
pub use raw::schema;
