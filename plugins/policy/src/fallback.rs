//! Lists who serves a request's next attempts, should the first one fail.
//!
//! Why: a retry that the proxy balances may go to the endpoint that just failed, or to its
//! neighbour in a zone that is down. The proxy takes one entry of the list for each attempt, so the
//! whole list is decided before the first.
//! Model: for each entry after the first, of the endpoints in zones that no entry is in yet, one
//! drawn uniformly, or the next one in the order of the table that had no recent failure; else so
//! over all zones; else one with a recent failure, of another zone rather than not, because the
//! proxy's own choice would be no better and might be the same endpoint again.
//! Inputs / Output: the candidates with their zones, on a tick; the first attempt's endpoint, who
//! failed lately, one draw for each further entry; a [`List`], and its header value.
//! Cold start: without candidates the list is its first entry.
//! Limits: at most [`MAX_ENTRIES`], all distinct; it ends early where there are no more. After
//! [`STEPS`] that failed lately the walk gives up. An endpoint behind such a run is drawn more often
//! by as much. A draw is multiplied, not divided: off from uniform by less than N/2^64. Endpoints
//! without a zone are in one together.
//! Scope: per worker VM. Cost: an entry O(entries + steps + log candidates), whatever their number;
//! preparing O(n log n), both without allocation once the table was as long; 24 bytes for each
//! candidate. Draws: one for each entry that is looked for.

use alloc::{string::String, vec::Vec};
use core::{fmt::Write, ops::Range};

use crate::snapshot::EndpointAddress;

/// Is how many entries a list has at most, so many attempts of one request. The guide's most is 3;
/// each is at most 49 bytes of a header that every request carries to the router.
pub const MAX_ENTRIES: usize = 8;

/// Is how many candidates are looked at for one entry. Fewer give up in a pool where some failed,
/// more make a request pay for a pool where all did.
pub const STEPS: usize = 16;

/// Names a zone by the digest of its name; zero is the zone of those that have none.
pub type ZoneDigest = u64;

/// Is who serves which attempt, the first one first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct List<K> {
    entries: [(K, ZoneDigest); MAX_ENTRIES],
    len: usize,
}

impl<K: Copy + Eq> List<K> {
    /// Starts with the endpoint of the first attempt.
    pub const fn new(first: K, zone: ZoneDigest) -> Self {
        Self {
            entries: [(first, zone); MAX_ENTRIES],
            len: 1,
        }
    }

    /// Lists the endpoints, in the order of attempts; at least one.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = K> + use<'_, K> {
        self.entries().iter().map(|(key, _)| *key)
    }

    /// Is the number of entries, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub const fn len(&self) -> usize {
        self.len
    }

    fn entries(&self) -> &[(K, ZoneDigest)] {
        self.entries.get(..self.len).unwrap_or_default()
    }

    fn has(&self, key: K) -> bool {
        self.iter().any(|entry| entry == key)
    }

    fn push(&mut self, entry: (K, ZoneDigest)) {
        if let Some(place) = self.entries.get_mut(self.len) {
            *place = entry;
            self.len = self.len.saturating_add(1);
        }
    }
}

/// Holds the endpoints that attempts may go to, from one tick to the next.
#[derive(Clone, Debug, Default)]
pub struct Spares<K> {
    /// Are sorted by zone, and within one in the order in which they were given.
    candidates: Vec<Spare<K>>,
}

#[derive(Clone, Copy, Debug)]
struct Spare<K> {
    zone: ZoneDigest,
    number: u32,
    key: K,
}

