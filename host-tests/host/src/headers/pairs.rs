//! The ABI's encoding of maps: count, sizes of names and values, then names and values with a NUL
//! after each; all numbers 32 bit little-endian.

use super::HeaderMap;

/// SOURCE: proxy-wasm-cpp-host accepts maps of at most 1 MiB and 1,024 pairs.
const MAX_BYTES: usize = 1 << 20;
const MAX_PAIRS: usize = 1024;
const WORD: usize = 4;

/// Size of a map in the ABI's encoding; 0 for an empty map.
#[must_use]
pub fn encoded_size(map: &HeaderMap) -> usize {
    if map.is_empty() {
        return 0;
    }
    // A pair has two sizes and two NULs.
    let per_pair = WORD.saturating_mul(2).saturating_add(2);
    map.len()
        .saturating_mul(per_pair)
        .saturating_add(map.byte_size())
        .saturating_add(WORD)
}

/// Appends a map in the ABI's encoding; nothing for an empty map.
pub fn encode(map: &HeaderMap, into: &mut Vec<u8>) {
    if map.is_empty() {
        return;
    }
    into.reserve(encoded_size(map));
    let word = |size: usize| u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes();
    into.extend_from_slice(&word(map.len()));
    for (name, value) in map.iter() {
        into.extend_from_slice(&word(name.len()));
        into.extend_from_slice(&word(value.len()));
    }
    for (name, value) in map.iter() {
        into.extend_from_slice(name);
        into.push(0);
        into.extend_from_slice(value);
        into.push(0);
    }
}

/// Reads a map. Whatever is malformed (too short, too long, a missing NUL, too many pairs) is an
/// empty map, as it is in Envoy.
pub fn decode(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = Pairs::parse(bytes).filter(|pairs| {
        let mut check = *pairs;
        let complete = check.by_ref().count() == pairs.left;
        complete && check.rest.is_empty()
    });
    pairs.into_iter().flatten()
}

#[derive(Clone, Copy)]
struct Pairs<'a> {
    left: usize,
    sizes: &'a [u8],
    rest: &'a [u8],
}

fn take_word(bytes: &mut &[u8]) -> Option<usize> {
    let (word, rest) = bytes.split_first_chunk::<WORD>()?;
    *bytes = rest;
    usize::try_from(u32::from_le_bytes(*word)).ok()
}

fn take_text<'a>(bytes: &mut &'a [u8], size: usize) -> Option<&'a [u8]> {
    let (text, rest) = bytes.split_at_checked(size)?;
    let (end, rest) = rest.split_first()?;
    *bytes = rest;
    (*end == 0).then_some(text)
}

impl<'a> Pairs<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > MAX_BYTES {
            return None;
        }
        let mut rest = bytes;
        let left = take_word(&mut rest)?;
        if left > MAX_PAIRS {
            return None;
        }
        let (sizes, rest) = rest.split_at_checked(left.checked_mul(WORD)?.checked_mul(2)?)?;
        Some(Self { left, sizes, rest })
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let name = take_word(&mut self.sizes)?;
        let value = take_word(&mut self.sizes)?;
        let name = take_text(&mut self.rest, name)?;
        let value = take_text(&mut self.rest, value)?;
        self.left = self.left.saturating_sub(1);
        Some((name, value))
    }
}
