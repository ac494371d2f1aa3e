//! Makes one VM of an Envoy the leader, and tells an earlier leader's writes from its own.
//!
//! Why: every worker's VM and the main thread's run the same code. All of them probing would
//! multiply the probes, and none would know the whole. Nobody else can appoint one: VMs share
//! nothing but a map with compare-and-set, and they die without a word.
//! Model: one record under one key. Whoever finds no key creates it; the holder renews it at every
//! tick; whoever sees it unchanged for `LEASE` = 1 s, by its own ticks, takes it with `epoch + 1`.
//! Each is a write with the cas of the read, so that exactly one succeeds. With ticks at most `g`
//! apart, a VM sees the last renewal within `g`, the lease is over `LEASE` after that, and the VM's
//! next tick notices: the takeover comes within `LEASE + 2g` of the last renewal, 1.65 s for ticks
//! of 250 ms with 75 ms of jitter. A step back of the clock, or a write that came in between, costs
//! one `g` more. So it comes within 2 s for `g` up to 500 ms, or up to 333 ms with one such fault.
//! Inputs / Output: at each tick the stored bytes, whether a stream was seen, the time, a draw; a
//! [`Step`], which is what to write and why. The adapter keeps this order: read the shared data,
//! **then** the clock, [`Lease::on_tick`], write, [`Lease::on_written`]. A clock that is read
//! before the data would make a silence look longer than it was.
//! Preference: a VM that has had no stream for 10 s asks a holder that has seen one; the holder
//! gives the lease up at its next tick and the one who asked takes it at its own: for that `g`
//! nobody leads. A VM that has seen a stream never asks, and only such a VM is asked: while no
//! holder dies, there are fewer hand-overs than VMs.
//! Fencing: a holder believes for `LEASE` from the clock that it renewed by, and stops at once when
//! a renewal is refused. One that was stalled finds its belief over; where its clock deceives it,
//! what it writes carries its old epoch, and a [`Fence`] refuses that.
//! Cold start: the first tick of any VM creates the record, with epoch 1.
//! Limits: a holder whose ticks stall for `LEASE` leads no more, and loses the lease to the next VM
//! that ticks in time; if all VMs stall, the takeover is as late as they are, and at most `LEASE`
//! and a tick later. A tick counts 500 ms at most and a step back of the clock nothing, so that no
//! single jump ends a lease that lives; while all clocks stand still, no lease ends. Bytes that are
//! no record (a neighbour wrote under our key), and a record older than one that was seen (it was
//! put back), are taken over at once. The epoch then goes to the clock's nanoseconds and a draw,
//! because the last one may be known to nobody. Epochs and counters saturate. This is no defence
//! against a neighbour that forges records.
//! Scope: one lease per `vm_id` and key, for all VMs. Cost: O(1) per tick: one read and at most one
//! write of 64 bytes; 320 bytes of state, no allocation.
//! Source: C. Gray and D. Cheriton, Leases, SOSP 1989 (the lease); M. Burrows, The Chubby lock
//! service, OSDI 2006, section 2.4 (the epoch is its sequencer).
//! Differs: no two VMs' clocks are compared.

mod decision;
mod fence;
mod record;
mod state;
pub(crate) mod watch;

pub use fence::{Fence, Fenced};
pub use record::{LEASE_FORMAT, RECORD_BYTES, Record, RecordError};
pub use state::{
    CREATE_CAS, CasMismatch, LEASE, Lease, LeaseCounts, QUIET_BEFORE_ASKING, Step, Write,
};
pub use watch::MAX_TICK_STEP;
