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

#[cfg(test)]
mod tests {
    use tidegate_model::units::Span;

    use super::lab::{Lab, Mode, measure};
    use super::*;

    /// The proofs in short: seconds instead of minutes, and a second instead of a hundredth.
    #[test]
    fn module_keeps_requests_from_slow_and_failing_endpoints_in_both_modes() {
        let lab = Lab::new().unwrap();
        for (name, seconds, most) in [("slow-endpoint", 30, 0.3), ("failing-endpoint", 15, 0.1)] {
            let setting = lab.load(name).unwrap().rate(300.0).workers(2);
            let setting = setting.change(|scenario| scenario.duration = Span::ms(seconds * 1_000));
            let mut scenarios = setting.baselines(&["round_robin"]);
            for mode in Mode::BOTH {
                scenarios.insert(format!("{mode:?}"), setting.ours(mode));
            }
            let options = Options {
                seed: 1,
                long: false,
            };
            let runs = measure(&scenarios, options, |_, record| {
                let is_bad = |seen: &record::Seen| !seen.succeeded || seen.total_ns > SECOND_NS;
                let chosen = ["equal", "lower_load"].map(|reason| {
                    record.metric(&format!(
                        "tidegate_health_routing_requests_total.reason.{reason}"
                    ))
                });
                let chosen = chosen.iter().sum::<f64>() / as_figure(record.count());
                (record.share(is_bad), chosen, record.traps())
            })
            .unwrap();
            let mean = |name: &str| runs.mean(name, |(bad, ..)| *bad).unwrap().figure;
            let turns = mean("round_robin");
            assert!(turns > 0.02, "{name}: nothing goes wrong in turn: {turns}");
            for mode in Mode::BOTH.map(|mode| format!("{mode:?}")) {
                let ours = mean(&mode);
                assert!(ours < most * turns, "{name} {mode}: {ours} of {turns}");
                for ((_, chosen, traps), _) in runs.of(&mode).unwrap() {
                    // What is left are newcomers, trials, and the last tick's requests, which are not counted yet.
                    assert!(*chosen > 0.9, "{name} {mode}: {chosen}");
                    assert!(traps.abs() <= 0.0, "{name} {mode}: {traps} traps");
                }
            }
        }
    }
}
