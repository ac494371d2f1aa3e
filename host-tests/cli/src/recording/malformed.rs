//! What was left out because it is malformed, for those who ask to go on regardless.

use serde::Serialize;

use super::error::RecordingError;

/// How many entries are named; more would fill the terminal and help nobody.
const NAMED_MAX: usize = 10;

/// Entries that were left out because they are malformed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Malformed {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<MalformedEntry>,
}

/// An entry that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MalformedEntry {
    /// The input.
    pub input: String,
    /// Line of the mistake, counted from 1.
    pub line: u64,
    /// Column of the mistake in bytes, counted from 1.
    pub column: u64,
    /// What was expected, and what is there.
    pub message: String,
}

impl Malformed {
    /// Counts an entry.
    pub(super) fn note(&mut self, error: &RecordingError) {
        self.count += 1;
        if self.first.len() >= NAMED_MAX {
            return;
        }
        let (line, column) = error
            .place()
            .map_or((1, 1), |place| (place.line, place.column));
        self.first.push(MalformedEntry {
            input: error.input().to_owned(),
            line,
            column,
            message: error.problem().to_string(),
        });
    }

    /// Adds what another source left out.
    pub(super) fn add(&mut self, other: &Self) {
        self.count += other.count;
        let room = NAMED_MAX.saturating_sub(self.first.len());
        self.first.extend(other.first.iter().take(room).cloned());
    }
}
