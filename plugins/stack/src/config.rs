//! The configuration, with what only the proxy has: its bytes and its environment.

use tidegate_policy::{config::Problem, stack::Config};
use tidegate_proxy::{configuration, environment};

/// Reads and checks a configuration as the proxy hands it over.
///
/// # Errors
/// All problems, sorted by path.
pub(crate) fn read(bytes: &[u8]) -> Result<Config, Vec<Problem>> {
    // A host without an environment, or with one that is no text, is one where nothing is set.
    parse(bytes, |name| environment::variable(name).unwrap_or(None))
}

/// Reads and checks a configuration with this `environment`.
///
/// # Errors
/// All problems, sorted by path.
pub fn parse(
    bytes: &[u8],
    environment: impl FnOnce(&str) -> Option<String>,
) -> Result<Config, Vec<Problem>> {
    let text = configuration::text(bytes).map_err(|problem| vec![problem])?;
    Config::parse(text, environment)
}
