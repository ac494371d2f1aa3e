//! The times of access logs: whatever format somebody gave to `%START_TIME%`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::Offset;

/// What an unknown time is compared with in messages.
pub(super) const EXPECTED: &str =
    "a time as `2026-11-23T22:29:16.728996Z`, or seconds since the Unix epoch";

/// Formats with a zone that RFC 3339 doesn't know, tried in this order: those of Envoy's documentation, and that of the
/// common log format.
const FORMATS: [&str; 4] = [
    "%Y/%m/%dT%H:%M:%S%.f%z",
    "%Y-%m-%dT%H:%M:%S%.f%z",
    "%Y-%m-%d %H:%M:%S%.f %z",
    "%d/%b/%Y:%H:%M:%S%.f %z",
];

/// Reads a time in nanoseconds since the Unix epoch; one without a zone is UTC, as Envoy's are. `None` for anything else.
pub(super) fn parse(text: &str) -> Option<u64> {
    if text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return epoch(text);
    }
    let text = text.trim_start_matches('[').trim_end_matches(']');
    let time = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| {
            FORMATS
                .iter()
                .find_map(|format| strtime::parse(format, text).ok()?.to_timestamp().ok())
        })
        .or_else(|| {
            let time: DateTime = text.parse().ok()?;
            Offset::UTC.to_timestamp(time).ok()
        })?;
    u64::try_from(time.as_nanosecond()).ok()
}

/// Reads a count since the Unix epoch: of seconds, or by its size of milliseconds, microseconds or nanoseconds. Exact,
/// as no floating-point number would be.
pub(super) fn epoch(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: u64 = whole.parse().ok()?;
    // Seconds have ten digits until the year 2286.
    let digits = match whole {
        0..100_000_000_000 => 9,
        100_000_000_000..100_000_000_000_000 => 6,
        100_000_000_000_000..100_000_000_000_000_000 => 3,
        _ => 0,
    };
    let unit = 10_u64.pow(digits);
    let mut below = 0;
    let mut place = unit;
    for digit in fraction.chars() {
        place /= 10;
        below += u64::from(digit.to_digit(10)?) * place;
    }
    whole.checked_mul(unit)?.checked_add(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_format_that_logs_have() {
        const SECOND: u64 = 1_795_473_000_000_000_000;
        let cases = [
            ("2026-11-23T22:30:00Z", Some(SECOND)),
            ("2026-11-23T22:30:00.123456789Z", Some(SECOND + 123_456_789)),
            ("2026-11-23T23:30:00+01:00", Some(SECOND)),
            ("2026/11/23T22:30:00.5+0000", Some(SECOND + 500_000_000)),
            ("2026-11-23T22:30:00+0000", Some(SECOND)),
            ("2026-11-23 22:30:00.25", Some(SECOND + 250_000_000)),
            ("2026-11-23 23:30:00 +0100", Some(SECOND)),
            ("[23/Nov/2026:22:30:00 +0000]", Some(SECOND)),
            ("1795473000", Some(SECOND)),
            ("1795473000.000000001", Some(SECOND + 1)),
            ("1795473000.0000000019", Some(SECOND + 1)),
            ("1795473000123", Some(SECOND + 123_000_000)),
            ("1795473000123.5", Some(SECOND + 123_500_000)),
            ("1795473000123456", Some(SECOND + 123_456_000)),
            ("1795473000123456789", Some(SECOND + 123_456_789)),
            ("yesterday", None),
            ("1.2.3", None),
            ("", None),
            ("1969-01-01T00:00:00Z", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
