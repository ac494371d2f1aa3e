//! The host, seen from outside: through guests and through the driver's side.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test file: what is not as it should be is a failed test"
)]

mod abis;
mod buffers;
mod callouts;
mod capabilities;
mod faults;
mod flow;
mod grpc;
mod hostile;
mod lookups;
mod maps;
mod network;
mod profiles;
mod properties;
mod random;
mod readme;
mod reload;
mod shared;
mod support;
mod vms;
mod wasi;
