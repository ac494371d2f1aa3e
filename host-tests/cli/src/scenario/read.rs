//! Reads a scenario file and says everything that is wrong with it.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use tidegate_host::HostFault;
use tidegate_model::scenario::{Filter, Scenario, Source};

use super::fill::Filler;
use super::problem::{Finding, ScenarioError};
use super::wording;
use super::yaml::{self, Node, Value};
use crate::recording::SessionKey;

/// The largest file that is read: a scenario is written by people.
const LARGEST_BYTES: u64 = 16 * 1024 * 1024;

/// A scenario as its file has it, with the places of its values.
#[derive(Debug)]
pub(super) struct ReadScenario {
    pub(super) scenario: Scenario,
    file: PathBuf,
    text: String,
    tree: Node,
}

/// Reads a scenario file; nothing that it names is opened.
///
/// # Errors
/// The file can't be read, is no YAML, or doesn't say what a scenario has to; all that is wrong together is reported,
/// by place.
pub fn read(path: &Path) -> Result<Scenario, ScenarioError> {
    ReadScenario::open(path).map(|read| read.scenario)
}

impl ReadScenario {
    pub(super) fn open(path: &Path) -> Result<Self, ScenarioError> {
        let text = text_of(path)
            .map_err(|(text, finding)| ScenarioError::new(path, &text, vec![finding]))?;
        Self::parse(path, text)
    }

    pub(super) fn parse(path: &Path, text: String) -> Result<Self, ScenarioError> {
        let tree =
            yaml::parse(&text).map_err(|finding| ScenarioError::new(path, &text, vec![finding]))?;
        let scenario =
            fill(&tree).map_err(|finding| ScenarioError::new(path, &text, vec![finding]))?;
        let read = Self {
            scenario,
            file: path.to_path_buf(),
            text,
            tree,
        };
        let mut problems: Vec<(String, String)> = read
            .scenario
            .problems()
            .into_iter()
            .map(|problem| (problem.path, problem.message))
            .collect();
        problems.extend(read.unknown_calls());
        problems.extend(read.unknown_sessions());
        if problems.is_empty() {
            return Ok(read);
        }
        Err(read.refuse(problems))
    }

    /// Makes an error of places and what is wrong there.
    pub(super) fn refuse(
        &self,
        problems: impl IntoIterator<Item = (String, String)>,
    ) -> ScenarioError {
        let mut findings: Vec<Finding> = problems
            .into_iter()
            .map(|(path, message)| {
                let span = locate(&self.tree, &path, &message);
                Finding {
                    path,
                    message,
                    span: Some(span),
                }
            })
            .collect();
        // In the order of the text; what stands at one place, by path.
        findings.sort_by(|one, other| {
            let begin = |finding: &Finding| finding.span.as_ref().map(|span| span.start);
            begin(one)
                .cmp(&begin(other))
                .then_with(|| one.path.cmp(&other.path))
        });
        ScenarioError::new(&self.file, &self.text, findings)
    }

    fn unknown_calls(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        for (index, fault) in self.scenario.faults.iter().enumerate() {
            if HostFault::functions().any(|name| name == fault.call) {
                continue;
            }
            let nearest = wording::nearest(&fault.call, HostFault::functions());
            let advice = nearest.map_or_else(
                || "write a name such as `proxy_get_shared_data`".to_owned(),
                |name| format!("write `{name}`"),
            );
            problems.push((
                format!("faults[{index}].call"),
                format!("there is no host call `{}`; {advice}", fault.call),
            ));
        }
        problems
    }

    fn unknown_sessions(&self) -> Vec<(String, String)> {
        let sources = self.scenario.traffic.iter().enumerate();
        sources
            .filter_map(|(index, source)| match source {
                Source::Recording(recorded) => {
                    recorded.session.parse::<SessionKey>().err().map(|error| {
                        (
                            format!("traffic[{index}].recording.session"),
                            error.to_string(),
                        )
                    })
                }
                Source::Generated(_) | Source::Requests(_) => None,
            })
            .collect()
    }

    /// The plugins with their places.
    pub(super) fn filters(scenario: &Scenario) -> Vec<(String, &[Filter])> {
        let upstream = scenario
            .clusters
            .iter()
            .enumerate()
            .map(|(index, cluster)| {
                (
                    format!("clusters[{index}].upstream_filters"),
                    cluster.upstream_filters.as_slice(),
                )
            });
        std::iter::once(("filters".to_owned(), scenario.filters.as_slice()))
            .chain(upstream)
            .collect()
    }
}

fn text_of(path: &Path) -> Result<String, (String, Finding)> {
    let whole = |message: String| {
        let finding = Finding {
            message,
            ..Finding::default()
        };
        (String::new(), finding)
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| whole(format!("can't be read: {error}")))?;
    if bytes.len() as u64 > LARGEST_BYTES {
        return Err(whole(format!(
            "is larger than {} MiB; a scenario is a short text",
            LARGEST_BYTES / (1024 * 1024)
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let message = "is no text in UTF-8; save the file as UTF-8".to_owned();
        // Binary files have nothing to be shown in.
        if text.contains('\0') {
            return whole(message);
        }
        (text, Finding::at(at..at, message))
    })
}

fn fill(tree: &Node) -> Result<Scenario, Finding> {
    if !matches!(tree.value, Value::Mapping(_)) {
        let message = "is no scenario; write fields such as `what: …` and `duration: 10s`";
        return Err(Finding::at(tree.at.start..tree.at.start, message));
    }
    serde_path_to_error::deserialize(Filler(tree)).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        let raw = error.into_inner().0;
        Finding {
            span: Some(locate(tree, &path, &raw)),
            message: wording::plain(&raw),
            path,
        }
    })
}

/// Finds the bytes that a path such as `clusters[0].name` leads to, or the last of its steps that there is. If the message
/// names a field there, it is the field's name.
fn locate(tree: &Node, path: &str, message: &str) -> Range<usize> {
    let mut node = tree;
    let mut rest = path;
    let mut last: Option<&yaml::Key> = None;
    loop {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let next = match &node.value {
            Value::Mapping(fields) => fields
                .iter()
                .filter(|(key, _)| {
                    rest.strip_prefix(key.text.as_str())
                        .is_some_and(|after| after.is_empty() || after.starts_with(['.', '[']))
                })
                // Names may have dots of their own.
                .max_by_key(|(key, _)| key.text.len())
                .and_then(|(key, value)| {
                    last = Some(key);
                    Some((value, rest.get(key.text.len()..)?))
                }),
            Value::Sequence(values) => rest
                .strip_prefix('[')
                .and_then(|rest| rest.split_once(']'))
                .and_then(|(index, after)| {
                    let value = values.get(index.parse::<usize>().ok()?)?;
                    Some((value, after))
                }),
            Value::Scalar(..) => None,
        };
        let Some((found, after)) = next else { break };
        (node, rest) = (found, after);
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    // A field that there isn't is wrong itself, not its value.
    if let Some(key) = last.filter(|_| message.starts_with("unknown field"))
        && quoted.clone().next() == Some(key.text.as_str())
    {
        return key.at.clone();
    }
    match &node.value {
        Value::Scalar(..) => node.at.clone(),
        Value::Mapping(fields) => {
            let named = quoted.find_map(|name| fields.iter().find(|(key, _)| key.text == name));
            named.map_or_else(|| node.at.start..node.at.start, |(key, _)| key.at.clone())
        }
        Value::Sequence(_) => node.at.start..node.at.start,
    }
}
