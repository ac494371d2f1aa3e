//! A Proxy-Wasm filter that keeps every session on the endpoint that served it first.
//!
//! It is a chain of one filter, [`tidegate_filters::sticky_session`].

pub use tidegate_filters::sticky_session::{config, metrics};

/// Is the plugin.
pub type StickySession = tidegate_filters::Chain<tidegate_filters::sticky_session::StickySession>;

tidegate_proxy::main!(StickySession: tick, call_response, request_headers, response_headers);
