//! What workers and leader tell each other besides the snapshot: reports and versions.

use std::{num::NonZeroU32, time::Duration};

use proptest::{collection, prelude::*};
use tidegate_policy::{
    snapshot::{
        Counts, EndpointAddress, Latency, MAX_CLUSTERS, MAX_REPORT_BYTES, MAX_REPORT_ENTRIES,
        Observed, Offer, REPORT_ENTRY_BYTES, Report, ReportFull, ReportHeader, ReportView,
        ReportViews, SnapshotError, Version, Versions, VersionsFull, VersionsView,
    },
    units::WallTime,
};

const HEADER: ReportHeader = ReportHeader {
    configuration: 1,
    cluster: 2,
    worker: 3,
    sequence: 4,
    reported_at: WallTime::from_seconds(1_700_000_000),
};

const OBSERVED: Observed = Observed {
    generation: 9,
    latency: None,
    since: 0xfedc_ba98,
    counts: Counts {
        successes: 1,
        gateway_failures: 0x1_0002,
        local_failures: u32::MAX,
    },
    gateway_row: 4,
    local_row: 5,
};

fn address(number: u16) -> EndpointAddress {
    EndpointAddress {
        ip: [10, 0, 0, 1].into(),
        port: number,
    }
}

fn encoded(report: &Report) -> Vec<u8> {
    let mut bytes = Vec::new();
    report.encode(&mut bytes);
    bytes
}

fn small(worker: u64) -> Report {
    let mut report = Report::new(ReportHeader { worker, ..HEADER });
    let latency = Some(Latency::new(Duration::from_millis(5), HEADER.reported_at));
    for port in [2, 1] {
        let observed = Observed {
            latency,
            ..OBSERVED
        };
        assert_eq!(report.try_push(address(port), observed), Ok(()));
    }
    report
}

