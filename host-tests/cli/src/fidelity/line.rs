//! Lines of a log, as they are compared and kept.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::load::folder;

/// The version of Envoy that the kept logs are of.
pub const ENVOY_VERSION: &str = "1.40.0";

/// Who wrote a line.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Thread {
    /// The main thread.
    Main,
    /// The only worker.
    Worker,
    /// What the upstream's endpoint received.
    Upstream,
    /// What was asked of the other clusters' endpoints, in no order: threads call out at the same time.
    Called,
    /// What the client received.
    Client,
}

impl Thread {
    const ALL: [Self; 5] = [
        Self::Main,
        Self::Worker,
        Self::Upstream,
        Self::Called,
        Self::Client,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Worker => "worker",
            Self::Upstream => "upstream",
            Self::Called => "called",
            Self::Client => "client",
        }
    }
}

/// One line. Lines of one thread have an order; between threads there is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Who wrote it.
    pub thread: Thread,
    /// What was written, normalised.
    pub text: String,
}

impl Line {
    /// Makes a line of what was written.
    #[must_use]
    pub fn new(thread: Thread, text: &str) -> Self {
        Self {
            thread,
            text: normalised(text),
        }
    }

    /// Takes apart what the probe logs: the case, and the rest of the line. `None` if it is not the probe's.
    #[must_use]
    pub fn of_probe(message: &str) -> Option<(&str, &str)> {
        message.strip_prefix("probe ")?.split_once(' ')
    }
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.thread.name(), self.text)
    }
}

/// Masks what differs from run to run and that the probe cannot mask itself: ports of this machine, the date, and how
/// long an upstream took.
fn normalised(text: &str) -> String {
    let digit = |letter: char| letter.is_ascii_digit();
    let text = masked(text, "127.0.0.1:", "PORT", digit);
    let text = masked(&text, "x-envoy-upstream-service-time=", "MS", digit);
    let of_date = |letter: char| letter.is_ascii_alphanumeric() || " ,:".contains(letter);
    masked(&text, "date=", "DATE", of_date)
}

/// Puts `mask` in the place of the letters behind each `marker`.
fn masked(text: &str, marker: &str, mask: &str, hidden: impl Fn(char) -> bool) -> String {
    let mut parts = text.split(marker);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        masked.push_str(marker);
        let rest = part.trim_start_matches(&hidden);
        masked.push_str(if rest.len() < part.len() { mask } else { "" });
        masked.push_str(rest);
    }
    masked
}

/// Sorts lines by thread, each thread's in their order.
pub(super) fn sorted(mut lines: Vec<Line>) -> Vec<Line> {
    lines.sort_by(|one, other| {
        let text = || match one.thread {
            Thread::Called => one.text.cmp(&other.text),
            _ => std::cmp::Ordering::Equal,
        };
        one.thread.cmp(&other.thread).then_with(text)
    });
    lines
}

/// Returns the file that keeps what Envoy said to a case.
#[must_use]
pub fn golden(case: &str) -> PathBuf {
    folder().join("cases").join(format!("{case}.envoy.log"))
}

/// The first line of such a file.
fn header_line() -> String {
    format!("# Envoy {ENVOY_VERSION}")
}

/// Writes such a file's text.
#[must_use]
pub fn write_golden(lines: &[Line]) -> String {
    let mut text = header_line();
    for line in sorted(lines.to_vec()) {
        text.push('\n');
        text.push_str(&line.to_string());
    }
    text.push('\n');
    text
}

/// Reads such a file's text.
///
/// # Errors
/// It is another version's, or a line is not one of a log.
pub fn parse_golden(text: &str) -> Result<Vec<Line>> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    anyhow::ensure!(
        header == header_line(),
        "it begins with `{header}` instead of `{}`",
        header_line()
    );
    lines
        .map(|line| {
            let (thread, text) = line
                .split_once(' ')
                .with_context(|| format!("`{line}` is no line of a log"))?;
            let thread = Thread::ALL
                .into_iter()
                .find(|known| known.name() == thread)
                .with_context(|| format!("`{thread}` writes no log"))?;
            Ok(Line {
                thread,
                text: text.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_masked_and_nothing_else() {
        for (text, expected) in [
            (
                "a 127.0.0.1:4711\" b 127.0.0.1:80",
                "a 127.0.0.1:PORT\" b 127.0.0.1:PORT",
            ),
            ("10.0.0.1:80 127.0.0.1: x", "10.0.0.1:80 127.0.0.1: x"),
            (
                "{date=Tue, 24 Nov 2026 00:00:00 GMT; a=1}",
                "{date=DATE; a=1}",
            ),
            (
                "{x-envoy-upstream-service-time=12}",
                "{x-envoy-upstream-service-time=MS}",
            ),
        ] {
            assert_eq!(normalised(text), expected);
        }
    }

    #[test]
    fn a_kept_log_reads_back_as_it_was_written() {
        let lines = vec![
            Line::new(Thread::Main, "a 1 configure(3)"),
            Line::new(Thread::Client, "200 {}"),
        ];
        assert_eq!(parse_golden(&write_golden(&lines)).unwrap(), lines);
        for bad in ["# Envoy 0.1.0\n", &format!("{}\nnobody x", header_line())] {
            assert!(parse_golden(bad).is_err(), "{bad}");
        }
    }
}
