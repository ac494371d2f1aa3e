//! Where requests come from.

use tidegate_model::traffic::Arrival;

use super::RunError;

/// Requests in the order of their times.
pub(crate) trait Arrivals {
    /// Returns the next request. `None`: there is none for now; there may be one after [`Arrivals::ended`].
    fn next_arrival(&mut self) -> Result<Option<Arrival>, RunError>;

    /// A request has ended: one that waits for its end can come, not before `now_ns`.
    fn ended(&mut self, source: usize, number: u64, now_ns: u64);
}
