//! What the bytes of a snapshot promise: they open as they were written, and nothing else opens.

use alloc::{format, string::ToString, vec, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};
use std::println;

use proptest::{collection, prelude::*, sample::subsequence};

use super::{checksum::xxh64, *};
use crate::units::WallTime;

/// Is where the length in all, the count, and the first record stand.
const TOTAL_AT: usize = 16;
const COUNT_AT: usize = 20;
const RECORDS_AT: usize = 68;

fn header() -> Header {
    Header {
        configuration: 0x1122_3344_5566_7788,
        cluster: cluster_digest(b"echo"),
        epoch: 7,
        generation: 42,
        published_at: WallTime::from_ns(1_700_000_000_123_456_789),
    }
}

fn address(text: &str) -> EndpointAddress {
    EndpointAddress::parse(text.as_bytes()).unwrap()
}

fn at(seconds: u64) -> WallTime {
    WallTime::from_seconds(1_700_000_000 + seconds)
}

fn member(generation: u32) -> Endpoint {
    Endpoint::new(Since {
        generation,
        at: at(0),
    })
}

/// Is three endpoints with every field used.
fn small() -> Snapshot {
    let mut snapshot = Snapshot::new(header());
    let full = Endpoint {
        weight: NonZeroU32::new(3).unwrap(),
        state: State::Available {
            slow_start: Some(at(5)),
        },
        eds_health: EdsHealth::Degraded,
        instance: NonZeroU64::new(0xabcd),
        latency: Some(Latency::new(Duration::from_millis(167), at(9))),
        failures: Failures {
            gateway_in_row: 1,
            local_in_row: 2,
            ejections: 3,
        },
        ..member(1)
    };
    let draining = Endpoint {
        state: State::Draining { until: at(60) },
        ..member(2)
    };
    for (text, endpoint, zone) in [
        ("10.0.0.2:80", draining, ""),
        ("[2001:db8::1]:443", member(3), "b"),
        ("10.0.0.1:80", full, "a"),
    ] {
        let pushed = snapshot.try_push(address(text), endpoint, zone.as_bytes());
        assert_eq!(pushed, Ok(()));
    }
    snapshot
}

fn encoded(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = vec![0xee; 3];
    snapshot.encode(&mut bytes);
    bytes
}

/// Is the snapshot of `count` endpoints in three zones.
fn large(count: u32) -> Snapshot {
    let mut snapshot = Snapshot::new(header());
    for number in 0..count {
        let [_, b, c, d] = number.to_be_bytes();
        let ip = IpAddr::V4(Ipv4Addr::new(10, b, c, d));
        let zone = ["eu-west-1a", "eu-west-1b", "eu-west-1c"][number as usize % 3];
        let pushed = snapshot.try_push(
            EndpointAddress { ip, port: 8080 },
            member(number),
            zone.as_bytes(),
        );
        assert_eq!(pushed, Ok(()));
    }
    snapshot
}

/// Makes the length and the checksum right again, as a newer or a hostile writer would.
fn reseal(mut body: Vec<u8>) -> Vec<u8> {
    let total = u32::try_from(body.len() + 8).unwrap();
    body[TOTAL_AT..TOTAL_AT + 4].copy_from_slice(&total.to_be_bytes());
    let checksum = xxh64(&body, 0);
    body.extend_from_slice(&checksum.to_be_bytes());
    body
}

fn resealed(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = bytes[..bytes.len() - 8].to_vec();
    change(&mut body);
    reseal(body)
}

#[test]
fn snapshot_opens_as_it_was_written() {
    let snapshot = small();
    let bytes = encoded(&snapshot);
    assert_eq!(bytes.len(), 76 + 3 * RECORD_BYTES + 4);
    let view = SnapshotView::open(&bytes).unwrap();
    assert_eq!(view.header(), &header());
    assert_eq!((view.len(), view.is_empty()), (3, false));
    let listed: Vec<_> = view
        .iter()
        .map(|entry| (entry.address.to_string(), entry.zone))
        .collect();
    let expected: [(_, &[u8]); 3] = [
        ("10.0.0.1:80".to_string(), b"a"),
        ("10.0.0.2:80".to_string(), b""),
        ("[2001:db8::1]:443".to_string(), b"b"),
    ];
    assert_eq!(listed, expected);
    for (address, endpoint) in &snapshot {
        assert_eq!(&view.get(&address).unwrap().endpoint, endpoint);
    }
    assert_eq!(view.get(&address("10.0.0.1:81")), None);
    assert_eq!(view.at(1).unwrap().address, address("10.0.0.2:80"));
    assert_eq!(view.at(3), None);
    assert_eq!(view.to_snapshot(), snapshot);
    let checked = Checked::try_new(bytes.clone()).unwrap();
    assert!(checked.view().iter().eq(view.iter()));
    assert_eq!(checked.view().header(), view.header());
}

