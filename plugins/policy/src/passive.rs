//! Says what the end of a request shows about the endpoints that it was sent to.
//!
//! Why: who judges endpoints by their traffic must not blame one for what another did: an answer of
//! the proxy itself, a client that left, a limit that did its work, an earlier attempt at somebody
//! else. And where nobody reads our list, nothing that we decide happens at all.
//! Model: [`classify`] makes an [`Outcome`] of an attempt's end. With the upstream filter each
//! attempt has its own: one attempt, one outcome, always with its latency. Without it a filter sees
//! the last attempt only, and [`conclude`] goes by the attempt count `k`: where the endpoint that
//! served is the `k`-th of our list, the `k − 1` before it were tried and failed; a latency is the
//! endpoint's own at `k` = 1 only. How an earlier one failed is not known: it counts as a gateway
//! failure, because only a success ends that row.
//! Inputs / Output: status, the proxy's words on it, the list, the attempt count, who served;
//! outcomes by endpoint, and whether the list was honoured.
//! Not honoured: an attempt within the list that somebody outside of it served. One may be an
//! endpoint that just left; ten in a row without one that was honoured are a cluster that has no
//! `override_host`. [`Honour`] then gives a notice, and again at ten times as many: at most
//! [`MAX_NOTICES`] as long as the VM lives. Each is counted all the same.
//! Locally: [`Recent`] remembers a failure until a success or for a second, so that a VM spares an
//! endpoint before the leader has heard of anybody; [`Trials`] lets it try one that is on trial.
//! Cold start: the first answer that was honoured makes the list believed.
//! Limits: an attempt count of zero is a request that was sent to nobody. Beyond the list's end the
//! proxy's own choice served: all entries failed, and that says nothing about honouring. An answer
//! without an endpoint's address is the listed one's only while lists are honoured.
//! Scope: per worker VM. Cost: O(list) for a request, no allocation; 16 bytes for each endpoint.
//! Source: the names of Envoy's response code details, in the documentation of its HTTP connection
//! manager (1.40). Differs: 429 is neutral; an overflow of the cluster's own limits too.

mod classify;
mod conclude;
mod honour;
mod recent;
mod trials;

pub use classify::{Ended, FailureStatuses, Outcome, classify};
pub use conclude::{Conclusion, Honoured, LastAttempt, conclude};
pub use honour::{Honour, MAX_NOTICES, Notice};
pub use recent::Recent;
pub use trials::{MAX_TRIALS, TRIAL_SPREAD, Trials};
