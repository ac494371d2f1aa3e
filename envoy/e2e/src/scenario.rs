//! Plays a scenario in the real Envoy, in real time.
//!
//! Why: the closed loop models what is around the filters. The same file, played with a real proxy, real endpoints and real
//! clients, shows whether the model is right.
//! How: every endpoint is a server on loopback with a port that the kernel chooses. Envoy knows it by the address that the
//! scenario gives it, and is led to the real one by the endpoint's metadata; clients say in a PROXY header who they are. So
//! filters, cookies, logs and hashes see the very addresses of the scenario.

mod bootstrap;
mod client;
mod clock;
mod compare;
mod endpoint;
mod log;
mod membership;
mod relay;
mod run;
mod traffic;

pub use compare::{Comparison, Difference, Known, compare, known};
pub use run::{Outcome, Played, run};
