//! The names of what is shared.

use alloc::string::String;
use core::fmt::Write;

use super::frame::FORMAT_MAJOR;
use crate::digest::{fnv1a_64, xxh64};

/// Is the longest name that stands in a key as it is, in bytes after escaping; a longer one is
/// followed by a hash of the whole.
const MAX_NAME_BYTES: usize = 96;

/// Is the longest name of a plugin that stands in a key as it is.
const MAX_PLUGIN_BYTES: usize = 32;

/// Is the mark in front of a hash, and the hash: 128 bits.
const HASH_BYTES: usize = 1 + 32;

/// Is the longest key. Nothing evicts keys, so hostile names must not make them long.
pub const MAX_KEY_BYTES: usize = "tidegate.".len()
    + MAX_PLUGIN_BYTES
    + HASH_BYTES
    + ".65535.".len()
    + 16
    + ".snapshot.".len()
    + MAX_NAME_BYTES
    + HASH_BYTES;

/// Is a cluster's name as a number: snapshots, reports and versions carry it.
#[must_use]
pub fn cluster_digest(cluster: &[u8]) -> u64 {
    xxh64(cluster, 0)
}

/// Is the key of a cluster's snapshot: `tidegate.<plugin>.<format>.<digest>.snapshot.<cluster>`.
///
/// `configuration` is the digest of the configuration, so that a new one starts with new keys. Two
/// clusters never share a key: what is not a letter, a digit or one of `-_|:` is written as `%XX`
/// (dots too, in the plugin's name), and a name longer than 96 bytes ends with `~` and a hash of
/// 128 bits. At most [`MAX_KEY_BYTES`]. An empty name is legal.
#[must_use]
pub fn snapshot_key(plugin: &str, configuration: u64, cluster: &[u8]) -> String {
    let mut key = prefix(plugin, configuration);
    key.push_str(".snapshot.");
    push_name(&mut key, cluster, MAX_NAME_BYTES, b"-_|:.");
    key
}

/// Is the key of what a worker reads on every tick: `tidegate.<plugin>.<format>.<digest>.versions`.
#[must_use]
pub fn versions_key(plugin: &str, configuration: u64) -> String {
    let mut key = prefix(plugin, configuration);
    key.push_str(".versions");
    key
}

fn prefix(plugin: &str, configuration: u64) -> String {
    let mut key = String::with_capacity(MAX_KEY_BYTES);
    key.push_str("tidegate.");
    push_name(&mut key, plugin.as_bytes(), MAX_PLUGIN_BYTES, b"-_");
    // Writing into a string can't fail.
    let _ = write!(key, ".{FORMAT_MAJOR}.{configuration:016x}");
    key
}

/// Appends a name with everything escaped that is no letter, no digit and not among `plain`.
fn push_name(key: &mut String, name: &[u8], max_bytes: usize, plain: &[u8]) {
    let start = key.len();
    for byte in name {
        let before = key.len();
        if byte.is_ascii_alphanumeric() || plain.contains(byte) {
            key.push(char::from(*byte));
        } else {
            let _ = write!(key, "%{byte:02x}");
        }
        if key.len().saturating_sub(start) > max_bytes {
            key.truncate(before);
            let _ = write!(key, "~{:016x}{:016x}", fnv1a_64(name), xxh64(name, 1));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use super::*;

    #[test]
    fn keys_have_the_documented_form() {
        let istio = b"outbound|80||reviews.default.svc.cluster.local";
        let expected = "tidegate.stack.2.00000000000000ff.snapshot.\
                        outbound|80||reviews.default.svc.cluster.local";
        assert_eq!(snapshot_key("stack", 255, istio), expected);
        assert_eq!(
            versions_key("stack", 255),
            "tidegate.stack.2.00000000000000ff.versions"
        );
        assert_eq!(
            snapshot_key("a.b", 0, b"x~\xff%"),
            "tidegate.a%2eb.2.0000000000000000.snapshot.x%7e%ff%25"
        );
    }

    #[test]
    fn hostile_names_give_bounded_keys_of_their_own() {
        let hostile = "\u{1f30a}".repeat(1000);
        let mut names: Vec<Vec<u8>> = vec![b"".to_vec(), b"a".to_vec(), b"a.b".to_vec()];
        names.extend([95, 96, 97, 98, 100_000].map(|length| vec![b'x'; length]));
        names.extend([31, 32, 33, 100_000].map(|length| vec![0xff; length]));
        let long_key = snapshot_key("p", 0, &[b'x'; 97]);
        names.push(long_key.rsplit('.').next().unwrap_or_default().into());
        let mut keys: Vec<String> = Vec::new();
        for plugin in ["p", "p.", hostile.as_str()] {
            keys.extend(
                names
                    .iter()
                    .map(|name| snapshot_key(plugin, u64::MAX, name)),
            );
            keys.push(versions_key(plugin, u64::MAX));
        }
        let longest = keys.iter().map(String::len).max();
        assert!(
            longest.is_some_and(|longest| longest <= MAX_KEY_BYTES),
            "{longest:?}"
        );
        assert!(keys.iter().all(|key| key.is_ascii()));
        keys.sort();
        let before = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), before);
    }

    #[test]
    fn name_at_its_bound_stands_as_it_is_and_one_longer_is_hashed() {
        let at = snapshot_key("p", 0, &[b'x'; 96]);
        assert!(at.ends_with(&"x".repeat(96)), "{at}");
        let beyond = snapshot_key("p", 0, &[b'x'; 97]);
        let (_, hash) = beyond.split_once('~').unwrap_or_default();
        assert_eq!((hash.len(), beyond.len()), (32, at.len() + 33), "{beyond}");
        let escaped = snapshot_key("p", 0, &[0xff; 33]);
        assert_eq!(escaped.len(), at.len() + 33, "{escaped}");
        assert_eq!(MAX_KEY_BYTES, 236);
    }
}
