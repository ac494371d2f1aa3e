//! What can be wrong with a recording, and where.

use std::error::Error;
use std::{fmt, io};

use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents,
};

use super::sequence::SequenceProblem;

/// How much of the offending entry is shown on each side of the place.
const CONTEXT_BYTES: usize = 60;

/// Something wrong with an input, and where it was found.
#[derive(Debug)]
pub struct RecordingError(Box<Finding>);

/// Boxed, so that every result that can be this error stays small.
#[derive(Debug)]
struct Finding {
    input: String,
    place: Option<Place>,
    problem: RecordingProblem,
    snippet: Option<Snippet>,
}

/// A place in an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Line, counted from 1.
    pub line: u64,
    /// Column in bytes, counted from 1.
    pub column: u64,
}

/// What is wrong with an input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingProblem {
    /// The file is empty.
    #[error("the file is empty")]
    Empty,
    /// It can't be read.
    #[error("can't be read")]
    Io(#[source] io::Error),
    /// Access logs lie beside the taps of the same traffic, which would be read twice.
    #[error("access logs and taps are given together, which would count the same traffic twice")]
    LogBesideTaps,
    /// It isn't JSON.
    #[error("not JSON: {message}")]
    Json {
        /// What the parser says.
        message: String,
    },
    /// It isn't what GoReplay writes.
    #[error("not a payload of GoReplay: {message}")]
    Payload {
        /// What was expected.
        message: String,
    },
    /// The events of a stream are in an order that no proxy produces.
    #[error(transparent)]
    Sequence(#[from] SequenceProblem),
    /// JSON of another shape than the format's.
    #[error("{path}: {message}")]
    Shape {
        /// Where in the entry, as `$.request_headers.headers[0]`.
        path: String,
        /// What was expected, and what is there.
        message: String,
    },
    /// An entry is longer than the limit.
    #[error("the entry that begins here is longer than {limit_bytes} bytes")]
    TooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// The file is of no format that is known.
    #[error("this is no recording that is known: {found}")]
    UnknownFormat {
        /// What the first entry looks like.
        found: String,
    },
    /// The format is newer than this reader.
    #[error(
        "format version {major}.{minor} is newer than this version of tidegate reads ({})",
        super::header::FORMAT_MAJOR
    )]
    Version {
        /// The file's major version.
        major: u32,
        /// The file's minor version.
        minor: u32,
    },
}

impl RecordingProblem {
    fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::Empty | Self::UnknownFormat { .. } => {
                "expected a recording that `tidegate record` wrote, Envoy's taps or access log (JSON), a HAR, or a file of GoReplay; `--from` names the format"
            }
            Self::LogBesideTaps => {
                "give the log with `--access-log` to join it with the taps, or `--from access-log` to read it alone"
            }
            Self::TooLong { .. } => "a larger limit is set with `--max-entry-bytes`",
            Self::Version { .. } => {
                "use a newer version of tidegate, or record the traffic again with this one"
            }
            Self::Sequence(problem) => problem.help(),
            Self::Io(_) | Self::Json { .. } | Self::Payload { .. } | Self::Shape { .. } => {
                return None;
            }
        })
    }
}

impl RecordingError {
    /// Returns the input's path, or `standard input`.
    #[must_use]
    pub fn input(&self) -> &str {
        &self.0.input
    }

