//! The keys that seal and open session cookies.

use alloc::{borrow::Cow, format, string::String, vec::Vec};
use core::fmt;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};

use crate::config::{Problem, Problems};

/// Is how many keys there may be: the one that seals, and the one before or after it.
///
/// A third would mean that a rotation began before the last one ended; each more is one more key
/// that an old backup can be read with.
pub const MAX_KEYS: usize = 2;

/// Is the length of a key, in bytes. SOURCE: RFC 8439 section 2.3.
const KEY_BYTES: usize = 32;

/// Reads what `openssl rand -base64 32` prints, with or without the padding.
const KEY_TEXT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Is an ordered list of one or two keys with ids: the first one seals, all of them open.
///
/// `Debug` shows the ids only.
#[derive(Clone)]
pub struct KeyRing(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: u8,
    bytes: [u8; KEY_BYTES],
}

/// Says why a list of keys was refused. No variant holds a part of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRingError {
    /// Two keys have the same id.
    #[error("must give every key its own id, got {id} twice")]
    DuplicateId {
        /// Is the id that was there twice.
        id: u8,
    },
    /// There is no key.
    #[error("must hold at least one key, got none")]
    Empty,
    /// An id is not a number from 0 to 255.
    #[error("must have an id from 0 to 255 in front of key {position}")]
    Id {
        /// Is the position in the list, from 1.
        position: usize,
    },
    /// A key has the wrong length.
    #[error("must have 32 bytes in key {position}, got {bytes}")]
    Length {
        /// Is the position in the list, from 1.
        position: usize,
        /// Is the length that it has, in bytes.
        bytes: usize,
    },
    /// An entry is not `ID:BASE64`.
    #[error("must be `ID:BASE64` for key {position}")]
    Malformed {
        /// Is the position in the list, from 1.
        position: usize,
    },
    /// There are too many keys.
    #[error("must hold at most 2 keys, got {count}")]
    TooMany {
        /// Is how many there are.
        count: usize,
    },
}

impl KeyRingError {
    /// Is the slug of the problem.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::DuplicateId { .. } => "key-id-duplicate",
            Self::Empty => "keys-empty",
            Self::Id { .. } => "key-id-out-of-range",
            Self::Length { .. } => "key-length",
            Self::Malformed { .. } => "key-malformed",
            Self::TooMany { .. } => "keys-too-many",
        }
    }

    /// Makes a problem at `path` of it.
    #[must_use]
    pub fn at(self, path: &str) -> Problem {
        let help = match self {
            Self::DuplicateId { .. } => "count up: the next key gets the next id",
            Self::TooMany { .. } => "drop the oldest; two are enough to rotate",
            _ => {
                "write `1:` and the output of `openssl rand -base64 32`; a comma separates two keys"
            }
        };
        Problem {
            path: String::from(path),
            code: self.code(),
            message: format!("{self}"),
            help: Cow::Borrowed(help),
        }
    }
}

impl KeyRing {
    /// Has no key: it seals and opens nothing.
    pub(super) const fn none() -> Self {
        Self(Vec::new())
    }

    /// Reads `ID:BASE64[,ID:BASE64]`. White space around the entries is ignored, because secrets
    /// that come from files end with a line break.
    ///
    /// # Errors
    /// See [`KeyRingError`]; the first one found.
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        if text.trim().is_empty() {
            return Err(KeyRingError::Empty);
        }
        let mut keys: Vec<Key> = Vec::new();
        for (position, entry) in (1_usize..).zip(text.split(',')) {
            if position > MAX_KEYS {
                return Err(KeyRingError::TooMany {
                    count: text.split(',').count(),
                });
            }
            let key = Key::parse(entry.trim(), position)?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(KeyRingError::DuplicateId { id: key.id });
            }
            keys.push(key);
        }
        Ok(Self(keys))
    }

    /// Lists the ids, the sealing key's first.
    pub fn ids(&self) -> impl Iterator<Item = u8> {
        self.0.iter().map(|key| key.id)
    }

    /// Is the key that seals, with its id; `None` only for a ring that could not be parsed.
    pub(super) fn sealing(&self) -> Option<(u8, XChaCha20Poly1305)> {
        self.0.first().map(|key| (key.id, key.cipher()))
    }

    /// Is the key with this id.
    pub(super) fn opening(&self, id: u8) -> Option<XChaCha20Poly1305> {
        self.0.iter().find(|key| key.id == id).map(Key::cipher)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("KeyRing")
            .field(&self.ids().collect::<Vec<u8>>())
            .finish()
    }
}

impl Key {
    fn parse(entry: &str, position: usize) -> Result<Self, KeyRingError> {
        let (id, text) = entry
            .split_once(':')
            .ok_or(KeyRingError::Malformed { position })?;
        // `u8` would take a plus sign as well.
        if !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(KeyRingError::Id { position });
        }
        let id = id
            .parse::<u8>()
            .map_err(|_| KeyRingError::Id { position })?;
        let decoded = KEY_TEXT
            .decode(text.as_bytes())
            .map_err(|_| KeyRingError::Malformed { position })?;
        let bytes =
            <[u8; KEY_BYTES]>::try_from(decoded.as_slice()).map_err(|_| KeyRingError::Length {
                position,
                bytes: decoded.len(),
            })?;
        Ok(Self { id, bytes })
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.bytes.into())
    }
}

/// Collects a ring or its problem: a helper for configurations.
pub(super) fn parse_at(text: &str, path: &str, problems: &mut Problems) -> Option<KeyRing> {
    match KeyRing::parse(text) {
        Ok(ring) => Some(ring),
        Err(error) => {
            problems.push(error.at(path));
            None
        }
    }
}
