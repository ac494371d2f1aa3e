//! What readers show whatever leaders and a neighbour do between their calls.

use super::{interleavings, none};
use crate::prove::{Claim, Evidence, Options, as_figure};

/// How many orders of host calls are tried; ten times as many with `--long`.
const ORDERS: u64 = 1_000_000;

pub(super) const CLAIMS: &[Claim] = &[
    none(
        "L.torn",
        "pictures that no leader wrote under their version, in 10⁶ orders of host calls",
        "pictures",
    ),
    none(
        "L.foreign",
        "pictures of another configuration or cluster, in the same orders",
        "pictures",
    ),
    none(
        "L.backwards",
        "pictures older than a fresh one that the same reader showed before, in the same orders",
        "pictures",
    ),
];

pub(super) fn prove(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let orders = if options.long { 10 * ORDERS } else { ORDERS };
    let found = interleavings::run(orders, options.seed);
    Ok([found.torn, found.foreign, found.backwards]
        .into_iter()
        .map(|figure| Evidence {
            figure: as_figure(figure),
            cases: found.shown,
            ..Evidence::default()
        })
        .collect())
}
