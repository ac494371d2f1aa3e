//! Problems drawn into the text that they are about.

use std::fmt;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity,
    SourceCode,
};

use super::locate::without_secrets;
use super::{Problem, Verdict};

/// Draws the problems of a configuration, several lines each. `text` is the configuration.
#[must_use]
pub fn render(verdict: &Verdict, text: &str, colours: bool) -> String {
    // Shown text may end in a log that others read.
    render_problems(
        &verdict.path,
        &without_secrets(text),
        &verdict.problems,
        colours,
    )
}

/// Draws problems into the text of a file, as it is.
#[must_use]
pub(crate) fn render_problems(
    path: &str,
    text: &str,
    problems: &[Problem],
    colours: bool,
) -> String {
    let theme = if colours {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(110)
        .with_links(false)
        .with_context_lines(1);
    let source = NamedSource::new(path, text.to_owned());
    let mut drawn = String::new();
    for problem in problems {
        let report = Report {
            problem,
            source: &source,
        };
        // The handler fails only when the string does.
        if handler.render_report(&mut drawn, &report).is_err() {
            drawn.push_str(&report.to_string());
        }
        drawn.push('\n');
    }
    drawn
}

#[derive(Debug)]
struct Report<'a> {
    problem: &'a Problem,
    source: &'a NamedSource<String>,
}

impl Report<'_> {
    /// Splits the rule from the advice.
    fn parts(&self) -> (&str, Option<&str>) {
        match self.problem.message.split_once("; ") {
            Some((rule, help)) => (rule, Some(help)),
            None => (&self.problem.message, None),
        }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.problem.path.is_empty() {
            write!(formatter, "{}: ", self.problem.path)?;
        }
        formatter.write_str(self.parts().0)
    }
}

impl std::error::Error for Report<'_> {}

impl Diagnostic for Report<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(Severity::Error)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.parts()
            .1
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problem
            .span
            .as_ref()
            .map(|_| self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.problem.span.clone()?;
        Some(Box::new(std::iter::once(
            LabeledSpan::new_primary_with_span(Some("here".to_owned()), span),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_drawn_where_it_is_with_its_advice_and_without_secrets() {
        let secret = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let text = format!("{{\n  \"keys\": \"{secret}\",\n  \"ttl\": \"10\"\n}}");
        let line = "  $.ttl: missing unit in \"10\"; write \"10s\" or \"10ms\"";
        let problems = super::super::problem(&text, line).into_iter().collect();
        let verdict = Verdict {
            path: "c.json".into(),
            accepted: false,
            problems,
            logs: Vec::new(),
            trap: None,
        };
        let drawn = render(&verdict, &text, false);
        assert!(drawn.contains("$.ttl: missing unit in \"10\""), "{drawn}");
        assert!(drawn.contains("c.json:3:"), "{drawn}");
        assert!(drawn.contains("help: write \"10s\" or \"10ms\""), "{drawn}");
        assert!(!drawn.contains(secret), "{drawn}");
    }
}
