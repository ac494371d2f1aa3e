//! The shipped sticky-session configuration with endpoints of a test's own.

use std::path::PathBuf;

use anyhow::Result;

use crate::bootstrap::{Bootstrap, STICKY_SESSION};
use crate::envoy::Scenario;
use crate::upstream::{Upstream, addresses};

/// The cluster of the shipped configuration.
pub const CLUSTER: &str = "echo";

/// The cookie that the shipped configuration gives its cluster.
pub const COOKIE: &str = "tidegate-echo";

/// The header by which the plugin names an endpoint to Envoy.
pub const ENDPOINT_HEADER: &str = "x-tidegate-endpoint";

/// The environment variable that holds the keys.
pub const KEYS_VARIABLE: &str = "TIDEGATE_STICKY_KEYS";

/// Keys for tests and recordings: published here, so good for nothing else.
pub const TRIAL_KEYS: &str = "1:dHJpYWwga2V5IG9uZSwgbm90IGZvciByZWFsIHVzZSE=";

/// A second trial key, for rotation.
pub const OTHER_TRIAL_KEYS: &str = "2:dHJpYWwga2V5IHR3bywgbm90IGZvciByZWFsIHVzZSE=";

/// Returns the module, built if need be.
///
/// # Errors
/// It cannot be built.
pub fn module() -> Result<PathBuf> {
    tidegate_cli::build::module_path("sticky-session")
}

/// Returns the shipped configuration with these servers as the endpoints of its cluster.
///
/// # Errors
/// The module cannot be built, or the file is not what it was.
pub fn bootstrap(upstreams: &[Upstream]) -> Result<Bootstrap> {
    let mut bootstrap = Bootstrap::shipped("sticky-session")?;
    bootstrap
        .endpoints(CLUSTER, &addresses(upstreams))?
        .module(STICKY_SESSION, &module()?)?;
    Ok(bootstrap)
}

/// Returns the shipped configuration, ready to run with trial keys.
///
/// # Errors
/// As [`bootstrap`].
pub fn scenario(upstreams: &[Upstream]) -> Result<Scenario> {
    Ok(Scenario::new(bootstrap(upstreams)?).variable(KEYS_VARIABLE, TRIAL_KEYS))
}

/// Returns the suffix of a request counter's name.
#[must_use]
pub fn requests(reason: &str) -> String {
    format!("tidegate_sticky_session_requests_total.reason.{reason}")
}

/// Returns the suffix of a response counter's name.
#[must_use]
pub fn responses(reason: &str) -> String {
    format!("tidegate_sticky_session_responses_total.reason.{reason}")
}
