//! Counts what a recording holds, from its files alone.
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that has no such field is null, not a panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use serde_json::Value;

use super::counts::Counts;
use super::files;

/// Counts what the files of one run hold. Exchanges are counted three times, and the counts have to agree.
///
/// # Errors
/// A file is missing or malformed, or the files do not hold the same exchanges.
pub fn of(folder: &Path) -> Result<Counts> {
    let mut census = Counts::default();
    let log = files::values(&folder.join("access-log.jsonl"))?;
    let buffered = files::values(&folder.join("tap-buffered.json"))?;
    let streamed = files::values(&folder.join("tap-streamed.json"))?;
    let traces: BTreeSet<&str> = streamed
        .iter()
        .filter_map(|value| value["http_streamed_trace_segment"]["trace_id"].as_str())
        .collect();
    ensure!(
        log.len() == buffered.len(),
        "{} log lines, {} buffered traces",
        log.len(),
        buffered.len()
    );
    ensure!(
        log.len() == traces.len(),
        "{} log lines, {} streamed traces",
        log.len(),
        traces.len()
    );
    census.add("exchanges", log.len());
    census.add("streamed segments", streamed.len());
    census.read_log(&log);
    for value in &buffered {
        census.read_trace(
            value
                .get("http_buffered_trace")
                .context("not a buffered trace")?,
        )?;
    }
    Ok(census)
}

impl Counts {
    fn read_log(&mut self, log: &[Value]) {
        let mut per_connection = BTreeMap::<u64, usize>::new();
        let mut addresses = BTreeSet::new();
        for entry in log {
            *per_connection
                .entry(entry["connection_id"].as_u64().unwrap_or_default())
                .or_default() += 1;
            let client = entry["downstream_remote_address"]
                .as_str()
                .unwrap_or_default();
            addresses.insert(client.rsplit_once(':').unwrap_or_default().0);
            let status = entry["response_code"].as_u64().unwrap_or_default();
            self.add("answers 5xx", usize::from(status >= 500));
            let details = entry["response_code_details"].as_str().unwrap_or_default();
            self.add(
                "exchanges broken off",
                usize::from(status != 101 && details != "via_upstream"),
            );
            let attempts = entry["upstream_request_attempt_count"]
                .as_u64()
                .unwrap_or_default();
            self.add("exchanges with a retry", usize::from(attempts > 1));
        }
        self.add("connections", per_connection.len());
        self.add(
            "connections kept alive",
            per_connection.values().filter(|count| **count > 1).count(),
        );
        self.add("client addresses", addresses.len());
    }

    fn read_trace(&mut self, trace: &Value) -> Result<()> {
        let (request, response) = (&trace["request"], &trace["response"]);
        self.add(
            "HEAD requests",
            usize::from(header(request, ":method") == Some("HEAD")),
        );
        self.add(
            "exchanges without an answer",
            usize::from(header(response, ":status").is_none()),
        );
        let cookies = header(request, "cookie").unwrap_or_default();
        self.add("requests with cookies", usize::from(!cookies.is_empty()));
        let logs_in = header(request, "x-user").is_some();
        self.add(
            "sessions with cookies of the application's own",
            usize::from(logs_in),
        );
        for (side, unknown_length) in [(request, "chunked requests"), (response, "chunked answers")]
        {
            let trailers = side["trailers"].as_array().map_or(0, Vec::len);
            self.add("bodies with trailers", usize::from(trailers > 0));
            let bytes = body(side)?;
            ensure!(side["body"]["truncated"] != true, "a truncated body");
            if header(response, ":status") == Some("101") {
                self.read_frames(&bytes);
            } else {
                self.add("bodies", usize::from(!bytes.is_empty()));
                let chunked = !bytes.is_empty() && header(side, "content-length").is_none();
                self.add(unknown_length, usize::from(chunked));
            }
        }
        self.add(
            "WebSockets",
            usize::from(header(response, ":status") == Some("101")),
        );
        Ok(())
    }

    /// Counts the frames of one direction of a WebSocket; a last one that was cut off is not counted.
    fn read_frames(&mut self, mut bytes: &[u8]) {
        while let Some((opcode, last, rest)) = frame(bytes) {
            match opcode {
                0x9 => self.add("WebSocket pings", 1),
                0xa => self.add("WebSocket pongs", 1),
                0x8 => self.add("WebSocket Close frames", 1),
                0x1 | 0x2 if !last => self.add("WebSocket messages in fragments", 1),
                _ => {}
            }
            if opcode == 0x2 {
                self.add("WebSocket binary messages", 1);
            }
            bytes = rest;
        }
    }
}

/// Splits the first frame off: opcode, FIN bit, what follows it.
fn frame(bytes: &[u8]) -> Option<(u8, bool, &[u8])> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (size, start) = match second & 0x7f {
        126 => (
            u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
            4,
        ),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        small => (u64::from(small), 2),
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let end = usize::try_from(size).ok()?.checked_add(start + mask)?;
    Some((first & 0x0f, first & 0x80 != 0, bytes.get(end..)?))
}

/// Returns the first value of a header of one side of a buffered trace.
#[must_use]
pub fn header<'t>(side: &'t Value, name: &str) -> Option<&'t str> {
    let headers = side["headers"].as_array()?;
    headers.iter().find(|header| header["key"] == name)?["value"].as_str()
}

fn body(side: &Value) -> Result<Vec<u8>> {
    match side["body"]["as_bytes"].as_str() {
        None => Ok(Vec::new()),
        Some(text) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .context("a body that is not base64"),
    }
}
