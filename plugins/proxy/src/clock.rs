//! The proxy's clock and timer.

use std::time::Duration;

use tidegate_policy::units::WallTime;

use crate::{abi, error::HostError};

/// Reads the wall clock. It may stand still during a stream and may step back.
///
/// # Errors
/// The host has none.
pub fn wall_time() -> Result<WallTime, HostError> {
    abi::current_time_ns()
        .map(WallTime::from_ns)
        .map_err(|status| HostError::from_status("proxy_get_current_time_nanoseconds", status, &[]))
}

/// Asks for ticks, rounded up to whole milliseconds; zero ends them. Every clone of the VM ticks,
/// the main thread's too.
///
/// # Errors
/// The host said no.
pub fn set_tick_period(period: Duration) -> Result<(), HostError> {
    let period_ms = period.as_nanos().div_ceil(1_000_000);
    abi::set_tick_period_ms(u32::try_from(period_ms).unwrap_or(u32::MAX))
        .map_err(|status| HostError::from_status("proxy_set_tick_period_milliseconds", status, &[]))
}
