//! Header maps: ordered, names in lower case, values of any bytes.

pub mod pairs;

use std::fmt;

/// An ordered multimap from lower-case names to values. Values are bytes: clients send what they like.
///
/// All entries live in one buffer, so that copying a map costs two allocations.
#[derive(Clone, Default)]
pub struct HeaderMap {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Bytes of removed and overwritten entries.
    dead: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    at: usize,
    name: usize,
    value: usize,
}

impl HeaderMap {
    /// Makes an empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            entries: Vec::new(),
            dead: 0,
        }
    }

    /// Number of entries; a name with two values counts twice.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sum of the sizes of names and values in bytes.
    #[must_use]
    pub fn byte_size(&self) -> usize {
        self.bytes.len().saturating_sub(self.dead)
    }

    /// First value of a name.
    #[must_use]
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        self.iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// First value of a name, if it is UTF-8.
    #[must_use]
    pub fn get_str(&self, name: impl AsRef<[u8]>) -> Option<&str> {
        self.get(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All values of a name, in order.
    pub fn get_all<'a, N: AsRef<[u8]> + 'a>(&'a self, name: N) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name.as_ref()))
            .map(|(_, value)| value)
    }

    /// Appends a value; a name may have several. Pseudo-headers stay in front of the others.
    pub fn add(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (name, value) = (name.as_ref(), value.as_ref());
        let at = self.bytes.len();
        self.bytes
            .extend(name.iter().map(|byte| byte.to_ascii_lowercase()));
        self.bytes.extend_from_slice(value);
        let entry = Entry {
            at,
            name: name.len(),
            value: value.len(),
        };
        if name.first() == Some(&b':') {
            let pseudo = self
                .iter()
                .take_while(|(key, _)| key.first() == Some(&b':'))
                .count();
            self.entries.insert(pseudo, entry);
        } else {
            self.entries.push(entry);
        }
    }

    /// Makes `value` the only value of a name. The entry moves to the end, as it does in Envoy.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.remove(name.as_ref());
        self.add(name, value);
    }

    /// Appends bytes to the first value of a name; `false` if there is none.
    pub(crate) fn append_to_first(&mut self, name: &[u8], separator: &[u8], value: &[u8]) -> bool {
        let Some(position) = self.position(name) else {
            return false;
        };
        let Some(entry) = self.entries.get(position).copied() else {
            return false;
        };
        let at = self.bytes.len();
        self.bytes
            .extend_from_within(entry.at..entry.at.saturating_add(entry.size()).min(at));
        self.bytes.extend_from_slice(separator);
        self.bytes.extend_from_slice(value);
        self.dead = self.dead.saturating_add(entry.size());
        if let Some(entry) = self.entries.get_mut(position) {
            entry.at = at;
            entry.value = entry
                .value
                .saturating_add(separator.len())
                .saturating_add(value.len());
        }
        self.compact();
        true
    }

    /// Removes all values of a name and tells how many there were.
    pub fn remove(&mut self, name: impl AsRef<[u8]>) -> usize {
        let name = name.as_ref();
        let before = self.entries.len();
        let Self {
            bytes,
            entries,
            dead,
        } = self;
        entries.retain(|entry| {
            let keep = !entry.name_in(bytes).eq_ignore_ascii_case(name);
            if !keep {
                *dead = dead.saturating_add(entry.size());
            }
            keep
        });
        let removed = before.saturating_sub(self.entries.len());
        if removed > 0 {
            self.compact();
        }
        removed
    }

    /// Removes everything; keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.dead = 0;
    }

    /// All entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + DoubleEndedIterator {
        self.entries
            .iter()
            .map(|entry| (entry.name_in(&self.bytes), entry.value_in(&self.bytes)))
    }

    fn position(&self, name: &[u8]) -> Option<usize> {
        self.iter()
            .position(|(key, _)| key.eq_ignore_ascii_case(name))
    }

    /// Drops dead bytes once they are the larger part, so that a loop over `set` stays small.
    fn compact(&mut self) {
        if self.dead < 1024 || self.dead < self.bytes.len() / 2 {
            return;
        }
        let mut bytes = Vec::with_capacity(self.byte_size());
        for entry in &mut self.entries {
            let at = bytes.len();
            bytes.extend_from_slice(entry.name_in(&self.bytes));
            bytes.extend_from_slice(entry.value_in(&self.bytes));
            entry.at = at;
        }
        self.bytes = bytes;
        self.dead = 0;
    }
}

impl Entry {
    const fn size(&self) -> usize {
        self.name.saturating_add(self.value)
    }

    // INVARIANT: entries are only made by `add` and `compact`, within the buffer that they index.
    fn name_in<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes
            .get(self.at..self.at.saturating_add(self.name))
            .unwrap_or_default()
    }

    fn value_in<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.at.saturating_add(self.name);
        bytes
            .get(start..start.saturating_add(self.value))
            .unwrap_or_default()
    }
}

impl PartialEq for HeaderMap {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for HeaderMap {}

impl fmt::Debug for HeaderMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(
                self.iter().map(|(name, value)| {
                    format!("{}: {}", name.escape_ascii(), value.escape_ascii())
                }),
            )
            .finish()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for HeaderMap {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut map = Self::new();
        map.extend(pairs);
        map
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> Extend<(N, V)> for HeaderMap {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, pairs: I) {
        for (name, value) in pairs {
            self.add(name, value);
        }
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>, const COUNT: usize> From<[(N, V); COUNT]> for HeaderMap {
    fn from(pairs: [(N, V); COUNT]) -> Self {
        pairs.into_iter().collect()
    }
}
