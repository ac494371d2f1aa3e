//! What the shipped configurations do in the real Envoy, with real clients and real endpoints.
//!
//! One program, so that the runner is linked once. Without Envoy every test fails and says how to get it.

mod abi;
mod affinity;
mod bootstraps;
mod configuration;
mod cookies;
mod cost;
mod endpoints;
mod failures;
mod fidelity;
mod health;
mod hygiene;
mod live;
mod observability;
mod recordings;
mod same_decisions;
mod scenarios;
mod websockets;
