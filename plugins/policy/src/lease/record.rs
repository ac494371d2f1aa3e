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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECORD: Record = Record {
        holder: 0x0102_0304_0506_0708,
        epoch: 7,
        beat: 9,
        renewed: WallTime::from_seconds(1_700_000_000),
        expires: WallTime::from_seconds(1_700_000_001),
        wanted_by: Some(3),
        saw_stream: true,
    };

    fn sealed(mut bytes: [u8; RECORD_BYTES]) -> [u8; RECORD_BYTES] {
        let checksum = fnv1a_64(&bytes[..56]);
        bytes[56..].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    #[test]
    fn record_has_the_layout_that_is_documented() {
        let bytes = RECORD.encode();
        assert_eq!(bytes[..8], *b"tgl\x01\x01\0\0\0");
        assert_eq!(bytes[8..16], [1, 2, 3, 4, 5, 6, 7, 8]);
        let numbers = [
            7,
            9,
            1_700_000_000_000_000_000,
            1_700_000_001_000_000_000,
            3,
        ];
        for (at, number) in (16..56).step_by(8).zip(numbers) {
            assert_eq!(bytes[at..at + 8], u64::to_be_bytes(number), "{at}");
        }
        assert_eq!(bytes[56..], fnv1a_64(&bytes[..56]).to_be_bytes());
        assert_eq!(Record::decode(&bytes), Ok(RECORD));
        assert_eq!(RECORD.term(), Duration::from_secs(1));
    }

    #[test]
    fn record_with_any_bit_flipped_is_refused() {
        for bit in 0..RECORD_BYTES * 8 {
            let mut bytes = RECORD.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let expected = match bit / 8 {
                0..3 => RecordError::Foreign,
                3 => RecordError::Format(bytes[3]),
                _ => RecordError::Checksum,
            };
            assert_eq!(Record::decode(&bytes), Err(expected), "bit {bit}");
        }
    }

    #[test]
    fn record_of_another_length_is_refused() {
        let mut longer = RECORD.encode().to_vec();
        longer.push(0);
        assert_eq!(Record::decode(&longer), Err(RecordError::Foreign));
        for length in 0..RECORD_BYTES {
            assert_eq!(
                Record::decode(&longer[..length]),
                Err(RecordError::Foreign),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn record_that_contradicts_itself_is_refused() {
        let cases = [
            Record {
                holder: 0,
                ..RECORD
            },
            Record { epoch: 0, ..RECORD },
            Record {
                expires: WallTime::from_ns(RECORD.renewed.as_ns() - 1),
                ..RECORD
            },
        ];
        for record in cases {
            assert_eq!(
                Record::decode(&record.encode()),
                Err(RecordError::Malformed),
                "{record:?}"
            );
        }
        for (at, value) in [(4, 2), (5, 1), (6, 1), (7, 1)] {
            let mut bytes = RECORD.encode();
            bytes[at] = value;
            assert_eq!(
                Record::decode(&sealed(bytes)),
                Err(RecordError::Malformed),
                "byte {at}"
            );
        }
    }

    proptest! {
        #[test]
        fn record_is_read_as_it_was_written(
            holder in 1_u64..,
            epoch in 1_u64..,
            beat: u64,
            renewed: u64,
            term: u64,
            wanted_by in proptest::option::of(1_u64..),
            saw_stream: bool,
        ) {
            let record = Record {
                holder,
                epoch,
                beat,
                renewed: WallTime::from_ns(renewed),
                expires: WallTime::from_ns(renewed.saturating_add(term)),
                wanted_by,
                saw_stream,
            };
            prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn any_bytes_are_refused_or_written_back_the_same(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
            head in proptest::option::of(Just(*b"tgl\x01\x01\0\0\0")),
            seal: bool,
        ) {
            let mut bytes = bytes;
            if let (Some(head), Some(start)) = (head, bytes.get_mut(..8)) {
                start.copy_from_slice(&head);
            }
            if seal && bytes.len() >= RECORD_BYTES {
                bytes.truncate(RECORD_BYTES);
                bytes = sealed(bytes.as_slice().try_into().unwrap()).to_vec();
            }
            if let Ok(record) = Record::decode(&bytes) {
                prop_assert_eq!(record.encode().to_vec(), bytes);
            }
        }
    }
}
