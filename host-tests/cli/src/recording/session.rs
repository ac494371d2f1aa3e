//! Which streams are one client.

use std::net::SocketAddr;
use std::str::FromStr;

use super::event::{Headers, Open};

/// What tells clients apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SessionKey {
    /// All of these together; a request that lacks one has no such key.
    All(Vec<Self>),
    /// What the recording says; where it says nothing, the connection.
    #[default]
    Auto,
    /// The client's connection.
    Connection,
    /// The value of a cookie; where a request has none, the connection.
    Cookie(String),
    /// The first of these that a request has.
    FirstOf(Vec<Self>),
    /// The value of a header; where a request has none, the connection.
    Header(String),
    /// The client's address without its port.
    SourceIp,
}

/// A session key that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected `auto`, `connection`, `source-ip`, `cookie:NAME`, `header:NAME`, or several joined by `+` (all of them) and `,` (the first that there is)"
)]
pub struct SessionKeyError;

impl FromStr for SessionKey {
    type Err = SessionKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(',') {
            return text
                .split(',')
                .map(Self::from_str)
                .collect::<Result<_, _>>()
                .map(Self::FirstOf);
        }
        if text.contains('+') {
            return text
                .split('+')
                .map(Self::from_str)
                .collect::<Result<_, _>>()
                .map(Self::All);
        }
        Ok(match text {
            "auto" => Self::Auto,
            "connection" => Self::Connection,
            "source-ip" => Self::SourceIp,
            _ => match text.split_once(':') {
                Some(("cookie", name)) if !name.is_empty() => Self::Cookie(name.to_owned()),
                Some(("header", name)) if !name.is_empty() => {
                    Self::Header(name.to_ascii_lowercase())
                }
                _ => return Err(SessionKeyError),
            },
        })
    }
}

impl SessionKey {
    /// Names the client of a stream by this key; `None` where the stream doesn't have it.
    #[must_use]
    pub fn of(&self, open: &Open<'_>, headers: &Headers<'_>) -> Option<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::All(keys) => {
                let names: Option<Vec<String>> =
                    keys.iter().map(|key| key.of(open, headers)).collect();
                names.map(|names| names.join(" "))
            }
            Self::Auto => open.session.as_deref().map(str::to_owned),
            Self::Connection => open.connection.map(|number| number.to_string()),
            Self::Cookie(name) => cookie(headers, name).map(text),
            Self::FirstOf(keys) => keys.iter().find_map(|key| key.of(open, headers)),
            Self::Header(name) => headers.value(name).map(text),
            Self::SourceIp => {
                let source = open.source.as_deref()?;
                let address = source
                    .parse::<SocketAddr>()
                    .map(|address| address.ip().to_string());
                Some(address.unwrap_or_else(|_error| source.to_owned()))
            }
        }
    }

    /// Says whether the headers of a request are needed to name its client.
    #[must_use]
    pub fn needs_headers(&self) -> bool {
        match self {
            Self::All(keys) | Self::FirstOf(keys) => keys.iter().any(Self::needs_headers),
            Self::Cookie(_) | Self::Header(_) => true,
            Self::Auto | Self::Connection | Self::SourceIp => false,
        }
    }

    /// Returns the cookies of which each alone names a client.
    pub(crate) fn cookies(&self) -> Vec<&str> {
        match self {
            Self::Cookie(name) => vec![name],
            Self::FirstOf(keys) => keys.iter().flat_map(Self::cookies).collect(),
            _ => Vec::new(),
        }
    }
}

/// Returns the value of the first cookie of this name that a request carries.
pub(crate) fn cookie<'a>(headers: &'a Headers<'_>, name: &str) -> Option<&'a [u8]> {
    headers
        .fields
        .iter()
        .filter(|(key, _)| key.as_ref() == b"cookie")
        .flat_map(|(_, value)| value.split(|&byte| byte == b';'))
        .find_map(|pair| {
            pair.trim_ascii()
                .strip_prefix(name.as_bytes())?
                .strip_prefix(b"=")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_their_text() {
        let cases = [
            ("auto", Some(SessionKey::Auto)),
            ("source-ip", Some(SessionKey::SourceIp)),
            ("cookie:sid", Some(SessionKey::Cookie("sid".to_owned()))),
            (
                "header:X-User",
                Some(SessionKey::Header("x-user".to_owned())),
            ),
            (
                "cookie:sid,source-ip+header:user-agent",
                Some(SessionKey::FirstOf(vec![
                    SessionKey::Cookie("sid".to_owned()),
                    SessionKey::All(vec![
                        SessionKey::SourceIp,
                        SessionKey::Header("user-agent".to_owned()),
                    ]),
                ])),
            ),
            ("source-ip,", None),
            ("cookie:", None),
            ("ip", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others_and_only_whole() {
        let headers = Headers {
            fields: vec![(
                b"cookie".as_slice().into(),
                b"asid=1; sid=2; sid=3".as_slice().into(),
            )],
            end_stream: true,
            ..Headers::default()
        };
        assert_eq!(cookie(&headers, "sid"), Some(b"2".as_slice()));
        assert_eq!(cookie(&headers, "id"), None);
    }
}
