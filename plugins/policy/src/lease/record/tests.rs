//! What the bytes of a lease promise.

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
