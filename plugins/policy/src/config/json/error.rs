//! What does not fit, and where.

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
};
use core::fmt;

use serde::de::{Error, Expected, Unexpected};

use crate::config::Problem;

/// Is a finding on its way up to the whole text: every level puts its name in front of the path.
#[derive(Debug)]
pub(super) struct ShapeError(Box<Finding>);

#[derive(Debug)]
struct Finding {
    /// Is the path below the level that was reached: `[0].ttl`, `.clusters[0].ttl`.
    path: String,
    code: &'static str,
    /// Is the rule that was broken.
    rule: String,
    /// Is what was there instead; it is not shown where secrets are.
    got: Option<String>,
    help: String,
    /// Is where the text stops being JSON, in bytes.
    offset: Option<usize>,
}

impl ShapeError {
    fn new(code: &'static str, rule: String, got: Option<String>, help: String) -> Self {
        Self(Box::new(Finding {
            path: String::new(),
            code,
            rule,
            got,
            help,
            offset: None,
        }))
    }

    /// Says that the text is not JSON from `offset` on.
    pub(super) fn syntax(rule: &str, offset: usize) -> Self {
        let help = "mind commas, quotes and brackets; comments are not JSON";
        let rule = format!("must be JSON, but {rule}");
        let mut error = Self::new("json-syntax", rule, None, help.to_string());
        error.0.offset = Some(offset);
        error
    }

    pub(super) fn inside_field(mut self, name: &str) -> Self {
        self.0.path = format!(".{name}{}", self.0.path);
        self
    }

    pub(super) fn inside_index(mut self, index: usize) -> Self {
        self.0.path = format!("[{index}]{}", self.0.path);
        self
    }

    /// Makes a problem of it. `text` is the whole configuration.
    pub(super) fn into_problem(self, text: &str, secret_path: &str) -> Problem {
        let Finding {
            path,
            code,
            rule,
            got,
            help,
            offset,
        } = *self.0;
        let path = format!("${path}");
        if let Some(offset) = offset {
            let before = text.as_bytes().get(..offset).unwrap_or_default();
            let line = before.split(|byte| *byte == b'\n').count();
            let last = before
                .rsplit(|byte| *byte == b'\n')
                .next()
                .unwrap_or_default();
            let column = last.len().saturating_add(1);
            let message = format!("{rule} at line {line} column {column}");
            return Problem::new("$", code, message, help);
        }
        let secret = !secret_path.is_empty() && path.starts_with(secret_path);
        let message = match got {
            Some(got) if !secret => format!("{rule}, got {got}"),
            _ => rule,
        };
        Problem::new(path, code, message, help)
    }
}

impl fmt::Display for ShapeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.rule)
    }
}

impl core::error::Error for ShapeError {}

/// Names the kind of what was there. Strings are never shown.
fn kind(unexpected: Unexpected<'_>) -> String {
    String::from(match unexpected {
        Unexpected::Bool(true) => "true",
        Unexpected::Bool(false) => "false",
        Unexpected::Str(_) => "a string",
        Unexpected::Unit => "null",
        Unexpected::Seq => "an array",
        Unexpected::Map => "an object",
        Unexpected::Other(number) => number,
        _ => "another variant",
    })
}

/// Lists what is allowed.
fn one_of(expected: &[&str]) -> String {
    match expected {
        [] => String::from("nothing is expected here"),
        [only] => format!("write `{only}`"),
        _ => format!("one of `{}`", expected.join("`, `")),
    }
}

impl Error for ShapeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new("type-mismatch", message.to_string(), None, String::new())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let rule = format!("must be {expected}");
        Self::new("type-mismatch", rule, Some(kind(unexpected)), String::new())
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let rule = String::from("must be a known value");
        Self::new(
            "value-unknown",
            rule,
            Some(format!("{variant:?}")),
            one_of(expected),
        )
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let rule = String::from("must be a known field");
        Self::new(
            "field-unknown",
            rule,
            Some(format!("{field:?}")),
            one_of(expected),
        )
    }

    fn missing_field(field: &'static str) -> Self {
        let rule = format!("must have the field `{field}`");
        Self::new("field-missing", rule, None, String::new())
    }

    fn duplicate_field(field: &'static str) -> Self {
        let rule = format!("must have the field `{field}` once");
        Self::new(
            "field-duplicate",
            rule,
            Some(String::from("two")),
            String::new(),
        )
    }
}
