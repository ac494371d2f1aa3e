//! Replays recordings as they were recorded: the upstreams answer what they answered, and what the plugins do is seen.
//!
//! [`run`] drives a [`tidegate_host::Proxy`] with a recording in virtual time and hands out an [`Exchange`] per stream: what was
//! changed, and why; [`Totals`] sums up. The same recording, plugins and seed give the same bytes.
//! [`Expectation`] keeps the decisions and compares them with those of a later run.

mod body;
mod calls;
mod decision;
mod diff;
pub(crate) mod draw;
mod drive;
mod exchange;
mod expect;
pub mod jar;
mod known;
mod load;
pub(crate) mod observe;
mod options;
pub(crate) mod sessions;
mod story;
mod totals;
mod watch;
mod world;

pub use decision::Decision;
pub use draw::mix;
pub use drive::{Replay, run};
pub use exchange::{
    BodyChange, CallOut, Change, Exchange, LocalReply, Log, Reason, Side, Trap, mask,
};
pub use expect::{Divergence, EXPECTATION_NAME, Expectation, ExpectationError};
pub use load::{endpoint_header, plugin};
pub use options::{Answers, Detail, ENDPOINT_HEADER, Options, Plugin, ReplayError};
pub use story::{SessionStory, Story, StoryTotals};
pub use totals::{CallbackCost, Cost, Metric, Totals, Vm};
