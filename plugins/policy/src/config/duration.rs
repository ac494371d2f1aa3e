//! Durations with a unit: `"250ms"`, `"10s"`, `"30m"`, `"3h"`, `"7d"`.

use alloc::{borrow::Cow, format, string::String};
use core::time::Duration;

use super::Problem;

/// Are the units, the longest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a whole number with one of the units `ms`, `s`, `m`, `h` and `d`.
///
/// `path` is where the text stands; zero is a legal answer, a caller with a range checks it.
///
/// # Errors
/// A number without a unit: `duration-without-unit`.
/// Anything else that is not a number with a unit: `duration-malformed`.
/// More milliseconds than 64 bits hold: `duration-too-long`.
pub fn parse_duration(path: &str, text: &str) -> Result<Duration, Problem> {
    let fail = |code, message: String, help: Cow<'static, str>| Problem {
        path: String::from(path),
        code,
        message,
        help,
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or(("", text));
    let malformed = || {
        fail(
            "duration-malformed",
            format!("must be a duration, got {text:?}"),
            Cow::Borrowed(
                "write a whole number and a unit: \"250ms\", \"10s\", \"30m\", \"3h\", \"7d\"",
            ),
        )
    };
    if number.is_empty() {
        return Err(malformed());
    }
    if unit.is_empty() {
        return Err(fail(
            "duration-without-unit",
            format!("missing unit in {text:?}"),
            Cow::Owned(format!("write \"{number}s\" or \"{number}ms\"")),
        ));
    }
    let Some((_, unit_ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(malformed());
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*unit_ms))
        .map(Duration::from_millis)
        .ok_or_else(|| {
            fail(
                "duration-too-long",
                format!("must fit into 64 bits of milliseconds, got {text:?}"),
                Cow::Borrowed("write less"),
            )
        })
}

/// Writes a duration with the largest unit that loses nothing; less than a millisecond is dropped.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let total_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (name, unit_ms) = UNITS
        .iter()
        .find(|(_, unit_ms)| total_ms != 0 && total_ms.checked_rem(*unit_ms) == Some(0))
        .copied()
        .unwrap_or(("ms", 1));
    format!("{}{name}", total_ms.checked_div(unit_ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_with_a_unit_is_read_and_written_back() {
        for (text, expected_ms) in [
            ("0ms", 0),
            ("250ms", 250),
            ("10s", 10_000),
            ("90s", 90_000),
            ("30m", 1_800_000),
            ("3h", 10_800_000),
            ("7d", 604_800_000),
        ] {
            let duration = parse_duration("$", text).unwrap();
            assert_eq!(duration, Duration::from_millis(expected_ms), "{text}");
            assert_eq!(
                parse_duration("$", &format_duration(duration)).unwrap(),
                duration,
                "{text}"
            );
        }
        assert_eq!(format_duration(Duration::from_secs(90)), "90s");
        assert_eq!(format_duration(Duration::from_secs(10_800)), "3h");
    }

    #[test]
    fn duration_that_is_none_says_what_to_write() {
        let cases = [
            ("10", "duration-without-unit"),
            ("", "duration-malformed"),
            ("s", "duration-malformed"),
            ("-1s", "duration-malformed"),
            ("1.5s", "duration-malformed"),
            ("1h30m", "duration-malformed"),
            ("10 s", "duration-malformed"),
            ("10S", "duration-malformed"),
            ("\u{661}s", "duration-malformed"),
            ("18446744073709551615s", "duration-too-long"),
            ("99999999999999999999s", "duration-too-long"),
        ];
        for (text, code) in cases {
            let problem = parse_duration("$.ttl", text).unwrap_err();
            assert_eq!(
                (problem.path.as_str(), problem.code),
                ("$.ttl", code),
                "{text:?}"
            );
            assert!(!problem.help.is_empty(), "{text:?}");
        }
    }
}
