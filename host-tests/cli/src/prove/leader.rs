//! One VM of an Envoy learns and probes, all of them read: who leads, what a takeover costs, what is written when.
//!
//! The module is sticky-session with an `endpoints` block, in the host, in virtual time; the interleavings are of the
//! pure parts, at the grain of single host calls.

use super::{Area, Claim, Proof, Target};

mod gateway;
mod interleavings;
mod publishing;
mod readers;
mod terms;

pub(super) const AREA: Area = Area {
    name: "leader",
    what: "one leader per proxy: takeovers, probes, what is published and what is read",
    proofs: &[
        Proof {
            claims: terms::TAKEOVERS,
            run: terms::takeovers,
        },
        Proof {
            claims: publishing::PROBES,
            run: publishing::probes,
        },
        Proof {
            claims: publishing::WRITES,
            run: publishing::writes,
        },
        Proof {
            claims: readers::CLAIMS,
            run: readers::prove,
        },
    ],
};

/// How many workers there are: one, a small machine's, a large one's, and as many as there are slots.
const WORKERS: [u32; 4] = [1, 4, 16, 64];

/// A claim that nothing of a kind happens.
const fn none(id: &'static str, what: &'static str, unit: &'static str) -> Claim {
    Claim {
        id,
        what,
        unit,
        target: Target::Exactly(0.0),
    }
}
