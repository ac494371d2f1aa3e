//! T4: a stream that lives for an hour says nothing of how long requests take.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tidegate_host::Proxy;
use tidegate_policy::snapshot::SnapshotView;

use super::lab::{Lab, Mode};
use super::record::{Number, Record};
use super::{Claim, Evidence, Options, SECOND_NS, SEEDS, Target, as_figure, claim, runs};
use crate::closed_loop;

/// As much as the longest time to headers, that of the 101 among them.
const ESTIMATE: Target = Target::AtMost(1.0);

/// A third; more by chance.
const SHARE: Target = Target::Within {
    value: 1.0 / 3.0,
    tolerance: 0.01,
};

pub(super) const SOCKET: &[Claim] = &[
    claim(
        "T4.attempts.estimate",
        "the largest published latency of the endpoint with a WebSocket of an hour, in parts of the longest time to headers \
         there; every attempt is seen",
        "ratio",
        ESTIMATE,
    ),
    claim(
        "T4.requests.estimate",
        "the same; the last attempt is seen",
        "ratio",
        ESTIMATE,
    ),
    claim(
        "T4.attempts.share",
        "its share of the requests of the hour, three endpoints being alike; every attempt is seen",
        "ratio",
        SHARE,
    ),
    claim(
        "T4.requests.share",
        "the same; the last attempt is seen",
        "ratio",
        SHARE,
    ),
    claim(
        "T4.attempts.afterwards",
        "its share of the requests of the 90 s after the WebSocket's end; every attempt is seen",
        "ratio",
        Target::AtLeast(0.2),
    ),
    claim(
        "T4.requests.afterwards",
        "the same; the last attempt is seen",
        "ratio",
        Target::AtLeast(0.2),
    ),
];

/// What the plugins share their data under.
const VM_ID: &str = "health";

/// What the key of the cluster's picture ends with.
const SNAPSHOT: &[u8] = b".snapshot.shop";

/// What one run showed.
#[derive(Debug, Clone, Copy)]
struct Hour {
    estimate: f64,
    during: f64,
    afterwards: f64,
    requests: u64,
}

pub(super) fn socket(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let setting = Lab::new()?.load("long-socket")?;
    let seeds = runs::seeds(SEEDS, options);
    let jobs: Vec<(Mode, u64)> = Mode::BOTH
        .iter()
        .flat_map(|mode| seeds.clone().map(|seed| (*mode, seed)))
        .collect();
    let hours = runs::spread(&jobs, |(mode, seed)| {
        let (mut record, mut looked) = (Record::default(), Looked::default());
        let loaded = setting.ours(*mode);
        closed_loop::run_watched(&loaded, *seed, &mut record, &mut |now_ns, proxy| {
            looked.look(now_ns, proxy);
        })?;
        Ok(hour(&record, &looked))
    })?;
    let mean = |mode: Mode, figure: fn(&Hour) -> f64| {
        let of = jobs.iter().zip(&hours).filter(|((of, _), _)| *of == mode);
        let of: Vec<&Hour> = of.map(|(_, hour)| hour).collect();
        let figures: Vec<f64> = of.iter().map(|hour| figure(hour)).collect();
        Evidence::mean(&figures, of.iter().map(|hour| hour.requests).sum())
    };
    let mut evidence = Vec::new();
    for figure in [
        |hour: &Hour| hour.estimate,
        |hour: &Hour| hour.during,
        |hour: &Hour| hour.afterwards,
    ] {
        evidence.extend(Mode::BOTH.map(|mode| mean(mode, figure)));
    }
    Ok(evidence)
}

fn hour(record: &Record, looked: &Looked) -> Hour {
    let socket = record.requests.iter().find(|seen| seen.is_socket);
    let Some((at, socket)) = socket.and_then(|seen| Some((seen.last_endpoint()?, seen))) else {
        // Without the socket there is nothing to show.
        return Hour {
            estimate: f64::INFINITY,
            during: f64::NAN,
            afterwards: f64::NAN,
            requests: 0,
        };
    };
    let ended_ns = socket.started_ns.saturating_add(socket.total_ns);
    let share = |from_ns: u64, until_ns: u64| {
        let within = record
            .requests
            .iter()
            .filter(|seen| !seen.is_socket && (from_ns..until_ns).contains(&seen.started_ns));
        let (mut all, mut there) = (0, 0);
        for seen in within {
            all += 1;
            there += u64::from(seen.last_endpoint() == Some(at));
        }
        as_figure(there) / as_figure(all)
    };
    let there = record
        .requests
        .iter()
        .filter(|seen| seen.last_endpoint() == Some(at));
    let longest_ns = there
        .map(|seen| seen.first_byte_ns)
        .max()
        .unwrap_or_default();
    Hour {
        // An estimate that nobody published is no proof.
        estimate: looked
            .estimates
            .get(&at)
            .map_or(f64::INFINITY, |estimate_us| {
                f64::from(*estimate_us) / as_figure(longest_ns.div_ceil(1_000))
            }),
        during: share(socket.started_ns, ended_ns),
        afterwards: share(ended_ns, ended_ns + 90 * SECOND_NS),
        requests: record.count(),
    }
}

/// The largest estimate of each endpoint in any published picture, in microseconds.
#[derive(Debug, Default)]
struct Looked {
    estimates: BTreeMap<Number, u32>,
    looked_ns: u64,
}

impl Looked {
    /// Looks at the published picture, once in a tick's time.
    fn look(&mut self, now_ns: u64, proxy: &Proxy) {
        const TICK_NS: u64 = 250_000_000;
        if now_ns < self.looked_ns + TICK_NS {
            return;
        }
        self.looked_ns = now_ns;
        let mut entries = proxy.shared_data(VM_ID);
        let snapshot = entries.find(|entry| entry.key.ends_with(SNAPSHOT));
        let Some(view) = snapshot.and_then(|entry| SnapshotView::open(entry.value).ok()) else {
            return;
        };
        for entry in view.iter() {
            if let (IpAddr::V4(ip), Some(latency)) = (entry.address.ip, entry.endpoint.latency) {
                let [.., number] = ip.octets();
                let estimate = self.estimates.entry(number).or_default();
                *estimate = latency.estimate_us.get().max(*estimate);
            }
        }
    }
}
