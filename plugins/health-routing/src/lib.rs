//! A Proxy-Wasm filter that sends every request to an endpoint that will serve it soon.
//!
//! It is a chain of one filter, [`tidegate_filters::health_routing`].

pub use tidegate_filters::health_routing::{config, metrics};

/// Is the plugin.
pub type HealthRouting = tidegate_filters::Chain<tidegate_filters::health_routing::HealthRouting>;

tidegate_proxy::main!(HealthRouting: tick, call_response, request_headers, response_headers);
