//! Is the runner's host true to the real proxy?
//!
//! Why: every claim of the runner rests on a host that answers as Envoy does. A probe module calls host functions as a
//! script says and logs every answer. The same case runs in the runner and in the real Envoy; the two logs are compared
//! line by line, and what differs is either explained in the case's file or a failure.
//!
//! Here are the cases, the runner's side and the comparison. What Envoy said is kept beside each case (`*.envoy.log`), so
//! that the comparison needs no Envoy; the end-to-end tests write these logs and hold them against the real one.

mod case;
mod compare;
mod line;
mod load;
mod proof;
mod received;
mod runner;
// The probe's own reader of scripts: a case with a mistake in it is refused before anything runs.
#[path = "../../guests/probe/src/script.rs"]
mod script;

pub use case::{
    Behaviour, Case, Cluster, Data, Difference, FailurePolicy, Peer, Plugin, Position, Protocol,
    Request, Response, Retry, Route, Side, Step, Text,
};
pub use compare::{Comparison, Differing, compare};
pub use line::{ENVOY_VERSION, Line, Thread, golden, parse_golden, write_golden};
pub use load::{ExplainedRow, cases, folder, read_case, rows};
pub use proof::{Coverage, NOT_CALLED, PHASES, Proof, Proofs};
pub use received::Received;
pub use runner::{HOST, framing, run};
