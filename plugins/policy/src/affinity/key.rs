//! Places requests by a key that they bring themselves, without a cookie.
//!
//! Model: `hash = xxh64(key, 0)`; the table's endpoint of the hash if it is available, else the
//! available one with the highest score for the hash. So every gateway with the same endpoints says
//! the same, and an ejection moves the ejected one's keys only.

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::net::IpAddr;

use serde::Deserialize;

use super::{
    decision::RequestDecision,
    reason::RequestReason,
    standing::{best, is_available},
};
use crate::{digest::xxh64, endpoints::Picture, snapshot::EndpointAddress, successor::Table};

/// Is the longest key, in bytes; a longer one counts as none. Tokens and e-mail addresses are far
/// below it; more would let clients buy decoding work.
pub const MAX_KEY_BYTES: usize = 4096;

/// Says who places a client's first requests, which have no cookie yet.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(expecting = "a string", rename_all = "snake_case")]
pub enum FirstRequest {
    /// The proxy's load balancing.
    #[default]
    Balance,
    /// The client's address: its parallel first requests agree. All clients behind one address are
    /// then on one endpoint, so not behind a NAT or a balancer that hides them.
    ClientAddress,
}

impl FirstRequest {
    /// Is the name in the configuration.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Balance => "balance",
            Self::ClientAddress => "client_address",
        }
    }
}

/// Says what requests are placed by instead of a cookie.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Key {
    /// The client's address, without the port.
    ClientAddress,
    /// The first value of the request header with this name, in lower case.
    Header(String),
    /// The first value of the query parameter with this name.
    Query(String),
}

/// Hashes a key; `None` for an empty one, which belongs to everybody who has none, and for one
/// longer than [`MAX_KEY_BYTES`].
#[must_use]
pub fn key_hash(key: &[u8]) -> Option<u64> {
    (!key.is_empty() && key.len() <= MAX_KEY_BYTES).then(|| xxh64(key, 0))
}

/// Hashes a client's address as the proxy writes it, `192.0.2.7:40000`: the IP without the port, an
/// IPv4 address mapped into IPv6 as the IPv4 address. `None` for what is no address.
#[must_use]
pub fn client_hash(source: &[u8]) -> Option<u64> {
    let address = EndpointAddress::parse(source)?;
    Some(match address.ip.to_canonical() {
        IpAddr::V4(ip) => xxh64(&ip.octets(), 0),
        IpAddr::V6(ip) => xxh64(&ip.octets(), 0),
    })
}

/// Hashes the first value of a query parameter of a path, decoded; `None` as in [`key_hash`].
///
/// SOURCE: WHATWG URL, section 5.1 (application/x-www-form-urlencoded parsing), on bytes: `&`
/// separates, the first `=` ends the name, `+` is a space, `%` without two hexadecimal digits stays.
/// Allocates only for a value that has to be decoded. O(length of the path).
#[must_use]
pub fn query_hash(path: &[u8], name: &str) -> Option<u64> {
    let query = path.split(|byte| *byte == b'#').next()?;
    let at = query.iter().position(|byte| *byte == b'?')?;
    let query = query.get(at.checked_add(1)?..)?;
    let value = query.split(|byte| *byte == b'&').find_map(|pair| {
        let sign = pair.iter().position(|byte| *byte == b'=');
        let (pair_name, rest) = pair.split_at_checked(sign.unwrap_or(pair.len()))?;
        let is_named = !pair.is_empty() && Decoded(pair_name).eq(name.bytes());
        is_named.then(|| rest.split_first().map_or(rest, |(_, value)| value))
    })?;
    // Three bytes of text make one at least.
    if value.len() > MAX_KEY_BYTES.saturating_mul(3) {
        return None;
    }
    let is_plain = |byte: &u8| !matches!(byte, b'+' | b'%');
    let key = if value.iter().all(is_plain) {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(Decoded(value).collect::<Vec<u8>>())
    };
    key_hash(&key)
}

/// Decodes a name or a value of a form, byte by byte.
struct Decoded<'a>(&'a [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (byte, rest) = match self.0 {
            [b'%', high, low, rest @ ..] => match digit(*high).zip(digit(*low)) {
                Some((high, low)) => (u8::try_from(high << 4 | low).ok()?, rest),
                None => (b'%', self.0.get(1..)?),
            },
            [b'+', rest @ ..] => (b' ', rest),
            [byte, rest @ ..] => (*byte, rest),
            [] => return None,
        };
        self.0 = rest;
        Some(byte)
    }
}

