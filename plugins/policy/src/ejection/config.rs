//! The configuration of ejections. Every default stands here.

use alloc::{format, string::String, vec::Vec};
use core::{num::NonZeroU8, ops::RangeInclusive, time::Duration};

use serde::Deserialize;

use super::machine::Times;
use crate::{
    config::{Fields, Problem, Problems, format_duration, format_ppm, from_json},
    units::Ppm,
};

/// Is the range of both rows. A row of 1 ejects for every single failure; above 100 an endpoint
/// with little traffic fails for minutes first, and a report's row ends at 255.
const ROW: RangeInclusive<u32> = 1..=100;

/// Is the range of the excess, in millionths. Under 5 % the pool's own noise is as large; above
/// 100 % there is nothing.
const EXCESS: RangeInclusive<u32> = 50_000..=1_000_000;

/// Is the range of the minimum volume. Under 5 a rate is one failure's; above 10 000 hardly an
/// endpoint has as many attempts in a window.
const MIN_REQUESTS: RangeInclusive<u32> = 5..=10_000;

/// Is the range of the window. Below a second it is a few reports; above five minutes what was long
/// ago ejects.
const WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

/// Is the range of both times. Below a second an ejection is over before all workers know of it;
/// above an hour nobody remembers why an endpoint has no traffic.
const TIME: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// Ejects endpoints for their traffic's failures.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "Ejection"))]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub struct RawConfig {
    /// How many gateway failures in a row eject an endpoint: 1 to 100.
    gateway_failures_in_row: u32,
    /// How many connect failures, resets and time-outs in a row eject an endpoint: 1 to 100.
    local_failures_in_row: u32,
    /// How far above the pool's median a failure rate ejects an endpoint: 0.05 to 1.0.
    excess_failure_ratio: f64,
    /// How many attempts of an endpoint in a window a failure rate needs: 5 to 10000.
    min_requests: u32,
    /// Over how long failure rates are taken: 1s to 5m.
    window: String,
    /// How long the first ejection lasts, and for how long an endpoint serves until one is
    /// forgiven: 1s to 1h.
    time: String,
    /// How long the longest ejection lasts: `time` to 1h.
    max_time: String,
    /// The share of the endpoints that ejections leave available: 0.0 to 1.0.
    min_available_ratio: f64,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            gateway_failures_in_row: 5,
            local_failures_in_row: 5,
            excess_failure_ratio: 0.2,
            min_requests: 20,
            window: String::from("10s"),
            time: String::from("30s"),
            max_time: String::from("5m"),
            min_available_ratio: 0.5,
        }
    }
}

/// Is the checked configuration of ejections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Config {
    pub(super) gateway_in_row: NonZeroU8,
    pub(super) local_in_row: NonZeroU8,
    pub(super) excess_failure: Ppm,
    pub(super) min_requests: u32,
    pub(super) window: Duration,
    pub(super) times: Times,
    pub(super) min_available: Ppm,
}

impl Config {
    /// Reads and checks a configuration that stands alone; `{}` has every default.
    ///
    /// # Errors
    /// All problems, sorted by path. What is wrong with the shape is found alone.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let raw = from_json(text, "").map_err(|problem| Vec::from([problem]))?;
        let mut problems = Problems::new();
        Self::check(&raw, "$", &mut problems).ok_or_else(|| problems.into_sorted())
    }

    /// Checks a configuration at `path` (`$.endpoints.ejection`). `None` exactly where it added a
    /// problem.
    pub fn check(raw: &RawConfig, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields {
            path: path.into(),
            problems,
        };
        let row = |number: Option<u32>| {
            number
                .and_then(|number| u8::try_from(number).ok())
                .and_then(NonZeroU8::new)
        };
        let gateway =
            row(fields.number("gateway_failures_in_row", raw.gateway_failures_in_row, &ROW));
        let local = row(fields.number("local_failures_in_row", raw.local_failures_in_row, &ROW));
        let excess = fields.ratio("excess_failure_ratio", raw.excess_failure_ratio, &EXCESS);
        let min_requests = fields.number("min_requests", raw.min_requests, &MIN_REQUESTS);
        let window = fields.duration("window", &raw.window, &WINDOW);
        let time = fields.duration("time", &raw.time, &TIME);
        let max_time = fields.duration("max_time", &raw.max_time, &TIME);
        let all = 0..=Ppm::ONE.as_u32();
        let min_available = fields.ratio("min_available_ratio", raw.min_available_ratio, &all);
        let (time, max_time) = (time?, max_time?);
        if time > max_time {
            let message = format!(
                "must be at least {path}.time ({:?}), got {:?}",
                raw.time, raw.max_time
            );
            let help = "the first ejection is the shortest";
            fields.refuse("max_time", "max-time-below-time", message, help);
            return None;
        }
        Some(Self {
            gateway_in_row: gateway?,
            local_in_row: local?,
            excess_failure: excess?,
            min_requests: min_requests?,
            window: window?,
            times: Times { time, max_time },
            min_available: min_available?,
        })
    }

    /// Appends the configuration as JSON with every default, in the order of the documentation.
    /// Reading it gives an equal one.
    pub fn write_json(&self, json: &mut String) {
        json.push_str(&format!(
            "{{\"gateway_failures_in_row\":{},\"local_failures_in_row\":{},\
             \"excess_failure_ratio\":{},\"min_requests\":{},\"window\":\"{}\",\"time\":\"{}\",\
             \"max_time\":\"{}\",\"min_available_ratio\":{}}}",
            self.gateway_in_row,
            self.local_in_row,
            format_ppm(self.excess_failure.as_u32()),
            self.min_requests,
            format_duration(self.window),
            format_duration(self.times.time),
            format_duration(self.times.max_time),
            format_ppm(self.min_available.as_u32()),
        ));
    }

    /// Is how long ejections last.
    #[must_use]
    pub const fn times(&self) -> Times {
        self.times
    }

    /// Is the share of the endpoints that ejections leave available.
    #[must_use]
    pub const fn min_available(&self) -> Ppm {
        self.min_available
    }
}