#[test]
fn report_opens_as_it_was_written_and_no_flipped_bit_does() {
    let report = small(3);
    let bytes = encoded(&report);
    assert_eq!(bytes.len(), 72 + 2 * REPORT_ENTRY_BYTES);
    let view = ReportView::open(&bytes).unwrap();
    assert_eq!(view.header(), &report.header);
    let entries: Vec<_> = view.iter().collect();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].0, address(1));
    assert_eq!(entries[1].1.counts, OBSERVED.counts);
    assert_eq!(entries[1].1.since, OBSERVED.since);
    assert_eq!((entries[1].1.gateway_row, entries[1].1.local_row), (4, 5));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(ReportView::open(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn report_is_bounded_and_what_finds_no_room_is_told() {
    let mut report = Report::new(HEADER);
    for number in 0..1024 {
        assert_eq!(report.try_push(address(number), OBSERVED), Ok(()));
    }
    assert_eq!(report.try_push(address(1024), OBSERVED), Err(ReportFull));
    // What is there is replaced.
    let later = Observed {
        generation: 10,
        ..OBSERVED
    };
    assert_eq!(report.try_push(address(0), later), Ok(()));
    assert_eq!((report.len(), MAX_REPORT_ENTRIES), (1024, 1024));
    let bytes = encoded(&report);
    assert_eq!((bytes.len(), MAX_REPORT_BYTES), (52_296, 52_296));
    let first = ReportView::open(&bytes).unwrap().iter().next();
    assert_eq!(first, Some((address(0), later)));
}

#[test]
fn slot_holds_reports_one_behind_the_other_up_to_the_first_that_is_none() {
    let slot = [encoded(&small(1)), encoded(&small(2))].concat();
    let workers = |slot: &[u8]| -> Vec<Result<u64, SnapshotError>> {
        ReportViews::new(slot)
            .map(|view| view.map(|view| view.header().worker))
            .collect()
    };
    assert_eq!(workers(&slot), [Ok(1), Ok(2)]);
    assert_eq!(workers(b""), []);
    let (expected, got) = (encoded(&small(2)).len(), encoded(&small(2)).len() - 1);
    assert_eq!(
        workers(&slot[..slot.len() - 1]),
        [Ok(1), Err(SnapshotError::Truncated { expected, got })]
    );
    let followed = [slot.as_slice(), b"nonsense"].concat();
    assert_eq!(
        workers(&followed),
        [Ok(1), Ok(2), Err(SnapshotError::NotOurs)]
    );
    let error = ReportView::open(&slot).unwrap_err();
    assert!(matches!(error, SnapshotError::Longer { .. }), "{error}");
}

#[test]
fn empty_report_says_that_its_worker_lives() {
    let bytes = encoded(&Report::new(HEADER));
    assert_eq!(bytes.len(), 72);
    let view = ReportView::open(&bytes).unwrap();
    assert_eq!((view.header(), view.iter().count()), (&HEADER, 0));
}

fn versions() -> Versions {
    let mut versions = Versions::new(11, 5);
    for (cluster, generation) in [(u64::MAX, 1), (0, 2), (77, 3)] {
        let confirmed_at = WallTime::from_ns(generation + 1_700_000_000_000_000_000);
        assert_eq!(versions.try_set(cluster, generation, confirmed_at), Ok(()));
    }
    versions
}

#[test]
fn versions_open_as_they_were_written_and_no_flipped_bit_does() {
    let mut versions = versions();
    versions.workers = NonZeroU32::new(16).unwrap();
    let mut bytes = vec![1];
    versions.encode(&mut bytes);
    assert_eq!(bytes.len(), 52 + 3 * 24);
    let view = VersionsView::open(&bytes).unwrap();
    assert_eq!((view.configuration(), view.epoch()), (11, 5));
    assert_eq!(view.workers().get(), 16);
    assert_eq!(Versions::new(11, 5).workers.get(), 1);
    let version = view.get(77).unwrap();
    assert_eq!((version.epoch, version.generation), (5, 3));
    assert_eq!(version.confirmed_at.as_ns(), 1_700_000_000_000_000_003);
    assert_eq!(view.get(u64::MAX).unwrap().generation, 1);
    assert_eq!(view.get(1), None);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(VersionsView::open(&flipped).is_err(), "bit {bit}");
    }
    assert!(versions.remove(77) && !versions.remove(77));
    versions.encode(&mut bytes);
    assert_eq!(VersionsView::open(&bytes).unwrap().get(77), None);
}

#[test]
fn versions_are_bounded() {
    let mut versions = Versions::new(0, 0);
    let now = HEADER.reported_at;
    for cluster in 0..256 {
        assert_eq!(versions.try_set(cluster, 1, now), Ok(()));
    }
    assert_eq!(versions.try_set(256, 1, now), Err(VersionsFull));
    assert_eq!(versions.try_set(255, 2, now), Ok(()));
    let mut bytes = Vec::new();
    versions.encode(&mut bytes);
    assert_eq!((bytes.len(), MAX_CLUSTERS), (6196, 256));
    assert_eq!(
        VersionsView::open(&bytes)
            .unwrap()
            .get(255)
            .unwrap()
            .generation,
        2
    );
}

#[test]
fn offered_version_is_taken_only_if_it_is_newer_or_the_held_one_is_stale() {
    let version = |epoch, generation| Version {
        epoch,
        generation,
        confirmed_at: HEADER.reported_at,
    };
    let limit = Duration::from_secs(30);
    let second =
        |offset: i64| WallTime::from_seconds(1_700_000_000_u64.saturating_add_signed(offset));
    let held = version(5, 10);
    // Offered; while the held one is fresh; once it is stale.
    let cases = [
        (version(5, 10), Offer::Confirmed, Offer::Confirmed),
        (version(5, 11), Offer::Replaces, Offer::Replaces),
        (version(6, 1), Offer::Replaces, Offer::Replaces),
        (version(5, 9), Offer::Older, Offer::Replaces),
        (version(4, 99), Offer::Older, Offer::Replaces),
    ];
    for (offered, fresh, stale) in cases {
        assert_eq!(offered.offered_to(None, second(0), limit), Offer::Replaces);
        for now in [0, 29, -29] {
            let answer = offered.offered_to(Some(held), second(now), limit);
            assert_eq!(answer, fresh, "{offered:?} at {now}");
        }
        for now in [30, -30, 31_536_000, -31_536_000] {
            let answer = offered.offered_to(Some(held), second(now), limit);
            assert_eq!(answer, stale, "{offered:?} at {now}");
        }
    }
    assert_eq!(held.age(second(31_536_000)).as_secs(), 31_536_000);
    assert_eq!(held.age(second(-1)), Duration::ZERO);
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in collection::vec(any::<u8>(), 0..300)) {
        for magic in [b"TgReport\x00\x01", b"TgVersio\x00\x01"] {
            let ours = [magic.as_slice(), &bytes].concat();
            for bytes in [&bytes, &ours] {
                prop_assert!(ReportView::open(bytes).is_err());
                prop_assert!(VersionsView::open(bytes).is_err());
                prop_assert!(ReportViews::new(bytes).all(|view| view.is_err()));
            }
        }
    }
}
