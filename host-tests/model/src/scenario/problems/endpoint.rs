//! Endpoints and their timelines.

use std::mem::discriminant;

use super::{BYTES, Problems};
use crate::scenario::{Answer, Endpoint, Errors, Failure, Latency, Phase, Scenario, Source, State};
use crate::units::Span;

pub(super) fn check(path: &str, of: &Endpoint, scenario: &Scenario, problems: &mut Problems) {
    problems.when(
        of.address.port() == 0,
        format!("{path}.address"),
        "has the port 0; write the port that it listens on",
    );
    problems.when(
        of.count == 0,
        format!("{path}.count"),
        "of 0 is no endpoint; leave the endpoint out",
    );
    problems.when(
        of.weight == 0,
        format!("{path}.weight"),
        "must be at least 1, got 0; a phase `absent` takes an endpoint out",
    );
    problems.when(
        of.concurrency == Some(0),
        format!("{path}.concurrency"),
        "of 0 works on nothing; leave it out for any number, or write a phase `hangs`",
    );
    problems.when(
        of.queue.is_some() && of.concurrency.is_none(),
        format!("{path}.queue"),
        "is never used without `concurrency`; write that too",
    );
    latency(&format!("{path}.latency"), &of.latency, scenario, problems);
    for (index, one) in of.errors.iter().enumerate() {
        errors(&format!("{path}.errors[{index}]"), one, problems);
    }
    answer(&format!("{path}.answer"), &of.answer, problems);
    for (index, phase) in of.timeline.iter().enumerate() {
        let path = format!("{path}.timeline[{index}]");
        problems.span(&path, phase.from, phase.until, scenario.duration);
        state(&path, phase, scenario, problems);
    }
    contradictions(path, &of.timeline, problems);
}

fn latency(path: &str, of: &Latency, scenario: &Scenario, problems: &mut Problems) {
    match of {
        Latency::None | Latency::Constant(_) | Latency::Exponential { .. } => {}
        Latency::LogNormal { sigma, .. } => {
            problems.number(format!("{path}.log_normal.sigma"), *sigma, 0.0, 10.0);
        }
        Latency::Percentiles(percentiles) => {
            let path = format!("{path}.percentiles");
            let mut points: Vec<(f64, Span, &str)> = Vec::new();
            for (percent, span) in percentiles {
                match percent.parse::<f64>() {
                    Ok(number) if (0.0..=100.0).contains(&number) => {
                        points.push((number, *span, percent));
                    }
                    _ => problems.add(
                        format!("{path}.{percent}"),
                        format!("`{percent}` is no percentile; write a number from 0 to 100"),
                    ),
                }
            }
            problems.when(
                percentiles.is_empty(),
                path.clone(),
                "are empty; write some such as `{ 0: 1ms, 50: 5ms, 100: 80ms }`",
            );
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
            for pair in points.windows(2) {
                if let [(_, lower, below), (_, higher, percent)] = pair
                    && higher < lower
                {
                    problems.add(
                        format!("{path}.{percent}"),
                        format!("must be at least that of {below}, which is {lower}, got {higher}"),
                    );
                }
            }
        }
        Latency::Recorded => {
            let is_recording = |source: &Source| matches!(source, Source::Recording(_));
            problems.when(
                !scenario.traffic.iter().any(is_recording),
                path,
                "is that of a recording, but `traffic` has none; write another",
            );
        }
    }
}

fn errors(path: &str, of: &Errors, problems: &mut Problems) {
    if let Failure::Status(status) = of.with {
        problems.status(format!("{path}.with.status"), status);
    }
}

fn answer(path: &str, of: &Answer, problems: &mut Problems) {
    problems.status(format!("{path}.status"), of.status);
    for name in of.headers.keys() {
        problems.header_name(format!("{path}.headers.{name}"), name);
    }
    problems.when(
        of.body_bytes > BYTES,
        format!("{path}.body_bytes"),
        "must be at most 67108864, which is 64 MiB",
    );
    problems.when(
        of.body.is_some() && of.body_bytes > 0,
        format!("{path}.body"),
        "is there with `body_bytes`; write one of them",
    );
}

fn state(path: &str, phase: &Phase, scenario: &Scenario, problems: &mut Problems) {
    let path = format!("{path}.state");
    match &phase.state {
        State::Fails(of) => errors(&format!("{path}.fails"), of, problems),
        State::Slow(of) => latency(&format!("{path}.slow"), of, scenario, problems),
        State::Slower(factor) => {
            problems.number(format!("{path}.slower"), *factor, 0.001, 1_000_000.0);
        }
        State::Cold(factor) => {
            problems.number(format!("{path}.cold"), *factor, 1.0, 1_000_000.0);
            problems.when(
                phase.until.is_none(),
                format!("{path}.cold"),
                "gets warm until the phase's end; write `until`",
            );
        }
        State::Probe {
            path: of,
            answer: with,
        } => {
            problems.when(
                !of.starts_with('/'),
                format!("{path}.probe.path"),
                "must begin with `/`, as every path does",
            );
            answer(&format!("{path}.probe.answer"), with, problems);
        }
        State::Announces(headers) => {
            for name in headers.keys() {
                problems.header_name(format!("{path}.announces.{name}"), name);
            }
        }
        State::Refuses
        | State::Unreachable
        | State::Hangs
        | State::Absent
        | State::Membership(_) => {}
    }
}

/// Refuses phases that can't be at once.
fn contradictions(path: &str, timeline: &[Phase], problems: &mut Problems) {
    for (index, phase) in timeline.iter().enumerate() {
        for (before, other) in timeline.iter().enumerate().take(index) {
            if !overlap(phase, other) {
                continue;
            }
            let why = if same(&phase.state, &other.state) {
                "is of the same kind as"
            } else if contradict(&phase.state, &other.state)
                || contradict(&other.state, &phase.state)
            {
                "contradicts"
            } else {
                continue;
            };
            problems.add(
                format!("{path}.timeline[{index}].state"),
                format!("{why} `timeline[{before}]`, which is at the same time; let one end before the other begins"),
            );
        }
    }
}

fn overlap(one: &Phase, other: &Phase) -> bool {
    let ends = |phase: &Phase| phase.until.map_or(u64::MAX, Span::ns);
    one.from.ns() < ends(other) && other.from.ns() < ends(one)
}

/// Whether both are about the same thing. Several kinds of failures may be at once, and several headers announced.
fn same(one: &State, other: &State) -> bool {
    match (one, other) {
        (State::Probe { path: one, .. }, State::Probe { path: other, .. }) => one == other,
        (State::Fails(_) | State::Announces(_), _) => false,
        _ => discriminant(one) == discriminant(other),
    }
}

fn contradict(one: &State, other: &State) -> bool {
    matches!(
        (one, other),
        (State::Absent, State::Membership(_))
            | (State::Refuses, State::Unreachable | State::Hangs)
            | (State::Unreachable, State::Hangs)
    )
}
