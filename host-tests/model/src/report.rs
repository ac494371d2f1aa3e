//! What came of a scenario: a row per request, figures over all of them, and what was expected of the figures.
//!
//! The closed loop and the real Envoy fill the same rows, so that they can be compared. A [`Collector`] counts them, in the
//! memory of what is told and not of what came; its [`Report`] has each figure under one name ([`figures`]), which
//! [`Expectation`]s compare.

mod collector;
mod expect;
mod figures;
mod names;
mod sessions;
mod tally;
mod times;

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;
use serde_json::Value;

use crate::router::Flags;
use crate::scenario::{Scenario, Source};
use crate::units::Span;

pub use collector::Collector;
pub use expect::{Expectation, Verdict, Window};
pub use figures::{EndpointFigures, Figures, SessionsFigures, SocketsFigures, SourceFigures};
pub use names::{FigureName, figures};
pub use times::TimesFigures;

/// What became of one request. Endpoints are addresses as the scenario has them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Row {
    /// The source, by its position in the scenario.
    pub source: usize,
    /// The request within its source, from 0.
    pub number: u64,
    /// Copy or client within the source.
    pub client: u64,
    /// When its headers came, in nanoseconds since the scenario began.
    pub started_ns: u64,
    /// The worker that had it.
    pub worker: u32,
    /// Method.
    pub method: String,
    /// Path.
    pub path: String,
    /// What the client was answered; `None`: nothing, its connection was cut or it went away.
    pub status: Option<u16>,
    /// Envoy's response flags.
    #[serde(serialize_with = "written")]
    pub flags: Flags,
    /// Envoy's response code details.
    pub details: String,
    /// The endpoint of each attempt, in order; `None`: there was none to choose, or it isn't known.
    pub endpoints: Vec<Option<String>>,
    /// How many attempts the proxy says that there were.
    pub attempts: u32,
    /// From its headers to the answer's headers, in nanoseconds; `None` without an answer.
    pub first_byte_ns: Option<u64>,
    /// From its headers to its end, in nanoseconds.
    pub total_ns: u64,
    /// Bytes of the answer's body.
    pub body_bytes: u64,
    /// What happened on it as a WebSocket; of every request that asked for one, also when it was refused.
    pub socket: Option<Socket>,
}

/// What happened on a WebSocket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Socket {
    /// Messages that the client sent.
    pub sent: u64,
    /// Messages that it got back.
    pub received: u64,
    /// The code it was closed with, at the client; `None`: its connection was cut (1006).
    pub close_code: Option<u16>,
}

/// Takes what a run reports, as it happens: the report, a file, or both.
pub trait Sink {
    /// A request has ended.
    ///
    /// # Errors
    /// What it is written to fails.
    fn row(&mut self, row: &Row) -> io::Result<()>;

    /// So many requests are under way at an endpoint now, from all workers. Called when the number has grown.
    fn in_flight(&mut self, endpoint: &str, now_ns: u64, count: u32);

    /// A figure of the whole run that rows don't show, at the run's end: one of [`RUN_FIGURES`], or `metrics.NAME` for a
    /// counter or gauge of a plugin.
    fn figure(&mut self, name: &str, value: f64);

    /// A plugin logged a line: its level and text.
    fn log(&mut self, _level: &str, _message: &str) {}

    /// A plugin trapped in a callback on a thread.
    fn trap(&mut self, _plugin: &str, _callback: &str, _thread: &str, _message: &str) {}
}

/// Figures of a whole run that the driver reports, with what they are.
pub const RUN_FIGURES: [(&str, &str); 4] = [
    ("call_outs", "calls that plugins made"),
    ("fuel_per_request", "instructions of plugins per request"),
    ("guest_faults", "callbacks that ran out of fuel or memory"),
    (
        "traps",
        "callbacks that trapped, those without fuel or memory too",
    ),
];

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The seed of the run.
    pub seed: u64,
    /// Of all requests.
    pub overall: Figures,
    /// What the driver told of the run.
    pub run: BTreeMap<String, f64>,
    /// Of the windows that expectations name.
    pub windows: Vec<WindowFigures>,
    /// Of equal parts of the time: of seconds, or of more where that would be more than 600.
    pub series: Vec<Second>,
}

