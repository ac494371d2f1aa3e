use super::{Balancer, Ended, Host, Hosts, Pick, balancer};
use crate::draw::Draws;
use crate::scenario::{Balancer as Of, Health, Reference};

mod envoy;
mod health;
mod named;
mod published;
mod reference;

fn host(port: u32, weight: u32) -> Host {
    Host {
        address: format!("127.0.0.1:{port}"),
        weight,
        zone: String::new(),
        health: Health::Healthy,
        active_requests: 0,
    }
}

/// Members of these weights with ports from 18801.
fn hosts(weights: &[u32]) -> Hosts {
    Hosts {
        all: (18_801..)
            .zip(weights)
            .map(|(port, weight)| host(port, *weight))
            .collect(),
        members: (0..weights.len()).collect(),
        generation: 1,
    }
}

/// Every balancer there is.
fn all_kinds() -> Vec<Of> {
    vec![
        Of::RoundRobin,
        Of::LeastRequest { choice_count: 2 },
        Of::Random,
        Of::RingHash {
            minimum_ring_size: 64,
        },
        Of::Maglev,
        Of::OverrideHost {
            header: "x-endpoint".to_owned(),
            fallback: Box::new(Of::LeastRequest { choice_count: 3 }),
        },
        Of::StatefulSession {
            cookie: "session".to_owned(),
            fallback: Box::new(Of::RoundRobin),
        },
        Of::Reference(Reference::FinaglePeakEwma),
        Of::Reference(Reference::IngressNginxEwma),
        Of::Reference(Reference::LeastLoaded),
        Of::Reference(Reference::TraefikLeastTime),
    ]
}

/// A balancer with its draws.
struct Bench {
    balancer: Box<dyn Balancer>,
    draws: Draws,
}

impl Bench {
    fn new(of: &Of, seed: u64) -> Self {
        let mut draws = Draws::new(seed, "balancer", 0);
        Self {
            balancer: balancer(of, 0.5, &mut draws),
            draws,
        }
    }

    fn pick(&mut self, hosts: &Hosts) -> Option<usize> {
        self.pick_for(hosts, &Pick::default())
    }

    fn pick_for(&mut self, hosts: &Hosts, pick: &Pick<'_>) -> Option<usize> {
        self.balancer.pick(hosts, pick, &mut self.draws)
    }

    /// How often each is picked.
    fn shares(&mut self, hosts: &Hosts, picks: u32) -> Vec<f64> {
        let mut counts = vec![0_u32; hosts.all.len()];
        for _ in 0..picks {
            counts[self.pick(hosts).unwrap()] += 1;
        }
        counts
            .into_iter()
            .map(|count| f64::from(count) / f64::from(picks))
            .collect()
    }
}

/// Asserts that shares of so many independent picks are these: within 4σ.
#[track_caller]
fn assert_shares(shares: &[f64], expected: &[f64], picks: u32) {
    for (share, expected) in shares.iter().zip(expected) {
        let sigma = (expected * (1.0 - expected) / f64::from(picks)).sqrt();
        assert!(
            (share - expected).abs() <= 4.0 * sigma + 1e-12,
            "{shares:?} instead of {expected}"
        );
    }
}

#[test]
fn no_balancer_finds_an_endpoint_where_there_is_none() {
    for of in all_kinds() {
        let mut bench = Bench::new(&of, 1);
        assert_eq!(bench.pick(&Hosts::default()), None, "{of:?}");
        let mut gone = hosts(&[1, 1]);
        gone.members.clear();
        gone.generation = 2;
        assert_eq!(bench.pick(&gone), None, "{of:?}");
    }
}

#[test]
fn every_balancer_finds_the_only_endpoint() {
    for of in all_kinds() {
        let mut bench = Bench::new(&of, 1);
        let mut one_of_three = hosts(&[1, 2, 3]);
        one_of_three.members = vec![1];
        for _ in 0..10 {
            assert_eq!(bench.pick(&one_of_three), Some(1), "{of:?}");
        }
    }
}

#[test]
fn every_balancer_follows_the_membership() {
    for of in all_kinds() {
        let mut bench = Bench::new(&of, 3);
        let mut hosts = hosts(&[1, 2, 1, 1, 1, 1]);
        let mut draws = Draws::new(3, "churn", 0);
        for generation in 2..200 {
            hosts.generation = generation;
            hosts.members = (0..6).filter(|_| draws.happens(0.5)).collect();
            for _ in 0..20 {
                let picked = bench.pick(&hosts);
                assert_eq!(picked.is_none(), hosts.members.is_empty(), "{of:?}");
                let Some(picked) = picked else { continue };
                assert!(hosts.members.contains(&picked), "{of:?}");
                let (now_ns, took_ns) = (generation * 1_000_000, draws.below(1_000_000_000));
                bench.balancer.on_start(picked, now_ns);
                let ended = Ended {
                    now_ns,
                    took_ns,
                    succeeded: draws.happens(0.9),
                };
                bench.balancer.on_end(picked, ended);
            }
        }
    }
}

#[test]
fn same_seed_picks_the_same() {
    for of in all_kinds() {
        let run = |seed| {
            let mut bench = Bench::new(&of, seed);
            let hosts = hosts(&[1; 9]);
            let picks: Vec<_> = (0..50).map(|_| bench.pick(&hosts)).collect();
            picks
        };
        assert_eq!(run(5), run(5), "{of:?}");
        // Traefik draws nothing.
        let draws = !matches!(of, Of::Reference(Reference::TraefikLeastTime));
        assert_eq!(run(5) != run(6), draws, "{of:?}");
    }
}
