//! Checks the numbers, ratios and durations of one object.

use alloc::{format, string::String};
use core::{ops::RangeInclusive, time::Duration};

use super::{Problem, Problems, format_duration, parse_duration};
use crate::units::Ppm;

/// Checks fields of the object at a path. Each check gives `None` exactly where it added a problem.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    /// Is the object's path (`$.clusters[0].panic`).
    pub(crate) path: String,
    /// Takes the problems.
    pub(crate) problems: &'a mut Problems,
}

impl Fields<'_> {
    /// Checks a whole number: `number-out-of-range`.
    pub(crate) fn number(
        &mut self,
        field: &str,
        number: u32,
        range: &RangeInclusive<u32>,
    ) -> Option<u32> {
        if range.contains(&number) {
            return Some(number);
        }
        let (least, most) = (range.start(), range.end());
        let message = format!("must be from {least} to {most}, got {number}");
        self.refuse(field, "number-out-of-range", message, "");
        None
    }

    /// Checks a ratio, with a range in millionths: `ratio-out-of-range`.
    pub(crate) fn ratio(
        &mut self,
        field: &str,
        ratio: f64,
        range: &RangeInclusive<u32>,
    ) -> Option<Ppm> {
        let ppm = Ppm::from_ratio(ratio).filter(|ppm| range.contains(&ppm.as_u32()));
        if ppm.is_none() {
            let message = between(ratio, range);
            let help = "ratios are fractions, 20 % is 0.2";
            self.refuse(field, "ratio-out-of-range", message, help);
        }
        ppm
    }

    /// Checks a factor, with a range in millionths, which is also its result: `factor-out-of-range`.
    pub(crate) fn factor(
        &mut self,
        field: &str,
        factor: f64,
        range: &RangeInclusive<u32>,
    ) -> Option<u32> {
        let millionths = (factor * 1e6).clamp(-1.0, f64::from(u32::MAX));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is clamped to the type's range, and what is none is 0"
        )]
        let ppm = (millionths + 0.5) as u32;
        if factor >= 0.0 && range.contains(&ppm) {
            return Some(ppm);
        }
        let message = between(factor, range);
        self.refuse(field, "factor-out-of-range", message, "");
        None
    }

    /// Checks a duration: `duration-out-of-range`, and those of [`parse_duration`].
    pub(crate) fn duration(
        &mut self,
        field: &str,
        text: &str,
        range: &RangeInclusive<Duration>,
    ) -> Option<Duration> {
        match parse_duration(&format!("{}.{field}", self.path), text) {
            Ok(duration) if range.contains(&duration) => return Some(duration),
            Ok(_) => {
                let least = format_duration(*range.start());
                let most = format_duration(*range.end());
                let message = format!("must be from {least} to {most}, got {text:?}");
                self.refuse(field, "duration-out-of-range", message, "");
            }
            Err(problem) => self.problems.push(problem),
        }
        None
    }

    /// Adds a problem of a field.
    pub(crate) fn refuse(
        &mut self,
        field: &str,
        code: &'static str,
        message: String,
        help: &'static str,
    ) {
        let path = format!("{}.{field}", self.path);
        self.problems.push(Problem::new(path, code, message, help));
    }
}

/// Says of a number that it is not within a range of millionths.
fn between(number: f64, range: &RangeInclusive<u32>) -> String {
    let (least, most) = (format_ppm(*range.start()), format_ppm(*range.end()));
    format!("must be from {least} to {most}, got {number}")
}

/// Writes millionths as a decimal number: `0.25`, `1`, `10`.
pub(crate) fn format_ppm(ppm: u32) -> String {
    let text = format!("{}.{:06}", ppm / 1_000_000, ppm % 1_000_000);
    String::from(text.trim_end_matches('0').trim_end_matches('.'))
}
