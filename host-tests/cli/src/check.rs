//! Asks a plugin what it thinks of a configuration: the real module, started as the proxy starts it.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tidegate_host::{
    Engine, LogLevel, LogLine, Module, Observer, OwnedLogLine, PluginConfig, Proxy, StartError,
};

use crate::exit::{ExitCode, Failure};
use crate::module_file::ModuleFile;

mod locate;
mod render;

pub(crate) use locate::line_and_column;
pub use render::render;
pub(crate) use render::render_problems;

/// What Tidegate's plugins begin the report of a refused configuration with.
const REJECTED: &str = "plugin config rejected: ";

/// What a plugin said about a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The file of the configuration.
    pub path: String,
    /// Whether the plugin took it.
    pub accepted: bool,
    /// What is wrong with it, by path; empty also when the plugin doesn't report in Tidegate's form.
    pub problems: Vec<Problem>,
    /// What the plugin logged besides.
    pub logs: Vec<LoggedLine>,
    /// How the plugin trapped, if it did.
    pub trap: Option<String>,
}

/// One finding about a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where it is: `$.clusters[0].ttl`.
    pub path: String,
    /// The rule, what was there instead, and what to write.
    pub message: String,
    /// Its line in the file, from 1, if it could be found.
    pub line: Option<usize>,
    /// Its column in the file, in bytes from 1, if it could be found.
    pub column: Option<usize>,
    /// Its bytes in the file.
    #[serde(skip)]
    pub(crate) span: Option<Range<usize>>,
}

/// A line that the plugin logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoggedLine {
    /// `trace` to `critical`.
    pub level: &'static str,
    /// What it says; what is not UTF-8 is replaced.
    pub message: String,
}

impl Verdict {
    /// Returns how the verdict ends the command.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        match (self.accepted, &self.trap) {
            (_, Some(_)) => ExitCode::GuestTrapped,
            (false, None) => ExitCode::ConfigRejected,
            (true, None) => ExitCode::Passed,
        }
    }
}

/// A plugin that is asked about configurations.
#[derive(Debug)]
pub struct Checker {
    engine: Engine,
    module: Module,
    name: String,
    environment: Vec<(String, String)>,
}

impl Checker {
    /// Compiles the plugin. `environment` is what its VM sees.
    ///
    /// # Errors
    /// The host can't run it (guest).
    pub fn new(
        engine: Engine,
        file: &ModuleFile,
        environment: Vec<(String, String)>,
    ) -> anyhow::Result<Self> {
        let module = Module::compile(&engine, &file.name, &file.bytes).map_err(|error| {
            Failure::new(
                ExitCode::GuestTrapped,
                anyhow::Error::new(error)
                    .context(format!("failed to load `{}`", file.path.display())),
            )
        })?;
        Ok(Self {
            engine,
            module,
            name: file.name.clone(),
            environment,
        })
    }

    /// Starts the plugin with a configuration. `path` is only shown.
    ///
    /// # Errors
    /// The host can't be set up.
    pub fn check(&self, path: &str, configuration: &[u8]) -> anyhow::Result<Verdict> {
        let heard = Heard::default();
        let started = Proxy::builder(&self.engine)
            .filter(
                &self.module,
                PluginConfig {
                    name: self.name.clone(),
                    configuration: configuration.to_vec(),
                    environment: self.environment.clone(),
                    ..PluginConfig::default()
                },
            )
            .observer(Box::new(heard.clone()))
            .build();
        let (accepted, trap, said) = match started {
            Ok(_) => (true, None, heard.lines()),
            Err(StartError::Rejected { logs, .. }) => (false, None, logs),
            Err(StartError::Trapped {
                callback,
                message,
                logs,
                ..
            }) => (false, Some(format!("{callback}: {message}")), logs),
            Err(StartError::Instantiate { message, .. }) => (false, Some(message), heard.lines()),
            Err(error) => return Err(error.into()),
        };
        let text = str::from_utf8(configuration).unwrap_or_default();
        let mut problems = Vec::new();
        let mut logs: Vec<LoggedLine> = Vec::new();
        for line in said {
            let message = String::from_utf8_lossy(&line.message).into_owned();
            match message.split_once(REJECTED) {
                Some((_, report)) if !accepted => {
                    for problem in report
                        .lines()
                        .skip(1)
                        .filter_map(|line| problem(text, line))
                    {
                        // The base VM and the workers' VMs say the same.
                        if !problems.contains(&problem) {
                            problems.push(problem);
                        }
                    }
                }
                _ => {
                    let line = LoggedLine {
                        level: line.level.name(),
                        message,
                    };
                    if !logs.contains(&line) {
                        logs.push(line);
                    }
                }
            }
        }
        Ok(Verdict {
            path: path.to_owned(),
            accepted,
            problems,
            logs,
            trap,
        })
    }
}

