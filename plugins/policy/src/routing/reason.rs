//! Why a request went where it went.

use crate::{balance, endpoints::Unknown, panic_mode::Mode};

/// Says what was decided about a request, and why. Every one is a metric's label.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Reason {
    /// The route leads to no cluster.
    NoCluster,
    /// No rule names the cluster: the request is left alone.
    UnlistedCluster,
    /// The host refused something that is needed: the proxy balances.
    HostError,
    /// There is no picture: the proxy balances, or an earlier filter's proposal stays.
    NotConfigured,
    /// No picture came yet: as before.
    NotYet,
    /// The picture is too old: as before.
    Stale,
    /// The picture has nobody who can be reached: as before.
    Nobody,
    /// The session's endpoint takes it.
    Session,
    /// The session's endpoint takes no requests: another one was picked.
    SessionReplaced,
    /// It was an ejected endpoint's turn to be tried.
    Trial,
    /// One of two that have the same load.
    Equal,
    /// Its load is lower than the other's.
    LowerLoad,
    /// The other one failed a moment ago.
    OtherFailed,
    /// It joined lately, and it was its turn.
    Newcomer,
    /// It was the only one.
    Only,
    /// The own zone is slower by the factor, and busier.
    OtherZone,
    /// Too few are available: the least bad of two among all.
    Panic,
    /// Nobody is available: the least bad of two among all that can be reached.
    NobodyAvailable,
}

impl Reason {
    /// Lists all, in the order of [`Self::index`].
    pub const ALL: [Self; 18] = [
        Self::NoCluster,
        Self::UnlistedCluster,
        Self::HostError,
        Self::NotConfigured,
        Self::NotYet,
        Self::Stale,
        Self::Nobody,
        Self::Session,
        Self::SessionReplaced,
        Self::Trial,
        Self::Equal,
        Self::LowerLoad,
        Self::OtherFailed,
        Self::Newcomer,
        Self::Only,
        Self::OtherZone,
        Self::Panic,
        Self::NobodyAvailable,
    ];

    /// Is the name in metrics, headers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCluster => "no_cluster",
            Self::UnlistedCluster => "unlisted_cluster",
            Self::HostError => "host_error",
            Self::NotConfigured => "not_configured",
            Self::NotYet => "not_yet",
            Self::Stale => "stale",
            Self::Nobody => "nobody",
            Self::Session => "session",
            Self::SessionReplaced => "session_replaced",
            Self::Trial => "trial",
            Self::Equal => "equal",
            Self::LowerLoad => "lower_load",
            Self::OtherFailed => "other_failed",
            Self::Newcomer => "newcomer",
            Self::Only => "only",
            Self::OtherZone => "other_zone",
            Self::Panic => "panic",
            Self::NobodyAvailable => "nobody_available",
        }
    }

    /// Is its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Is why there is no picture.
    pub(super) const fn of_unknown(unknown: Unknown) -> Self {
        match unknown {
            Unknown::NotConfigured => Self::NotConfigured,
            Unknown::NotYet => Self::NotYet,
            Unknown::Stale => Self::Stale,
        }
    }

    /// Is why an endpoint was picked; in panic that alone is told.
    pub(super) const fn of_pick(mode: Mode, reason: balance::Reason) -> Self {
        match (mode, reason) {
            (Mode::Panic, _) => Self::Panic,
            (Mode::NobodyAvailable | Mode::Nobody, _) => Self::NobodyAvailable,
            (Mode::Normal, balance::Reason::Equal) => Self::Equal,
            // Outside of panic all candidates are as fit.
            (Mode::Normal, balance::Reason::LowerLoad | balance::Reason::Fitter) => Self::LowerLoad,
            (Mode::Normal, balance::Reason::OtherFailed) => Self::OtherFailed,
            (Mode::Normal, balance::Reason::Newcomer) => Self::Newcomer,
            (Mode::Normal, balance::Reason::Only) => Self::Only,
            (Mode::Normal, balance::Reason::OtherZone) => Self::OtherZone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn reasons_have_their_places_and_names_of_their_own() {
        let mut names = std::collections::BTreeSet::new();
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(names.insert(reason.as_str()), "{}", reason.as_str());
        }
    }
}
