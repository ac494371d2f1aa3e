//! Which key of a log holds which field: users name the keys of their logs themselves.
//!
//! Model: a tree of keys. A path `request.method` is the key `method` in the object `request`, and also the key with a
//! dot in it. Of several keys for a field, the first that has a value counts.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::super::entries::Entries;
use super::super::error::{RecordingError, RecordingProblem};

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Attempts,
    Authority,
    BytesReceived,
    BytesSent,
    Cluster,
    Connection,
    Destination,
    Details,
    Duration,
    Flags,
    Method,
    Path,
    Protocol,
    /// A header of the request, by its place in the list.
    RequestHeader(usize),
    RequestId,
    ResponseDuration,
    /// A header of the response, by its place in the list.
    ResponseHeader(usize),
    Route,
    Scheme,
    Source,
    StartTime,
    Status,
    Upstream,
    UpstreamServiceTime,
}

/// A field, its name in a field map, and its keys where no map says otherwise: those of `record-traffic.yaml`, of Envoy's
/// documentation, and those that Istio and Envoy Gateway write.
type Row = (Field, &'static str, &'static [&'static str]);

const DEFAULTS: [Row; 22] = [
    (
        Field::Authority,
        "authority",
        &["authority", ":authority", "host"],
    ),
    (Field::BytesReceived, "bytes_received", &["bytes_received"]),
    (Field::BytesSent, "bytes_sent", &["bytes_sent"]),
    (
        Field::Connection,
        "connection_id",
        &["connection_id", "downstream_connection_id"],
    ),
    (
        Field::Destination,
        "downstream_local_address",
        &["downstream_local_address"],
    ),
    (
        Field::Source,
        "downstream_remote_address",
        &["downstream_remote_address"],
    ),
    (Field::Duration, "duration_ms", &["duration_ms", "duration"]),
    (Field::Method, "method", &["method", ":method"]),
    (
        Field::Path,
        "path",
        &[
            "path",
            "x-envoy-original-path",
            "x-envoy-origin-path",
            ":path",
        ],
    ),
    (Field::Protocol, "protocol", &["protocol"]),
    (
        Field::RequestId,
        "request_id",
        &["request_id", "x_request_id", "x-request-id"],
    ),
    (
        Field::Status,
        "response_code",
        &["response_code", "status", ":status"],
    ),
    (
        Field::Details,
        "response_code_details",
        &["response_code_details"],
    ),
    (
        Field::ResponseDuration,
        "response_duration_ms",
        &["response_duration_ms", "response_duration"],
    ),
    (Field::Flags, "response_flags", &["response_flags"]),
    (Field::Route, "route_name", &["route_name"]),
    (Field::Scheme, "scheme", &["scheme", ":scheme"]),
    (
        Field::StartTime,
        "start_time",
        &["start_time", "timestamp", "@timestamp"],
    ),
    (Field::Cluster, "upstream_cluster", &["upstream_cluster"]),
    (
        Field::Upstream,
        "upstream_host",
        &["upstream_host", "upstream_remote_address"],
    ),
    (
        Field::Attempts,
        "upstream_request_attempt_count",
        &["upstream_request_attempt_count", "attempts"],
    ),
    (
        Field::UpstreamServiceTime,
        "upstream_service_time_ms",
        &["upstream_service_time", "x-envoy-upstream-service-time"],
    ),
];

/// Headers of requests and their keys where no map says otherwise.
const DEFAULT_HEADERS: [(&str, &[&str]); 2] = [
    ("user-agent", &["user_agent", "user-agent"]),
    ("x-forwarded-for", &["x_forwarded_for", "x-forwarded-for"]),
];

const NAMES: &[&str] = &[
    "authority",
    "bytes_received",
    "bytes_sent",
    "connection_id",
    "downstream_local_address",
    "downstream_remote_address",
    "duration_ms",
    "method",
    "path",
    "protocol",
    "request_headers",
    "request_id",
    "response_code",
    "response_code_details",
    "response_duration_ms",
    "response_flags",
    "response_headers",
    "route_name",
    "scheme",
    "start_time",
    "upstream_cluster",
    "upstream_host",
    "upstream_request_attempt_count",
    "upstream_service_time_ms",
];

/// Which key holds which field.
#[derive(Debug)]
pub(in super::super) struct FieldMap {
    pub(super) keys: Keys,
    pub(super) request_headers: Vec<String>,
    pub(super) response_headers: Vec<String>,
}

/// The keys of an object.
#[derive(Debug, Default)]
pub(super) struct Keys(HashMap<Box<str>, Key>);

/// What a key stands for.
#[derive(Debug, Default)]
pub(super) struct Key {
    /// The field, and the place of the key among those of the field.
    pub(super) field: Option<(Field, u8)>,
    /// The keys of the object that it holds.
    pub(super) inner: Option<Keys>,
}

impl Keys {
    pub(super) fn find(&self, key: &str) -> Option<&Key> {
        self.0.get(key)
    }

    fn insert(&mut self, path: &str, field: Field, rank: u8) {
        self.0.entry(path.into()).or_default().field = Some((field, rank));
        if let Some((first, rest)) = path.split_once('.')
            && !first.is_empty()
            && !rest.is_empty()
        {
            let inner = &mut self.0.entry(first.into()).or_default().inner;
            inner.get_or_insert_default().insert(rest, field, rank);
        }
    }
}

impl Default for FieldMap {
    fn default() -> Self {
        let mut map = Self::empty();
        for (field, _, keys) in DEFAULTS {
            map.insert(field, keys.iter().copied());
        }
        for (name, keys) in DEFAULT_HEADERS {
            let field = map.request_header(name);
            map.insert(field, keys.iter().copied());
        }
        map
    }
}

impl FieldMap {
    /// Reads a field map: an object of our fields with their keys. What it doesn't name has the keys that it has without one.
    pub(in super::super) fn open(path: &Path, limit: usize) -> Result<Self, RecordingError> {
        let mut entries = Entries::open(path, limit)?;
        if !entries.next_object()? {
            return Err(RecordingError::of_input(
                entries.name(),
                RecordingProblem::Empty,
            ));
        }
        serde_json::from_slice(entries.entry()).map_err(|error| {
            RecordingError::of_json::<Self>(
                entries.name(),
                entries.entry(),
                entries.start(),
                &error,
            )
        })
    }

    fn empty() -> Self {
        Self {
            keys: Keys::default(),
            request_headers: Vec::new(),
            response_headers: Vec::new(),
        }
    }

    fn insert<'a>(&mut self, field: Field, keys: impl IntoIterator<Item = &'a str>) {
        for (rank, key) in keys.into_iter().enumerate() {
            let rank = u8::try_from(rank).unwrap_or(u8::MAX - 1);
            self.keys.insert(key, field, rank);
        }
    }

    fn request_header(&mut self, name: &str) -> Field {
        self.request_headers.push(name.to_ascii_lowercase());
        Field::RequestHeader(self.request_headers.len() - 1)
    }

    fn response_header(&mut self, name: &str) -> Field {
        self.response_headers.push(name.to_ascii_lowercase());
        Field::ResponseHeader(self.response_headers.len() - 1)
    }
}

impl<'de> Deserialize<'de> for FieldMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapVisitor;
        impl<'de> Visitor<'de> for MapVisitor {
            type Value = FieldMap;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of fields and their keys")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut map = FieldMap::empty();
                let mut named = Vec::new();
                while let Some(name) = access.next_key::<String>()? {
                    if named.contains(&name) {
                        return Err(de::Error::custom(format_args!(
                            "`{name}` is named a second time"
                        )));
                    }
                    match name.as_str() {
                        "request_headers" => {
                            for (header, OneOrMore(keys)) in access.next_value::<Headers>()?.0 {
                                let field = map.request_header(&header);
                                map.insert(field, keys.iter().map(String::as_str));
                            }
                        }
                        "response_headers" => {
                            for (header, OneOrMore(keys)) in access.next_value::<Headers>()?.0 {
                                let field = map.response_header(&header);
                                map.insert(field, keys.iter().map(String::as_str));
                            }
                        }
                        other => {
                            let found = DEFAULTS.iter().find(|(_, name, _)| *name == other);
                            let Some((field, _, _)) = found else {
                                return Err(de::Error::unknown_field(other, NAMES));
                            };
                            let OneOrMore(keys) = access.next_value()?;
                            map.insert(*field, keys.iter().map(String::as_str));
                        }
                    }
                    named.push(name);
                }
                let is_named = |name: &str| named.iter().any(|other| other == name);
                for (field, name, keys) in DEFAULTS {
                    if !is_named(name) {
                        map.insert(
                            field,
                            keys.iter()
                                .copied()
                                .filter(|key| {
                                    // A key that the map gives to another field is not this one's as well.
                                    map_has_not(&map.keys, key)
                                })
                                .collect::<Vec<_>>(),
                        );
                    }
                }
                if !is_named("request_headers") {
                    for (name, keys) in DEFAULT_HEADERS {
                        let field = map.request_header(name);
                        map.insert(field, keys.iter().copied());
                    }
                }
                Ok(map)
            }
        }
        deserializer.deserialize_map(MapVisitor)
    }
}

