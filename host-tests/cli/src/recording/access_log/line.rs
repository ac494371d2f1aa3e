//! Reads a line of a log by the field map.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::super::entries::Entries;
use super::super::error::RecordingError;
use super::fields::{Field, FieldMap, Keys};
use super::{LogEntry, LogMessages, time};

/// No key was seen yet for a field.
const NONE: u8 = u8::MAX;

impl FieldMap {
    /// Reads the line in the buffer.
    pub(super) fn read(
        &self,
        entries: &Entries,
    ) -> Result<(LogEntry, LogMessages), RecordingError> {
        let mut line = Line::default();
        self.parse(entries.entry(), &mut line).map_err(|error| {
            RecordingError::of_seed(
                entries.name(),
                entries.entry(),
                entries.start(),
                &error,
                ObjectSeed {
                    keys: &self.keys,
                    line: &mut Line::default(),
                },
            )
        })?;
        Ok((line.entry, line.messages))
    }

    /// Says when the line began; `None` where it doesn't say or can't be read.
    pub(in super::super) fn beginning(&self, entry: &[u8]) -> Option<u64> {
        let mut line = Line::default();
        self.parse(entry, &mut line).ok()?;
        line.entry.start_ns
    }

    /// Says whether an object looks like a line of a log: it has a time, and something of a request or its answer.
    pub(in super::super) fn recognises(&self, entry: &[u8]) -> bool {
        let mut line = Line::default();
        // A value of another type than expected is found again, with its place, when the line is read.
        let is_whole = self.parse(entry, &mut line).is_ok();
        let LogMessages {
            method,
            path,
            status,
            ..
        } = &line.messages;
        let has_messages = method.is_some() || path.is_some() || status.is_some();
        has_messages && (line.entry.start_ns.is_some() || !is_whole)
    }

    fn parse(&self, entry: &[u8], line: &mut Line) -> Result<(), serde_json::Error> {
        // Checked once for the whole line, not again for each of its strings.
        if let Ok(text) = std::str::from_utf8(entry) {
            let mut parser = serde_json::Deserializer::from_str(text);
            ObjectSeed {
                keys: &self.keys,
                line,
            }
            .deserialize(&mut parser)?;
            return parser.end();
        }
        let mut parser = serde_json::Deserializer::from_slice(entry);
        ObjectSeed {
            keys: &self.keys,
            line,
        }
        .deserialize(&mut parser)?;
        parser.end()
    }
}

/// What was read of a line.
#[derive(Debug)]
struct Line {
    entry: LogEntry,
    messages: LogMessages,
    /// For each field, the rank of the key that its value is from.
    ranks: [u8; 24],
}

impl Default for Line {
    fn default() -> Self {
        Self {
            entry: LogEntry::default(),
            messages: LogMessages::default(),
            ranks: [NONE; 24],
        }
    }
}

struct ObjectSeed<'a> {
    keys: &'a Keys,
    line: &'a mut Line,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = ();
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a line of an access log, an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(KeySeed(self.keys))? {
            let Some(key) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            match (key.field, &key.inner) {
                (Some((field, rank)), _) => {
                    let value = map.next_value_seed(ValueSeed(field))?;
                    if let Some(value) = value {
                        self.line.set(field, rank, value);
                    }
                }
                (None, Some(keys)) => map.next_value_seed(InnerSeed {
                    keys,
                    line: self.line,
                })?,
                (None, None) => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// An object in a line, or something else where the key happens to have the name of one.
struct InnerSeed<'a> {
    keys: &'a Keys,
    line: &'a mut Line,
}

impl<'de> DeserializeSeed<'de> for InnerSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for InnerSeed<'_> {
    type Value = ();
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }
    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        ObjectSeed {
            keys: self.keys,
            line: self.line,
        }
        .deserialize(deserializer)
    }
}

/// Finds a key without copying it.
struct KeySeed<'a>(&'a Keys);

impl<'de, 'a> DeserializeSeed<'de> for KeySeed<'a> {
    type Value = Option<&'a super::fields::Key>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for KeySeed<'a> {
    type Value = Option<&'a super::fields::Key>;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }
    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.find(key))
    }
}

/// A value of a line.
enum Value {
    Number(u64),
    Text(String),
}

/// Reads the value of a field; `None` for `null`, `-` and nothing, as Envoy writes what it doesn't know.
struct ValueSeed(Field);

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
    Time,
}

