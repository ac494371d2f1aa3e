//! A world of workers that route over modelled endpoints by the real router, and a leader that
//! merges and judges what they report, in virtual time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    num::NonZeroU32,
    time::Duration,
};

use tidegate_policy::{
    balance::Decay,
    ejection::{self, Judge, Start, Verdict, combine},
    endpoints::{Known, Observer, Picture, Started},
    panic_mode::{Census, Fitness, Mode},
    passive::Outcome,
    routing::{Answered, Config, Routed, Router, Rule, Surroundings},
    snapshot::{
        Checked, Endpoint, EndpointAddress, Header, Merger, ReportViews, Since, Snapshot, State,
        Version, cluster_digest,
    },
    units::WallTime,
};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
const EPOCH_NS: u64 = 1_700_000_000 * SECOND;
const TICK_NS: u64 = 250 * MS;
const CLUSTER: &[u8] = b"app";

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

    /// Is a time around a median, log-normal, in nanoseconds.
    pub(crate) fn around(&mut self, median_ns: f64, sigma: f64) -> u64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
        (median_ns * (sigma * normal).exp()) as u64
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
#[derive(Clone, Copy)]
pub(crate) struct Trial<'a> {
    pub(crate) endpoints: usize,
    /// Is when the last one joins, as a newcomer; `None`: it was always there, like the others.
    pub(crate) last_joins_ns: Option<u64>,
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

/// Is one request that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) at_ns: u64,
    /// Is who the first attempt went to.
    pub(crate) endpoint: usize,
    /// Are the attempts under way there, of all workers, this one included.
    pub(crate) in_flight: u32,
    /// Is how long the request took, all attempts together; 0 while it is under way.
    pub(crate) took_ns: u64,
}

/// Is what came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) sent: Vec<Sent>,
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

impl Run {
    pub(crate) fn requests(&self) -> u64 {
        self.sent.len() as u64
    }

    /// Is the share of requests for which something holds.
    pub(crate) fn share(&self, holds: impl Fn(&Sent) -> bool) -> f64 {
        self.sent.iter().filter(|sent| holds(sent)).count() as f64 / self.sent.len() as f64
    }
}

struct Worker {
    observer: Observer,
    router: Router,
    report: Vec<u8>,
}

