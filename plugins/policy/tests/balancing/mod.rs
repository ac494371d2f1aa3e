//! A world of workers that balance over modelled endpoints, in virtual time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::IpAddr,
    num::NonZeroU32,
    time::Duration,
};

use tidegate_policy::{
    balance::{Decay, Pool, Reason, Settings, Share, SlowStart, Spill, Ticket},
    snapshot::{Endpoint, EndpointAddress, Entry, Latency, Since},
    units::WallTime,
};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
/// Is the wall clock at the beginning of the world.
const EPOCH_NS: u64 = 1_700_000_000 * SECOND;
const TICK_NS: u64 = 250 * MS;

/// Is SplitMix64, and what is drawn with it.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Is a number from 0 to below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / 2_f64.powi(53)
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Is a time around a median, log-normal, in nanoseconds.
    pub(crate) fn around(&mut self, median_ns: f64, sigma: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
        median_ns * (sigma * normal).exp()
    }
}

pub(crate) fn at(ns: u64) -> WallTime {
    WallTime::from_ns(EPOCH_NS + ns)
}

/// Is the endpoint with an index.
pub(crate) fn address(index: usize) -> EndpointAddress {
    let text = format!("10.0.{}.{}:80", index / 250, index % 250 + 1);
    EndpointAddress::parse(text.as_bytes()).unwrap()
}

/// Is an endpoint of which nothing is known, as a snapshot has it.
pub(crate) fn endpoint() -> Endpoint {
    Endpoint::new(Since {
        generation: 1,
        at: at(0),
    })
}

pub(crate) fn settings() -> Settings {
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

/// Is how long an endpoint takes in nanoseconds, and whether it succeeds.
pub(crate) type Behaviour<'a> = dyn Fn(Asked, &mut Random) -> (f64, bool) + 'a;

/// Is what an endpoint knows of a request.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) endpoint: usize,
    pub(crate) at_ns: u64,
    /// Are the requests under way there, this one included.
    pub(crate) in_flight: u32,
}

/// Is what is tried.
pub(crate) struct Trial<'a> {
    /// Are requests a second, that come independently.
    pub(crate) rate: f64,
    pub(crate) seconds: u64,
    pub(crate) workers: usize,
    /// Says whether workers hear of each other on every tick.
    pub(crate) merged: bool,
    pub(crate) seed: u64,
    /// Are the members at a time: index, what a snapshot says, zone.
    pub(crate) members: &'a dyn Fn(u64) -> Vec<(usize, Endpoint, &'static [u8])>,
    pub(crate) behaves: &'a Behaviour<'a>,
}

/// Is one request that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) endpoint: usize,
    pub(crate) at_ns: u64,
    pub(crate) took_ns: u64,
    pub(crate) succeeded: bool,
    pub(crate) reason: Reason,
    /// Are the requests under way at the endpoint, of all workers, this one included.
    pub(crate) in_flight: u32,
}

/// Is a request under way; ordered by its end.
struct UnderWay {
    ends_ns: u64,
    sequence: usize,
    worker: usize,
    ticket: Ticket,
}

