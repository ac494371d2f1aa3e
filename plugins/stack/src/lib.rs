//! A Proxy-Wasm filter that is several filters: a request crosses into the VM once, and not once for
//! each of them.
//!
//! It is a chain of [`stack::Stack`], whose filters are those of [`tidegate_filters`].

pub mod config;
pub mod metrics;
pub mod stack;

/// Is the plugin.
pub type Plugin = tidegate_filters::Chain<stack::Stack>;

tidegate_proxy::main!(Plugin: tick, call_response, request_headers, response_headers);
