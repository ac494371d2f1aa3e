//! Big-endian fields of fixed length, one after the other.

use alloc::vec::Vec;

use crate::units::WallTime;

/// Is the number of nanoseconds in a millisecond, the unit of times in records.
const MS_NS: u64 = 1_000_000;

/// Reads fields from the front; `None` where the bytes end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    /// Takes the next `N` bytes.
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    /// Takes a moment in whole milliseconds, 48 bits of them.
    pub(super) fn moment(&mut self) -> Option<WallTime> {
        let [a, b, c, d, e, f] = self.take()?;
        let ms = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        Some(WallTime::from_ns(ms.saturating_mul(MS_NS)))
    }

    /// Takes a moment in nanoseconds.
    pub(super) fn exact_moment(&mut self) -> Option<WallTime> {
        self.u64().map(WallTime::from_ns)
    }
}

/// Appends a moment in whole milliseconds, rounded down: all of `WallTime`'s fit into 45 bits.
pub(super) fn put_moment(out: &mut Vec<u8>, moment: WallTime) {
    let [_, _, six @ ..] = (moment.as_ns() / MS_NS).to_be_bytes();
    out.extend_from_slice(&six);
}

/// Rounds a moment down to what [`put_moment`] keeps of it.
pub(super) const fn rounded(moment: WallTime) -> WallTime {
    WallTime::from_ns((moment.as_ns() / MS_NS).saturating_mul(MS_NS))
}
