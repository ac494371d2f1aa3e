//! Decides who takes no requests for a while because of its traffic's failures, and who is tried
//! again.
//!
//! Why: a probe sees whether an endpoint says that it is ready; only traffic shows whether it
//! serves. An endpoint that fails in a millisecond attracts requests from every balancer that goes
//! by latency or load. Workers that judge alone notice late: sixteen of them need sixteen rows. So
//! the leader judges, over what all of them report.
//! Model: [`State`] × [`Event`] → state, in `machine`. An endpoint is ejected when, since the last
//! tick, it failed and
//! 1. its row of gateway failures or of local-origin failures is as long as its threshold `r`, and
//!    chance alone makes such a row once in 10⁹ attempts at most: `p^row ≤ 10⁻⁹`, where `p` is the
//!    pool's median failure rate; or
//! 2. its failure rate `q` over the window of `n` attempts, at least the minimum volume, is above
//!    `p` by at least the excess, and by more than chance makes once in 10⁶ windows:
//!    `n·d² ≥ 2·ln(10⁶)·(p·(1 − p) + d/3)` with `d = q − p` (Bernstein's inequality).
//!
//! The pool is who stays and had attempts in the window; the median is of those with the minimum
//! volume, and of an even number the lower one, so that of two endpoints the better one is the
//! measure. Where less than half of the pool has the volume, `p` is the rate of all others together. A row counts only while the median
//! endpoint is in none itself: a failure that all share ejects nobody, and neither rule can hold for
//! more than half of a pool. The window is the present half of it and the one before.
//! Ejection lasts `time · ejections`, at most `max_time`, less a draw of up to a tenth, so that
//! endpoints that failed together do not return together. Then one trial decides, a probe or a
//! request: a success readmits, a failure ejects again. One that others call not ready waits for
//! its trial until it is: else it would stay ejected for minutes after it recovered. `ejections` falls by one for each `time` of
//! serving. Who is readmitted begins at a slow start.
//! Inputs / Output: members come and go, how they stand otherwise, the merged outcomes and rows,
//! probes; on each tick the [`Change`]s. [`combine`] brings a verdict into the snapshot's state, and
//! [`others_of`] takes it out again for a new leader.
//! Bounds: panic's: an ejection leaves at least as many available as [`Rule::safe_ejections`] asks
//! for, worst first, of equal ones the smaller key. So of two endpoints one may be ejected, and of
//! one none. (A cap of 10 % would eject nobody of fewer than ten.)
//! Cold start: a new endpoint serves. A new leader goes on with what its predecessor published: who
//! was ejected or on trial stays that, rows and times ejected are in the snapshot; the window begins
//! anew.
//! Limits: 429 and answers of other filters are neutral: they never get here. A row goes on through
//! an ejection that a probe ended: the first failure without a success between ejects again. What
//! comes in while an endpoint is ejected says nothing (it was sent before, or in panic). Where an
//! endpoint alone had traffic, nobody else is known to fail, so it may be ejected. Rows are as exact
//! as the merge: at most one report late. Time is summed from the differences of `now`: a clock that
//! stands still ends no ejection, a step back is as long as standing still and is counted, a jump
//! ahead makes every trial due and empties the window.
//! Scope: the leader's, one per cluster. Cost: [`Judge::on_attempts`] O(log n); a tick O(n) while
//! there are failures or anybody is or was ejected lately, else O(1), and allocates only for
//! changes and once for the rates; about 150 bytes per endpoint. Draws: one per ejection.
//! Source: Envoy's outlier detection for rows, times and their fall.
//! Differs: rates and rows are measured against the pool; panic's rule is the cap; a trial decides.

mod change;
mod combine;
mod config;
mod judge;
mod machine;
mod pool;

pub use change::{Cause, Change, Counters, Full, MAX_ENDPOINTS, Start};
pub use combine::{Verdict, combine, others_of};
pub use config::{Config, RawConfig};
pub use judge::Judge;
pub use machine::{Event, Rejected, State, Times};

#[cfg(doc)]
use crate::panic_mode::Rule;
