//! Joins what Envoy wrote, one file per stream, into one file per kind.
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that has no such field is null, not a panic"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Deserializer, Value};

/// Reads a file with several JSON values one after the other.
///
/// # Errors
/// The file cannot be read or is no JSON.
pub fn values(path: &Path) -> Result<Vec<Value>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let values: Result<_, _> = Deserializer::from_str(&text).into_iter().collect();
    values.with_context(|| format!("`{}` is no JSON", path.display()))
}

/// Removes the white space between the tokens of JSON text and ends every top-level value with a line feed. Nothing
/// else changes: neither the order of fields nor the way in which a string is written.
#[must_use]
pub fn one_value_per_line(json: &str) -> String {
    let mut lines = String::with_capacity(json.len() / 2);
    let (mut depth, mut in_string, mut escaped) = (0_u32, false, false);
    for character in json.chars() {
        if in_string {
            lines.push(character);
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        if character.is_ascii_whitespace() {
            continue;
        }
        lines.push(character);
        match character {
            '"' => in_string = true,
            '{' | '[' => depth += 1,
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    lines.push('\n');
                }
            }
            _ => {}
        }
    }
    lines
}

/// Joins the files of one tap filter, stream after stream, in the order of `start_times` (by `x-request-id`).
///
/// # Errors
/// The folder or a file in it cannot be read.
pub fn join_taps(folder: &Path, start_times: &BTreeMap<String, String>) -> Result<String> {
    let mut streams = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?
    {
        let text = fs::read_to_string(entry?.path())?;
        let lines = one_value_per_line(&text);
        let id = request_id(&lines).context("a trace without `x-request-id`")?;
        let time = start_times
            .get(&id)
            .cloned()
            .with_context(|| format!("the access log has no request {id}"))?;
        streams.push((time, id, lines));
    }
    streams.sort();
    Ok(streams.into_iter().map(|(_, _, lines)| lines).collect())
}

/// Returns `start_time` by `request_id` from the lines of a JSON access log.
///
/// # Errors
/// A line is no JSON.
pub fn start_times(access_log: &str) -> Result<BTreeMap<String, String>> {
    let mut times = BTreeMap::new();
    for line in access_log.lines() {
        let entry: Value = serde_json::from_str(line).context("an access log line is no JSON")?;
        if let (Some(id), Some(time)) = (entry["request_id"].as_str(), entry["start_time"].as_str())
        {
            times.insert(id.to_owned(), time.to_owned());
        }
    }
    Ok(times)
}

/// Returns the `x-request-id` of a stream's first value.
fn request_id(lines: &str) -> Option<String> {
    let first: Value = serde_json::from_str(lines.lines().next()?).ok()?;
    let headers = first
        .pointer("/http_buffered_trace/request/headers")
        .or_else(|| first.pointer("/http_streamed_trace_segment/request_headers/headers"))?;
    let header = headers
        .as_array()?
        .iter()
        .find(|header| header["key"] == "x-request-id")?;
    Some(header["value"].as_str()?.to_owned())
}
