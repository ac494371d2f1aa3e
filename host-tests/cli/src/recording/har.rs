//! Reads HAR 1.2: what a browser's developer tools export, WebSocket messages included.
//!
//! Inputs: one JSON document of any size, of which one entry is in memory at a time.
//! Limits: a browser sees neither the endpoint behind the proxy nor retries. Bodies are what the browser unpacked, while
//! `content-encoding` and `content-length` still speak of what was sent. What never reached the network is left out and counted.
//! SOURCE: the HAR 1.2 specification (w3c.github.io/web-performance/specs/HAR/Overview.html); the additions are those of Chromium's,
//! Firefox's and Safari's exports.

mod entry;
mod frames;
mod outline;
mod wire;

use super::entries::Entries;
use super::error::RecordingError;
use super::import::{Context, Converter};
use super::scan::Recovery;
use outline::Outline;
use wire::Entry;

/// The keys that an entry begins with in the exports that are known, and that nothing inside of one begins with.
const FIRST_KEYS: &[&str] = &[
    "_connectionId",
    "_fromCache",
    "_initiator",
    "_priority",
    "_resourceType",
    "_webSocketMessages",
    "cache",
    "connection",
    "pageref",
    "request",
    "response",
    "serverIPAddress",
    "startedDateTime",
];

/// A document that is being read.
#[derive(Debug, Default)]
pub(super) struct Har {
    outline: Outline,
}

impl Har {
    /// Says whether a document begins like a HAR: an object that has an object `log`. `None` if more has to be seen.
    pub(super) fn recognises(beginning: &[u8]) -> Option<bool> {
        Outline::recognises(beginning)
    }
}

impl Converter for Har {
    fn source(&self) -> &'static str {
        "har"
    }

    fn recovery(&self) -> Recovery {
        Recovery::Object(FIRST_KEYS)
    }

    fn cut(&mut self, entries: &mut Entries) -> Result<bool, RecordingError> {
        self.outline.next_entry(entries)
    }

    fn convert(&mut self, entries: &Entries, context: &mut Context) -> Result<(), RecordingError> {
        // Checked once for the whole entry, not again for each of its strings; what is no text is refused with its place.
        let entry = match std::str::from_utf8(entries.entry()) {
            Ok(text) => serde_json::from_str::<Entry<'_>>(text),
            Err(_) => serde_json::from_slice::<Entry<'_>>(entries.entry()),
        };
        let entry = entry.map_err(|error| {
            RecordingError::of_json::<Entry<'_>>(
                entries.name(),
                entries.entry(),
                entries.start(),
                &error,
            )
            .within(|| self.outline.path())
        })?;
        entry::convert(&entry, context);
        Ok(())
    }

    fn recovered(&mut self) {
        self.outline.recovered();
    }
}
