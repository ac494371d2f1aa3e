//! What the leader asks and what it writes.

use super::gateway::{ENDPOINTS, Gateway, Kind, PROBED, endpoint, module};
use super::{WORKERS, none};
use crate::prove::lab::SECOND_NS;
use crate::prove::{Claim, Evidence, Options, Target, as_figure};

pub(super) const PROBES: &[Claim] = &[
    per_interval(
        "probes.w1",
        "probes of an endpoint in an interval, 1 worker",
    ),
    per_interval(
        "probes.w4",
        "probes of an endpoint in an interval, 4 workers",
    ),
    per_interval(
        "probes.w16",
        "probes of an endpoint in an interval, 16 workers",
    ),
    per_interval(
        "probes.w64",
        "probes of an endpoint in an interval, 64 workers",
    ),
];

pub(super) const WRITES: &[Claim] = &[
    none(
        "publish.idle",
        "snapshots written in ten minutes in which nothing changed",
        "writes",
    ),
    Claim {
        id: "publish.versions",
        what: "versions written per second in these ten minutes",
        unit: "writes/s",
        target: Target::AtMost(1.0),
    },
    Claim {
        id: "publish.change",
        what: "snapshots written while one endpoint fails its readiness and then recovers",
        unit: "writes",
        target: Target::Exactly(2.0),
    },
    Claim {
        id: "readiness.out",
        what: "from the first failed probe to the snapshot that says so, with the defaults of a probe",
        unit: "s",
        target: Target::AtMost(16.0),
    },
];

/// A claim that workers don't multiply probes.
const fn per_interval(id: &'static str, what: &'static str) -> Claim {
    Claim {
        id,
        what,
        unit: "probes",
        target: Target::AtMost(1.0),
    }
}

/// How long probes are counted, in intervals of a second.
const INTERVALS: u64 = 120;

pub(super) fn probes(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let module = module()?;
    let mut evidence = Vec::new();
    for workers in WORKERS {
        let mut gateway = Gateway::start(&module, workers, PROBED, options.seed)?;
        gateway.serve_everywhere(workers)?;
        gateway.pass(5 * SECOND_NS)?;
        let from_ns = gateway.now_ns();
        gateway.pass(INTERVALS * SECOND_NS)?;
        let sent = gateway
            .probes
            .iter()
            .filter(|probe| probe.at_ns >= from_ns)
            .count();
        let sent = u64::try_from(sent)?;
        let per_interval = as_figure(sent) / as_figure(INTERVALS) / f64::from(ENDPOINTS);
        evidence.push(Evidence {
            figure: per_interval,
            cases: sent,
            ..Evidence::default()
        });
    }
    Ok(evidence)
}

pub(super) fn writes(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let module = module()?;
    let mut gateway = Gateway::start(&module, 4, PROBED, options.seed)?;
    gateway.serve_everywhere(4)?;
    gateway.pass(10 * SECOND_NS)?;
    let from_ns = gateway.now_ns();
    gateway.pass(600 * SECOND_NS)?;
    let (idle, versions) = written(&gateway, from_ns);
    let from_ns = gateway.now_ns();
    gateway.failing.push(endpoint(3));
    gateway.pass(20 * SECOND_NS)?;
    gateway.failing.clear();
    gateway.pass(20 * SECOND_NS)?;
    let (changed, _) = written(&gateway, from_ns);
    let longest = longest_notice(options, &module)?;
    Ok(vec![
        Evidence::count(idle, 600),
        Evidence {
            figure: as_figure(versions) / 600.0,
            cases: versions,
            ..Evidence::default()
        },
        Evidence::count(changed, 2),
        longest,
    ])
}

/// How long it takes at most until a readiness that fails is published, by default settings.
fn longest_notice(options: Options, module: &tidegate_host::Module) -> anyhow::Result<Evidence> {
    let (mut longest_ns, mut cases) = (0, 0);
    for run in 0..10 {
        let seed = options.seed.wrapping_add(run);
        let mut gateway = Gateway::start(module, 2, r#""probe": {}"#, seed)?;
        gateway.pass(15 * SECOND_NS)?;
        let from_ns = gateway.now_ns();
        gateway.failing.push(endpoint(3));
        gateway.pass(40 * SECOND_NS)?;
        let third = endpoint(3);
        let first_failure = gateway
            .probes
            .iter()
            .find(|probe| probe.at_ns > from_ns && probe.endpoint == third);
        let published = gateway.written_since(from_ns);
        let published = published.iter().find(|write| write.what == Kind::Snapshot);
        let took_ns = match (first_failure, published) {
            (Some(failure), Some(write)) => write.at_ns.saturating_sub(failure.at_ns),
            _ => u64::MAX,
        };
        longest_ns = longest_ns.max(took_ns);
        cases += 1;
    }
    Ok(Evidence {
        figure: as_figure(longest_ns.div_ceil(1_000_000)) / 1000.0,
        cases,
        ..Evidence::default()
    })
}

/// Snapshots and versions that were written since a moment.
fn written(gateway: &Gateway, from_ns: u64) -> (u64, u64) {
    let written = gateway.written_since(from_ns);
    let count = |kind| written.iter().filter(|write| write.what == kind).count();
    let count = |kind| u64::try_from(count(kind)).unwrap_or(u64::MAX);
    (count(Kind::Snapshot), count(Kind::Versions))
}