/// A change of these bytes is a change of the format: workers of two versions share them.
#[test]
fn bytes_of_a_snapshot_are_those_of_format_1_0() {
    let mut snapshot = Snapshot::new(header());
    let endpoint = Endpoint {
        latency: Some(Latency::new(Duration::from_micros(0x0102_0304), at(2))),
        instance: NonZeroU64::new(0x0a0b_0c0d_0e0f_1011),
        state: State::Ejected { until: at(30) },
        eds_health: EdsHealth::Healthy,
        failures: Failures {
            gateway_in_row: 5,
            local_in_row: 6,
            ejections: 1,
        },
        ..member(9)
    };
    let pushed = snapshot.try_push(address("10.0.0.1:80"), endpoint, b"z1");
    assert_eq!(pushed, Ok(()));
    let text: alloc::string::String = encoded(&snapshot)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let expected = [
        "5467536e61707368",
        "0001",
        "0000",
        "0044",
        "003e",
        "0000008d",
        "00000001",
        "1122334455667788",
        "CLUSTER",
        "0000000000000007",
        "000000000000002a",
        "17979cfe3d85cd15",
        "0001",
        "0003",
        "040a000001000000000000000000000000",
        "0050",
        "13",
        "00",
        "050601",
        "00000001",
        "00000009",
        "0a0b0c0d0e0f1011",
        "018bcfe56800",
        "018bcfe5dd30",
        "01020304",
        "018bcfe56fd0",
        "027a31",
    ]
    .concat()
    .replace("CLUSTER", &format!("{:016x}", cluster_digest(b"echo")));
    assert_eq!(&text[..text.len() - 16], expected);
}

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
    for major in [0, 2, 513] {
        let newer = resealed(&bytes, |body| {
            body[8..10].copy_from_slice(&u16::to_be_bytes(major));
        });
        assert_eq!(error(&newer), SnapshotError::Major { major });
    }
    let message = SnapshotError::Major { major: 2 }.to_string();
    assert_eq!(message, "must be of major version 1, got 2");
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
        newer.extend_from_slice(&[0xbb; 2]);
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
            |b, i| b[i + 19] = 0x60,
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
            |b, i| b[i + 27] = 0,
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
        ("record", 14, |b, i| b[i + 1] = 61, SnapshotError::Header),
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
    for place in [64, 66] {
        for value in [0, 1, 5, u16::MAX] {
            let changed = resealed(&bytes, |body| {
                body[place..place + 2].copy_from_slice(&value.to_be_bytes());
            });
            let error = SnapshotView::open(&changed).unwrap_err();
            assert!(
                matches!(error, SnapshotError::Zones | SnapshotError::Record { .. }),
                "{place} {value}: {error}"
            );
        }
    }
}

#[test]
fn address_that_is_there_is_refused_and_the_earlier_stays() {
    let mut snapshot = small();
    let twice = address("10.0.0.1:80");
    let before = snapshot.clone();
    assert_eq!(
        snapshot.try_push(twice, member(99), b"new-zone"),
        Err(PushError::Duplicate(twice))
    );
    assert_eq!(snapshot, before);
}

#[test]
fn endpoints_are_bounded_for_writer_and_reader() {
    let mut snapshot = large(10_000);
    let next = address("[::1]:1");
    assert_eq!(
        snapshot.try_push(next, member(1), b""),
        Err(PushError::Full)
    );
    let first = address("10.0.0.0:8080");
    assert_eq!(
        snapshot.try_push(first, member(1), b""),
        Err(PushError::Duplicate(first))
    );
    let bytes = encoded(&snapshot);
    assert_eq!(SnapshotView::open(&bytes).unwrap().len(), MAX_ENDPOINTS);
    let more = resealed(&bytes, |body| {
        body[COUNT_AT..COUNT_AT + 4].copy_from_slice(&10_001_u32.to_be_bytes());
    });
    let (count, max) = (10_001, MAX_ENDPOINTS);
    assert_eq!(
        SnapshotView::open(&more).unwrap_err(),
        SnapshotError::TooMany { count, max }
    );
}

#[test]
fn zones_are_bounded_in_number_and_length() {
    let mut snapshot = Snapshot::new(header());
    let place = |port| EndpointAddress {
        ip: IpAddr::V6(Ipv6Addr::LOCALHOST),
        port,
    };
    for port in 0..128 {
        // Later names sort before earlier ones, so every index moves.
        let zone = format!("{:0>64}", 999 - port);
        assert_eq!(
            snapshot.try_push(place(port), member(1), zone.as_bytes()),
            Ok(())
        );
    }
    let other = place(999);
    assert_eq!(
        snapshot.try_push(other, member(1), b"one more"),
        Err(PushError::ZonesFull)
    );
    let zone = [b'0'; 65];
    assert_eq!(
        snapshot.try_push(other, member(1), &zone),
        Err(PushError::ZoneTooLong { bytes: 65 })
    );
    assert_eq!(
        (snapshot.len(), snapshot.try_push(other, member(1), b"")),
        (128, Ok(()))
    );
    let bytes = encoded(&snapshot);
    let view = SnapshotView::open(&bytes).unwrap();
    for port in 0..128 {
        let zone = format!("{:0>64}", 999 - port);
        assert_eq!(view.get(&place(port)).unwrap().zone, zone.as_bytes());
    }
    assert_eq!(view.get(&other).unwrap().zone, b"");
}

