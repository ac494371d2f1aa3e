//! Sticky sessions by cookie.
//!
//! What is proven holds without any knowledge of the endpoints: sessions whose endpoint is gone,
//! drains and rolling updates belong to the membership snapshot, and are not claimed here.

use super::{Area, Claim, Proof, Target};

mod fleet;
mod hostile;
mod lifetime;

pub(super) const AREA: Area = Area {
    name: "sticky",
    what: "sessions by cookie: what is refused, how long they last, what survives",
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
