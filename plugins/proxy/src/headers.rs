//! Header and trailer maps, byte for byte.
//!
//! One call reads a whole map: a crossing out of the VM costs more than the copy. Names are in
//! lower case, values may be any bytes.

use crate::{
    abi::{self, Status},
    error::HostError,
};

/// Names a map of the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Map {
    /// The request's headers: readable and writable until the plugin let them go on, readable again
    /// at the end.
    RequestHeaders = 0,
    /// The request's trailers.
    RequestTrailers = 1,
    /// The response's headers.
    ResponseHeaders = 2,
    /// The response's trailers.
    ResponseTrailers = 3,
    /// The headers of a call-out's response, read-only.
    CallResponseHeaders = 6,
    /// The trailers of a call-out's response, read-only.
    CallResponseTrailers = 7,
}

/// Is a copy of a map.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pairs(Vec<u8>);

/// Is how many pairs a map may have. SOURCE: the reference host's own limit.
const MAX_PAIRS: usize = 1024;

impl Map {
    /// Reads the whole map. A map that is not there in this phase is empty in Envoy.
    ///
    /// # Errors
    /// The map is not there, or the host's bytes are not a map.
    pub fn read(self) -> Result<Pairs, HostError> {
        let function = "proxy_get_header_map_pairs";
        let bytes = abi::header_pairs(self as u32)
            .map_err(|status| HostError::from_status(function, status, &[Status::BAD_ARGUMENT]))?;
        Pairs::parse(bytes).ok_or(HostError::Malformed { function })
    }

    /// Reads the first value under `name`.
    ///
    /// # Errors
    /// The map is not there in this phase.
    pub fn value(self, name: &str) -> Result<Option<Vec<u8>>, HostError> {
        match abi::header_value(self as u32, name.as_bytes()) {
            Ok(value) => Ok(Some(value)),
            Err(Status::NOT_FOUND) => Ok(None),
            Err(status) => Err(HostError::from_status(
                "proxy_get_header_map_value",
                status,
                &[Status::BAD_ARGUMENT],
            )),
        }
    }

    /// Adds a value, besides those that are there.
    ///
    /// # Errors
    /// The map is not there in this phase, or is read-only.
    pub fn add(self, name: &str, value: &[u8]) -> Result<(), HostError> {
        abi::add_header(self as u32, name.as_bytes(), value)
            .map_err(|status| unwritable("proxy_add_header_map_value", status))
    }

    /// Sets the only value under `name`. A host may leave further values there: remove them first
    /// where a client can have sent some.
    ///
    /// # Errors
    /// The map is not there in this phase, or is read-only.
    pub fn set(self, name: &str, value: &[u8]) -> Result<(), HostError> {
        abi::replace_header(self as u32, name.as_bytes(), value)
            .map_err(|status| unwritable("proxy_replace_header_map_value", status))
    }

    /// Removes all values under `name`.
    ///
    /// # Errors
    /// The map is not there in this phase, or is read-only.
    pub fn remove(self, name: &[u8]) -> Result<(), HostError> {
        abi::remove_header(self as u32, name)
            .map_err(|status| unwritable("proxy_remove_header_map_value", status))
    }

    /// Replaces the whole map. Mind the pseudo headers: without `:scheme` Envoy finds no route.
    ///
    /// # Errors
    /// The map is not there in this phase, or is read-only.
    pub fn replace(self, pairs: &[(&[u8], &[u8])]) -> Result<(), HostError> {
        abi::set_header_pairs(self as u32, &serialise(pairs))
            .map_err(|status| unwritable("proxy_set_header_map_pairs", status))
    }
}

fn unwritable(function: &'static str, status: Status) -> HostError {
    HostError::from_status(function, status, &[Status::BAD_ARGUMENT])
}

impl Pairs {
    /// Checks the host's bytes: count, then the lengths of all names and values, then all of them,
    /// each ended by a zero byte; all numbers have 32 bits, little endian. Empty bytes are an empty
    /// map.
    fn parse(bytes: Vec<u8>) -> Option<Self> {
        if bytes.is_empty() || bytes == [0] {
            return Some(Self(Vec::new()));
        }
        let (count, rest) = split_number(&bytes)?;
        if count > MAX_PAIRS {
            return None;
        }
        let lengths = rest.get(..count.checked_mul(8)?)?;
        let mut expected = lengths.len().checked_add(4)?;
        for length in lengths.chunks_exact(4) {
            expected = expected
                .checked_add(split_number(length)?.0)?
                .checked_add(1)?;
        }
        (expected == bytes.len()).then_some(Self(bytes))
    }

    /// Lists names and values, in the map's order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (lengths, mut data) = self.split().unwrap_or((&[], &[]));
        lengths.chunks_exact(8).filter_map(move |lengths| {
            let (name_length, rest) = split_number(lengths)?;
            let (value_length, _) = split_number(rest)?;
            // `parse` has checked that everything fits.
            let (name, rest) = data.split_at_checked(name_length)?;
            let (value, rest) = rest.get(1..)?.split_at_checked(value_length)?;
            data = rest.get(1..)?;
            Some((name, value))
        })
    }

    /// Lists the values under `name`, in the map's order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.iter()
            .filter(move |(key, _)| *key == name.as_bytes())
            .map(|(_, value)| value)
    }

    fn split(&self) -> Option<(&[u8], &[u8])> {
        let (count, rest) = split_number(&self.0)?;
        rest.split_at_checked(count.checked_mul(8)?)
    }
}

/// Reads a number from the front of `bytes`.
fn split_number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

/// Writes a map as the ABI has it. A part of 4 GiB or more does not exist in 32 bits of memory.
pub(crate) fn serialise(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = Vec::from(number(pairs.len()));
    for (name, value) in pairs {
        bytes.extend_from_slice(&number(name.len()));
        bytes.extend_from_slice(&number(value.len()));
    }
    for (name, value) in pairs {
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(value);
        bytes.push(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_is_read_as_it_was_written() {
        let pairs: [(&[u8], &[u8]); 4] = [
            (b":path", b"/"),
            (b"cookie", b"a=1"),
            (b"cookie", b"\xff\0b"),
            (b"x", b""),
        ];
        let map = Pairs::parse(serialise(&pairs)).unwrap();
        assert_eq!(map.iter().collect::<Vec<_>>(), pairs);
        assert_eq!(
            map.values("cookie").collect::<Vec<_>>(),
            [&b"a=1"[..], b"\xff\0b"]
        );
        assert_eq!(map.values("host").count(), 0);
    }

    #[test]
    fn map_without_pairs_has_three_spellings() {
        for bytes in [vec![], vec![0], vec![0, 0, 0, 0]] {
            assert_eq!(Pairs::parse(bytes).unwrap().iter().count(), 0);
        }
    }

    #[test]
    fn map_that_is_cut_or_too_long_is_refused() {
        let whole = serialise(&[(b"name", b"value"), (b"other", b"")]);
        for length in 1..whole.len() {
            assert!(Pairs::parse(whole[..length].to_vec()).is_none(), "{length}");
        }
        for more in 1..8 {
            let longer = [whole.as_slice(), &vec![0; more]].concat();
            assert!(Pairs::parse(longer).is_none(), "{more}");
        }
        assert!(Pairs::parse(vec![0xff; 64]).is_none());
        assert!(Pairs::parse(serialise(&vec![(&b"a"[..], &b"b"[..]); 1025])).is_none());
    }
}
