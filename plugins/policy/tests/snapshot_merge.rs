//! What the leader makes of the workers' reports.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{num::NonZeroU32, time::Duration};

use proptest::{collection, prelude::*};
use tidegate_policy::{
    snapshot::{
        Counts, Endpoint, EndpointAddress, Failures, Header, Latency, MAX_SLOTS, Merged, Merger,
        Observed, Report, ReportHeader, ReportView, Since, Snapshot,
    },
    units::WallTime,
};

const LIMIT: Duration = Duration::from_secs(10);

/// Is what was seen where nothing happened.
const NOTHING: Observed = Observed {
    generation: 1,
    latency: None,
    since: 0,
    counts: Counts {
        successes: 0,
        gateway_failures: 0,
        local_failures: 0,
    },
    gateway_row: 0,
    local_row: 0,
};

fn address(port: u16) -> EndpointAddress {
    EndpointAddress {
        ip: [10, 0, 0, 1].into(),
        port,
    }
}

fn at_ms(ms: u64) -> WallTime {
    WallTime::from_ns(1_700_000_000_000_000_000 + ms * 1_000_000)
}

/// Halves an estimate in ten seconds, and goes on falling.
fn project(estimate_us: NonZeroU32, elapsed: Duration) -> u32 {
    let seconds = u64::from(u32::MAX).min(elapsed.as_secs());
    u32::try_from(u64::from(estimate_us.get()) * 10 / (10 + seconds)).unwrap()
}

/// Is a snapshot with three members.
fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::new(Header {
        configuration: 1,
        cluster: 2,
        epoch: 3,
        generation: 4,
        published_at: at_ms(0),
    });
    for port in 1..=3 {
        let since = Since {
            generation: 1,
            at: at_ms(0),
        };
        let pushed = snapshot.try_push(address(port), Endpoint::new(since), b"");
        assert_eq!(pushed, Ok(()));
    }
    snapshot
}

/// Is a report whose endpoints begin in it, unless they say that they began earlier.
fn report(worker: u64, sequence: u64, now: WallTime, seen: &[(u16, Observed)]) -> Vec<u8> {
    let mut report = Report::new(ReportHeader {
        configuration: 1,
        cluster: 2,
        worker,
        sequence,
        reported_at: now,
    });
    for (port, observed) in seen {
        let since = match observed.since {
            0 => u32::try_from(sequence & u64::from(u32::MAX)).unwrap(),
            since => since,
        };
        let observed = Observed { since, ..*observed };
        assert_eq!(report.try_push(address(*port), observed), Ok(()));
    }
    let mut bytes = Vec::new();
    report.encode(&mut bytes);
    bytes
}

fn merge(
    merger: &mut Merger,
    snapshot: &mut Snapshot,
    reports: &[(usize, Vec<u8>)],
    now: WallTime,
) -> Merged {
    let views = reports
        .iter()
        .map(|(slot, bytes)| (*slot, ReportView::open(bytes).unwrap()));
    merger.merge(snapshot, views, LIMIT, project, now)
}

fn failed(gateway_failures: u32, gateway_row: u8) -> Observed {
    Observed {
        counts: Counts {
            gateway_failures,
            ..NOTHING.counts
        },
        gateway_row,
        ..NOTHING
    }
}

fn succeeded(successes: u32) -> Observed {
    Observed {
        counts: Counts {
            successes,
            ..NOTHING.counts
        },
        ..NOTHING
    }
}

fn failures(snapshot: &Snapshot, port: u16) -> Failures {
    snapshot.get(&address(port)).unwrap().failures
}

