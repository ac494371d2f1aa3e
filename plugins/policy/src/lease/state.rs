//! One VM's part in the lease.

use core::time::Duration;

use super::{
    decision::{Action, Finding, Standing, decide},
    record::{RECORD_BYTES, Record},
    watch::{TickClock, Watch},
};
use crate::units::WallTime;

/// Is how long a lease lasts after its renewal: 1 s, four ticks.
///
/// Less loses the lease to a few late ticks; more than 1.35 s lets a takeover come later than 2 s
/// after the last renewal, even with ticks in time.
pub const LEASE: Duration = Duration::from_nanos(LEASE_NS);

/// Is [`LEASE`] in nanoseconds.
const LEASE_NS: u64 = 1_000_000_000;

/// Is how long a VM must have been without a stream before it asks for the lease: 10 s.
///
/// Less takes workers of an Envoy that has just started for the main thread, and the lease wanders
/// through them; more only delays the one hand-over.
pub const QUIET_BEFORE_ASKING: Duration = Duration::from_secs(10);

/// Is the cas of a write that must find no key: a host lets it succeed once.
pub const CREATE_CAS: u32 = u32::MAX;

/// Is a write with the cas of the read; the adapter never makes it another way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Write {
    /// Is the value.
    pub bytes: [u8; RECORD_BYTES],
    /// Is what was read, or [`CREATE_CAS`]; never zero, which would write always.
    pub cas: u32,
}

/// Says what to write, and why. All but `Nothing` want [`Lease::on_written`] afterwards.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Step {
    /// Asks a holder that has seen a stream, because this VM has not.
    Ask(Write),
    /// Creates the record: nobody ever did.
    Create(Write),
    /// Leaves the record as it is.
    Nothing,
    /// Keeps the lease.
    Renew(Write),
    /// Takes the lease: it is over, was given up for us, or is unreadable.
    TakeOver(Write),
    /// Gives the lease up for a VM without streams. This VM leads no more from here on.
    Yield(Write),
}

impl Step {
    /// Is what to write; `None` for `Nothing`.
    #[must_use]
    pub const fn write(&self) -> Option<&Write> {
        match self {
            Self::Nothing => None,
            Self::Ask(write)
            | Self::Create(write)
            | Self::Renew(write)
            | Self::TakeOver(write)
            | Self::Yield(write) => Some(write),
        }
    }
}

/// Says that a write was refused: somebody else wrote in between. Whatever else kept a write from
/// being made counts as this too.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("somebody else wrote in between")]
pub struct CasMismatch;

/// Counts what a VM did and saw, since it started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LeaseCounts {
    /// Requests for the lease that were written.
    pub asked: u64,
    /// Steps back of the clock from one tick to the next.
    pub clock_regressions: u64,
    /// Records that were created; at most one in all VMs.
    pub created: u64,
    /// Reads with a cas of zero, which no host gives: nothing is written with it.
    pub cas_zero: u64,
    /// Writes that were refused.
    pub lost_writes: u64,
    /// Renewals that were written.
    pub renewed: u64,
    /// Reads of a record older than one that was seen.
    pub rewound: u64,
    /// Takeovers that were written.
    pub taken_over: u64,
    /// Reads of something that is not a record.
    pub unreadable: u64,
    /// Hand-overs that were written.
    pub yielded: u64,
}

/// Is the belief to lead.
#[derive(Clone, Copy, Debug)]
struct Belief {
    epoch: u64,
    renewed: WallTime,
}

/// Is a write whose outcome is awaited, and the belief that it gives.
#[derive(Clone, Copy, Debug)]
struct Pending {
    action: Action,
    belief: Option<Belief>,
}

/// Is one VM's part in the lease.
#[derive(Clone, Debug)]
pub struct Lease {
    id: u64,
    saw_stream: bool,
    /// Is how long this VM has ticked without a stream.
    quiet: Duration,
    clock: TickClock,
    watch: Watch<(u64, u64, u64)>,
    newest_epoch: u64,
    belief: Option<Belief>,
    pending: Option<Pending>,
    counts: LeaseCounts,
}

