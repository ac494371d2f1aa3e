//! Times and shares as a scenario writes them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time, written with its unit: `250ms`, `10s`, `1.5s`, `2m`, `1h`, `10us`, `5ns`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

/// Units with their nanoseconds, the longer names first.
const UNITS: [(&str, f64); 6] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3_600e9),
];

/// Nothing in a scenario lasts longer: 30 days.
const LONGEST_NS: f64 = 30.0 * 24.0 * 3_600e9;

impl Span {
    /// No time.
    pub const ZERO: Self = Self(0);

    /// Makes a span of milliseconds.
    #[must_use]
    pub const fn ms(milliseconds: u64) -> Self {
        Self(milliseconds.saturating_mul(1_000_000))
    }

    /// Returns nanoseconds.
    #[must_use]
    pub const fn ns(self) -> u64 {
        self.0
    }

    /// Returns seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        Duration::from_nanos(self.0).as_secs_f64()
    }

    /// Reads `10s`.
    ///
    /// # Errors
    /// There is no number, no unit or another one, or it is longer than 30 days; the text says which and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits = text
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if !number.is_empty() && unit.is_empty() && number != "0" {
            return Err(format!(
                "missing unit in \"{text}\"; write \"{text}s\" or \"{text}ms\""
            ));
        }
        let factor = UNITS.iter().find(|(name, _)| *name == unit.trim());
        let value: f64 = number
            .parse()
            .map_err(|_| format!("\"{text}\" is no time; write \"10s\" or \"250ms\""))?;
        let nanoseconds = match factor {
            Some((_, factor)) => value * factor,
            None if unit.is_empty() => 0.0,
            None => {
                return Err(format!(
                    "\"{unit}\" is no unit of time; there are ns, us, ms, s, m and h"
                ));
            }
        };
        if nanoseconds > LONGEST_NS {
            return Err(format!("\"{text}\" is longer than 30 days"));
        }
        Ok(Self(
            Duration::from_secs_f64(nanoseconds / 1e9)
                .as_nanos()
                .try_into()
                .unwrap_or(u64::MAX),
        ))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = [
            ("h", 3_600_000_000_000),
            ("s", 1_000_000_000),
            ("ms", 1_000_000),
            ("us", 1_000),
        ];
        let found = exact
            .iter()
            .find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        match found {
            Some((unit, factor)) => write!(formatter, "{}{unit}", self.0 / factor),
            None if self.0 == 0 => formatter.write_str("0s"),
            None => write!(formatter, "{}ns", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a time with its unit, such as \"250ms\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Span, E> {
                Span::parse(&number.to_string()).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A share between 0 and 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize)]
pub struct Ratio(f64);

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);
    /// Everything.
    pub const ONE: Self = Self(1.0);

    /// Takes a share.
    ///
    /// # Errors
    /// It isn't between 0 and 1.
    pub fn try_new(value: f64) -> Result<Self, String> {
        if (0.0..=1.0).contains(&value) {
            return Ok(Self(value));
        }
        Err(format!(
            "must be between 0.0 and 1.0, got {value}; ratios are fractions, 20 % is 0.2"
        ))
    }

    /// Returns the share.
    #[must_use]
    pub const fn value(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_new(f64::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_units_only() {
        let cases = [
            ("5ns", Ok(5)),
            ("250ms", Ok(250_000_000)),
            ("1.5s", Ok(1_500_000_000)),
            ("0", Ok(0)),
            ("2m", Ok(120_000_000_000)),
            ("720h", Ok(2_592_000_000_000_000)),
            ("721h", Err("\"721h\" is longer than 30 days")),
            (
                "10",
                Err("missing unit in \"10\"; write \"10s\" or \"10ms\""),
            ),
            (
                "10 parsec",
                Err("\" parsec\" is no unit of time; there are ns, us, ms, s, m and h"),
            ),
            ("s", Err("\"s\" is no time; write \"10s\" or \"250ms\"")),
            ("", Err("\"\" is no time; write \"10s\" or \"250ms\"")),
            ("-1s", Err("\"-1s\" is no time; write \"10s\" or \"250ms\"")),
            (
                "1.2.3s",
                Err("\"1.2.3s\" is no time; write \"10s\" or \"250ms\""),
            ),
        ];
        let read = cases.map(|(text, _)| (text, Span::parse(text).map(Span::ns)));
        assert_eq!(
            read,
            cases.map(|(text, expected)| (text, expected.map_err(str::to_owned)))
        );
    }

    #[test]
    fn spans_are_written_as_they_are_read() {
        for text in ["0s", "250ms", "1h", "90s", "1500us", "7ns"] {
            assert_eq!(
                Span::parse(text).map(|span| span.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn ratios_stay_between_zero_and_one() {
        assert!(Ratio::try_new(0.0).is_ok() && Ratio::try_new(1.0).is_ok());
        for wrong in [-1e-9, 1.000_001, f64::NAN, f64::INFINITY] {
            assert!(Ratio::try_new(wrong).is_err(), "{wrong}");
        }
    }
}
