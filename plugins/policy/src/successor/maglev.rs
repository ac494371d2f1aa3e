//! A table from keys to endpoints, by Maglev's algorithm, built in slices.

use alloc::{
    collections::{BinaryHeap, binary_heap::PeekMut},
    vec,
    vec::Vec,
};
use core::cmp::{Ordering, Reverse};

use thiserror::Error;

use super::Candidate;
use crate::digest::xxh64;

/// Is how many endpoints a table takes, as many as a snapshot has. The table's entries have 16
/// bits.
pub const MAX_MEMBERS: usize = 10_000;

/// Is the longest name of an endpoint, in bytes. Longer ones would let a source of members choose
/// how much memory a table takes; `ip:port` has at most 53.
pub const MAX_NAME_BYTES: usize = 255;

/// Is the smallest table. Below it even ten endpoints differ in their shares by more than 1 %, and
/// removing one of them moves more than 3 % of all keys needlessly.
pub const MIN_TABLE_SIZE: u32 = 1009;

/// Is the largest table, 1.25 MiB: a third of what one VM may take. The paper's own large one.
pub const MAX_TABLE_SIZE: u32 = 655_373;

/// Is how many steps of [`Builder::advance`] one tick may take: at up to 0.12 µs each (measured
/// natively on a busy machine) 2 ms of the 5 that a tick has. The default table is then done after 46
/// ticks at most, or 12 s, in which the former one serves. More would delay the worker's streams.
pub const SLICE_STEPS: u32 = 16_384;

/// Marks an entry that nobody has yet. INVARIANT: above every rank.
const VACANT: u16 = u16::MAX;

/// Is the number of entries of a table: a prime, so that every skip comes past every entry.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct TableSize(u32);

impl TableSize {
    /// Takes a prime from [`MIN_TABLE_SIZE`] to [`MAX_TABLE_SIZE`]. Memory is 2 bytes each.
    ///
    /// # Errors
    /// Outside of the range: `SizeOutOfRange`.
    /// Not a prime: `SizeNotPrime`, with the next one above, or the largest.
    pub fn try_new(entries: u32) -> Result<Self, TableError> {
        if !(MIN_TABLE_SIZE..=MAX_TABLE_SIZE).contains(&entries) {
            return Err(TableError::SizeOutOfRange { entries });
        }
        if !is_prime(entries) {
            let next = (entries..=MAX_TABLE_SIZE).find(|candidate| is_prime(*candidate));
            return Err(TableError::SizeNotPrime {
                entries,
                next: next.unwrap_or(MAX_TABLE_SIZE),
            });
        }
        Ok(Self(entries))
    }

    /// Is the number of entries.
    #[must_use]
    pub const fn entries(self) -> u32 {
        self.0
    }
}

/// Is 65 537: within 1 % of equal shares up to 655 endpoints.
impl Default for TableSize {
    fn default() -> Self {
        Self(65_537)
    }
}

/// Says why a table is not built.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum TableError {
    /// A name is too long.
    #[error("an endpoint's name has {bytes} bytes, which is more than {MAX_NAME_BYTES}")]
    NameTooLong {
        /// Is its length.
        bytes: usize,
    },
    /// No endpoint has a weight.
    #[error("no endpoint has a weight")]
    NoMembers,
    /// The size is not a prime.
    #[error("a table of {entries} entries is not a prime; the next one is {next}")]
    SizeNotPrime {
        /// Is what was asked for.
        entries: u32,
        /// Is a prime to ask for.
        next: u32,
    },
    /// The size is out of range.
    #[error("a table has {MIN_TABLE_SIZE} to {MAX_TABLE_SIZE} entries, not {entries}")]
    SizeOutOfRange {
        /// Is what was asked for.
        entries: u32,
    },
    /// There are too many endpoints.
    #[error("a table takes {MAX_MEMBERS} endpoints, or as many as it has entries")]
    TooManyMembers,
}

/// Builds a table, a slice at a time. The table in use stays in use until this one is done.
///
/// Memory: the table's, and 48 bytes for each endpoint until it is done.
#[derive(Clone, Debug)]
pub struct Builder {
    table: Table,
    walks: Vec<Walk>,
    /// Holds every endpoint's next turn, the earliest on top.
    turns: BinaryHeap<Reverse<Turn>>,
    vacant: u32,
    steps: u64,
}

/// Says whether a table is done.
#[derive(Debug)]
#[must_use]
pub enum Progress {
    /// There is more to do.
    More(Builder),
    /// It is done.
    Done(Table),
}

/// Leads from a key to an endpoint.
///
/// Two tables of equal members, weights and sizes are equal, on every machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    entries: Vec<u16>,
    names: Vec<u8>,
    /// Holds where each name ends; a rank is a position in it.
    ends: Vec<u32>,
}

