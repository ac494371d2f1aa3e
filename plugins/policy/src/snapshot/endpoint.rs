//! What is known of one endpoint, and its record.

use alloc::vec::Vec;
use core::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use super::{
    address::{ADDRESS_BYTES, EndpointAddress},
    fields::{Fields, put_moment, rounded},
};
use crate::units::WallTime;

/// Is the length of a record: address 19, cause of the ejection, EDS health and state 1, zone 1,
/// priority 1, counters 3, weight 4, generation 4, instance 8, since 6, until or slow start 6,
/// latency 4, its time 6.
pub const RECORD_BYTES: usize = 63;

/// Is the longest record that a newer minor version may write.
pub const MAX_RECORD_BYTES: usize = 64;

/// Says in a record that the endpoint has no zone.
const NO_ZONE: u8 = u8::MAX;

/// Is what the leader knows of one endpoint. All times are rounded down to milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Is its share among endpoints, as the membership's source states it; 1 where it states none.
    pub weight: NonZeroU32,
    /// Is its priority level, as the membership's source states it: 0 is chosen first, 1 where
    /// nobody of 0 is available, and so on.
    pub priority: u8,
    /// Is its health as we see it.
    pub state: State,
    /// Is its health as the control plane sees it.
    pub eds_health: EdsHealth,
    /// Is since when it is a member.
    pub since: Since,
    /// Is the digest of the instance's name, so that a re-used address is told apart; `None` where
    /// it announced none. A digest of zero counts as one.
    pub instance: Option<NonZeroU64>,
    /// Is the merged estimate of its latency; `None` before the first sample.
    pub latency: Option<Latency>,
    /// Are its merged failures.
    pub failures: Failures,
    /// Says for what it was ejected last; it means nothing where it never was.
    pub ejected_for: EjectionCause,
}

impl Endpoint {
    /// Is an endpoint that is a member since `since` and of which nothing else is known.
    #[must_use]
    pub const fn new(since: Since) -> Self {
        Self {
            weight: NonZeroU32::MIN,
            priority: 0,
            state: State::Unknown,
            eds_health: EdsHealth::Unknown,
            since,
            instance: None,
            latency: None,
            failures: Failures {
                gateway_in_row: 0,
                local_in_row: 0,
                ejections: 0,
            },
            ejected_for: EjectionCause::GatewayRow,
        }
    }

    /// Is what a record keeps of it.
    pub(super) fn rounded(self) -> Self {
        Self {
            state: self.state.rounded(),
            since: Since {
                at: rounded(self.since.at),
                ..self.since
            },
            latency: self.latency.map(Latency::rounded),
            ..self
        }
    }
}

/// Is an endpoint's health. Adding a state is a new major version of the format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Nobody asked it yet.
    Unknown,
    /// Takes requests.
    Available {
        /// Is when its share began to rise; `None` once it has all of it. The first millisecond of
        /// the clock counts as `None`.
        slow_start: Option<WallTime>,
    },
    /// Was ejected; one trial decides whether it comes back.
    Probing,
    /// Takes no requests until then.
    Ejected {
        /// Is when the next trial is due.
        until: WallTime,
    },
    /// Finishes what it has until then, and takes nothing new.
    Draining {
        /// Is the deadline.
        until: WallTime,
    },
    /// Left the membership; its streams live until then.
    Vanished {
        /// Is when it is forgotten.
        until: WallTime,
    },
}

impl State {
    /// Lists the names of all states, in the order of [`Self::index`].
    pub const NAMES: [&str; 6] = [
        "unknown",
        "available",
        "probing",
        "ejected",
        "draining",
        "vanished",
    ];

