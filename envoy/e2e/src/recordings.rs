//! Makes the recordings in `host-tests/recordings`: planned traffic of real clients through the real Envoy.

pub mod application;
pub mod browsers;
pub mod census;
pub mod counts;
pub mod files;
pub mod har_census;
pub mod page;
pub mod plan;
pub mod run;
