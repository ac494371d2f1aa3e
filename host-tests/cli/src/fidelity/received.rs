//! What a client or an upstream received, as a line of the log.

/// Headers that are the transport's, or that differ from run to run.
const LEFT_OUT: [&str; 7] = [
    "connection",
    "date",
    "host",
    "keep-alive",
    "server",
    "transfer-encoding",
    "x-forwarded-proto",
];

/// What arrived at one end of an exchange.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Received {
    /// Method and path, or status; empty while nothing came.
    pub head: String,
    /// Headers without pseudo-headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body so far.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Vec<(String, String)>,
    /// Whether the end came.
    pub complete: bool,
}

impl Received {
    /// Adds a header, unless it is one of the transport's or a pseudo-header.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        if name.first() != Some(&b':') {
            self.headers.push(text(name, value));
        }
    }

    /// Adds a trailer.
    pub fn trailer(&mut self, name: &[u8], value: &[u8]) {
        self.trailers.push(text(name, value));
    }

    /// Writes it as a line.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = if self.head.is_empty() {
            "nothing".to_owned()
        } else {
            format!(
                "{} {} \"{}\"",
                self.head,
                map(&self.headers),
                self.body.escape_ascii()
            )
        };
        if !self.trailers.is_empty() {
            line.push(' ');
            line.push_str(&map(&self.trailers));
        }
        // An upgraded connection has no end but that of the connection.
        let upgraded = self.headers.iter().any(|(name, _)| name == "upgrade");
        if !self.complete && !upgraded {
            line.push_str(" cut");
        }
        line
    }
}

fn text(name: &[u8], value: &[u8]) -> (String, String) {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    (name, value.escape_ascii().to_string())
}

/// A length of nothing is added by codecs where nothing else says that nothing comes.
fn is_codecs(name: &str, value: &str) -> bool {
    name == "content-length" && value == "0"
}

fn map(pairs: &[(String, String)]) -> String {
    let mut shown: Vec<String> = pairs
        .iter()
        .filter(|(name, value)| !LEFT_OUT.contains(&name.as_str()) && !is_codecs(name, value))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    // Codecs write headers in an order of their own.
    shown.sort();
    format!("{{{}}}", shown.join("; "))
}
