//! Headers, as far as the router reads and writes them, and the numbers in them.

/// Reads the headers of a message; names in lower case.
///
/// Of a request header that Envoy knows and that came several times there is one value, joined by commas, as in Envoy's map.
pub trait Headers {
    /// Returns the first value of a header.
    fn value(&self, name: &str) -> Option<&[u8]>;
}

/// Changes the headers of a message; names in lower case.
pub trait HeadersMut: Headers {
    /// Gives a header this value, in its place when there is one; otherwise it is the last.
    fn set(&mut self, name: &str, value: &[u8]);

    /// Removes a header.
    fn remove(&mut self, name: &str);
}

impl Headers for Vec<(Vec<u8>, Vec<u8>)> {
    fn value(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.as_slice())
    }
}

impl HeadersMut for Vec<(Vec<u8>, Vec<u8>)> {
    fn set(&mut self, name: &str, value: &[u8]) {
        let mut found = false;
        self.retain_mut(|(known, old)| {
            if !known.eq_ignore_ascii_case(name.as_bytes()) {
                return true;
            }
            let keeps = !found;
            if keeps {
                *old = value.to_vec();
            }
            found = true;
            keeps
        });
        if !found {
            self.push((name.as_bytes().to_vec(), value.to_vec()));
        }
    }

    fn remove(&mut self, name: &str) {
        self.retain(|(known, _)| !known.eq_ignore_ascii_case(name.as_bytes()));
    }
}

/// Returns the values of a list header without the white space around them; empty ones are left out.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &str> {
    value
        .split(|byte| *byte == b',')
        .filter_map(|item| std::str::from_utf8(item).ok())
        .map(str::trim_ascii)
        .filter(|item| !item.is_empty())
}

/// Reads a whole number as Envoy does: white space around it and one plus in front don't matter; nothing else may be there.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    // What `parse` takes is the same: a plus, no minus, digits, no overflow.
    std::str::from_utf8(value).ok()?.trim_ascii().parse().ok()
}

/// Reads a time-out in milliseconds. What a signed number doesn't hold counts as nothing.
///
/// SOURCE: seen in Envoy 1.40: 9223372036854775807 is taken and 18446744073709551615 is not.
pub(super) fn milliseconds(value: &[u8]) -> Option<u64> {
    number(value).filter(|milliseconds| i64::try_from(*milliseconds).is_ok())
}
