//! Scenario files: reading one, with everything that it names.
//!
//! [`read`] checks a file and returns what it says; [`LoadedScenario::load`] builds and compiles the modules as well and
//! reads the recordings. [`outcome`] runs a loaded scenario with all its seeds and baselines, in whatever way a [`Runner`] does
//! it, and compares what came out with what was expected; [`junit`] writes that for a CI system.

mod fill;
mod junit;
mod load;
mod outcome;
mod problem;
mod read;
mod recorded;
mod traffic;
mod wording;
mod yaml;

pub use junit::{junit, missed, short};
pub use load::{LoadedFilter, LoadedScenario};
pub use outcome::{Outcome, Run, Runner, outcome};
pub use problem::ScenarioError;
pub use read::read;
pub use recorded::Recording;
pub use traffic::ScenarioTraffic;
