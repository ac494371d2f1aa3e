//! One finding about a configuration, and a list of them.

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::{cmp::Ordering, fmt};

/// Is one finding about a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Is where it is: `$.clusters[0].ttl`. `$` is the whole.
    pub path: String,
    /// Is a stable slug, such as `duration-without-unit`, for programs and for tests.
    pub code: &'static str,
    /// Is the rule and what was there instead: lower case, no full stop.
    pub message: String,
    /// Is what to write instead; empty where the message says it already.
    pub help: Cow<'static, str>,
}

impl Problem {
    /// Makes a finding; empty `help` means that the message says it already.
    #[must_use]
    pub fn new(
        path: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            path: path.into(),
            code,
            message: message.into(),
            help: help.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)?;
        if !self.help.is_empty() {
            write!(formatter, "; {}", self.help)?;
        }
        Ok(())
    }
}

/// Collects problems, so that all of them are reported at once.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Starts with none.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds one finding, in its place: sorted by path and then by code, `[10]` after `[9]`.
    pub fn push(&mut self, problem: Problem) {
        let order = |other: &Problem| {
            compare_paths(&other.path, &problem.path).then_with(|| other.code.cmp(problem.code))
        };
        let place = self.0.partition_point(|other| order(other).is_le());
        self.0.insert(place, problem);
    }

    /// Says whether nothing was found so far.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Hands out all of them, sorted.
    #[must_use]
    pub fn into_sorted(self) -> Vec<Problem> {
        self.0
    }
}

/// Prints a rejected configuration the way every plugin does.
///
/// ```text
/// plugin config rejected: 1 problem
///   $.clusters[0].ttl: missing unit in "10"; write "10s" or "10ms"
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Rejected<'a>(pub &'a [Problem]);

impl fmt::Display for Rejected<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(
            formatter,
            "plugin config rejected: {} problem{plural}",
            self.0.len()
        )?;
        for problem in self.0 {
            write!(formatter, "\n  {problem}")?;
        }
        Ok(())
    }
}

/// Orders paths by their names as text and by their indices as numbers.
fn compare_paths(left: &str, right: &str) -> Ordering {
    let mut left = left.split(['[', ']']);
    let mut right = right.split(['[', ']']);
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u32>(), b.parse::<u32>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                _ => a.cmp(b),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn problems_are_sorted_by_path_with_indices_as_numbers() {
        let mut problems = Problems::new();
        for path in [
            "$.trust",
            "$.clusters[10].ttl",
            "$.clusters[9].ttl",
            "$",
            "$.clusters",
        ] {
            problems.push(Problem::new(path, "code", "message", ""));
        }
        let paths: Vec<String> = problems.into_sorted().into_iter().map(|p| p.path).collect();
        let expected = [
            "$",
            "$.clusters",
            "$.clusters[9].ttl",
            "$.clusters[10].ttl",
            "$.trust",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn rejection_has_the_documented_shape() {
        let mut problems = Problems::new();
        problems.push(Problem::new("$.b", "x", "must be at least 1, got 0", ""));
        let help = "write \"10s\" or \"10ms\"";
        problems.push(Problem::new("$.a", "y", "missing unit in \"10\"", help));
        let text = Rejected(&problems.into_sorted()).to_string();
        let expected = "plugin config rejected: 2 problems\n  \
                        $.a: missing unit in \"10\"; write \"10s\" or \"10ms\"\n  \
                        $.b: must be at least 1, got 0";
        assert_eq!(text, expected);
    }
}