    /// Is its place in [`Self::NAMES`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.code())
    }

    /// Is its name, as metrics and the status have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.get(self.index()).copied().unwrap_or_default()
    }

    const fn code(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Available { .. } => 1,
            Self::Probing => 2,
            Self::Ejected { .. } => 3,
            Self::Draining { .. } => 4,
            Self::Vanished { .. } => 5,
        }
    }

    /// Is the one moment that a state has; the epoch where it has none.
    fn moment(self) -> WallTime {
        match self {
            Self::Unknown | Self::Probing => WallTime::default(),
            Self::Available { slow_start } => slow_start.unwrap_or_default(),
            Self::Ejected { until } | Self::Draining { until } | Self::Vanished { until } => until,
        }
    }

    fn from_code(code: u8, moment: WallTime) -> Option<Self> {
        Some(match code {
            0 => Self::Unknown,
            1 => Self::Available {
                slow_start: (moment != WallTime::default()).then_some(moment),
            },
            2 => Self::Probing,
            3 => Self::Ejected { until: moment },
            4 => Self::Draining { until: moment },
            5 => Self::Vanished { until: moment },
            _ => return None,
        })
    }

    fn rounded(self) -> Self {
        Self::from_code(self.code(), rounded(self.moment())).unwrap_or(self)
    }
}

/// Is an endpoint's health as the control plane states it (Envoy's `HealthStatus`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum EdsHealth {
    /// States nothing; Envoy takes that for healthy.
    #[default]
    Unknown,
    /// Healthy.
    Healthy,
    /// Not healthy.
    Unhealthy,
    /// Draining: Envoy sends it nothing new.
    Draining,
    /// Its health check timed out.
    Timeout,
    /// Healthy, but to be spared.
    Degraded,
}

impl EdsHealth {
    /// Is its name, as the status has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
            Self::Timeout => "timeout",
            Self::Degraded => "degraded",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Healthy => 1,
            Self::Unhealthy => 2,
            Self::Draining => 3,
            Self::Timeout => 4,
            Self::Degraded => 5,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Unknown,
            1 => Self::Healthy,
            2 => Self::Unhealthy,
            3 => Self::Draining,
            4 => Self::Timeout,
            5 => Self::Degraded,
            _ => return None,
        })
    }
}

/// Is since when an address is a member without interruption.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Since {
    /// Counts how often the address joined: an address that comes back is another endpoint.
    pub generation: u32,
    /// Is when it joined, as this proxy saw it.
    pub at: WallTime,
}

/// Is an estimate of an endpoint's latency and when it held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Latency {
    /// Is the estimate in microseconds.
    pub estimate_us: NonZeroU32,
    /// Is when the estimate was as large; a reader projects it to its own time.
    pub at: WallTime,
}

impl Latency {
    /// Takes an estimate: whole microseconds, at least 1 and at most 2^32 − 1 (71 minutes).
    #[must_use]
    pub fn new(estimate: Duration, at: WallTime) -> Self {
        let estimate_us = u32::try_from(estimate.as_micros()).unwrap_or(u32::MAX);
        Self {
            estimate_us: NonZeroU32::new(estimate_us).unwrap_or(NonZeroU32::MIN),
            at,
        }
    }

    /// Is what a record keeps of it.
    pub(super) const fn rounded(self) -> Self {
        Self {
            at: rounded(self.at),
            ..self
        }
    }

    /// Appends an estimate and its time: zeros where there is none.
    pub(super) fn put(latency: Option<Self>, out: &mut Vec<u8>) {
        let estimate_us = latency.map_or(0, |latency| latency.estimate_us.get());
        out.extend_from_slice(&estimate_us.to_be_bytes());
        put_moment(
            out,
            latency.map_or(WallTime::default(), |latency| latency.at),
        );
    }

    /// Reads what [`Self::put`] wrote; the outer `None` is the end of the bytes.
    pub(super) fn take(fields: &mut Fields<'_>) -> Option<Option<Self>> {
        let estimate_us = fields.u32()?;
        let at = fields.moment()?;
        Some(NonZeroU32::new(estimate_us).map(|estimate_us| Self { estimate_us, at }))
    }
}

