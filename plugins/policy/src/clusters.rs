//! Which clusters a rule is for, and which rule a cluster has.
//!
//! Why: the rules of every filter, and the block that says whose endpoints are known, name clusters.
//! They do it in the same words, and what is wrong with them is said in the same words.
//! Model: a rule has the exact name of a cluster or the beginning of names. Exact names come before
//! prefixes, these in the order of the configuration; the first that matches holds.
//! Limits: 1 to 1024 rules, no two for the same. A configured name is text, so a cluster whose name is
//! none can match a prefix only.
//! Scope: the same on every worker. Cost: a rule is found in O(log names + prefixes), without
//! allocation.

use alloc::{collections::BTreeMap, format, string::String, vec::Vec};

use crate::config::{Problem, Problems, write_json_string};

/// Is how many rules there may be. More would make every request to a cluster that is not listed
/// search for long, and one prefix says the same as many names.
const MAX_RULES: usize = 1024;

/// Says which clusters are meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Selector {
    /// The one with exactly this name.
    Name(String),
    /// All whose name begins like this; empty means all.
    Prefix(String),
}

impl Selector {
    /// Checks the fields `name` and `prefix` of the object at `path`. `None` exactly where it added a
    /// problem.
    pub(crate) fn check(
        name: Option<&str>,
        prefix: Option<&str>,
        path: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        match (name, prefix) {
            (Some(""), None) => {
                problems.push(Problem::new(
                    format!("{path}.name"),
                    "cluster-name-empty",
                    "must not be empty, got \"\"",
                    "write the name of an Envoy cluster, or \"prefix\": \"\" for all",
                ));
                None
            }
            (Some(name), None) => Some(Self::Name(name.into())),
            (None, Some(prefix)) => Some(Self::Prefix(prefix.into())),
            (name, _) => {
                let got = if name.is_some() { "both" } else { "none" };
                problems.push(Problem::new(
                    path,
                    "cluster-selector",
                    format!("must have exactly one of `name` and `prefix`, got {got}"),
                    "",
                ));
                None
            }
        }
    }

    /// Appends the field that it was read from.
    pub(crate) fn write_json(&self, json: &mut String) {
        let (field, text) = match self {
            Self::Name(name) => ("\"name\":", name),
            Self::Prefix(prefix) => ("\"prefix\":", prefix),
        };
        json.push_str(field);
        write_json_string(json, text);
    }

    /// Says whether the cluster with this name is meant.
    #[must_use]
    pub fn has(&self, cluster: &[u8]) -> bool {
        match self {
            Self::Name(name) => name.as_bytes() == cluster,
            Self::Prefix(prefix) => cluster.starts_with(prefix.as_bytes()),
        }
    }

    /// Tells selectors apart.
    fn as_key(&self) -> (bool, &str) {
        match self {
            Self::Name(name) => (true, name),
            Self::Prefix(prefix) => (false, prefix),
        }
    }
}

/// Is a rule of a configuration.
pub(crate) trait ForClusters {
    /// Says which clusters it is for.
    fn selector(&self) -> &Selector;
}

/// Checks the list of rules at `path` (`$.clusters`), each by `check`, which is told its path. Those
/// that are in order and for others than the ones before come back, each with its place in the list.
pub(crate) fn check_rules<Raw, Rule: ForClusters>(
    raw: &[Raw],
    path: &str,
    problems: &mut Problems,
    mut check: impl FnMut(&Raw, &str, &mut Problems) -> Option<Rule>,
) -> Vec<(usize, Rule)> {
    if raw.is_empty() {
        problems.push(Problem::new(
            path,
            "clusters-empty",
            "must list at least one cluster, got none",
            "write [{\"name\": \"…\"}], or [{\"prefix\": \"\"}] for all",
        ));
    }
    if raw.len() > MAX_RULES {
        problems.push(Problem::new(
            path,
            "clusters-too-many",
            format!("must list at most {MAX_RULES} clusters, got {}", raw.len()),
            "a prefix covers many",
        ));
        return Vec::new();
    }
    let mut rules: Vec<(usize, Rule)> = Vec::with_capacity(raw.len());
    let mut places = BTreeMap::new();
    for (place, raw) in raw.iter().enumerate() {
        let rule_path = format!("{path}[{place}]");
        let Some(rule) = check(raw, &rule_path, problems) else {
            continue;
        };
        let (is_name, text) = rule.selector().as_key();
        let earlier = *places.entry((is_name, String::from(text))).or_insert(place);
        if earlier == place {
            rules.push((place, rule));
            continue;
        }
        problems.push(Problem::new(
            rule_path,
            "cluster-duplicate",
            format!("must differ from the other clusters, got what {path}[{earlier}] has"),
            "only the first would ever hold",
        ));
    }
    rules
}

