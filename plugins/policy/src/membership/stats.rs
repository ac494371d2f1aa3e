//! Reads the membership counters that Envoy's admin answers to `/stats`.
//!
//! Model: lines `cluster.NAME.membership_COUNTER: NUMBER`, in any order; other lines are stepped
//! over. NAME is the cluster's as [`stat_name`](super::stat_name) has it and may hold dots.
//! Limits: lines of at most [`MAX_TOKEN_BYTES`], clusters of at most [`MAX_CLUSTERS`]. A cluster
//! without `membership_change` is left out. A last line without its line break is truncated.

use alloc::{collections::BTreeMap, string::String};

use super::{
    listing::{MAX_CLUSTERS, MAX_NAME_BYTES},
    parser::{MAX_ANSWER_BYTES, Progress},
    refusal::{Refused, Why},
    walk::MAX_TOKEN_BYTES,
};

/// Are the membership counters of one cluster; one that is absent is 0.
///
/// `change` alone does not see an endpoint's health change: compare the whole.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Is how often endpoints were added or removed since Envoy's start.
    pub change: u64,
    /// Is the number of endpoints.
    pub total: u64,
    /// Is the number of those that Envoy calls healthy.
    pub healthy: u64,
    /// Is the number of those that Envoy calls degraded.
    pub degraded: u64,
    /// Is the number of those that are left out of panic: draining ones are.
    pub excluded: u64,
}

/// Reads one answer to `/stats`, in slices.
///
/// Cost per call: O(`budget_bytes`); it keeps the names and 40 bytes per cluster.
#[derive(Debug, Default)]
pub struct StatsParser {
    offset: usize,
    clusters: BTreeMap<String, (Counters, bool)>,
    is_spent: bool,
}

impl StatsParser {
    /// Starts with the first byte of an answer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads on in `bytes`, which is the whole answer and the same in every call.
    ///
    /// It reads `budget_bytes` (0 is 1) and finishes the line that it is in, at most
    /// [`MAX_TOKEN_BYTES`] more. The counters come by the name that Envoy counts under.
    pub fn advance(
        &mut self,
        bytes: &[u8],
        budget_bytes: usize,
    ) -> Progress<BTreeMap<String, Counters>> {
        if self.is_spent {
            return Progress::Refused(self.refuse(Why::Spent));
        }
        match self.lines(bytes, budget_bytes) {
            Ok(false) => Progress::More { read: self.offset },
            Ok(true) => {
                self.is_spent = true;
                let clusters = core::mem::take(&mut self.clusters).into_iter();
                let counted = clusters.filter_map(|(name, (counters, has_change))| {
                    has_change.then_some((name, counters))
                });
                Progress::Done(counted.collect())
            }
            Err(why) => {
                self.is_spent = true;
                self.clusters.clear();
                Progress::Refused(self.refuse(why))
            }
        }
    }

    const fn refuse(&self, why: Why) -> Refused {
        Refused::new(why, self.offset)
    }

    fn lines(&mut self, bytes: &[u8], budget_bytes: usize) -> Result<bool, Why> {
        if bytes.len() > MAX_ANSWER_BYTES {
            return Err(Why::TooManyBytes);
        }
        let until = self.offset.saturating_add(budget_bytes.max(1));
        while self.offset < until {
            let rest = bytes.get(self.offset..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(true);
            }
            let bounded = rest.get(..=MAX_TOKEN_BYTES).unwrap_or(rest);
            let Some(length) = bounded.iter().position(|byte| *byte == b'\n') else {
                return Err(if bounded.len() > MAX_TOKEN_BYTES {
                    Why::TokenTooLong
                } else {
                    Why::Truncated
                });
            };
            let line = bounded.get(..length).unwrap_or_default();
            self.line(line)?;
            self.offset = self.offset.saturating_add(length).saturating_add(1);
        }
        Ok(false)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Why> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = str::from_utf8(line).map_err(|_| Why::NotUtf8)?;
        let Some((name, counter, number)) = split(line) else {
            return Ok(());
        };
        if name.len() > MAX_NAME_BYTES {
            return Err(Why::TooLong { field: "name" });
        }
        if !self.clusters.contains_key(name) && self.clusters.len() >= MAX_CLUSTERS {
            return Err(Why::TooManyClusters);
        }
        let (counters, has_change) = self.clusters.entry(String::from(name)).or_default();
        let (place, field) = match counter {
            "change" => {
                *has_change = true;
                (&mut counters.change, "membership_change")
            }
            "total" => (&mut counters.total, "membership_total"),
            "healthy" => (&mut counters.healthy, "membership_healthy"),
            "degraded" => (&mut counters.degraded, "membership_degraded"),
            "excluded" => (&mut counters.excluded, "membership_excluded"),
            _ => return Ok(()),
        };
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Why::WrongType {
                field,
                wanted: "a whole number",
            });
        }
        *place = number.parse().map_err(|_| Why::OutOfRange { field })?;
        Ok(())
    }
}

/// Takes a line apart: the cluster's name, the counter, its value.
fn split(line: &str) -> Option<(&str, &str, &str)> {
    let (path, number) = line.rsplit_once(": ")?;
    let (name, counter) = path.strip_prefix("cluster.")?.rsplit_once(".membership_")?;
    (!name.is_empty()).then_some((name, counter, number))
}
