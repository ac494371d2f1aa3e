//! What a VM tells of the attempts that it saw, and what the leader makes of it.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use proptest::{collection, prelude::*};
use tidegate_policy::{
    balance::Decay,
    endpoints::{Attempt, KEPT_REPORTS, Observer},
    slots::MAX_REPORT_BYTES,
    snapshot::{
        Counts, Endpoint, EndpointAddress, Header, Merger, Observed, ReportView, ReportViews,
        Since, Snapshot, cluster_digest,
    },
    units::WallTime,
};

const LIMIT: Duration = Duration::from_secs(60);

fn at_ms(ms: u64) -> WallTime {
    WallTime::from_ns(1_700_000_000_000_000_000 + ms * 1_000_000)
}

fn address(number: u16) -> EndpointAddress {
    let [high, low] = number.to_be_bytes();
    EndpointAddress {
        ip: [10, 0, high, low].into(),
        port: 80,
    }
}

const SUCCESS: Attempt = Attempt::Success { latency_us: 5000 };

fn reported(observer: &mut Observer, now: WallTime) -> Vec<u8> {
    let mut bytes = vec![1, 2, 3];
    observer.report(&mut bytes, now);
    assert!(bytes.len() <= MAX_REPORT_BYTES);
    bytes
}

/// Lists the entries of all clusters, each with the last byte of its address.
fn entries(bytes: &[u8]) -> Vec<(u16, Observed)> {
    let views = ReportViews::new(bytes).map(Result::unwrap);
    views
        .flat_map(|view| view.iter())
        .map(|(address, observed)| {
            let std::net::IpAddr::V4(ip) = address.ip else {
                panic!("{address}");
            };
            let [_, _, high, low] = ip.octets();
            (u16::from_be_bytes([high, low]), observed)
        })
        .collect()
}

fn counts(successes: u32, gateway_failures: u32, local_failures: u32) -> Counts {
    Counts {
        successes,
        gateway_failures,
        local_failures,
    }
}

#[test]
fn report_has_totals_rows_and_the_own_estimate() {
    let mut observer = Observer::new(1, 2);
    assert!(reported(&mut observer, at_ms(0)).is_empty());
    let attempts = [
        Attempt::Success { latency_us: 5000 },
        Attempt::GatewayFailure,
        Attempt::LocalFailure,
        Attempt::LocalFailure,
        Attempt::Neutral,
    ];
    for attempt in attempts {
        observer.on_attempt(b"echo", address(1), 7, attempt, at_ms(0));
    }
    let bytes = reported(&mut observer, at_ms(250));
    let view = ReportView::open(&bytes).unwrap();
    let header = view.header();
    assert_eq!((header.configuration, header.worker), (1, 2));
    assert_eq!(header.cluster, cluster_digest(b"echo"));
    assert_eq!((header.sequence, header.reported_at), (1, at_ms(250)));
    let [(1, seen)] = entries(&bytes)[..] else {
        panic!("{bytes:?}");
    };
    assert_eq!((seen.generation, seen.since), (7, 1));
    assert_eq!(seen.counts, counts(1, 1, 2));
    assert_eq!((seen.gateway_row, seen.local_row), (1, 2));
    let latency = seen.latency.unwrap();
    assert_eq!((latency.estimate_us.get(), latency.at), (5000, at_ms(0)));
}

#[test]
fn failures_and_neutral_answers_are_no_samples() {
    let mut observer = Observer::new(1, 2);
    for attempt in [
        Attempt::GatewayFailure,
        Attempt::LocalFailure,
        Attempt::Neutral,
    ] {
        observer.on_attempt(b"echo", address(1), 1, attempt, at_ms(0));
    }
    let seen = entries(&reported(&mut observer, at_ms(0)))[0].1;
    assert_eq!(seen.latency, None);
    assert_eq!(seen.counts, counts(0, 1, 1));
}

#[test]
fn rows_end_as_those_of_the_leader_do() {
    let mut observer = Observer::new(1, 2);
    let mut rows = |attempt| {
        observer.on_attempt(b"echo", address(1), 1, attempt, at_ms(0));
        let seen = entries(&reported(&mut observer, at_ms(0)))[0].1;
        (seen.gateway_row, seen.local_row)
    };
    assert_eq!(rows(Attempt::LocalFailure), (0, 1));
    assert_eq!(rows(Attempt::GatewayFailure), (1, 0));
    assert_eq!(rows(Attempt::LocalFailure), (1, 1));
    assert_eq!(rows(Attempt::Neutral), (1, 1));
    assert_eq!(rows(Attempt::GatewayFailure), (2, 0));
    assert_eq!(rows(SUCCESS), (0, 0));
    for _ in 0..300 {
        rows(Attempt::GatewayFailure);
    }
    assert_eq!(rows(Attempt::LocalFailure), (255, 1));
}

