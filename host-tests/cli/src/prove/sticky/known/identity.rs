//! Addresses that somebody else has now, and gateways that start anew.

use std::collections::BTreeMap;

use super::{Claim, Fleet, SECOND_NS, Session, cases, endpoints, none, split};
use crate::prove::lab::{Gateway, Lab};
use crate::prove::{Evidence, Options};

pub(in crate::prove::sticky) const REUSE: &[Claim] = &[
    none(
        "reuse.accepted",
        "sessions accepted for an address that was absent in between",
        "sessions",
    ),
    none(
        "reuse.refused",
        "sessions that began after its return refused there",
        "sessions",
    ),
];

pub(in crate::prove::sticky) const INSTANCE: &[Claim] = &[
    none(
        "instance.accepted",
        "sessions accepted for an address behind which another instance is",
        "sessions",
    ),
    none(
        "instance.refused",
        "sessions refused although the instance is the same",
        "sessions",
    ),
];

pub(in crate::prove::sticky) const RESTART: &[Claim] = &[
    none(
        "known.restart_before",
        "sessions lost when both gateways start anew, before they know any endpoint",
        "sessions",
    ),
    none(
        "known.restart_after",
        "sessions lost once they know the endpoints again",
        "sessions",
    ),
];

const SESSIONS: usize = 2000;
const OURS: &str = "10.0.0.4:8080";

/// How many sessions are pinned to their own endpoint.
fn accepted(sessions: &[Session], gateway: &mut Gateway) -> anyhow::Result<u64> {
    let mut accepted = 0;
    for session in sessions {
        let exchange = session.peek(gateway, false)?;
        accepted += u64::from(exchange.pinned.as_ref() == Some(&session.endpoint));
    }
    Ok(accepted)
}

pub(in crate::prove::sticky) fn reuse(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let lab = Lab::new()?;
    let fleet = Fleet::new(&lab, "", "", options.seed);
    let mut gateways = [fleet.start_one(&endpoints(4))?];
    let sessions = Session::begin_many(&mut gateways, SESSIONS)?;
    let (theirs, _) = split(sessions, OURS);
    for gateway in &mut gateways {
        gateway.serve(&endpoints(3))?;
        gateway.serve(&endpoints(4))?;
    }
    let (younger, _) = split(Session::begin_many(&mut gateways, SESSIONS)?, OURS);
    let [mut gateway] = gateways;
    let old = accepted(&theirs, &mut gateway)?;
    let new = accepted(&younger, &mut gateway)?;
    // A gateway that started in between saw nothing.
    let mut other = fleet.start_at(1, gateway.now_ns())?;
    other.endpoints = endpoints(4);
    Ok(vec![
        Evidence::count(old, cases(theirs.len()))
            .against("without_a_picture", accepted(&theirs, &mut other)?),
        Evidence::count(cases(younger.len()) - new, cases(younger.len())),
    ])
}

pub(in crate::prove::sticky) fn instance(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let lab = Lab::new()?;
    let fleet = Fleet::new(
        &lab,
        "",
        ", \"probe\": {\"interval\": \"2s\", \"timeout\": \"1s\"}",
        options.seed,
    );
    let mut gateway = fleet.start_at(0, super::START_SECONDS * SECOND_NS)?;
    gateway.announces = true;
    let instances = |generation: u8| -> BTreeMap<String, String> {
        let name = |(number, address)| (address, format!("pod-{number}-{generation}"));
        endpoints(4).into_iter().enumerate().map(name).collect()
    };
    gateway.instances = instances(1);
    gateway.serve(&endpoints(4))?;
    gateway.settle(10 * SECOND_NS)?;
    let mut gateways = [gateway];
    let sessions = Session::begin_many(&mut gateways, SESSIONS)?;
    let [mut gateway] = gateways;
    gateway.settle(10 * SECOND_NS)?;
    let (theirs, others) = split(sessions, OURS);
    // The process behind one address is another one; the address was never absent.
    if let Some(name) = instances(2).remove(OURS) {
        gateway.instances.insert(OURS.into(), name);
    }
    gateway.settle(10 * SECOND_NS)?;
    let old = accepted(&theirs, &mut gateway)?;
    let same = accepted(&others, &mut gateway)?;
    let mut without = Fleet::new(&lab, "", "", options.seed).start_one(&endpoints(4))?;
    Ok(vec![
        Evidence::count(old, cases(theirs.len()))
            .against("without_probes", accepted(&theirs, &mut without)?),
        Evidence::count(cases(others.len()) - same, cases(others.len())),
    ])
}

pub(in crate::prove::sticky) fn restart(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let lab = Lab::new()?;
    let fleet = Fleet::new(&lab, "", "", options.seed);
    let mut before = fleet.start(2, &endpoints(4))?;
    let sessions = Session::begin_many(&mut before, SESSIONS)?;
    let now_ns = before.iter().map(Gateway::now_ns).max().unwrap_or_default();
    drop(before);
    let mut lost = [0, 0];
    for number in 2..4 {
        let mut gateway = fleet.start_at(number, now_ns + 5 * SECOND_NS)?;
        gateway.endpoints = endpoints(4);
        let [at_once, later] = &mut lost;
        *at_once += cases(sessions.len()) - accepted(&sessions, &mut gateway)?;
        gateway.serve(&endpoints(4))?;
        *later += cases(sessions.len()) - accepted(&sessions, &mut gateway)?;
    }
    let all = 2 * cases(sessions.len());
    Ok(lost
        .into_iter()
        .map(|lost| Evidence::count(lost, all))
        .collect())
}
