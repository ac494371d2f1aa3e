//! Requests allocate nothing, and neither do ticks once the table is as large as it gets.

#![expect(unsafe_code, reason = "an allocator is counted by being one")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    num::NonZeroU32,
    time::Duration,
};

use tidegate_policy::{
    balance::{Decay, Pool, Settings, Share, SlowStart, Spill},
    digest::xxh64,
    snapshot::{Endpoint, EndpointAddress, Entry, Latency, Since},
    units::WallTime,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

// SAFETY: everything is the system's; the counter is a thread's own and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the system's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn at(ms: u64) -> WallTime {
    WallTime::from_ns((1_700_000_000_000 + ms) * 1_000_000)
}

#[test]
fn requests_and_ticks_allocate_nothing_in_steady_state() {
    let aggression = NonZeroU32::new(1_000_000).unwrap();
    let mut pool = Pool::new(settings(aggression));
    let addresses: Vec<EndpointAddress> = (0..1_000)
        .map(|index| {
            let text = format!("10.0.{}.{}:80", index / 250, index % 250);
            EndpointAddress::parse(text.as_bytes()).unwrap()
        })
        .collect();
    let zones = [&b"a"[..], b"b", b"c"];
    let mut under_way = Vec::with_capacity(64);
    let mut after_the_first = 0;
    for round in 0..100_u64 {
        if round == 10 {
            after_the_first = allocations();
        }
        let now = at(round * 250);
        // A tenth is missing, another one in each round; weights and estimates change.
        let entries = (0_u32..).zip(&addresses).filter_map(|(index, address)| {
            if u64::from(index) % 10 == round % 10 {
                return None;
            }
            let mut endpoint = Endpoint::new(Since {
                generation: 1,
                at: now,
            });
            endpoint.weight = NonZeroU32::new(1 + index % 3).unwrap();
            endpoint.latency = Some(Latency::new(Duration::from_micros(round), now));
            let zone = zones
                .iter()
                .copied()
                .cycle()
                .nth(usize::try_from(index % 3).unwrap())?;
            let entry = Entry {
                address: *address,
                endpoint,
                zone,
                name: &[],
            };
            Some((entry, Share::of(endpoint.state, &settings(aggression), now)))
        });
        pool.prepare(entries, b"a", NonZeroU32::MIN, now);
        for request in 0..64_u64 {
            let draws = [0, 1, 2].map(|seed| xxh64(&(round * 64 + request).to_le_bytes(), seed));
            let picked = pool.pick(draws, now).unwrap();
            under_way.push(pool.on_start(picked.endpoint.seat, now));
        }
        for mut ticket in under_way.drain(..) {
            if round % 3 == 0 {
                pool.on_upgrade(&mut ticket, Some(Duration::from_millis(5)), now);
            } else {
                pool.on_sample(&ticket, Duration::from_millis(5), now);
            }
            pool.on_end(ticket);
        }
    }
    assert!(after_the_first > 0, "nothing was counted");
    assert_eq!(allocations(), after_the_first);
}

fn settings(aggression: NonZeroU32) -> Settings {
    Settings {
        decay: Decay::new(Duration::from_secs(10)),
        slow_start: SlowStart::new(Duration::from_secs(60), aggression, 100_000),
        drain_window: Duration::from_secs(60),
        spill: Spill::new(1_500_000),
        recent_failure: Duration::from_secs(1),
    }
}
