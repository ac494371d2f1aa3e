//! Every state of an endpoint, in every mode, for every proposal: where the request goes.

use std::{collections::BTreeSet, fmt::Write};

use tidegate_policy::{passive::Outcome, plan::Proposal, snapshot::State};

use crate::cluster::{Cluster, Member, SERVES, UNHEALTHY, at, by, free, list, member, session};

const REQUESTS: u32 = 400;

/// Is who is asked about; the others have other indices.
const OWN: usize = 5;

const OTHERS: [(&str, &[State]); 4] = [
    ("three serve", &[SERVES, SERVES, SERVES]),
    (
        "one serves, three are unhealthy",
        &[SERVES, UNHEALTHY, UNHEALTHY, UNHEALTHY],
    ),
    ("three are unhealthy", &[UNHEALTHY, UNHEALTHY, UNHEALTHY]),
    ("there is nobody else", &[]),
];

fn states() -> [(&'static str, Option<State>); 10] {
    let until = |ms| at(ms);
    [
        ("unknown", Some(State::Unknown)),
        ("available", Some(SERVES)),
        (
            "new",
            Some(State::Available {
                slow_start: Some(until(0)),
            }),
        ),
        (
            "draining",
            Some(State::Draining {
                until: until(60_000),
            }),
        ),
        ("drained", Some(State::Draining { until: until(0) })),
        ("probing", Some(State::Probing)),
        (
            "ejected",
            Some(State::Ejected {
                until: until(30_000),
            }),
        ),
        ("unhealthy", Some(UNHEALTHY)),
        (
            "vanished",
            Some(State::Vanished {
                until: until(60_000),
            }),
        ),
        ("absent", None),
    ]
}

/// Says where requests go that have a proposal.
fn outcome(members: &[Member], has_failed: bool, proposal: Option<Proposal>) -> String {
    let mut cluster = Cluster::new(members);
    if has_failed {
        let mut routed = cluster.request(None);
        let _ = cluster.answer(&mut routed, by(OWN, 1, Outcome::GatewayFailure));
        cluster.router.on_end(routed);
    }
    let (mut first, mut spare, mut reasons) = (0, 0, BTreeSet::new());
    for _ in 0..REQUESTS {
        let routed = cluster.request(proposal);
        let entries = list(&routed);
        first += u32::from(entries.first() == Some(&OWN));
        spare += u32::from(entries.iter().skip(1).any(|entry| *entry == OWN));
        reasons.insert(routed.reason.as_str());
        cluster.router.on_end(routed);
    }
    let reasons: Vec<&str> = reasons.into_iter().collect();
    let share = |count: u32| format!("{} %", count * 100 / REQUESTS);
    format!(
        "first {:>5}  spare {:>5}  {}",
        share(first),
        share(spare),
        reasons.join(" ")
    )
}

#[test]
fn matrix_of_decisions_is_the_committed_one() {
    let mut table = String::from(
        "Where requests go while an endpoint is in a state, by what is proposed, and beside whom: how\n\
         often it is the first, how often a spare, and the reasons.\n",
    );
    for (beside, others) in OTHERS {
        for (name, state) in states() {
            let mut members: Vec<Member> = (0..)
                .zip(others)
                .map(|(index, state)| member(index, *state))
                .collect();
            members.extend(state.map(|state| member(OWN, state)));
            let mode = Cluster::new(&members).router.mode().unwrap();
            writeln!(table, "\n{name}, {beside}: {}", mode.as_str()).unwrap();
            for has_failed in [false, true] {
                // An endpoint that is not in the picture has no memory of failures.
                if has_failed && state.is_none() {
                    continue;
                }
                let recently = if has_failed { "failed lately" } else { "" };
                for (wish, proposal) in [
                    ("nothing", None),
                    ("free", free(OWN)),
                    ("session", session(OWN)),
                ] {
                    let outcome = outcome(&members, has_failed, proposal);
                    writeln!(table, "  {wish:8} {recently:13}  {outcome}").unwrap();
                }
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/router/matrix.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    assert_eq!(table, std::fs::read_to_string(path).unwrap_or_default());
}
