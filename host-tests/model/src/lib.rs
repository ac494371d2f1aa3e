//! What is around the filters in a closed loop, in virtual time: traffic, Envoy's router and load balancers, clusters and
//! their endpoints, and the report of what came of it.
//!
//! Nothing here runs a filter, reads a clock or opens a socket: time and draws are arguments. The command line's closed
//! loop puts these parts around the real filters; its end-to-end tests put the real Envoy in their place and fill the
//! same report.

pub mod admin;
pub mod balance;
pub mod budget;
pub mod draw;
pub mod endpoint;
pub mod frames;
pub mod latency;
pub mod report;
pub mod router;
pub mod scenario;
pub mod traffic;
pub mod units;
