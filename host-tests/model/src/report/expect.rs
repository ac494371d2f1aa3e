//! What is expected of figures: `FIGURE OP BOUND [during A..B]`.
//!
//! A bound is a number (`50`, `33%`, for times `250ms`), a figure, or a number times a figure; `baseline.NAME.` before a
//! figure makes it that of a baseline, over the same window and with the same seed. A figure that there isn't, such as the
//! latency of no request, is a miss.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use super::{Report, names};
use crate::scenario::Scenario;
use crate::units::Span;

/// The form of an expectation, for messages.
const FORM: &str = "write `FIGURE OP NUMBER`, such as `latency_ms.p99 <= 50 during 10s..20s`";

/// A comparison of a figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    text: String,
    figure: Reference,
    op: Op,
    bound: Bound,
    window: Option<Window>,
}

/// A window of virtual time: requests that begin at `from` or later, and before `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// Its beginning.
    pub from: Span,
    /// Its end.
    pub until: Span,
}

/// What came of an expectation in one run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Verdict {
    /// The expectation as it is written.
    pub expectation: String,
    /// The seed of the run.
    pub seed: u64,
    /// Whether it holds.
    pub holds: bool,
    /// The figure; `None`: there is none.
    pub figure: Option<f64>,
    /// What it was compared with; `None`: there is none.
    pub bound: Option<f64>,
    /// The window.
    pub during: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Reference {
    baseline: Option<String>,
    path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Equal,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    NotEqual,
}

#[derive(Debug, Clone, PartialEq)]
enum Bound {
    Number(f64),
    /// A number in a unit of time, in milliseconds.
    Millis(f64),
    Times(f64, Reference),
}

impl Window {
    /// Reads `10s..20s`.
    ///
    /// # Errors
    /// It isn't that, or ends before it begins.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (from, until) = text
            .split_once("..")
            .ok_or_else(|| format!("`{text}` is no window; write two times such as `10s..20s`"))?;
        let window = Self {
            from: Span::parse(from)?,
            until: Span::parse(until)?,
        };
        if window.until <= window.from {
            return Err(format!(
                "the window `{text}` ends before it begins; write the earlier time first"
            ));
        }
        Ok(window)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}..{}", self.from, self.until)
    }
}

impl Op {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Equal, "=="),
        (Self::Greater, ">"),
        (Self::GreaterEqual, ">="),
        (Self::Less, "<"),
        (Self::LessEqual, "<="),
        (Self::NotEqual, "!="),
    ];

    fn holds(self, figure: f64, bound: f64) -> bool {
        // What is equal but for the last bits of a division is equal.
        let close = (figure - bound).abs() <= 1e-9 * bound.abs().max(figure.abs());
        let order = if close {
            Some(Ordering::Equal)
        } else {
            figure.partial_cmp(&bound)
        };
        match (self, order) {
            (_, None) => false,
            (Self::Equal, Some(order)) => order.is_eq(),
            (Self::Greater, Some(order)) => order.is_gt(),
            (Self::GreaterEqual, Some(order)) => order.is_ge(),
            (Self::Less, Some(order)) => order.is_lt(),
            (Self::LessEqual, Some(order)) => order.is_le(),
            (Self::NotEqual, Some(order)) => order.is_ne(),
        }
    }
}

impl Reference {
    fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("baseline.") else {
            return Ok(Self {
                baseline: None,
                path: text.to_owned(),
            });
        };
        // A name has no dot; `Scenario::problems` sees to it.
        let (name, path) = rest
            .split_once('.')
            .ok_or_else(|| format!("`{text}` names no figure; write `baseline.NAME.FIGURE`"))?;
        Ok(Self {
            baseline: Some(name.to_owned()),
            path: path.to_owned(),
        })
    }

    fn of(
        &self,
        report: &Report,
        baselines: &BTreeMap<String, Report>,
        window: Option<Window>,
    ) -> Option<f64> {
        let report = match &self.baseline {
            Some(name) => baselines.get(name)?,
            None => report,
        };
        report.figure(&self.path, window)
    }
}

