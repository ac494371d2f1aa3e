//! Which rule holds for a cluster, and the name of its cookie.

use alloc::{borrow::Cow, format, string::String, vec::Vec};

use super::decision::Policy;
use crate::{
    clusters::{Finder, ForClusters, Selector},
    config::is_token,
    digest::fnv1a_64,
    successor::TableSize,
};

/// Begins the names of cookies that are derived from a cluster's name.
const DERIVED_PREFIX: &str = "tidegate-";

/// Is the longest derived name that is written out, in bytes; a longer one ends with a hash
/// instead.
const MAX_DERIVED_BYTES: usize = 96;

/// Is a rule: the clusters it holds for, and how their sessions are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cluster {
    pub(super) selector: Selector,
    pub(super) cookie_name: Option<String>,
    pub(super) policy: Policy,
}

impl Cluster {
    /// Is the name of the one cluster that it holds for and the size of its table, where requests to
    /// it bring keys: a table that can be built before the first of them.
    #[must_use]
    pub fn table(&self) -> Option<(&str, TableSize)> {
        match &self.selector {
            Selector::Name(name) if self.policy.key.is_some() => {
                Some((name, self.policy.table_size))
            }
            Selector::Name(_) | Selector::Prefix(_) => None,
        }
    }

    /// Is the name of its cookie, where it is for one cluster.
    pub(super) fn known_cookie_name(&self) -> Option<Cow<'_, str>> {
        let Selector::Name(cluster) = &self.selector else {
            return None;
        };
        Some(match &self.cookie_name {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(derived_name(cluster.as_bytes())),
        })
    }
}

impl ForClusters for Cluster {
    fn selector(&self) -> &Selector {
        &self.selector
    }
}

/// Is the rule that holds for a cluster.
#[derive(Clone, Debug)]
pub struct Match<'a> {
    /// Is how its sessions are kept.
    pub policy: &'a Policy,
    /// Is the name of its cookie.
    pub cookie_name: Cow<'a, str>,
}

/// Finds the rule for a cluster.
///
/// Cost: O(log names + prefixes) per call; allocates only for a cluster that a prefix matched.
#[derive(Clone, Debug)]
pub struct Matcher {
    finder: Finder,
    rules: Vec<Rule>,
}

/// Is a rule that is ready to be found.
#[derive(Clone, Debug)]
struct Rule {
    /// Is the cookie's name; `None` where each cluster has its own.
    cookie_name: Option<String>,
    policy: Policy,
}

impl Matcher {
    /// Prepares the rules of a configuration.
    #[must_use]
    pub fn new(clusters: &[Cluster]) -> Self {
        let rules = clusters.iter().map(|cluster| Rule {
            cookie_name: cluster.known_cookie_name().map(Cow::into_owned),
            policy: cluster.policy.clone(),
        });
        Self {
            finder: Finder::new(clusters),
            rules: rules.collect(),
        }
    }

    /// Finds the rule for the cluster with this name; `None` leaves its requests alone.
    #[must_use]
    pub fn find(&self, cluster: &[u8]) -> Option<Match<'_>> {
        let rule = self.rules.get(self.finder.find(cluster)?)?;
        let cookie_name = match &rule.cookie_name {
            Some(name) => Cow::Borrowed(name.as_str()),
            None => Cow::Owned(derived_name(cluster)),
        };
        Some(Match {
            policy: &rule.policy,
            cookie_name,
        })
    }
}

/// Derives a cookie's name from a cluster's. Two clusters never get the same one, except two with
/// more than 80 bytes whose hashes agree.
///
/// What may not stand in a name (RFC 6265 section 4.1.1: a token) is written as `%` and two
/// hexadecimal digits, `%` itself as well.
pub(super) fn derived_name(cluster: &[u8]) -> String {
    let mut name = String::from(DERIVED_PREFIX);
    for byte in cluster {
        if is_token(*byte) && *byte != b'%' {
            name.push(char::from(*byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    if name.len() > MAX_DERIVED_BYTES {
        // All characters are ASCII, so every position is a boundary.
        name.truncate(MAX_DERIVED_BYTES.saturating_sub(17));
        name.push_str(&format!("~{:016x}", fnv1a_64(cluster)));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_name_is_a_token_and_tells_clusters_apart() {
        let long = [b'a'; 300];
        let cases: [(&[u8], &str); 5] = [
            (b"echo", "tidegate-echo"),
            (b"outbound|80||echo.svc", "tidegate-outbound|80||echo.svc"),
            (b"a/b:c=d;e", "tidegate-a%2Fb%3Ac%3Dd%3Be"),
            (b"100%", "tidegate-100%25"),
            (b"\xff", "tidegate-%FF"),
        ];
        for (cluster, expected) in cases {
            assert_eq!(derived_name(cluster), expected);
        }
        let hashed = derived_name(&long);
        assert_eq!(hashed.len(), MAX_DERIVED_BYTES);
        assert_ne!(hashed, derived_name(&long[1..]));
        assert!(hashed.bytes().all(is_token));
    }
}
