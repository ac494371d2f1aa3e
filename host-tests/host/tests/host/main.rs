//! The host, seen from outside: through guests and through the driver's side.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test file: what is not as it should be is a failed test"
)]

mod buffers;
mod callouts;
mod flow;
mod hostile;
mod maps;
mod properties;
mod random;
mod shared;
mod support;
mod vms;
mod wasi;
