//! What a snapshot says of an endpoint of which several have an opinion.

use core::time::Duration;

use super::machine;
use crate::{panic_mode::Fitness, snapshot::State, units::WallTime};

/// Is what traffic says of an endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It takes no requests.
    Ejected {
        /// Is about when its trial is due.
        until: WallTime,
    },
    /// It takes requests.
    Serving {
        /// Is when it was readmitted; `None` where it was never ejected.
        readmitted: Option<WallTime>,
    },
    /// The next attempt or probe decides.
    Trial,
}

/// Brings what traffic says into what membership, control plane and probes say. Total.
///
/// | these say | traffic: serving | traffic: ejected | traffic: trial |
/// | --- | --- | --- | --- |
/// | `Vanished` | `Vanished` | `Vanished` | `Vanished` |
/// | `Draining` | `Draining` | `Draining` | `Draining` |
/// | `Ejected`: not ready | `Ejected` | `Ejected` | `Ejected` |
/// | `Unknown` | `Unknown`; once readmitted `Available`, rising | `Ejected` until then | `Probing` |
/// | `Available` | `Available`, rising from the later of joining and readmission | `Ejected` until then | `Probing` |
///
/// `Probing` comes from traffic alone; where these say it, it is taken for `Unknown`. Who leaves or
/// is not ready is that whatever its traffic does: a trial would send a request to someone who asked
/// for none.
#[must_use]
pub fn combine(others: State, traffic: Verdict) -> State {
    let slow_start = match others {
        State::Vanished { .. } | State::Draining { .. } | State::Ejected { .. } => return others,
        State::Unknown | State::Probing => None,
        State::Available { slow_start } => slow_start,
    };
    match traffic {
        Verdict::Ejected { until } => State::Ejected { until },
        Verdict::Trial => State::Probing,
        Verdict::Serving { readmitted: None } => match others {
            State::Probing => State::Unknown,
            _ => others,
        },
        Verdict::Serving { readmitted } => State::Available {
            slow_start: slow_start.max(readmitted),
        },
    }
}

/// Is what the others said of an endpoint whose published state is this, as far as that can be told:
/// where traffic took it out, `Available`. For a new leader, whose own prober and source would else
/// take an ejected endpoint for one that is not ready.
#[must_use]
pub fn others_of(published: State, now: WallTime) -> State {
    match Fitness::of(published, now) {
        Fitness::Ejected | Fitness::Probing => State::Available { slow_start: None },
        Fitness::Available | Fitness::Draining | Fitness::Gone | Fitness::Unhealthy => published,
    }
}

impl Verdict {
    /// Is the verdict of a state: `until` is its moment on the wall.
    pub(super) const fn of(
        state: machine::State,
        until: WallTime,
        readmitted: Option<WallTime>,
    ) -> Self {
        match state {
            machine::State::Ejected { .. } => Self::Ejected { until },
            machine::State::Trial { .. } => Self::Trial,
            machine::State::Serving { .. } | machine::State::Absent => Self::Serving { readmitted },
        }
    }
}

/// Is a moment so much later.
pub(super) fn after(moment: WallTime, time: Duration) -> WallTime {
    let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    WallTime::from_ns(moment.as_ns().saturating_add(time_ns))
}