#[test]
fn endpoint_stays_for_four_reports_after_its_news_and_then_begins_again() {
    let mut observer = Observer::new(1, 2);
    observer.on_attempt(b"echo", address(1), 1, Attempt::GatewayFailure, at_ms(0));
    for _ in 0..=KEPT_REPORTS {
        let seen = entries(&reported(&mut observer, at_ms(0)));
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].1.since, seen[0].1.counts), (1, counts(0, 1, 0)));
    }
    assert!(reported(&mut observer, at_ms(0)).is_empty());
    observer.on_attempt(b"echo", address(1), 1, Attempt::GatewayFailure, at_ms(0));
    let seen = entries(&reported(&mut observer, at_ms(0)))[0].1;
    // The row and the sequence go on, the totals do not.
    assert_eq!((seen.since, seen.counts), (6, counts(0, 1, 0)));
    assert_eq!(seen.gateway_row, 2);
}

#[test]
fn address_that_joined_again_is_another_endpoint() {
    let mut observer = Observer::new(1, 2);
    let mut turn = |generation, attempt| {
        observer.on_attempt(b"echo", address(1), generation, attempt, at_ms(0));
        entries(&reported(&mut observer, at_ms(0)))[0].1
    };
    assert_eq!(turn(0, SUCCESS).generation, 0);
    let known = turn(3, Attempt::GatewayFailure);
    assert_eq!((known.generation, known.counts), (3, counts(1, 1, 0)));
    assert_eq!(turn(0, Attempt::GatewayFailure).generation, 3);
    let joined = turn(4, Attempt::GatewayFailure);
    assert_eq!((joined.generation, joined.since), (4, 4));
    assert_eq!((joined.counts, joined.gateway_row), (counts(0, 1, 0), 1));
    assert_eq!(joined.latency, None);
}

#[test]
fn clusters_and_endpoints_are_bounded_and_the_others_counted() {
    let mut observer = Observer::new(1, 2);
    for number in 0..66 {
        let cluster = format!("c{number}");
        observer.on_attempt(cluster.as_bytes(), address(1), 1, SUCCESS, at_ms(0));
    }
    assert_eq!(observer.counts().left_out, 2);
    for number in 0..10_000 {
        observer.on_attempt(b"c0", address(number), 1, SUCCESS, at_ms(0));
    }
    // 64 endpoints of the first round are there, one of them in both.
    assert_eq!(observer.counts().left_out, 2 + 63);
    // Who is idle for five minutes makes room, once nobody is told of it any more.
    for _ in 0..200 {
        reported(&mut observer, at_ms(0));
    }
    for _ in 0..64 {
        reported(&mut observer, at_ms(300_000));
    }
    observer.on_attempt(b"c0", address(10_001), 1, SUCCESS, at_ms(300_000));
    assert_eq!(observer.counts().left_out, 2 + 63);
}

#[test]
fn report_without_room_takes_who_waited_and_then_the_most_recent() {
    let mut observer = Observer::new(1, 2);
    let told = |observer: &mut Observer| -> Vec<u16> {
        entries(&reported(observer, at_ms(0)))
            .into_iter()
            .map(|(number, _)| number)
            .collect()
    };
    for number in 0..1500 {
        observer.on_attempt(b"echo", address(number), 1, SUCCESS, at_ms(0));
    }
    // A report has room for 1 024 endpoints of one cluster: the last ones.
    assert_eq!(told(&mut observer), (476..1500).collect::<Vec<_>>());
    assert_eq!(observer.counts().waited, 476);
    // Then the others, and the most recent of those that were told.
    let second = (0..476).chain(952..1500).collect::<Vec<_>>();
    assert_eq!(told(&mut observer), second);
}

#[test]
fn endpoint_that_has_to_wait_loses_nothing_and_says_nothing_twice() {
    let mut observer = Observer::new(1, 2);
    for _ in 0..3 {
        observer.on_attempt(b"echo", address(0), 1, Attempt::GatewayFailure, at_ms(0));
    }
    reported(&mut observer, at_ms(0));
    for _ in 0..2 {
        observer.on_attempt(b"echo", address(0), 1, Attempt::GatewayFailure, at_ms(0));
    }
    for number in 1..=1024 {
        observer.on_attempt(b"echo", address(number), 1, SUCCESS, at_ms(0));
    }
    assert_eq!(entries(&reported(&mut observer, at_ms(0)))[0].0, 1);
    let (number, seen) = entries(&reported(&mut observer, at_ms(0)))[0];
    assert_eq!((number, seen.since, seen.counts), (0, 3, counts(0, 2, 0)));
}

