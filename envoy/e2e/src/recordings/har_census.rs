//! Counts what the HARs of a folder hold, from the files alone.
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that has no such field is null, not a panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// What the HARs of one run hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HarCensus {
    counts: BTreeMap<&'static str, usize>,
    sessions: BTreeSet<String>,
}

impl HarCensus {
    /// Counts the `.har` files of a folder.
    ///
    /// # Errors
    /// There is none, or one is malformed.
    pub fn of(folder: &Path) -> Result<Self> {
        let mut census = Self::default();
        for entry in
            fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?
        {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "har") {
                continue;
            }
            let har: Value = serde_json::from_str(&fs::read_to_string(&path)?)
                .with_context(|| format!("`{}` is no JSON", path.display()))?;
            census.add("tabs", 1);
            for entry in har["log"]["entries"].as_array().into_iter().flatten() {
                census.read(entry);
            }
        }
        ensure!(census.count("tabs") > 0, "no HAR in `{}`", folder.display());
        let sessions = census.sessions.len();
        census.add("sessions of sticky-session", sessions);
        Ok(census)
    }

    /// Returns a count; 0 for what does not occur.
    #[must_use]
    pub fn count(&self, what: &str) -> usize {
        self.counts.get(what).copied().unwrap_or_default()
    }

    /// Returns the counts as the rows of a Markdown table.
    #[must_use]
    pub fn rows(&self) -> String {
        let mut rows = String::new();
        for (what, count) in &self.counts {
            // Writing to a string does not fail.
            let _ = writeln!(rows, "| {what} | {count} |");
        }
        rows
    }

    fn add(&mut self, what: &'static str, count: usize) {
        *self.counts.entry(what).or_default() += count;
    }

    fn read(&mut self, entry: &Value) {
        let status = entry["response"]["status"].as_u64().unwrap_or_default();
        self.add("entries", 1);
        self.add(
            "entries from the browser's cache",
            usize::from(!entry["_fromCache"].is_null()),
        );
        self.add("entries without an answer", usize::from(status == 0));
        self.add("answers 304", usize::from(status == 304));
        self.add("redirects", usize::from(matches!(status, 302 | 303)));
        let messages = entry["_webSocketMessages"].as_array();
        let messages = messages.map(Vec::as_slice).unwrap_or_default();
        self.add(
            "WebSockets",
            usize::from(entry["_resourceType"] == "websocket"),
        );
        self.add("WebSocket messages", messages.len());
        let binary = messages.iter().filter(|message| message["opcode"] == 2);
        self.add("WebSocket binary messages", binary.count());
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
