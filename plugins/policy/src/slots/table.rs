//! What a reader of all slots sees.

use core::time::Duration;

use super::{SLOT_EXPIRY, SLOTS, SlotIndex, record::SlotReport};
use crate::{
    lease::watch::{TickClock, Watch},
    units::WallTime,
};

/// Is what one slot shows at one look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Sight<'a> {
    /// Has been silent for [`SLOT_EXPIRY`]: its VM is dead, or as good as that.
    Expired,
    /// The first report of this VM here. Its totals are what later ones are compared with; an
    /// earlier reader may have used them.
    First(SlotReport<'a>),
    /// Another report of the same VM, `missed` beats after the last one that was seen here.
    Fresh {
        /// Is the report.
        slot: SlotReport<'a>,
        /// Is how many were written in between and never seen; zero where the beat went backwards.
        missed: u64,
    },
    /// Nobody ever wrote it; behind it there are no others.
    Missing,
    /// The same report as before.
    Unchanged,
    /// Is not a slot: a neighbour wrote it. What was known of it ages on.
    Unreadable,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    watch: Watch<(u64, u64)>,
    last: Option<(u64, u64)>,
    saw_stream: bool,
    expired: bool,
}

/// Knows which slots live. One per reader; a leader begins with a new one.
#[derive(Clone, Debug)]
pub struct SlotTable {
    clock: TickClock,
    step: Duration,
    entries: [Entry; SLOTS],
}

impl Default for SlotTable {
    fn default() -> Self {
        Self::new()
    }
}

impl SlotTable {
    /// Knows nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        let entry = Entry {
            watch: Watch::new(),
            last: None,
            saw_stream: false,
            expired: false,
        };
        Self {
            clock: TickClock::new(),
            step: Duration::ZERO,
            entries: [entry; SLOTS],
        }
    }

    /// Begins a tick. After it, [`Self::on_read`] is told of every slot once, in order, until one
    /// is [`Sight::Missing`]; a slot that could not be read is left out.
    pub fn on_tick(&mut self, now: WallTime) {
        self.step = self.clock.step(now);
    }

    /// Looks at one slot: `read` is its value, `None` where nobody ever wrote.
    pub fn on_read<'a>(&mut self, index: SlotIndex, read: Option<&'a [u8]>) -> Sight<'a> {
        let step = self.step;
        let (Some(bytes), Some(entry)) = (read, self.entries.get_mut(usize::from(index.number())))
        else {
            return Sight::Missing;
        };
        let Ok(slot) = SlotReport::decode(bytes) else {
            if let Some(last) = entry.last {
                entry.expired = entry.watch.look(last, step) >= SLOT_EXPIRY;
            }
            return Sight::Unreadable;
        };
        let sign = (slot.holder, slot.beat);
        entry.expired = entry.watch.look(sign, step) >= SLOT_EXPIRY;
        entry.saw_stream = slot.saw_stream;
        match entry.last.replace(sign) {
            Some(last) if last == sign && entry.expired => Sight::Expired,
            Some(last) if last == sign => Sight::Unchanged,
            Some((holder, beat)) if holder == slot.holder => Sight::Fresh {
                slot,
                missed: slot.beat.saturating_sub(beat).saturating_sub(1),
            },
            _ => Sight::First(slot),
        }
    }

    /// Counts the slots that are not expired.
    #[must_use]
    pub fn live(&self) -> usize {
        self.living().count()
    }

    /// Counts the live slots whose VM has seen a stream: what a floor per Envoy is divided by. Zero
    /// until the first report of such a VM.
    #[must_use]
    pub fn live_with_streams(&self) -> usize {
        self.living().filter(|entry| entry.saw_stream).count()
    }

    fn living(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.last.is_some() && !entry.expired)
    }
}