#[test]
fn failures_of_isolated_workers_make_one_row() {
    let (mut merger, mut snapshot) = (Merger::new(), snapshot());
    let round = |sequence: u64, seen: Observed| -> Vec<(usize, Vec<u8>)> {
        (0..3_u64)
            .zip(0..)
            .map(|(worker, slot)| (slot, report(worker, sequence, at_ms(0), &[(1, seen)])))
            .collect()
    };
    let merged = merge(
        &mut merger,
        &mut snapshot,
        &round(1, failed(1, 1)),
        at_ms(0),
    );
    assert_eq!(failures(&snapshot, 1).gateway_in_row, 3);
    assert_eq!((merged.reports, merged.failures_changed), (3, 1));
    let expected = Counts {
        gateway_failures: 3,
        ..Counts::default()
    };
    assert_eq!(merged.counts, [(address(1), expected)]);
    merge(
        &mut merger,
        &mut snapshot,
        &round(2, failed(1, 2)),
        at_ms(250),
    );
    assert_eq!(failures(&snapshot, 1).gateway_in_row, 6);
    // Silence changes nothing; a success of each ends the row.
    let merged = merge(&mut merger, &mut snapshot, &round(3, NOTHING), at_ms(500));
    assert_eq!(
        (
            merged.failures_changed,
            failures(&snapshot, 1).gateway_in_row
        ),
        (0, 6)
    );
    merge(
        &mut merger,
        &mut snapshot,
        &round(4, succeeded(1)),
        at_ms(750),
    );
    assert_eq!(failures(&snapshot, 1), Failures::default());
    assert_eq!(failures(&snapshot, 2), Failures::default());
}

#[test]
fn success_of_one_worker_leaves_the_longest_row_of_another() {
    let (mut merger, mut snapshot) = (Merger::new(), snapshot());
    let reports = |sequence, seen: [Observed; 3]| -> Vec<(usize, Vec<u8>)> {
        seen.into_iter()
            .zip(0..)
            .map(|(seen, worker)| {
                (
                    worker,
                    report(worker as u64, sequence, at_ms(0), &[(1, seen)]),
                )
            })
            .collect()
    };
    let first = reports(1, [failed(4, 4), failed(2, 2), succeeded(9)]);
    merge(&mut merger, &mut snapshot, &first, at_ms(0));
    assert_eq!(failures(&snapshot, 1).gateway_in_row, 4);
    // The first worker's fifth in a row is noticed although the others' successes come between.
    let second = reports(2, [failed(1, 5), NOTHING, succeeded(9)]);
    merge(&mut merger, &mut snapshot, &second, at_ms(0));
    assert_eq!(failures(&snapshot, 1).gateway_in_row, 5);
    // A row of a worker that had no failure since is no news.
    let idle = Observed {
        gateway_row: 5,
        ..NOTHING
    };
    let third = reports(3, [idle, NOTHING, succeeded(1)]);
    merge(&mut merger, &mut snapshot, &third, at_ms(0));
    assert_eq!(failures(&snapshot, 1).gateway_in_row, 0);
}

#[test]
fn gateway_failure_ends_a_row_of_local_ones_but_not_the_other_way_round() {
    let local = Observed {
        counts: Counts {
            local_failures: 2,
            ..NOTHING.counts
        },
        local_row: 2,
        ..NOTHING
    };
    let (mut merger, mut snapshot) = (Merger::new(), snapshot());
    let mut turn = |sequence, seen| {
        let reports = [(0, report(1, sequence, at_ms(0), &[(1, seen)]))];
        merge(&mut merger, &mut snapshot, &reports, at_ms(0));
        let failures = failures(&snapshot, 1);
        (failures.gateway_in_row, failures.local_in_row)
    };
    assert_eq!(turn(1, local), (0, 2));
    assert_eq!(turn(2, failed(1, 1)), (1, 0));
    assert_eq!(turn(3, local), (1, 2));
    assert_eq!(turn(4, succeeded(1)), (0, 0));
    let idle = Observed {
        local_row: 9,
        ..NOTHING
    };
    assert_eq!(turn(5, idle), (0, 0));
}

#[test]
fn rows_saturate() {
    let (mut merger, mut snapshot) = (Merger::new(), snapshot());
    for sequence in 1..=3 {
        let reports = [(
            0,
            report(1, sequence, at_ms(0), &[(1, failed(u32::MAX, 255))]),
        )];
        merge(&mut merger, &mut snapshot, &reports, at_ms(0));
        assert_eq!(failures(&snapshot, 1).gateway_in_row, 255);
    }
}

fn sampled(estimate_ms: u64, at: WallTime) -> Observed {
    Observed {
        latency: Some(Latency::new(Duration::from_millis(estimate_ms), at)),
        ..NOTHING
    }
}

fn latency(snapshot: &Snapshot) -> Option<(u32, WallTime)> {
    let latency = snapshot.get(&address(1)).unwrap().latency?;
    Some((latency.estimate_us.get(), latency.at))
}