/// Are failures of an endpoint, merged over the workers. Each saturates at 255, so a threshold
/// above 255 is never reached.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Failures {
    /// Is how many gateway failures came in a row.
    pub gateway_in_row: u8,
    /// Is how many local-origin failures (connect, reset, timeout) came in a row.
    pub local_in_row: u8,
    /// Is how often it was ejected; the leader counts it and lets it fall.
    pub ejections: u8,
}

/// Says for what kind of failures an endpoint was ejected. Adding one is a new major version of the
/// format.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum EjectionCause {
    /// For gateway failures in a row.
    #[default]
    GatewayRow,
    /// For local-origin failures in a row.
    LocalRow,
    /// It failed more than the others.
    ExcessRate,
    /// Its trial failed.
    TrialFailed,
}

impl EjectionCause {
    /// Lists all of them, in the order of [`Self::index`].
    pub const ALL: [Self; 4] = [
        Self::GatewayRow,
        Self::LocalRow,
        Self::ExcessRate,
        Self::TrialFailed,
    ];

    /// Is its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Is the name in metrics, logs and the status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GatewayRow => "gateway_row",
            Self::LocalRow => "local_row",
            Self::ExcessRate => "excess_rate",
            Self::TrialFailed => "trial_failed",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::GatewayRow => 0,
            Self::LocalRow => 1,
            Self::ExcessRate => 2,
            Self::TrialFailed => 3,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::GatewayRow,
            1 => Self::LocalRow,
            2 => Self::ExcessRate,
            _ => Self::TrialFailed,
        }
    }
}

/// Appends a record.
pub(super) fn put_record(
    out: &mut Vec<u8>,
    address: EndpointAddress,
    endpoint: &Endpoint,
    zone: Option<u8>,
) {
    out.extend_from_slice(&address.to_key());
    let cause = endpoint.ejected_for.code() << 6;
    let health = endpoint.eds_health.code() << 3;
    let failures = endpoint.failures;
    out.extend_from_slice(&[
        cause | health | endpoint.state.code(),
        zone.unwrap_or(NO_ZONE),
        endpoint.priority,
        failures.gateway_in_row,
        failures.local_in_row,
        failures.ejections,
    ]);
    out.extend_from_slice(&endpoint.weight.get().to_be_bytes());
    out.extend_from_slice(&endpoint.since.generation.to_be_bytes());
    let instance = endpoint.instance.map_or(0, NonZeroU64::get);
    out.extend_from_slice(&instance.to_be_bytes());
    put_moment(out, endpoint.since.at);
    put_moment(out, endpoint.state.moment());
    Latency::put(endpoint.latency, out);
}

/// Is a record that was read.
pub(super) type Record = (EndpointAddress, Endpoint, Option<u8>);

/// Reads a record; `None` where a field is out of its range. Whether the zone exists is not known
/// here.
pub(super) fn read_record(record: &[u8]) -> Option<Record> {
    let mut fields = Fields(record);
    let address = EndpointAddress::from_key(&fields.take::<ADDRESS_BYTES>()?)?;
    let [
        codes,
        zone,
        priority,
        gateway_in_row,
        local_in_row,
        ejections,
    ] = fields.take()?;
    let weight = NonZeroU32::new(fields.u32()?)?;
    let generation = fields.u32()?;
    let instance = NonZeroU64::new(fields.u64()?);
    let at = fields.moment()?;
    let moment = fields.moment()?;
    let endpoint = Endpoint {
        weight,
        priority,
        state: State::from_code(codes & 7, moment)?,
        eds_health: EdsHealth::from_code(codes >> 3 & 7)?,
        since: Since { generation, at },
        instance,
        latency: Latency::take(&mut fields)?,
        failures: Failures {
            gateway_in_row,
            local_in_row,
            ejections,
        },
        ejected_for: EjectionCause::from_code(codes >> 6),
    };
    Some((address, endpoint, (zone != NO_ZONE).then_some(zone)))
}