impl Expectation {
    /// Reads an expectation. Whether its names exist is for [`Self::problems`].
    ///
    /// # Errors
    /// It has another form; the text says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let window = match words.iter().position(|word| *word == "during") {
            Some(at) => {
                let behind = words.split_off(at);
                match behind.as_slice() {
                    [_, window] => Some(Window::parse(window)?),
                    _ => return Err(format!("one window belongs behind `during`; {FORM}")),
                }
            }
            None => None,
        };
        let (figure, op, bound) = match words.as_slice() {
            [figure, op, bound @ ..] => (*figure, *op, bound),
            _ => return Err(format!("`{text}` is no comparison; {FORM}")),
        };
        let found = Op::ALL.iter().find(|(_, written)| *written == op);
        let Some((op, _)) = found else {
            return Err(format!(
                "`{op}` compares nothing; write one of `<=`, `<`, `>=`, `>`, `==`, `!=`"
            ));
        };
        let bound = match bound {
            [number] => Bound::parse(number)?,
            [factor, "*", figure] => Bound::Times(number(factor)?, Reference::parse(figure)?),
            _ => return Err(format!("`{text}` has no bound; {FORM}")),
        };
        Ok(Self {
            text: text.to_owned(),
            figure: Reference::parse(figure)?,
            op: *op,
            bound,
            window,
        })
    }

    /// Returns the expectation as it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the window.
    #[must_use]
    pub const fn window(&self) -> Option<Window> {
        self.window
    }

    /// Whether it is about traps or guest faults, which are no failure of the run then.
    #[must_use]
    pub fn is_about_traps(&self) -> bool {
        matches!(self.figure.path.as_str(), "traps" | "guest_faults")
            && self.figure.baseline.is_none()
    }

    /// Returns the spans of `slower_than` figures.
    pub(super) fn bounds(&self) -> Vec<Span> {
        self.references()
            .filter_map(|reference| Span::parse(reference.path.strip_prefix("slower_than.")?).ok())
            .collect()
    }

    fn references(&self) -> impl Iterator<Item = &Reference> {
        let bound = match &self.bound {
            Bound::Times(_, reference) => Some(reference),
            Bound::Number(_) | Bound::Millis(_) => None,
        };
        std::iter::once(&self.figure).chain(bound)
    }

    /// Returns what can't be of this scenario: unknown figures, endpoints, sources and baselines, windows outside of it.
    #[must_use]
    pub fn problems(&self, scenario: &Scenario) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(window) = self.window
            && window.until > scenario.duration
        {
            problems.push(format!(
                "the window `{window}` ends after the scenario; it lasts {}",
                scenario.duration
            ));
        }
        for reference in self.references() {
            if let Some(name) = &reference.baseline
                && !scenario.baselines.iter().any(|it| it.name == *name)
            {
                problems.push(format!(
                    "there is no baseline `{name}`; add it to `baselines`"
                ));
            }
            match names::resolve(&reference.path, scenario) {
                Ok((figure, _)) if figure.is_of_run() && self.window.is_some() => {
                    problems.push(format!(
                        "`{}` is told of whole runs only; leave `during` out",
                        reference.path
                    ));
                }
                Ok((figure, _)) => {
                    if matches!(self.bound, Bound::Millis(_)) && figure.unit != "ms" {
                        problems.push(format!(
                            "`{}` is no time; write a number without a unit",
                            reference.path
                        ));
                    }
                }
                Err(message) => problems.push(message),
            }
        }
        problems
    }

    /// Compares. `baselines` are the reports of the baselines with the same seed, by name.
    #[must_use]
    pub fn evaluate(&self, report: &Report, baselines: &BTreeMap<String, Report>) -> Verdict {
        let figure = self.figure.of(report, baselines, self.window);
        let bound = match &self.bound {
            Bound::Number(number) | Bound::Millis(number) => Some(*number),
            Bound::Times(factor, reference) => reference
                .of(report, baselines, self.window)
                .map(|figure| factor * figure),
        };
        let holds = match (figure, bound) {
            (Some(figure), Some(bound)) => self.op.holds(figure, bound),
            _ => false,
        };
        Verdict {
            expectation: self.text.clone(),
            seed: report.seed,
            holds,
            figure,
            bound,
            during: self.window.map(|window| window.to_string()),
        }
    }
}

impl Bound {
    fn parse(text: &str) -> Result<Self, String> {
        let begins_as_number = text
            .trim_start_matches(['-', '+', '.'])
            .starts_with(|letter: char| letter.is_ascii_digit());
        if !begins_as_number {
            return Ok(Self::Times(1.0, Reference::parse(text)?));
        }
        if let Some(percent) = text.strip_suffix('%') {
            return number(percent).map(|percent| Self::Number(percent / 100.0));
        }
        if text.ends_with(|letter: char| letter.is_ascii_alphabetic()) {
            return Span::parse(text).map(|span| Self::Millis(span.seconds() * 1e3));
        }
        number(text).map(Self::Number)
    }
}

fn number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(format!("`{text}` is no number; {FORM}")),
    }
}
