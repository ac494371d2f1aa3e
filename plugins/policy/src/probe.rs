//! Decides whether an endpoint is ready, by asking it, and when to ask.
//!
//! Why: a filter cannot read who Envoy thinks is healthy, and an endpoint that is about to fail
//! says so in its readiness answer while its traffic still succeeds. Envoy's own checks know no
//! draining.
//! Model: [`State`] × [`Event`] → state, in `machine`; `unhealthy_after` failures in a row make an
//! endpoint unhealthy, `healthy_after` successes in a row healthy, streaks of the other kind count
//! nothing. First probe at `added + u·interval`, the next at `started + interval·(stretch + u/10)`
//! with a draw `u` from 0 to 1: never more than one probe per endpoint and interval.
//! Inputs / Output: members come and go, ticks, answers, traffic; probes to send ([`Probe`],
//! [`Config::headers`]), and what each answer changed ([`Change`]).
//! Cold start: a new endpoint is unproven, which is as available as `initial` says, until a streak
//! is whole. A new leader adds what its predecessor published with [`Start::Known`], so that a
//! takeover makes nobody available who was not.
//! Drains: a `503` with `x-tidegate-drain: <seconds>` is draining, not unhealthy. The deadline only
//! comes nearer: an endpoint that always says 60 is drained after 60 s. Failures before the
//! deadline are what draining looks like and change nothing; the first one after it makes it
//! unhealthy; a whole streak of successes ends the drain. A `2xx` with the header is a success: the
//! header is read on 503 only.
//! Re-used addresses: an endpoint that announces another instance is another endpoint. On anything
//! but a failure it begins again as unproven, except that an unhealthy one stays so until it has
//! proven itself. On a failure the streak goes on: else one that announced a random instance each
//! time would never become unhealthy. An answer without the header says nothing.
//! Economy: with `probe_economy` each success after which traffic succeeded and none failed
//! stretches the interval, to 2 and then 3 times; a failure of traffic brings it back at once,
//! silence of traffic with the next answer. Never to nothing.
//! Limits: [`MAX_ENDPOINTS`]; a tick starts at most `probes_per_tick` and times out as many. With
//! more endpoints than `probes_per_tick · interval / tick` the interval gets longer for all alike:
//! who is due longest goes first, of equal ones the smaller key. Time is summed from the
//! differences of `now`: a clock that stands still starts nothing and times nothing out (answers
//! still count), a step back is as long as standing still until the next tick and is counted, a
//! jump ahead makes everybody due, each outstanding probe one failure, and ends every drain.
//! Scope: the leader's, one per Envoy. Cost: a tick O(started · log n), an answer O(log n); about
//! 200 bytes and three keys per endpoint. Draws: one per endpoint added, one per probe started.
//! Source: the defaults are a Kubernetes readiness probe's: 5 s, 3 s, 3 failures.
//! Differs: from Envoy's health checker, where one success is enough for a new endpoint.

mod answer;
mod config;
mod machine;
mod prober;
mod verdict;

pub use answer::{
    Announcement, Answer, DRAIN_HEADER, Failure, INSTANCE_HEADER, MAX_DRAIN_SECONDS,
    MAX_INSTANCE_BYTES, Outcome, announced,
};
pub use config::{Config, Initial, RawConfig, USER_AGENT};
pub use machine::{Event, Rejected, State, Thresholds};
pub use prober::{
    Change, Counters, Full, MAX_ENDPOINTS, MAX_STRETCH, Probe, Prober, Start, Tick, Ticket, Traffic,
};
pub use verdict::Verdict;
