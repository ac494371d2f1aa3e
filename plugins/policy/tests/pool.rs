//! One VM's view of a cluster, from snapshot to snapshot, with attempts that outlive endpoints.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{num::NonZeroU32, time::Duration};

use proptest::prelude::*;
use tidegate_policy::{
    balance::{Decay, NotPicked, Pool, Seat, Settings, Share, SlowStart, Spill, Ticket},
    snapshot::{Endpoint, EndpointAddress, Entry, Latency, Since, State},
    units::WallTime,
};

const START_MS: u64 = 1_700_000_000_000;
const DRAWS: [u64; 3] = [0; 3];

fn at(ms: u64) -> WallTime {
    WallTime::from_ns((START_MS + ms) * 1_000_000)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn settings() -> Settings {
    Settings {
        decay: Decay::new(Duration::from_secs(10)),
        slow_start: SlowStart::new(
            Duration::from_secs(60),
            NonZeroU32::new(1_000_000).unwrap(),
            100_000,
        ),
        drain_window: Duration::from_secs(60),
        spill: Spill::new(1_500_000),
        recent_failure: Duration::from_secs(1),
    }
}

fn address(index: u32) -> EndpointAddress {
    let text = format!("10.{}.{}.1:80", index / 256, index % 256);
    EndpointAddress::parse(text.as_bytes()).unwrap()
}

fn entry(index: u32, generation: u32) -> (Entry<'static>, Share) {
    let entry = Entry {
        address: address(index),
        endpoint: Endpoint::new(Since {
            generation,
            at: at(0),
        }),
        zone: b"",
        name: &[],
    };
    (entry, Share::FULL)
}

fn pool(endpoints: u32) -> Pool {
    let mut pool = Pool::new(settings());
    prepare(&mut pool, (0..endpoints).map(|index| entry(index, 1)), 0);
    pool
}

fn prepare(
    pool: &mut Pool,
    entries: impl IntoIterator<Item = (Entry<'static>, Share)>,
    now_ms: u64,
) {
    pool.prepare(entries, b"", NonZeroU32::MIN, at(now_ms));
}

fn seat(pool: &Pool, index: u32) -> Seat {
    pool.seat(&address(index)).unwrap()
}

fn cost_ms(pool: &Pool, index: u32, now_ms: u64) -> Option<f64> {
    let cost_ns = pool.sight(seat(pool, index), at(now_ms)).cost_ns?;
    Some((cost_ns / 1e6).round())
}

/// Lets an attempt take so long, which ends it well.
fn serve(pool: &mut Pool, index: u32, from_ms: u64, latency_ms: u64) {
    let ticket = pool.on_start(seat(pool, index), at(from_ms));
    pool.on_sample(&ticket, ms(latency_ms), at(from_ms + latency_ms));
    pool.on_end(ticket);
}

#[test]
fn pool_without_endpoints_picks_nobody() {
    let picked = pool(0).pick(DRAWS, at(0));
    assert_eq!(picked, Err(NotPicked::NoCandidate));
}

#[test]
fn websocket_that_lived_an_hour_is_worth_its_time_to_the_101() {
    let mut pool = pool(2);
    let hour = 3_600_000;
    let mut socket = pool.on_start(seat(&pool, 0), at(0));
    pool.on_upgrade(&mut socket, Some(ms(30)), at(30));
    pool.on_upgrade(&mut socket, Some(ms(1_000)), at(1_000));
    assert_eq!(cost_ms(&pool, 0, 30), Some(30.0));
    serve(&mut pool, 0, hour - 1_000, 20);
    let before = pool.sight(seat(&pool, 0), at(hour));
    assert!(
        before.oldest_age_ns < 1.0 && before.in_flight == 0,
        "{before:?}"
    );
    pool.on_end(socket);
    assert_eq!(pool.sight(seat(&pool, 0), at(hour)), before);
    assert_eq!(cost_ms(&pool, 0, hour - 980), Some(20.0));
}

#[test]
fn attempt_that_failed_leaves_no_trace_but_its_age_while_it_lasted() {
    let mut pool = pool(1);
    serve(&mut pool, 0, 0, 50);
    let failing = pool.on_start(seat(&pool, 0), at(50));
    let sight = pool.sight(seat(&pool, 0), at(15_050));
    assert!((sight.oldest_age_ns - 15e9).abs() < 1.0);
    // The others hear of it while it hangs.
    let told = pool.latency(seat(&pool, 0), at(15_050)).unwrap();
    assert_eq!((told.estimate_us.get(), told.at), (15_000_000, at(15_050)));
    pool.on_end(failing);
    let told = pool.latency(seat(&pool, 0), at(15_050)).unwrap();
    assert_eq!((told.estimate_us.get(), told.at), (50_000, at(50)));
}

#[test]
fn estimates_of_others_come_with_the_snapshot() {
    let mut pool = pool(2);
    serve(&mut pool, 0, 0, 50);
    let mut told = [entry(0, 1), entry(1, 1)];
    for (entry, _) in &mut told {
        entry.endpoint.latency = Some(Latency::new(ms(400), at(1_000)));
    }
    prepare(&mut pool, told, 1_000);
    assert_eq!(cost_ms(&pool, 0, 1_000), Some(400.0));
    assert_eq!(cost_ms(&pool, 1, 1_000), Some(400.0));
}

#[test]
fn address_that_joined_again_begins_without_an_estimate() {
    let mut pool = pool(2);
    serve(&mut pool, 0, 0, 50);
    serve(&mut pool, 1, 0, 50);
    prepare(&mut pool, [entry(0, 2), entry(1, 1)], 1_000);
    assert_eq!(cost_ms(&pool, 0, 1_000), None);
    assert!(cost_ms(&pool, 1, 1_000).is_some());
}

#[test]
fn attempt_that_outlives_its_endpoint_is_not_counted_at_the_one_that_comes() {
    let mut pool = pool(1);
    let outliving = pool.on_start(seat(&pool, 0), at(0));
    prepare(&mut pool, [entry(1, 1)], 1_000);
    let late = seat(&pool, 1);
    assert_ne!(late, outliving.seat());
    assert_eq!(pool.address(outliving.seat()), Some(address(0)));
    pool.on_sample(&outliving, ms(2_000), at(2_000));
    pool.on_end(outliving);
    assert_eq!(cost_ms(&pool, 1, 2_000), None);
    // Its seat is the next one's, who knows nothing of it.
    prepare(&mut pool, [entry(1, 1), entry(2, 1)], 3_000);
    assert_eq!(seat(&pool, 2), Seat(0));
    assert_eq!(cost_ms(&pool, 2, 3_000), None);
}

#[test]
fn endpoint_that_comes_back_finds_its_attempts_under_way() {
    let mut pool = pool(2);
    let outliving = pool.on_start(seat(&pool, 0), at(0));
    prepare(&mut pool, [entry(1, 1)], 1_000);
    prepare(&mut pool, [entry(0, 1), entry(1, 1)], 2_000);
    assert_eq!(seat(&pool, 0), outliving.seat());
    assert_eq!(pool.sight(seat(&pool, 0), at(2_000)).in_flight, 1);
    pool.on_end(outliving);
    assert_eq!(pool.sight(seat(&pool, 0), at(2_000)).in_flight, 0);
    // It is listed, so its seat stays its own.
    prepare(&mut pool, [entry(0, 1), entry(1, 1), entry(2, 1)], 3_000);
    assert_ne!(seat(&pool, 2), seat(&pool, 0));
}

#[test]
fn entries_out_of_order_are_left_out() {
    let mut pool = Pool::new(settings());
    prepare(
        &mut pool,
        [entry(5, 1), entry(3, 1), entry(5, 1), entry(6, 1)],
        0,
    );
    assert_eq!(pool.candidates(), 2);
    assert!(pool.seat(&address(3)).is_none());
}

#[test]
fn clock_that_stepped_back_is_counted_and_estimates_decay_from_there() {
    let mut pool = pool(1);
    serve(&mut pool, 0, 3_600_000, 100);
    prepare(&mut pool, [entry(0, 1)], 0);
    assert_eq!(pool.clock_regressions(), 1);
    assert_eq!(cost_ms(&pool, 0, 10_000), Some(37.0));
}

#[test]
fn share_is_that_of_the_state() {
    let until = at(30_000);
    let cases = [
        (State::Unknown, 1.0, false),
        (State::Available { slow_start: None }, 1.0, false),
        (
            State::Available {
                slow_start: Some(at(0)),
            },
            0.25,
            true,
        ),
        (State::Draining { until }, 0.25, false),
        (State::Ejected { until }, 0.0, false),
        (State::Probing, 0.0, false),
        (State::Vanished { until }, 0.0, false),
    ];
    for (state, factor, newcomer) in cases {
        let share = Share::of(state, &settings(), at(15_000));
        assert_eq!(
            share,
            Share {
                factor,
                newcomer,
                ..Share::FULL
            },
            "{state:?}"
        );
    }
    let grown = Share::of(
        State::Available {
            slow_start: Some(at(0)),
        },
        &settings(),
        at(60_000),
    );
    assert_eq!(grown, Share::FULL);
}

/// The table is as large as what was there at once, not as what ever was there.
#[test]
fn churn_of_100_000_endpoints_takes_no_more_seats_than_were_needed_at_once() {
    let mut pool = Pool::new(settings());
    let mut under_way: Vec<Ticket> = Vec::new();
    for round in 0..1_000 {
        let first = round * 100 % 60_000;
        prepare(
            &mut pool,
            (first..first + 100).map(|index| entry(index, round)),
            0,
        );
        // Two rounds' attempts are under way, one each.
        for index in first..first + 100 {
            under_way.push(pool.on_start(seat(&pool, index), at(0)));
        }
        if round >= 2 {
            under_way
                .drain(..100)
                .for_each(|ticket| pool.on_end(ticket));
        }
    }
    under_way.drain(..).for_each(|ticket| pool.on_end(ticket));
    assert_eq!(pool.in_flight().all_requests(), 0);
    assert!(pool.address(Seat(300)).is_none(), "301 seats and more");
}

#[derive(Clone, Debug)]
enum Event {
    Snapshot(Vec<(u32, u32)>),
    Start([u64; 3]),
    Stale(u32),
    Sample(prop::sample::Index, u64),
    Upgrade(prop::sample::Index),
    End(prop::sample::Index),
    Pass(i64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let index = any::<prop::sample::Index>;
    let event = prop_oneof![
        1 => prop::collection::btree_map(0..12_u32, 1..3_u32, 0..8)
            .prop_map(|entries| Event::Snapshot(entries.into_iter().collect())),
        4 => any::<[u64; 3]>().prop_map(Event::Start),
        1 => prop_oneof![0..12_u32, any::<u32>()].prop_map(Event::Stale),
        2 => (index(), any::<u64>()).prop_map(|(index, us)| Event::Sample(index, us)),
        1 => index().prop_map(Event::Upgrade),
        3 => index().prop_map(Event::End),
        1 => (-100_000..100_000_i64).prop_map(Event::Pass),
    ];
    prop::collection::vec(event, 1..200)
}

proptest! {
    /// Whatever happens in whatever order: whoever is picked is listed, what began is counted where
    /// it began until it ends, and nothing is left at the end.
    #[test]
    fn pool_survives_everything(events in events()) {
        let mut pool = Pool::new(settings());
        let mut under_way: Vec<(EndpointAddress, Ticket)> = Vec::new();
        let mut listed: Vec<u32> = Vec::new();
        let mut now_ms = 1_000_000_u64;
        for event in events {
            match event {
                Event::Snapshot(entries) => {
                    listed = entries.iter().map(|(index, _)| *index).collect();
                    let entries = entries.into_iter().map(|(index, joined)| entry(index, joined));
                    prepare(&mut pool, entries, now_ms);
                }
                Event::Start(draws) => match pool.pick(draws, at(now_ms)) {
                    Ok(picked) => {
                        let address = pool.address(picked.endpoint.seat).unwrap();
                        prop_assert!(listed.iter().any(|index| self::address(*index) == address));
                        prop_assert!(picked.endpoint.load.is_finite());
                        let ticket = pool.on_start(picked.endpoint.seat, at(now_ms));
                        under_way.push((address, ticket));
                    }
                    Err(NotPicked::NoCandidate) => prop_assert!(listed.is_empty()),
                },
                // A seat that was remembered for too long.
                Event::Stale(seat) => {
                    let ticket = pool.on_start(Seat(seat), at(now_ms));
                    match pool.address(ticket.seat()) {
                        Some(address) => under_way.push((address, ticket)),
                        None => pool.on_end(ticket),
                    }
                }
                Event::Sample(index, us) if !under_way.is_empty() => {
                    let (_, ticket) = &under_way[index.index(under_way.len())];
                    pool.on_sample(ticket, Duration::from_micros(us), at(now_ms));
                }
                Event::Upgrade(index) if !under_way.is_empty() => {
                    let one = index.index(under_way.len());
                    pool.on_upgrade(&mut under_way[one].1, Some(ms(5)), at(now_ms));
                }
                Event::End(index) if !under_way.is_empty() => {
                    let (_, ticket) = under_way.swap_remove(index.index(under_way.len()));
                    pool.on_end(ticket);
                }
                Event::Pass(passed) => now_ms = now_ms.saturating_add_signed(passed),
                Event::Sample(..) | Event::Upgrade(_) | Event::End(_) => {}
            }
            for (address, ticket) in &under_way {
                prop_assert_eq!(pool.address(ticket.seat()), Some(*address));
            }
            for index in &listed {
                let address = address(*index);
                let seat = pool.seat(&address).unwrap();
                let here = |upgraded| {
                    let is_here = |one: &&(EndpointAddress, Ticket)| {
                        one.0 == address && one.1.is_upgraded() == upgraded
                    };
                    u32::try_from(under_way.iter().filter(is_here).count()).unwrap()
                };
                prop_assert_eq!(pool.in_flight().requests(seat), here(false));
                prop_assert_eq!(pool.in_flight().upgraded(seat), here(true));
            }
        }
        under_way.drain(..).for_each(|(_, ticket)| pool.on_end(ticket));
        prop_assert_eq!(pool.in_flight().all_requests(), 0);
    }
}