/// Decides about a request by the hash of its key. `table` is the cluster's, once it is built.
///
/// O(1) while the key's endpoint is available, else O(endpoints).
pub fn on_key(hash: Option<u64>, table: Option<&Table>, picture: Picture<'_>) -> RequestDecision {
    let Some(hash) = hash else {
        return RequestDecision::unpinned(RequestReason::KeyAbsent);
    };
    let Picture::Known(known) = picture else {
        return RequestDecision::unpinned(RequestReason::KeyNoPicture);
    };
    let Some(table) = table else {
        return RequestDecision::unpinned(RequestReason::KeyNoTable);
    };
    let named = table
        .pick_hashed(hash)
        .and_then(EndpointAddress::from_name)
        .filter(|address| {
            let entry = known.view.get(address);
            entry.is_some_and(|entry| is_available(entry.endpoint.state))
        });
    if let Some(named) = named {
        return RequestDecision::new(RequestReason::Keyed, Some(named.into()));
    }
    match best(hash.to_le_bytes(), known.view) {
        Some(successor) => {
            RequestDecision::new(RequestReason::KeyedSuccessor, Some(successor.into()))
        }
        None => RequestDecision::unpinned(RequestReason::KeyNoEndpoint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameter_is_found_as_forms_are_read() {
        let cases: [(&str, Option<&str>); 19] = [
            ("/?user=ann", Some("ann")),
            ("/?user=ann&user=bob", Some("ann")),
            ("/a/b?x=1&user=ann&y", Some("ann")),
            ("/?us%65r=ann", Some("ann")),
            ("/?user=a%6En", Some("ann")),
            ("/?user=a+n", Some("a n")),
            ("/?user=a%2Bn", Some("a+n")),
            ("/?user=a%2", Some("a%2")),
            ("/?user=%zz%", Some("%zz%")),
            ("/?user=a=b", Some("a=b")),
            ("/?&&user=ann", Some("ann")),
            ("/?user=ann?b#user=c", Some("ann?b")),
            ("/?user=", None),
            ("/?user", None),
            ("/?username=ann", None),
            ("/?use=r", None),
            ("/user=ann", None),
            ("", None),
            ("/#?user=ann", None),
        ];
        for (path, key) in cases {
            let expected = key.map(|key| xxh64(key.as_bytes(), 0));
            assert_eq!(query_hash(path.as_bytes(), "user"), expected, "{path}");
        }
        assert_eq!(
            query_hash(b"/?user=%ff", "user"),
            Some(xxh64(&[0xff], 0)),
            "any bytes are a key"
        );
    }

    #[test]
    fn key_is_bounded_after_it_is_decoded() {
        let path = |value: &str| std::format!("/?user={value}");
        let longest = "a".repeat(MAX_KEY_BYTES);
        let escaped = "%61".repeat(MAX_KEY_BYTES);
        let expected = key_hash(longest.as_bytes());
        assert!(expected.is_some());
        for value in [&longest, &escaped] {
            assert_eq!(query_hash(path(value).as_bytes(), "user"), expected);
            let longer = path(&std::format!("{value}a"));
            assert_eq!(query_hash(longer.as_bytes(), "user"), None);
        }
        assert_eq!(key_hash(b""), None);
        assert_eq!(key_hash(&[b'a'; MAX_KEY_BYTES + 1]), None);
    }

    #[test]
    fn client_is_its_address_without_the_port() {
        let one = client_hash(b"192.0.2.7:40000");
        assert!(one.is_some());
        assert_eq!(one, client_hash(b"192.0.2.7:1"));
        assert_eq!(one, client_hash(b"[::ffff:192.0.2.7]:1"));
        assert_ne!(one, client_hash(b"192.0.2.8:1"));
        assert!(client_hash(b"[2001:db8::1]:1").is_some());
        for text in [&b""[..], b"/run/socket", b"192.0.2.7", b"\xff"] {
            assert_eq!(client_hash(text), None);
        }
    }
}
