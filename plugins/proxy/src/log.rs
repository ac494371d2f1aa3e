//! The proxy's log.

use crate::{abi, error::HostError};

/// Is how important a line is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u32)]
pub enum Level {
    /// Everything.
    Trace = 0,
    /// What one request did.
    Debug = 1,
    /// What the plugin does as a whole.
    Info = 2,
    /// Something to look at.
    Warn = 3,
    /// Something failed.
    Error = 4,
    /// The plugin does not work.
    Critical = 5,
}

/// Writes a line. That the host does not take it is nothing anybody could do something about.
pub fn write(level: Level, line: &str) {
    let _ = abi::log(level as u32, line.as_bytes());
}

/// Says whether lines of this level are written at the moment: ask before making one per request.
///
/// # Errors
/// The host does not tell (ABI 0.2.0 has no such function).
pub fn is_enabled(level: Level) -> Result<bool, HostError> {
    abi::log_level()
        .map(|least| level as u32 >= least)
        .map_err(|status| HostError::from_status("proxy_get_log_level", status, &[]))
}
