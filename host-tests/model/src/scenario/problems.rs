//! What several fields together can say wrong.

use super::{Problem, Scenario};

impl Scenario {
    /// Returns everything that is wrong with the scenario, by place.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }
}
