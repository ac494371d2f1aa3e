//! A cluster whose endpoints a test sets, and its router.

use std::{num::NonZeroU32, time::Duration};

use tidegate_policy::{
    digest::xxh64,
    endpoints::{Known, Picture},
    passive::Outcome,
    plan::{Bond, Proposal},
    routing::{Answered, Concluded, Config, Routed, Router, Rule, Surroundings},
    snapshot::{
        Checked, Endpoint, EndpointAddress, Header, Since, Snapshot, State, Version, cluster_digest,
    },
    units::WallTime,
};

pub(crate) const SERVES: State = State::Available { slow_start: None };
/// Is ejected by its probe: its end is no moment.
pub(crate) const UNHEALTHY: State = State::Ejected {
    until: WallTime::from_ns(u64::MAX),
};

pub(crate) fn at(ms: u64) -> WallTime {
    WallTime::from_ns((1_700_000_000_000 + ms) * 1_000_000)
}

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn address(index: usize) -> EndpointAddress {
    EndpointAddress {
        ip: [10, 0, (index / 250) as u8, (index % 250) as u8].into(),
        port: 80,
    }
}

pub(crate) fn index_of(address: EndpointAddress) -> usize {
    let std::net::IpAddr::V4(ip) = address.ip else {
        return usize::MAX;
    };
    let [_, _, high, low] = ip.octets().map(usize::from);
    high * 250 + low
}

pub(crate) fn rule(fields: &str) -> Rule {
    let text = format!(r#"{{"clusters": [{{"prefix": ""{fields}}}]}}"#);
    Config::parse(&text).unwrap().rules()[0].clone()
}

/// Is an endpoint as a test sets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) index: usize,
    pub(crate) state: State,
    pub(crate) zone: &'static [u8],
    pub(crate) priority: u8,
}

pub(crate) const fn member(index: usize, state: State) -> Member {
    Member {
        index,
        state,
        zone: b"",
        priority: 0,
    }
}

pub(crate) fn members(states: &[State]) -> Vec<Member> {
    let states = states.iter().enumerate();
    states.map(|(index, state)| member(index, *state)).collect()
}

/// Is a snapshot's bytes.
pub(crate) fn snapshot(members: &[Member]) -> Checked {
    let mut snapshot = Snapshot::new(Header {
        configuration: 1,
        cluster: cluster_digest(b"app"),
        epoch: 1,
        generation: 1,
        published_at: at(0),
    });
    for member in members {
        let mut endpoint = Endpoint::new(Since {
            generation: 1,
            at: at(0),
        });
        endpoint.state = member.state;
        endpoint.priority = member.priority;
        let address = address(member.index);
        snapshot.try_push(address, endpoint, member.zone).unwrap();
    }
    let mut bytes = Vec::new();
    snapshot.encode(&mut bytes);
    Checked::try_new(bytes).unwrap()
}

pub(crate) fn picture(checked: &Checked, now: WallTime) -> Picture<'_> {
    Picture::Known(Known {
        view: checked.view(),
        version: Version {
            epoch: 1,
            generation: 1,
            confirmed_at: now,
        },
    })
}

/// Is a router with its clock and draws.
pub(crate) struct Cluster {
    pub(crate) router: Router,
    pub(crate) now_ms: u64,
    pub(crate) draws: u64,
}

impl Cluster {
    pub(crate) fn new(members: &[Member]) -> Self {
        Self::with("", members)
    }

    pub(crate) fn with(fields: &str, members: &[Member]) -> Self {
        let mut cluster = Self {
            router: Router::new(&rule(fields), Duration::from_secs(60), 1),
            now_ms: 0,
            draws: 0,
        };
        cluster.tick(members);
        cluster
    }

    pub(crate) fn now(&self) -> WallTime {
        at(self.now_ms)
    }

    pub(crate) fn tick(&mut self, members: &[Member]) {
        self.tick_in(b"", members);
    }

    pub(crate) fn tick_in(&mut self, own_zone: &[u8], members: &[Member]) {
        let now = self.now();
        let checked = snapshot(members);
        let surroundings = Surroundings {
            own_zone,
            workers: NonZeroU32::MIN,
            now,
        };
        let draws = &mut self.draws;
        let mut draw = || next(draws);
        self.router
            .on_tick(&picture(&checked, now), surroundings, &mut draw);
    }

    pub(crate) fn request(&mut self, proposal: Option<Proposal>) -> Routed {
        let now = self.now();
        let draws = &mut self.draws;
        self.router.on_request(proposal, now, &mut || next(draws))
    }

    pub(crate) fn answer(&mut self, routed: &mut Routed, answered: Answered) -> Concluded {
        let now = self.now();
        self.router.on_answer(routed, &answered, now)
    }

    /// Lets an endpoint answer a request, at its first attempt.
    pub(crate) fn serve(&mut self, index: usize, after_ms: u64, outcome: Outcome) {
        let mut routed = self.request(session(index));
        self.now_ms += after_ms;
        let _ = self.answer(&mut routed, by(index, 1, outcome));
        self.router.on_end(routed);
    }

    /// Are the requests under way at an endpoint.
    pub(crate) fn in_flight(&self, index: usize) -> u32 {
        let pool = self.router.pool();
        let seat = pool.seat(&address(index)).unwrap();
        pool.in_flight().requests(seat)
    }

    /// Is the estimate of an endpoint in milliseconds.
    pub(crate) fn estimate_ms(&self, index: usize) -> Option<u64> {
        let pool = self.router.pool();
        let sight = pool.sight(pool.seat(&address(index)).unwrap(), self.now());
        Some((sight.cost_ns? / 1e6).round() as u64)
    }

    pub(crate) fn has_failed(&self, index: usize) -> bool {
        let pool = self.router.pool();
        pool.has_failed(pool.seat(&address(index)).unwrap(), self.now())
    }
}

fn next(draws: &mut u64) -> u64 {
    *draws += 1;
    xxh64(&draws.to_le_bytes(), 0)
}

pub(crate) fn session(index: usize) -> Option<Proposal> {
    Some(Proposal {
        address: address(index),
        bond: Bond::Session,
    })
}

pub(crate) fn free(index: usize) -> Option<Proposal> {
    Some(Proposal {
        address: address(index),
        bond: Bond::Free,
    })
}

/// Is an answer by an endpoint to an attempt.
pub(crate) fn by(index: usize, attempts: u64, outcome: Outcome) -> Answered {
    Answered {
        attempts: Some(attempts),
        served_by: Some(address(index)),
        outcome,
        is_upgrade: false,
        says_draining: false,
    }
}

/// Are the endpoints of a list.
pub(crate) fn list(routed: &Routed) -> Vec<usize> {
    routed.addresses().map(index_of).collect()
}
