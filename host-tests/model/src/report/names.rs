//! The names of figures.

use super::{RUN_FIGURES, endpoints, sources};
use crate::router::Flags;
use crate::scenario::Scenario;
use crate::units::Span;

/// A figure's name, or the form of several names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FigureName {
    /// The name; one part in capitals stands for what differs: `ADDRESS`, `CODE`, `DETAILS`, `FLAG`, `NAME`, `SOURCE` or `SPAN`.
    pub form: &'static str,
    /// What it is a number of.
    pub unit: &'static str,
    /// What it is.
    pub what: &'static str,
}

const fn name(form: &'static str, unit: &'static str, what: &'static str) -> FigureName {
    FigureName { form, unit, what }
}

const MS: &str = "ms";
const COUNT: &str = "count";
const RATIO: &str = "ratio";

/// All figures of periods and of runs.
const FIGURES: [FigureName; 61] = [
    name("requests", COUNT, "requests"),
    name(
        "answered",
        COUNT,
        "requests that were answered, with whatever status",
    ),
    name(
        "errors",
        COUNT,
        "requests that were answered with 5xx or not at all",
    ),
    name("error_ratio", RATIO, "errors per request"),
    name("status.CODE", COUNT, "answers with this status"),
    name("attempts", COUNT, "attempts"),
    name("attempts_per_request", RATIO, "attempts per request"),
    name("retries", COUNT, "attempts after a request's first"),
    name(
        "latency_ms.p50",
        MS,
        "from a request's headers to those of its answer: half took at most this long",
    ),
    name("latency_ms.p90", MS, "90 % did"),
    name("latency_ms.p95", MS, "95 % did"),
    name("latency_ms.p99", MS, "99 % did"),
    name("latency_ms.p999", MS, "99.9 % did"),
    name("latency_ms.max", MS, "all did"),
    name("latency_ms.mean", MS, "the mean"),
    name(
        "total_ms.p50",
        MS,
        "from a request's headers to its end, also without an answer: half took at most this long",
    ),
    name("total_ms.p90", MS, "90 % did"),
    name("total_ms.p95", MS, "95 % did"),
    name("total_ms.p99", MS, "99 % did"),
    name("total_ms.p999", MS, "99.9 % did"),
    name("total_ms.max", MS, "all did"),
    name("total_ms.mean", MS, "the mean"),
    name(
        "slower_than.SPAN",
        RATIO,
        "requests that waited longer than this for their answer or its absence, such as `slower_than.1s`",
    ),
    name(
        "flags.FLAG",
        COUNT,
        "requests with this response flag, such as `flags.URX`",
    ),
    name(
        "details.DETAILS",
        COUNT,
        "requests with these response code details, such as `details.via_upstream`",
    ),
    name("local_replies", COUNT, "answers that no endpoint gave"),
    name(
        "balance",
        RATIO,
        "how many times its fair share of the attempts the busiest endpoint of a cluster had",
    ),
    name("sessions.count", COUNT, "clients that had a request"),
    name(
        "sessions.moved",
        COUNT,
        "clients that were served by another endpoint than before",
    ),
    name("sessions.moves", COUNT, "how often that happened"),
    name("websockets.opened", COUNT, "upgrades that were taken"),
    name("websockets.refused", COUNT, "upgrades that weren't"),
    name("websockets.sent", COUNT, "messages that clients sent"),
    name("websockets.received", COUNT, "messages that clients got"),
    name(
        "websockets.cut",
        COUNT,
        "WebSockets that ended without a Close: a client's 1006",
    ),
    name(
        "websockets.closes.CODE",
        COUNT,
        "WebSockets that were closed with this code, at the client",
    ),
    name(
        "sources.SOURCE.requests",
        COUNT,
        "requests of this source: its `name`, else its number from 0",
    ),
    name("sources.SOURCE.errors", COUNT, "its errors"),
    name(
        "sources.SOURCE.error_ratio",
        RATIO,
        "its errors per request",
    ),
    name("sources.SOURCE.attempts", COUNT, "its attempts"),
    name(
        "sources.SOURCE.attempts_per_request",
        RATIO,
        "its attempts per request",
    ),
    name(
        "sources.SOURCE.latency_ms.p50",
        MS,
        "half of its requests took at most this long to the answer's headers",
    ),
    name("sources.SOURCE.latency_ms.p95", MS, "95 % did"),
    name("sources.SOURCE.latency_ms.p99", MS, "99 % did"),
    name("sources.SOURCE.latency_ms.max", MS, "all did"),
    name(
        "endpoints.ADDRESS.requests",
        COUNT,
        "requests whose last attempt was here",
    ),
    name("endpoints.ADDRESS.attempts", COUNT, "attempts here"),
    name(
        "endpoints.ADDRESS.share",
        RATIO,
        "its share of all attempts",
    ),
    name(
        "endpoints.ADDRESS.errors",
        COUNT,
        "errors of requests whose last attempt was here",
    ),
    name(
        "endpoints.ADDRESS.latency_ms.p50",
        MS,
        "half of the requests whose last attempt was here took at most this long",
    ),
    name("endpoints.ADDRESS.latency_ms.p95", MS, "95 % did"),
    name("endpoints.ADDRESS.latency_ms.p99", MS, "99 % did"),
    name("endpoints.ADDRESS.latency_ms.max", MS, "all did"),
    name(
        "endpoints.ADDRESS.max_in_flight",
        COUNT,
        "the most requests at a time here",
    ),
    name(RUN_FIGURES[0].0, COUNT, RUN_FIGURES[0].1),
    name(RUN_FIGURES[1].0, "instructions", RUN_FIGURES[1].1),
    name(RUN_FIGURES[2].0, COUNT, RUN_FIGURES[2].1),
    name(RUN_FIGURES[3].0, COUNT, RUN_FIGURES[3].1),
    name(
        "metrics.NAME",
        COUNT,
        "a counter or gauge of a plugin, over all workers",
    ),
    name(
        "sources.SOURCE.latency_ms.mean",
        MS,
        "the mean of its requests",
    ),
    name(
        "endpoints.ADDRESS.latency_ms.mean",
        MS,
        "the mean of the requests whose last attempt was here",
    ),
];

