//! The decisions of Tidegate's policies, and nothing else.
//!
//! No clock, no randomness, no input or output, no proxy: times and draws are arguments, decisions
//! are return values with a reason in them. The same crate decides inside a proxy, on a laptop and
//! in a test, with the same bytes in and the same bytes out.

#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(clippy::arithmetic_side_effects)]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod affinity;
pub mod balance;
pub mod chain;
pub mod clusters;
pub mod config;
pub mod digest;
pub mod ejection;
pub mod endpoints;
pub mod fallback;
pub mod hygiene;
pub mod lease;
pub mod membership;
pub mod panic_mode;
pub mod passive;
pub mod plan;
pub mod probe;
pub mod routing;
pub mod slots;
pub mod snapshot;
pub mod stack;
pub mod successor;
pub mod units;
