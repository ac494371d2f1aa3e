//! Where requests come from.

use tidegate_model::traffic::{Arrival, Traffic};

use super::RunError;

/// Requests in the order of their times.
pub(crate) trait Arrivals {
    /// Returns when the next request comes. `None`: there is none for now; there may be one after [`Arrivals::ended`].
    ///
    /// # Errors
    /// A recording can't be read.
    fn next_ns(&mut self) -> Result<Option<u64>, RunError>;

    /// Takes the next request.
    ///
    /// # Errors
    /// A recording can't be read.
    fn next_arrival(&mut self) -> Result<Option<Arrival>, RunError>;

    /// A request has ended: one that waits for its end can come, not before `now_ns`.
    fn ended(&mut self, source: usize, number: u64, now_ns: u64);
}

impl Arrivals for Traffic {
    fn next_ns(&mut self) -> Result<Option<u64>, RunError> {
        Ok(self.next_ns())
    }

    fn next_arrival(&mut self) -> Result<Option<Arrival>, RunError> {
        Ok(self.next())
    }

    fn ended(&mut self, source: usize, number: u64, now_ns: u64) {
        Self::ended(self, source, number, now_ns);
    }
}
