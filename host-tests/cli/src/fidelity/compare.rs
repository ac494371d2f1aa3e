//! Compares two logs line by line.

use std::fmt;

use similar::{ChangeTag, TextDiff};

use super::case::{Case, Side};
use super::line::{Line, sorted};

/// A line that only one side has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Differing {
    /// Who has it.
    pub side: Side,
    /// The line's number in the log of that side, from 1.
    pub number: usize,
    /// The line.
    pub text: String,
    /// The row that explains it.
    pub row: Option<String>,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// The case's name.
    pub case: String,
    /// Lines of Envoy's log.
    pub lines: usize,
    /// What differs, in the order of the logs.
    pub differing: Vec<Differing>,
    /// Rows of the case that no line needed: the difference is gone.
    pub unused: Vec<String>,
}

impl Comparison {
    /// Returns the lines that no row explains.
    pub fn unexplained(&self) -> impl Iterator<Item = &Differing> {
        self.differing.iter().filter(|line| line.row.is_none())
    }

    /// Returns the number of lines that a row explains.
    #[must_use]
    pub fn explained(&self) -> usize {
        self.differing.len() - self.unexplained().count()
    }

    /// Whether nothing differs without a reason, and every reason is still needed.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.unexplained().next().is_none() && self.unused.is_empty()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.unexplained() {
            let side = match line.side {
                Side::Envoy => "Envoy ",
                Side::Runner => "runner",
            };
            writeln!(
                formatter,
                "{}: {side} {:>4}: {}",
                self.case, line.number, line.text
            )?;
        }
        for row in &self.unused {
            writeln!(
                formatter,
                "{}: no line differs as row `{row}` says",
                self.case
            )?;
        }
        Ok(())
    }
}

/// Compares what Envoy and the runner said to a case.
#[must_use]
pub fn compare(case: &Case, envoy: &[Line], runner: &[Line]) -> Comparison {
    let written = |lines: &[Line]| -> Vec<String> {
        sorted(lines.to_vec()).iter().map(Line::to_string).collect()
    };
    let (envoy, runner) = (written(envoy), written(runner));
    let old: Vec<&str> = envoy.iter().map(String::as_str).collect();
    let new: Vec<&str> = runner.iter().map(String::as_str).collect();
    let diff = TextDiff::from_slices(&old, &new);
    let mut used = vec![false; case.differences.len()];
    let mut differing = Vec::new();
    for change in diff.iter_all_changes() {
        let (side, index) = match change.tag() {
            ChangeTag::Equal => continue,
            ChangeTag::Delete => (Side::Envoy, change.old_index()),
            ChangeTag::Insert => (Side::Runner, change.new_index()),
        };
        let text = change.value().to_owned();
        let mut row = None;
        for (known, used) in case.differences.iter().zip(&mut used) {
            if known.side == side && fits(&known.line, &text) {
                *used = true;
                row.get_or_insert_with(|| known.row.clone());
            }
        }
        differing.push(Differing {
            side,
            number: index.map_or(0, |index| index + 1),
            text,
            row,
        });
    }
    let unused = case
        .differences
        .iter()
        .zip(&used)
        .filter(|(_, used)| !**used);
    Comparison {
        case: case.name.clone(),
        lines: envoy.len(),
        differing,
        unused: unused
            .map(|(known, _)| format!("{}: {}", known.row, known.line))
            .collect(),
    }
}

/// Whether a text is what a pattern says; `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut open = false;
    for part in parts {
        open = true;
        if part.is_empty() {
            continue;
        }
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    let ends_open = open && pattern.ends_with('*');
    ends_open
        || rest.is_empty()
        || (open
            && pattern
                .rsplit('*')
                .next()
                .is_some_and(|last| text.ends_with(last)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fidelity::{Difference, Thread};

    fn case(differences: &[(&str, Side, &str)]) -> Case {
        let text = r#"{"what": "x", "plugins": [], "steps": []}"#;
        let mut case: Case = serde_json::from_str(text).unwrap();
        case.name = "some-case".to_owned();
        case.differences = differences
            .iter()
            .map(|(row, side, line)| Difference {
                row: (*row).to_owned(),
                side: *side,
                line: (*line).to_owned(),
            })
            .collect();
        case
    }

    fn log(lines: &[&str]) -> Vec<Line> {
        lines
            .iter()
            .map(|text| Line::new(Thread::Worker, text))
            .collect()
    }

    #[test]
    fn a_changed_line_is_named_with_case_number_and_both_sides() {
        let compared = compare(&case(&[]), &log(&["a", "b", "c"]), &log(&["a", "x", "c"]));
        assert_eq!(compared.unexplained().count(), 2);
        assert!(!compared.holds());
        assert_eq!(
            compared.to_string(),
            "some-case: Envoy     2: worker b\nsome-case: runner    2: worker x\n"
        );
    }

    #[test]
    fn lines_of_different_threads_have_no_order() {
        let main = Line::new(Thread::Main, "m");
        let worker = Line::new(Thread::Worker, "w");
        let compared = compare(&case(&[]), &[main.clone(), worker.clone()], &[worker, main]);
        assert!(compared.holds());
        assert_eq!(compared.lines, 2);
    }

    #[test]
    fn a_row_explains_its_lines_and_fails_when_it_has_none() {
        let rows = [
            ("r", Side::Envoy, "worker b*"),
            ("r", Side::Runner, "worker x"),
        ];
        let (envoy, runner) = (log(&["a", "b 1"]), log(&["a", "x"]));
        let compared = compare(&case(&rows), &envoy, &runner);
        assert!(compared.holds(), "{compared}");
        assert_eq!(compared.explained(), 2);
        let compared = compare(&case(&rows), &envoy, &envoy);
        assert!(!compared.holds());
        assert_eq!(compared.unused.len(), 2);
        // A row is one side's.
        assert!(!compare(&case(&rows), &runner, &envoy).holds());
    }

    #[test]
    fn patterns_hold_for_the_whole_line() {
        for (pattern, text, expected) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("a*b*d", "axbxd", true),
            ("*c", "abcc", true),
            ("b*", "abc", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}
