//! A client's first requests, before it has a cookie: what agrees, and what it costs.

use std::collections::{BTreeMap, BTreeSet};

use super::{Claim, Fleet, Target, cases, endpoints, none, share};
use crate::prove::lab::{Asked, Gateway, Lab};
use crate::prove::{Evidence, Options};

pub(in crate::prove::sticky) const CLAIMS: &[Claim] = &[
    none(
        "first.disagreements",
        "clients whose parallel first requests go to different endpoints, placed by address",
        "clients",
    ),
    Claim {
        id: "first.busiest",
        what: "share of the busiest of four endpoints when all clients are behind one address, balanced",
        unit: "share of new sessions",
        target: Target::Exactly(0.25),
    },
];

const CLIENTS: usize = 2000;
/// As many as a browser opens at a time.
const PARALLEL: usize = 6;

pub(in crate::prove::sticky) fn prove(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let lab = Lab::new()?;
    let mut figures = Vec::new();
    for rule in [", \"first_request\": \"client_address\"", ""] {
        let fleet = Fleet::new(&lab, rule, "", options.seed);
        let mut gateways = fleet.start(2, &endpoints(4))?;
        figures.push((disagreements(&mut gateways)?, busiest(&mut gateways)?));
    }
    let [(by_address, crowd), (balanced, even)] = figures.as_slice() else {
        anyhow::bail!("a way is missing");
    };
    Ok(vec![
        Evidence::count(*by_address, cases(CLIENTS)).against("balance", *balanced),
        Evidence {
            figure: *even,
            cases: cases(CLIENTS),
            ..Evidence::default()
        }
        .beside("client_address", *crowd),
    ])
}

/// Sends the first requests of many clients through both gateways.
fn disagreements(gateways: &mut [Gateway]) -> anyhow::Result<u64> {
    let mut disagreements = 0;
    for client in 0..CLIENTS {
        let mut places = BTreeSet::new();
        for request in 0..PARALLEL {
            let source = format!(
                "198.51.{}.{}:{}",
                client / 250,
                client % 250,
                1024 + request
            );
            let index = request.checked_rem(gateways.len()).unwrap_or(0);
            if let Some(gateway) = gateways.get_mut(index) {
                let asked = Asked {
                    client: &source,
                    ..Asked::default()
                };
                places.insert(gateway.ask(&asked)?.served_by);
            }
        }
        disagreements += u64::from(places.len() > 1);
    }
    Ok(disagreements)
}

/// Sends one first request of many clients behind one address.
fn busiest(gateways: &mut [Gateway]) -> anyhow::Result<f64> {
    let mut sessions: BTreeMap<String, u64> = BTreeMap::new();
    for client in 0..CLIENTS {
        let source = format!("203.0.113.1:{}", 1024 + client);
        let index = client.checked_rem(gateways.len()).unwrap_or(0);
        if let Some(gateway) = gateways.get_mut(index) {
            let asked = Asked {
                client: &source,
                ..Asked::default()
            };
            *sessions.entry(gateway.ask(&asked)?.served_by).or_default() += 1;
        }
    }
    let most = sessions.values().max().copied().unwrap_or_default();
    Ok(share(most, cases(CLIENTS)))
}