fn map_has_not(keys: &Keys, key: &str) -> bool {
    keys.find(key).is_none_or(|key| key.field.is_none())
}

/// Names of headers and the keys of each, in their order.
struct Headers(Vec<(String, OneOrMore)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadersVisitor;
        impl<'de> Visitor<'de> for HeadersVisitor {
            type Value = Headers;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of headers and their keys")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut headers = Vec::new();
                while let Some(header) = map.next_entry()? {
                    headers.push(header);
                }
                Ok(Headers(headers))
            }
        }
        deserializer.deserialize_map(HeadersVisitor)
    }
}

/// A key, or several of which the first that has a value counts.
struct OneOrMore(Vec<String>);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeysVisitor;
        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = OneOrMore;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a key, or a list of keys")
            }
            fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
                Ok(OneOrMore(vec![key.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut keys = Vec::new();
                while let Some(key) = list.next_element()? {
                    keys.push(key);
                }
                Ok(OneOrMore(keys))
            }
        }
        deserializer.deserialize_any(KeysVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_one_name_and_every_key_one_field() {
        let mut names: Vec<&str> = DEFAULTS.iter().map(|(_, name, _)| *name).collect();
        names.extend(["request_headers", "response_headers"]);
        names.sort_unstable();
        assert_eq!(names, NAMES);
        let mut keys: Vec<&str> = DEFAULTS
            .iter()
            .flat_map(|(_, _, keys)| keys.iter().copied())
            .collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn a_map_replaces_the_keys_of_what_it_names_and_leaves_the_others() {
        let map: FieldMap = serde_json::from_str(
            r#"{"path":["req.url","url"],"request_headers":{"Cookie":"cookie"},"duration_ms":"status"}"#,
        )
        .unwrap();
        let field = |key: &str| map.keys.find(key).and_then(|key| key.field);
        assert_eq!(field("url"), Some((Field::Path, 1)));
        assert_eq!(field("path"), None);
        assert_eq!(field("req.url"), Some((Field::Path, 0)));
        let inner = map.keys.find("req").unwrap().inner.as_ref().unwrap();
        assert_eq!(inner.find("url").unwrap().field, Some((Field::Path, 0)));
        assert_eq!(field("method"), Some((Field::Method, 0)));
        assert_eq!(field("status"), Some((Field::Duration, 0)));
        assert_eq!(field("cookie"), Some((Field::RequestHeader(0), 0)));
        assert_eq!(field("user_agent"), None);
        assert_eq!(map.request_headers, ["cookie"]);
    }
}
