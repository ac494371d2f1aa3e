//! Gives each VM a place in shared data to report into: at most 64 of them, for ever.
//!
//! Why: nothing in shared data is ever evicted, and a VM that restarts is another one. A key per
//! VM would leak; a queue has one reader and no end; one common key would make all VMs wait for
//! each other's writes.
//! Model: slots 0 to 63, each under its own key. A VM claims the first one that is missing, is
//! unreadable, or has been silent for `SLOT_EXPIRY` = 5 s by its own ticks; then it writes its
//! report there at every tick, with the next beat. All are writes with the cas of the read, so that
//! one VM has it. Slots are created in order: behind the first missing key there is none.
//! Inputs / Output: at each tick a way to read slots, the report's bytes, whether a stream was
//! seen, the time; a [`SlotStep`]. The leader reads all slots into a [`SlotTable`]: it says which
//! reports are new and how many slots live.
//! Cold start: a VM claims at its first tick; of several that want the same slot at the same moment
//! one gets it and the others try again at their next tick. A leader counts every slot as alive
//! until it has been silent for `SLOT_EXPIRY`, and cannot know whether a report that it sees first
//! was used by an earlier one: [`Sight::First`].
//! Limits: a 65th VM reports nothing and counts it, until a slot expires; so does a VM that
//! starts when all 64 were used once, for the 5 s in which it sees who is silent. A VM that was stalled for
//! longer finds its slot taken and claims another; one that is not taken is still its own. A reader
//! may miss beats ([`Sight::Fresh`] says how many), so reports must hold totals, not differences. A
//! clock that stands still expires nothing, one that steps back costs a tick, one that jumps counts
//! 500 ms. Damaged slots are overwritten by their owner.
//! Scope: for all VMs with one `vm_id`. Cost: one read and one write of the report per tick; 64
//! reads per tick while without a slot; 5 KiB of state in either type, and no report is kept.

mod claim;
mod record;
mod table;

pub use claim::{SLOT_EXPIRY, SlotClaim, SlotCounts, SlotStep, SlotWrite, TickError};
pub use record::{
    MAX_REPORT_BYTES, ReportTooLong, SLOT_FORMAT, SLOT_OVERHEAD_BYTES, SlotError, SlotReport,
};
pub use table::{Sight, SlotTable};

/// Is how many slots there are. The main thread and 63 workers have one each; more would make the
/// leader's tick longer for machines that hardly exist.
pub const SLOTS: usize = 64;

/// Is the number of a slot, 0 to 63.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SlotIndex(u8);

impl SlotIndex {
    /// Lists all of them, in the order in which they are claimed and read.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..64).map(Self)
    }

    /// Is the number, for the key's name.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}
