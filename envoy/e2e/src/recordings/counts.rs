//! Counts by what was counted.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What a recording holds, and how much of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts(BTreeMap<&'static str, usize>);

impl Counts {
    /// Returns a count; 0 for what does not occur.
    #[must_use]
    pub fn count(&self, what: &str) -> usize {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// Returns the counts as the rows of a Markdown table.
    #[must_use]
    pub fn rows(&self) -> String {
        let mut rows = String::new();
        for (what, count) in &self.0 {
            // Writing to a string does not fail.
            let _ = writeln!(rows, "| {what} | {count} |");
        }
        rows
    }

    pub(super) fn add(&mut self, what: &'static str, count: usize) {
        *self.0.entry(what).or_default() += count;
    }
}
