//! What Envoy says of the requests of a scenario, and of each of their attempts.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use tidegate_model::router::Flags;

/// What Envoy says of a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Logged {
    /// The status that it answered; 0 for none.
    pub(super) status: u16,
    pub(super) flags: Flags,
    pub(super) details: String,
    pub(super) attempts: u32,
    /// The endpoint of each attempt that got one, in order.
    pub(super) endpoints: Vec<Option<String>>,
}

/// A line of the access log: of a request, or of one of its attempts.
#[derive(Debug, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line {
    Request {
        id: Option<String>,
        status: u16,
        flags: Option<String>,
        details: Option<String>,
        attempts: u32,
    },
    Attempt {
        id: Option<String>,
        endpoint: Option<String>,
    },
}

/// Reads the access log, by `x-request-id`.
///
/// # Errors
/// The file can't be read, or a line is none of ours.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Logged>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    let mut logged: BTreeMap<String, Logged> = BTreeMap::new();
    for line in text.lines() {
        let parsed = serde_json::from_str(line)
            .with_context(|| format!("not a line of the access log: {line}"))?;
        match parsed {
            Line::Request {
                id: Some(id),
                status,
                flags,
                details,
                attempts,
            } => {
                let entry = logged.entry(id).or_default();
                entry.status = status;
                entry.flags = Flags::parse(flags.as_deref().unwrap_or("-"));
                entry.details = details.unwrap_or_default();
                entry.attempts = attempts;
            }
            Line::Attempt {
                id: Some(id),
                endpoint,
            } => logged.entry(id).or_default().endpoints.push(endpoint),
            // A call-out of a plugin.
            Line::Request { id: None, .. } | Line::Attempt { id: None, .. } => {}
        }
    }
    Ok(logged)
}
