//! The cookie's bytes: sealed on the way out, opened on the way in.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, net::SocketAddr, num::NonZeroU64};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{AeadInOut, Tag, XNonce};

use super::keys::KeyRing;
use crate::{snapshot::EndpointAddress, units::WallTime};

/// Is the version that is written and the only one that is opened.
pub const COOKIE_VERSION: u8 = 1;

/// Is the longest cookie value that is looked into, in bytes.
///
/// The longest that this version writes has 224; a larger bound would let a client buy decoding
/// work with its headers, a smaller one would refuse our own.
pub const MAX_VALUE_BYTES: usize = 256;

/// Is the longest name of an instance, in bytes: a pod's UID has 36.
pub const MAX_INSTANCE_BYTES: usize = 48;

/// Is the longest address, in bytes: IPv6 with an embedded IPv4 address, brackets and a port.
const MAX_ADDRESS_BYTES: usize = 53;

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// Is version, key id and nonce.
const HEAD_BYTES: usize = 2 + NONCE_BYTES;
/// Is what the longest value decodes to, rounded up.
const MAX_DECODED_BYTES: usize = MAX_VALUE_BYTES / 4 * 3;

/// Keeps the associated data of this cookie apart from anything else that these keys may ever seal.
const LABEL: &[u8] = b"tidegate session cookie";

/// Is what a session cookie says. `Debug` shows none of it.
#[derive(Clone, Eq, PartialEq)]
pub struct Session {
    /// Is when the session began, in whole seconds of wall time.
    pub issued: WallTime,
    /// Is when the session's endpoint served it last, as far as the cookie was told, which is when
    /// the cookie was written; whole seconds.
    pub last_seen: WallTime,
    /// Tells this session from all others; chosen at random when it began.
    pub nonce: [u8; 8],
    /// Is the endpoint's address.
    pub address: Address,
    /// Names the process behind the address, so that a re-used address is not taken for it: the 8
    /// bytes of its digest, big-endian. At most [`MAX_INSTANCE_BYTES`]; empty means unknown.
    pub instance: Vec<u8>,
}

/// Is an endpoint's address as the proxy writes it: `10.0.0.1:80`, `[2001:db8::1]:80`.
///
/// It stays text, because `override_host` compares it as text. `Debug` shows none of it.
#[derive(Clone, Eq, PartialEq)]
pub struct Address(String);

impl Address {
    /// Takes an address that has an IP and a port; `None` for anything else, such as a Unix socket.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?;
        text.parse::<SocketAddr>().ok()?;
        (text.len() <= MAX_ADDRESS_BYTES).then(|| Self(String::from(text)))
    }

    /// Is the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<EndpointAddress> for Address {
    /// Writes it as the proxy does.
    fn from(address: EndpointAddress) -> Self {
        Self(address.to_string())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Address([redacted])")
    }
}

/// Says why a cookie's value was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// Not base64url, too short, or not what was sealed.
    #[error("not a session cookie")]
    Malformed,
    /// Longer than [`MAX_VALUE_BYTES`].
    #[error("longer than a session cookie can be")]
    TooLong,
    /// Not sealed by the key that it names, or for another cluster or cookie name, or changed.
    #[error("not sealed by us for this cluster")]
    Unauthentic,
    /// Sealed by a key that is not in the ring.
    #[error("sealed by a key that is not known")]
    UnknownKey,
    /// Another version.
    #[error("of another version")]
    Version,
}

/// Is what a cookie is good for: it opens for the same cluster and the same name only.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// Is the cluster's name, byte for byte.
    pub cluster: &'a [u8],
    /// Is the cookie's name.
    pub cookie_name: &'a str,
}

/// Seals sessions into cookie values and opens them.
#[derive(Clone, Copy, Debug)]
pub struct SessionCookie;

impl SessionCookie {
    /// Writes the value of a cookie: base64url without padding, at most [`MAX_VALUE_BYTES`].
    ///
    /// `nonce` must be drawn at random for every call: 192 bits, so that chance never repeats one.
    /// `None` when the instance is too long or the ring is empty; both are bugs of the caller.
    #[must_use]
    pub fn seal(
        session: &Session,
        keys: &KeyRing,
        binding: Binding<'_>,
        nonce: [u8; NONCE_BYTES],
    ) -> Option<String> {
        let (key_id, cipher) = keys.sealing()?;
        let mut bytes = Vec::with_capacity(MAX_DECODED_BYTES);
        bytes.extend_from_slice(&[COOKIE_VERSION, key_id]);
        bytes.extend_from_slice(&nonce);
        session.encode(&mut bytes)?;
        let plaintext = bytes.get_mut(HEAD_BYTES..)?;
        let data = associated_data(key_id, binding);
        let tag = cipher
            .encrypt_inout_detached(&XNonce::from(nonce), &data, plaintext.into())
            .ok()?;
        bytes.extend_from_slice(&tag);
        Some(URL_SAFE_NO_PAD.encode(&bytes))
    }

