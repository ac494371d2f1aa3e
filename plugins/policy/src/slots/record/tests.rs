//! What the bytes of a slot promise.

use super::*;
use proptest::prelude::*;
use std::vec;

const SLOT: SlotReport<'_> = SlotReport {
    holder: 0x0102_0304_0506_0708,
    beat: 9,
    written: WallTime::from_seconds(1_700_000_000),
    saw_stream: true,
    report: b"report",
};

#[test]
fn slot_has_the_layout_that_is_documented() {
    let bytes = SLOT.encode().unwrap();
    assert_eq!(bytes.len(), 6 + SLOT_OVERHEAD_BYTES);
    assert_eq!(bytes[..8], *b"tgs\x01\x01\0\0\0");
    assert_eq!(bytes[8..16], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(bytes[16..24], 9_u64.to_be_bytes());
    assert_eq!(bytes[24..32], 1_700_000_000_000_000_000_u64.to_be_bytes());
    assert_eq!(bytes[32..38], *b"report");
    assert_eq!(bytes[38..], fnv1a_64(&bytes[..38]).to_be_bytes());
    assert_eq!(SlotReport::decode(&bytes), Ok(SLOT));
}

#[test]
fn slot_with_any_bit_flipped_or_any_byte_missing_is_refused() {
    let whole = SLOT.encode().unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            0..3 => SlotError::Foreign,
            3 => SlotError::Format(bytes[3]),
            _ => SlotError::Checksum,
        };
        assert_eq!(SlotReport::decode(&bytes), Err(expected), "bit {bit}");
    }
    for length in 0..whole.len() {
        assert!(SlotReport::decode(&whole[..length]).is_err(), "{length}");
    }
}

#[test]
fn slot_without_a_holder_or_with_an_unknown_flag_is_refused() {
    let nobody = SlotReport { holder: 0, ..SLOT };
    let bytes = nobody.encode().unwrap();
    assert_eq!(SlotReport::decode(&bytes), Err(SlotError::Malformed));
    for (at, value) in [(4, 2), (5, 1), (6, 1), (7, 1)] {
        let mut bytes = SLOT.encode().unwrap();
        bytes[at] = value;
        let body = bytes.len() - 8;
        let checksum = fnv1a_64(&bytes[..body]);
        bytes[body..].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(
            SlotReport::decode(&bytes),
            Err(SlotError::Malformed),
            "byte {at}"
        );
    }
}

#[test]
fn longest_report_is_written_and_read_and_one_byte_more_is_neither() {
    let longest = vec![7; MAX_REPORT_BYTES];
    let slot = SlotReport {
        report: &longest,
        ..SLOT
    };
    let mut bytes = slot.encode().unwrap();
    assert_eq!(SlotReport::decode(&bytes), Ok(slot));
    let longer = vec![7; MAX_REPORT_BYTES + 1];
    let slot = SlotReport {
        report: &longer,
        ..SLOT
    };
    let error = ReportTooLong {
        bytes: MAX_REPORT_BYTES + 1,
    };
    assert_eq!(slot.encode(), Err(error));
    bytes.push(0);
    assert_eq!(SlotReport::decode(&bytes), Err(SlotError::Foreign));
}

proptest! {
    #[test]
    fn slot_is_read_as_it_was_written(
        holder in 1_u64..,
        beat: u64,
        written: u64,
        saw_stream: bool,
        report in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let written = WallTime::from_ns(written);
        let slot = SlotReport { holder, beat, written, saw_stream, report: &report };
        let bytes = slot.encode().unwrap();
        prop_assert_eq!(SlotReport::decode(&bytes), Ok(slot));
    }

    #[test]
    fn any_bytes_are_refused_or_written_back_the_same(
        bytes in proptest::collection::vec(any::<u8>(), 0..80),
        seal: bool,
    ) {
        let mut bytes = bytes;
        if let (true, Some(body)) = (seal, bytes.len().checked_sub(8)) {
            let head = b"tgs\x01";
            bytes.iter_mut().zip(head).for_each(|(byte, head)| *byte = *head);
            bytes.iter_mut().take(8).skip(5).for_each(|byte| *byte = 0);
            let checksum = fnv1a_64(&bytes[..body]);
            bytes[body..].copy_from_slice(&checksum.to_be_bytes());
        }
        if let Ok(slot) = SlotReport::decode(&bytes) {
            prop_assert_eq!(slot.encode().unwrap(), bytes);
        }
    }
}