    /// Returns where in the input; `None` when the input as a whole is the problem.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.0.place
    }

    /// Returns what is wrong.
    #[must_use]
    pub fn problem(&self) -> &RecordingProblem {
        &self.0.problem
    }

    /// Says whether what follows in the input may still be good.
    pub(super) fn is_recoverable(&self) -> bool {
        match self.0.problem {
            RecordingProblem::Json { .. }
            | RecordingProblem::Payload { .. }
            | RecordingProblem::Sequence(_)
            | RecordingProblem::Shape { .. }
            | RecordingProblem::TooLong { .. } => true,
            RecordingProblem::Empty
            | RecordingProblem::Io(_)
            | RecordingProblem::LogBesideTaps
            | RecordingProblem::UnknownFormat { .. }
            | RecordingProblem::Version { .. } => false,
        }
    }

    /// Says whether the end of the entry can't be trusted either.
    pub(super) fn is_syntax(&self) -> bool {
        matches!(
            self.0.problem,
            RecordingProblem::Json { .. } | RecordingProblem::TooLong { .. }
        )
    }

    /// Puts what an entry's path begins with in front of it: where the entry is in its document.
    pub(super) fn within(mut self, parent: impl FnOnce() -> String) -> Self {
        if let RecordingProblem::Shape { path, .. } = &mut self.0.problem
            && let Some(rest) = path.strip_prefix('$')
        {
            *path = format!("{}{rest}", parent());
        }
        self
    }

    /// Makes an error for an input as a whole.
    pub(crate) fn of_input(input: &str, problem: impl Into<RecordingProblem>) -> Self {
        Self(Box::new(Finding {
            input: input.to_owned(),
            place: None,
            problem: problem.into(),
            snippet: None,
        }))
    }

    /// Makes an error for a place in an entry that begins at `start` of the input.
    /// `line` and `column` count from 1 within the entry; `column` may lie behind its end.
    pub(super) fn of_entry(
        input: &str,
        entry: &[u8],
        start: Place,
        (line, column): (usize, usize),
        problem: impl Into<RecordingProblem>,
    ) -> Self {
        let (line, column) = (line.max(1), column.max(1));
        let before = if line == 1 { start.column - 1 } else { 0 };
        let place = Place {
            line: start.line.saturating_add(line as u64 - 1),
            column: before.saturating_add(column as u64),
        };
        let text = entry
            .split(|&byte| byte == b'\n')
            .nth(line - 1)
            .unwrap_or_default();
        Self(Box::new(Finding {
            input: input.to_owned(),
            place: Some(place),
            problem: problem.into(),
            snippet: Some(Snippet::new(input, text, column, place)),
        }))
    }

    /// Makes an error of what the JSON parser says about an entry, read again to find the path.
    pub(super) fn of_json<'a, T: serde::Deserialize<'a>>(
        input: &str,
        entry: &'a [u8],
        start: Place,
        error: &serde_json::Error,
    ) -> Self {
        Self::of_seed(input, entry, start, error, std::marker::PhantomData::<T>)
    }

    /// The same for what is read with a seed.
    pub(super) fn of_seed<'a>(
        input: &str,
        entry: &'a [u8],
        start: Place,
        error: &serde_json::Error,
        seed: impl serde::de::DeserializeSeed<'a>,
    ) -> Self {
        let place = (error.line(), error.column());
        let message = without_place(&error.to_string());
        let problem = if error.is_data() {
            let mut parser = serde_json::Deserializer::from_slice(entry);
            let mut track = serde_path_to_error::Track::new();
            let tracked = serde_path_to_error::Deserializer::new(&mut parser, &mut track);
            let path = match seed.deserialize(tracked) {
                Ok(_) => "$".to_owned(),
                Err(_) => json_path(&track.path()),
            };
            RecordingProblem::Shape {
                path,
                message: in_our_words(&message),
            }
        } else {
            RecordingProblem::Json { message }
        };
        Self::of_entry(input, entry, start, place, problem)
    }

    /// Renders the error for people, several lines with the offending text, with colours if asked.
    #[must_use]
    pub fn render(&self, colours: bool) -> String {
        render(self, colours)
    }
}

/// Renders an error for people, several lines, with colours if asked.
pub(super) fn render(error: &dyn Diagnostic, colours: bool) -> String {
    let theme = if colours {
        miette::GraphicalTheme::unicode()
    } else {
        miette::GraphicalTheme::unicode_nocolor()
    };
    let handler = miette::GraphicalReportHandler::new_themed(theme)
        .with_width(110)
        .with_links(false);
    let mut text = String::new();
    // The handler fails only when the string does.
    if handler.render_report(&mut text, error).is_err() {
        text = error.to_string();
    }
    text
}

impl fmt::Display for RecordingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0.input)?;
        if let Some(Place { line, column }) = self.0.place {
            write!(formatter, ":{line}:{column}")?;
        }
        write!(formatter, ": {}", self.0.problem)
    }
}

impl Error for RecordingError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.problem.source()
    }
}

impl Diagnostic for RecordingError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0
            .problem
            .help()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0
            .snippet
            .as_ref()
            .map(|snippet| snippet as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let snippet = self.0.snippet.as_ref()?;
        let label = LabeledSpan::new_with_span(Some("here".to_owned()), snippet.span);
        Some(Box::new(std::iter::once(label)))
    }
}

