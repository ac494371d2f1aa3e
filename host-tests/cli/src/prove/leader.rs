//! The one VM that knows the endpoints, and those that read what it writes.

use super::{Area, Claim, Evidence, Options, Proof, Target, as_figure};

mod interleavings;

pub(super) const AREA: Area = Area {
    name: "leader",
    what: "one leader per Envoy: takeover, fencing, what readers see",
    proofs: &[Proof {
        claims: READERS,
        run: readers,
    }],
};

/// How many orders of host calls are tried; ten times as many with `--long`.
const ORDERS: u64 = 1_000_000;

const READERS: &[Claim] = &[
    Claim {
        id: "L.torn",
        what: "pictures shown that no leader wrote under their version, in 10⁶ interleavings of host calls",
        unit: "pictures",
        target: Target::Exactly(0.0),
    },
    Claim {
        id: "L.foreign",
        what: "pictures shown of another configuration or cluster, in the same",
        unit: "pictures",
        target: Target::Exactly(0.0),
    },
    Claim {
        id: "L.backwards",
        what: "pictures shown that were older than a fresh one before, in the same",
        unit: "pictures",
        target: Target::Exactly(0.0),
    },
];

fn readers(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let orders = if options.long { 10 * ORDERS } else { ORDERS };
    let found = interleavings::run(orders, options.seed);
    let figures = [found.torn, found.foreign, found.backwards];
    Ok(figures
        .into_iter()
        .map(|figure| Evidence {
            figure: as_figure(figure),
            cases: found.shown,
            ..Evidence::default()
        })
        .collect())
}
