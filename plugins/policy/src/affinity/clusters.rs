//! Which rule holds for a cluster, and the name of its cookie.

use alloc::{borrow::Cow, collections::BTreeMap, format, string::String, vec::Vec};

use super::decision::Policy;
use crate::{digest::fnv1a_64, successor::TableSize};

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
}

/// Says which clusters a rule holds for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Selector {
    /// The one with exactly this name.
    Name(String),
    /// All whose name begins like this; empty means all.
    Prefix(String),
}

/// Is the rule that holds for a cluster.
#[derive(Clone, Debug)]
pub struct Match<'a> {
    /// Is how its sessions are kept.
    pub policy: &'a Policy,
    /// Is the name of its cookie.
    pub cookie_name: Cow<'a, str>,
}

/// Finds the rule for a cluster: exact names first, then prefixes in the order of the
/// configuration.
///
/// Cost: O(log names + prefixes) per call; allocates only for a cluster that a prefix matched.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// Leads from a cluster's name to its rule.
    names: BTreeMap<String, usize>,
    rules: Vec<Rule>,
}

/// Is a rule that is ready to be found.
#[derive(Clone, Debug)]
struct Rule {
    /// Is the prefix, for a rule that has one.
    prefix: Option<String>,
    cookie_name: Option<String>,
    policy: Policy,
}

impl Matcher {
    /// Prepares the rules of a configuration.
    #[must_use]
    pub fn new(clusters: &[Cluster]) -> Self {
        let mut names = BTreeMap::new();
        let mut rules = Vec::with_capacity(clusters.len());
        for (
            index,
            Cluster {
                selector,
                cookie_name,
                policy,
            },
        ) in clusters.iter().enumerate()
        {
            let (prefix, cookie_name) = match selector {
                Selector::Name(name) => {
                    names.insert(name.clone(), index);
                    let derived = || derived_name(name.as_bytes());
                    (None, Some(cookie_name.clone().unwrap_or_else(derived)))
                }
                Selector::Prefix(prefix) => (Some(prefix.clone()), None),
            };
            rules.push(Rule {
                prefix,
                cookie_name,
                policy: policy.clone(),
            });
        }
        Self { names, rules }
    }

    /// Finds the rule for the cluster with this name; `None` leaves its requests alone.
    #[must_use]
    pub fn find(&self, cluster: &[u8]) -> Option<Match<'_>> {
        // A configured name is text, so a name that is none can match a prefix only.
        let exact = str::from_utf8(cluster)
            .ok()
            .and_then(|name| self.names.get(name));
        let rule = match exact {
            Some(index) => self.rules.get(*index)?,
            None => self.rules.iter().find(|rule| {
                rule.prefix
                    .as_ref()
                    .is_some_and(|prefix| cluster.starts_with(prefix.as_bytes()))
            })?,
        };
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

impl Selector {
    /// Tells selectors apart.
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Name(name) => format!("name {name}"),
            Self::Prefix(prefix) => format!("prefix {prefix}"),
        }
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

/// Says whether a byte may stand in a token. SOURCE: RFC 9110 section 5.6.2.
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
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
