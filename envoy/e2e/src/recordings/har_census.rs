//! Counts what the HARs of a folder hold, from the files alone.
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that has no such field is null, not a panic"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::counts::Counts;

/// Reads one HAR after the other.
#[derive(Debug, Default)]
struct Reader {
    counts: Counts,
    sessions: BTreeSet<String>,
}

/// Counts what the `.har` files of a folder hold.
///
/// # Errors
/// There is none, or one is malformed.
pub fn of(folder: &Path) -> Result<Counts> {
    let mut census = Reader::default();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?
    {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "har") {
            continue;
        }
        let har: Value = serde_json::from_str(&fs::read_to_string(&path)?)
            .with_context(|| format!("`{}` is no JSON", path.display()))?;
        census.counts.add("tabs", 1);
        for entry in har["log"]["entries"].as_array().into_iter().flatten() {
            census.read(entry);
        }
    }
    ensure!(
        census.counts.count("tabs") > 0,
        "no HAR in `{}`",
        folder.display()
    );
    let sessions = census.sessions.len();
    census.counts.add("sessions of sticky-session", sessions);
    Ok(census.counts)
}

impl Reader {
    fn read(&mut self, entry: &Value) {
        let status = entry["response"]["status"].as_u64().unwrap_or_default();
        self.counts.add("entries", 1);
        self.counts.add(
            "entries from the browser's cache",
            usize::from(!entry["_fromCache"].is_null()),
        );
        self.counts
            .add("entries without an answer", usize::from(status == 0));
        self.counts.add("answers 304", usize::from(status == 304));
        self.counts
            .add("redirects", usize::from(matches!(status, 302 | 303)));
        let messages = entry["_webSocketMessages"].as_array();
        let messages = messages.map(Vec::as_slice).unwrap_or_default();
        self.counts.add(
            "WebSockets",
            usize::from(entry["_resourceType"] == "websocket"),
        );
        self.counts.add("WebSocket messages", messages.len());
        let binary = messages.iter().filter(|message| message["opcode"] == 2);
        self.counts.add("WebSocket binary messages", binary.count());
        let cookies = entry["request"]["cookies"].as_array().into_iter().flatten();
        for cookie in cookies {
            if cookie["name"] == crate::sticky::COOKIE {
                // What a cookie says is the same for the whole session, until it is issued again.
                let value = cookie["value"].as_str().unwrap_or_default();
                self.sessions.insert(value.to_owned());
            }
        }
    }
}