impl Lease {
    /// Is a VM that has seen nothing yet. `draw` becomes its id: it must be random, so that no two
    /// VMs have the same.
    #[must_use]
    pub const fn new(draw: u64) -> Self {
        Self {
            // Zero means nobody.
            id: if draw == 0 { 1 } else { draw },
            saw_stream: false,
            quiet: Duration::ZERO,
            clock: TickClock::new(),
            watch: Watch::new(),
            newest_epoch: 0,
            belief: None,
            pending: None,
            counts: LeaseCounts {
                asked: 0,
                clock_regressions: 0,
                created: 0,
                cas_zero: 0,
                lost_writes: 0,
                renewed: 0,
                rewound: 0,
                taken_over: 0,
                unreadable: 0,
                yielded: 0,
            },
        }
    }

    /// Decides at a tick what to write.
    ///
    /// `read` is the value under the key with its cas, `None` where nobody ever wrote; where the
    /// read failed, leave the tick out. `saw_stream`: this VM has seen a stream at any time; once
    /// true it stays so. `now` is read after `read` was. `draw` is random and used only where an
    /// epoch may have been lost.
    pub fn on_tick(
        &mut self,
        read: Option<(&[u8], u32)>,
        saw_stream: bool,
        now: WallTime,
        draw: u64,
    ) -> Step {
        self.pending = None;
        let step = self.clock.step(now);
        self.counts.clock_regressions = self.clock.regressions();
        self.saw_stream |= saw_stream;
        self.quiet = self.quiet.saturating_add(step);
        let (record, cas) = match read {
            None => (None, CREATE_CAS),
            Some((_, 0)) => {
                self.counts.cas_zero = self.counts.cas_zero.saturating_add(1);
                return Step::Nothing;
            }
            Some((bytes, cas)) => (Record::decode(bytes).ok(), cas),
        };
        let finding = match record {
            None if read.is_none() => Finding::Absent,
            None => Finding::Unreadable,
            Some(record) => self.find(&record, step),
        };
        let action = decide(finding, self.standing());
        let next = self.next_record(finding, action, record.as_ref(), now, draw);
        // Whoever finds another's record, or gives its own up, stops before anything is written.
        if !matches!(action, Action::Renew) {
            self.belief = None;
        }
        self.pending = (action != Action::Nothing).then_some(Pending {
            action,
            belief: (next.holder == self.id && action != Action::Yield).then_some(Belief {
                epoch: next.epoch,
                renewed: now,
            }),
        });
        let write = Write {
            bytes: next.encode(),
            cas,
        };
        match action {
            Action::Ask => Step::Ask(write),
            Action::Create => Step::Create(write),
            Action::Nothing => Step::Nothing,
            Action::Renew => Step::Renew(write),
            Action::TakeOver => Step::TakeOver(write),
            Action::Yield => Step::Yield(write),
        }
    }

