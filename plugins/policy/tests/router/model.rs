//! The router against one in plain words, that keeps lists of everything and searches them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate_policy::{
    balance::{Decay, FURTHER, PeakEwma},
    passive::{Outcome, Recent},
    units::WallTime,
};

use crate::cluster::{Cluster, Member, SERVES, UNHEALTHY, by, list, member, ms, session};

/// Is what is known of an endpoint.
#[derive(Clone, Copy, Default)]
struct Known {
    estimate: PeakEwma,
    recent: Recent,
    /// Are the beginnings of what is under way is in another list.
    in_flight: u32,
}

/// Is a request under way: who has it, since when, and whether it is answered.
struct UnderWay {
    endpoint: usize,
    began: WallTime,
    answered: bool,
}

/// Is the router in plain words: for a pool without zones, weights, newcomers, trials and levels.
struct Naive {
    picture: Vec<Member>,
    known: BTreeMap<usize, Known>,
    under_way: Vec<UnderWay>,
    /// Is the mean of the estimates at the last tick.
    mean_ns: Option<f64>,
}

type Standing = (bool, bool, f64);

impl Naive {
    fn tick(&mut self, picture: &[Member], now: WallTime) {
        self.picture = picture.to_vec();
        self.known.retain(|index, known| {
            known.in_flight > 0 || picture.iter().any(|one| one.index == *index)
        });
        let decay = Decay::DEFAULT;
        let costs: Vec<f64> = self
            .candidates()
            .iter()
            .filter_map(|index| {
                let known = self.known.get(index).copied().unwrap_or_default();
                let cost = known.estimate.known_ns_at(decay, now)?;
                Some(cost.max(self.age(*index, now)).max(10_000.0))
            })
            .collect();
        let sum: f64 = costs.iter().sum();
        self.mean_ns = (!costs.is_empty()).then(|| sum / costs.len() as f64);
    }

    fn is_panic(&self) -> bool {
        let unfit = self
            .picture
            .iter()
            .filter(|one| one.state != SERVES)
            .count();
        unfit > self.picture.len() / 2
    }

    fn candidates(&self) -> Vec<usize> {
        let (all, panics) = (self.picture.iter(), self.is_panic());
        all.filter(|one| panics || one.state == SERVES)
            .map(|one| one.index)
            .collect()
    }

    fn age(&self, index: usize, now: WallTime) -> f64 {
        let mut waiting = self
            .under_way
            .iter()
            .filter(|one| one.endpoint == index && !one.answered);
        waiting.next().map_or(0.0, |oldest| {
            now.saturating_since(oldest.began).as_nanos() as f64
        })
    }

    /// Is unfit or not, failed or not, and estimate; and the load.
    fn look(&self, index: usize, now: WallTime) -> (Standing, f64) {
        let known = self.known.get(&index).copied().unwrap_or_default();
        let cost = known.estimate.known_ns_at(Decay::DEFAULT, now);
        let worth = cost.unwrap_or(self.mean_ns.unwrap_or(1e6));
        let estimate = worth.max(self.age(index, now)).max(10_000.0);
        let unfit = self
            .picture
            .iter()
            .any(|one| one.index == index && one.state != SERVES);
        let standing = (unfit, known.recent.has_failed(now, ms(1_000)), estimate);
        (standing, estimate * (f64::from(known.in_flight) + 1.0))
    }

    fn stands_before(&self, one: Standing, other: Standing) -> bool {
        let usual = self.mean_ns.unwrap_or(f64::INFINITY);
        match (one.0, other.0) {
            (false, true) => true,
            (true, false) => false,
            _ => !one.1 && other.1 && one.2 <= 2.0 * other.2.max(usual),
        }
    }

    fn pick(&self, draws: [u64; 3], now: WallTime) -> Option<usize> {
        let candidates = self.candidates();
        let place = |draw: u64, len: usize| ((u128::from(draw) * len as u128) >> 64) as usize;
        let first = place(draws[0], candidates.len());
        let mut others = candidates.clone();
        let first = *candidates.get(first)?;
        others.retain(|other| *other != first);
        let mut picked = first;
        if let Some(second) = others.get(place(draws[1], others.len())).copied() {
            let ((one, load), (other, other_load)) =
                (self.look(first, now), self.look(second, now));
            let second_wins = if self.stands_before(one, other) {
                false
            } else {
                self.stands_before(other, one) || other_load < load
            };
            if second_wins {
                picked = second;
            }
        }
        let (standing, _) = self.look(picked, now);
        let mut draw = draws[1];
        for _ in 0..FURTHER {
            if !standing.1 {
                return Some(picked);
            }
            draw = draw
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let further = candidates[place(draw, candidates.len())];
            if self.stands_before(self.look(further, now).0, standing) {
                return Some(further);
            }
        }
        Some(picked)
    }