/// Reads `  $.clusters[0].ttl: missing unit in "10"; write "10s"` and finds the place in the text.
fn problem(text: &str, line: &str) -> Option<Problem> {
    let (path, message) = line
        .trim_start()
        .split_once(": ")
        .filter(|(path, _)| path.starts_with('$'))?;
    let quoted: Vec<&str> = message.split(['"', '`']).skip(1).step_by(2).collect();
    let span = stated_place(text, message).or_else(|| locate::locate(text, path, &quoted));
    let place = span
        .as_ref()
        .map(|span| locate::line_and_column(text, span.start));
    Some(Problem {
        path: path.to_owned(),
        message: message.to_owned(),
        line: place.map(|(line, _)| line),
        column: place.map(|(_, column)| column),
        span,
    })
}

/// Reads `… at line 3 column 7`, which is how text that is not JSON is reported.
fn stated_place(text: &str, message: &str) -> Option<Range<usize>> {
    let (_, place) = message.rsplit_once(" at line ")?;
    let (line, column) = place.split_once(" column ")?;
    let digits = column
        .find(|digit: char| !digit.is_ascii_digit())
        .unwrap_or(column.len());
    let at = locate::byte_at(
        text,
        line.parse().ok()?,
        column.get(..digits)?.parse().ok()?,
    )?;
    Some(at..at)
}

/// Keeps what the plugin logs.
#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<Vec<OwnedLogLine>>>);

impl Heard {
    fn lines(&self) -> Vec<OwnedLogLine> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Observer for Heard {
    fn log(&mut self, line: LogLine<'_>) {
        // Below that it is about the plugin's own doings.
        if line.level >= LogLevel::Info {
            let line = OwnedLogLine {
                level: line.level,
                message: line.message.to_vec(),
            };
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\n  \"ttl\": \"10\",\n  \"oops\": 1\n}";

    #[test]
    fn a_reported_problem_is_found_in_the_file() {
        let found = problem(
            TEXT,
            "  $.ttl: missing unit in \"10\"; write \"10s\" or \"10ms\"",
        )
        .expect("a problem");
        assert_eq!(
            (found.path.as_str(), found.line, found.column),
            ("$.ttl", Some(2), Some(10))
        );
        assert_eq!(
            found.message,
            "missing unit in \"10\"; write \"10s\" or \"10ms\""
        );
    }

    #[test]
    fn a_field_that_the_message_names_is_found() {
        let found = problem(
            TEXT,
            "  $: must be a known field, got \"oops\"; one of `ttl`",
        )
        .expect("a problem");
        assert_eq!((found.line, found.column), (Some(3), Some(3)));
    }

    #[test]
    fn a_place_that_the_message_states_is_taken() {
        let found = problem(
            "{\n  x\n}",
            "  $: must be JSON, but this is no value at line 2 column 3",
        )
        .expect("a problem");
        assert_eq!((found.line, found.column), (Some(2), Some(3)));
    }

    #[test]
    fn a_line_of_another_form_is_no_problem() {
        assert_eq!(problem(TEXT, "  something else: entirely"), None);
    }
}
