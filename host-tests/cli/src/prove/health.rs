//! Health-aware routing, by the real module in the closed loop, next to other balancers in the same program.
//!
//! Everything is proven twice: with the module behind the router as well, where it sees every attempt (`attempts`), and
//! with the module in the listener's chain alone (`requests`), where it concludes from the last one. The scenarios are
//! the files of `host-tests/scenarios/health`; the proofs change their workers, loads and endpoints.

use super::{Area, Claim, Evidence, Options, Proof, Target, as_figure, runs};

mod cold;
mod failing;
mod lab;
mod pool;
mod probes;
mod record;
mod slow;
mod socket;
mod zones;

pub(super) const AREA: Area = Area {
    name: "health",
    what: "health-aware routing: who gets requests while endpoints are slow, fail, join, drain or come back",
    proofs: &[
        Proof {
            claims: slow::SLOW,
            run: slow::slow,
        },
        Proof {
            claims: slow::WITH_ERRORS,
            run: slow::with_errors,
        },
        Proof {
            claims: failing::FAILING,
            run: failing::failing,
        },
        Proof {
            claims: cold::COLD,
            run: cold::cold,
        },
        Proof {
            claims: socket::SOCKET,
            run: socket::socket,
        },
        Proof {
            claims: slow::IDLE,
            run: slow::idle,
        },
        Proof {
            claims: zones::ZONES,
            run: zones::zones,
        },
        Proof {
            claims: pool::EJECTED,
            run: pool::ejected,
        },
        Proof {
            claims: pool::STATES,
            run: pool::states_of_pools,
        },
        Proof {
            claims: probes::PROBES,
            run: probes::probes,
        },
    ],
};

/// How many runs a sampled figure is the mean of.
const SEEDS: u64 = 5;

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// Makes a claim.
const fn claim(id: &'static str, what: &'static str, unit: &'static str, target: Target) -> Claim {
    Claim {
        id,
        what,
        unit,
        target,
    }
}
