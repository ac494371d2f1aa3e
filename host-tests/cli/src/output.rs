//! What a command prints: data on standard output, everything else on standard error.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use console::Style;
use serde::Serialize;

mod progress;
mod table;

pub use progress::Progress;
pub use table::{Align, Table};

/// The form of the data on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Text and tables for people.
    #[default]
    Human,
    /// One JSON document for programs.
    Json,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where a command prints, and how.
#[derive(Debug, Clone)]
pub struct Output {
    format: Format,
    quiet: bool,
    terminal: bool,
}

impl Output {
    /// Decides how to print from what was asked for and what the two streams are.
    #[must_use]
    pub fn new(format: Format, colour: Colour, quiet: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let wants = |is_terminal: bool| match colour {
            Colour::Auto => is_terminal && !plain,
            Colour::Always => true,
            Colour::Never => false,
        };
        console::set_colors_enabled(wants(io::stdout().is_terminal()));
        console::set_colors_enabled_stderr(wants(io::stderr().is_terminal()));
        Self {
            format,
            quiet,
            terminal: io::stderr().is_terminal(),
        }
    }

    /// Prints text without colours, and no progress: for work inside a library or a test.
    #[must_use]
    pub const fn silent() -> Self {
        Self {
            format: Format::Human,
            quiet: true,
            terminal: false,
        }
    }

    /// Returns the form of the data.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Says whether the data is JSON.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        matches!(self.format, Format::Json)
    }

    /// Says whether somebody is there to be asked.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        self.terminal && io::stdin().is_terminal()
    }

    /// Prints `value` as one JSON document on standard output.
    ///
    /// # Errors
    /// Standard output can't be written.
    pub fn json<T: Serialize + ?Sized>(&self, value: &T) -> io::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, value)?;
        writeln!(out)
    }

    /// Prints text for people, with a line end, on standard output.
    ///
    /// # Errors
    /// Standard output can't be written.
    pub fn line(&self, text: impl fmt::Display) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{text}")
    }

    /// Says on standard error what is being done; silent when asked to be quiet.
    pub fn note(&self, text: impl fmt::Display) {
        if !self.quiet {
            self.complain(text);
        }
    }

    /// Prints a warning on standard error.
    pub fn warn(&self, text: impl fmt::Display) {
        self.complain(format_args!(
            "{} {text}",
            yellow().for_stderr().apply_to("warning:")
        ));
    }

    /// Prints a line on standard error.
    pub fn complain(&self, text: impl fmt::Display) {
        // Nobody is left to be told when standard error is gone.
        drop(writeln!(io::stderr().lock(), "{text}"));
    }

    /// Begins to show progress on standard error: a bar on a terminal, one plain line per step elsewhere.
    /// `total` is the number of steps, `None` when it isn't known.
    #[must_use]
    pub fn progress(&self, label: &str, total: Option<u64>) -> Progress {
        Progress::new(label, total, self.terminal && !self.quiet, self.quiet)
    }
}

/// The style of what is good.
#[must_use]
pub const fn green() -> Style {
    Style::new().green()
}

/// The style of what deserves a look.
#[must_use]
pub const fn yellow() -> Style {
    Style::new().yellow()
}

/// The style of what is wrong.
#[must_use]
pub const fn red() -> Style {
    Style::new().red()
}

/// The style of what is secondary.
#[must_use]
pub const fn dim() -> Style {
    Style::new().dim()
}

/// The style of headings.
#[must_use]
pub const fn bold() -> Style {
    Style::new().bold()
}

/// Writes a count of bytes for people: `118.4 KB`, with 1 KB = 1000 bytes.
#[must_use]
pub fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{}.{} KB", count / 1_000, count % 1_000 / 100),
        _ => format!("{}.{} MB", count / 1_000_000, count % 1_000_000 / 100_000),
    }
}

/// Writes a number with a thin separator between thousands: `1 234 567`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_the_largest_unit_that_fits() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 KB"),
            (118_450, "118.4 KB"),
            (2_050_000, "2.0 MB"),
        ];
        for (count, expected) in cases {
            assert_eq!(bytes(count), expected);
        }
    }

    #[test]
    fn numbers_are_grouped_by_three_digits() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1 000"),
            (1_234_567, "1 234 567"),
        ];
        for (number, expected) in cases {
            assert_eq!(thousands(number), expected);
        }
    }
}
