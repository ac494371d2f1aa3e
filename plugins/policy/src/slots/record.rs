//! A slot's bytes in shared data: who, since when, and the report.

use alloc::vec::Vec;

use crate::{digest::fnv1a_64, units::WallTime};

/// Is the version that is written and the only one that is read. It belongs into the key's name.
pub const SLOT_FORMAT: u8 = 1;

/// Is the longest report, in bytes: 64 KiB.
///
/// Less would be too little for a thousand endpoints; more would let 64 slots take more than 4 MiB,
/// and a leader copies each of them at every tick.
pub const MAX_REPORT_BYTES: usize = 65_536;

/// Is what a slot has besides its report, in bytes.
pub const SLOT_OVERHEAD_BYTES: usize = HEAD_BYTES + 8;

const HEAD_BYTES: usize = 32;
const MAGIC: [u8; 3] = *b"tgs";
/// Is the one flag there is: the VM has seen a stream.
const SAW_STREAM: u8 = 1;

/// Is what a slot says.
///
/// Layout, all numbers big-endian: magic (3 bytes), format, flags, three zeros; eight bytes each of
/// holder, beat, written; the report; FNV-1a of all before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SlotReport<'a> {
    /// Is the id of the VM, a draw; never zero.
    pub holder: u64,
    /// Counts what the VM wrote.
    pub beat: u64,
    /// Is when it wrote, by its clock.
    pub written: WallTime,
    /// Says that the VM has seen a stream.
    pub saw_stream: bool,
    /// Is the report; empty is legal.
    pub report: &'a [u8],
}

/// Says why bytes are not a slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SlotError {
    /// The checksum is another.
    #[error("the checksum does not match")]
    Checksum,
    /// Something else than a slot of ours, or longer than one can be.
    #[error("not a slot of ours")]
    Foreign,
    /// Another version, with its number.
    #[error("format {0} is not known")]
    Format(u8),
    /// No holder, or an unknown flag.
    #[error("the fields contradict each other")]
    Malformed,
}

/// Says that a report is longer than [`MAX_REPORT_BYTES`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a report of {bytes} bytes is longer than {MAX_REPORT_BYTES}")]
pub struct ReportTooLong {
    /// Is how long it is.
    pub bytes: usize,
}

impl<'a> SlotReport<'a> {
    /// Writes the slot.
    ///
    /// # Errors
    /// A report longer than [`MAX_REPORT_BYTES`]: [`ReportTooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, ReportTooLong> {
        let bytes = self.report.len();
        if bytes > MAX_REPORT_BYTES {
            return Err(ReportTooLong { bytes });
        }
        let mut out = Vec::with_capacity(bytes.saturating_add(SLOT_OVERHEAD_BYTES));
        let flags = if self.saw_stream { SAW_STREAM } else { 0 };
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[SLOT_FORMAT, flags, 0, 0, 0]);
        out.extend_from_slice(&self.holder.to_be_bytes());
        out.extend_from_slice(&self.beat.to_be_bytes());
        out.extend_from_slice(&self.written.as_ns().to_be_bytes());
        out.extend_from_slice(self.report);
        let checksum = fnv1a_64(&out);
        out.extend_from_slice(&checksum.to_be_bytes());
        Ok(out)
    }

    /// Reads a slot; any bytes are legal input. O(bytes) for the checksum, at most
    /// [`MAX_REPORT_BYTES`] and the overhead; nothing is copied.
    ///
    /// # Errors
    /// See [`SlotError`]. Length and magic are checked first, then the format, the checksum and the
    /// fields last.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, SlotError> {
        let foreign = SlotError::Foreign;
        let (body, checksum) = bytes.split_last_chunk::<8>().ok_or(foreign)?;
        let (head, report) = body.split_first_chunk::<HEAD_BYTES>().ok_or(foreign)?;
        let (words, _) = head.as_chunks::<8>();
        let [tag, holder, beat, written] = words else {
            return Err(foreign);
        };
        let [m0, m1, m2, format, flags, rest @ ..] = tag;
        if [*m0, *m1, *m2] != MAGIC || report.len() > MAX_REPORT_BYTES {
            return Err(foreign);
        }
        if *format != SLOT_FORMAT {
            return Err(SlotError::Format(*format));
        }
        if fnv1a_64(body).to_be_bytes() != *checksum {
            return Err(SlotError::Checksum);
        }
        let holder = u64::from_be_bytes(*holder);
        if holder == 0 || *flags > SAW_STREAM || *rest != [0; 3] {
            return Err(SlotError::Malformed);
        }
        Ok(Self {
            holder,
            beat: u64::from_be_bytes(*beat),
            written: WallTime::from_ns(u64::from_be_bytes(*written)),
            saw_stream: *flags == SAW_STREAM,
            report,
        })
    }
}

#[cfg(test)]
mod tests;
