//! What every plugin's configuration shares: problems, paths, durations, JSON.
//!
//! Why: a typo in a safety policy is an outage later. Whoever writes a configuration sees all that
//! is wrong with it at once, each with its place, the rule, what was there and what to do.
//! Limits: syntax and shape stop at the first problem (`from_json`); what a policy checks after
//! that is collected ([`Problems`]). Secrets go through [`Redacted`] and are never part of a
//! message.

mod duration;
mod fields;
mod json;
mod problem;
mod redacted;
mod token;

pub use duration::{format_duration, parse_duration};
pub(crate) use fields::{Fields, format_ppm};
pub use json::{from_json, unique_map, write_json_string};
pub use problem::{Problem, Problems, Rejected};
pub use redacted::Redacted;
pub(crate) use token::is_token;
