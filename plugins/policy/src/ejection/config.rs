//! The configuration of ejections. Every default stands here.

use alloc::{format, string::String, vec::Vec};
use core::{num::NonZeroU8, ops::RangeInclusive, time::Duration};

use serde::Deserialize;

use super::machine::Times;
use crate::{
    config::{Problem, Problems, format_duration, from_json, parse_duration},
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
        let mut check = Check { path, problems };
        let gateway = check.row("gateway_failures_in_row", raw.gateway_failures_in_row);
        let local = check.row("local_failures_in_row", raw.local_failures_in_row);
        let excess = check.ratio("excess_failure_ratio", raw.excess_failure_ratio, &EXCESS);
        let min_requests = check.number("min_requests", raw.min_requests, &MIN_REQUESTS);
        let window = check.duration("window", &raw.window, &WINDOW);
        let time = check.duration("time", &raw.time, &TIME);
        let max_time = check.duration("max_time", &raw.max_time, &TIME);
        let all = 0..=Ppm::ONE.as_u32();
        let min_available = check.ratio("min_available_ratio", raw.min_available_ratio, &all);
        let (time, max_time) = (time?, max_time?);
        if time > max_time {
            problems.push(Problem::new(
                format!("{path}.max_time"),
                "ejection-max-time-below-time",
                format!(
                    "must be at least {path}.time ({:?}), got {:?}",
                    raw.time, raw.max_time
                ),
                "the first ejection is the shortest",
            ));
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
            self.excess_failure.to_ratio_text(),
            self.min_requests,
            format_duration(self.window),
            format_duration(self.times.time),
            format_duration(self.times.max_time),
            self.min_available.to_ratio_text(),
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

/// Checks fields below one path.
struct Check<'a> {
    path: &'a str,
    problems: &'a mut Problems,
}

impl Check<'_> {
    fn row(&mut self, field: &str, number: u32) -> Option<NonZeroU8> {
        let number = self.number(field, number, &ROW)?;
        u8::try_from(number).ok().and_then(NonZeroU8::new)
    }

    fn number(&mut self, field: &str, number: u32, range: &RangeInclusive<u32>) -> Option<u32> {
        if range.contains(&number) {
            return Some(number);
        }
        let (least, most) = (range.start(), range.end());
        self.refuse(
            field,
            "ejection-number-out-of-range",
            format!("must be from {least} to {most}, got {number}"),
            "",
        );
        None
    }

    fn ratio(&mut self, field: &str, ratio: f64, range: &RangeInclusive<u32>) -> Option<Ppm> {
        let checked = Ppm::from_ratio(ratio).filter(|ppm| range.contains(&ppm.as_u32()));
        if checked.is_none() {
            let bound = |ppm: &u32| Ppm::try_new(*ppm).unwrap_or_default().to_ratio_text();
            let (least, most) = (bound(range.start()), bound(range.end()));
            self.refuse(
                field,
                "ejection-ratio-out-of-range",
                format!("must be from {least} to {most}, got {ratio}"),
                "ratios are fractions, 20 % is 0.2",
            );
        }
        checked
    }

    fn duration(
        &mut self,
        field: &str,
        text: &str,
        range: &RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let duration = match parse_duration(&format!("{}.{field}", self.path), text) {
            Ok(duration) => duration,
            Err(problem) => {
                self.problems.push(problem);
                return None;
            }
        };
        if range.contains(&duration) {
            return Some(duration);
        }
        let least = format_duration(*range.start());
        let most = format_duration(*range.end());
        self.refuse(
            field,
            "ejection-duration-out-of-range",
            format!("must be from {least} to {most}, got {text:?}"),
            "",
        );
        None
    }

    fn refuse(&mut self, field: &str, code: &'static str, message: String, help: &'static str) {
        self.problems.push(Problem::new(
            format!("{}.{field}", self.path),
            code,
            message,
            help,
        ));
    }
}
