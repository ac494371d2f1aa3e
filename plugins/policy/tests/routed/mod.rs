//! A world of workers that route over modelled endpoints, and a leader that judges what they
//! report, in virtual time. Loads are requests under way alone: an endpoint that fails in a
//! millisecond is then as attractive as it can be.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    num::NonZeroU32,
    time::Duration,
};

use tidegate_policy::{
    ejection::{Config, Judge, Start, Verdict, combine},
    endpoints::Observer,
    fallback::{List, Spares},
    panic_mode::{Census, Fitness, Mode, Rule},
    passive::{LastAttempt, Outcome, Recent, Trials, conclude},
    snapshot::{
        Endpoint, EndpointAddress, Header, Merger, ReportViews, Since, Snapshot, State,
        cluster_digest,
    },
    units::WallTime,
};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
const EPOCH_NS: u64 = 1_700_000_000 * SECOND;
const TICK_NS: u64 = 250 * MS;
const CLUSTER: &[u8] = b"app";
/// Is how long a failure is recent.
const RECENT: Duration = Duration::from_secs(1);
/// Is the window of the slow start after a readmission.
const SLOW_START_NS: u64 = 60 * SECOND;

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

    fn below(&mut self, len: usize) -> usize {
        ((u128::from(self.draw()) * len as u128) >> 64) as usize
    }
}

/// Is how an endpoint answers one attempt.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) after_ns: u64,
    pub(crate) outcome: Outcome,
}

/// Is what is tried.
pub(crate) struct Trial<'a> {
    pub(crate) endpoints: usize,
    pub(crate) zones: usize,
    pub(crate) workers: usize,
    /// Are requests a second, that come independently.
    pub(crate) rate: f64,
    pub(crate) seconds: u64,
    /// Is how many attempts a request has.
    pub(crate) attempts: usize,
    /// Says whether a worker spares an endpoint that failed lately.
    pub(crate) spares_recent: bool,
    /// Says whether each attempt is seen, as by an upstream filter.
    pub(crate) sees_attempts: bool,
    pub(crate) seed: u64,
    /// Says how an endpoint answers at a time.
    pub(crate) behaves: &'a dyn Fn(usize, u64, &mut Random) -> Answer,
}

/// Is what came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) requests: u64,
    /// Are the requests whose last attempt failed.
    pub(crate) errors: u64,
    /// Are those that ended with an error, by second.
    pub(crate) errors_by_second: BTreeMap<u64, u64>,
    /// Are the attempts at each endpoint.
    pub(crate) attempts_at: Vec<u64>,
    pub(crate) second_attempts: u64,
    pub(crate) second_successes: u64,
    /// Are endpoint and time of each ejection.
    pub(crate) ejected: Vec<(usize, u64)>,
    /// Is the most that were unavailable at a time.
    pub(crate) most_unavailable: u32,
    /// Are the requests that were sent in panic.
    pub(crate) in_panic: u64,
}

struct Worker {
    observer: Observer,
    /// Are the endpoints as the last picture has them.
    states: Vec<State>,
    candidates: Vec<usize>,
    mode: Mode,
    spares: Spares<usize>,
    trials: Trials,
    in_flight: Vec<u32>,
    recent: Vec<Recent>,
    report: Vec<u8>,
}

/// Is a request under way.
struct Request {
    worker: usize,
    list: Vec<usize>,
    /// Is the attempt that is under way, from 0.
    attempt: usize,
    began_ns: u64,
    attempt_began_ns: u64,
}

/// What happens; the lesser comes first at one moment.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    LeaderTick,
    WorkerTick(usize),
    End(usize, bool, bool),
    Arrival,
}

struct World<'a> {
    trial: &'a Trial<'a>,
    workers: Vec<Worker>,
    snapshot: Snapshot,
    merger: Merger,
    judge: Judge<EndpointAddress>,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    requests: Vec<Request>,
    random: Random,
    run: Run,
}

pub(crate) fn at(ns: u64) -> WallTime {
    WallTime::from_ns(EPOCH_NS + ns)
}

fn address(index: usize) -> EndpointAddress {
    EndpointAddress {
        ip: [10, 0, (index / 250) as u8, (index % 250) as u8].into(),
        port: 80,
    }
}

fn index_of(address: &EndpointAddress) -> usize {
    let std::net::IpAddr::V4(ip) = address.ip else {
        return usize::MAX;
    };
    let [_, _, high, low] = ip.octets();
    usize::from(high) * 250 + usize::from(low)
}

pub(crate) fn run(trial: &Trial<'_>) -> Run {
    let mut world = World::new(trial);
    while let Some(Reverse((now_ns, event))) = world.events.pop() {
        if now_ns >= trial.seconds * SECOND {
            break;
        }
        match event {
            Event::LeaderTick => world.lead(now_ns),
            Event::WorkerTick(worker) => world.tick(worker, now_ns),
            Event::End(request, gateway, local) => {
                let outcome = match (gateway, local) {
                    (true, _) => Outcome::GatewayFailure,
                    (_, true) => Outcome::LocalFailure,
                    _ => Outcome::Success,
                };
                world.end(request, outcome, now_ns);
            }
            Event::Arrival => world.arrive(now_ns),
        }
    }
    world.run
}

