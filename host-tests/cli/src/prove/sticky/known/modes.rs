//! What the three drain modes do with plain requests and upgrades, before and after the deadline.

use super::{Claim, Fleet, SECOND_NS, Session, cases, endpoints, listed, none, split};
use crate::prove::lab::{Exchange, Gateway, Lab};
use crate::prove::{Evidence, Options};

pub(in crate::prove::sticky) const CLAIMS: &[Claim] = &[
    none(
        "mode.hand_over",
        "requests not treated as `hand_over` says",
        "requests",
    ),
    none(
        "mode.keep",
        "requests not treated as `keep` says",
        "requests",
    ),
    none(
        "mode.move",
        "requests not treated as `move` says",
        "requests",
    ),
    none(
        "mode.new_sessions",
        "sessions handed to the draining endpoint by their cookie",
        "sessions",
    ),
];

const SESSIONS: usize = 1000;
const DRAINING: &str = "10.0.0.2:8080";
const WINDOW_NS: u64 = 30 * SECOND_NS;

/// What is expected of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Served by its own endpoint; the cookie stays.
    Own,
    /// Served by its own endpoint; the cookie names another.
    OnceMore,
    /// Served by another endpoint, which the cookie names.
    Successor,
}

impl Expected {
    fn is_met(self, exchange: &Exchange) -> bool {
        let on_own = exchange.served_by == DRAINING;
        match self {
            Self::Own => on_own && exchange.set_cookie.is_none(),
            Self::OnceMore => on_own && exchange.response_was("handed_over"),
            Self::Successor => !on_own && exchange.response_was("re_pinned"),
        }
    }
}

pub(in crate::prove::sticky) fn prove(options: Options) -> anyhow::Result<Vec<Evidence>> {
    let lab = Lab::new()?;
    // Plain and upgrade before the deadline; after it all leave.
    let modes = [
        ("hand_over", [Expected::OnceMore, Expected::Successor]),
        ("keep", [Expected::Own, Expected::Own]),
        ("move", [Expected::Successor, Expected::Successor]),
    ];
    let (mut evidence, mut returned, mut sessions) = (Vec::new(), 0, 0);
    for (mode, expected) in modes {
        let rule = format!(", \"when_draining\": \"{mode}\"");
        let fleet = Fleet::new(&lab, &rule, ", \"drain_window\": \"30s\"", options.seed);
        let mut gateways = [fleet.start_one(&endpoints(4))?];
        let begun = Session::begin_many(&mut gateways, SESSIONS)?;
        let (theirs, _) = split(begun, DRAINING);
        let [mut gateway] = gateways;
        gateway.discover(&listed(&endpoints(4), &[(DRAINING, "draining")]))?;
        let (mut wrong, mut requests) = (0, 0);
        for after_deadline in [false, true] {
            for (is_upgrade, expected) in [false, true].into_iter().zip(expected) {
                let expected = if after_deadline {
                    Expected::Successor
                } else {
                    expected
                };
                for session in &theirs {
                    let exchange = session.peek(&mut gateway, is_upgrade)?;
                    requests += 1;
                    wrong += u64::from(!expected.is_met(&exchange));
                    returned += u64::from(is_on_draining(session, &exchange, &mut gateway)?);
                }
            }
            gateway.settle(WINDOW_NS)?;
        }
        sessions += cases(theirs.len());
        evidence.push(Evidence::count(wrong, requests));
    }
    evidence.push(Evidence::count(returned, sessions));
    Ok(evidence)
}

/// Whether a session that got a new cookie is on the draining endpoint with it.
fn is_on_draining(
    session: &Session,
    exchange: &Exchange,
    gateway: &mut Gateway,
) -> anyhow::Result<bool> {
    if exchange.set_cookie.is_none() {
        return Ok(false);
    }
    let mut session = session.clone();
    session.take(exchange)?;
    let next = session.peek(gateway, false)?;
    Ok(next.pinned.is_none_or(|pinned| pinned == DRAINING))
}
