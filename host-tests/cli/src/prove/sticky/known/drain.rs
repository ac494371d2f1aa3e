//! One of ten endpoints drains: four gateways send its sessions to the same places.

use std::collections::BTreeMap;

use super::{
    Claim, Fleet, SEEDS, Session, Target, cases, endpoints, figure, listed, none, share, split,
};
use crate::prove::lab::{Gateway, Lab};
use crate::prove::{Evidence, Options};

pub(in crate::prove::sticky) const CLAIMS: &[Claim] = &[
    none(
        "drain.disagreements",
        "sessions of the draining endpoint that four gateways send to different places",
        "sessions",
    ),
    none(
        "drain.left_behind",
        "sessions of the draining endpoint that stay on it",
        "sessions",
    ),
    none(
        "drain.others",
        "sessions of the other endpoints that move",
        "sessions",
    ),
    Claim {
        id: "drain.spread",
        what: "largest distance of a successor's number of sessions from the mean, in its deviations",
        unit: "σ",
        target: Target::AtMost(4.0),
    },
    none(
        "drain.lag_others",
        "disagreements with a gateway that misses an ejection, on sessions it has no part in",
        "sessions",
    ),
    Claim {
        id: "drain.lag",
        what: "share of the draining endpoint's sessions on which that gateway disagrees",
        unit: "share",
        // One of nine is the successor that the others know to be ejected.
        target: Target::Within {
            value: 1.0 / 9.0,
            tolerance: 0.0,
        },
    },
];

const GATEWAYS: u64 = 4;
const SESSIONS: usize = 10_000;

/// The counts of one seed.
#[derive(Debug, Default)]
struct Counts {
    disagreements: u64,
    left_behind: u64,
    theirs: u64,
    others_moved: u64,
    others: u64,
    spread: f64,
    lag_others: u64,
    lag: u64,
}

pub(in crate::prove::sticky) fn prove(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let lab = Lab::new()?;
    let runs = (0..SEEDS)
        .map(|seed| run(&lab, options.seed.wrapping_add(seed)))
        .collect::<anyhow::Result<Vec<Counts>>>()?;
    let sum = |field: fn(&Counts) -> u64| runs.iter().map(field).sum::<u64>();
    let theirs = sum(|run| run.theirs);
    let others = sum(|run| run.others);
    let lags: Vec<f64> = runs.iter().map(|run| share(run.lag, run.theirs)).collect();
    let spread = runs.iter().map(|run| run.spread).fold(0.0, f64::max);
    // Whoever picks for itself agrees with three others by one in 9³.
    let by_chance = theirs - theirs / 729;
    Ok(vec![
        Evidence::count(sum(|run| run.disagreements), theirs)
            .against("each_picks_at_random", by_chance),
        Evidence::count(sum(|run| run.left_behind), theirs),
        Evidence::count(sum(|run| run.others_moved), others),
        Evidence {
            figure: spread,
            cases: theirs,
            ..Evidence::default()
        },
        Evidence::count(sum(|run| run.lag_others), theirs + others),
        Evidence::mean(&lags, theirs),
    ])
}

fn run(lab: &Lab, seed: u64) -> anyhow::Result<Counts> {
    let fleet = Fleet::new(lab, ", \"when_draining\": \"move\"", "", seed);
    let names = endpoints(10);
    let (draining, ejected) = ("10.0.0.1:8080", "10.0.0.2:8080");
    let mut gateways = fleet.start(GATEWAYS, &names)?;
    let sessions = Session::begin_many(&mut gateways, SESSIONS)?;
    let (theirs, others) = split(sessions, draining);
    for gateway in &mut gateways {
        gateway.discover(&listed(&names, &[(draining, "draining")]))?;
    }
    let mut counts = Counts {
        theirs: cases(theirs.len()),
        others: cases(others.len()),
        ..Counts::default()
    };
    let mut successors: BTreeMap<String, u64> = BTreeMap::new();
    for session in &theirs {
        let places = places(session, &mut gateways)?;
        counts.disagreements += u64::from(!agree(&places));
        let place = places.into_iter().next().unwrap_or_default();
        counts.left_behind += u64::from(place == draining);
        *successors.entry(place).or_default() += 1;
    }
    let mean = figure(counts.theirs) / 9.0;
    // Each of them is binomial with one ninth.
    let deviation = (mean * 8.0 / 9.0).sqrt();
    counts.spread = names
        .iter()
        .filter(|name| *name != draining)
        .map(|name| successors.get(name).copied().unwrap_or_default())
        .map(|count| (figure(count) - mean).abs() / deviation)
        .fold(0.0, f64::max);
    for session in &others {
        // One gateway is as good as another, and all are asked about some.
        let places = places(session, &mut gateways)?;
        counts.others_moved += u64::from(places.iter().any(|place| *place != session.endpoint));
    }
    // All but the last one hear of an ejection.
    let hears = usize::try_from(GATEWAYS - 1)?;
    for gateway in gateways.iter_mut().take(hears) {
        let health = [(draining, "draining"), (ejected, "unhealthy")];
        gateway.discover(&listed(&names, &health))?;
    }
    for session in theirs.iter().chain(&others) {
        let places = places(session, &mut gateways)?;
        let has_part = places.iter().any(|place| place == ejected);
        let disagrees = !agree(&places);
        counts.lag_others += u64::from(disagrees && !has_part);
        counts.lag += u64::from(disagrees && session.endpoint == draining);
    }
    Ok(counts)
}

/// Where each gateway sends a session at the same time.
fn places(session: &Session, gateways: &mut [Gateway]) -> anyhow::Result<Vec<String>> {
    gateways
        .iter_mut()
        .map(|gateway| Ok(session.peek(gateway, false)?.served_by))
        .collect()
}

fn agree(places: &[String]) -> bool {
    places
        .iter()
        .skip(1)
        .all(|place| places.first() == Some(place))
}
