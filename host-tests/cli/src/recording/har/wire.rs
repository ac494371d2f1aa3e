//! The JSON of an entry of a HAR. Fields that aren't needed are skipped, known or not.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::super::text::{Lenient, Text};

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an entry, an object")]
pub(super) struct Entry<'a> {
    pub(super) started_date_time: Time,
    #[serde(default)]
    pub(super) time: Milliseconds,
    #[serde(borrow)]
    pub(super) request: Request<'a>,
    #[serde(borrow)]
    pub(super) response: Option<Response<'a>>,
    #[serde(borrow, rename = "serverIPAddress")]
    pub(super) server_ip_address: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) connection: Option<Name<'a>>,
    #[serde(borrow, rename = "_connectionId")]
    pub(super) connection_id: Option<Name<'a>>,
    #[serde(borrow, rename = "_fromCache")]
    pub(super) from_cache: Option<Text<'a>>,
    /// Safari's word for where the answer came from.
    #[serde(borrow, rename = "_fetchType")]
    pub(super) fetch_type: Option<Text<'a>>,
    #[serde(borrow, rename = "_webSocketMessages")]
    pub(super) web_socket_messages: Option<Vec<Message<'a>>>,
    pub(super) timings: Option<Timings>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a request, an object")]
pub(super) struct Request<'a> {
    #[serde(borrow)]
    pub(super) method: Text<'a>,
    #[serde(borrow)]
    pub(super) url: Text<'a>,
    #[serde(borrow)]
    pub(super) http_version: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) headers: Vec<Header<'a>>,
    #[serde(borrow, default)]
    pub(super) cookies: Option<Vec<Header<'a>>>,
    #[serde(borrow)]
    pub(super) post_data: Option<PostData<'a>>,
    pub(super) body_size: Option<Size>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a response, an object")]
pub(super) struct Response<'a> {
    pub(super) status: Status,
    #[serde(borrow)]
    pub(super) http_version: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) headers: Vec<Header<'a>>,
    #[serde(borrow)]
    pub(super) content: Option<Content<'a>>,
    pub(super) body_size: Option<Size>,
    #[serde(borrow, rename = "_error")]
    pub(super) error: Option<Text<'a>>,
    #[serde(default, rename = "_fetchedViaServiceWorker")]
    pub(super) fetched_via_service_worker: Option<bool>,
}

/// A header or a cookie.
#[derive(Debug, serde::Deserialize)]
#[serde(expecting = "a name and a value, an object")]
pub(super) struct Header<'a> {
    #[serde(borrow)]
    pub(super) name: Lenient<'a>,
    #[serde(borrow)]
    pub(super) value: Option<Lenient<'a>>,
}

#[derive(Debug)]
pub(super) struct PostData<'a>(pub(super) Option<Cow<'a, [u8]>>);

impl<'de: 'a, 'a> Deserialize<'de> for PostData<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(expecting = "the data of a request, an object")]
        struct Fields<'a> {
            #[serde(borrow)]
            text: Option<Lenient<'a>>,
            #[serde(borrow)]
            encoding: Option<Text<'a>>,
        }
        let Fields { text, encoding } = Fields::deserialize(deserializer)?;
        decoded(text, encoding.as_ref()).map(PostData)
    }
}

#[derive(Debug)]
pub(super) struct Content<'a> {
    pub(super) body: Option<Cow<'a, [u8]>>,
    pub(super) size: Option<Size>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(expecting = "the content of a response, an object")]
        struct Fields<'a> {
            #[serde(borrow)]
            text: Option<Lenient<'a>>,
            #[serde(borrow)]
            encoding: Option<Text<'a>>,
            size: Option<Size>,
        }
        let Fields {
            text,
            encoding,
            size,
        } = Fields::deserialize(deserializer)?;
        let body = decoded(text, encoding.as_ref())?;
        Ok(Self { body, size })
    }
}

/// A WebSocket message; `None` for what Chromium lists among them and is none, as an error.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) time_ns: u64,
    pub(super) kind: Option<(Direction, u8)>,
    pub(super) payload: Cow<'a, [u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Received,
    Sent,
}

