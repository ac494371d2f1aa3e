//! One VM's place to report into.

use alloc::vec::Vec;
use core::time::Duration;

use super::{
    SLOTS, SlotIndex,
    record::{ReportTooLong, SlotReport},
};
use crate::{
    lease::{
        CREATE_CAS, CasMismatch,
        watch::{TickClock, Watch},
    },
    units::WallTime,
};

/// Is how long a slot must be silent until it is anybody's: 5 s, twenty ticks.
///
/// Less would take the slots of workers that are only busy, and their totals with them; more keeps
/// counting dead VMs, whose part of a divided floor nobody spends.
pub const SLOT_EXPIRY: Duration = Duration::from_secs(5);

/// Says what to write into which slot. All but `Nothing` want [`SlotClaim::on_written`] afterwards.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum SlotStep {
    /// Claims a slot: it is missing, unreadable or expired. The report goes with it.
    Claim(SlotWrite),
    /// Waits: all slots are others'. The report is not written.
    Nothing,
    /// Reports into the slot that this VM has.
    Report(SlotWrite),
}

/// Is a write with the cas of the read; the adapter never makes it another way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlotWrite {
    /// Is the slot.
    pub index: SlotIndex,
    /// Is the value.
    pub bytes: Vec<u8>,
    /// Is what was read, or [`CREATE_CAS`]; never zero, which would write always.
    pub cas: u32,
}

impl SlotStep {
    /// Is what to write; `None` for `Nothing`.
    #[must_use]
    pub const fn write(&self) -> Option<&SlotWrite> {
        match self {
            Self::Nothing => None,
            Self::Claim(write) | Self::Report(write) => Some(write),
        }
    }
}

/// Counts what a VM did and saw, since it started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SlotCounts {
    /// Slots that were claimed.
    pub claimed: u64,
    /// Steps back of the clock from one tick to the next.
    pub clock_regressions: u64,
    /// Slots that another VM has taken from this one.
    pub lost_slots: u64,
    /// Writes that were refused.
    pub lost_writes: u64,
    /// Reports that were written, those of claims too.
    pub reported: u64,
    /// Reads of something that is not a slot.
    pub unreadable: u64,
    /// Ticks that found no slot to report into.
    pub without_slot: u64,
}

/// Is one VM's place to report into, or its search for one.
#[derive(Clone, Debug)]
pub struct SlotClaim {
    id: u64,
    saw_stream: bool,
    held: Option<SlotIndex>,
    beat: u64,
    clock: TickClock,
    watches: [Watch<(u64, u64)>; SLOTS],
    pending: Option<SlotIndex>,
    counts: SlotCounts,
}

/// Is where a report may go.
struct Place {
    index: SlotIndex,
    cas: u32,
    held: bool,
}

impl SlotClaim {
    /// Is a VM without a slot. `draw` becomes its id: it must be random; the lease's may be used.
    #[must_use]
    pub fn new(draw: u64) -> Self {
        Self {
            id: draw.max(1),
            saw_stream: false,
            held: None,
            beat: 0,
            clock: TickClock::new(),
            watches: [const { Watch::new() }; SLOTS],
            pending: None,
            counts: SlotCounts::default(),
        }
    }

    /// Decides at a tick what to write.
    ///
    /// `read` gives a slot's value with its cas, `None` where nobody ever wrote; it is asked for
    /// the own slot, or else in order until one is found. `saw_stream` stays true once it was.
    /// `report` holds this VM's totals; empty is legal.
    ///
    /// # Errors
    /// [`TickError::Read`]: what `read` fails with; nothing is written at this tick.
    /// [`TickError::TooLong`]: the report is longer than a slot.
    pub fn on_tick<B: AsRef<[u8]>, E>(
        &mut self,
        read: impl FnMut(SlotIndex) -> Result<Option<(B, u32)>, E>,
        saw_stream: bool,
        report: &[u8],
        now: WallTime,
    ) -> Result<SlotStep, TickError<E>> {
        self.pending = None;
        self.saw_stream |= saw_stream;
        let step = self.clock.step(now);
        self.counts.clock_regressions = self.clock.regressions();
        let Some(place) = self.place(read, step).map_err(TickError::Read)? else {
            increment(&mut self.counts.without_slot);
            return Ok(SlotStep::Nothing);
        };
        self.beat = self.beat.saturating_add(1);
        let slot = SlotReport {
            holder: self.id,
            beat: self.beat,
            written: now,
            saw_stream: self.saw_stream,
            report,
        };
        let write = SlotWrite {
            index: place.index,
            bytes: slot.encode().map_err(TickError::TooLong)?,
            cas: place.cas,
        };
        self.pending = Some(place.index);
        Ok(if place.held {
            SlotStep::Report(write)
        } else {
            SlotStep::Claim(write)
        })
    }

    /// Takes what came of the write that the last tick asked for. Without one it changes nothing.
    pub fn on_written(&mut self, outcome: Result<(), CasMismatch>) {
        let Some(index) = self.pending.take() else {
            return;
        };
        if outcome.is_err() {
            // The next tick reads who has it.
            increment(&mut self.counts.lost_writes);
            return;
        }
        increment(&mut self.counts.reported);
        if self.held.replace(index).is_none() {
            increment(&mut self.counts.claimed);
        }
    }

    /// Is the slot that this VM has; `None`: it reports nothing.
    #[must_use]
    pub const fn held(&self) -> Option<SlotIndex> {
        self.held
    }

    /// Is what was counted.
    #[must_use]
    pub const fn counts(&self) -> SlotCounts {
        self.counts
    }

    /// Finds where the report goes.
    fn place<B: AsRef<[u8]>, E>(
        &mut self,
        mut read: impl FnMut(SlotIndex) -> Result<Option<(B, u32)>, E>,
        step: Duration,
    ) -> Result<Option<Place>, E> {
        if let Some(index) = self.held {
            let value = read(index)?;
            let other = value.as_ref().and_then(|(bytes, _)| {
                let slot = SlotReport::decode(bytes.as_ref());
                if slot.is_err() {
                    increment(&mut self.counts.unreadable);
                }
                slot.ok().filter(|slot| slot.holder != self.id)
            });
            if other.is_none() {
                let cas = value.map_or(CREATE_CAS, |(_, cas)| cas);
                let held = true;
                return Ok((cas != 0).then_some(Place { index, cas, held }));
            }
            self.held = None;
            increment(&mut self.counts.lost_slots);
        }
        let mut watches = self.watches.iter_mut();
        for index in SlotIndex::all() {
            let (value, Some(watch)) = (read(index)?, watches.next()) else {
                continue;
            };
            let (free, cas) = match &value {
                None => (true, CREATE_CAS),
                Some((bytes, cas)) => {
                    let free = match SlotReport::decode(bytes.as_ref()) {
                        Ok(slot) => {
                            watch.look((slot.holder, slot.beat), step) >= SLOT_EXPIRY
                                || slot.holder == self.id
                        }
                        Err(_) => {
                            increment(&mut self.counts.unreadable);
                            true
                        }
                    };
                    (free, *cas)
                }
            };
            if free && cas != 0 {
                let held = false;
                return Ok(Some(Place { index, cas, held }));
            }
        }
        Ok(None)
    }
}

/// Says why a tick wrote nothing although it should have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TickError<E> {
    /// A slot could not be read.
    #[error("a slot could not be read")]
    Read(E),
    /// The report is too long.
    #[error(transparent)]
    TooLong(ReportTooLong),
}

const fn increment(count: &mut u64) {
    *count = count.saturating_add(1);
}
