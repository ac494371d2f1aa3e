//! Who leads, and how long nobody does.

use super::gateway::{Gateway, Kind, PROBED, endpoint, module};
use super::{WORKERS, none};
use crate::prove::lab::SECOND_NS;
use crate::prove::{Claim, Evidence, Options, Target, as_figure};

pub(super) const TAKEOVERS: &[Claim] = &[
    takeover("takeover.w1", "the longest time without a leader, 1 worker"),
    takeover(
        "takeover.w4",
        "the longest time without a leader, 4 workers",
    ),
    takeover(
        "takeover.w16",
        "the longest time without a leader, 16 workers",
    ),
    takeover(
        "takeover.w64",
        "the longest time without a leader, 64 workers",
    ),
    Claim {
        id: "takeover.main",
        what: "first leaders that are not the main thread's VM, once every worker has served",
        unit: "leaders",
        target: Target::Exactly(0.0),
    },
    none(
        "takeover.epochs",
        "versions of an older term that replaced a newer one's",
        "writes",
    ),
    none(
        "takeover.kept",
        "looks at which an endpoint that fails its readiness counted as available after a takeover",
        "looks",
    ),
];

/// A claim about how long nobody leads after the holder's death: from the death to the first versions of another VM.
const fn takeover(id: &'static str, what: &'static str) -> Claim {
    Claim {
        id,
        what,
        unit: "ms",
        target: Target::AtMost(2000.0),
    }
}

/// How many holders die one after the other, where there are so many.
const DEATHS: u32 = 5;

pub(super) fn takeovers(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let module = module()?;
    let mut evidence = Vec::new();
    let (mut others, mut back, mut shown, mut looks, mut starts) = (0, 0, 0, 0, 0);
    for workers in WORKERS {
        let (mut longest_ns, mut takeovers) = (0, 0);
        for run in 0..if options.long { 50 } else { 5 } {
            let seed = options.seed.wrapping_add(run);
            let mut gateway = Gateway::start(&module, workers, PROBED, seed)?;
            gateway.failing.push(endpoint(1));
            gateway.serve_everywhere(workers)?;
            // Long enough that the one that fails is known, and that the VM without streams has asked for the lease, which
            // it does after ten seconds.
            gateway.pass(15 * SECOND_NS + run * 17_000_000)?;
            starts += 1;
            others += u64::from(gateway.holder() != Some(0));
            for _ in 0..DEATHS.min(workers) {
                let Some(holder) = gateway.holder() else {
                    continue;
                };
                let died_ns = gateway.now_ns();
                if !gateway.kill(holder) {
                    continue;
                }
                let next_ns = loop {
                    gateway.look()?;
                    looks += 1;
                    shown += u64::from(is_available(&gateway));
                    let written = gateway.written_since(died_ns);
                    let next = written
                        .iter()
                        .find(|write| write.what == Kind::Versions && write.vm != holder);
                    if let Some(next) = next {
                        break next.at_ns;
                    }
                    if gateway.now_ns() > died_ns + 60 * SECOND_NS {
                        break u64::MAX;
                    }
                };
                longest_ns = longest_ns.max(next_ns.saturating_sub(died_ns));
                takeovers += 1;
                let end_ns = gateway.now_ns() + 2 * SECOND_NS;
                while gateway.now_ns() < end_ns {
                    gateway.look()?;
                    looks += 1;
                    shown += u64::from(is_available(&gateway));
                }
            }
            back += gateway.epochs_back;
        }
        evidence.push(Evidence::count(longest_ns.div_ceil(1_000_000), takeovers));
    }
    evidence.push(Evidence::count(others, starts));
    evidence.push(Evidence::count(back, looks));
    evidence.push(Evidence::count(shown, looks).beside("looks", as_figure(looks)));
    Ok(evidence)
}

/// Whether the first endpoint, whose readiness fails, counts as available.
fn is_available(gateway: &Gateway) -> bool {
    use tidegate_policy::snapshot::State;

    let Some(snapshot) = gateway.snapshot() else {
        return false;
    };
    let first = snapshot.view().iter().next();
    first.is_none_or(|first| !matches!(first.endpoint.state, State::Ejected { .. }))
}