#[test]
fn estimate_is_the_largest_of_all_projected_to_now() {
    let (mut merger, mut snapshot) = (Merger::new(), snapshot());
    let mut turn = |sequence, now, seen: [Observed; 2]| {
        let reports = [
            (0, report(1, sequence, now, &[(1, seen[0])])),
            (1, report(2, sequence, now, &[(1, seen[1])])),
        ];
        let merged = merge(&mut merger, &mut snapshot, &reports, now);
        (latency(&snapshot), merged.latencies_changed)
    };
    let peak = Some((2_000_000, at_ms(0)));
    // One worker of two met the peak; both know it.
    let seen = [sampled(2000, at_ms(0)), sampled(167, at_ms(0))];
    assert_eq!(turn(1, at_ms(0), seen), (peak, 1));
    // The peak keeps its own time, so that readers let it decay.
    let seen = [sampled(167, at_ms(5000)), NOTHING];
    assert_eq!(turn(2, at_ms(5000), seen), (peak, 0));
    // In ten seconds it is worth 1 s, which a fresh estimate of 1.1 s beats.
    let fresh = Some((1_100_000, at_ms(10_000)));
    let seen = [sampled(1100, at_ms(10_000)), NOTHING];
    assert_eq!(turn(3, at_ms(10_000), seen), (fresh, 1));
    // The same estimate later goes before itself earlier.
    let later = Some((1_100_000, at_ms(10_500)));
    let seen = [sampled(1100, at_ms(10_250)), sampled(1100, at_ms(10_500))];
    assert_eq!(turn(4, at_ms(10_500), seen), (later, 1));
}

#[test]
fn estimates_survive_any_clock() {
    let year = 31_536_000_000;
    // Time of the estimate, of the merge, and what is kept.
    let cases = [
        (year, year, year),
        (year + 50, year, year),
        (2 * year, year, year),
    ];
    for (sampled_at, now, kept) in cases {
        let (mut merger, mut snapshot) = (Merger::new(), snapshot());
        let seen = sampled(9, at_ms(sampled_at));
        let reports = [(0, report(1, 1, at_ms(now), &[(1, seen)]))];
        merge(&mut merger, &mut snapshot, &reports, at_ms(now));
        assert_eq!(
            latency(&snapshot),
            Some((9000, at_ms(kept))),
            "{sampled_at}"
        );
        // The clock steps back by a year: what was kept counts from then.
        let reports = [(0, report(1, 2, at_ms(0), &[(1, NOTHING)]))];
        merge(&mut merger, &mut snapshot, &reports, at_ms(0));
        assert_eq!(latency(&snapshot), Some((9000, at_ms(0))), "{sampled_at}");
    }
}

#[test]
fn report_is_merged_once_and_gaps_are_counted() {
    let (mut merger, mut snapshot) = (Merger::new(), snapshot());
    let mut turn = |slot, worker, sequence, now| {
        let reports = [(
            slot,
            report(worker, sequence, at_ms(now), &[(1, failed(1, 1))]),
        )];
        let merged = merge(&mut merger, &mut snapshot, &reports, at_ms(20_000));
        let row = failures(&snapshot, 1).gateway_in_row;
        (
            merged.reports,
            merged.repeated,
            merged.stale,
            merged.lost,
            row,
        )
    };
    assert_eq!(turn(0, 7, 1, 20_000), (1, 0, 0, 0, 1));
    assert_eq!(turn(0, 7, 1, 20_000), (0, 1, 0, 0, 1));
    assert_eq!(turn(0, 7, 2, 20_000), (1, 0, 0, 0, 2));
    assert_eq!(turn(0, 7, 1, 20_000), (0, 1, 0, 0, 2));
    assert_eq!(turn(0, 7, 5, 20_000), (1, 0, 0, 2, 3));
    // The slot's next owner starts again.
    assert_eq!(turn(0, 8, 1, 20_000), (1, 0, 0, 0, 4));
    // As old as the limit, as far ahead, and just within it.
    assert_eq!(turn(0, 8, 2, 10_000), (0, 0, 1, 0, 4));
    assert_eq!(turn(0, 8, 2, 30_000), (0, 0, 1, 0, 4));
    assert_eq!(turn(0, 8, 2, 10_001), (1, 0, 0, 0, 5));
    // A sequence that can't go on isn't counted twice either.
    assert_eq!(turn(1, 9, u64::MAX, 20_000).0, 1);
    assert_eq!(turn(1, 9, u64::MAX, 20_000).1, 1);
}