    /// Opens a cookie's value.
    ///
    /// # Errors
    /// See [`OpenError`]. The length is checked first, then the encoding, the version, the key, and
    /// the seal last.
    pub fn open(value: &[u8], keys: &KeyRing, binding: Binding<'_>) -> Result<Session, OpenError> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(OpenError::TooLong);
        }
        let mut buffer = [0_u8; MAX_DECODED_BYTES];
        let length = URL_SAFE_NO_PAD
            .decode_slice(value, &mut buffer)
            .map_err(|_| OpenError::Malformed)?;
        let bytes = buffer.get_mut(..length).ok_or(OpenError::Malformed)?;
        let (head, sealed) = bytes
            .split_first_chunk_mut::<HEAD_BYTES>()
            .ok_or(OpenError::Malformed)?;
        let [version, key_id, nonce @ ..] = *head;
        if version != COOKIE_VERSION {
            return Err(OpenError::Version);
        }
        let (text, tag) = sealed
            .split_last_chunk_mut::<TAG_BYTES>()
            .ok_or(OpenError::Malformed)?;
        let cipher = keys.opening(key_id).ok_or(OpenError::UnknownKey)?;
        let nonce: [u8; NONCE_BYTES] = nonce;
        cipher
            .decrypt_inout_detached(
                &XNonce::from(nonce),
                &associated_data(key_id, binding),
                (&mut *text).into(),
                &Tag::from(*tag),
            )
            .map_err(|_| OpenError::Unauthentic)?;
        Session::decode(text).ok_or(OpenError::Malformed)
    }
}

/// Lays out what the seal binds besides the session. The cluster's length keeps it unambiguous: no
/// two pairs of cluster and name give the same bytes.
fn associated_data(key_id: u8, binding: Binding<'_>) -> Vec<u8> {
    let cluster_bytes = u64::try_from(binding.cluster.len()).unwrap_or(u64::MAX);
    let length = LABEL
        .len()
        .saturating_add(10)
        .saturating_add(binding.cluster.len())
        .saturating_add(binding.cookie_name.len());
    let mut data = Vec::with_capacity(length);
    data.extend_from_slice(LABEL);
    data.extend_from_slice(&[COOKIE_VERSION, key_id]);
    data.extend_from_slice(&cluster_bytes.to_be_bytes());
    data.extend_from_slice(binding.cluster);
    data.extend_from_slice(binding.cookie_name.as_bytes());
    data
}

impl Session {
    /// Is the digest of the instance that the cookie binds; `None` where it binds none.
    #[must_use]
    pub fn instance(&self) -> Option<NonZeroU64> {
        let bytes = <[u8; 8]>::try_from(self.instance.as_slice()).ok()?;
        NonZeroU64::new(u64::from_be_bytes(bytes))
    }

    /// Appends the plaintext: issued, last seen, nonce, length of the address, address, instance.
    fn encode(&self, out: &mut Vec<u8>) -> Option<()> {
        if self.instance.len() > MAX_INSTANCE_BYTES {
            return None;
        }
        out.extend_from_slice(&self.issued.as_seconds().to_be_bytes());
        out.extend_from_slice(&self.last_seen.as_seconds().to_be_bytes());
        out.extend_from_slice(&self.nonce);
        out.push(u8::try_from(self.address.0.len()).ok()?);
        out.extend_from_slice(self.address.0.as_bytes());
        out.extend_from_slice(&self.instance);
        Some(())
    }

    /// Reads the plaintext back; `None` where it is not one, which a sealed one never is.
    fn decode(text: &[u8]) -> Option<Self> {
        let (issued, rest) = text.split_first_chunk::<8>()?;
        let (last_seen, rest) = rest.split_first_chunk::<8>()?;
        let (nonce, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first()?;
        let (address, instance) = rest.split_at_checked(usize::from(*length))?;
        if instance.len() > MAX_INSTANCE_BYTES {
            return None;
        }
        Some(Self {
            issued: WallTime::from_seconds(u64::from_be_bytes(*issued)),
            last_seen: WallTime::from_seconds(u64::from_be_bytes(*last_seen)),
            nonce: *nonce,
            // It was checked before it was sealed.
            address: Address(String::from(str::from_utf8(address).ok()?)),
            instance: instance.to_vec(),
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Session([redacted])")
    }
}