/// The part of a line around a place. The line itself may be megabytes long.
#[derive(Debug)]
struct Snippet {
    input: String,
    text: String,
    span: SourceSpan,
    place: Place,
}

impl Snippet {
    fn new(input: &str, line: &[u8], column: usize, place: Place) -> Self {
        let at = (column - 1).min(line.len());
        let start = at.saturating_sub(CONTEXT_BYTES);
        let end = at.saturating_add(CONTEXT_BYTES).min(line.len());
        let mut text = String::new();
        if start > 0 {
            text.push('…');
        }
        text.push_str(&printable(line.get(start..at).unwrap_or_default()));
        let offset = text.len();
        text.push_str(&printable(line.get(at..end).unwrap_or_default()));
        let length = text
            .get(offset..)
            .and_then(|rest| rest.chars().next())
            .map_or(0, char::len_utf8);
        if end < line.len() {
            text.push('…');
        }
        Self {
            input: input.to_owned(),
            text,
            span: (offset, length).into(),
            place,
        }
    }
}

impl SourceCode for Snippet {
    fn read_span<'a>(
        &'a self,
        _span: &SourceSpan,
        _before: usize,
        _after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        Ok(Box::new(MietteSpanContents::new_named(
            self.input.clone(),
            self.text.as_bytes(),
            (0, self.text.len()).into(),
            usize::try_from(self.place.line.saturating_sub(1)).unwrap_or(usize::MAX),
            usize::try_from(self.place.column.saturating_sub(1)).unwrap_or(usize::MAX),
            1,
        )))
    }
}

/// Makes bytes printable on one line: what is no text, or would move the cursor, becomes a mark.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

/// Takes the parser's own place away from its message: ours counts from the beginning of the file.
fn without_place(message: &str) -> String {
    message
        .rsplit_once(" at line ")
        .map_or(message, |(text, _)| text)
        .to_owned()
}

/// Says what was expected first, and without names of Rust types.
fn in_our_words(message: &str) -> String {
    let number = "a whole number";
    let words = |text: &str| {
        match text {
            "u64" | "u32" | "i64" => number,
            "usize" => number,
            other => other,
        }
        .to_owned()
    };
    if let Some((count, expected)) = message
        .strip_prefix("invalid length ")
        .and_then(|rest| rest.split_once(", expected "))
    {
        return format!("expected {expected}, got a list of {count}");
    }
    if let Some((found, expected)) = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|rest| rest.split_once(", expected "))
    {
        let found = found
            .strip_prefix("map")
            .map_or_else(|| found.to_owned(), |rest| format!("object{rest}"));
        let found = found
            .strip_prefix("sequence")
            .map_or_else(|| found.clone(), |rest| format!("list{rest}"));
        return format!("expected {}, got {found}", words(expected));
    }
    message
        .strip_prefix("missing field ")
        .map_or_else(|| message.to_owned(), |field| format!("{field} is missing"))
}

fn json_path(path: &serde_path_to_error::Path) -> String {
    let path = path.to_string();
    match path.as_str() {
        "." => "$".to_owned(),
        path if path.starts_with('[') => format!("${path}"),
        path => format!("$.{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_parser_are_put_in_our_words() {
        let cases = [
            (
                "invalid type: integer `5`, expected a string",
                "expected a string, got integer `5`",
            ),
            (
                "invalid value: integer `-1`, expected u64",
                "expected a whole number, got integer `-1`",
            ),
            (
                "invalid type: map, expected a string",
                "expected a string, got object",
            ),
            (
                "invalid length 1, expected a pair",
                "expected a pair, got a list of 1",
            ),
            ("missing field `t`", "`t` is missing"),
            (
                "unknown field `x`, expected `t`",
                "unknown field `x`, expected `t`",
            ),
        ];
        for (message, expected) in cases {
            assert_eq!(in_our_words(message), expected);
        }
    }

    #[test]
    fn a_snippet_of_a_long_line_is_short_and_shows_the_place() {
        let mut line = vec![b'a'; 1_000_000];
        line[500_000] = b'X';
        let snippet = Snippet::new(
            "f",
            &line,
            500_001,
            Place {
                line: 3,
                column: 500_001,
            },
        );
        assert!(snippet.text.len() < 2 * CONTEXT_BYTES + 10);
        assert_eq!(
            snippet
                .text
                .get(snippet.span.offset()..snippet.span.offset() + snippet.span.len()),
            Some("X")
        );
    }
}
