//! What goes out, and what comes back.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use crate::{membership::Subject, probe::Ticket, units::WallTime};

/// Names a call-out that is under way. A later one of the same term has a larger number.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct CallKey(pub(super) u64);

/// Is a call-out to make.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub struct Call {
    /// Names it.
    pub key: CallKey,
    /// Is the Envoy cluster to call.
    pub cluster: String,
    /// Are the request's headers, `:method`, `:path` and `:authority` among them. There is no body.
    pub headers: Vec<(String, String)>,
    /// Is how long the answer may take.
    pub timeout: Duration,
}

/// Is what came of a call-out.
pub trait Answer {
    /// Is the status; `None` where no headers came: a reset.
    fn status(&self) -> Option<u16>;
    /// Looks up a header by its name in lower case.
    fn header(&self, name: &str) -> Option<Vec<u8>>;
    /// Is the length of the body in bytes, to be asked before it is copied.
    fn body_bytes(&self) -> usize;
    /// Copies the body; `None` where the host does not give it.
    fn body(&self) -> Option<Vec<u8>>;
}

/// Says what a call-out that is under way is about.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// The admin.
    Admin(Subject),
    /// The feed.
    Feed,
    /// An endpoint's readiness.
    Probe { ticket: Ticket, started: WallTime },
}

/// Says why an answer of a source was not used.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum SourceError {
    /// No answer came in time, or none at all.
    NoAnswer,
    /// It was complete, but its listing was not believed: another cluster's, empty all at once, or
    /// more than there may be.
    NotApplied,
    /// The host did not make the call.
    NotSent,
    /// It had another status than 200.
    Status,
    /// It was longer than [`crate::membership::MAX_ANSWER_BYTES`]: not even copied.
    TooLong,
    /// It was not what it should be: garbage, truncated, of another version.
    Unreadable,
}

impl SourceError {
    /// Lists all of them, in the order of their names.
    pub const ALL: &'static [Self] = &[
        Self::NoAnswer,
        Self::NotApplied,
        Self::NotSent,
        Self::Status,
        Self::TooLong,
        Self::Unreadable,
    ];

    /// Is the name in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoAnswer => "no_answer",
            Self::NotApplied => "not_applied",
            Self::NotSent => "not_sent",
            Self::Status => "status",
            Self::TooLong => "too_long",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Copies the body of an answer that may be used.
pub(super) fn body(answer: &dyn Answer, most_bytes: usize) -> Result<Vec<u8>, SourceError> {
    match answer.status() {
        Some(200) => {}
        // This is how a proxy says that nothing came in time.
        None | Some(504) => return Err(SourceError::NoAnswer),
        Some(_) => return Err(SourceError::Status),
    }
    if answer.body_bytes() > most_bytes {
        return Err(SourceError::TooLong);
    }
    answer.body().ok_or(SourceError::Unreadable)
}