#[test]
fn snapshot_without_endpoints_is_legal() {
    let empty = Snapshot::new(header());
    let bytes = encoded(&empty);
    assert_eq!(bytes.len(), 76);
    let view = SnapshotView::open(&bytes).unwrap();
    assert!(view.is_empty() && empty.is_empty());
    assert_eq!(
        (view.at(0), view.get(&address("10.0.0.1:80"))),
        (None, None)
    );
}

#[test]
fn age_survives_any_clock() {
    let snapshot = Snapshot::new(Header {
        published_at: at(0),
        ..header()
    });
    let bytes = encoded(&snapshot);
    let view = SnapshotView::open(&bytes).unwrap();
    let limit = Duration::from_secs(30);
    let year = 31_536_000;
    let back = |seconds| WallTime::from_seconds(1_700_000_000 - seconds);
    // Now, age in seconds, stale.
    let cases = [
        (at(0), 0, false),
        (WallTime::from_ns(at(30).as_ns() - 1), 29, false),
        (at(30), 30, true),
        (at(year), year, true),
        (back(29), 0, false),
        (back(30), 0, true),
        (back(year), 0, true),
    ];
    for (now, age, stale) in cases {
        assert_eq!(view.age(now).as_secs(), age, "{now:?}");
        assert_eq!(view.is_stale(now, limit), stale, "{now:?}");
    }
    assert!(view.is_stale(at(0), Duration::ZERO));
}

#[test]
fn times_are_rounded_down_to_milliseconds_and_latencies_saturate() {
    let mut snapshot = Snapshot::new(header());
    let place = address("10.0.0.1:80");
    let late = WallTime::from_ns(u64::MAX);
    let endpoint = Endpoint {
        state: State::Available {
            slow_start: Some(WallTime::from_ns(999_999)),
        },
        latency: Some(Latency::new(Duration::MAX, late)),
        ..member(1)
    };
    assert_eq!(snapshot.try_push(place, endpoint, b""), Ok(()));
    let kept = *snapshot.get(&place).unwrap();
    assert_eq!(kept.state, State::Available { slow_start: None });
    let latency = kept.latency.unwrap();
    assert_eq!(latency.estimate_us.get(), u32::MAX);
    assert_eq!(latency.at.as_ns(), u64::MAX / 1_000_000 * 1_000_000);
    assert_eq!(Latency::new(Duration::ZERO, late).estimate_us.get(), 1);
    let bytes = encoded(&snapshot);
    let read = SnapshotView::open(&bytes).unwrap().get(&place).unwrap();
    assert_eq!(read.endpoint, kept);
    assert_eq!(snapshot.update(&place, |_| {}), Some(false));
    assert_eq!(snapshot.update(&address("10.0.0.2:80"), |_| {}), None);
}

#[test]
fn cost_is_62_bytes_for_each_endpoint() {
    println!("endpoints  bytes  bytes/endpoint");
    for (count, expected) in [(10, 729), (100, 6309), (1000, 62_109), (10_000, 620_109)] {
        let bytes = encoded(&large(count)).len();
        println!(
            "{count:>9} {bytes:>6} {:>8.1}",
            bytes as f64 / f64::from(count)
        );
        assert_eq!(bytes, expected);
    }
    const { assert!(RECORD_BYTES <= MAX_RECORD_BYTES && MAX_RECORD_BYTES == 64) }
}

fn any_address() -> impl Strategy<Value = EndpointAddress> {
    let ip = prop_oneof![
        // Few addresses, so that duplicates and neighbours occur.
        (0..4_u8).prop_map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))),
        any::<[u8; 4]>().prop_map(|octets| IpAddr::V4(octets.into())),
        any::<[u8; 16]>().prop_map(|octets| IpAddr::V6(octets.into())),
    ];
    (ip, prop_oneof![0..3_u16, any::<u16>()]).prop_map(|(ip, port)| EndpointAddress { ip, port })
}

