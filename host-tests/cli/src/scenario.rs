//! Scenario files: reading one, with everything that it names.
//!
//! [`read`] checks a file and returns what it says; [`LoadedScenario::load`] builds and compiles the modules as well and
//! opens the recordings. Nothing here runs a scenario.

mod fill;
mod load;
mod problem;
mod read;
mod recorded;
mod traffic;
mod wording;
mod yaml;

pub use load::{LoadedFilter, LoadedScenario};
pub use problem::ScenarioError;
pub use read::read;
pub use recorded::Recording;
pub use traffic::ScenarioTraffic;
