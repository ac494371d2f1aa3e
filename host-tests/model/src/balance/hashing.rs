//! Envoy's balancers by a hash of the request: a ring (ketama) and Maglev's table.
//!
//! Model, with weights `w` normalised to a sum of 1 and xxHash64 of `ip:port` as an endpoint's hash:
//! - Ring: `scale = min(⌈w_min · minimum_ring_size⌉ / w_min, 8 Mi)`; an endpoint has points, hashes of `ip:port_i`,
//!   until the number of points reaches `scale` times the weights so far. A request goes to the first point at or after
//!   its hash, then around.
//! - Maglev: 65 537 places; endpoints in the order of their addresses take, in turn, their next free place of
//!   `(offset + k · skip) mod 65 537`, `offset` and `skip` being hashes with seeds 0 and 1; a lower weight sits out
//!   turns.
//!
//! To avoid an endpoint, the ring goes that many points on, and Maglev flips bits of the hash. A request without a
//! hash gets a drawn one. Degraded endpoints are never chosen, in panic all endpoints are.
//! Scope: no state but the membership. Cost: O(ring · log) or O(65 537) when the membership changes, then O(log) or
//! O(1).
//! Source: Envoy `ring_hash/ring_hash_lb.cc` (0d2acde), `maglev/maglev_lb.cc` (104df3d) and
//! `common/thread_aware_lb_impl.cc` (0336fd6) of `source/extensions/load_balancing_policies`; checked against what
//! Envoy 1.40.0 chose.
//! Differs: `hash_balance_factor`, MurmurHash and host names as keys can't be said.

use xxhash_rust::xxh64::xxh64;

use super::members::Members;
use super::round_robin::{nth, weight_of};
use super::{Balancer, Hosts, Pick, choose_another};
use crate::draw::Draws;

/// Hashes what a route's hash policy found: the values of a header, of a cookie (one), or the client's address
/// without a port (one). Their order doesn't matter.
///
/// SOURCE: Envoy's `HashPolicyImpl`: each value's hash is the next one's seed, in the order of the values.
#[must_use]
pub fn hash(values: &[&[u8]]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.into_iter().fold(0, |seed, value| xxh64(value, seed))
}

#[derive(Debug)]
pub(super) struct Hashing {
    members: Members,
    table: Table,
}

#[derive(Debug)]
enum Table {
    Ring {
        minimum_size: u64,
        /// Hashes in ascending order with their endpoints.
        points: Vec<(u64, usize)>,
    },
    Maglev(Vec<usize>),
}

impl Hashing {
    pub(super) fn ring(minimum_size: u64, panic_threshold: f64) -> Self {
        Self {
            members: Members::new(panic_threshold),
            table: Table::Ring {
                minimum_size,
                points: Vec::new(),
            },
        }
    }

    pub(super) fn maglev(panic_threshold: f64) -> Self {
        Self {
            members: Members::new(panic_threshold),
            table: Table::Maglev(Vec::new()),
        }
    }
}

impl Balancer for Hashing {
    fn pick(&mut self, hosts: &Hosts, pick: &Pick<'_>, draws: &mut Draws) -> Option<usize> {
        if self.members.refresh(hosts) {
            let list = self.members.hosts.of(self.members.source_of_hashes());
            let entries = weighted(hosts, list);
            match &mut self.table {
                Table::Ring {
                    minimum_size,
                    points,
                } => *points = ring(&entries, *minimum_size),
                Table::Maglev(places) => *places = maglev(entries),
            }
        }
        let hash = pick.hash.unwrap_or_else(|| draws.next_u64());
        choose_another(pick, |choice| match &self.table {
            Table::Ring { points, .. } => {
                let first = points.partition_point(|(point, _)| *point < hash);
                let index = first
                    .checked_rem(points.len())?
                    .checked_add(usize::try_from(choice).ok()?)?;
                Some(points.get(index.checked_rem(points.len())?)?.1)
            }
            Table::Maglev(places) if choice == 0 => nth(places, hash),
            // SOURCE: `hash ^= ~0ULL - attempt + 1`.
            Table::Maglev(places) => nth(places, hash ^ (u64::MAX - u64::from(choice) + 1)),
        })
    }
}

/// An endpoint with its share of the weights.
struct Weighted<'a> {
    host: usize,
    address: &'a str,
    weight: f64,
}

fn weighted<'a>(hosts: &'a Hosts, list: &[usize]) -> Vec<Weighted<'a>> {
    let sum: f64 = list
        .iter()
        .map(|host| f64::from(weight_of(hosts, *host)))
        .sum();
    list.iter()
        .filter_map(|host| {
            Some(Weighted {
                host: *host,
                address: &hosts.all.get(*host)?.address,
                weight: f64::from(weight_of(hosts, *host)) / sum,
            })
        })
        .collect()
}

/// SOURCE: `RingHashLoadBalancer::DefaultMaxRingSize`.
const LARGEST_RING: f64 = 8_388_608.0;

fn ring(entries: &[Weighted<'_>], minimum_size: u64) -> Vec<(u64, usize)> {
    let lightest = entries.iter().map(|entry| entry.weight).fold(1.0, f64::min);
    // More than the largest ring is the largest ring.
    let minimum_size = f64::from(u32::try_from(minimum_size).unwrap_or(u32::MAX));
    let scale = ((lightest * minimum_size).ceil() / lightest).min(LARGEST_RING);
    let mut points = Vec::new();
    let (mut current, mut target) = (0.0, 0.0);
    for entry in entries {
        target += scale * entry.weight;
        let mut number = 0_u64;
        while current < target {
            let key = format!("{}_{number}", entry.address);
            points.push((xxh64(key.as_bytes(), 0), entry.host));
            number += 1;
            current += 1.0;
        }
    }
    points.sort_by_key(|(point, _)| *point);
    points
}

/// SOURCE: `MaglevTable::DefaultTableSize`.
const PLACES: u64 = 65_537;

fn maglev(mut entries: Vec<Weighted<'_>>) -> Vec<usize> {
    struct Turn {
        host: usize,
        weight: f64,
        target: f64,
        /// The next place that it wants, and the distance to the one after.
        place: u64,
        skip: u64,
    }
    entries.sort_by_key(|entry| entry.address);
    let heaviest = entries.iter().map(|entry| entry.weight).fold(0.0, f64::max);
    let mut turns: Vec<Turn> = entries
        .iter()
        .map(|entry| Turn {
            host: entry.host,
            weight: entry.weight,
            target: 0.0,
            place: xxh64(entry.address.as_bytes(), 0) % PLACES,
            skip: xxh64(entry.address.as_bytes(), 1) % (PLACES - 1) + 1,
        })
        .collect();
    let mut places: Vec<Option<usize>> = vec![None; usize::try_from(PLACES).unwrap_or(0)];
    let mut free = if turns.is_empty() { 0 } else { PLACES };
    let mut iteration = 0.0;
    while free > 0 {
        iteration += 1.0;
        for turn in &mut turns {
            if free == 0 {
                break;
            }
            if iteration * turn.weight < turn.target {
                continue;
            }
            turn.target += heaviest;
            // The number of places is prime, so every place comes up once in that many steps, and one is free.
            while let Some(slot) = usize::try_from(turn.place)
                .ok()
                .and_then(|place| places.get_mut(place))
            {
                turn.place = (turn.place + turn.skip) % PLACES;
                if slot.is_none() {
                    *slot = Some(turn.host);
                    free -= 1;
                    break;
                }
            }
        }
    }
    places.into_iter().flatten().collect()
}
