//! YAML with places: a tree in which every key and value knows where it stands.
//!
//! Why not a parser that fills types: it forgets the places, and lets the last of two equal keys win. Anchors, aliases and
//! tags are refused: a scenario needs none, and a few lines of them can stand for more than any memory holds.
//! Limits: values are nested [`DEEPEST`] deep at most; the tree is some 100 bytes a value.

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::problem::Finding;

/// Nothing in a scenario is nested deeper, by far.
const DEEPEST: usize = 64;

/// A value and where it stands, in bytes.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Range<usize>,
    pub(super) value: Value,
}

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    /// A scalar as it is written, and whether it is plain: without quotes, so that it may be a number.
    Scalar(String, bool),
    Sequence(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

/// A key and where it stands.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) at: Range<usize>,
}

impl Node {
    pub(super) const fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar(text, true) => {
                matches!(text.as_bytes(), b"" | b"~" | b"null" | b"Null" | b"NULL")
            }
            _ => false,
        }
    }
}

/// Reads a text of one document.
pub(super) fn parse(text: &str) -> Result<Node, Finding> {
    let places = Places::new(text);
    let mut parser = Parser::new_from_str(text);
    let mut documents = 0;
    loop {
        let (event, span) = next(&mut parser, &places)?;
        let at = places.range(span);
        match event {
            Event::StreamEnd => {
                return Err(Finding::at(
                    at,
                    "there is nothing in it; a scenario has at least `what`, `duration`, `traffic` and `clusters`",
                ));
            }
            Event::DocumentStart(_) => documents += 1,
            Event::StreamStart | Event::Nothing | Event::DocumentEnd => {}
            event if documents > 0 => {
                let mut builder = Builder {
                    parser,
                    places: &places,
                };
                let node = builder.node(event, at, 0)?;
                builder.end()?;
                return Ok(node);
            }
            _ => {}
        }
    }
}

fn next<'a>(
    parser: &mut Parser<'a, StrInput<'a>>,
    places: &Places<'_>,
) -> Result<(Event<'a>, Span), Finding> {
    match parser.next_event() {
        Some(Ok(next)) => Ok(next),
        Some(Err(error)) => {
            let begin = places.byte(error.marker().line(), error.marker().col());
            Err(Finding::at(
                begin..begin,
                format!("is no YAML: {}", error.info()),
            ))
        }
        None => Ok((Event::StreamEnd, Span::default())),
    }
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    places: &'a Places<'a>,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Range<usize>), Finding> {
        let (event, span) = next(&mut self.parser, self.places)?;
        Ok((event, self.places.range(span)))
    }

    /// Nothing but the end may follow.
    fn end(&mut self) -> Result<(), Finding> {
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(_) => {
                    return Err(Finding::at(
                        at,
                        "is a second document; a file is one scenario",
                    ));
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'_>, at: Range<usize>, depth: usize) -> Result<Node, Finding> {
        if depth > DEEPEST {
            return Err(Finding::at(
                at,
                format!("is nested deeper than {DEEPEST} values; nothing in a scenario is"),
            ));
        }
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                (*anchor, tag.is_some())
            }
            _ => (0, false),
        };
        if anchor > 0 || matches!(event, Event::Alias(_)) {
            return Err(Finding::at(
                at,
                "anchors and aliases aren't read; write the value again",
            ));
        }
        if tag {
            return Err(Finding::at(at, "tags aren't read; leave it out"));
        }
        let begin = at.start;
        match event {
            Event::Scalar(text, style, ..) => Ok(Node {
                at,
                value: Value::Scalar(text.into_owned(), style == ScalarStyle::Plain),
            }),
            Event::SequenceStart(..) => {
                let mut values = Vec::new();
                loop {
                    let (event, at) = self.next()?;
                    if event == Event::SequenceEnd {
                        return Ok(Node {
                            at: begin..at.end.max(begin),
                            value: Value::Sequence(values),
                        });
                    }
                    values.push(self.node(event, at, depth + 1)?);
                }
            }
            Event::MappingStart(..) => self.mapping(begin, depth),
            _ => Err(Finding::at(at, "is no value")),
        }
    }

    fn mapping(&mut self, begin: usize, depth: usize) -> Result<Node, Finding> {
        let mut fields: Vec<(Key, Node)> = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Node {
                    at: begin..at.end.max(begin),
                    value: Value::Mapping(fields),
                });
            }
            let key = self.node(event, at, depth + 1)?;
            let Value::Scalar(text, _) = key.value else {
                return Err(Finding::at(key.at, "is no name of a field; write a text"));
            };
            if let Some(line) = seen.insert(text.clone(), self.places.line(key.at.start)) {
                return Err(Finding::at(
                    key.at,
                    format!("`{text}` stands here a second time, first in line {line}; keep one"),
                ));
            }
            let (event, at) = self.next()?;
            let value = self.node(event, at, depth + 1)?;
            fields.push((Key { text, at: key.at }, value));
        }
    }
}

/// Turns the lines and columns of the parser, which count characters, into bytes.
#[derive(Debug)]
struct Places<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0)
            .chain(ends.map(|(at, _)| at + 1))
            .collect();
        Self { text, lines }
    }

    /// `line` counts from 1 and `column` from 0.
    fn byte(&self, line: usize, column: usize) -> usize {
        let begin = self
            .lines
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or(self.text.len());
        let rest = self.text.get(begin..).unwrap_or_default();
        let inside = rest
            .char_indices()
            .nth(column)
            .map_or(rest.len(), |(at, _)| at);
        begin + inside
    }

    fn range(&self, span: Span) -> Range<usize> {
        let begin = self.byte(span.start.line(), span.start.col());
        let end = self.byte(span.end.line(), span.end.col());
        begin..end.max(begin)
    }

    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|begin| *begin <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (usize, String) {
        let finding = parse(text).expect_err(text);
        (finding.span.map_or(0, |at| at.start), finding.message)
    }

    #[test]
    fn values_know_where_they_stand() {
        let text = "ä: 1\nb:\n  - \"x y\"\n  - {c: d}\n";
        let node = parse(text).unwrap();
        let Value::Mapping(fields) = node.value else {
            panic!("a mapping")
        };
        let Value::Sequence(values) = &fields[1].1.value else {
            panic!("a sequence")
        };
        assert_eq!(text.get(fields[0].1.at.clone()), Some("1"));
        assert_eq!(text.get(fields[1].0.at.clone()), Some("b"));
        assert_eq!(text.get(values[0].at.clone()), Some("\"x y\""));
        assert_eq!(text.get(values[1].at.clone()), Some("{c: d}"));
    }

    #[test]
    fn what_a_scenario_needs_none_of_is_refused_where_it_stands() {
        let cases = [
            ("a: &x 1\nb: *x\n", 3, "anchors and aliases"),
            ("a: !!str 1\n", 3, "tags"),
            ("a: 1\nb: 2\na: 3\n", 10, "first in line 1"),
            ("a: 1\n---\nb: 1\n", 5, "second document"),
            ("? [a]\n: 1\n", 2, "no name of a field"),
            ("", 0, "nothing in it"),
            ("a: [1\n", 6, "no YAML"),
        ];
        for (text, at, message) in cases {
            let (found, said) = refused(text);
            assert!(said.contains(message), "{text:?}: {said}");
            assert_eq!(found, at, "{text:?}: {said}");
        }
    }

    #[test]
    fn nesting_without_end_is_refused_at_once() {
        for open in ["[", "{a: ", "- "] {
            let (_, said) = refused(&open.repeat(100_000));
            assert!(
                said.contains("nested") || said.contains("no YAML"),
                "{said}"
            );
        }
    }
}
