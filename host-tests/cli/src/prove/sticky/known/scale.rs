//! Endpoints that come and go: who moves, with a cookie and with a key.

use super::{Claim, Fleet, Session, Target, cases, count_moves, endpoints, none, share, split};
use crate::prove::lab::{Asked, Gateway, Lab};
use crate::prove::{Evidence, Options};

pub(in crate::prove::sticky) const COOKIES: &[Claim] = &[
    none(
        "known.growth",
        "sessions moved when a fifth endpoint joins four",
        "sessions",
    ),
    none(
        "known.others",
        "sessions of the other endpoints moved when the fifth leaves",
        "sessions",
    ),
    Claim {
        id: "known.moves",
        what: "moves of each session of the leaving endpoint in ten requests",
        unit: "moves per session",
        target: Target::Exactly(1.0),
    },
    none(
        "known.return",
        "sessions that the endpoint's return pulls back or moves",
        "sessions",
    ),
    none(
        "known.ejected_others",
        "sessions of the other endpoints moved when one is ejected and comes back",
        "sessions",
    ),
    none(
        "known.ejected_return",
        "sessions that left the ejected endpoint and are on it again when it is back",
        "sessions",
    ),
];

/// Half of `√(N/M)`, which the table's own tests bound its needless moves by: five endpoints, 65 537
/// entries.
const TABLE_BOUND: f64 = 0.004_37;

pub(in crate::prove::sticky) const TABLES: &[Claim] = &[
    Claim {
        id: "table.growth",
        what: "keys that moved although not to the fifth endpoint when it joins four",
        unit: "share of all keys",
        target: Target::AtMost(TABLE_BOUND),
    },
    Claim {
        id: "table.shrink",
        what: "keys of the other endpoints that moved when the fifth leaves",
        unit: "share of all keys",
        target: Target::AtMost(TABLE_BOUND),
    },
    none(
        "table.forgets",
        "keys on another endpoint than before the fifth came and left",
        "keys",
    ),
];

const SESSIONS: usize = 2000;
const KEYS: usize = 20_000;

/// How long a table of the default size takes to be built, at most, and then some.
const BUILT_NS: u64 = 15 * crate::prove::lab::SECOND_NS;

pub(in crate::prove::sticky) fn cookies(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let lab = Lab::new()?;
    let fleet = Fleet::new(&lab, "", "", options.seed);
    let mut gateway = fleet.start_one(&endpoints(4))?;
    let mut gateways = [gateway];
    let mut sessions = Session::begin_many(&mut gateways, SESSIONS)?;
    [gateway] = gateways;
    gateway.serve(&endpoints(5))?;
    let grown = Evidence::count(
        count_moves(&mut sessions, &mut gateway)?,
        cases(sessions.len()),
    );

    for _ in 0..SESSIONS {
        sessions.push(Session::begin(&mut gateway)?);
    }
    let leaving = endpoints(5).pop().unwrap_or_default();
    let (mut theirs, mut others) = split(sessions, &leaving);
    gateway.serve(&endpoints(4))?;
    let others_moved = count_moves(&mut others, &mut gateway)?;
    let (mut fewest, mut most) = (u64::MAX, 0);
    for session in &mut theirs {
        let mut moves = 0;
        for _ in 0..10 {
            moves += u64::from(session.moves(&mut gateway)?);
        }
        fewest = fewest.min(moves);
        most = most.max(moves);
    }
    // Every session has the same number, or the figure is none.
    let moves = if fewest == most { most } else { u64::MAX };
    gateway.serve(&endpoints(5))?;
    let (their_cases, other_cases) = (cases(theirs.len()), cases(others.len()));
    others.append(&mut theirs);
    let returned = count_moves(&mut others, &mut gateway)?;
    let all = cases(others.len());

    let ejected = endpoints(5).swap_remove(0);
    let (mut theirs, mut others) = split(others, &ejected);
    gateway.discover(&super::listed(&endpoints(5), &[(&ejected, "unhealthy")]))?;
    let mut during = count_moves(&mut others, &mut gateway)?;
    let left = count_moves(&mut theirs, &mut gateway)?;
    gateway.discover(&super::listed(&endpoints(5), &[]))?;
    during += count_moves(&mut others, &mut gateway)?;
    let mut back = cases(theirs.len()) - left;
    for session in &mut theirs {
        session.moves(&mut gateway)?;
        back += u64::from(session.endpoint == ejected);
    }
    Ok(vec![
        grown,
        Evidence::count(others_moved, other_cases),
        Evidence::count(moves, their_cases),
        Evidence::count(returned, all),
        Evidence::count(during, cases(others.len())),
        Evidence::count(back, cases(theirs.len())),
    ])
}

pub(in crate::prove::sticky) fn tables(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let lab = Lab::new()?;
    let fleet = Fleet::new(
        &lab,
        ", \"key\": {\"header\": \"x-user\"}",
        "",
        options.seed,
    );
    let mut gateway = fleet.start_one(&endpoints(4))?;
    gateway.settle(BUILT_NS)?;
    let four = places(&mut gateway)?;
    gateway.serve(&endpoints(5))?;
    gateway.settle(BUILT_NS)?;
    let five = places(&mut gateway)?;
    let newcomer = endpoints(5).pop().unwrap_or_default();
    gateway.serve(&endpoints(4))?;
    gateway.settle(BUILT_NS)?;
    let again = places(&mut gateway)?;
    let differ = |before: &[String], after: &[String]| {
        let pairs = before.iter().zip(after);
        let moved = pairs.filter(|(before, after)| {
            before != after && **before != newcomer && **after != newcomer
        });
        cases(moved.count())
    };
    let keys = cases(KEYS);
    let growth = Evidence {
        figure: share(differ(&four, &five), keys),
        cases: keys,
        ..Evidence::default()
    };
    let shrink = Evidence {
        figure: share(differ(&five, &again), keys),
        cases: keys,
        ..Evidence::default()
    };
    let modulo = super::super::fleet::modulo_moves(KEYS, 4, 5);
    Ok(vec![
        growth.beside("hash_modulo_endpoints", share(modulo, keys) - 0.2),
        shrink,
        Evidence::count(
            cases(four.iter().zip(&again).filter(|(a, b)| a != b).count()),
            keys,
        ),
    ])
}

/// Where every key goes.
fn places(gateway: &mut Gateway) -> anyhow::Result<Vec<String>> {
    (0..KEYS)
        .map(|key| {
            let exchange = gateway.ask(&Asked {
                headers: &[("x-user", &format!("user-{key}"))],
                ..Asked::default()
            })?;
            // Whoever is not pinned was balanced.
            exchange
                .pinned
                .ok_or_else(|| anyhow::anyhow!("a key was balanced: {}", exchange.reason))
        })
        .collect()
}
