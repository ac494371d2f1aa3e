//! Gives a request to the endpoint that will serve it soonest.
//!
//! Why: an endpoint that became slow still answers its probes. Whoever takes turns sends it a share
//! of all requests; whoever only counts what is under way notices late.
//! Model: of two endpoints drawn at random the one with the lower load, where `load = estimate ×
//! (in_flight + 1) / slow_start` and `estimate` is a peak EWMA, or the age of the oldest request
//! under way if that is more. One that joined gets its rising share by an outright pick as well,
//! and the own zone's endpoints are preferred to others.
//! Inputs / Output: snapshots; attempts that start, are answered, are upgraded and end; draws. A
//! [`Picked`] endpoint with its reason and numbers.
//! Cold start: endpoints of which nothing is known are worth the pool's mean; where nothing is
//! known of any, the fewer requests decide.
//! Limits: those of the parts: `peak_ewma`, `in_flight`, `slow_start`, `zones`, `choice`.
//! Scope: per worker VM. Estimates are merged over the workers by way of the snapshot, requests in
//! flight never: a stale total makes all workers prefer the same endpoint.
//! Cost: O(1) for a pick, an answer and an end, without allocation; O(endpoints) on a tick. About
//! 100 bytes for each endpoint and 32 for each stream.

mod choice;
mod in_flight;
mod math;
mod peak_ewma;
mod pool;
mod slow_start;
mod zones;

pub use choice::{Candidate, Candidates, DRAWS, FURTHER, Load, NotPicked, Picked, Reason, Sight};
pub use in_flight::{Ended, InFlight, MAX_STREAMS, Seat, Ticket};
pub use peak_ewma::{Decay, PeakEwma};
pub use pool::{Listed, Pool, Settings, Share};
pub use slow_start::{SlowStart, drain_share};
pub use zones::{Spill, Zone};
