//! Reads a captured HTTP/1 message.
//!
//! Model: RFC 9112. A body ends where `content-length` or its last chunk says, else with the payload. What a capture cut off is
//! marked as truncated; a head that is cut off is refused, for it says nothing.

use super::super::client::{self, Target};
use super::super::event::{Body, Field, Headers, Trailers};

/// Fields that a message may have. A proxy refuses far fewer.
const FIELDS_MAX: usize = 4096;

/// A message, as a filter sees it.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) headers: Headers<'static>,
    pub(super) body: Option<Body<'static>>,
    pub(super) trailers: Option<Trailers<'static>>,
    pub(super) protocol: Option<&'static str>,
    pub(super) is_head: bool,
}

/// Where in the payload, and what was expected.
type Refused = (usize, String);

/// The fields of a head, names in lower case.
type Fields<'a> = Vec<(Vec<u8>, &'a [u8])>;

impl Message {
    pub(super) fn request(payload: &[u8]) -> Result<Self, Refused> {
        let mut method = String::new();
        let mut target = String::new();
        let mut version = None;
        let (fields, length) = head(payload, |payload, space| {
            let mut request = httparse::Request::new(space);
            let status = request.parse(payload)?;
            request.method.unwrap_or_default().clone_into(&mut method);
            request.path.unwrap_or_default().clone_into(&mut target);
            version = request.version;
            Ok((status, request.headers.len()))
        })?;
        let rest = payload.get(length..).unwrap_or_default();
        let (scheme, authority, path) = client::split_url(&target).unwrap_or(("http", "", &target));
        let target = Target {
            authority: authority.as_bytes(),
            path: if path.is_empty() {
                b"/"
            } else {
                path.as_bytes()
            },
            method: method.as_bytes(),
            scheme: scheme.as_bytes(),
        };
        let is_upgrade = find(&fields, b"upgrade").is_some();
        let all = client::request_fields(target, &fields, is_upgrade);
        let has_length = find(&fields, b"content-length").is_some() || is_chunked(&fields);
        let content = if has_length {
            content(&fields, rest, length)?
        } else {
            Content::default()
        };
        Ok(Self::new(
            all,
            content,
            // A request that asks for an upgrade goes on after the answer.
            !is_upgrade,
            version,
            method == "HEAD",
        ))
    }

    /// Reads an answer; that to a HEAD has no body whatever it says.
    pub(super) fn response(payload: &[u8], to_head: bool) -> Result<Self, Refused> {
        let mut skipped = 0;
        loop {
            let message = payload.get(skipped..).unwrap_or_default();
            let mut code = 0;
            let mut version = None;
            let read = head(message, |payload, space| {
                let mut response = httparse::Response::new(space);
                let status = response.parse(payload)?;
                code = response.code.unwrap_or_default();
                version = response.version;
                Ok((status, response.headers.len()))
            });
            let (fields, length) = read.map_err(|(at, expected)| (skipped + at, expected))?;
            let rest = message.get(length..).unwrap_or_default();
            if matches!(code, 100 | 102..=199) && !rest.is_empty() {
                // What is said in between comes before the answer itself.
                skipped += length;
                continue;
            }
            let is_upgrade = code == 101;
            let all = client::response_fields(code, &fields, is_upgrade);
            let has_no_body = to_head || matches!(code, 204 | 304);
            let content = if has_no_body {
                Content::default()
            } else {
                content(&fields, rest, skipped + length)?
            };
            return Ok(Self::new(all, content, !is_upgrade, version, to_head));
        }
    }

    fn new(
        fields: Vec<Field<'static>>,
        content: Content,
        ends: bool,
        version: Option<u8>,
        is_head: bool,
    ) -> Self {
        let Content {
            body,
            is_cut,
            trailers,
        } = content;
        let trailers = (!trailers.is_empty()).then_some(Trailers { fields: trailers });
        let body = (!body.is_empty() || is_cut).then(|| Body {
            bytes: body.into(),
            end_stream: ends && trailers.is_none(),
            truncated: is_cut,
        });
        Self {
            headers: Headers {
                fields,
                end_stream: ends && body.is_none() && trailers.is_none(),
                ..Headers::default()
            },
            body,
            trailers,
            protocol: match version {
                Some(0) => Some("HTTP/1.0"),
                Some(_) => Some("HTTP/1.1"),
                None => None,
            },
            is_head,
        }
    }
}

