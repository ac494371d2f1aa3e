//! What a judge says and counts.

use thiserror::Error;

use super::combine::Verdict;
use crate::{
    snapshot::{EjectionCause, Endpoint},
    units::Ppm,
};

/// Is how many endpoints are judged, as many as a snapshot has: 1.5 MB of the leader's memory.
pub const MAX_ENDPOINTS: usize = 10_000;

/// Says why an endpoint was ejected. The order is that of the rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// Gateway failures came in a row.
    GatewayRow {
        /// Is how many.
        row: u8,
    },
    /// Local-origin failures came in a row.
    LocalRow {
        /// Is how many.
        row: u8,
    },
    /// It failed more than the others.
    ExcessRate {
        /// Is its failure rate over the window.
        rate: Ppm,
        /// Is the one that is usual in the pool.
        usual: Ppm,
    },
    /// Its trial failed.
    TrialFailed,
}

impl Cause {
    /// Is the name in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.kind().as_str()
    }

    /// Is the cause without its numbers, as a snapshot keeps it.
    #[must_use]
    pub const fn kind(self) -> EjectionCause {
        match self {
            Self::GatewayRow { .. } => EjectionCause::GatewayRow,
            Self::LocalRow { .. } => EjectionCause::LocalRow,
            Self::ExcessRate { .. } => EjectionCause::ExcessRate,
            Self::TrialFailed => EjectionCause::TrialFailed,
        }
    }
}

/// Is what became of one endpoint on a tick.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Change<K> {
    /// Names the endpoint.
    pub key: K,
    /// Is what is said of it now.
    pub verdict: Verdict,
    /// Is how often it was ejected and is not forgiven: the snapshot's `Failures::ejections`.
    pub ejections: u8,
    /// Says why it was ejected; `None` where it was not.
    pub cause: Option<Cause>,
}

/// Says with what an endpoint begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// With nothing.
    New,
    /// With what a former leader published about it.
    Restored(Endpoint),
}

/// Says that no more endpoints are judged: this one serves.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("{MAX_ENDPOINTS} endpoints are judged already")]
pub struct Full;

/// Counts what a judge did. All saturate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Is how often `now` was earlier than before.
    pub clock_regressions: u64,
    /// Endpoints that were ejected.
    pub ejections: u64,
    /// Endpoints that were readmitted by their trial.
    pub readmissions: u64,
    /// Rows that were as long as their threshold while the pool shared them, or was as bad.
    pub shared_failures: u64,
    /// Endpoints that would have been ejected had enough others been available.
    pub spared: u64,
}
