//! Sources of requests.

use std::collections::BTreeSet;

use super::{BYTES, Problems};
use crate::scenario::{Arrivals, Generated, Recorded, RequestTemplate, Scenario, Scripted, Source};
use crate::units::Span;

/// More a second would come in less time than a nanosecond's thousandth part of a run can tell.
const PER_SECOND: f64 = 1e6;
/// So many requests take hours.
const REQUESTS: f64 = 1e8;
/// A recording's copies times its repetitions.
const COPIES: u64 = 1_000_000;

pub(super) fn check(scenario: &Scenario, problems: &mut Problems) {
    let mut names = BTreeSet::new();
    let mut requests = 0.0;
    for (index, source) in scenario.traffic.iter().enumerate() {
        let (path, name) = match source {
            Source::Generated(of) => {
                let path = format!("traffic[{index}].generated");
                requests += generated(&path, of, scenario.duration, problems);
                (path, &of.name)
            }
            Source::Recording(of) => {
                let path = format!("traffic[{index}].recording");
                recorded(&path, of, scenario.duration, problems);
                (path, &of.name)
            }
            Source::Requests(of) => {
                let path = format!("traffic[{index}].requests");
                requests += scripted(&path, of, scenario.duration, problems);
                (path, &of.name)
            }
        };
        let Some(name) = name else { continue };
        let path = format!("{path}.name");
        problems.when(
            name.is_empty() || name.contains(char::is_whitespace) || name.parse::<u64>().is_ok(),
            path.clone(),
            "can't stand in an expectation; write a word that is no number",
        );
        if !names.insert(name) {
            problems.add(
                path,
                format!("there is a source `{name}` already; write another name"),
            );
        }
    }
    if requests > REQUESTS {
        problems.add(
            "traffic",
            format!("comes to {requests:.0} requests; a run has at most {REQUESTS:.0}: lower the rates or the duration"),
        );
    }
}

/// Returns about how many requests come.
fn generated(path: &str, of: &Generated, duration: Span, problems: &mut Problems) -> f64 {
    problems.span(path, of.from, of.until, duration);
    let arrivals = format!("{path}.arrivals");
    let mut rate = |name: &str, value: f64| {
        problems.number(format!("{arrivals}.{name}"), value, 0.0, PER_SECOND);
        if value.is_finite() {
            value.max(0.0)
        } else {
            0.0
        }
    };
    let until = of.until.unwrap_or(duration).min(duration);
    let lasts = until.seconds() - of.from.seconds().min(until.seconds());
    let requests = match &of.arrivals {
        Arrivals::Steady { per_second } => rate("steady.per_second", *per_second) * lasts,
        Arrivals::Poisson { per_second } => rate("poisson.per_second", *per_second) * lasts,
        Arrivals::Ramp { from, to } => {
            (rate("ramp.from", *from) + rate("ramp.to", *to)) / 2.0 * lasts
        }
        Arrivals::Spike {
            base,
            peak,
            lasts: high,
            ..
        } => {
            let high = high.seconds().min(lasts);
            rate("spike.base", *base) * (lasts - high) + rate("spike.peak", *peak) * high
        }
        Arrivals::Burst { size, every } => {
            problems.when(
                *size == 0,
                format!("{arrivals}.burst.size"),
                "of 0 is no burst; write at least 1",
            );
            problems.when(
                *every == Span::ZERO,
                format!("{arrivals}.burst.every"),
                "must be longer than nothing; write a time such as `1s`",
            );
            f64::from(*size) * (lasts / every.seconds().max(1e-9)).max(1.0)
        }
    };
    problems.when(
        of.clients.gives_up_after == Some(Span::ZERO),
        format!("{path}.clients.gives_up_after"),
        "must be longer than nothing; leave it out for never",
    );
    request(&format!("{path}.request"), &of.request, problems);
    requests
}

fn recorded(path: &str, of: &Recorded, duration: Span, problems: &mut Problems) {
    problems.when(
        of.file.as_os_str().is_empty(),
        format!("{path}.file"),
        "names no file",
    );
    problems.span(path, of.from, None, duration);
    problems.number(format!("{path}.speed"), of.speed, 1e-6, 1e6);
    problems.when(
        of.repeat == 0,
        format!("{path}.repeat"),
        "of 0 is no traffic; leave it out for once",
    );
    problems.when(
        of.copies == 0,
        format!("{path}.copies"),
        "of 0 are no clients; leave it out for one of each",
    );
    problems.when(
        u64::from(of.repeat).saturating_mul(u64::from(of.copies)) > COPIES,
        format!("{path}.copies"),
        "times `repeat` is more than 1000000; write less",
    );
}

/// Returns how many requests come.
fn scripted(path: &str, of: &Scripted, duration: Span, problems: &mut Problems) -> f64 {
    problems.when(
        of.list.is_empty(),
        format!("{path}.list"),
        "is empty; write a request such as `{ at: 1s }`",
    );
    let mut last = Span::ZERO;
    let mut requests = 0.0;
    for (index, one) in of.list.iter().enumerate() {
        let path = format!("{path}.list[{index}]");
        if let Some(at) = one.at {
            if at < last {
                problems.add(
                    format!("{path}.at"),
                    format!("must not be before {last}, the time of one before it, got {at}"),
                );
            }
            if at >= duration {
                problems.add(
                    format!("{path}.at"),
                    format!("must be before the scenario's end, which is at {duration}, got {at}"),
                );
            }
            last = last.max(at);
        }
        problems.when(
            one.times == 0,
            format!("{path}.times"),
            "of 0 is no request; leave the request out",
        );
        problems.when(
            one.gives_up_after == Some(Span::ZERO),
            format!("{path}.gives_up_after"),
            "must be longer than nothing; leave it out for never",
        );
        requests += f64::from(one.times);
        request(&format!("{path}.request"), &one.request, problems);
    }
    requests
}

fn request(path: &str, of: &RequestTemplate, problems: &mut Problems) {
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    problems.when(
        !is_word(&of.method),
        format!("{path}.method"),
        "is no method; write one such as `GET`",
    );
    problems.when(
        !of.path.starts_with('/') || !is_word(&of.path),
        format!("{path}.path"),
        "must begin with `/` and have no spaces; escape them as `%20`",
    );
    problems.when(
        !is_word(&of.authority),
        format!("{path}.authority"),
        "is no host; write one such as `shop.example`",
    );
    for (name, value) in &of.headers {
        let path = format!("{path}.headers.{name}");
        problems.header_name(path.clone(), name);
        problems.when(
            value.contains(['\r', '\n', '\0']),
            path,
            "has a line end, which no header's value may have",
        );
    }
    problems.when(
        of.body_bytes > BYTES,
        format!("{path}.body_bytes"),
        "must be at most 67108864, which is 64 MiB",
    );
    let Some(messages) = &of.websocket else {
        return;
    };
    problems.when(
        of.body_bytes > 0,
        format!("{path}.body_bytes"),
        "aren't for a WebSocket, whose request has no body; leave them out",
    );
    problems.when(
        of.method != "GET",
        format!("{path}.method"),
        "must be `GET` for a WebSocket",
    );
    // A frame has some bytes besides its payload.
    let bytes = u64::from(messages.count).saturating_mul(u64::from(messages.bytes) + 32);
    problems.when(
        bytes > BYTES,
        format!("{path}.websocket.count"),
        "times `bytes` must be at most 64 MiB; they are held in memory",
    );
}
