//! Keeps one cluster's endpoints from one complete listing to the next.

use alloc::{
    collections::{BTreeMap, btree_map::Entry},
    vec::Vec,
};
use core::{net::SocketAddr, time::Duration};

use super::{
    listing::{Listed, Listing, ZoneId, Zones},
    roster::{Limits, NotApplied},
};
use crate::units::WallTime;

/// Says where an endpoint is known from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// A request was served by it; nobody listed it.
    Learned,
    /// The last good listing has it.
    Listed,
    /// The last good listing no longer has it: plain requests move at once, streams that live
    /// there are draining until the window has passed.
    Vanished {
        /// Is when it was first missed.
        at: WallTime,
    },
}

/// Is an endpoint, and since when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Member {
    /// Is what the last listing that had it said.
    pub listed: Listed,
    /// Is where it is known from.
    pub presence: Presence,
    /// Tells one life of an address from the next: it grows with every one in the cluster, also
    /// after the address was forgotten. Endpoints that came together share it.
    pub generation: u64,
    /// Is when this generation was first seen.
    pub first_seen: WallTime,
    /// Is when it was last listed, or last served where it is learned.
    pub last_seen: WallTime,
    /// Is the last moment at which the address is known to have been absent. A session that was
    /// pinned before it was pinned to another process. `None` where that was never seen: the
    /// cluster's first listing, learned endpoints.
    pub last_absent: Option<WallTime>,
}

/// Counts what a listing changed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Change {
    /// Is the number of endpoints that are new, returned ones included.
    pub added: usize,
    /// Is the number of those whose address had vanished and was still draining.
    pub returned: usize,
    /// Is the number of endpoints that vanished.
    pub vanished: usize,
    /// Is the number of endpoints whose weight, zone, priority or health is another.
    pub updated: usize,
}

impl Change {
    /// Says whether nothing changed.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// Is what is known of one cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    pub(super) members: BTreeMap<SocketAddr, Member>,
    pub(super) zones: Zones,
    pub(super) generation: u64,
    /// Is how many are not vanished.
    pub(super) listed: usize,
    pub(super) listed_at: Option<WallTime>,
    /// Is when an empty listing came that nothing has confirmed or denied.
    pub(super) empty_since: Option<WallTime>,
    pub(super) refused: u64,
}

