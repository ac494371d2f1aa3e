//! Says what is wanted to know about a cluster, as a table.

/// Says what is wanted to know about a cluster.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Want {
    /// A list is under way.
    Asked,
    /// The list is as new as it needs to be.
    Current,
    /// A list is under way, and the counters have moved since it was asked for.
    Overtaken,
    /// A list is wanted.
    Stale,
}

/// Is what happens to a cluster's list.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Happening {
    /// It was asked for.
    Asked,
    /// It got too old.
    Due,
    /// It did not come, was refused or was not applied.
    Failed,
    /// It came and was applied.
    Listed,
    /// The counters differ from those before.
    Moved,
}

/// Refuses a happening that cannot be in a state; the state stays.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not expected in this state")]
pub struct Unexpected;

/// Is the state after a happening.
///
/// # Errors
/// A list that was not asked for came or failed, or one is asked for twice: `Unexpected`.
pub const fn next_want(state: Want, happening: Happening) -> Result<Want, Unexpected> {
    Ok(match (state, happening) {
        (Want::Stale, Happening::Asked) | (Want::Asked, Happening::Due) => Want::Asked,
        (Want::Asked, Happening::Listed) => Want::Current,
        (Want::Asked | Want::Overtaken, Happening::Moved) | (Want::Overtaken, Happening::Due) => {
            Want::Overtaken
        }
        (Want::Current | Want::Stale, Happening::Due | Happening::Moved)
        | (Want::Overtaken, Happening::Listed)
        | (Want::Asked | Want::Overtaken, Happening::Failed) => Want::Stale,
        (Want::Asked | Want::Current | Want::Overtaken, Happening::Asked)
        | (Want::Current | Want::Stale, Happening::Failed | Happening::Listed) => {
            return Err(Unexpected);
        }
    })
}
