//! What several fields together, or a field's value, say wrong.
//!
//! A problem says what is wrong and, behind a semicolon, what to write. Bounds are where a run would no longer end in the
//! time, or fit into the memory, of the machine of whoever waits for it.

mod chain;
mod cluster;
mod endpoint;
mod route;
mod traffic;

use std::collections::BTreeSet;

use super::{Problem, Scenario};
use crate::report::{Expectation, Window};
use crate::units::Span;

/// As many as the threads that a replay may have.
const WORKERS: u32 = 256;
/// Each is a whole run.
const SEEDS: usize = 1_000;
/// Each window is counted on its own.
const WINDOWS: usize = 64;
/// A body or the messages of a WebSocket are held in memory.
const BYTES: u64 = 64 * 1024 * 1024;

/// Gathers problems.
#[derive(Debug, Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem {
            path: path.into(),
            message: message.into(),
        });
    }

    /// Adds a problem if `is_wrong`.
    fn when(&mut self, is_wrong: bool, path: impl Into<String>, message: &str) {
        if is_wrong {
            self.add(path, message);
        }
    }

    /// Wants a number between two.
    fn number(&mut self, path: String, value: f64, least: f64, greatest: f64) {
        if !(least..=greatest).contains(&value) {
            self.add(
                path,
                format!("must be a number from {least} to {greatest}, got {value}"),
            );
        }
    }

    /// Wants the statuses that an answer may have.
    fn status(&mut self, path: String, status: u16) {
        if !(200..=599).contains(&status) {
            self.add(
                path,
                format!("must be a status from 200 to 599, got {status}"),
            );
        }
    }

    /// Wants a time span that begins before it ends, and in the scenario.
    fn span(&mut self, path: &str, from: Span, until: Option<Span>, duration: Span) {
        if let Some(until) = until
            && until <= from
        {
            self.add(
                format!("{path}.until"),
                format!("must be later than `from`, which is {from}, got {until}"),
            );
        }
        if from >= duration {
            self.add(
                format!("{path}.from"),
                format!("must be before the scenario's end, which is at {duration}, got {from}"),
            );
        }
    }

    /// Wants the names of headers, in lower case or not.
    fn header_name(&mut self, path: String, name: &str) {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            self.add(
                path,
                format!("`{name}` is no name of a header; write one such as `x-user`"),
            );
        }
    }
}

impl Scenario {
    /// Returns everything that is wrong with the scenario, by place.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Problems::default();
        self.whole(&mut problems);
        traffic::check(self, &mut problems);
        chain::check(self, &mut problems);
        route::check(self, &mut problems);
        cluster::check(self, &mut problems);
        self.baselines_and_expectations(&mut problems);
        let mut problems = problems.0;
        problems.sort_by(|one, other| one.path.cmp(&other.path));
        problems
    }

    fn whole(&self, problems: &mut Problems) {
        problems.when(
            self.duration == Span::ZERO,
            "duration",
            "must be longer than nothing; write a time such as `60s`",
        );
        if self.workers == 0 || self.workers > WORKERS {
            problems.add(
                "workers",
                format!("must be from 1 to {WORKERS}, got {}", self.workers),
            );
        }
        problems.when(
            self.seeds.is_empty(),
            "seeds",
            "there is none; leave it out or write one such as `[1]`",
        );
        problems.when(
            self.seeds.len() > SEEDS,
            "seeds",
            "are more than 1000; each is a whole run",
        );
        let mut seen = BTreeSet::new();
        for (index, seed) in self.seeds.iter().enumerate() {
            if !seen.insert(seed) {
                problems.add(
                    format!("seeds[{index}]"),
                    format!("{seed} is there already; each seed is a run of its own"),
                );
            }
        }
        problems.when(
            self.traffic.is_empty(),
            "traffic",
            "there is no source of requests; write one such as `- requests: { list: [{}] }`",
        );
        problems.when(
            self.clusters.is_empty(),
            "clusters",
            "there is no cluster; write one with a `name` and `endpoints`",
        );
    }

    fn baselines_and_expectations(&self, problems: &mut Problems) {
        let mut names = BTreeSet::new();
        for (index, baseline) in self.baselines.iter().enumerate() {
            let path = format!("baselines[{index}]");
            let name = &baseline.name;
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            if name.is_empty() || !name.bytes().all(fits) {
                problems.add(
                    format!("{path}.name"),
                    format!(
                        "`{name}` can't stand in an expectation; write letters, digits, `-` and `_`"
                    ),
                );
            }
            if !names.insert(name) {
                problems.add(
                    format!("{path}.name"),
                    format!("there is a baseline `{name}` already; write another name"),
                );
            }
            if let Some(balancer) = &baseline.balancer {
                cluster::balancer(&format!("{path}.balancer"), balancer, problems);
            }
            if let Some(retry) = &baseline.retry {
                route::retry(&format!("{path}.retry"), retry, problems);
            }
            if let Some(breakers) = &baseline.circuit_breakers {
                cluster::breakers(&format!("{path}.circuit_breakers"), breakers, problems);
            }
        }
        let mut windows: BTreeSet<Window> = BTreeSet::new();
        for (index, text) in self.expect.iter().enumerate() {
            let path = format!("expect[{index}]");
            match Expectation::parse(text) {
                Err(message) => problems.add(path, message),
                Ok(expectation) => {
                    windows.extend(expectation.window());
                    for message in expectation.problems(self) {
                        problems.add(path.clone(), message);
                    }
                }
            }
        }
        problems.when(
            windows.len() > WINDOWS,
            "expect",
            "names more than 64 windows; each is counted on its own",
        );
    }
}

#[cfg(test)]
mod tests;
