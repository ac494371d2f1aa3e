//! Expectations: the decisions of a replay in a file, and how a later run differs from them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use similar::{ChangeTag, TextDiff};

use super::decision::Decision;
use super::totals::Totals;
use crate::recording::Format;

/// The name in every expectation.
pub const EXPECTATION_NAME: &str = "tidegate-expectation";
const MAJOR: u32 = 1;
const MINOR: u32 = 0;
/// Exchanges whose difference is shown; what follows is mostly the consequence.
const SHOWN_MAX: usize = 10;

/// What a replay is expected to decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an expectation")]
pub struct Expectation {
    /// Name and version of the format.
    pub format: Format,
    /// The chain of plugins, by name.
    pub plugins: Vec<String>,
    /// The decisions, in the order in which the streams end.
    pub exchanges: Vec<Decision>,
    /// Sums.
    pub totals: BTreeMap<String, u64>,
    /// Counters of the plugins that aren't zero.
    pub counters: BTreeMap<String, u64>,
}

/// An expectation that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpectationError {
    /// It can't be read or written.
    #[error("can't use the expectation `{path}`")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no expectation.
    #[error("`{path}` is no expectation: {path_in_file}: {message}")]
    Malformed {
        /// The file.
        path: String,
        /// Where in it.
        path_in_file: String,
        /// What is wrong.
        message: String,
    },
    /// It was written by a newer version.
    #[error(
        "the expectation `{path}` has format version {major}.{minor}, newer than this version of tidegate reads ({MAJOR}): write it again with `--bless`"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its major version.
        major: u32,
        /// Its minor version.
        minor: u32,
    },
}

impl Expectation {
    /// Makes an expectation of what a replay did.
    #[must_use]
    pub fn new(plugins: Vec<String>, exchanges: Vec<Decision>, totals: &Totals) -> Self {
        let sums = [
            ("requests", totals.requests),
            ("sessions", totals.sessions),
            ("websockets", totals.websockets),
            ("changed_requests", totals.changed_requests),
            ("changed_responses", totals.changed_responses),
            ("diverged", totals.diverged),
            ("local_replies", totals.local_replies),
            ("resets", totals.resets),
            ("held", totals.held),
            ("unfinished", totals.unfinished),
            ("call_outs", totals.call_outs),
            ("traps", totals.traps),
        ];
        Self {
            format: Format {
                name: EXPECTATION_NAME.to_owned(),
                major: MAJOR,
                minor: MINOR,
            },
            plugins,
            exchanges,
            totals: sums
                .into_iter()
                .map(|(name, sum)| (name.to_owned(), sum))
                .collect(),
            counters: totals
                .metrics
                .iter()
                .filter(|metric| metric.kind == "counter" && metric.value > 0)
                .map(|metric| (metric.name.clone(), metric.value))
                .collect(),
        }
    }

    /// Reads an expectation.
    ///
    /// # Errors
    /// It can't be read, is malformed, or newer.
    pub fn read(path: &Path) -> Result<Self, ExpectationError> {
        #[derive(Deserialize)]
        struct Versioned {
            format: Format,
        }
        let shown = path.display().to_string();
        let text = fs::read(path).map_err(|source| ExpectationError::Io {
            path: shown.clone(),
            source,
        })?;
        if let Ok(Versioned { format }) = serde_json::from_slice(&text)
            && format.name == EXPECTATION_NAME
            && format.major > MAJOR
        {
            return Err(ExpectationError::Newer {
                path: shown,
                major: format.major,
                minor: format.minor,
            });
        }
        let mut parser = serde_json::Deserializer::from_slice(&text);
        let expectation: Self = serde_path_to_error::deserialize(&mut parser).map_err(|error| {
            ExpectationError::Malformed {
                path: shown.clone(),
                path_in_file: format!("$.{}", error.path()),
                message: error.inner().to_string(),
            }
        })?;
        if expectation.format.name != EXPECTATION_NAME {
            return Err(ExpectationError::Malformed {
                path: shown,
                path_in_file: "$.format.name".to_owned(),
                message: format!("expected `{EXPECTATION_NAME}`"),
            });
        }
        Ok(expectation)
    }