/// What is told of a window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowFigures {
    /// The window as `10s..20s`.
    pub during: String,
    /// Of the requests that began in it.
    pub figures: Figures,
}

/// A part of the series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Second {
    /// Its beginning.
    pub from: Span,
    /// Requests that began in it.
    pub requests: u64,
    /// Their errors.
    pub errors: u64,
    /// Their attempts.
    pub attempts: u64,
    /// The mean time to their answers' headers.
    pub latency_ms: Option<f64>,
}

impl Report {
    /// Returns a figure by its name. `None`: there is no such figure, or nothing that it could be told of.
    #[must_use]
    pub fn figure(&self, path: &str, window: Option<Window>) -> Option<f64> {
        if let Some(value) = self.run.get(path) {
            return window.is_none().then_some(*value);
        }
        let figures = match window {
            Some(window) => {
                let during = window.to_string();
                &self.windows.iter().find(|it| it.during == during)?.figures
            }
            None => &self.overall,
        };
        // Of no requests nothing can be told but that there were none: an expectation about them would hold by chance.
        if figures.requests == 0 && path != "requests" {
            return None;
        }
        let path = match path.strip_prefix("slower_than.") {
            Some(span) => format!("slower_than.{}", Span::parse(span).ok()?),
            None => path.to_owned(),
        };
        look_up(&serde_json::to_value(figures).ok()?, &path)
    }
}

/// Counts by what may not have come at all: then there were none.
const COUNTS: [&str; 4] = ["status.", "flags.", "details.", "websockets.closes."];

fn look_up(figures: &Value, path: &str) -> Option<f64> {
    let mut value = figures;
    let mut rest = path;
    while !rest.is_empty() {
        let fields = value.as_object()?;
        // Names may have dots of their own: the longest that fits.
        let found = fields
            .iter()
            .filter_map(|(name, value)| {
                let behind = rest.strip_prefix(name.as_str())?;
                let behind = match behind.strip_prefix('.') {
                    Some(behind) => behind,
                    None if behind.is_empty() => behind,
                    None => return None,
                };
                Some((behind, value))
            })
            .min_by_key(|(behind, _)| behind.len());
        let Some((behind, next)) = found else {
            let is_count = COUNTS.iter().any(|before| path.starts_with(before));
            return is_count.then_some(0.0);
        };
        (rest, value) = (behind, next);
    }
    value.as_f64()
}

/// Returns the endpoints of a scenario, each with the position of its cluster and its weight.
fn endpoints(scenario: &Scenario) -> Vec<(String, usize, u32)> {
    let mut all = Vec::new();
    for (cluster, of) in scenario.clusters.iter().enumerate() {
        for endpoint in &of.endpoints {
            let each = endpoint.each();
            all.extend(each.map(|it| (it.address.to_string(), cluster, it.weight)));
        }
    }
    all
}

/// Returns the names of a scenario's sources; those without one are called by their number.
fn sources(scenario: &Scenario) -> Vec<String> {
    let named = scenario.traffic.iter().enumerate();
    named
        .map(|(index, source)| {
            let name = match source {
                Source::Generated(generated) => &generated.name,
                Source::Recording(recorded) => &recorded.name,
                Source::Requests(scripted) => &scripted.name,
            };
            name.clone().unwrap_or_else(|| index.to_string())
        })
        .collect()
}

fn written<S: serde::Serializer>(flags: &Flags, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&flags.names())
}

impl Row {
    /// Whether it was answered with 5xx or not at all.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.status.is_none_or(|status| status >= 500)
    }

    /// Returns the endpoint that answered.
    #[must_use]
    pub fn served_by(&self) -> Option<&str> {
        self.endpoints.last()?.as_deref()
    }
}

#[cfg(test)]
mod tests;
