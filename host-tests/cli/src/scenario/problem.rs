//! What is wrong with a scenario, and where.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use crate::check::{self, line_and_column};
use crate::exit::Failure;

/// A finding before its file is known.
#[derive(Debug, Default)]
pub(super) struct Finding {
    /// The place in the scenario, such as `clusters[0].name`; empty for the whole file.
    pub(super) path: String,
    pub(super) message: String,
    pub(super) span: Option<Range<usize>>,
}

impl Finding {
    pub(super) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            message: message.into(),
            span: Some(span),
        }
    }
}

/// A scenario that can't be run as it stands: everything that is wrong with it, by place.
#[derive(Debug, Clone)]
pub struct ScenarioError {
    file: String,
    text: String,
    problems: Vec<check::Problem>,
}

impl ScenarioError {
    pub(super) fn new(file: &Path, text: &str, findings: Vec<Finding>) -> Self {
        let problems = findings
            .into_iter()
            .map(|finding| {
                let place = finding
                    .span
                    .as_ref()
                    .map(|span| line_and_column(text, span.start));
                check::Problem {
                    path: finding.path,
                    message: finding.message,
                    line: place.map(|(line, _)| line),
                    column: place.map(|(_, column)| column),
                    span: finding.span,
                }
            })
            .collect();
        Self {
            file: file.display().to_string(),
            text: text.to_owned(),
            problems,
        }
    }

    /// Finds the error of a scenario in one that ends a command.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Option<&Self> {
        error.chain().find_map(|cause| {
            cause
                .downcast_ref::<Failure>()
                .map_or_else(|| cause.downcast_ref(), |it| it.cause().downcast_ref())
        })
    }

    /// Returns the file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns what is wrong.
    #[must_use]
    pub fn problems(&self) -> &[check::Problem] {
        &self.problems
    }

    /// Draws the problems into the text that they are about, several lines each.
    #[must_use]
    pub fn render(&self, colours: bool) -> String {
        check::render_problems(&self.file, &self.text, &self.problems, colours)
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            formatter.write_str(&self.file)?;
            if let (Some(line), Some(column)) = (problem.line, problem.column) {
                write!(formatter, ":{line}:{column}")?;
            }
            formatter.write_str(": ")?;
            if !problem.path.is_empty() {
                write!(formatter, "{}: ", problem.path)?;
            }
            formatter.write_str(&problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ScenarioError {}