#[test]
fn new_leader_does_not_count_again_what_the_old_one_may_have_counted() {
    let mut snapshot = snapshot();
    let seen = Observed {
        gateway_row: 3,
        ..failed(3, 3)
    };
    let seen = Observed {
        latency: sampled(50, at_ms(0)).latency,
        ..seen
    };
    let reports = [(0, report(1, 12, at_ms(0), &[(1, seen)]))];
    let mut merger = Merger::default();
    let merged = merge(&mut merger, &mut snapshot, &reports, at_ms(0));
    assert_eq!(
        (merged.reports, failures(&snapshot, 1).gateway_in_row),
        (1, 0)
    );
    assert_eq!(latency(&snapshot), Some((50_000, at_ms(0))));
    let reports = [(0, report(1, 13, at_ms(250), &[(1, failed(1, 4))]))];
    merge(&mut merger, &mut snapshot, &reports, at_ms(250));
    assert_eq!(failures(&snapshot, 1).gateway_in_row, 4);
}

/// Is a total of gateway failures that has been kept since the first report.
fn in_all(gateway_failures: u32, gateway_row: u8) -> Observed {
    Observed {
        since: 1,
        ..failed(gateway_failures, gateway_row)
    }
}

#[test]
fn totals_count_once_and_reports_that_nobody_read_lose_nothing() {
    let (mut merger, mut snapshot) = (Merger::new(), snapshot());
    let mut turn = |sequence, seen: Observed| {
        let reports = [(0, report(1, sequence, at_ms(0), &[(1, seen)]))];
        let merged = merge(&mut merger, &mut snapshot, &reports, at_ms(0));
        (
            merged.counts[0].1.gateway_failures,
            merged.lost,
            failures(&snapshot, 1).gateway_in_row,
        )
    };
    assert_eq!(turn(1, in_all(2, 2)), (2, 0, 2));
    assert_eq!(turn(2, in_all(2, 2)), (0, 0, 2));
    // Three reports were overwritten; what they said is in this one.
    assert_eq!(turn(6, in_all(7, 7)), (5, 3, 7));
    // The endpoint was left out for a while and begins again, with a number that looks like growth.
    let again = Observed {
        since: 9,
        ..failed(8, 8)
    };
    assert_eq!(turn(9, again), (8, 2, 15));
    // One that was not left out and stands still is no news, whatever its row.
    assert_eq!(turn(10, again), (0, 0, 15));
}

#[test]
fn totals_may_wrap() {
    let (mut merger, mut snapshot) = (Merger::new(), snapshot());
    let mut turn = |sequence, seen: Observed| {
        let reports = [(0, report(1, sequence, at_ms(0), &[(1, seen)]))];
        merge(&mut merger, &mut snapshot, &reports, at_ms(0)).counts[0]
            .1
            .gateway_failures
    };
    assert_eq!(turn(1, in_all(u32::MAX - 1, 1)), u32::MAX - 1);
    assert_eq!(turn(2, in_all(3, 5)), 5);
}

#[test]
fn new_leader_compares_with_the_first_report_that_it_sees() {
    let mut snapshot = snapshot();
    let mut merger = Merger::new();
    let mut turn = |worker, sequence, seen: &[(u16, Observed)]| {
        let reports = [(0, report(worker, sequence, at_ms(0), seen))];
        let merged = merge(&mut merger, &mut snapshot, &reports, at_ms(0));
        let counts = merged.counts.iter();
        counts
            .map(|(address, counts)| (address.port, counts.gateway_failures))
            .collect::<Vec<_>>()
    };
    assert_eq!(turn(1, 40, &[(1, in_all(9, 1))]), [(1, 0)]);
    // What joins later is all news.
    let joined = Observed {
        since: 41,
        ..failed(3, 3)
    };
    let seen = [(1, in_all(10, 2)), (2, joined)];
    assert_eq!(turn(1, 41, &seen), [(1, 1), (2, 3)]);
    // Another worker in the same slot has totals of its own.
    assert_eq!(turn(2, 7, &[(1, in_all(99, 1))]), [(1, 0)]);
    assert_eq!(turn(2, 8, &[(1, in_all(100, 1))]), [(1, 1)]);
}