/// A body as it is behind its framing.
#[derive(Debug, Default)]
struct Content {
    body: Vec<u8>,
    is_cut: bool,
    trailers: Vec<Field<'static>>,
}

/// Reads a head with as much space for fields as it takes; returns its fields and its length.
fn head<'a>(
    payload: &'a [u8],
    mut parse: impl FnMut(
        &'a [u8],
        &mut [httparse::Header<'a>],
    ) -> Result<(httparse::Status<usize>, usize), httparse::Error>,
) -> Result<(Fields<'a>, usize), Refused> {
    let mut count = 64;
    loop {
        let mut space = vec![httparse::EMPTY_HEADER; count];
        match parse(payload, &mut space) {
            Ok((httparse::Status::Complete(length), fields)) => {
                let fields = space.iter().take(fields);
                let fields = fields
                    .map(|field| (field.name.to_ascii_lowercase().into_bytes(), field.value))
                    .collect();
                return Ok((fields, length));
            }
            Ok((httparse::Status::Partial, _)) => {
                let expected = "the head breaks off".to_owned();
                return Err((payload.len(), expected));
            }
            Err(httparse::Error::TooManyHeaders) if count < FIELDS_MAX => count *= 4,
            Err(error) => return Err((0, format!("no head of HTTP/1: {error}"))),
        }
    }
}

fn content(fields: &Fields<'_>, rest: &[u8], at: usize) -> Result<Content, Refused> {
    if is_chunked(fields) {
        return chunks(rest, at);
    }
    let Some(length) = find(fields, b"content-length") else {
        return Ok(Content {
            body: rest.to_vec(),
            ..Content::default()
        });
    };
    let length = std::str::from_utf8(length)
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .ok_or_else(|| (0, "expected a length in `content-length`".to_owned()))?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    Ok(Content {
        body: rest.get(..length).unwrap_or(rest).to_vec(),
        is_cut: rest.len() < length,
        ..Content::default()
    })
}

fn chunks(mut rest: &[u8], mut at: usize) -> Result<Content, Refused> {
    let mut content = Content::default();
    loop {
        let (begin, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => {
                content.is_cut = true;
                return Ok(content);
            }
            Err(_) => return Err((at, "expected the size of a chunk".to_owned())),
        };
        rest = rest.get(begin..).unwrap_or_default();
        at += begin;
        if size == 0 {
            content.trailers = trailers(rest).ok_or((at, "expected trailers".to_owned()))?;
            return Ok(content);
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let Some(chunk) = rest.get(..size) else {
            content.body.extend_from_slice(rest);
            content.is_cut = true;
            return Ok(content);
        };
        content.body.extend_from_slice(chunk);
        rest = rest.get(size..).unwrap_or_default();
        at += size;
        match rest {
            [b'\r', b'\n', ..] => {
                rest = rest.get(2..).unwrap_or_default();
                at += 2;
            }
            [] | [b'\r'] => {
                content.is_cut = true;
                return Ok(content);
            }
            _ => return Err((at, "expected a line end behind a chunk".to_owned())),
        }
    }
}

/// Reads trailers; an end that was cut off is as good as one that is there. `None` for what are none.
fn trailers(rest: &[u8]) -> Option<Vec<Field<'static>>> {
    let mut space = [httparse::EMPTY_HEADER; 64];
    match httparse::parse_headers(rest, &mut space) {
        Ok(httparse::Status::Complete((_, fields))) => Some(
            fields
                .iter()
                .map(|field| {
                    let name = field.name.to_ascii_lowercase().into_bytes();
                    (name.into(), field.value.to_vec().into())
                })
                .collect(),
        ),
        Ok(httparse::Status::Partial) => Some(Vec::new()),
        Err(_) => None,
    }
}

fn is_chunked(fields: &Fields<'_>) -> bool {
    find(fields, b"transfer-encoding")
        .is_some_and(|value| value.to_ascii_lowercase().ends_with(b"chunked"))
}

fn find<'a>(fields: &Fields<'a>, name: &[u8]) -> Option<&'a [u8]> {
    fields
        .iter()
        .find(|(other, _)| other.as_slice() == name)
        .map(|(_, value)| *value)
}