impl<'a> World<'a> {
    fn new(trial: &'a Trial<'a>) -> Self {
        let mut snapshot = Snapshot::new(Header {
            configuration: 1,
            cluster: cluster_digest(CLUSTER),
            epoch: 1,
            generation: 1,
            published_at: at(0),
        });
        let mut judge = Judge::new(Config::parse("{}").unwrap());
        for index in 0..trial.endpoints {
            let mut endpoint = Endpoint::new(Since {
                generation: 1,
                at: WallTime::default(),
            });
            endpoint.state = State::Available { slow_start: None };
            snapshot.try_push(address(index), endpoint, b"").unwrap();
            judge.add(address(index), Start::New, at(0)).unwrap();
        }
        let worker = |number: usize| Worker {
            observer: Observer::new(1, number as u64 + 1),
            states: vec![State::Unknown; trial.endpoints],
            candidates: Vec::new(),
            mode: Mode::Nobody,
            spares: Spares::new(),
            trials: Trials::new(),
            in_flight: vec![0; trial.endpoints],
            recent: vec![Recent::default(); trial.endpoints],
            report: Vec::new(),
        };
        let mut world = Self {
            trial,
            workers: (0..trial.workers).map(worker).collect(),
            snapshot,
            merger: Merger::new(),
            judge,
            events: BinaryHeap::new(),
            requests: Vec::new(),
            random: Random(trial.seed),
            run: Run {
                attempts_at: vec![0; trial.endpoints],
                ..Run::default()
            },
        };
        for worker in 0..trial.workers {
            world.tick(worker, 0);
            let phase = TICK_NS * worker as u64 / trial.workers as u64;
            world.at(phase + 1, Event::WorkerTick(worker));
        }
        world.at(TICK_NS / 2, Event::LeaderTick);
        world.at(1, Event::Arrival);
        world
    }

    fn at(&mut self, ns: u64, event: Event) {
        self.events.push(Reverse((ns, event)));
    }

    fn lead(&mut self, now_ns: u64) {
        let now = at(now_ns);
        self.at(now_ns + TICK_NS, Event::LeaderTick);
        let reports = self.workers.iter().enumerate().flat_map(|(slot, worker)| {
            ReportViews::new(&worker.report).map(move |view| (slot, view.unwrap()))
        });
        let project = |estimate: NonZeroU32, _: Duration| estimate.get();
        let merged = self.merger.merge(
            &mut self.snapshot,
            reports,
            Duration::from_secs(2),
            project,
            now,
        );
        for (address, counts) in merged.counts {
            let rows = self.snapshot.get(&address).unwrap().failures;
            self.judge.on_attempts(&address, counts, rows, now);
        }
        let random = &mut self.random;
        for change in self.judge.on_tick(None, now, &mut || random.draw()) {
            if matches!(change.verdict, Verdict::Ejected { .. }) {
                self.run.ejected.push((index_of(&change.key), now_ns));
            }
            self.snapshot.update(&change.key, |endpoint| {
                endpoint.state = combine(State::Available { slow_start: None }, change.verdict);
                endpoint.failures.ejections = change.ejections;
            });
        }
        let mut census = Census::default();
        for (_, endpoint) in &self.snapshot {
            census.count(Fitness::of(endpoint.state, now));
        }
        self.run.most_unavailable = self.run.most_unavailable.max(census.unavailable);
    }

    fn tick(&mut self, number: usize, now_ns: u64) {
        let now = at(now_ns);
        self.at(now_ns + TICK_NS, Event::WorkerTick(number));
        let (trial, random) = (self.trial, &mut self.random);
        let worker = &mut self.workers[number];
        worker.observer.report(&mut worker.report, now);
        let mut census = Census::default();
        for (address, endpoint) in &self.snapshot {
            worker.states[index_of(&address)] = endpoint.state;
            census.count(Fitness::of(endpoint.state, now));
        }
        worker.mode = Rule::default().mode(&census, None);
        worker.candidates.clear();
        for (index, state) in worker.states.iter().enumerate() {
            if worker.mode.admits(Fitness::of(*state, now)) {
                worker.candidates.push(index);
            }
        }
        let zoned = |index: &usize| (*index, (index % trial.zones) as u64 + 1);
        worker.spares.prepare(worker.candidates.iter().map(zoned));
        let states = worker.states.iter().enumerate();
        let probing = states.filter(|(_, state)| matches!(state, State::Probing));
        worker
            .trials
            .on_picture(probing.map(|(index, _)| address(index)), now, &mut || {
                random.draw()
            });
    }

