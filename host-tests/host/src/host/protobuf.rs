//! As much of protocol buffers as the arguments of a few functions need.

/// A field of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED_32: u64 = 5;

/// Reads the fields of a message; `None` if it is malformed.
pub(super) fn fields(mut message: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let number = key >> 3;
        if number == 0 {
            return None;
        }
        let field = match key & 7 {
            VARINT => Field::Number(varint(&mut message)?),
            FIXED_64 => Field::Bytes(take(&mut message, 8)?),
            FIXED_32 => Field::Bytes(take(&mut message, 4)?),
            LENGTH => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                Field::Bytes(take(&mut message, length)?)
            }
            _ => return None,
        };
        found.push((number, field));
    }
    Some(found)
}

/// The last value of a field of bytes, as protocol buffers have it; empty when missing.
pub(super) fn bytes_of<'a>(fields: &[(u64, Field<'a>)], number: u64) -> &'a [u8] {
    fields
        .iter()
        .rev()
        .find_map(|field| match field {
            (found, Field::Bytes(bytes)) if *found == number => Some(*bytes),
            _ => None,
        })
        .unwrap_or_default()
}

/// The last value of a number field; 0 when missing.
pub(super) fn number_of(fields: &[(u64, Field<'_>)], number: u64) -> u64 {
    fields
        .iter()
        .rev()
        .find_map(|field| match field {
            (found, Field::Number(value)) if *found == number => Some(*value),
            _ => None,
        })
        .unwrap_or(0)
}

/// Appends a field of text, unless it is empty.
pub(super) fn put_text(into: &mut Vec<u8>, number: u8, text: &str) {
    if text.is_empty() {
        return;
    }
    into.push((number << 3) | 2);
    let mut length = text.len();
    while length >= 0x80 {
        into.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
        length >>= 7;
    }
    into.push(u8::try_from(length).unwrap_or(0));
    into.extend_from_slice(text.as_bytes());
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], size: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(size)?;
    *bytes = rest;
    Some(taken)
}