    /// Writes the expectation, one exchange per line; the file appears complete or not at all.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, path: &Path) -> Result<(), ExpectationError> {
        let shown = path.display().to_string();
        self.write_to(path).map_err(|source| ExpectationError::Io {
            path: shown,
            source,
        })
    }

    fn write_to(&self, path: &Path) -> io::Result<()> {
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let file = tempfile::NamedTempFile::new_in(directory)?;
        let mut out = BufWriter::new(file);
        out.write_all(b"{\"format\":")?;
        serde_json::to_writer(&mut out, &self.format)?;
        out.write_all(b",\n\"plugins\":")?;
        serde_json::to_writer(&mut out, &self.plugins)?;
        out.write_all(b",\n\"exchanges\":[")?;
        for (index, decision) in self.exchanges.iter().enumerate() {
            out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
            serde_json::to_writer(&mut out, decision)?;
        }
        out.write_all(b"\n],\n\"totals\":")?;
        serde_json::to_writer(&mut out, &self.totals)?;
        out.write_all(b",\n\"counters\":")?;
        serde_json::to_writer(&mut out, &self.counters)?;
        out.write_all(b"}\n")?;
        let file = out.into_inner().map_err(io::Error::from)?;
        #[cfg(unix)]
        {
            // A temporary file is readable by its owner only; an expectation is an ordinary file.
            use std::os::unix::fs::PermissionsExt;
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(0o644))?;
        }
        file.persist(path).map_err(io::Error::from)?;
        Ok(())
    }

    /// Compares what happened with this expectation; `None` when it is the same.
    #[must_use]
    pub fn compare(&self, actual: &Self) -> Option<Divergence> {
        if self == actual {
            return None;
        }
        let mut divergence = Divergence::default();
        let most = self.exchanges.len().max(actual.exchanges.len());
        for index in 0..most {
            let (expected, actual) = (self.exchanges.get(index), actual.exchanges.get(index));
            if expected == actual {
                continue;
            }
            divergence.exchanges += 1;
            if divergence.exchanges <= SHOWN_MAX {
                let text =
                    |decision: Option<&Decision>| decision.map(Decision::text).unwrap_or_default();
                divergence.compare(&text(expected), &text(actual));
            }
        }
        let sums = |expectation: &Self| {
            let mut text = format!("plugins {}\n", expectation.plugins.join(", "));
            for (name, sum) in expectation.totals.iter().chain(&expectation.counters) {
                text.push_str(&format!("{name} {sum}\n"));
            }
            text
        };
        let (expected, actual) = (sums(self), sums(actual));
        if expected != actual {
            divergence.compare(&expected, &actual);
        }
        Some(divergence)
    }
}

/// How a run differs from its expectation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Divergence {
    /// Exchanges that differ.
    pub exchanges: usize,
    /// The differences as lines: ` ` both, `-` expected only, `+` happened only; an empty line between exchanges.
    pub lines: Vec<(char, String)>,
}

impl Divergence {
    fn compare(&mut self, expected: &str, actual: &str) {
        if !self.lines.is_empty() {
            self.lines.push((' ', String::new()));
        }
        let diff = TextDiff::from_lines(expected, actual);
        let all = diff.iter_all_changes();
        self.lines.extend(all.map(|change| {
            let mark = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Equal => ' ',
                ChangeTag::Insert => '+',
            };
            (mark, change.value().trim_end().to_owned())
        }));
    }

    /// Says how many exchanges differ that aren't shown.
    #[must_use]
    pub const fn not_shown(&self) -> usize {
        self.exchanges.saturating_sub(SHOWN_MAX)
    }
}