    /// Takes what came of the write that the last tick asked for. Without one it changes nothing.
    ///
    /// A write that was refused ends the belief to lead at once: it may have been another leader's.
    pub const fn on_written(&mut self, outcome: Result<(), CasMismatch>) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let count = match (outcome, pending.action) {
            (_, Action::Nothing) => return,
            (Err(CasMismatch), _) => &mut self.counts.lost_writes,
            (Ok(()), Action::Ask) => &mut self.counts.asked,
            (Ok(()), Action::Create) => &mut self.counts.created,
            (Ok(()), Action::Renew) => &mut self.counts.renewed,
            (Ok(()), Action::TakeOver) => &mut self.counts.taken_over,
            (Ok(()), Action::Yield) => &mut self.counts.yielded,
        };
        *count = count.saturating_add(1);
        self.belief = None;
        if let (Ok(()), Some(belief)) = (outcome, pending.belief) {
            self.belief = Some(belief);
            self.newest_epoch = belief.epoch;
        }
    }

    /// Says whether this VM leads at `now`: for [`LEASE`] from its last renewal on. At any time
    /// before that renewal (the clock stepped back) it does not.
    #[must_use]
    pub fn is_leader(&self, now: WallTime) -> bool {
        self.term(now).is_some()
    }

    /// Is the epoch to put into everything that is written at `now`; `None`: this VM does not lead
    /// and must not write.
    #[must_use]
    pub fn term(&self, now: WallTime) -> Option<u64> {
        let belief = self.belief?;
        (belief.renewed <= now && now.saturating_since(belief.renewed) < LEASE)
            .then_some(belief.epoch)
    }

    /// Is the newest epoch that this VM knows, whoever's it is; zero: none.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.newest_epoch
    }

    /// Learns an epoch from somewhere else, such as a [`super::Fenced`]: if it is newer than the
    /// lease's, the next tick takes the lease over with a newer one still, even from itself.
    pub const fn learn(&mut self, epoch: u64) {
        if epoch > self.newest_epoch {
            self.newest_epoch = epoch;
        }
    }

    /// Is what was counted.
    #[must_use]
    pub const fn counts(&self) -> LeaseCounts {
        self.counts
    }

    fn standing(&self) -> Standing {
        if self.saw_stream {
            Standing::Busy
        } else if self.quiet >= QUIET_BEFORE_ASKING {
            Standing::Quiet
        } else {
            Standing::New
        }
    }

    /// Says what a record is to this VM.
    fn find(&mut self, record: &Record, step: Duration) -> Finding {
        if record.epoch < self.newest_epoch {
            return Finding::Rewound;
        }
        self.newest_epoch = record.epoch;
        let silence = self
            .watch
            .look((record.holder, record.epoch, record.beat), step);
        let given_up = record.term().is_zero();
        match (record.holder == self.id, given_up, record.wanted_by) {
            (true, false, None) => Finding::Mine,
            (true, false, Some(_)) => Finding::MineWanted,
            (_, true, Some(wanted_by)) if wanted_by == self.id => Finding::OfferedToMe,
            _ if silence >= LEASE => Finding::Silent,
            (_, true, _) => Finding::Offered,
            (false, false, None) if record.saw_stream => Finding::TheirsBusy,
            (false, false, _) => Finding::Theirs,
        }
    }

    /// Is what an action writes.
    fn next_record(
        &mut self,
        finding: Finding,
        action: Action,
        found: Option<&Record>,
        now: WallTime,
        draw: u64,
    ) -> Record {
        let beat = found.map_or(0, |found| found.beat).saturating_add(1);
        let mine = Record {
            holder: self.id,
            epoch: self.newest_epoch,
            beat,
            renewed: now,
            expires: WallTime::from_ns(now.as_ns().saturating_add(LEASE_NS)),
            wanted_by: None,
            saw_stream: self.saw_stream,
        };
        match (action, found) {
            // The holder's own words stay: only the request is added, and the beat is no new one.
            (Action::Ask, Some(found)) => Record {
                wanted_by: Some(self.id),
                ..*found
            },
            (Action::Yield, Some(found)) => Record {
                expires: now,
                wanted_by: found.wanted_by,
                ..mine
            },
            (Action::Create | Action::TakeOver, _) => Record {
                epoch: self.next_epoch(finding, now, draw),
                ..mine
            },
            _ => mine,
        }
    }

    /// Is the epoch of a takeover: the next one, or one that nobody can have had.
    fn next_epoch(&mut self, finding: Finding, now: WallTime, draw: u64) -> u64 {
        let lost = match finding {
            Finding::Rewound => &mut self.counts.rewound,
            Finding::Unreadable => &mut self.counts.unreadable,
            _ => return self.newest_epoch.saturating_add(1),
        };
        *lost = lost.saturating_add(1);
        // Somebody may have had the next epoch, and nobody can say so any more. The clock is ahead
        // of all that was counted; the draw (4 s of nanoseconds) tells two VMs apart whose clocks
        // agree, or whose clocks are behind an epoch that both know.
        self.newest_epoch
            .max(now.as_ns())
            .saturating_add(1)
            .saturating_add(draw >> 32)
    }
}