/// Is a request under way.
struct Request {
    worker: usize,
    routed: Option<Routed>,
    /// Is what the observer follows: the attempt, or the request as if the first had it to the end.
    started: Option<Started>,
    list: Vec<usize>,
    /// Is the attempt that is under way, from 0.
    attempt: usize,
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
    /// Is the snapshot as workers read it.
    published: Checked,
    merger: Merger,
    judge: Judge<EndpointAddress>,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    requests: Vec<Request>,
    in_flight: Vec<u32>,
    arrivals: Random,
    draws: Random,
    answers: Random,
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

/// Is the rule of the default configuration, for so many attempts.
fn rule(attempts: usize, spares_recent: bool) -> Rule {
    let recent = if spares_recent { "1s" } else { "0ms" };
    let text = format!(
        r#"{{"clusters": [{{"prefix": "", "attempts": {attempts}, "recent_failure": "{recent}"}}]}}"#
    );
    Config::parse(&text).unwrap().rules()[0].clone()
}

fn encoded(snapshot: &Snapshot) -> Checked {
    let mut bytes = Vec::new();
    snapshot.encode(&mut bytes);
    Checked::try_new(bytes).unwrap()
}

pub(crate) fn run(trial: &Trial<'_>) -> Run {
    let mut world = World::new(trial);
    while let Some(Reverse((now_ns, event))) = world.events.pop() {
        if now_ns >= trial.seconds * SECOND {
            break;
        }
        match event {
            Event::LeaderTick => world.lead(now_ns),
            Event::WorkerTick(worker) => {
                world.at(now_ns + TICK_NS, Event::WorkerTick(worker));
                world.tick(worker, now_ns);
            }
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
        let snapshot = Snapshot::new(Header {
            configuration: 1,
            cluster: cluster_digest(CLUSTER),
            epoch: 1,
            generation: 1,
            published_at: at(0),
        });
        let rule = rule(trial.attempts, trial.spares_recent);
        let worker = |number: usize| Worker {
            observer: Observer::new(1, number as u64 + 1),
            router: Router::new(&rule, Duration::from_secs(60), number as u64),
            report: Vec::new(),
        };
        let mut world = Self {
            trial,
            workers: (0..trial.workers).map(worker).collect(),
            published: encoded(&snapshot),
            snapshot,
            merger: Merger::new(),
            judge: Judge::new(ejection::Config::parse("{}").unwrap()),
            events: BinaryHeap::new(),
            requests: Vec::new(),
            in_flight: vec![0; trial.endpoints],
            arrivals: Random(trial.seed),
            draws: Random(trial.seed ^ 1 << 40),
            answers: Random(trial.seed ^ 1 << 41),
            run: Run {
                attempts_at: vec![0; trial.endpoints],
                ..Run::default()
            },
        };
        let at_first = trial.endpoints - usize::from(trial.last_joins_ns.is_some());
        for index in 0..at_first {
            world.join(index, None, 0);
        }
        world.published = encoded(&world.snapshot);
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

    fn join(&mut self, index: usize, slow_start: Option<WallTime>, now_ns: u64) {
        let mut endpoint = Endpoint::new(Since {
            generation: 1,
            at: at(now_ns),
        });
        endpoint.state = State::Available { slow_start };
        let zone = [b'a' + (index % self.trial.zones) as u8];
        self.snapshot
            .try_push(address(index), endpoint, &zone)
            .unwrap();
        self.judge
            .add(address(index), Start::New, at(now_ns))
            .unwrap();
    }

    /// Says how an endpoint would stand but for its traffic.
    fn others(&self, address: &EndpointAddress) -> State {
        let last = index_of(address) + 1 == self.trial.endpoints;
        let joined = self.trial.last_joins_ns.filter(|_| last);
        State::Available {
            slow_start: joined.map(at),
        }
    }

    fn lead(&mut self, now_ns: u64) {
        let now = at(now_ns);
        self.at(now_ns + TICK_NS, Event::LeaderTick);
        let last = self.trial.endpoints - 1;
        if let Some(joins_ns) = self.trial.last_joins_ns
            && now_ns >= joins_ns
            && self.snapshot.get(&address(last)).is_none()
        {
            self.join(last, Some(at(joins_ns)), now_ns);
        }
        let reports = self.workers.iter().enumerate().flat_map(|(slot, worker)| {
            ReportViews::new(&worker.report).map(move |view| (slot, view.unwrap()))
        });
        let merged = self.merger.merge(
            &mut self.snapshot,
            reports,
            Duration::from_secs(2),
            |estimate_us, passed| Decay::DEFAULT.project(estimate_us, passed),
            now,
        );
        for (address, counts) in merged.counts {
            let rows = self.snapshot.get(&address).unwrap().failures;
            self.judge.on_attempts(&address, counts, rows, now);
        }
        let draws = &mut self.draws;
        for change in self.judge.on_tick(None, now, &mut || draws.draw()) {
            if matches!(change.verdict, Verdict::Ejected { .. }) {
                self.run.ejected.push((index_of(&change.key), now_ns));
            }
            let others = self.others(&change.key);
            self.snapshot.update(&change.key, |endpoint| {
                endpoint.state = combine(others, change.verdict);
                endpoint.failures.ejections = change.ejections;
            });
        }
        let mut census = Census::default();
        for (_, endpoint) in &self.snapshot {
            census.count(Fitness::of(endpoint.state, now));
        }
        self.run.most_unavailable = self.run.most_unavailable.max(census.unavailable);
        self.published = encoded(&self.snapshot);
    }

    fn tick(&mut self, number: usize, now_ns: u64) {
        let now = at(now_ns);
        let workers = NonZeroU32::new(self.trial.workers as u32).unwrap();
        let worker = &mut self.workers[number];
        worker.observer.report(&mut worker.report, now);
        let known = Picture::Known(Known {
            view: self.published.view(),
            version: Version {
                epoch: 1,
                generation: 1,
                confirmed_at: now,
            },
        });
        let surroundings = Surroundings {
            own_zone: b"",
            workers,
            now,
        };
        let draws = &mut self.draws;
        worker
            .router
            .on_tick(&known, surroundings, &mut || draws.draw());
    }

    fn arrive(&mut self, now_ns: u64) {
        let gap = -(1.0 - self.arrivals.unit()).ln() / self.trial.rate * 1e9;
        self.at(now_ns + gap as u64, Event::Arrival);
        let number = self.arrivals.below(self.trial.workers);
        let (router, draws) = (&mut self.workers[number].router, &mut self.draws);
        let routed = router.on_request(None, at(now_ns), &mut || draws.draw());
        self.run.in_panic += u64::from(router.mode() != Some(Mode::Normal));
        let list: Vec<usize> = routed
            .addresses()
            .map(|address| index_of(&address))
            .collect();
        assert!(!list.is_empty(), "{routed}");
        self.run.sent.push(Sent {
            at_ns: now_ns,
            endpoint: list[0],
            in_flight: self.in_flight[list[0]] + 1,
            took_ns: 0,
        });
        self.requests.push(Request {
            worker: number,
            routed: Some(routed),
            started: None,
            list,
            attempt: 0,
            attempt_began_ns: now_ns,
        });
        self.send(self.requests.len() - 1, now_ns);
    }

    fn send(&mut self, number: usize, now_ns: u64) {
        let request = &mut self.requests[number];
        request.attempt_began_ns = now_ns;
        let endpoint = request.list[request.attempt];
        self.in_flight[endpoint] += 1;
        self.run.attempts_at[endpoint] += 1;
        if self.trial.sees_attempts || request.attempt == 0 {
            let observer = &mut self.workers[request.worker].observer;
            request.started = observer.on_start(CLUSTER, address(endpoint), 1, at(now_ns));
        }
        let answer = (self.trial.behaves)(endpoint, now_ns, &mut self.answers);
        let gateway = answer.outcome == Outcome::GatewayFailure;
        let local = answer.outcome == Outcome::LocalFailure;
        self.at(now_ns + answer.after_ns, Event::End(number, gateway, local));
    }

    fn end(&mut self, number: usize, outcome: Outcome, now_ns: u64) {
        let now = at(now_ns);
        let request = &mut self.requests[number];
        let attempt = request.attempt;
        let endpoint = request.list[attempt];
        self.in_flight[endpoint] -= 1;
        if attempt == 1 {
            self.run.second_attempts += 1;
            self.run.second_successes += u64::from(!outcome.is_failure());
        }
        let is_over = !outcome.is_failure() || attempt + 1 >= request.list.len();
        let worker = &mut self.workers[request.worker];
        if (self.trial.sees_attempts || is_over)
            && let Some(started) = request.started.take()
        {
            worker.observer.on_end(&started);
        }
        if self.trial.sees_attempts {
            let latency = Duration::from_nanos(now_ns - request.attempt_began_ns);
            let seen = outcome.to_attempt(Some(latency));
            worker
                .observer
                .on_attempt(CLUSTER, address(endpoint), 1, seen, now);
        }
        if !is_over {
            request.attempt += 1;
            self.send(number, now_ns);
            return;
        }
        let mut routed = request.routed.take().unwrap();
        let answered = Answered {
            attempts: Some(attempt as u64 + 1),
            served_by: Some(address(endpoint)),
            outcome,
            is_upgrade: false,
            says_draining: false,
        };
        let concluded = worker.router.on_answer(&mut routed, &answered, now);
        if !self.trial.sees_attempts {
            for (address, seen) in concluded.attempts(&routed) {
                worker.observer.on_attempt(CLUSTER, address, 1, seen, now);
            }
        }
        worker.router.on_end(routed);
        let sent = &mut self.run.sent[number];
        sent.took_ns = now_ns - sent.at_ns;
        if outcome.is_failure() {
            self.run.errors += 1;
            let second = now_ns / SECOND;
            *self.run.errors_by_second.entry(second).or_default() += 1;
        }
    }
}