impl Cluster {
    /// Goes through all endpoints, vanished ones included, ordered by address.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (SocketAddr, &Member)> {
        self.members
            .iter()
            .map(|(address, member)| (*address, member))
    }

    /// Finds an endpoint; `None` also where it was forgotten.
    #[must_use]
    pub fn member(&self, address: SocketAddr) -> Option<&Member> {
        self.members.get(&address)
    }

    /// Is the name of an endpoint's zone; empty for none.
    #[must_use]
    pub fn zone(&self, id: ZoneId) -> &str {
        self.zones.name(id)
    }

    /// Is the number of endpoints that are listed or learned.
    #[must_use]
    pub const fn present(&self) -> usize {
        self.listed
    }

    /// Is the youngest generation; it changes exactly when endpoints are added.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Is how old the last good listing is; `None` where there was none (learned mode).
    #[must_use]
    pub fn age(&self, now: WallTime) -> Option<Duration> {
        self.listed_at.map(|at| now.saturating_since(at))
    }

    /// Is the number of listings and answers that were refused since the start; it saturates.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Makes room among the vanished: forgets those that vanished first, by address where equal.
    pub(super) fn evict_vanished(&mut self, room: usize) -> usize {
        let vanished = self.members.len().saturating_sub(self.listed);
        let surplus = vanished.saturating_sub(room);
        if surplus == 0 {
            return 0;
        }
        let mut oldest: Vec<(WallTime, SocketAddr)> = Vec::with_capacity(vanished);
        oldest.extend(self.members.iter().filter_map(|(address, member)| {
            let Presence::Vanished { at } = member.presence else {
                return None;
            };
            Some((at, *address))
        }));
        oldest.sort_unstable();
        for (_, address) in oldest.iter().take(surplus) {
            self.members.remove(address);
        }
        surplus
    }

    /// Tells whether an empty listing is to be believed, and remembers the first.
    pub(super) fn confirm_empty(
        &mut self,
        window: Duration,
        now: WallTime,
    ) -> Result<(), NotApplied> {
        if self.listed == 0 {
            return Ok(());
        }
        // A first one in the future is one from before the clock stepped back: it counts from now.
        let first = self.empty_since.filter(|first| *first <= now);
        let waited = now.saturating_since(first.unwrap_or(now));
        if first.is_some() && waited >= window {
            return Ok(());
        }
        self.empty_since = Some(first.unwrap_or(now));
        Err(NotApplied::EmptyUnconfirmed {
            ask_again_in: window.saturating_sub(waited),
        })
    }

    /// Compares a complete listing with the last one, and takes it over.
    pub(super) fn apply(&mut self, listing: &Listing, now: WallTime) -> Change {
        let mut change = Change::default();
        let generation = self.generation.saturating_add(1);
        let last_absent = self.listed_at;
        let mut zones = listing.zones.clone();
        for (address, member) in &mut self.members {
            if listing.endpoints.contains_key(address) {
                continue;
            }
            if !matches!(member.presence, Presence::Vanished { .. }) {
                member.presence = Presence::Vanished { at: now };
                change.vanished = change.vanished.saturating_add(1);
            }
            let zone = self.zones.name(member.listed.zone);
            member.listed.zone = zones.id(zone).unwrap_or_default();
        }
        let fresh = |listed: &Listed, last_absent| Member {
            listed: *listed,
            presence: Presence::Listed,
            generation,
            first_seen: now,
            last_seen: now,
            last_absent,
        };
        if self.members.is_empty() {
            // Built in one go: ten thousand single insertions take several milliseconds.
            let endpoints = listing.endpoints.iter();
            self.members = endpoints
                .map(|(address, listed)| (*address, fresh(listed, last_absent)))
                .collect();
            change.added = self.members.len();
            return self.take_over(listing, zones, change, now);
        }
        for (address, listed) in &listing.endpoints {
            let member = match self.members.entry(*address) {
                Entry::Vacant(place) => {
                    place.insert(fresh(listed, last_absent));
                    change.added = change.added.saturating_add(1);
                    continue;
                }
                Entry::Occupied(place) => place.into_mut(),
            };
            if let Presence::Vanished { at } = member.presence {
                *member = fresh(listed, Some(last_absent.unwrap_or(at)));
                change.added = change.added.saturating_add(1);
                change.returned = change.returned.saturating_add(1);
                continue;
            }
            let is_same = Listed {
                zone: listed.zone,
                ..member.listed
            } == *listed
                && self.zones.name(member.listed.zone) == zones.name(listed.zone);
            if !is_same {
                change.updated = change.updated.saturating_add(1);
            }
            member.listed = *listed;
            member.presence = Presence::Listed;
            member.last_seen = now;
        }
        self.take_over(listing, zones, change, now)
    }

    /// Ends a listing that was applied.
    fn take_over(
        &mut self,
        listing: &Listing,
        zones: Zones,
        change: Change,
        now: WallTime,
    ) -> Change {
        if change.added > 0 {
            self.generation = self.generation.saturating_add(1);
        }
        self.zones = zones;
        self.listed = listing.endpoints.len();
        self.listed_at = Some(now);
        self.empty_since = None;
        change
    }

    /// Forgets what has drained or was not seen for long, and moves what lies in the future to now.
    pub(super) fn on_tick(&mut self, limits: &Limits, now: WallTime) -> usize {
        let before = self.members.len();
        for at in [&mut self.listed_at, &mut self.empty_since] {
            *at = at.map(|at| at.min(now));
        }
        let mut learned = 0_usize;
        self.members.retain(|_, member| {
            member.first_seen = member.first_seen.min(now);
            member.last_seen = member.last_seen.min(now);
            member.last_absent = member.last_absent.map(|at| at.min(now));
            match &mut member.presence {
                Presence::Listed => true,
                Presence::Learned => {
                    let is_kept = now.saturating_since(member.last_seen) < limits.learned_idle;
                    learned = learned.saturating_add(usize::from(!is_kept));
                    is_kept
                }
                Presence::Vanished { at } => {
                    *at = (*at).min(now);
                    now.saturating_since(*at) < limits.drain_window
                }
            }
        });
        self.listed = self.listed.saturating_sub(learned);
        before.saturating_sub(self.members.len())
    }
}