impl ValueSeed {
    const fn kind(&self) -> Kind {
        match self.0 {
            Field::StartTime => Kind::Time,
            Field::Attempts
            | Field::BytesReceived
            | Field::BytesSent
            | Field::Connection
            | Field::Duration
            | Field::ResponseDuration
            | Field::Status
            | Field::UpstreamServiceTime => Kind::Number,
            _ => Kind::Text,
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Option<Value>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Option<Value>;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.kind() {
            Kind::Number => "a whole number",
            Kind::Text => "a string",
            Kind::Time => time::EXPECTED,
        })
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.is_empty() || text == "-" {
            return Ok(None);
        }
        let number = match self.kind() {
            Kind::Text => return Ok(Some(Value::Text(text.to_owned()))),
            Kind::Number => text.parse().ok(),
            Kind::Time => time::parse(text),
        };
        number
            .map(|number| Some(Value::Number(number)))
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(match self.kind() {
            Kind::Number => Some(Value::Number(number)),
            Kind::Text => Some(Value::Text(number.to_string())),
            Kind::Time => time::epoch(&number.to_string()).map(Value::Number),
        })
    }
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        // Some that pass logs on write every number with a fraction.
        let read = match self.kind() {
            Kind::Number if number.fract() == 0.0 => format!("{number:.0}").parse().ok(),
            // To the microsecond: a float of today's seconds holds no more.
            Kind::Time => time::epoch(&format!("{number:.6}")),
            Kind::Number | Kind::Text => None,
        };
        read.map(|number| Some(Value::Number(number)))
            .ok_or_else(|| E::invalid_value(de::Unexpected::Float(number), &self))
    }
    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

impl Line {
    /// Keeps a value, unless a key that counts before this one had one already.
    fn set(&mut self, field: Field, rank: u8, value: Value) {
        let Some(place) = self.ranks.get_mut(rank_place(field)) else {
            return;
        };
        let is_header = matches!(field, Field::RequestHeader(_) | Field::ResponseHeader(_));
        if !is_header {
            if *place < rank {
                return;
            }
            *place = rank;
        }
        let (entry, messages) = (&mut self.entry, &mut self.messages);
        match value {
            Value::Number(number) => {
                let to = match field {
                    Field::Attempts => &mut entry.attempts,
                    Field::BytesReceived => &mut messages.bytes_received,
                    Field::BytesSent => &mut messages.bytes_sent,
                    Field::Connection => &mut entry.connection,
                    Field::Duration => &mut entry.duration_ms,
                    Field::ResponseDuration => &mut entry.response_duration_ms,
                    Field::StartTime => &mut entry.start_ns,
                    Field::Status => &mut messages.status,
                    _ => &mut entry.upstream_service_ms,
                };
                *to = Some(number);
            }
            Value::Text(text) => {
                let to = match field {
                    Field::Authority => &mut messages.authority,
                    Field::Cluster => &mut entry.cluster,
                    Field::Destination => &mut entry.destination,
                    Field::Details => &mut entry.details,
                    Field::Flags => &mut entry.flags,
                    Field::Method => &mut messages.method,
                    Field::Path => &mut messages.path,
                    Field::Protocol => &mut entry.protocol,
                    Field::RequestHeader(place) => {
                        return keep(&mut messages.request_headers, place, text);
                    }
                    Field::RequestId => &mut entry.request_id,
                    Field::ResponseHeader(place) => {
                        return keep(&mut messages.response_headers, place, text);
                    }
                    Field::Route => &mut entry.route,
                    Field::Scheme => &mut messages.scheme,
                    Field::Source => &mut entry.source,
                    _ => &mut entry.upstream,
                };
                *to = Some(text);
            }
        }
    }
}

/// Keeps the first value of a header: a header has few keys, and a line has one of them.
fn keep(headers: &mut Vec<(usize, String)>, place: usize, text: String) {
    if !headers.iter().any(|(other, _)| *other == place) {
        headers.push((place, text));
    }
}

const fn rank_place(field: Field) -> usize {
    match field {
        Field::RequestHeader(_) | Field::ResponseHeader(_) => 0,
        Field::Attempts => 1,
        Field::Authority => 2,
        Field::BytesReceived => 3,
        Field::BytesSent => 4,
        Field::Cluster => 5,
        Field::Connection => 6,
        Field::Destination => 7,
        Field::Details => 8,
        Field::Duration => 9,
        Field::Flags => 10,
        Field::Method => 11,
        Field::Path => 12,
        Field::Protocol => 13,
        Field::RequestId => 14,
        Field::ResponseDuration => 15,
        Field::Route => 16,
        Field::Scheme => 17,
        Field::Source => 18,
        Field::StartTime => 19,
        Field::Status => 20,
        Field::Upstream => 21,
        Field::UpstreamServiceTime => 22,
    }
}
