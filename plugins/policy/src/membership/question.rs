//! Writes the questions to Envoy's admin.

use alloc::string::{String, ToString};
use core::fmt::Write as _;

/// Is what the path of a question for counters begins with.
pub(super) const COUNTERS_START: &str = "/stats?filter=%5Ecluster%5C.%28";

/// Is what it ends with.
pub(super) const COUNTERS_END: &str = "%29%5C.membership_";

/// Asks for the endpoints of one cluster.
pub(super) fn list_path(cluster: &str) -> String {
    let mut path = String::from("/clusters?format=json&filter=%5E");
    path.push_str(&encode(&re2_literal(cluster)));
    path.push_str("%24");
    path
}

/// Is the name under which Envoy counts a cluster: `://`, `:/`, `:` and NUL become `_`.
#[must_use]
pub fn stat_name(cluster: &str) -> String {
    cluster
        .replace("://", "_")
        .replace(":/", "_")
        .replace([':', '\0'], "_")
}

/// Writes a text as a regular expression of RE2 that matches it and nothing else.
#[must_use]
pub fn re2_literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' => {
                literal.push('\\');
                literal.push(character);
            }
            '\0' => literal.push_str("\\x00"),
            _ => literal.push(character),
        }
    }
    literal
}

/// Percent-encodes everything but what RFC 3986 calls unreserved.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else if write!(encoded, "%{byte:02X}").is_err() {
            // Writing into memory does not fail.
            encoded.push_str(&byte.to_string());
        }
    }
    encoded
}
