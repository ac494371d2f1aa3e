//! What snapshots, reports and versions have in common: sizes, version and checksum.

use alloc::vec::Vec;

use super::fields::Fields;
use crate::digest::xxh64;

/// Is the major version that is written and the only one that is read.
pub const FORMAT_MAJOR: u16 = 2;

/// Is the minor version that is written; others of the same major version are read as well.
pub const FORMAT_MINOR: u16 = 0;

/// Is magic, major, minor, bytes of the header, bytes of a record, bytes in all, records.
pub(super) const PREFIX_BYTES: usize = 24;

/// Is the length of the checksum at the end.
pub(super) const CHECKSUM_BYTES: usize = 8;

/// Says why shared bytes were refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The bytes changed after they were written, or were written by halves.
    #[error("checksum does not match")]
    Checksum,
    /// The sizes in the header contradict each other.
    #[error("sizes contradict each other")]
    Header,
    /// There are more bytes than were written.
    #[error("must have {expected} bytes, got {got}")]
    Longer {
        /// Is how many the header states.
        expected: usize,
        /// Is how many there are.
        got: usize,
    },
    /// Written by another major version; a newer module has to read it.
    #[error("must be of major version {FORMAT_MAJOR}, got {major}")]
    Major {
        /// Is the version that it has.
        major: u16,
    },
    /// Somebody else's bytes: they don't begin as ours do.
    #[error("not written by this plugin")]
    NotOurs,
    /// A record has a field out of its range.
    #[error("out of range in record {index}")]
    Record {
        /// Is the record's position, from 0.
        index: usize,
    },
    /// A record is not after the one in front of it: out of order, or there twice.
    #[error("out of order at record {index}")]
    Order {
        /// Is the position of the second of both, from 0.
        index: usize,
    },
    /// Is of another cluster than the one whose key it lies under.
    #[error("of another cluster")]
    OtherCluster,
    /// Was made under another configuration; its key says so too.
    #[error("of another configuration")]
    OtherConfiguration,
    /// There are more records than a reader takes.
    #[error("must have at most {max} records, got {count}")]
    TooMany {
        /// Is how many the header states.
        count: usize,
        /// Is the bound.
        max: usize,
    },
    /// There are fewer bytes than were written; none at all as well.
    #[error("must have at least {expected} bytes, got {got}")]
    Truncated {
        /// Is how many there must be at least.
        expected: usize,
        /// Is how many there are.
        got: usize,
    },
    /// The table of zones is not what its size says.
    #[error("zones are not readable")]
    Zones,
}

/// Is what makes one kind of shared bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// Begins the bytes.
    pub(super) magic: [u8; 8],
    /// Is the length of prefix and header as this version writes them.
    pub(super) header_bytes: usize,
    /// Is the length of a record as this version writes it.
    pub(super) record_bytes: usize,
    /// Is the longest record that a newer minor version may write.
    pub(super) max_record_bytes: usize,
    /// Is how many records there may be.
    pub(super) max_records: usize,
}

/// Is shared bytes whose sizes and checksum are right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// Is the header behind the prefix; a newer version's is longer.
    pub(super) header: &'a [u8],
    /// Are the records.
    pub(super) records: Records<'a>,
    /// Is what follows the records, up to the checksum.
    pub(super) tail: &'a [u8],
}

/// Are records of equal length, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Records<'a> {
    bytes: &'a [u8],
    stride: usize,
}