/// Lists the names of all figures.
#[must_use]
pub const fn figures() -> &'static [FigureName] {
    &FIGURES
}

impl FigureName {
    /// Whether it is told of a whole run only, and not of a window.
    #[must_use]
    pub fn is_of_run(&self) -> bool {
        self.form == "metrics.NAME" || RUN_FIGURES.iter().any(|(name, _)| *name == self.form)
    }

    /// Returns the part of `path` that the part in capitals stands for; the empty text for a name without one.
    fn variable<'a>(&self, path: &'a str) -> Option<&'a str> {
        let is_capital = |letter: char| letter.is_ascii_uppercase();
        let Some(begin) = self.form.find(is_capital) else {
            return (self.form == path).then_some("");
        };
        let (before, rest) = self.form.split_at_checked(begin)?;
        let after = rest.trim_start_matches(is_capital);
        let found = path.strip_prefix(before)?.strip_suffix(after)?;
        (!found.is_empty()).then_some(found)
    }

    fn stands_for(&self) -> &'static str {
        self.form
            .split('.')
            .find(|part| part.bytes().all(|byte| byte.is_ascii_uppercase()))
            .unwrap_or("")
    }
}

/// Finds the figure of a path, and the path in the one form that the report has.
///
/// # Errors
/// There is no such figure; the text says what there is instead.
pub(super) fn resolve(
    path: &str,
    scenario: &Scenario,
) -> Result<(&'static FigureName, String), String> {
    let mut reason = None;
    for figure in &FIGURES {
        let Some(variable) = figure.variable(path) else {
            continue;
        };
        let checked = match figure.stands_for() {
            "CODE" => code(variable),
            "SPAN" => Span::parse(variable).map(|span| Some(span.to_string())),
            "FLAG" if Flags::parse(variable).is_empty() => Err(format!(
                "there is no response flag `{variable}`; write one of Envoy's, such as `URX`"
            )),
            "ADDRESS" => known(
                variable,
                "endpoint",
                &mut endpoints(scenario).iter().map(|it| &*it.0),
            ),
            "SOURCE" => known(
                variable,
                "source",
                &mut sources(scenario).iter().map(|it| &**it),
            ),
            _ => Ok(None),
        };
        match checked {
            Ok(None) => return Ok((figure, path.to_owned())),
            Ok(Some(canonical)) => return Ok((figure, path.replace(variable, &canonical))),
            // Another form may fit: addresses and names have dots.
            Err(message) => reason = reason.or(Some(message)),
        }
    }
    Err(reason.unwrap_or_else(|| unknown(path)))
}

fn code(text: &str) -> Result<Option<String>, String> {
    match text.parse::<u16>() {
        Ok(100..=4999) => Ok(None),
        _ => Err(format!("`{text}` is no code; write a number such as 503")),
    }
}

fn known(
    name: &str,
    what: &str,
    all: &mut dyn Iterator<Item = &str>,
) -> Result<Option<String>, String> {
    let all: Vec<&str> = all.collect();
    if all.contains(&name) {
        return Ok(None);
    }
    let advice = nearest(name, all.iter().copied()).or_else(|| all.first().copied());
    let advice = advice.map_or_else(String::new, |near| format!("; write `{near}`"));
    Err(format!("there is no {what} `{name}`{advice}"))
}

fn unknown(path: &str) -> String {
    let near = nearest(path, FIGURES.iter().map(|figure| figure.form))
        .or_else(|| {
            // The beginning may be right.
            let first = path.split('.').next().unwrap_or(path);
            FIGURES
                .iter()
                .map(|figure| figure.form)
                .find(|form| form.split('.').next() == Some(first))
        })
        .unwrap_or("latency_ms.p99");
    format!("there is no figure `{path}`; write one such as `{near}`")
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        // Below that, short names all look alike.
        .filter(|(likeness, _)| *likeness >= 0.85)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, candidate)| candidate)
}