impl Builder {
    /// Begins a table of all `members`, in any order. Those of weight 0 have no part in it; of two
    /// with one name the heavier counts.
    ///
    /// O(members · log members) with two hashes each, at once.
    ///
    /// # Errors
    /// More than [`MAX_MEMBERS`] of them, or than entries: `TooManyMembers`.
    /// A name longer than [`MAX_NAME_BYTES`]: `NameTooLong`.
    /// None with a weight: `NoMembers`.
    pub fn try_new<'a>(
        members: impl IntoIterator<Item = Candidate<'a>>,
        size: TableSize,
    ) -> Result<Self, TableError> {
        let mut sorted: Vec<Candidate<'a>> = Vec::new();
        for member in members {
            if sorted.len() >= MAX_MEMBERS.min(usize::try_from(size.0).unwrap_or(usize::MAX)) {
                return Err(TableError::TooManyMembers);
            }
            let bytes = member.name.len();
            if bytes > MAX_NAME_BYTES {
                return Err(TableError::NameTooLong { bytes });
            }
            if member.weight > 0 {
                sorted.push(member);
            }
        }
        sorted.sort_unstable_by(|a, b| a.name.cmp(b.name).then(b.weight.cmp(&a.weight)));
        sorted.dedup_by(|later, earlier| later.name == earlier.name);
        if sorted.is_empty() {
            return Err(TableError::NoMembers);
        }
        let mut names = Vec::with_capacity(sorted.iter().map(|member| member.name.len()).sum());
        let mut ends = Vec::with_capacity(sorted.len());
        let mut walks = Vec::with_capacity(sorted.len());
        let mut turns = Vec::with_capacity(sorted.len());
        for (rank, member) in (0_u16..).zip(&sorted) {
            names.extend_from_slice(member.name);
            // 10 000 names of 255 bytes are below 2³².
            ends.push(u32::try_from(names.len()).unwrap_or(u32::MAX));
            walks.push(Walk::new(member.name, size));
            turns.push(Reverse(Turn {
                count: 0,
                weight: member.weight,
                rank,
            }));
        }
        let entries = usize::try_from(size.0).unwrap_or(usize::MAX);
        Ok(Self {
            table: Table {
                entries: vec![VACANT; entries],
                names,
                ends,
            },
            walks,
            turns: BinaryHeap::from(turns),
            vacant: size.0,
            steps: 0,
        })
    }

    /// Works for at most `steps` steps; 0 works for one, so that a loop over it ends.
    ///
    /// [`SLICE_STEPS`] are a slice for a tick. A table of 65 537 entries takes 65 537 steps with
    /// one endpoint, 427 000 with 10 and 753 000 with 10 000.
    ///
    /// A step looks at one entry; one that is vacant is taken, and the heap of turns is put in
    /// order, O(log members). All members in one call: `u32::MAX`.
    pub fn advance(mut self, steps: u32) -> Progress {
        for _ in 0..steps.max(1) {
            let Some(mut turn) = self.turns.peek_mut() else {
                break;
            };
            let rank = turn.0.rank;
            let Some(walk) = self.walks.get_mut(usize::from(rank)) else {
                // INVARIANT: every turn has its walk. Without one the endpoint takes nothing more.
                PeekMut::pop(turn);
                continue;
            };
            self.steps = self.steps.saturating_add(1);
            let place = usize::try_from(walk.advance()).unwrap_or(usize::MAX);
            if let Some(entry) = self.table.entries.get_mut(place)
                && *entry == VACANT
            {
                *entry = rank;
                turn.0.count = turn.0.count.saturating_add(1);
                self.vacant = self.vacant.saturating_sub(1);
                if self.vacant == 0 {
                    drop(turn);
                    return Progress::Done(self.table);
                }
            }
        }
        Progress::More(self)
    }

    /// Is how many steps were taken so far.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }
}

impl Table {
    /// Leads from a key to the name of an endpoint. O(1): one hash of the key.
    ///
    /// `None` never comes from a table that is done.
    #[must_use]
    pub fn pick(&self, key: &[u8]) -> Option<&[u8]> {
        self.pick_hashed(xxh64(key, 0))
    }

    /// Is [`Self::pick`] for a key that is hashed already, with [`xxh64`] and the seed 0.
    #[must_use]
    pub fn pick_hashed(&self, hash: u64) -> Option<&[u8]> {
        let entries = u64::try_from(self.entries.len()).ok()?;
        let place = usize::try_from(hash.checked_rem(entries)?).ok()?;
        self.name(*self.entries.get(place)?)
    }

    /// Lists the endpoints' names and how many entries each has, by name. O(entries).
    pub fn shares(&self) -> impl Iterator<Item = (&[u8], u32)> {
        let mut counts = vec![0_u32; self.ends.len()];
        for entry in &self.entries {
            if let Some(count) = counts.get_mut(usize::from(*entry)) {
                *count = count.saturating_add(1);
            }
        }
        (0_u16..)
            .zip(counts)
            .filter_map(|(rank, count)| Some((self.name(rank)?, count)))
    }

