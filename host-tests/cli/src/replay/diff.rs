//! Compares headers before and after the plugins.
//!
//! Why: most headers pass untouched. What both ends have in common is skipped without a copy, and only the rest is
//! looked at by name.

use std::collections::BTreeMap;

use tidegate_host::HeaderMap;

use super::exchange::{Change, mask};

type Pair<'a> = (&'a [u8], &'a [u8]);
type Values<'a> = Vec<&'a [u8]>;

/// One difference, borrowed from the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference<'a> {
    Added(Pair<'a>),
    Removed(Pair<'a>),
    Reordered,
    Replaced {
        name: &'a [u8],
        was: &'a [u8],
        value: &'a [u8],
    },
}

impl Difference<'_> {
    /// Makes a copy that may be shown.
    pub(super) fn to_change(self) -> Change {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::Added((name, value)) => Change::Added {
                name: text(name),
                value: mask(name, value),
            },
            Self::Removed((name, value)) => Change::Removed {
                name: text(name),
                value: mask(name, value),
            },
            Self::Reordered => Change::Reordered,
            Self::Replaced { name, was, value } => Change::Replaced {
                name: text(name),
                was: mask(name, was),
                value: mask(name, value),
            },
        }
    }
}

/// Returns what is different, ordered by name and then as the fields come; empty when nothing is.
pub(super) fn diff<'a>(before: &'a HeaderMap, after: &'a HeaderMap) -> Vec<Difference<'a>> {
    let start = before
        .iter()
        .zip(after.iter())
        .take_while(|(one, other)| one == other)
        .count();
    if start == before.len() && start == after.len() {
        return Vec::new();
    }
    let rest = before.len().min(after.len()) - start;
    let end = before
        .iter()
        .rev()
        .zip(after.iter().rev())
        .take(rest)
        .take_while(|(one, other)| one == other)
        .count();
    let mut names: BTreeMap<&[u8], (Values<'_>, Values<'_>)> = BTreeMap::new();
    for (name, value) in before.iter().take(before.len() - end).skip(start) {
        names.entry(name).or_default().0.push(value);
    }
    for (name, value) in after.iter().take(after.len() - end).skip(start) {
        names.entry(name).or_default().1.push(value);
    }
    let mut differences = Vec::new();
    for (name, (old, new)) in names {
        if old != new {
            compare(name, &old, &new, &mut differences);
        }
    }
    if differences.is_empty() {
        differences.push(Difference::Reordered);
    }
    differences
}

/// Compares the values of one name, of which there may be several.
fn compare<'a>(
    name: &'a [u8],
    old: &[&'a [u8]],
    new: &[&'a [u8]],
    differences: &mut Vec<Difference<'a>>,
) {
    let mut counts: BTreeMap<&[u8], i64> = BTreeMap::new();
    for value in new {
        *counts.entry(value).or_default() += 1;
    }
    let mut removed = Vec::new();
    for value in old {
        let count = counts.entry(value).or_default();
        if *count > 0 {
            *count -= 1;
        } else {
            removed.push(*value);
        }
    }
    let mut added = Vec::new();
    for value in new.iter().rev() {
        // Of several equal values, those behind are the new ones.
        if let Some(count) = counts.get_mut(value).filter(|count| **count > 0) {
            *count -= 1;
            added.push(*value);
        }
    }
    added.reverse();
    if let (&[was], &[value]) = (removed.as_slice(), added.as_slice()) {
        differences.push(Difference::Replaced { name, was, value });
        return;
    }
    differences.extend(
        removed
            .into_iter()
            .map(|value| Difference::Removed((name, value))),
    );
    differences.extend(
        added
            .into_iter()
            .map(|value| Difference::Added((name, value))),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(text: &str) -> HeaderMap {
        text.split_whitespace()
            .filter_map(|field| field.split_once('='))
            .collect()
    }

    fn shown(before: &str, after: &str) -> String {
        let (before, after) = (map(before), map(after));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let lines: Vec<String> = diff(&before, &after)
            .into_iter()
            .map(|difference| match difference {
                Difference::Added((name, value)) => format!("+{}={}", text(name), text(value)),
                Difference::Removed((name, value)) => format!("-{}={}", text(name), text(value)),
                Difference::Reordered => "reordered".to_owned(),
                Difference::Replaced { name, was, value } => {
                    format!("{}:{}>{}", text(name), text(was), text(value))
                }
            })
            .collect();
        lines.join(" ")
    }

    #[test]
    fn differences_are_the_smallest_by_name() {
        let cases = [
            ("a=1 b=2", "a=1 b=2", ""),
            ("a=1 b=2", "a=1 b=2 c=3", "+c=3"),
            ("a=1 b=2", "c=3 a=1 b=2", "+c=3"),
            ("a=1 b=2 c=3", "a=1 c=3", "-b=2"),
            ("a=1 b=2", "a=1 b=3", "b:2>3"),
            ("a=1 b=2", "b=2 a=1", "reordered"),
            ("s=1 s=2", "s=1 s=2 s=3", "+s=3"),
            ("s=1 s=1", "s=1", "-s=1"),
            ("s=1 s=2", "s=3 s=4", "-s=1 -s=2 +s=3 +s=4"),
            ("x=1 a=1 y=2", "a=1 z=1 y=2", "-x=1 +z=1"),
            ("", "a=1", "+a=1"),
            ("a=1", "", "-a=1"),
        ];
        for (before, after, expected) in cases {
            assert_eq!(shown(before, after), expected, "{before} -> {after}");
        }
    }

    proptest! {
        #[test]
        fn differences_make_one_map_of_the_other(before in "([abc]=[123] ){0,6}", after in "([abc]=[123] ){0,6}") {
            let (one, other) = (map(&before), map(&after));
            let mut fields: Vec<Pair<'_>> = one.iter().collect();
            for difference in diff(&one, &other) {
                let mut remove = |field: Pair<'_>| {
                    let at = fields.iter().position(|other| *other == field).unwrap();
                    fields.remove(at);
                };
                match difference {
                    Difference::Added(field) => fields.push(field),
                    Difference::Removed(field) => remove(field),
                    Difference::Reordered => {}
                    Difference::Replaced { name, was, value } => {
                        remove((name, was));
                        fields.push((name, value));
                    }
                }
            }
            let mut expected: Vec<Pair<'_>> = other.iter().collect();
            fields.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(fields, expected);
            prop_assert_eq!(diff(&one, &other).is_empty(), one == other);
        }
    }
}
