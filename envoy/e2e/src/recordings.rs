//! Makes the recordings in `host-tests/recordings`: planned traffic of real clients through the real Envoy.

pub mod application;
pub mod census;
pub mod files;
pub mod plan;
pub mod run;
