//! The compare-and-set map of the host, and the draws of the world.

use std::collections::BTreeMap;

use tidegate_policy::{lease::CasMismatch, slots::SlotIndex};

/// Is SplitMix64: small, and good enough to shuffle with.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    pub(super) fn one_in(&mut self, rate: u64) -> bool {
        rate != 0 && self.below(rate) == 0
    }
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Key {
    Lease,
    /// Is what leaders publish: their epoch, and nothing else.
    Snapshot,
    Slot(SlotIndex),
}

/// Is the host's map.
#[derive(Default)]
pub(super) struct Map {
    pub(super) values: BTreeMap<Key, (Vec<u8>, u32)>,
    last_cas: u32,
}

impl Map {
    pub(super) fn read(&self, key: Key) -> Option<(Vec<u8>, u32)> {
        self.values.get(&key).cloned()
    }

    pub(super) fn write(&mut self, key: Key, bytes: &[u8], cas: u32) -> Result<(), CasMismatch> {
        if let Some((_, version)) = self.values.get(&key)
            && *version != cas
        {
            return Err(CasMismatch);
        }
        self.put(key, bytes);
        Ok(())
    }

    pub(super) fn put(&mut self, key: Key, bytes: &[u8]) {
        self.last_cas += 1;
        self.values.insert(key, (bytes.to_vec(), self.last_cas));
    }

    /// Is the epoch that the snapshot carries, with its cas.
    pub(super) fn published(&self) -> (Option<u64>, u32) {
        let Some((bytes, cas)) = self.values.get(&Key::Snapshot) else {
            return (None, u32::MAX);
        };
        let epoch = bytes.as_slice().try_into().ok().map(u64::from_be_bytes);
        (epoch, *cas)
    }
}
