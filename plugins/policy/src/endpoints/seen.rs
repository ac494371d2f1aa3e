//! The clusters that requests go to and that no block names: one list, which all VMs fill.
//!
//! Why: a prefix says which clusters may be known, not which there are. A worker sees to which ones
//! requests go; the leader, which may see no request at all, has to ask for them.
//! Model: one key holds the names. A VM that meets a new one reads the list at its tick and writes
//! it back with the name in it, with the cas of the read: who loses tries again at the next tick.
//! Limits: at most [`MAX_SEEN`] names of at most [`MAX_NAME_BYTES`] bytes; what finds no room stays
//! unknown. No name is ever taken out. Bytes that are no list are an empty one, and are overwritten
//! by the next VM that has something to add, which then adds all it knows.
//! Scope: one list per `vm_id` and configuration. Cost: O(log names) per request, without an
//! allocation for a known one; a read, and a write where there is news, per tick that has some.

use alloc::{collections::BTreeSet, string::String, vec::Vec};

use super::{
    config::{Config, Selector},
    lead::MAX_SEEN,
};
use crate::{digest::fnv1a_64, membership::MAX_NAME_BYTES};

/// Is the version that is written and the only one that is read. It belongs into the key's name.
pub const SEEN_FORMAT: u8 = 1;

/// Begins every list, so that another plugin's value is told from a damaged one.
const MAGIC: [u8; 3] = *b"tgc";

/// Says why bytes are not a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SeenError {
    /// The checksum is another.
    #[error("the checksum does not match")]
    Checksum,
    /// Something else than a list of ours.
    #[error("not a list of ours")]
    Foreign,
    /// Another version, with its number.
    #[error("format {0} is not known")]
    Format(u8),
    /// Names that are empty, too long, too many, out of order or no text.
    #[error("the names are not what is written")]
    Malformed,
}

/// Is one VM's part in the list.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Are those that this VM met.
    met: BTreeSet<String>,
    /// Are those among them that were not in the list when it was looked at last.
    missing: BTreeSet<String>,
    /// Is the list that was asked to be written.
    pending: BTreeSet<String>,
}

impl Seen {
    /// Has met no cluster.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            met: BTreeSet::new(),
            missing: BTreeSet::new(),
            pending: BTreeSet::new(),
        }
    }

    /// Notes that a request went to a cluster; one that the block names, or does not cover, is
    /// nothing.
    pub fn on_stream(&mut self, cluster: &[u8], config: &Config) {
        let Ok(cluster) = str::from_utf8(cluster) else {
            return;
        };
        if self.met.contains(cluster)
            || self.met.len() >= MAX_SEEN
            || !is_name(cluster)
            || is_named(cluster, config)
            || !config.knows(cluster.as_bytes())
        {
            return;
        }
        self.met.insert(String::from(cluster));
        self.missing.insert(String::from(cluster));
    }

    /// Lists the clusters that this VM met, in the order of their names.
    pub fn met(&self) -> impl Iterator<Item = &str> {
        self.met.iter().map(String::as_str)
    }

    /// Says whether the list has to be read at this tick: there is something to add.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Takes what lies under the key, `None` where nobody ever wrote; is what to write there with
    /// the cas of the read, `None`: nothing.
    pub fn on_read(&mut self, read: Option<&[u8]>) -> Option<Vec<u8>> {
        let mut names = match read.map(decode_seen) {
            Some(Ok(names)) => names,
            None => BTreeSet::new(),
            Some(Err(_)) => {
                // Whatever was there is gone.
                self.missing.clone_from(&self.met);
                BTreeSet::new()
            }
        };
        self.missing.retain(|name| !names.contains(name));
        for name in &self.missing {
            if names.len() < MAX_SEEN {
                names.insert(name.clone());
            }
        }
        if self.missing.is_empty() {
            return None;
        }
        let bytes = encode_seen(&names);
        self.pending = names;
        // A full list takes no more: who found no room stays unknown.
        if read.is_some_and(|read| read == bytes) {
            self.missing.clear();
            return None;
        }
        Some(bytes)
    }

    /// Takes note that the list was written.
    pub fn on_written(&mut self) {
        self.missing.clear();
        self.pending.clear();
    }
}

/// Says whether a block names a cluster by itself.
fn is_named(cluster: &str, config: &Config) -> bool {
    config
        .clusters()
        .iter()
        .any(|selector| matches!(selector, Selector::Name(name) if name == cluster))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_BYTES
}

/// Writes a list: magic (3 bytes), format, number of names; for each its length (2 bytes) and bytes;
/// FNV-1a of all before. Numbers are big-endian.
#[must_use]
pub fn encode_seen(names: &BTreeSet<String>) -> Vec<u8> {
    let mut bytes = Vec::from(MAGIC);
    bytes.push(SEEN_FORMAT);
    let names = names.iter().filter(|name| is_name(name)).take(MAX_SEEN);
    let place = bytes.len();
    bytes.push(0);
    let mut count = 0_u8;
    for name in names {
        count = count.saturating_add(1);
        let length = u16::try_from(name.len()).unwrap_or_default();
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
    }
    if let Some(byte) = bytes.get_mut(place) {
        *byte = count;
    }
    let checksum = fnv1a_64(&bytes);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    bytes
}

/// Reads a list; any bytes are legal input.
///
/// # Errors
/// See [`SeenError`]. Magic and length are checked first, then the format, the checksum and the
/// names last.
pub fn decode_seen(bytes: &[u8]) -> Result<BTreeSet<String>, SeenError> {
    let (body, checksum) = bytes.split_last_chunk::<8>().ok_or(SeenError::Foreign)?;
    let ([m0, m1, m2, format, count], mut rest) =
        body.split_first_chunk::<5>().ok_or(SeenError::Foreign)?;
    if [*m0, *m1, *m2] != MAGIC {
        return Err(SeenError::Foreign);
    }
    if *format != SEEN_FORMAT {
        return Err(SeenError::Format(*format));
    }
    if fnv1a_64(body).to_be_bytes() != *checksum {
        return Err(SeenError::Checksum);
    }
    let mut names = BTreeSet::new();
    let mut last = String::new();
    while !rest.is_empty() {
        let (length, tail) = rest.split_first_chunk::<2>().ok_or(SeenError::Malformed)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (name, tail) = tail.split_at_checked(length).ok_or(SeenError::Malformed)?;
        let name = str::from_utf8(name).map_err(|_| SeenError::Malformed)?;
        if !is_name(name) || name <= last.as_str() {
            return Err(SeenError::Malformed);
        }
        last = String::from(name);
        names.insert(last.clone());
        rest = tail;
    }
    if names.len() != usize::from(*count) || names.len() > MAX_SEEN {
        return Err(SeenError::Malformed);
    }
    Ok(names)
}