    fn arrive(&mut self, now_ns: u64) {
        let gap = -(1.0 - self.random.unit()).ln() / self.trial.rate * 1e9;
        self.at(now_ns + gap as u64, Event::Arrival);
        let number = self.random.below(self.trial.workers);
        let Some(first) = self.pick(number, now_ns) else {
            return;
        };
        let zones = self.trial.zones;
        let mut list = List::new(first, (first % zones) as u64 + 1);
        let (worker, random) = (&self.workers[number], &mut self.random);
        let failed = |index: usize| worker.recent[index].has_failed(at(now_ns), RECENT);
        worker
            .spares
            .fill(&mut list, self.trial.attempts, failed, &mut || {
                random.draw()
            });
        self.run.requests += 1;
        self.run.in_panic += u64::from(worker.mode != Mode::Normal);
        self.requests.push(Request {
            worker: number,
            list: list.iter().collect(),
            attempt: 0,
            began_ns: now_ns,
            attempt_began_ns: now_ns,
        });
        self.send(self.requests.len() - 1, now_ns);
    }

    /// Picks of two the one that stands better, did not fail lately, has less under way.
    fn pick(&mut self, number: usize, now_ns: u64) -> Option<usize> {
        let now = at(now_ns);
        let worker = &mut self.workers[number];
        if let Some(address) = worker.trials.take(now) {
            return Some(index_of(&address));
        }
        let count = worker.candidates.len();
        let first = self.random.below(count);
        let first_index = *worker.candidates.get(first)?;
        if count == 1 {
            return Some(first_index);
        }
        let second = (first + 1 + self.random.below(count - 1)) % count;
        let second_index = worker.candidates[second];
        let order = |index: usize| {
            let state = worker.states[index];
            let factor = match state {
                State::Available {
                    slow_start: Some(began),
                } => {
                    let passed = now.saturating_since(began).as_nanos() as f64;
                    (passed / SLOW_START_NS as f64).clamp(0.1, 1.0)
                }
                _ => 1.0,
            };
            let is_recent =
                self.trial.spares_recent && worker.recent[index].has_failed(now, RECENT);
            let load = f64::from(worker.in_flight[index] + 1) / factor;
            (Fitness::of(state, now), is_recent, (load * 1e6) as u64)
        };
        Some(if order(second_index) < order(first_index) {
            second_index
        } else {
            first_index
        })
    }

    fn send(&mut self, number: usize, now_ns: u64) {
        let request = &mut self.requests[number];
        request.attempt_began_ns = now_ns;
        let endpoint = request.list[request.attempt];
        self.workers[request.worker].in_flight[endpoint] += 1;
        self.run.attempts_at[endpoint] += 1;
        let answer = (self.trial.behaves)(endpoint, now_ns, &mut self.random);
        let gateway = answer.outcome == Outcome::GatewayFailure;
        let local = answer.outcome == Outcome::LocalFailure;
        self.at(now_ns + answer.after_ns, Event::End(number, gateway, local));
    }

    fn end(&mut self, number: usize, outcome: Outcome, now_ns: u64) {
        let now = at(now_ns);
        let request = &mut self.requests[number];
        let endpoint = request.list[request.attempt];
        let worker = &mut self.workers[request.worker];
        worker.in_flight[endpoint] -= 1;
        if request.attempt == 1 {
            self.run.second_attempts += 1;
            self.run.second_successes += u64::from(!outcome.is_failure());
        }
        let attempt = request.attempt;
        let is_over = !outcome.is_failure() || attempt + 1 >= request.list.len();
        if self.trial.sees_attempts {
            let latency = Duration::from_nanos(now_ns - request.attempt_began_ns);
            let seen = outcome.to_attempt(Some(latency));
            worker
                .observer
                .on_attempt(CLUSTER, address(endpoint), 1, seen, now);
            worker.recent[endpoint].on_outcome(outcome, now);
        } else if is_over {
            let list: Vec<EndpointAddress> = request.list.iter().map(|i| address(*i)).collect();
            let last = LastAttempt {
                attempts: Some(attempt as u64 + 1),
                served_by: Some(address(endpoint)),
                outcome,
                latency: Some(Duration::from_nanos(now_ns - request.began_ns)),
            };
            let conclusion = conclude(&list, &last, true);
            for (address, seen) in conclusion.attempts(&list) {
                worker.observer.on_attempt(CLUSTER, address, 1, seen, now);
            }
            for failed in &request.list[..conclusion.failed] {
                worker.recent[*failed].on_outcome(Outcome::GatewayFailure, now);
            }
            worker.recent[endpoint].on_outcome(outcome, now);
        }
        if !is_over {
            request.attempt += 1;
            self.send(number, now_ns);
        } else if outcome.is_failure() {
            self.run.errors += 1;
            let second = now_ns / SECOND;
            *self.run.errors_by_second.entry(second).or_default() += 1;
        }
    }
}
