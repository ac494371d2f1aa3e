//! The table of the lease: what is found, by whom, and what follows.

/// Is what a tick finds under the key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Finding {
    /// Nothing was ever written.
    Absent,
    /// Our own record.
    Mine,
    /// Our own record, and a VM without streams asks for it.
    MineWanted,
    /// Given up, for another VM than us.
    Offered,
    /// Given up for us.
    OfferedToMe,
    /// A record older than one that was seen.
    Rewound,
    /// Another VM's record, or an offer, that nobody has touched for a lease.
    Silent,
    /// Another VM's record; the holder has seen no stream, or was asked already.
    Theirs,
    /// Another VM's record; the holder has seen a stream and was not asked.
    TheirsBusy,
    /// Something that is not a record.
    Unreadable,
}

/// Is what this VM is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// Has seen a stream.
    Busy,
    /// Has seen none yet, and is too young for that to mean anything.
    New,
    /// Has seen none for long enough to be taken for the main thread's.
    Quiet,
}

/// Is what follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    Ask,
    Create,
    Nothing,
    Renew,
    TakeOver,
    Yield,
}

/// Decides. Total: there is no finding that a VM may not make.
pub(super) const fn decide(finding: Finding, standing: Standing) -> Action {
    match (finding, standing) {
        (Finding::Absent, _) => Action::Create,
        // Only a holder that has seen a stream is asked. A request that outlived its reason is
        // dropped by the renewal.
        (Finding::MineWanted, Standing::Busy) => Action::Yield,
        (Finding::Mine | Finding::MineWanted, _) => Action::Renew,
        (Finding::TheirsBusy, Standing::Quiet) => Action::Ask,
        (Finding::Offered | Finding::Theirs | Finding::TheirsBusy, _) => Action::Nothing,
        // Also when a stream came since it asked: nobody leads at this moment.
        (Finding::OfferedToMe | Finding::Rewound | Finding::Silent | Finding::Unreadable, _) => {
            Action::TakeOver
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::String};

    #[test]
    fn every_finding_of_every_standing_has_the_action_of_the_table() {
        let findings = [
            Finding::Absent,
            Finding::Mine,
            Finding::MineWanted,
            Finding::Offered,
            Finding::OfferedToMe,
            Finding::Rewound,
            Finding::Silent,
            Finding::Theirs,
            Finding::TheirsBusy,
            Finding::Unreadable,
        ];
        let mut table = String::from("\n");
        for finding in findings {
            let [new, quiet, busy] = [Standing::New, Standing::Quiet, Standing::Busy]
                .map(|standing| format!("{:?}", decide(finding, standing)));
            let name = format!("{finding:?}");
            table += format!("{name:<12}{new:<10}{quiet:<10}{busy}\n").as_str();
        }
        // Columns: new, quiet, busy.
        let expected = "
Absent      Create    Create    Create
Mine        Renew     Renew     Renew
MineWanted  Renew     Renew     Yield
Offered     Nothing   Nothing   Nothing
OfferedToMe TakeOver  TakeOver  TakeOver
Rewound     TakeOver  TakeOver  TakeOver
Silent      TakeOver  TakeOver  TakeOver
Theirs      Nothing   Nothing   Nothing
TheirsBusy  Nothing   Ask       Nothing
Unreadable  TakeOver  TakeOver  TakeOver
";
        assert_eq!(table, expected);
    }
}
