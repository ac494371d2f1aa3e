//! Clients as users have them: keep-alive connections, cookie jars, WebSockets of two independent implementations.

pub mod http;
pub mod jar;
pub mod python;
pub mod raw;
pub mod websocket;
