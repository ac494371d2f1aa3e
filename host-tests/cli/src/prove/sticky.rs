//! Sticky sessions: by cookie alone, and with knowledge of the endpoints.

use super::{Area, Claim, Proof, Target};

mod fleet;
mod hostile;
mod known;
mod lifetime;

pub(super) const AREA: Area = Area {
    name: "sticky",
    what: "sessions: what is refused, how long they last, what survives, who takes them over",
    proofs: &[
        Proof {
            claims: hostile::FORGERIES,
            run: hostile::forgeries,
        },
        Proof {
            claims: hostile::MUTATIONS,
            run: hostile::mutations,
        },
        Proof {
            claims: lifetime::CLAIMS,
            run: lifetime::prove,
        },
        Proof {
            claims: fleet::ROTATION,
            run: fleet::rotation,
        },
        Proof {
            claims: fleet::RESTART,
            run: fleet::restart,
        },
        Proof {
            claims: fleet::SCALING,
            run: fleet::scaling,
        },
        Proof {
            claims: known::scale::COOKIES,
            run: known::scale::cookies,
        },
        Proof {
            claims: known::scale::TABLES,
            run: known::scale::tables,
        },
        Proof {
            claims: known::drain::CLAIMS,
            run: known::drain::prove,
        },
        Proof {
            claims: known::rollout::CLAIMS,
            run: known::rollout::prove,
        },
        Proof {
            claims: known::identity::RESTART,
            run: known::identity::restart,
        },
        Proof {
            claims: known::identity::REUSE,
            run: known::identity::reuse,
        },
        Proof {
            claims: known::identity::INSTANCE,
            run: known::identity::instance,
        },
        Proof {
            claims: known::modes::CLAIMS,
            run: known::modes::prove,
        },
        Proof {
            claims: known::keys::CLAIMS,
            run: known::keys::prove,
        },
        Proof {
            claims: known::first::CLAIMS,
            run: known::first::prove,
        },
    ],
};

/// A claim that nothing of a kind happens.
const fn none(id: &'static str, what: &'static str, unit: &'static str) -> Claim {
    Claim {
        id,
        what,
        unit,
        target: Target::Exactly(0.0),
    }
}

/// Begins a configuration for the clusters `echo` and `chat` that tells its reasons.
fn configuration(fields: &str) -> String {
    format!(
        "{{\"clusters\": [{{\"name\": \"echo\"{fields}}}, {{\"name\": \"chat\"{fields}}}], \
         \"reason_header\": true}}"
    )
}

/// Names so many endpoints.
fn endpoints(count: u8) -> Vec<String> {
    (1..=count)
        .map(|number| format!("10.0.0.{number}:8080"))
        .collect()
}
