//! Runs a scenario: its traffic, through its filters, against its endpoints, in virtual time.
//!
//! Model: one queue of events in the order of their times, then of their making. The real filters run in the host; the
//! router, the load balancers and the endpoints are those of `tidegate-model`. Nothing reads a clock, and every part draws
//! from a stream of its own: with the same seed the same bytes come out.
//!
//! Limits: memory is bounded by what is under way at a time, and by the cookies of the clients that have some.

mod answers;
mod calls;
mod client;
mod cluster;
mod endpoints;
mod engine;
mod queue;
mod removal;
mod router;
mod start;
mod stream;
mod verdicts;

use tidegate_host::{InputError, Proxy, StartError};
use tidegate_model::report::Sink;
use tidegate_model::units::Span;

use crate::exit::ExitCode;
use crate::scenario::LoadedScenario;

/// A run that can't go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A plugin makes calls without end and without time going by.
    #[error(
        "plugin `{plugin}` made more than 100 000 calls at one instant, {at} after the beginning: does it call again whenever it is \
         answered? An endpoint with a latency would slow it down"
    )]
    CallStorm {
        /// The plugin.
        plugin: String,
        /// When.
        at: Span,
    },
    /// The WebAssembly engine doesn't start.
    #[error("{0}")]
    Engine(String),
    /// The proxy refused what the model did: a fault of this tool.
    #[error("the proxy refused what the model did: a fault of the runner")]
    Input(#[from] InputError),
    /// The report can't be written.
    #[error("can't write the result")]
    Output(#[from] std::io::Error),
    /// What was put aside of a recording can't be read.
    #[error("can't read what was put aside of a recording")]
    Recording(#[source] std::io::Error),
    /// The proxy didn't start.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl RunError {
    /// Returns the code that a command ends with when this is why.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        match self {
            Self::Start(StartError::Rejected { .. }) => ExitCode::ConfigRejected,
            Self::CallStorm { .. }
            | Self::Start(StartError::Trapped { .. } | StartError::Instantiate { .. }) => {
                ExitCode::GuestTrapped
            }
            Self::Engine(_)
            | Self::Input(_)
            | Self::Output(_)
            | Self::Recording(_)
            | Self::Start(_) => ExitCode::Internal,
        }
    }
}

/// Runs a scenario once, with one seed, and hands out what became of each request when it ends.
///
/// # Errors
/// See [`RunError`].
pub fn run(scenario: &LoadedScenario, seed: u64, sink: &mut dyn Sink) -> Result<(), RunError> {
    run_watched(scenario, seed, sink, &mut |_, _| {})
}

/// Runs a scenario once, with one seed, as [`run`] does, and shows the proxy after everything that happened: its metrics
/// and its shared data. The number is the time since the scenario began, in nanoseconds.
///
/// # Errors
/// See [`RunError`].
pub fn run_watched(
    scenario: &LoadedScenario,
    seed: u64,
    sink: &mut dyn Sink,
    watch: &mut dyn FnMut(u64, &Proxy),
) -> Result<(), RunError> {
    start::engine(scenario, seed)?.run(sink, watch)
}
