//! Fields that a filter has where it stands alone, and a stack has at its top.

use alloc::format;

use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::config::{Problem, Problems};

/// Stands for a field that has its place elsewhere. It takes any value and knows that there was one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Elsewhere(bool);

impl<'de> Deserialize<'de> for Elsewhere {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|IgnoredAny| Self(true))
    }
}

/// Refuses fields in the object of a filter, at `path`, that stand at the top of a stack.
pub(crate) fn refuse_shared<const N: usize>(
    fields: [(&str, Elsewhere); N],
    path: &str,
    problems: &mut Problems,
) {
    for (field, Elsewhere(is_there)) in fields {
        if is_there {
            problems.push(Problem::new(
                format!("{path}.{field}"),
                "shared-field",
                format!("must not stand here: it is $.{field} for all filters"),
                "write it once, at the top",
            ));
        }
    }
}
