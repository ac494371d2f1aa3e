//! T3: an endpoint that joins cold gets little at first, and never nothing.

use anyhow::Context;

use super::lab::{Lab, Measured, Mode, measure_often};
use super::record::{Number, Record};
use super::{Claim, Evidence, Options, SECOND_NS, SEEDS, Target, as_figure, claim};

/// The most that may be under way at it in its first second.
const PEAK: Target = Target::AtMost(10.0);

/// The least part of what slow start gives it.
const SHARE: Target = Target::AtLeast(0.5);

pub(super) const COLD: &[Claim] = &[
    claim(
        "T3.attempts.2000rps.peak",
        "the most under way in its first second at an 11th endpoint that joins cold, 2000 requests/s, 4 workers; every attempt \
         is seen",
        "requests",
        PEAK,
    ),
    claim(
        "T3.attempts.2000rps.share",
        "its share in the worst quarter of the window, in parts of what slow start gives it",
        "ratio",
        SHARE,
    ),
    claim(
        "T3.requests.2000rps.peak",
        "the most under way; the last attempt is seen",
        "requests",
        PEAK,
    ),
    claim(
        "T3.requests.2000rps.share",
        "its share in the worst quarter, likewise",
        "ratio",
        SHARE,
    ),
    claim(
        "T3.attempts.50rps.peak",
        "the most under way at a 6th endpoint, 50 requests/s; every attempt is seen",
        "requests",
        PEAK,
    ),
    claim(
        "T3.attempts.50rps.share",
        "its share in the worst quarter, likewise",
        "ratio",
        SHARE,
    ),
    claim(
        "T3.requests.50rps.peak",
        "the most under way; the last attempt is seen",
        "requests",
        PEAK,
    ),
    claim(
        "T3.requests.50rps.share",
        "its share in the worst quarter, likewise",
        "ratio",
        SHARE,
    ),
];

const BASELINES: [&str; 2] = ["round_robin", "finagle"];

/// The endpoint that joins, and when.
const JOINER: Number = 11;
const JOINS_NS: u64 = 10 * SECOND_NS;

/// The window of the slow start, and the least factor in it.
const WINDOW_NS: u64 = 60 * SECOND_NS;
const LEAST_FACTOR: f64 = 0.1;

/// What the joiner went through in one run.
#[derive(Debug, Clone, Copy)]
struct Joined {
    /// Its share in each quarter of the window, in parts of what slow start gives it.
    shares: [f64; 4],
    /// The most under way in the second after its first request.
    peak: f64,
}

pub(super) fn cold(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let setting = Lab::new()?.load("cold-joiner")?;
    let small = setting.rate(50.0).change(|scenario| {
        let warm = scenario
            .clusters
            .first_mut()
            .and_then(|shop| shop.endpoints.first_mut());
        if let Some(warm) = warm {
            warm.count = 5;
        }
    });
    // At the small load a quarter has some twenty requests of the joiner: it takes more runs to tell its share.
    let loads = [
        ("2000rps", setting, 10.0, SEEDS),
        ("50rps", small, 5.0, 5 * SEEDS),
    ];
    let mut evidence = Vec::new();
    for (load, setting, warm, seeds) in &loads {
        let mut scenarios = setting.baselines(&BASELINES);
        for mode in Mode::BOTH {
            scenarios.insert(format!("{mode:?}"), setting.ours(mode));
        }
        let runs = measure_often(&scenarios, *seeds, options, |_, record| {
            joined(record, *warm)
        })
        .with_context(|| format!("at {load}"))?;
        for mode in Mode::BOTH {
            let ours = format!("{mode:?}");
            let mut peak = runs.most(&ours, |joined| joined.peak)?;
            let mut share = worst_quarter(&runs, &ours)?;
            for name in BASELINES {
                peak = peak.beside(name, runs.most(name, |joined| joined.peak)?.figure);
                share = share.beside(name, worst_quarter(&runs, name)?.figure);
            }
            evidence.extend([peak, share]);
        }
    }
    Ok(evidence)
}

/// The quarter in which it got the least of what slow start gives it.
fn worst_quarter(runs: &Measured<(Joined, u64)>, name: &str) -> anyhow::Result<Evidence> {
    let quarters = (0..4).map(|quarter| {
        runs.mean(name, |joined| {
            joined.shares.get(quarter).copied().unwrap_or_default()
        })
    });
    let quarters = quarters.collect::<anyhow::Result<Vec<_>>>()?;
    let least = |evidence: &Evidence| evidence.ci95().map_or(evidence.figure, |[low, _]| low);
    let worst = quarters
        .into_iter()
        .min_by(|one, other| least(one).total_cmp(&least(other)));
    Ok(worst.unwrap_or_default())
}

fn joined(record: &Record, warm: f64) -> Joined {
    let (mut got, mut given) = ([0.0; 4], [0.0; 4]);
    for seen in &record.requests {
        let Some(passed_ns) = seen.started_ns.checked_sub(JOINS_NS) else {
            continue;
        };
        let quarter = usize::try_from(passed_ns / (WINDOW_NS / 4)).unwrap_or(usize::MAX);
        let (Some(got), Some(given)) = (got.get_mut(quarter), given.get_mut(quarter)) else {
            continue;
        };
        let factor = (seconds(passed_ns) / seconds(WINDOW_NS)).max(LEAST_FACTOR);
        *given += factor / (warm + factor);
        if seen.endpoints.first() == Some(&Some(JOINER)) {
            *got += 1.0;
        }
    }
    let mut at_joiner = record
        .under_way
        .iter()
        .filter(|(endpoint, ..)| *endpoint == JOINER);
    let first_ns = at_joiner.clone().next().map_or(0, |(_, at_ns, _)| *at_ns);
    let in_first_second = at_joiner
        .by_ref()
        .take_while(|(_, at_ns, _)| *at_ns < first_ns + SECOND_NS);
    let peak = in_first_second
        .map(|(.., count)| *count)
        .max()
        .unwrap_or_default();
    let mut shares = [0.0; 4];
    for ((share, got), given) in shares.iter_mut().zip(got).zip(given) {
        *share = got / given;
    }
    Joined {
        shares,
        peak: f64::from(peak),
    }
}

/// Nanoseconds in seconds, exact to a millisecond.
fn seconds(ns: u64) -> f64 {
    as_figure(ns / 1_000_000) / 1_000.0
}
