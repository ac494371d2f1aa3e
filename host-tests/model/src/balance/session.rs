//! The cookie of Envoy's stateful sessions.
//!
//! Model: the value is base64 of a protocol buffer with the endpoint's address as field 1 (and, with a time to live,
//! which a scenario can't say, the second when it ends as field 2). What isn't such a buffer is an address as it is.
//! Nothing protects it: whoever knows an address can write it.
//! Source: Envoy `source/extensions/http/stateful_session/cookie/cookie.{h,cc,proto}` (f04b318, 60b6a95) and
//! `parseCookie` and `makeSetCookieValue` of `source/common/http/utility.cc`; what is written here was compared with
//! Envoy 1.40.0.
//! Differs: an end in a client's cookie isn't looked at: it counts on the clock of the machine that wrote it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Reads the endpoint's address from the values of a request's `cookie` headers, in their order.
#[must_use]
pub fn read<'a>(headers: impl IntoIterator<Item = &'a [u8]>, cookie: &str) -> Option<String> {
    let value = headers
        .into_iter()
        .flat_map(|header| header.split(|byte| *byte == b';'))
        .filter_map(|pair| {
            let pair = pair.trim_ascii_start();
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            Some((pair.get(..equals)?, pair.get(equals + 1..)?))
        })
        .find(|(name, _)| *name == cookie.as_bytes())?
        .1
        .trim_ascii_end();
    let unquoted = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""));
    let decoded = STANDARD.decode(unquoted.unwrap_or(value)).ok()?;
    let address = match address_field(&decoded) {
        Some(address) => address,
        None => &decoded,
    };
    String::from_utf8(address.to_vec())
        .ok()
        .filter(|address| !address.is_empty())
}

/// Returns the value of the `set-cookie` header that binds a session to an endpoint. Envoy adds it to an answer whose
/// endpoint isn't the one that the request's cookie names, whoever made the answer.
#[must_use]
pub fn write(cookie: &str, address: &str) -> String {
    // An address has fewer than 128 bytes, whose length is one byte.
    let length = u8::try_from(address.len()).unwrap_or(0x7f).min(0x7f);
    let mut buffer = vec![0x0a, length];
    buffer.extend(address.bytes().take(usize::from(length)));
    format!("{cookie}=\"{}\"; Path=/; HttpOnly", STANDARD.encode(buffer))
}

/// Reads field 1 of a protocol buffer, empty when it isn't there; `None` when it is no buffer.
fn address_field(mut buffer: &[u8]) -> Option<&[u8]> {
    let mut address: &[u8] = &[];
    while !buffer.is_empty() {
        let key = varint(&mut buffer)?;
        match (key >> 3, key & 7) {
            (0, _) => return None,
            (_, 0) => {
                varint(&mut buffer)?;
            }
            (_, 1) => buffer = buffer.get(8..)?,
            (field, 2) => {
                let length = usize::try_from(varint(&mut buffer)?).ok()?;
                let (value, rest) = buffer.split_at_checked(length)?;
                buffer = rest;
                if field == 1 {
                    std::str::from_utf8(value).ok()?;
                    address = value;
                }
            }
            (_, 5) => buffer = buffer.get(4..)?,
            _ => return None,
        }
    }
    Some(address)
}

fn varint(buffer: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..10 {
        let (byte, rest) = buffer.split_first()?;
        *buffer = rest;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
