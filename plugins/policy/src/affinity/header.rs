//! Finds our cookie in a request's cookie headers.
//!
//! SOURCE: RFC 6265 section 4.2.1: `cookie-string = cookie-pair *( ";" SP cookie-pair )`. A sender
//! with HTTP/2 may split it over several headers (RFC 9113 section 8.2.3).

/// Is how many bytes of cookie headers a request may have before ours is not looked for, in bytes.
///
/// Envoy's own limit for all headers together is 60 KiB by default: above this a client only buys
/// work.
pub const MAX_HEADER_BYTES: usize = 65_536;

/// Is what a request brought under our cookie's name. `Debug` shows no value.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Presented<'a> {
    /// Nothing.
    Absent,
    /// More than one value, equal ones as well: nobody can tell which one is meant.
    Duplicate,
    /// Exactly one value, as it is.
    One(&'a [u8]),
    /// More than [`MAX_HEADER_BYTES`] of cookies.
    TooLong,
}

impl core::fmt::Debug for Presented<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::Absent => "Absent",
            Self::Duplicate => "Duplicate",
            Self::One(_) => "One([redacted])",
            Self::TooLong => "TooLong",
        })
    }
}

/// Looks for the cookie `name` in all values of the `cookie` header, in order.
///
/// Never fails: what is not a pair is skipped, names are compared byte for byte, a value is taken
/// as it is, quotes included. An empty name finds nothing.
#[must_use]
pub fn present<'a>(values: impl IntoIterator<Item = &'a [u8]>, name: &str) -> Presented<'a> {
    let name = name.as_bytes();
    let mut found = Presented::Absent;
    let mut total_bytes = 0_usize;
    if name.is_empty() {
        return found;
    }
    for value in values {
        total_bytes = total_bytes.saturating_add(value.len());
        if total_bytes > MAX_HEADER_BYTES {
            return Presented::TooLong;
        }
        for pair in value.split(|byte| *byte == b';') {
            let pair = pair.trim_ascii();
            // The name is known, so there is no need to look for the sign.
            let Some(rest) = pair.strip_prefix(name) else {
                continue;
            };
            let Some((b'=', value)) = rest.trim_ascii_start().split_first() else {
                continue;
            };
            if found != Presented::Absent {
                return Presented::Duplicate;
            }
            found = Presented::One(value.trim_ascii_start());
        }
    }
    found
}
