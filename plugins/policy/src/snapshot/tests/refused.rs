//! What is refused, and why.

use super::*;

#[test]
fn every_flipped_bit_is_refused() {
    let bytes = encoded(&small());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(SnapshotView::open(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn bytes_cut_short_or_followed_by_others_are_refused_by_their_length() {
    let bytes = encoded(&small());
    for length in 0..bytes.len() {
        let error = SnapshotView::open(&bytes[..length]).unwrap_err();
        let expected = if length < 24 { 76 } else { bytes.len() };
        let got = length;
        assert_eq!(error, SnapshotError::Truncated { expected, got });
    }
    let mut longer = bytes.clone();
    longer.push(0);
    let (expected, got) = (bytes.len(), longer.len());
    assert_eq!(
        SnapshotView::open(&longer).unwrap_err(),
        SnapshotError::Longer { expected, got }
    );
}

#[test]
fn halves_of_two_snapshots_are_refused_wherever_they_meet() {
    let old = encoded(&small());
    let mut snapshot = small();
    snapshot.header.generation += 1;
    let changed = snapshot.update(&address("10.0.0.2:80"), |endpoint| {
        endpoint.state = State::Vanished { until: at(99) };
    });
    assert_eq!(changed, Some(true));
    let new = encoded(&snapshot);
    assert_eq!(old.len(), new.len());
    for place in 0..=new.len() {
        let torn = [&new[..place], &old[place..]].concat();
        if torn != old && torn != new {
            let error = SnapshotView::open(&torn).unwrap_err();
            assert_eq!(error, SnapshotError::Checksum, "{place}");
        }
    }
}

#[test]
fn foreign_bytes_and_other_major_versions_are_refused_by_name() {
    let bytes = encoded(&small());
    let error = |bytes: &[u8]| SnapshotView::open(bytes).unwrap_err();
    assert_eq!(error(b"x"), SnapshotError::NotOurs);
    assert_eq!(error(b"{\"endpoints\":[]}"), SnapshotError::NotOurs);
    assert_eq!(error(&[0; 4096]), SnapshotError::NotOurs);
    let mut report = Vec::new();
    Report::new(ReportHeader {
        configuration: 1,
        cluster: 1,
        worker: 1,
        sequence: 1,
        reported_at: at(0),
    })
    .encode(&mut report);
    assert_eq!(error(&report), SnapshotError::NotOurs);
    for major in [0, 1, 3, 513] {
        let newer = resealed(&bytes, |body| {
            body[8..10].copy_from_slice(&u16::to_be_bytes(major));
        });
        assert_eq!(error(&newer), SnapshotError::Major { major });
    }
    let message = SnapshotError::Major { major: 1 }.to_string();
    assert_eq!(message, "must be of major version 2, got 1");
}

#[test]
fn fields_of_a_newer_minor_version_are_skipped() {
    let snapshot = small();
    let bytes = encoded(&snapshot);
    let mut newer = bytes[..RECORDS_AT].to_vec();
    newer[10..12].copy_from_slice(&[0, 9]);
    newer[12..14].copy_from_slice(&80_u16.to_be_bytes());
    newer[14..16].copy_from_slice(&64_u16.to_be_bytes());
    newer.extend_from_slice(&[0xaa; 12]);
    for record in bytes[RECORDS_AT..bytes.len() - 12].chunks(RECORD_BYTES) {
        newer.extend_from_slice(record);
        newer.push(0xbb);
    }
    newer.extend_from_slice(&bytes[bytes.len() - 12..bytes.len() - 8]);
    newer.extend_from_slice(&[0xcc; 33]);
    let newer = reseal(newer);
    assert_eq!(SnapshotView::open(&newer).unwrap().to_snapshot(), snapshot);
    let checked = Checked::try_new(newer).unwrap();
    assert_eq!(checked.view().to_snapshot(), snapshot);
}

/// Whoever can write a checksum can write anything: each field is looked at all the same.
#[test]
fn field_out_of_its_range_is_refused_also_under_a_right_checksum() {
    let bytes = encoded(&small());
    let second = RECORDS_AT + RECORD_BYTES;
    let zones = bytes.len() - 12;
    type Change = fn(&mut [u8], usize);
    let cases: [(&str, usize, Change, SnapshotError); 17] = [
        (
            "family",
            RECORDS_AT,
            |b, i| b[i] = 3,
            SnapshotError::Record { index: 0 },
        ),
        (
            "ip",
            RECORDS_AT,
            |b, i| b[i + 9] = 1,
            SnapshotError::Record { index: 0 },
        ),
        (
            "state",
            second,
            |b, i| b[i + 19] = 6,
            SnapshotError::Record { index: 1 },
        ),
        (
            "eds",
            second,
            |b, i| b[i + 19] = 0x30,
            SnapshotError::Record { index: 1 },
        ),
        (
            "zone",
            second,
            |b, i| b[i + 20] = 2,
            SnapshotError::Record { index: 1 },
        ),
        (
            "weight",
            second,
            |b, i| b[i + 28] = 0,
            SnapshotError::Record { index: 1 },
        ),
        (
            "order",
            RECORDS_AT,
            |b, i| b[i + 4] = 9,
            SnapshotError::Order { index: 1 },
        ),
        (
            "twice",
            RECORDS_AT,
            |b, i| b[i + 4] = 2,
            SnapshotError::Order { index: 1 },
        ),
        ("header", 12, |b, i| b[i + 1] = 67, SnapshotError::Header),
        ("header end", 12, |b, i| b[i] = 0xff, SnapshotError::Header),
        ("record", 14, |b, i| b[i + 1] = 62, SnapshotError::Header),
        (
            "record end",
            14,
            |b, i| b[i + 1] = 65,
            SnapshotError::Header,
        ),
        (
            "count",
            COUNT_AT,
            |b, i| b[i + 3] = 4,
            SnapshotError::Header,
        ),
        (
            "count end",
            COUNT_AT,
            |b, i| b[i] = 0xff,
            SnapshotError::TooMany {
                count: 0xff00_0003,
                max: MAX_ENDPOINTS,
            },
        ),
        (
            "zone order",
            zones,
            |b, i| b[i + 1] = b'b',
            SnapshotError::Zones,
        ),
        (
            "zone length",
            zones,
            |b, i| b[i + 2] = 2,
            SnapshotError::Zones,
        ),
        ("zone empty", zones, |b, i| b[i] = 0, SnapshotError::Zones),
    ];
    for (name, place, change, expected) in cases {
        let changed = resealed(&bytes, |body| change(body, place));
        assert_eq!(
            SnapshotView::open(&changed).unwrap_err(),
            expected,
            "{name}"
        );
    }
    // Zones and their bytes, one less, one more, none, and all that fit.
    for place in [64, 66] {
        for value in [0, 1, 3, 5, u16::MAX] {
            let changed = resealed(&bytes, |body| {
                body[place..place + 2].copy_from_slice(&value.to_be_bytes());
            });
            let error = SnapshotView::open(&changed).unwrap_err();
            assert_eq!(error, SnapshotError::Zones, "{place} {value}");
        }
    }
    let half_a_name = resealed(&bytes, |body| {
        body[67] = 5;
        body.push(9);
    });
    assert_eq!(
        SnapshotView::open(&half_a_name).unwrap_err(),
        SnapshotError::Zones
    );
    // A whole record that is longer than any minor version may write.
    let long_record = resealed(&encoded(&Snapshot::new(header())), |body| body[15] = 65);
    assert_eq!(
        SnapshotView::open(&long_record).unwrap_err(),
        SnapshotError::Header
    );
}