impl<K: Copy + Eq> Spares<K> {
    /// Starts without a candidate.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            candidates: Vec::new(),
        }
    }

    /// Takes the candidates until the next tick, distinct ones, each with its zone.
    pub fn prepare(&mut self, candidates: impl IntoIterator<Item = (K, ZoneDigest)>) {
        self.candidates.clear();
        let numbered = (0_u32..).zip(candidates);
        self.candidates
            .extend(numbered.map(|(number, (key, zone))| Spare { zone, number, key }));
        self.candidates
            .sort_unstable_by_key(|spare| (spare.zone, spare.number));
    }

    /// Is the number of candidates.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Says whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Adds entries until the list has one for each of `attempts`, or nobody is left.
    ///
    /// `failed` says whether an endpoint had a recent failure; `draw` gives random numbers, one for
    /// each entry that is looked for.
    pub fn fill(
        &self,
        list: &mut List<K>,
        attempts: usize,
        failed: impl Fn(K) -> bool,
        draw: &mut dyn FnMut() -> u64,
    ) {
        while list.len < attempts.min(MAX_ENTRIES) {
            let draw = draw();
            match self.next(list, &failed, draw) {
                Some(entry) => list.push(entry),
                None => return,
            }
        }
    }

    fn next(
        &self,
        list: &List<K>,
        failed: &impl Fn(K) -> bool,
        draw: u64,
    ) -> Option<(K, ZoneDigest)> {
        let elsewhere = self.walk(&Gaps::of(self, list), list, failed, draw);
        if let Walked::Well(entry) = elsewhere {
            return Some(entry);
        }
        match (elsewhere, self.walk(&Gaps::NONE, list, failed, draw)) {
            (_, Walked::Well(entry)) => Some(entry),
            (Walked::Failed(entry), _) | (_, Walked::Failed(entry)) => Some(entry),
            _ => None,
        }
    }

    /// Looks for an endpoint outside of the gaps that is not listed, from where the draw says.
    fn walk(
        &self,
        gaps: &Gaps,
        list: &List<K>,
        failed: &impl Fn(K) -> bool,
        draw: u64,
    ) -> Walked<K> {
        let region = self.candidates.len().saturating_sub(gaps.total);
        let start = scaled(draw, region);
        let mut best = Walked::Nobody;
        let mut looked = 0_usize;
        for step in 0..region {
            let place = start.saturating_add(step);
            let place = place.checked_rem(region).unwrap_or(0);
            let Some(spare) = self.candidates.get(gaps.skip(place)) else {
                break;
            };
            if list.has(spare.key) {
                continue;
            }
            let entry = (spare.key, spare.zone);
            if !failed(spare.key) {
                return Walked::Well(entry);
            }
            if let Walked::Nobody = best {
                best = Walked::Failed(entry);
            }
            looked = looked.saturating_add(1);
            if looked >= STEPS {
                break;
            }
        }
        best
    }

    /// Is where a zone's candidates stand.
    fn range(&self, zone: ZoneDigest) -> Range<usize> {
        let start = self.candidates.partition_point(|spare| spare.zone < zone);
        let end = self.candidates.partition_point(|spare| spare.zone <= zone);
        start..end
    }
}

/// Is what a walk found.
#[derive(Clone, Copy)]
enum Walked<K> {
    /// Only endpoints that failed lately.
    Failed((K, ZoneDigest)),
    Nobody,
    Well((K, ZoneDigest)),
}

/// Are the parts of the table that a walk leaves out, in their order.
struct Gaps {
    ranges: [(usize, usize); MAX_ENTRIES],
    len: usize,
    total: usize,
}

impl Gaps {
    const NONE: Self = Self {
        ranges: [(0, 0); MAX_ENTRIES],
        len: 0,
        total: 0,
    };

    /// Are the zones that a list has an entry in.
    fn of<K: Copy + Eq>(spares: &Spares<K>, list: &List<K>) -> Self {
        let mut gaps = Self::NONE;
        for (number, (_, zone)) in list.entries().iter().enumerate() {
            let earlier = list.entries().get(..number).unwrap_or_default();
            if earlier.iter().any(|(_, other)| other == zone) {
                continue;
            }
            let range = spares.range(*zone);
            if let Some(place) = gaps.ranges.get_mut(gaps.len) {
                *place = (range.start, range.len());
                gaps.len = gaps.len.saturating_add(1);
                gaps.total = gaps.total.saturating_add(range.len());
            }
        }
        if let Some(ranges) = gaps.ranges.get_mut(..gaps.len) {
            ranges.sort_unstable();
        }
        gaps
    }

    /// Is the place in the table of what is at `place` where the gaps are left out.
    fn skip(&self, place: usize) -> usize {
        let gaps = self.ranges.get(..self.len).unwrap_or_default();
        gaps.iter().fold(place, |place, (start, length)| {
            if place >= *start {
                place.saturating_add(*length)
            } else {
                place
            }
        })
    }
}

/// Scales a draw to an index below `len`; 0 where that is 0.
fn scaled(draw: u64, len: usize) -> usize {
    let len = u128::try_from(len).unwrap_or(u128::MAX);
    usize::try_from(u128::from(draw).saturating_mul(len) >> 64).unwrap_or(0)
}

/// Replaces `out` by the header's value: `10.0.0.1:80, 10.0.1.1:80`. Its capacity is used again, so
/// that a list after the first allocates nothing.
pub fn write_list(out: &mut String, addresses: impl IntoIterator<Item = EndpointAddress>) {
    out.clear();
    for address in addresses {
        if !out.is_empty() {
            out.push_str(", ");
        }
        // Writing into a string does not fail.
        let _ = write!(out, "{address}");
    }
}
