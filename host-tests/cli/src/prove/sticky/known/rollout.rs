//! A rolling update of ten endpoints: how often a session moves.
//!
//! One after the other drains while its replacement is there already, and is taken away. At every
//! step each session sends two requests at the same time through two gateways, of which the answer
//! of one comes last and has the cookie, and then one more.
//!
//! In theory: with a fresh pick at every move a session that leaves at step k goes to one of ten, of
//! which 10 − k leave later, so `m(k) = 1 + Σ_{j>k} m(j)/10 = 1.1^(10 − k)`, and the mean of all is
//! `1.1¹⁰ − 1 = 1.594`. Rendezvous does better, because whoever won its session is hard to follow for
//! those that lost against it, and easy for those that came since. Be `g(y)` the density of the winner's
//! score where one certain endpoint wins: `y⁹` at the first move, and after f steps
//! `g'(z) = z⁹ ∫_z^1 g(y) y^(f − 10) dy`. Its integrals summed over all ways through the ten are
//! `343/220 = 1.5591`.

use super::{Claim, Fleet, SEEDS, Session, Target, cases, endpoints, figure, listed, none};
use crate::prove::lab::Lab;
use crate::prove::random::Random;
use crate::prove::{Evidence, Options};

pub(in crate::prove::sticky) const CLAIMS: &[Claim] = &[
    Claim {
        id: "rollout.moves",
        what: "moves of a session in a rolling update of ten endpoints, two gateways at a time",
        unit: "moves per session",
        target: Target::Within {
            value: 343.0 / 220.0,
            tolerance: 0.0,
        },
    },
    none(
        "rollout.new_on_draining",
        "sessions handed to an endpoint that drains",
        "sessions",
    ),
    none(
        "rollout.refused",
        "requests whose cookie was refused",
        "requests",
    ),
];

const ENDPOINTS: u8 = 10;
const SESSIONS: usize = 1000;

pub(in crate::prove::sticky) fn prove(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let lab = Lab::new()?;
    let (mut ours, mut plain, mut stored) = (Vec::new(), Vec::new(), Vec::new());
    let (mut to_draining, mut refused, mut requests) = (0, 0, 0);
    for seed in 0..SEEDS {
        let seed = options.seed.wrapping_add(seed);
        let run = run(&lab, seed)?;
        ours.push(run.moves);
        to_draining += run.to_draining;
        refused += run.refused;
        requests += run.requests;
        plain.push(simulate(Scheme::Plain, seed));
        stored.push(simulate(Scheme::StoredSuccessor, seed));
    }
    let mean = |runs: &[f64]| runs.iter().sum::<f64>() / figure(SEEDS);
    let all = SEEDS * cases(SESSIONS);
    Ok(vec![
        Evidence::mean(&ours, all)
            .beside("envoy_cookie", mean(&plain))
            .beside("stored_successor", mean(&stored)),
        Evidence::count(to_draining, requests),
        Evidence::count(refused, requests),
    ])
}

#[derive(Debug, Default)]
struct Run {
    moves: f64,
    to_draining: u64,
    refused: u64,
    requests: u64,
}

fn run(lab: &Lab, seed: u64) -> anyhow::Result<Run> {
    let fleet = Fleet::new(lab, "", "", seed);
    let mut random = Random::new(seed);
    let mut names = endpoints(ENDPOINTS);
    let mut gateways = fleet.start(2, &names)?;
    let mut sessions = Session::begin_many(&mut gateways, SESSIONS)?;
    let mut run = Run::default();
    let mut moves = 0;
    for step in 0..ENDPOINTS {
        let leaving = names.remove(0);
        names.push(format!("10.0.1.{step}:8080"));
        let mut reachable = names.clone();
        reachable.push(leaving.clone());
        for gateway in &mut gateways {
            gateway.endpoints.clone_from(&reachable);
            gateway.discover(&listed(&reachable, &[(&leaving, "draining")]))?;
        }
        for session in &mut sessions {
            let mut answers = Vec::new();
            for gateway in &mut gateways {
                answers.push(session.peek(gateway, false)?);
            }
            if random.below(2) == 0 {
                answers.reverse();
            }
            for answer in &answers {
                run.refused += u64::from(answer.reason.contains("request=refused"));
                run.requests += 1;
                moves += u64::from(answer.served_by != session.endpoint);
                session.take(answer)?;
            }
        }
        for gateway in &mut gateways {
            gateway.serve(&names)?;
        }
        for session in &mut sessions {
            let Some(gateway) = gateways.get_mut(random.below(2)) else {
                continue;
            };
            let exchange = session.peek(gateway, false)?;
            run.refused += u64::from(exchange.reason.contains("request=refused"));
            run.requests += 1;
            run.to_draining += u64::from(exchange.pinned.as_ref() == Some(&leaving));
            moves += u64::from(exchange.served_by != session.endpoint);
            session.take(&exchange)?;
        }
    }
    run.moves = figure(moves) / figure(cases(SESSIONS));
    Ok(run)
}

/// Another way to keep sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    /// A cookie with the endpoint: when it is not to be had, the balancer picks, and the cookie follows.
    /// SOURCE: Envoy's stateful session, whose cookie a gateway obeys while the endpoint is healthy.
    Plain,
    /// A cookie with the endpoint and the one that comes after it, chosen when the cookie is written:
    /// the successor is taken if it still serves, and else the balancer picks.
    StoredSuccessor,
}

/// Runs the same requests with another scheme, and counts the moves of a session.
fn simulate(scheme: Scheme, seed: u64) -> f64 {
    let mut random = Random::new(seed);
    let steps = usize::from(ENDPOINTS);
    let mut moves = 0;
    for number in 0..SESSIONS {
        // Endpoints are numbered in the order in which they leave; step k begins with k..k + 10.
        let mut home = number % steps;
        let mut heir = other_than(home, 0, steps, &mut random);
        for step in 0..steps {
            // At step k the one with this number drains, and the ones behind it serve.
            let serves = step + 1..step + 1 + steps;
            let pick = |random: &mut Random| serves.start + random.below(steps);
            if home == step {
                let place = |random: &mut Random| {
                    if scheme == Scheme::StoredSuccessor && serves.contains(&heir) {
                        heir
                    } else {
                        pick(random)
                    }
                };
                let answers = [place(&mut random), place(&mut random)];
                for answer in answers {
                    moves += u64::from(answer != home);
                    home = answer;
                }
                heir = other_than(home, serves.start, steps, &mut random);
            }
        }
    }
    figure(moves) / figure(cases(SESSIONS))
}

/// Draws one of so many endpoints from a number on, but not this one.
fn other_than(home: usize, first: usize, count: usize, random: &mut Random) -> usize {
    let drawn = first + random.below(count - 1);
    if drawn >= home { drawn + 1 } else { drawn }
}
