//! Takes secrets out of a recording, so that it can be shared and still replays as it did.
//!
//! Why: a recording holds everything that was sent, sessions of real people included. What a policy looks at stays: which requests
//! are one client's, how long everything is, where frames end. So equal values become equal pseudonyms, and bodies
//! become filler of the same length.
//! Model: a pseudonym is the first 128 bits of HMAC-SHA-256 of the value, in base64url. Two values that differ have the same one
//! with probability 2⁻¹²⁸. The key is random and thrown away, unless one is given: then recordings can be compared.
//! Limits: what is secret is known by where it stands, not by what it is: addresses, paths and the names of users in them stay,
//! as do parameters and fields whose name doesn't say that they are secret. A plugin that reads a cookie of its own finds a
//! pseudonym there. Memory: some 60 bytes per open stream that was upgraded.
//! Source: RFC 2104 (HMAC); RFC 6455, section 5.2 (frames).

mod fields;
mod frames;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use self::frames::Framing;
use super::event::{Body, Event, EventKind, Headers};

/// The shortest key, in bytes: 128 bits can't be guessed.
const KEY_BYTES_MIN: usize = 16;

/// What bodies are filled with.
const FILLER: u8 = b'x';

/// A kind of secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Secret {
    /// Values of `cookie` and `set-cookie`, and names of sessions.
    Cookies,
    /// Credentials in headers: `authorization`, `proxy-authorization`, and what is named like a token, key or password.
    Authorization,
    /// Values in the query of a URL that are named like a token, key or password; users and passwords in a URL.
    Query,
    /// Bodies, and the payload of WebSocket frames.
    Bodies,
}

impl Secret {
    /// Every kind, with its name in the header of a recording.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Cookies, "cookies"),
        (Self::Authorization, "authorization"),
        (Self::Query, "query"),
        (Self::Bodies, "bodies"),
    ];
}

/// A key that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file can't be read.
    #[error("can't read the key")]
    Io(#[source] io::Error),
    /// The machine has no random numbers.
    #[error("can't make a random key")]
    Random(#[source] getrandom::Error),
    /// The key is too short.
    #[error("the key has {length} bytes; at least {KEY_BYTES_MIN} are needed")]
    TooShort {
        /// Its length.
        length: usize,
    },
}

/// Takes secrets out of events.
pub struct Redactor {
    secrets: Vec<Secret>,
    keyed: Hmac<Sha256>,
    /// The streams that became WebSockets: where in a frame each direction is.
    websockets: HashMap<u64, Frames>,
}

#[derive(Debug)]
struct Frames {
    request: Framing,
    response: Framing,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Redactor")
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}

impl Redactor {
    /// Makes one with a random key that nobody knows.
    ///
    /// # Errors
    /// The machine has no random numbers.
    pub fn with_random_key(secrets: &[Secret]) -> Result<Self, KeyError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(KeyError::Random)?;
        Self::new(secrets, &key)
    }

    /// Makes one with the key in a file, line ends behind it left out.
    ///
    /// # Errors
    /// The file can't be read, or the key is too short.
    pub fn with_key_of(secrets: &[Secret], path: &Path) -> Result<Self, KeyError> {
        let key = fs::read(path).map_err(KeyError::Io)?;
        Self::new(secrets, key.trim_ascii_end())
    }

    /// Makes one with this key.
    ///
    /// # Errors
    /// The key is too short.
    pub fn new(secrets: &[Secret], key: &[u8]) -> Result<Self, KeyError> {
        let too_short = KeyError::TooShort { length: key.len() };
        if key.len() < KEY_BYTES_MIN {
            return Err(too_short);
        }
        Ok(Self {
            secrets: secrets.to_vec(),
            keyed: Hmac::new_from_slice(key).map_err(|_error| too_short)?,
            websockets: HashMap::new(),
        })
    }

    /// Returns the names of what is taken out.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        Secret::ALL
            .iter()
            .filter(|(secret, _)| self.takes(*secret))
            .map(|(_, name)| (*name).to_owned())
            .collect()
    }

    /// Takes the secrets out of an event. The events of a stream come in their order.
    pub fn redact(&mut self, event: &mut Event<'_>) {
        match &mut event.kind {
            EventKind::Open(open) => {
                // The key that named it may be a cookie or a credential.
                if (self.takes(Secret::Cookies) || self.takes(Secret::Authorization))
                    && let Some(session) = &open.session
                {
                    open.session = Some(self.pseudonym(session.as_bytes()).into());
                }
            }
            EventKind::RequestHeaders(headers) => {
                self.redact_fields(&mut headers.fields);
            }
            EventKind::ResponseHeaders(headers) => {
                if is_websocket(headers) {
                    let frames = Frames {
                        request: Framing::of_client(),
                        response: Framing::of_upstream(),
                    };
                    self.websockets.insert(event.stream, frames);
                }
                self.redact_fields(&mut headers.fields);
            }
            EventKind::RequestTrailers(trailers) | EventKind::ResponseTrailers(trailers) => {
                self.redact_fields(&mut trailers.fields);
            }
            EventKind::RequestBody(body) if self.takes(Secret::Bodies) => {
                match self.websockets.get_mut(&event.stream) {
                    Some(frames) => fill_frames(body, &mut frames.request),
                    None => fill(body),
                }
            }
            EventKind::ResponseBody(body) if self.takes(Secret::Bodies) => {
                match self.websockets.get_mut(&event.stream) {
                    Some(frames) => fill_frames(body, &mut frames.response),
                    None => fill(body),
                }
            }
            EventKind::RequestBody(_) | EventKind::ResponseBody(_) | EventKind::Upstream(_) => {}
            EventKind::Close(_) => {
                self.websockets.remove(&event.stream);
            }
        }
    }

    fn takes(&self, secret: Secret) -> bool {
        self.secrets.contains(&secret)
    }

    fn pseudonym(&self, value: &[u8]) -> String {
        let mut keyed = self.keyed.clone();
        keyed.update(value);
        let code = keyed.finalize().into_bytes();
        URL_SAFE_NO_PAD.encode(code.get(..16).unwrap_or_default())
    }
}

fn is_websocket(headers: &Headers<'_>) -> bool {
    headers.value(":status") == Some(b"101")
        && headers
            .value("upgrade")
            .is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
}

fn fill(body: &mut Body<'_>) {
    body.bytes = vec![FILLER; body.bytes.len()].into();
}

fn fill_frames(body: &mut Body<'_>, framing: &mut Framing) {
    framing.fill(body.bytes.to_mut());
    if body.truncated {
        framing.lose();
    }
}