#[test]
fn slot_has_room_for_the_reports_of_several_clusters() {
    let mut observer = Observer::new(1, 2);
    for number in 0..1000 {
        observer.on_attempt(b"a", address(number), 1, SUCCESS, at_ms(0));
        observer.on_attempt(b"b", address(number), 1, SUCCESS, at_ms(0));
    }
    let bytes = reported(&mut observer, at_ms(0));
    // Two overheads of 72 bytes, entries of 51.
    assert_eq!(entries(&bytes).len(), 1282);
    assert_eq!(bytes.len(), 2 * 72 + 1282 * 51);
    assert!(bytes.len() + 51 > MAX_REPORT_BYTES);
    let rest = reported(&mut observer, at_ms(0));
    assert!(entries(&rest).len() >= 2000 - 1282);
}

#[test]
fn observer_survives_any_clock() {
    let year = 31_536_000_000;
    let mut observer = Observer::new(1, 2);
    for now in [year, year, 0, 2 * year] {
        observer.on_attempt(b"echo", address(1), 1, SUCCESS, at_ms(now));
        let seen = entries(&reported(&mut observer, at_ms(now)))[0].1;
        let latency = seen.latency.unwrap();
        assert_eq!((latency.estimate_us.get(), latency.at), (5000, at_ms(now)));
    }
}

fn members(count: u16) -> Snapshot {
    let mut snapshot = Snapshot::new(Header {
        configuration: 1,
        cluster: cluster_digest(b"echo"),
        epoch: 1,
        generation: 1,
        published_at: at_ms(0),
    });
    for number in 0..count {
        let since = Since {
            generation: 1,
            at: at_ms(0),
        };
        let pushed = snapshot.try_push(address(number), Endpoint::new(since), b"");
        assert_eq!(pushed, Ok(()));
    }
    snapshot
}

/// Is a tick: which endpoints failed, and whether the leader reads it.
fn any_ticks() -> impl Strategy<Value = Vec<(Vec<u16>, bool)>> {
    collection::vec((collection::vec(0..4_u16, 0..5), any::<bool>()), 1..60)
}

proptest! {
    #[test]
    fn leader_that_reads_one_report_in_five_counts_everything_once(ticks in any_ticks()) {
        let mut observer = Observer::new(1, 2);
        let (mut merger, mut snapshot) = (Merger::new(), members(4));
        let mut seen: BTreeMap<EndpointAddress, u32> = BTreeMap::new();
        let mut merged_counts: BTreeMap<EndpointAddress, u32> = BTreeMap::new();
        let mut missed = 0;
        // The first report is read, and so are the last ones: the calm at the end.
        let calm = core::iter::repeat_n((Vec::new(), true), 2);
        let first = core::iter::once((vec![0], true));
        for (failed, is_read) in first.chain(ticks).chain(calm) {
            for number in failed {
                let failure = Attempt::GatewayFailure;
                observer.on_attempt(b"echo", address(number), 1, failure, at_ms(0));
                *seen.entry(address(number)).or_default() += 1;
            }
            let bytes = reported(&mut observer, at_ms(0));
            missed += 1;
            if !is_read && missed < 5 {
                continue;
            }
            missed = 0;
            let views = ReportViews::new(&bytes).map(|view| (3, view.unwrap()));
            let project = |estimate: NonZeroU32, passed| Decay::DEFAULT.project(estimate, passed);
            let merged = merger.merge(&mut snapshot, views, LIMIT, project, at_ms(0));
            for (address, counts) in merged.counts {
                *merged_counts.entry(address).or_default() += counts.gateway_failures;
            }
        }
        merged_counts.retain(|_, count| *count > 0);
        prop_assert_eq!(merged_counts, seen);
    }

    #[test]
    fn report_is_always_readable_and_within_its_slot(
        attempts in collection::vec((0..3_u8, 0..3000_u16, 0..3_u32, 0..4_u8), 0..2000),
    ) {
        let mut observer = Observer::new(1, 2);
        for (place, (cluster, number, generation, kind)) in attempts.into_iter().enumerate() {
            let attempt = match kind {
                0 => SUCCESS,
                1 => Attempt::GatewayFailure,
                2 => Attempt::LocalFailure,
                _ => Attempt::Neutral,
            };
            observer.on_attempt(&[cluster], address(number), generation, attempt, at_ms(0));
            if place % 500 == 0 {
                let bytes = reported(&mut observer, at_ms(0));
                prop_assert!(ReportViews::new(&bytes).all(|view| view.is_ok()));
            }
        }
    }
}
