//! How long a session lasts, to the second, and how far two gateways' clocks may differ.

use super::{configuration, endpoints, none};
use crate::prove::lab::{Lab, SECOND_NS, START_SECONDS, Setup, key};
use crate::prove::random::Random;
use crate::prove::{Claim, Evidence, Options};

pub(super) const CLAIMS: &[Claim] = &[
    none(
        "ttl.kept",
        "sessions moved 2 h 59 min 59 s after they began",
        "sessions",
    ),
    none(
        "ttl.moved",
        "sessions not moved 3 h 0 min 1 s after they began",
        "sessions",
    ),
    none(
        "idle.kept",
        "sessions of 30 min idle time moved, seen last 26 min ago",
        "sessions",
    ),
    none(
        "idle.moved",
        "sessions of 30 min idle time not moved, seen last 30 min ago",
        "sessions",
    ),
    none(
        "skew.kept",
        "sessions moved by a gateway whose clock is 60 s behind",
        "sessions",
    ),
    none(
        "skew.refused",
        "sessions not refused by a gateway whose clock is 61 s behind",
        "sessions",
    ),
];

const SESSIONS: u64 = 500;

pub(super) fn prove(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let lab = Lab::new()?;
    let mut random = Random::new(options.seed);
    let keys = key(1, &mut random);
    let setup = |fields: &str, seed: u64| Setup {
        configuration: configuration(fields),
        keys: keys.clone(),
        start_ns: START_SECONDS * SECOND_NS,
        seed,
        endpoints: endpoints(4),
    };
    let mut issuer = lab.start(&setup("", options.seed))?;
    let mut idle_issuer = lab.start(&setup(", \"idle_timeout\": \"30m\"", options.seed))?;
    // Each session begins at a moment of its own, at any fraction of a second.
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        let begun_ns = START_SECONDS * SECOND_NS + number * SECOND_NS + random.next() % SECOND_NS;
        let plain = issuer.at(begun_ns).request("echo", &[])?;
        let idle = idle_issuer.at(begun_ns).request("echo", &[])?;
        sessions.push((begun_ns, plain.cookie()?, idle.cookie()?));
    }
    let mut evidence = Vec::new();
    // Seconds since the session began, whether it has an idle time, the expected reason.
    let cases: [(i64, bool, &str); 6] = [
        (3 * 3600 - 1, false, "pinned"),
        (3 * 3600 + 1, false, "refused_expired"),
        (26 * 60, true, "pinned"),
        (30 * 60, true, "refused_idle"),
        (-60, false, "pinned"),
        (-61, false, "refused_not_yet_valid"),
    ];
    for (age_seconds, has_idle_time, expected) in cases {
        let fields = if has_idle_time {
            ", \"idle_timeout\": \"30m\""
        } else {
            ""
        };
        let offset_ns = age_seconds * i64::try_from(SECOND_NS)?;
        let start_ns = (START_SECONDS * SECOND_NS).saturating_add_signed(offset_ns);
        let mut gateway = lab.start(&Setup {
            start_ns,
            ..setup(fields, options.seed.wrapping_add(1))
        })?;
        let mut others = 0;
        for (begun_ns, plain, idle) in &sessions {
            let cookie = if has_idle_time { idle } else { plain };
            let exchange = gateway
                .at(begun_ns.saturating_add_signed(offset_ns))
                .request("echo", &[cookie.as_bytes()])?;
            // A session that ends begins again at once, wherever it is served.
            let as_expected = exchange.request_was(expected)
                && exchange.pinned.is_some() == (expected == "pinned")
                && exchange.set_cookie.is_some() == (expected != "pinned" || has_idle_time);
            others += u64::from(!as_expected);
        }
        evidence.push(Evidence::count(others, SESSIONS));
    }
    Ok(evidence)
}
