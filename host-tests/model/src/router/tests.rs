//! Tests of the router. What is expected was seen in Envoy 1.40, unless a test says otherwise.

mod breakers;
mod conditions;
mod edge;
mod flags;
mod requests;
mod verdicts;

use super::{Attempts, Breakers, Verdict};
use crate::draw::Draws;
use crate::scenario::{BackOff, CircuitBreakers, RetryOn, RetryPolicy, Route};
use crate::units::Span;

/// Headers as a message has them.
type Map = Vec<(Vec<u8>, Vec<u8>)>;

fn map(headers: &[(&str, &str)]) -> Map {
    headers
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect()
}

/// Writes headers in a line.
fn text(headers: &Map) -> String {
    let lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| {
            format!(
                "{}={}",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value)
            )
        })
        .collect();
    lines.join(" ")
}

fn route(on: &[RetryOn], num_retries: u32) -> Route {
    Route {
        retry: Some(RetryPolicy {
            on: on.to_vec(),
            num_retries,
            retriable_status_codes: vec![418, 425],
            retriable_headers: vec!["X-Again".to_owned()],
            back_off: BackOff::default(),
            ..RetryPolicy::default()
        }),
        ..Route::default()
    }
}

fn breakers() -> Breakers {
    Breakers::new(CircuitBreakers::default())
}

fn draws() -> Draws {
    Draws::new(1, "test", 0)
}

/// A request of a route, its first attempt begun.
fn begun(route: &Route, headers: &[(&str, &str)], breakers: &mut Breakers) -> Attempts {
    let mut attempts = Attempts::new(route, &map(headers));
    attempts.begin(breakers, 0);
    attempts
}

/// Writes a verdict in a line, without the time to the next attempt.
fn line(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass { flags } => format!("passes {flags}"),
        Verdict::Retry { .. } => "again".to_owned(),
        Verdict::Reply(reply) => {
            let headers: String = reply
                .headers
                .iter()
                .map(|(name, value)| format!(" {name}={value}"))
                .collect();
            format!(
                "{} {} {} \"{}\"{headers}",
                reply.status, reply.flags, reply.details, reply.body
            )
        }
        Verdict::Cut { flags, details } => format!("cut {flags} {details}"),
    }
}

fn ms(milliseconds: u64) -> u64 {
    Span::ms(milliseconds).ns()
}