/// Finds the rule of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Finder {
    /// Are the exact names, each with the place of its rule.
    names: BTreeMap<Vec<u8>, usize>,
    /// Are the prefixes in their order, each with the place of its rule.
    prefixes: Vec<(Vec<u8>, usize)>,
}

impl Finder {
    /// Prepares the rules of a configuration.
    pub(crate) fn new<Rule: ForClusters>(rules: &[Rule]) -> Self {
        let (mut names, mut prefixes) = (BTreeMap::new(), Vec::new());
        for (place, rule) in rules.iter().enumerate() {
            match rule.selector() {
                Selector::Name(name) => {
                    names.entry(name.as_bytes().to_vec()).or_insert(place);
                }
                Selector::Prefix(prefix) => prefixes.push((prefix.as_bytes().to_vec(), place)),
            }
        }
        Self { names, prefixes }
    }

    /// Is the place of the rule of the cluster with this name; `None` leaves its requests alone.
    pub(crate) fn find(&self, cluster: &[u8]) -> Option<usize> {
        let by_prefix = || {
            let mut prefixes = self.prefixes.iter();
            prefixes.find(|(prefix, _)| cluster.starts_with(prefix))
        };
        let by_name = self.names.get(cluster).copied();
        by_name.or_else(|| by_prefix().map(|(_, place)| *place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rule(Selector);

    impl ForClusters for Rule {
        fn selector(&self) -> &Selector {
            &self.0
        }
    }

    fn name(text: &str) -> Rule {
        Rule(Selector::Name(text.into()))
    }

    fn prefix(text: &str) -> Rule {
        Rule(Selector::Prefix(text.into()))
    }

    #[test]
    fn exact_name_comes_before_a_prefix_and_the_first_prefix_before_the_next() {
        let finder = Finder::new(&[prefix("a"), prefix("ab"), name("abc"), name("\u{e9}")]);
        let cases: [(&[u8], Option<usize>); 7] = [
            (b"abc", Some(2)),
            (b"abcd", Some(0)),
            (b"ab", Some(0)),
            (b"a\xff", Some(0)),
            ("\u{e9}".as_bytes(), Some(3)),
            (b"b", None),
            (b"", None),
        ];
        for (cluster, place) in cases {
            assert_eq!(finder.find(cluster), place);
        }
        let all = Finder::new(&[name("x"), prefix("")]);
        assert_eq!(all.find(b""), Some(1));
        assert_eq!(all.find(b"\xff"), Some(1));
    }

    #[test]
    fn selector_has_exactly_the_clusters_that_a_rule_of_it_is_found_for() {
        for rule in [name("ab"), prefix("ab"), prefix("")] {
            let selector = rule.0.clone();
            let finder = Finder::new(&[rule]);
            for cluster in [&b"ab"[..], b"abc", b"a", b"", b"ab\xff"] {
                assert_eq!(selector.has(cluster), finder.find(cluster).is_some());
            }
        }
    }

    #[test]
    fn rules_come_back_with_their_places_without_what_is_wrong_or_there_twice() {
        let mut problems = Problems::new();
        let raw = ["a", "", "b", "a", "p-", "p-"];
        let rules = check_rules(&raw, "$.x", &mut problems, |raw, path, problems| {
            let (name, prefix) = if raw.ends_with('-') {
                (None, Some(*raw))
            } else {
                (Some(*raw), None)
            };
            Selector::check(name, prefix, path, problems).map(Rule)
        });
        let places: Vec<usize> = rules.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [0, 2, 4]);
        let found: Vec<(String, &str)> = problems
            .into_sorted()
            .into_iter()
            .map(|problem| (problem.path, problem.code))
            .collect();
        let expected = [
            ("$.x[1].name", "cluster-name-empty"),
            ("$.x[3]", "cluster-duplicate"),
            ("$.x[5]", "cluster-duplicate"),
        ];
        assert_eq!(
            found,
            expected.map(|(path, code)| (String::from(path), code))
        );
    }
}
