//! What a replay says of one stream: what the plugins changed, and why.
//!
//! The JSON of these types is the output of `tidegate replay --json`: integers only, keys in the order of the fields,
//! nothing that was empty. Values of cookies and credentials are never in it; see [`mask`].

use serde::Serialize;

/// One stream through the plugins: its request, its response, and what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// Number of the stream in the recording.
    pub stream: u64,
    /// Number of the client, from 1 in the order in which clients appear.
    pub session: u64,
    /// Worker that served it, from 0.
    pub worker: u32,
    /// When it was opened, in nanoseconds since the Unix epoch.
    pub opened_ns: u64,
    /// Cluster that the route chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Method of the recorded request; empty when there was none.
    pub method: String,
    /// Path of the recorded request.
    pub path: String,
    /// Status that the client got; `None` when it got no response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
    /// Whether the stream became a WebSocket.
    #[serde(skip_serializing_if = "is_false")]
    pub websocket: bool,
    /// What the plugins did to the request.
    pub request: Side,
    /// What the plugins did to the response.
    pub response: Side,
    /// Endpoint that the plugins asked for: the first of their header's list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// Endpoint that served, as the plugins were told: the one asked for if the recording knows it, else the recorded one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Endpoint that served in the recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_upstream: Option<String>,
    /// Whether the plugins sent the request elsewhere than the recorded proxy did.
    #[serde(skip_serializing_if = "is_false")]
    pub diverged: bool,
    /// The answer that a plugin gave itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_reply: Option<LocalReply>,
    /// Why the plugins or the proxy cut the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<String>,
    /// Whether a plugin still held the stream back when the recording ended it.
    #[serde(skip_serializing_if = "is_false")]
    pub held: bool,
    /// Whether the recording ends before the stream does.
    #[serde(skip_serializing_if = "is_false")]
    pub unfinished: bool,
    /// Calls that the plugins made on behalf of the stream.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub call_outs: Vec<CallOut>,
    /// What the plugins logged, from the level that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<Log>,
    /// Traps of plugins while they handled the stream.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traps: Vec<Trap>,
}

impl Exchange {
    /// Says whether the plugins left request and response as they were, and nothing else happened.
    #[must_use]
    pub const fn is_untouched(&self) -> bool {
        self.request.is_untouched()
            && self.response.is_untouched()
            && self.local_reply.is_none()
            && self.reset.is_none()
            && !self.held
            && self.call_outs.is_empty()
            && self.traps.is_empty()
    }
}

/// What the plugins did to one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Counters of the plugins that went up in their callbacks for this direction, each with by how much.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    /// Headers and trailers that were changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// How the body was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<BodyChange>,
}

impl Side {
    const fn is_untouched(&self) -> bool {
        self.changes.is_empty() && self.body.is_none()
    }
}

/// A counter that went up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Reason {
    /// Its name.
    pub metric: String,
    /// By how much.
    pub by: u64,
}

impl Reason {
    /// Returns what follows `.reason.` in the name, the whole name if nothing does.
    #[must_use]
    pub fn label(&self) -> &str {
        self.metric
            .rsplit_once(".reason.")
            .map_or(self.metric.as_str(), |(_, label)| label)
    }
}

/// A header that was changed. Text that isn't UTF-8 is shown with replacement characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A field that wasn't there.
    Added {
        /// Name.
        name: String,
        /// Value.
        value: String,
    },
    /// A field that is gone.
    Removed {
        /// Name.
        name: String,
        /// Value that it had.
        value: String,
    },
    /// The same fields in another order.
    Reordered,
    /// A field with another value.
    Replaced {
        /// Name.
        name: String,
        /// Value that it had.
        was: String,
        /// Value that it has.
        value: String,
    },
    /// Trailers, as one of the above.
    Trailer(Box<Self>),
}

/// How a body was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BodyChange {
    /// Bytes that came.
    pub bytes_in: u64,
    /// Bytes that left.
    pub bytes_out: u64,
}

/// An answer that a plugin gave instead of the upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LocalReply {
    /// HTTP status.
    pub status: u32,
    /// Response code details.
    pub details: String,
    /// Size of the body in bytes.
    pub body_bytes: u64,
}

/// A call that a plugin made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallOut {
    /// Cluster that it went to.
    pub cluster: String,
    /// Method.
    pub method: String,
    /// Path.
    pub path: String,
}

/// A line that a plugin logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Log {
    /// Severity.
    pub level: &'static str,
    /// Text.
    pub message: String,
}

/// A trap of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trap {
    /// The plugin.
    pub plugin: String,
    /// The callback that trapped.
    pub callback: String,
    /// The thread.
    pub thread: String,
    /// What happened.
    pub message: String,
}

/// Makes text of a header's value that may be shown and kept: of cookies and credentials only the size.
#[must_use]
pub fn mask(name: &[u8], value: &[u8]) -> String {
    let hide = |secret: &[u8]| format!("<{} bytes>", secret.len());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let pair = |pair: &[u8]| match pair.iter().position(|&byte| byte == b'=') {
        Some(at) => {
            let (name, secret) = pair.split_at(at);
            format!(
                "{}={}",
                text(name),
                hide(secret.get(1..).unwrap_or_default())
            )
        }
        None => hide(pair),
    };
    match name {
        b"set-cookie" => {
            let (cookie, attributes) = value.split_at(
                value
                    .iter()
                    .position(|&byte| byte == b';')
                    .unwrap_or(value.len()),
            );
            format!("{}{}", pair(cookie), text(attributes))
        }
        b"cookie" => {
            let pairs: Vec<String> = value
                .split(|&byte| byte == b';')
                .map(|one| pair(one.trim_ascii()))
                .collect();
            pairs.join("; ")
        }
        b"authorization" | b"proxy-authorization" => hide(value),
        _ => text(value),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_the_rest_is_shown() {
        let cases: [(&[u8], &[u8], &str); 6] = [
            (
                b"set-cookie",
                b"sid=secret; Path=/; HttpOnly",
                "sid=<6 bytes>; Path=/; HttpOnly",
            ),
            (b"set-cookie", b"secret", "<6 bytes>"),
            (b"cookie", b"a=1; b=secret", "a=<1 bytes>; b=<6 bytes>"),
            (b"authorization", b"Bearer secret", "<13 bytes>"),
            (b"x-tidegate-endpoint", b"10.0.0.1:80", "10.0.0.1:80"),
            (b"x-bin", b"\xff", "\u{fffd}"),
        ];
        for (name, value, expected) in cases {
            assert_eq!(mask(name, value), expected);
        }
    }
}
