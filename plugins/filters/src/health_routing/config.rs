//! The configuration, with what only the proxy has: its bytes.

use tidegate_policy::{config::Problem, routing::Config};
use tidegate_proxy::configuration;

/// Reads and checks a configuration as the proxy hands it over.
///
/// # Errors
/// All problems, sorted by path.
pub fn parse(bytes: &[u8]) -> Result<Config, Vec<Problem>> {
    let text = configuration::text(bytes).map_err(|problem| vec![problem])?;
    Config::parse(text)
}
