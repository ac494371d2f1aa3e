//! What membership and probes make of one endpoint.

use core::time::Duration;

use crate::{
    membership::{Discovered, Health, Listed, Member, Presence, Standing},
    probe::{Start, Verdict},
    snapshot::{EdsHealth, Endpoint, Since, State},
    units::WallTime,
};

/// Is the latest time that the format can hold: what waits for it is not ended by time.
const NEVER: WallTime = WallTime::from_ns(u64::MAX);

/// Is what is known of an endpoint's readiness.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Readiness {
    /// Nobody asks it.
    NotProbed,
    /// It is asked.
    Probed(Verdict),
}

/// Is the state of a member.
///
/// | membership | probe | state |
/// | --- | --- | --- |
/// | vanished | any | `Vanished` until the drain window is over |
/// | draining | any | `Draining` until the drain window is over, or the probe's drain if that is sooner |
/// | present | draining or drained | `Draining` until then |
/// | unhealthy, or ejected by the proxy | any other | `Ejected`: the source readmits it |
/// | available | unhealthy, or unproven and counted unhealthy | `Ejected`: a probe readmits it |
/// | available | unproven and counted healthy | `Unknown` |
/// | available | healthy, or not probed | `Available` |
///
/// `before` is its state so far, where it is the same life of the address: a deadline only comes
/// nearer.
pub(super) fn state_of(
    member: &Member,
    readiness: Readiness,
    before: Option<State>,
    drain_window: Duration,
    now: WallTime,
) -> State {
    if let Presence::Vanished { at } = member.presence {
        return State::Vanished {
            until: after(at, drain_window),
        };
    }
    let standing = member.listed.health.standing();
    let by_source = (standing == Standing::Draining).then(|| after(now, drain_window));
    let by_probe = match readiness {
        Readiness::Probed(Verdict::Draining { remaining }) => Some(after(now, remaining)),
        Readiness::Probed(Verdict::Drained) => Some(now),
        _ => None,
    };
    if let Some(until) = by_source.into_iter().chain(by_probe).min() {
        let until = match before {
            Some(State::Draining { until: before }) => before.min(until),
            _ => until,
        };
        return State::Draining { until };
    }
    if matches!(standing, Standing::Unhealthy | Standing::Ejected) {
        return State::Ejected { until: NEVER };
    }
    match readiness {
        Readiness::Probed(Verdict::Unproven { available: true }) => State::Unknown,
        Readiness::Probed(verdict) if !verdict.is_available() => State::Ejected { until: NEVER },
        Readiness::NotProbed | Readiness::Probed(_) => State::Available {
            slow_start: member.last_absent.map(|_| member.first_seen),
        },
    }
}

/// Says since when a member is there.
pub(super) fn since_of(member: &Member) -> Since {
    Since {
        generation: u32::try_from(member.generation).unwrap_or(u32::MAX),
        at: member.last_absent.unwrap_or_default(),
    }
}

/// Says what the control plane thinks of a member.
pub(super) const fn eds_health_of(health: Health) -> EdsHealth {
    match health.discovered {
        Discovered::Degraded => EdsHealth::Degraded,
        Discovered::Draining => EdsHealth::Draining,
        Discovered::Healthy => EdsHealth::Healthy,
        Discovered::Unhealthy => EdsHealth::Unhealthy,
    }
}

/// Is with what a prober goes on that takes over an endpoint: whoever was not available has to
/// prove itself.
pub(super) fn start_of(endpoint: &Endpoint, now: WallTime) -> Start {
    let verdict = match endpoint.state {
        State::Unknown => return Start::New,
        State::Available { .. } => Verdict::Healthy,
        State::Probing | State::Ejected { .. } => Verdict::Unhealthy,
        State::Draining { until } | State::Vanished { until } => {
            match until.saturating_since(now) {
                Duration::ZERO => Verdict::Drained,
                remaining => Verdict::Draining { remaining },
            }
        }
    };
    Start::Known(verdict, endpoint.instance.map(core::num::NonZeroU64::get))
}

/// Is the member that a predecessor published, seen last at `seen`.
///
/// Why an endpoint was not available is not in a snapshot: one that was ejected stays so until the
/// source says otherwise. `is_learned`: nobody ever will, so that the probes alone decide.
pub(super) fn member_of(
    endpoint: &Endpoint,
    is_learned: bool,
    drain_window: Duration,
    seen: WallTime,
) -> Member {
    let since = endpoint.since;
    let last_absent = (since.at != WallTime::default()).then_some(since.at);
    let presence = match endpoint.state {
        State::Vanished { until } => Presence::Vanished {
            at: before(until, drain_window),
        },
        _ if is_learned => Presence::Learned,
        _ => Presence::Listed,
    };
    let first_seen = match endpoint.state {
        State::Available {
            slow_start: Some(joined),
        } => joined,
        _ => since.at,
    };
    let discovered = match endpoint.eds_health {
        EdsHealth::Unknown | EdsHealth::Healthy => Discovered::Healthy,
        EdsHealth::Unhealthy | EdsHealth::Timeout => Discovered::Unhealthy,
        EdsHealth::Draining => Discovered::Draining,
        EdsHealth::Degraded => Discovered::Degraded,
    };
    Member {
        listed: Listed {
            weight: endpoint.weight,
            health: Health {
                discovered,
                failed_outlier_check: !is_learned
                    && matches!(endpoint.state, State::Ejected { .. }),
                ..Health::default()
            },
            ..Listed::default()
        },
        presence,
        generation: u64::from(since.generation),
        first_seen,
        last_seen: seen,
        last_absent,
    }
}

/// Is a moment so much later.
fn after(moment: WallTime, time: Duration) -> WallTime {
    let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    WallTime::from_ns(moment.as_ns().saturating_add(time_ns))
}

/// Is a moment so much earlier.
fn before(moment: WallTime, time: Duration) -> WallTime {
    let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    WallTime::from_ns(moment.as_ns().saturating_sub(time_ns))
}