fn any_time() -> impl Strategy<Value = WallTime> {
    any::<u64>().prop_map(WallTime::from_ns)
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    let state = prop_oneof![
        Just(State::Unknown),
        Just(State::Probing),
        proptest::option::of(any_time()).prop_map(|slow_start| State::Available { slow_start }),
        any_time().prop_map(|until| State::Ejected { until }),
        any_time().prop_map(|until| State::Draining { until }),
        any_time().prop_map(|until| State::Vanished { until }),
    ];
    let eds_health = prop_oneof![
        Just(EdsHealth::Unknown),
        Just(EdsHealth::Healthy),
        Just(EdsHealth::Unhealthy),
        Just(EdsHealth::Draining),
        Just(EdsHealth::Timeout),
        Just(EdsHealth::Degraded),
    ];
    let since = (any::<u32>(), any_time()).prop_map(|(generation, at)| Since { generation, at });
    let latency = proptest::option::of((any::<u64>(), any_time())).prop_map(|latency| {
        latency.map(|(micros, at)| Latency::new(Duration::from_micros(micros), at))
    });
    let failures =
        any::<[u8; 3]>().prop_map(|[gateway_in_row, local_in_row, ejections]| Failures {
            gateway_in_row,
            local_in_row,
            ejections,
        });
    let numbers = (1..=u32::MAX, any::<u64>());
    (numbers, state, eds_health, since, latency, failures).prop_map(
        |((weight, instance), state, eds_health, since, latency, failures)| Endpoint {
            weight: NonZeroU32::new(weight).unwrap(),
            state,
            eds_health,
            since,
            instance: NonZeroU64::new(instance),
            latency,
            failures,
        },
    )
}

type Pushed = (EndpointAddress, Endpoint, Vec<u8>);

fn any_pushes() -> impl Strategy<Value = Vec<Pushed>> {
    let zone = prop_oneof![
        Just(Vec::new()),
        (0..5_u8).prop_map(|zone| vec![zone]),
        collection::vec(any::<u8>(), 0..=64),
    ];
    collection::vec((any_address(), any_endpoint(), zone), 0..40)
}

fn pushed(pushes: &[Pushed]) -> Snapshot {
    let mut snapshot = Snapshot::new(header());
    for (address, endpoint, zone) in pushes {
        let expected = match snapshot.get(address) {
            Some(_) => Err(PushError::Duplicate(*address)),
            None => Ok(()),
        };
        assert_eq!(snapshot.try_push(*address, *endpoint, zone), expected);
    }
    snapshot
}

proptest! {
    #[test]
    fn any_snapshot_opens_as_it_was_written(pushes in any_pushes()) {
        let snapshot = pushed(&pushes);
        let bytes = encoded(&snapshot);
        let view = SnapshotView::open(&bytes).unwrap();
        let read: Vec<_> = view.iter().map(|entry| (entry.address, entry.endpoint)).collect();
        let written: Vec<_> = snapshot.iter().map(|(address, endpoint)| (address, *endpoint)).collect();
        prop_assert_eq!(read, written);
        for (address, _, _) in &pushes {
            let first = pushes.iter().find(|(other, _, _)| other == address).unwrap();
            let entry = view.get(address).unwrap();
            prop_assert_eq!(entry.zone, first.2.as_slice());
            prop_assert_eq!(entry.endpoint.weight, first.1.weight);
        }
        prop_assert_eq!(encoded(&view.to_snapshot()), bytes);
    }

    #[test]
    fn order_of_pushes_leaves_no_trace(
        (pushes, shuffled) in any_pushes().prop_map(|mut pushes| {
            pushes.sort_by_key(|(address, _, _)| *address);
            pushes.dedup_by_key(|(address, _, _)| *address);
            pushes
        }).prop_flat_map(|pushes| (Just(pushes.clone()), Just(pushes).prop_shuffle())),
    ) {
        prop_assert_eq!(encoded(&pushed(&pushes)), encoded(&pushed(&shuffled)));
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(SnapshotView::open(&bytes).is_err());
        let ours = [b"TgSnapsh\x00\x01".as_slice(), &bytes].concat();
        prop_assert!(SnapshotView::open(&ours).is_err());
        prop_assert!(Checked::try_new(ours).is_err());
    }

    #[test]
    fn what_opens_under_any_changes_can_be_read(
        changes in collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in subsequence((0..30_usize).collect::<Vec<_>>(), 0..2),
    ) {
        let bytes = resealed(&encoded(&small()), |body| {
            for (place, value) in changes {
                let place = place.index(body.len());
                body[place] = value;
            }
            if let Some(cut) = cut.first() {
                body.truncate(body.len() - cut);
            }
        });
        if let Ok(view) = SnapshotView::open(&bytes) {
            prop_assert_eq!(view.iter().count(), view.len());
            prop_assert!(view.iter().all(|entry| view.get(&entry.address) == Some(entry)));
            prop_assert_eq!(view.to_snapshot().len(), view.len());
            let checked = Checked::try_new(bytes.clone()).unwrap();
            prop_assert!(checked.view().iter().eq(view.iter()));
        }
    }
}