#[test]
fn endpoint_of_which_the_worker_knows_no_generation_is_the_present_one() {
    let (mut merger, mut snapshot) = (Merger::new(), snapshot());
    let seen = Observed {
        generation: 0,
        ..failed(2, 2)
    };
    let reports = [(0, report(1, 1, at_ms(0), &[(1, seen)]))];
    let merged = merge(&mut merger, &mut snapshot, &reports, at_ms(0));
    assert_eq!(merged.other_generations, 0);
    assert_eq!(failures(&snapshot, 1).gateway_in_row, 2);
}

#[test]
fn what_concerns_others_is_counted_and_left_out() {
    let (mut merger, mut snapshot) = (Merger::new(), snapshot());
    let before = snapshot.clone();
    let earlier = Observed {
        generation: 2,
        ..failed(9, 9)
    };
    let seen = [(1, earlier), (4, failed(9, 9))];
    let reports = [(0, report(1, 1, at_ms(0), &seen))];
    let merged = merge(&mut merger, &mut snapshot, &reports, at_ms(0));
    let expected = Merged {
        reports: 1,
        unknown_endpoints: 1,
        other_generations: 1,
        ..Merged::default()
    };
    assert_eq!(merged, expected);
    let mine = report(1, 2, at_ms(0), &[(1, failed(9, 9))]);
    let merged = merge(
        &mut merger,
        &mut snapshot,
        &[(MAX_SLOTS, mine.clone())],
        at_ms(0),
    );
    assert_eq!((merged.foreign, merged.reports), (1, 0));
    for (configuration, cluster) in [(1, 9), (9, 2)] {
        let mut other = before.clone();
        other.header.configuration = configuration;
        other.header.cluster = cluster;
        let merged = merge(&mut merger, &mut other, &[(0, mine.clone())], at_ms(0));
        assert_eq!((merged.foreign, merged.reports), (1, 0));
    }
    assert_eq!(snapshot, before);
}

fn any_observed() -> impl Strategy<Value = Observed> {
    let latency = proptest::option::of((0..4000_u64, 0..20_000_u64));
    (0..3_u32, latency, any::<[u8; 5]>()).prop_map(|(generation, latency, numbers)| {
        let [successes, gateway, local, gateway_row, local_row] = numbers.map(|byte| byte % 8);
        Observed {
            generation,
            latency: latency.map(|(ms, at)| Latency::new(Duration::from_millis(ms), at_ms(at))),
            since: 0,
            counts: Counts {
                successes: u32::from(successes.saturating_sub(5)),
                gateway_failures: u32::from(gateway),
                local_failures: u32::from(local),
            },
            gateway_row,
            local_row,
        }
    })
}

proptest! {
    #[test]
    fn order_of_reports_is_irrelevant_and_rows_are_no_longer_than_all_failures(
        (slots, shuffled) in collection::vec(
            collection::btree_map(1..5_u16, any_observed(), 0..4), 0..8,
        ).prop_map(|workers| {
            workers.into_iter().enumerate().collect::<Vec<_>>()
        }).prop_flat_map(|slots| (Just(slots.clone()), Just(slots).prop_shuffle())),
    ) {
        let bytes = |slots: &[(usize, std::collections::BTreeMap<u16, Observed>)]| {
            slots.iter().map(|(slot, seen)| {
                let seen: Vec<_> = seen.iter().map(|(port, seen)| (*port, *seen)).collect();
                (*slot, report(*slot as u64, 1, at_ms(10_000), &seen))
            }).collect::<Vec<_>>()
        };
        let (mut one, mut other) = (snapshot(), snapshot());
        let now = at_ms(10_000);
        let merged = merge(&mut Merger::new(), &mut one, &bytes(&slots), now);
        prop_assert_eq!(&merged, &merge(&mut Merger::new(), &mut other, &bytes(&shuffled), now));
        prop_assert_eq!(&one, &other);
        for (address, counts) in &merged.counts {
            let failures = one.get(address).unwrap().failures;
            let own = slots.iter()
                .filter_map(|(_, seen)| seen.get(&address.port))
                .map(|seen| u32::from(seen.gateway_row)).max().unwrap_or(0);
            prop_assert!(u32::from(failures.gateway_in_row) <= counts.gateway_failures.max(own));
        }
    }
}
