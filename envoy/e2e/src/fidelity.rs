//! The real Envoy's side of the fidelity probe: plays every case of `host-tests/fidelity` in one Envoy.
//!
//! Each case has a listener, clusters and servers of its own; VM IDs and environments keep their VMs apart. What the
//! probe logged is sorted by case and by thread, and what clients and upstreams received is added.

mod bootstrap;
mod client;
mod frame;
mod http1;
mod http2;
mod play;
mod prove;
mod servers;
mod tail;
mod wire;

pub use play::{Played, play};
pub use prove::{Options, Proven, kept, prove};
