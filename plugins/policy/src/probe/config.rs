//! The configuration of the probes. Every default stands here.

use alloc::{format, string::String, vec::Vec};
use core::{num::NonZeroU8, ops::RangeInclusive, time::Duration};

use serde::Deserialize;

use super::machine::Thresholds;
use crate::config::{
    Problem, Problems, format_duration, from_json, parse_duration, write_json_string,
};

/// Is what a probe says it is.
pub const USER_AGENT: &str = "tidegate-probe/1";

/// Is the range of the interval. Below a second an endpoint of many gateways does little else than
/// answer probes; above five minutes three failures take a quarter of an hour to notice.
const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

/// Is the range of the timeout. Below 100 ms the tick that a call-out waits for is most of it;
/// above a minute a dead endpoint is noticed by its traffic first.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// Is the range of both thresholds. 0 would change a verdict without an answer; above 10 one that
/// flickers keeps its old verdict for as long as it likes.
const STREAK: RangeInclusive<u32> = 1..=10;

/// Is the range of the probes that a tick starts. With 0 nobody is probed; above 1024 a
/// tick is no slice any more: each probe is a call-out.
const PER_TICK: RangeInclusive<u32> = 1..=1024;

/// Is the longest path, in bytes. Proxies refuse longer request lines, some earlier than others.
const MAX_PATH_BYTES: usize = 1024;

/// Is the longest host, in bytes: a name in the DNS has 253, a port 6.
/// SOURCE: RFC 1035 section 2.3.4.
const MAX_HOST_BYTES: usize = 259;

/// Asks every endpoint whether it is ready.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[cfg_attr(feature = "schema", schemars(rename = "Probe"))]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub struct RawConfig {
    /// The path that says whether an endpoint is ready, with a query if there is one.
    path: String,
    /// The `host` of the request; null for the endpoint's address.
    host: Option<String>,
    /// How often each endpoint is asked: 1s to 5m.
    interval: String,
    /// How long an answer may take: 100ms to 1m, at most `interval`.
    timeout: String,
    /// How many failures in a row make an endpoint unhealthy: 1 to 10.
    unhealthy_after: u32,
    /// How many successes in a row make an endpoint healthy: 1 to 10.
    healthy_after: u32,
    /// What an endpoint counts as before its first streak is whole.
    initial: Initial,
    /// Whether endpoints whose traffic succeeds are asked less often, down to every third time.
    probe_economy: bool,
    /// How many probes one tick starts at most: 1 to 1024.
    probes_per_tick: u32,
}

/// Says what an endpoint counts as before its first streak is whole.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(expecting = "a string", rename_all = "snake_case")]
pub enum Initial {
    /// It takes traffic: whoever made it a member thought it ready, and a gateway that restarts
    /// sends nobody away.
    #[default]
    Healthy,
    /// It takes none until it has proven itself.
    Unhealthy,
}

impl Initial {
    /// Is the name in the configuration.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            path: String::from("/health/ready"),
            host: None,
            interval: String::from("5s"),
            timeout: String::from("3s"),
            unhealthy_after: 3,
            healthy_after: 2,
            initial: Initial::default(),
            probe_economy: false,
            probes_per_tick: 64,
        }
    }
}

