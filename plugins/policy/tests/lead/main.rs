//! What the leader learns and publishes.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod bad_input;
mod clocks;
mod membership;
mod probes;
mod reports;
mod simulation;
mod takeover;
mod traffic;
mod workers;
mod world;