impl Kind {
    /// Replaces `out` by a prefix whose sizes [`Self::finish`] fills in. The header is to follow.
    pub(super) fn begin(&self, out: &mut Vec<u8>, records: usize) {
        let length = self
            .header_bytes
            .saturating_add(records.saturating_mul(self.record_bytes))
            .saturating_add(CHECKSUM_BYTES);
        out.clear();
        out.reserve(length);
        out.extend_from_slice(&self.magic);
        out.extend_from_slice(&FORMAT_MAJOR.to_be_bytes());
        out.extend_from_slice(&FORMAT_MINOR.to_be_bytes());
        for size in [self.header_bytes, self.record_bytes] {
            out.extend_from_slice(&u16::try_from(size).unwrap_or(u16::MAX).to_be_bytes());
        }
        // The length in all.
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&u32::try_from(records).unwrap_or(u32::MAX).to_be_bytes());
    }

    /// Fills in the length and appends the checksum.
    pub(super) fn finish(&self, out: &mut Vec<u8>) {
        let total = out.len().saturating_add(CHECKSUM_BYTES);
        let total = u32::try_from(total).unwrap_or(u32::MAX).to_be_bytes();
        for (place, byte) in out.iter_mut().skip(16).zip(total) {
            *place = byte;
        }
        let checksum = xxh64(out, 0);
        out.extend_from_slice(&checksum.to_be_bytes());
    }

    /// Checks bytes of this kind: magic, major version, length, checksum, sizes, in that order.
    pub(super) fn open<'a>(&self, bytes: &'a [u8]) -> Result<Frame<'a>, SnapshotError> {
        let (frame, total) = self.open_front(bytes)?;
        if bytes.len() > total {
            return Err(SnapshotError::Longer {
                expected: total,
                got: bytes.len(),
            });
        }
        Ok(frame)
    }

    /// Checks bytes of this kind that others may follow, and says how many there are.
    pub(super) fn open_front<'a>(
        &self,
        bytes: &'a [u8],
    ) -> Result<(Frame<'a>, usize), SnapshotError> {
        let truncated = |expected| SnapshotError::Truncated {
            expected,
            got: bytes.len(),
        };
        let least = self.header_bytes.saturating_add(CHECKSUM_BYTES);
        let mut fields = Fields(bytes);
        // A neighbour's short value is a neighbour's, not half of ours.
        if !bytes.iter().zip(&self.magic).all(|(a, b)| a == b) {
            return Err(SnapshotError::NotOurs);
        }
        fields.take::<8>().ok_or_else(|| truncated(least))?;
        let major = fields.u16().ok_or_else(|| truncated(least))?;
        if major != FORMAT_MAJOR {
            return Err(SnapshotError::Major { major });
        }
        // The minor version only says what else is there, and the sizes say how long that is.
        let mut sizes = || {
            fields.u16()?;
            Some((fields.u16()?, fields.u16()?, fields.u32()?, fields.u32()?))
        };
        let (header_bytes, stride, total, count) = sizes().ok_or_else(|| truncated(least))?;
        let (header_bytes, stride) = (usize::from(header_bytes), usize::from(stride));
        let total = usize::try_from(total).map_err(|_| SnapshotError::Header)?;
        let count = usize::try_from(count).map_err(|_| SnapshotError::Header)?;
        let whole = bytes.get(..total).ok_or_else(|| truncated(total))?;
        let (body, checksum) = whole
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(SnapshotError::Header)?;
        if xxh64(body, 0).to_be_bytes() != *checksum {
            return Err(SnapshotError::Checksum);
        }
        if count > self.max_records {
            return Err(SnapshotError::TooMany {
                count,
                max: self.max_records,
            });
        }
        if header_bytes < self.header_bytes
            || stride < self.record_bytes
            || stride > self.max_record_bytes
        {
            return Err(SnapshotError::Header);
        }
        let (head, rest) = body
            .split_at_checked(header_bytes)
            .ok_or(SnapshotError::Header)?;
        let (records, tail) = rest
            .split_at_checked(count.saturating_mul(stride))
            .ok_or(SnapshotError::Header)?;
        let frame = Frame {
            header: head.get(PREFIX_BYTES..).ok_or(SnapshotError::Header)?,
            records: Records {
                bytes: records,
                stride,
            },
            tail,
        };
        Ok((frame, total))
    }
}

impl<'a> Records<'a> {
    /// Takes the bytes of records that were checked before.
    pub(super) const fn new(bytes: &'a [u8], stride: usize) -> Self {
        Self { bytes, stride }
    }

    /// Is the length of a record.
    pub(super) const fn stride(&self) -> usize {
        self.stride
    }

    /// Is the length of all.
    pub(super) const fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Is how many there are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len().checked_div(self.stride).unwrap_or(0)
    }

    /// Is the record at a position.
    pub(super) fn at(&self, index: usize) -> Option<&'a [u8]> {
        let start = index.checked_mul(self.stride)?;
        self.bytes.get(start..)?.get(..self.stride)
    }

    /// Lists them in order.
    pub(super) fn iter(&self) -> core::slice::ChunksExact<'a, u8> {
        // No kind has records of no bytes; a stride of zero would panic.
        self.bytes.chunks_exact(self.stride.max(1))
    }

    /// Finds the record that begins with `key` among records that are sorted by their beginning.
    pub(super) fn find<const N: usize>(&self, key: &[u8; N]) -> Option<&'a [u8]> {
        let (mut low, mut high) = (0_usize, self.len());
        while low < high {
            let middle = low.midpoint(high);
            let record = self.at(middle)?;
            match record.first_chunk::<N>()?.cmp(key) {
                core::cmp::Ordering::Less => low = middle.saturating_add(1),
                core::cmp::Ordering::Equal => return Some(record),
                core::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Checks that each record begins with more than the one in front of it.
    pub(super) fn check_order<const N: usize>(&self) -> Result<(), SnapshotError> {
        let keys = || self.iter().map(<[u8]>::first_chunk::<N>);
        let wrong = keys().zip(keys().skip(1)).position(|(a, b)| a >= b);
        wrong.map_or(Ok(()), |index| {
            Err(SnapshotError::Order {
                index: index.saturating_add(1),
            })
        })
    }
}
