//! Requests allocate nothing, and neither do ticks once the table is as large as it gets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
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
    endpoints::{Known, Picture},
    passive::Outcome,
    plan::{Bond, Proposal},
    routing::{Answered, Config, Routers, Rules, Surroundings},
    snapshot::{
        Checked, Endpoint, EndpointAddress, Entry, Header, Latency, Since, Snapshot, State, Version,
    },
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

fn address(index: usize) -> EndpointAddress {
    let [high, low] = u16::try_from(index).unwrap().to_be_bytes();
    EndpointAddress {
        ip: [10, 0, high, low].into(),
        port: 80,
    }
}

/// Is a picture of so many endpoints in three zones, of which some are ejected or on trial.
fn picture(endpoints: usize) -> Checked {
    let mut snapshot = Snapshot::new(Header {
        configuration: 1,
        cluster: 1,
        epoch: 1,
        generation: 1,
        published_at: at(0),
    });
    for index in 0..endpoints {
        let mut endpoint = Endpoint::new(Since {
            generation: 1,
            at: at(0),
        });
        endpoint.state = match index % 10 {
            0 => State::Probing,
            1 => State::Ejected { until: at(60_000) },
            _ => State::Available { slow_start: None },
        };
        let zone = [&b"a"[..], b"b", b"c"];
        let zone = zone.into_iter().nth(index % 3).unwrap();
        snapshot.try_push(address(index), endpoint, zone).unwrap();
    }
    let mut bytes = Vec::new();
    snapshot.encode(&mut bytes);
    Checked::try_new(bytes).unwrap()
}

#[test]
fn decisions_answers_and_ends_allocate_nothing_in_steady_state() {
    let endpoints = 1_000;
    let config = Config::parse(r#"{"clusters": [{"prefix": "app"}]}"#).unwrap();
    let rules = Rules::new(config.rules());
    let mut routers = Routers::new(rules, Duration::from_secs(60), 7);
    let checked = picture(endpoints);
    let mut under_way = Vec::with_capacity(256);
    let mut draws = 0_u64;
    let mut draw = || {
        draws += 1;
        xxh64(&draws.to_le_bytes(), 0)
    };
    let mut in_requests = 0;
    for round in 0..40_u64 {
        let now = at(round * 250);
        let known = |_: &[u8]| {
            Picture::Known(Known {
                view: checked.view(),
                version: Version {
                    epoch: 1,
                    generation: 1,
                    confirmed_at: now,
                },
            })
        };
        let surroundings = Surroundings {
            own_zone: b"a",
            workers: NonZeroU32::MIN,
            now,
        };
        routers.on_tick(known, surroundings, &mut draw);
        let before = allocations();
        for request in 0..256_usize {
            let proposal = (request % 4 == 0).then(|| Proposal {
                address: address(request),
                bond: Bond::Session,
            });
            under_way.push(routers.on_request(b"app", proposal, now, &mut draw));
        }
        for (request, mut routed) in under_way.drain(..).enumerate() {
            let attempts = 1 + request % 3;
            let answered = Answered {
                attempts: Some(u64::try_from(attempts).unwrap()),
                served_by: routed.addresses().nth(attempts - 1),
                outcome: if request % 7 == 0 {
                    Outcome::LocalFailure
                } else {
                    Outcome::Success
                },
                is_upgrade: request % 5 == 0,
                says_draining: request % 11 == 0,
            };
            let concluded = routers.on_answer(&mut routed, &answered, at(round * 250 + 5));
            let is_met = round == 0 || concluded.attempts(&routed).count() == attempts;
            assert!(is_met, "{routed}");
            routers.on_end(routed);
        }
        // The first rounds meet the cluster, and let the table of what is under way grow.
        if round >= 2 {
            in_requests += allocations() - before;
        }
    }
    assert!(draws > 0);
    assert_eq!(in_requests, 0);
}