impl<'de: 'a, 'a> Deserialize<'de> for Message<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(expecting = "a WebSocket message, an object")]
        struct Fields<'a> {
            #[serde(borrow, rename = "type")]
            kind: Text<'a>,
            time: f64,
            opcode: i64,
            #[serde(borrow)]
            data: Option<Lenient<'a>>,
        }
        let fields = Fields::deserialize(deserializer)?;
        let direction = match fields.kind.0.as_ref() {
            "send" => Some(Direction::Sent),
            "receive" => Some(Direction::Received),
            _ => None,
        };
        let time_ns = nanoseconds(fields.time * 1_000_000.0).ok_or_else(|| {
            de::Error::invalid_value(
                de::Unexpected::Float(fields.time),
                &"seconds since the Unix epoch",
            )
        })?;
        let opcode = u8::try_from(fields.opcode).ok().filter(|code| *code < 16);
        let kind = direction.zip(opcode);
        let data = fields.data.map(|data| data.0).unwrap_or_default();
        let payload = match opcode {
            _ if kind.is_none() => Cow::Borrowed(b"".as_slice()),
            // A text is UTF-8 in the frame: what JavaScript keeps as half a character is none.
            Some(0 | 1) => match String::from_utf8_lossy(&data) {
                Cow::Borrowed(_) => data,
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            },
            _ => Cow::Owned(base64(&data)?),
        };
        Ok(Message {
            time_ns,
            kind,
            payload,
        })
    }
}

/// How long the parts of an exchange took. Absent is -1 in a HAR; what isn't positive is nothing here.
#[derive(Debug, Default, Clone, Copy, serde::Deserialize)]
#[serde(default, expecting = "timings, an object")]
pub(super) struct Timings {
    pub(super) blocked: Milliseconds,
    pub(super) dns: Milliseconds,
    /// Includes `ssl`.
    pub(super) connect: Milliseconds,
    pub(super) send: Milliseconds,
    pub(super) wait: Milliseconds,
    pub(super) receive: Milliseconds,
}

/// A duration, in nanoseconds here.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Milliseconds(pub(super) u64);

impl<'de> Deserialize<'de> for Milliseconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Option::<f64>::deserialize(deserializer)?.unwrap_or_default();
        Ok(Self(nanoseconds(number * 1_000.0).unwrap_or_default()))
    }
}

/// Makes nanoseconds of microseconds: a browser's clock is no finer, and a fraction of one is an artefact of floating
/// point. `None` for what is negative or no time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked"
)]
fn nanoseconds(microseconds: f64) -> Option<u64> {
    // 2^53: the year 2255.
    let in_range = (0.0..9_007_199_254_740_992.0).contains(&microseconds);
    in_range.then(|| microseconds.round() as u64 * 1_000)
}

/// A number of bytes; -1 stands for unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        // Browsers write whole numbers, some of them with a fraction of nought.
        Ok(Self(nanoseconds(number).unwrap_or_default() / 1_000))
    }
}

/// A status; 0 where there was no answer. Some exports have -1 or a string there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(pub(super) u16);

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StatusVisitor;
        impl Visitor<'_> for StatusVisitor {
            type Value = Status;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a status, 0 to 999")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                u16::try_from(number)
                    .ok()
                    .filter(|status| *status < 1000)
                    .map(Status)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }
            fn visit_i64<E: de::Error>(self, _number: i64) -> Result<Self::Value, E> {
                Ok(Status(0))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse()
                    .map(Status)
                    .map_err(|_error| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(StatusVisitor)
    }
}

/// What names a connection: a string in the specification, a number in some exports.
#[derive(Debug)]
pub(super) struct Name<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or a whole number")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(number.to_string())))
            }
        }
        deserializer.deserialize_any(NameVisitor)
    }
}

/// A time as ISO 8601 with a zone, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time(pub(super) u64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        let time: Option<jiff::Timestamp> = text.parse().ok();
        time.and_then(|time| u64::try_from(time.as_nanosecond()).ok())
            .map(Time)
            .ok_or_else(|| {
                de::Error::invalid_value(
                    de::Unexpected::Str(&text),
                    &"a time as `2026-11-23T22:29:16.728Z`",
                )
            })
    }
}

fn decoded<'a, E: de::Error>(
    text: Option<Lenient<'a>>,
    encoding: Option<&Text<'_>>,
) -> Result<Option<Cow<'a, [u8]>>, E> {
    let Some(Lenient(text)) = text else {
        return Ok(None);
    };
    match encoding.map(|encoding| encoding.0.as_ref()) {
        Some("base64") => Ok(Some(Cow::Owned(base64(&text)?))),
        None | Some("") => Ok(Some(text)),
        Some(other) => Err(E::invalid_value(
            de::Unexpected::Str(other),
            &"`base64` or no encoding",
        )),
    }
}

fn base64<E: de::Error>(text: &[u8]) -> Result<Vec<u8>, E> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|_error| {
            // The value itself is not repeated: it may be megabytes long.
            E::invalid_value(
                de::Unexpected::Other("something else"),
                &"base64 with padding",
            )
        })
}
