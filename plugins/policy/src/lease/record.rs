//! The lease's bytes in shared data: 64 of them.

use core::time::Duration;

use crate::{digest::fnv1a_64, units::WallTime};

/// Is the version that is written and the only one that is read. It belongs into the key's name:
/// two versions under one key would take the lease from each other for ever.
pub const LEASE_FORMAT: u8 = 1;

/// Is the length of every record, in bytes.
pub const RECORD_BYTES: usize = 64;

/// Begins every record, so that another plugin's value is told from a damaged one.
const MAGIC: [u8; 3] = *b"tgl";

/// Is the one flag there is: the holder has seen a stream.
const SAW_STREAM: u8 = 1;

/// Says who holds the lease, since when and until when.
///
/// Layout, all numbers big-endian: magic (3 bytes), format, flags, three zeros; then eight bytes
/// each of holder, epoch, beat, renewed, expires, wanted by; then FNV-1a of all before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record {
    /// Is the holder's id, a draw; never zero.
    pub holder: u64,
    /// Counts the changes of holder; from 1 on.
    pub epoch: u64,
    /// Counts what holders have written: the sign of life, also under a clock that stands still.
    pub beat: u64,
    /// Is when the holder wrote it, by the holder's clock.
    pub renewed: WallTime,
    /// Is when the lease ends, by the holder's clock; the same as `renewed` where it was given up.
    pub expires: WallTime,
    /// Is the id of a VM without streams that asked for the lease; `None`: nobody asks.
    pub wanted_by: Option<u64>,
    /// Says that the holder has seen a stream, so that one who has not is preferred.
    pub saw_stream: bool,
}

/// Says why bytes are not a lease's record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// The checksum is another.
    #[error("the checksum does not match")]
    Checksum,
    /// Something else than a record of ours.
    #[error("not a record of ours")]
    Foreign,
    /// Another version, with its number.
    #[error("format {0} is not known")]
    Format(u8),
    /// No holder, no epoch, an end before the beginning, an unknown flag.
    #[error("the fields contradict each other")]
    Malformed,
}

impl Record {
    /// Writes the record.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let [m0, m1, m2] = MAGIC;
        let flags = if self.saw_stream { SAW_STREAM } else { 0 };
        let words = [
            u64::from_be_bytes([m0, m1, m2, LEASE_FORMAT, flags, 0, 0, 0]),
            self.holder,
            self.epoch,
            self.beat,
            self.renewed.as_ns(),
            self.expires.as_ns(),
            self.wanted_by.unwrap_or(0),
        ];
        let mut out = [0; RECORD_BYTES];
        for (bytes, word) in out.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        if let Some((body, checksum)) = out.split_last_chunk_mut::<8>() {
            *checksum = fnv1a_64(body).to_be_bytes();
        }
        out
    }

    /// Reads a record; any bytes are legal input.
    ///
    /// # Errors
    /// See [`RecordError`]. Length and magic are checked first, then the format, the checksum and
    /// the fields last.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let bytes: &[u8; RECORD_BYTES] = bytes.try_into().map_err(|_| RecordError::Foreign)?;
        let (body, checksum) = bytes.split_last_chunk::<8>().ok_or(RecordError::Foreign)?;
        let (words, _) = body.as_chunks::<8>();
        let [head, holder, epoch, beat, renewed, expires, wanted_by] = words else {
            return Err(RecordError::Foreign);
        };
        let [m0, m1, m2, format, flags, rest @ ..] = head;
        if [*m0, *m1, *m2] != MAGIC {
            return Err(RecordError::Foreign);
        }
        if *format != LEASE_FORMAT {
            return Err(RecordError::Format(*format));
        }
        if fnv1a_64(body).to_be_bytes() != *checksum {
            return Err(RecordError::Checksum);
        }
        let wanted_by = u64::from_be_bytes(*wanted_by);
        let record = Self {
            holder: u64::from_be_bytes(*holder),
            epoch: u64::from_be_bytes(*epoch),
            beat: u64::from_be_bytes(*beat),
            renewed: WallTime::from_ns(u64::from_be_bytes(*renewed)),
            expires: WallTime::from_ns(u64::from_be_bytes(*expires)),
            wanted_by: (wanted_by != 0).then_some(wanted_by),
            saw_stream: *flags == SAW_STREAM,
        };
        let sound = record.holder != 0
            && record.epoch != 0
            && record.renewed <= record.expires
            && *flags <= SAW_STREAM
            && *rest == [0; 3];
        if sound {
            Ok(record)
        } else {
            Err(RecordError::Malformed)
        }
    }

    /// Is how long the holder may lead without another word, by its own clock; zero: given up.
    #[must_use]
    pub const fn term(&self) -> Duration {
        self.expires.saturating_since(self.renewed)
    }
}

#[cfg(test)]
mod tests;
