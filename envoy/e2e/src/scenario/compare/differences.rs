//! Differences that are known, and why they are there.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Comparison, Difference};
use crate::paths;

/// A difference between the model and Envoy that is there for a reason.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The scenario's name.
    pub scenario: String,
    /// The request or share, as a comparison names it; `*` for all of the scenario.
    pub of: String,
    /// What differs.
    pub field: String,
    /// What the model says; `*` for anything.
    pub model: String,
    /// What Envoy does; `*` for anything.
    pub envoy: String,
    /// Why.
    pub why: String,
}

/// Reads the list of known differences.
///
/// # Errors
/// The file can't be read, or is no such list.
pub fn known() -> Result<Vec<Known>> {
    let path = paths::scenarios().join("differences.yaml");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    let known: Option<Vec<Known>> = serde_norway::from_str(&text)
        .with_context(|| format!("cannot parse `{}`", path.display()))?;
    Ok(known.unwrap_or_default())
}

/// Moves known differences to where they do no harm, and notes what is known and not so.
pub(super) fn explain(comparison: &mut Comparison, known: &[Known]) {
    let mut used = vec![false; known.len()];
    for difference in std::mem::take(&mut comparison.differences) {
        let found = known
            .iter()
            .zip(&mut used)
            .find(|(known, _)| known.explains(&comparison.scenario, &difference));
        match found {
            Some((known, used)) => {
                *used = true;
                comparison.explained.push((difference, known.why.clone()));
            }
            None => comparison.differences.push(difference),
        }
    }
    for (known, used) in known.iter().zip(used) {
        if !used && known.scenario == comparison.scenario {
            comparison
                .stale
                .push(format!("{}: {}", known.of, known.field));
        }
    }
}

impl Known {
    fn explains(&self, scenario: &str, difference: &Difference) -> bool {
        let is = |pattern: &str, text: &str| pattern == "*" || pattern == text;
        self.scenario == scenario
            && is(&self.of, &difference.of)
            && self.field == difference.field
            && is(&self.model, &difference.model)
            && is(&self.envoy, &difference.envoy)
    }
}