    /// Is what it takes in memory, in bytes, without the allocator's own.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of_val(self.entries.as_slice())
            .saturating_add(self.names.len())
            .saturating_add(size_of_val(self.ends.as_slice()))
    }

    fn name(&self, rank: u16) -> Option<&[u8]> {
        let rank = usize::from(rank);
        let end = usize::try_from(*self.ends.get(rank)?).ok()?;
        let start = match rank.checked_sub(1) {
            Some(before) => usize::try_from(*self.ends.get(before)?).ok()?,
            None => 0,
        };
        self.names.get(start..end)
    }
}

/// Is one endpoint's way through the table: every entry once, in its own order.
#[derive(Clone, Copy, Debug)]
struct Walk {
    place: u32,
    skip: u32,
    size: u32,
}

impl Walk {
    fn new(name: &[u8], size: TableSize) -> Self {
        let modulo = |hash: u64, by: u32| {
            let rest = hash.checked_rem(u64::from(by)).unwrap_or(0);
            u32::try_from(rest).unwrap_or(0)
        };
        Self {
            place: modulo(xxh64(name, 0), size.0),
            skip: modulo(xxh64(name, 1), size.0.saturating_sub(1)).saturating_add(1),
            size: size.0,
        }
    }

    /// Is the place where it stands; then it goes on.
    const fn advance(&mut self) -> u32 {
        let place = self.place;
        // Both are below 2²⁰.
        let next = place.saturating_add(self.skip);
        self.place = if next >= self.size {
            next.saturating_sub(self.size)
        } else {
            next
        };
        place
    }
}

/// Is an endpoint's next turn. Earlier is less, and of two at once the one with the smaller rank.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// Is how many entries it has.
    count: u32,
    weight: u32,
    rank: u16,
}

impl Turn {
    /// Is `(2·count + 1) · weight of the other`, below 2⁵³: two of them compare as the moments do.
    fn scaled(&self, other: &Self) -> u64 {
        u64::from(self.count)
            .saturating_mul(2)
            .saturating_add(1)
            .saturating_mul(u64::from(other.weight))
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.scaled(other)
            .cmp(&other.scaled(self))
            .then_with(|| self.rank.cmp(&other.rank))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Turn {}

/// Says whether `number` is a prime, by trial division: at most 404 of them in the range.
fn is_prime(number: u32) -> bool {
    number == 2
        || (number > 2
            && number % 2 == 1
            && (3_u32..)
                .step_by(2)
                .take_while(|factor| factor.saturating_mul(*factor) <= number)
                .all(|factor| number.checked_rem(factor) != Some(0)))
}

#[cfg(test)]
mod tests {
    use std::{format, string::String, vec::Vec};

    use super::*;

    fn build(names: &[String], size: TableSize) -> Table {
        let members = names.iter().map(|name| Candidate {
            name: name.as_bytes(),
            weight: 1,
        });
        match Builder::try_new(members, size).unwrap().advance(u32::MAX) {
            Progress::Done(table) => table,
            Progress::More(_) => panic!("2³² steps are enough"),
        }
    }

    /// SOURCE: Envoy's own tests of its Maglev balancer (`maglev_lb_test.cc` at 08417eb6, `Basic`
    /// and `BasicWithHostName`): six endpoints, seven entries.
    #[test]
    fn table_is_the_one_that_envoy_builds() {
        let addresses: Vec<String> = (90..96).map(|port| format!("127.0.0.1:{port}")).collect();
        let hostnames: Vec<String> = (90..96).map(|port| format!("{port}")).collect();
        assert_eq!(
            build(&addresses, TableSize(7)).entries,
            [2, 4, 0, 1, 5, 0, 3]
        );
        assert_eq!(
            build(&hostnames, TableSize(7)).entries,
            [2, 5, 0, 3, 4, 1, 0]
        );
    }

    #[test]
    fn size_is_a_prime_in_its_range() {
        for entries in [MIN_TABLE_SIZE, 65_537, MAX_TABLE_SIZE] {
            assert_eq!(TableSize::try_new(entries).unwrap().entries(), entries);
        }
        for entries in [0, MIN_TABLE_SIZE - 1, MAX_TABLE_SIZE + 1, u32::MAX] {
            let refused = TableError::SizeOutOfRange { entries };
            assert_eq!(TableSize::try_new(entries), Err(refused));
        }
        for (entries, next) in [(1010, 1013), (1021 * 31, 31_657), (655_372, 655_373)] {
            let refused = TableError::SizeNotPrime { entries, next };
            assert_eq!(TableSize::try_new(entries), Err(refused));
        }
        assert!([2, 3, 5, 7, 251].into_iter().all(is_prime));
        assert!(![0, 1, 4, 9, 25, 49].into_iter().any(is_prime));
    }
}