/// Is the checked configuration of the probes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    path: String,
    host: Option<String>,
    interval: Duration,
    timeout: Duration,
    thresholds: Thresholds,
    initial: Initial,
    probe_economy: bool,
    probes_per_tick: u32,
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

    /// Checks a configuration that is part of another, at `path` (`$.probe`). `None` exactly where
    /// it added a problem.
    pub fn check(raw: &RawConfig, path: &str, problems: &mut Problems) -> Option<Self> {
        let interval = check_duration(&raw.interval, path, "interval", &INTERVAL, problems);
        let timeout = check_duration(&raw.timeout, path, "timeout", &TIMEOUT, problems);
        let mut fits = true;
        if let (Some(interval), Some(timeout)) = (interval, timeout)
            && timeout > interval
        {
            fits = false;
            problems.push(Problem::new(
                format!("{path}.timeout"),
                "timeout-above-interval",
                format!(
                    "must be at most {path}.interval ({:?}), got {:?}",
                    raw.interval, raw.timeout
                ),
                "an endpoint has one probe at a time",
            ));
        }
        let text = check_text(raw, path, problems);
        let unhealthy_after = check_streak(raw.unhealthy_after, path, "unhealthy_after", problems);
        let healthy_after = check_streak(raw.healthy_after, path, "healthy_after", problems);
        let per_tick = check_number(
            raw.probes_per_tick,
            path,
            ("probes_per_tick", "probes-per-tick-out-of-range"),
            &PER_TICK,
            problems,
        );
        (fits && text).then_some(())?;
        Some(Self {
            path: raw.path.clone(),
            host: raw.host.clone(),
            interval: interval?,
            timeout: timeout?,
            thresholds: Thresholds {
                unhealthy_after: unhealthy_after?,
                healthy_after: healthy_after?,
            },
            initial: raw.initial,
            probe_economy: raw.probe_economy,
            probes_per_tick: per_tick?,
        })
    }

    /// Appends the configuration as JSON with every default, in the order of the documentation, for
    /// a digest. Reading it gives an equal one.
    pub fn write_json(&self, json: &mut String) {
        json.push_str("{\"path\":");
        write_json_string(json, &self.path);
        json.push_str(",\"host\":");
        match &self.host {
            Some(host) => write_json_string(json, host),
            None => json.push_str("null"),
        }
        json.push_str(&format!(
            ",\"interval\":\"{}\",\"timeout\":\"{}\",\"unhealthy_after\":{},\"healthy_after\":{},\
             \"initial\":\"{}\",\"probe_economy\":{},\"probes_per_tick\":{}}}",
            format_duration(self.interval),
            format_duration(self.timeout),
            self.thresholds.unhealthy_after,
            self.thresholds.healthy_after,
            self.initial.as_str(),
            self.probe_economy,
            self.probes_per_tick,
        ));
    }

    /// Lists the headers of a probe of the endpoint with this address (`ip:port`). The adapter adds
    /// the one that steers it there, and sends no body.
    #[must_use]
    pub fn headers<'a>(&'a self, address: &'a str) -> [(&'static str, &'a str); 4] {
        [
            (":method", "GET"),
            (":path", &self.path),
            (":authority", self.host.as_deref().unwrap_or(address)),
            ("user-agent", USER_AGENT),
        ]
    }

    /// Is the time from one probe of an endpoint to its next, before jitter and economy.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// Is how long an answer may take. From it on, it is too late.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Is how many in a row change a verdict.
    #[must_use]
    pub const fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// Is what an endpoint counts as before its first streak is whole.
    #[must_use]
    pub const fn initial(&self) -> Initial {
        self.initial
    }

    /// Says whether endpoints whose traffic succeeds are asked less often.
    #[must_use]
    pub const fn has_probe_economy(&self) -> bool {
        self.probe_economy
    }

    /// Is how many probes one tick starts at most.
    #[must_use]
    pub const fn probes_per_tick(&self) -> u32 {
        self.probes_per_tick
    }
}

fn check_duration(
    text: &str,
    path: &str,
    field: &str,
    range: &RangeInclusive<Duration>,
    problems: &mut Problems,
) -> Option<Duration> {
    let path = format!("{path}.{field}");
    match parse_duration(&path, text) {
        Ok(duration) if range.contains(&duration) => return Some(duration),
        Ok(_) => {
            let (least, most) = (
                format_duration(*range.start()),
                format_duration(*range.end()),
            );
            problems.push(Problem::new(
                path,
                if field == "interval" {
                    "interval-out-of-range"
                } else {
                    "timeout-out-of-range"
                },
                format!("must be from {least} to {most}, got {text:?}"),
                "",
            ));
        }
        Err(problem) => problems.push(problem),
    }
    None
}

fn check_number(
    number: u32,
    path: &str,
    (field, code): (&str, &'static str),
    range: &RangeInclusive<u32>,
    problems: &mut Problems,
) -> Option<u32> {
    if range.contains(&number) {
        return Some(number);
    }
    problems.push(Problem::new(
        format!("{path}.{field}"),
        code,
        format!(
            "must be from {} to {}, got {number}",
            range.start(),
            range.end()
        ),
        "",
    ));
    None
}

fn check_streak(
    number: u32,
    path: &str,
    field: &str,
    problems: &mut Problems,
) -> Option<NonZeroU8> {
    let rule = (field, "threshold-out-of-range");
    let number = check_number(number, path, rule, &STREAK, problems)?;
    u8::try_from(number).ok().and_then(NonZeroU8::new)
}

/// Checks path and host; says whether both are right.
fn check_text(raw: &RawConfig, path: &str, problems: &mut Problems) -> bool {
    let right = |text: &str, most: usize, others: &[u8]| {
        let legal = |byte: u8| byte.is_ascii_graphic() && !others.contains(&byte);
        !text.is_empty() && text.len() <= most && text.bytes().all(legal)
    };
    let path_right = raw.path.starts_with('/') && right(&raw.path, MAX_PATH_BYTES, b"#");
    if !path_right {
        problems.push(Problem::new(
            format!("{path}.path"),
            "probe-path-invalid",
            format!(
                "must begin with / and hold at most {MAX_PATH_BYTES} visible ASCII characters \
                 and no #, got {:?}",
                raw.path
            ),
            "",
        ));
    }
    let host_right = raw
        .host
        .as_ref()
        .is_none_or(|host| right(host, MAX_HOST_BYTES, b"/?#@\\"));
    if !host_right {
        problems.push(Problem::new(
            format!("{path}.host"),
            "probe-host-invalid",
            format!(
                "must be a host, with a port if it has one, of at most {MAX_HOST_BYTES} \
                 characters, got {:?}",
                raw.host.as_deref().unwrap_or_default()
            ),
            "write null for the endpoint's own address",
        ));
    }
    path_right && host_right
}