    fn start(&mut self, endpoint: usize, began: WallTime) -> UnderWay {
        self.known.entry(endpoint).or_default().in_flight += 1;
        UnderWay {
            endpoint,
            began,
            answered: false,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Tick(Vec<bool>),
    /// Is whether it belongs to a session, and of whom.
    Request(Option<usize>),
    Answer(prop::sample::Index, bool),
    End(prop::sample::Index),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => prop::collection::vec(prop::bool::weighted(0.7), 1..8).prop_map(Step::Tick),
        6 => prop::option::weighted(0.2, 0_usize..8).prop_map(Step::Request),
        4 => (any::<prop::sample::Index>(), prop::bool::weighted(0.7))
            .prop_map(|(which, success)| Step::Answer(which, success)),
        3 => any::<prop::sample::Index>().prop_map(Step::End),
        3 => (0_u64..2_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn router_decides_like_the_one_in_plain_words(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let pictured = |serves: &[bool]| -> Vec<Member> {
            let states = serves.iter().map(|serves| if *serves { SERVES } else { UNHEALTHY });
            states.enumerate().map(|(index, state)| member(index, state)).collect()
        };
        let mut cluster = Cluster::new(&[]);
        let mut naive = Naive {
            picture: Vec::new(),
            known: BTreeMap::new(),
            under_way: Vec::new(),
            mean_ns: None,
        };
        // In the order of the naive list.
        let mut under_way = Vec::new();
        let all = pictured(&[true; 8]);
        cluster.tick(&all);
        naive.tick(&all, cluster.now());
        for step in steps {
            let now = cluster.now();
            match step {
                Step::Tick(mut serves) => {
                    // Whoever is in the world stays in the picture: leaving has its own tests.
                    serves.resize(8, true);
                    let picture = pictured(&serves);
                    cluster.tick(&picture);
                    naive.tick(&picture, now);
                }
                Step::Request(home) => {
                    let before = cluster.draws;
                    let routed = cluster.request(home.and_then(session));
                    let draws = [1, 2, 3].map(|ahead| {
                        tidegate_policy::digest::xxh64(&(before + ahead).to_le_bytes(), 0)
                    });
                    let stays = home.filter(|home| {
                        naive.is_panic() || naive.picture[*home].state == SERVES
                    });
                    let expected = stays.or_else(|| naive.pick(draws, now)).unwrap();
                    prop_assert_eq!(list(&routed)[0], expected, "{}", routed);
                    let started = naive.start(expected, now);
                    naive.under_way.push(started);
                    under_way.push(routed);
                }
                Step::Answer(which, success) if !under_way.is_empty() => {
                    let which = which.index(under_way.len());
                    let one = &mut naive.under_way[which];
                    if one.answered {
                        continue;
                    }
                    one.answered = true;
                    let outcome = if success { Outcome::Success } else { Outcome::GatewayFailure };
                    let known = naive.known.get_mut(&one.endpoint).unwrap();
                    known.recent.on_outcome(outcome, now);
                    if success {
                        let took = now.saturating_since(one.began);
                        // What an observer reports is whole microseconds; here all of it counts.
                        known.estimate.on_sample(took, Decay::DEFAULT, now);
                    }
                    let answered = by(one.endpoint, 1, outcome);
                    let _ = cluster.answer(&mut under_way[which], answered);
                }
                Step::End(which) if !under_way.is_empty() => {
                    let which = which.index(under_way.len());
                    let one = naive.under_way.remove(which);
                    naive.known.get_mut(&one.endpoint).unwrap().in_flight -= 1;
                    cluster.router.on_end(under_way.remove(which));
                }
                Step::Wait(ms) => cluster.now_ms += ms,
                Step::Answer(..) | Step::End(_) => {}
            }
        }
    }
}
