//! What comes of scenarios: clients, real filters, the router and endpoints together.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

mod closed_loop {
    pub(crate) mod support;

    mod attempts;
    mod call_outs;
    mod endpoints;
    mod faults;
    mod health;
    mod leader;
    mod picture;
    mod picture_faults;
    mod retries;
    mod sockets;
    mod traffic;
}