impl PartialEq for UnderWay {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for UnderWay {}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UnderWay {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl UnderWay {
    const fn key(&self) -> (u64, usize) {
        (self.ends_ns, self.sequence)
    }
}

struct World<'a> {
    trial: &'a Trial<'a>,
    pools: Vec<Pool>,
    merged: BTreeMap<EndpointAddress, Latency>,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    counts: BTreeMap<usize, u32>,
    sent: Vec<Sent>,
}

/// Runs a trial; the requests in the order of their beginnings.
pub(crate) fn run(trial: &Trial<'_>) -> Vec<Sent> {
    let mut world = World {
        trial,
        pools: (0..trial.workers).map(|_| Pool::new(settings())).collect(),
        merged: BTreeMap::new(),
        under_way: BinaryHeap::new(),
        counts: BTreeMap::new(),
        sent: Vec::new(),
    };
    let mut arrivals = Random(trial.seed);
    let (mut draws, mut latencies) = (Random(trial.seed ^ 1 << 40), Random(trial.seed ^ 1 << 41));
    let (mut now, mut next_tick) = (0.0, 0);
    loop {
        now += arrivals.exponential(1e9 / trial.rate);
        let now_ns = now as u64;
        while next_tick <= now_ns {
            world.end_until(next_tick);
            world.tick(next_tick);
            next_tick += TICK_NS;
        }
        world.end_until(now_ns);
        if now_ns >= trial.seconds * SECOND {
            return world.sent;
        }
        let worker = (arrivals.draw() % trial.workers as u64) as usize;
        world.start(worker, now_ns, &mut draws, &mut latencies);
    }
}

impl World<'_> {
    fn tick(&mut self, now_ns: u64) {
        let now = at(now_ns);
        let members = (self.trial.members)(now_ns);
        let settings = settings();
        for pool in &mut self.pools {
            let entries = members.iter().map(|(index, endpoint, zone)| {
                let mut endpoint = *endpoint;
                if self.trial.merged {
                    endpoint.latency = self.merged.get(&address(*index)).copied();
                }
                let entry = Entry {
                    address: address(*index),
                    endpoint,
                    zone,
                    name: &[],
                };
                (entry, Share::of(endpoint.state, &settings, now))
            });
            let workers = NonZeroU32::new(self.trial.workers as u32).unwrap();
            pool.prepare(entries, b"a", workers, now);
        }
        if !self.trial.merged {
            return;
        }
        // As the leader merges: the largest, each projected to now.
        let worth = |latency: &Latency| {
            let passed = now.saturating_since(latency.at);
            settings.decay.project(latency.estimate_us, passed)
        };
        for (index, _, _) in &members {
            let address = address(*index);
            let seen = self.pools.iter().filter_map(|pool| {
                let seat = pool.seat(&address)?;
                pool.latency(seat, now)
            });
            let best = seen
                .chain(self.merged.get(&address).copied())
                .max_by_key(worth);
            if let Some(best) = best {
                self.merged.insert(address, best);
            }
        }
    }

    fn start(&mut self, worker: usize, now_ns: u64, draws: &mut Random, latencies: &mut Random) {
        let now = at(now_ns);
        let pool = &mut self.pools[worker];
        let Ok(picked) = pool.pick([draws.draw(), draws.draw(), draws.draw()], now) else {
            return;
        };
        let seat = picked.endpoint.seat;
        let endpoint = index_of(pool.address(seat).unwrap());
        let ticket = pool.on_start(seat, now);
        let in_flight = self.counts.entry(endpoint).or_insert(0);
        *in_flight += 1;
        let asked = Asked {
            endpoint,
            at_ns: now_ns,
            in_flight: *in_flight,
        };
        let (took_ns, succeeded) = (self.trial.behaves)(asked, latencies);
        let took_ns = took_ns as u64;
        self.under_way.push(Reverse(UnderWay {
            ends_ns: now_ns + took_ns,
            sequence: self.sent.len(),
            worker,
            ticket,
        }));
        self.sent.push(Sent {
            endpoint,
            at_ns: now_ns,
            took_ns,
            succeeded,
            reason: picked.reason,
            in_flight: *in_flight,
        });
    }

    fn end_until(&mut self, now_ns: u64) {
        while let Some(Reverse(first)) = self.under_way.peek()
            && first.ends_ns <= now_ns
        {
            let Some(Reverse(ended)) = self.under_way.pop() else {
                return;
            };
            let sent = self.sent[ended.sequence];
            let pool = &mut self.pools[ended.worker];
            if sent.succeeded {
                let took = Duration::from_nanos(sent.took_ns);
                pool.on_sample(&ended.ticket, took, at(ended.ends_ns));
            }
            pool.on_end(ended.ticket);
            *self.counts.get_mut(&sent.endpoint).unwrap() -= 1;
        }
    }
}

/// Is the index of an endpoint's address.
fn index_of(address: EndpointAddress) -> usize {
    let IpAddr::V4(ip) = address.ip else {
        return usize::MAX;
    };
    let [_, _, high, low] = ip.octets().map(usize::from);
    high * 250 + low - 1
}
