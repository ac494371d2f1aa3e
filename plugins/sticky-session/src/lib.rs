//! A Proxy-Wasm filter that keeps every session on the endpoint that served it first.
//!
//! The decisions are [`tidegate_policy::affinity`]; here they meet the proxy: headers are read, the
//! decision is asked for, what it says is written back. Any call that the host refuses leaves the
//! traffic as it is and is counted.

pub mod config;
pub mod metrics;
mod root;
mod stream;

pub use root::StickySession;

tidegate_proxy::main!(StickySession: tick, call_response, request_headers, response_headers);
