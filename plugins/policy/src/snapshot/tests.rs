//! What the bytes of a snapshot promise: they open as they were written, and nothing else opens.

#![expect(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

mod properties;
mod refused;

use alloc::{format, string::ToString, vec, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};
use std::println;

use super::*;
use crate::digest::xxh64;
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
        priority: 2,
        ejected_for: EjectionCause::ExcessRate,
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
fn bytes_of_a_snapshot_are_those_of_format_2_0() {
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
        priority: 4,
        ejected_for: EjectionCause::TrialFailed,
        ..member(9)
    };
    let pushed = snapshot.try_push(address("10.0.0.1:80"), endpoint, b"z1");
    assert_eq!(pushed, Ok(()));
    let bytes = encoded(&snapshot);
    let text: alloc::string::String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let checksum = format!("{:016x}", xxh64(&bytes[..bytes.len() - 8], 0));
    let expected = [
        "5467536e61707368",
        "0002",
        "0000",
        "0044",
        "003f",
        "0000008e",
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
        "cb",
        "00",
        "04",
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
    assert_eq!(text.strip_suffix(&checksum), Some(expected.as_str()));
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
fn removed_endpoint_leaves_no_trace() {
    let empty = Snapshot::new(header());
    let mut snapshot = small();
    let full = *snapshot.get(&address("10.0.0.1:80")).unwrap();
    assert_eq!(snapshot.remove(&address("10.0.0.1:80")), Some(full));
    assert_eq!(snapshot.remove(&address("10.0.0.1:80")), None);
    let bytes = encoded(&snapshot);
    let view = SnapshotView::open(&bytes).unwrap();
    assert_eq!(view.get(&address("[2001:db8::1]:443")).unwrap().zone, b"b");
    for text in ["10.0.0.2:80", "[2001:db8::1]:443"] {
        assert!(snapshot.remove(&address(text)).is_some());
    }
    assert_eq!(snapshot, empty);
    // More zones than a snapshot holds, but never at the same time.
    for number in 0..100_000_u32 {
        let place = address("10.0.0.9:80");
        let zone = number.to_be_bytes();
        assert_eq!(snapshot.try_push(place, member(number), &zone), Ok(()));
        assert_eq!(snapshot.remove(&place), Some(member(number)));
    }
    assert_eq!(encoded(&snapshot), encoded(&empty));
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
fn cost_is_63_bytes_for_each_endpoint() {
    println!("endpoints  bytes  bytes/endpoint");
    for (count, expected) in [(10, 739), (100, 6409), (1000, 63_109), (10_000, 630_109)] {
        let bytes = encoded(&large(count)).len();
        println!(
            "{count:>9} {bytes:>6} {:>8.1}",
            bytes as f64 / f64::from(count)
        );
        assert_eq!(bytes, expected);
    }
    const { assert!(RECORD_BYTES <= MAX_RECORD_BYTES && MAX_RECORD_BYTES == 64) }
}
