//! Where requests go that bring a key, and when the tables are built that say so.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, num::NonZeroU32};

use proptest::prelude::*;
use tidegate_policy::{
    affinity::{MAX_TABLES, RequestReason, Tables, key_hash, on_key},
    endpoints::{Known, Picture, Unknown},
    snapshot::{Checked, Endpoint, EndpointAddress, Header, Since, Snapshot, State, Version},
    successor::{SLICE_STEPS, Table, TableSize},
    units::WallTime,
};

const NOTHING: Picture<'static> = Picture::Unknown(Unknown::NotYet);
const EJECTED: State = State::Ejected {
    until: WallTime::from_ns(u64::MAX),
};
const VANISHED: State = State::Vanished {
    until: WallTime::from_ns(u64::MAX),
};
const DRAINING: State = State::Draining {
    until: WallTime::from_ns(u64::MAX),
};

/// Is a picture of endpoints with these numbers, weights and states.
struct Scene {
    checked: Checked,
    generation: u64,
}

impl Scene {
    fn new(generation: u64, endpoints: &[(u8, u32, State)]) -> Self {
        let mut snapshot = Snapshot::new(Header {
            configuration: 1,
            cluster: 2,
            epoch: 3,
            generation,
            published_at: WallTime::default(),
        });
        let since = Since {
            generation: 1,
            at: WallTime::default(),
        };
        for (number, weight, state) in endpoints {
            let endpoint = Endpoint {
                state: *state,
                weight: NonZeroU32::new(*weight).unwrap(),
                ..Endpoint::new(since)
            };
            snapshot.try_push(address(*number), endpoint, b"").unwrap();
        }
        let mut bytes = Vec::new();
        snapshot.encode(&mut bytes);
        let checked = Checked::try_new(bytes).unwrap();
        Self {
            checked,
            generation,
        }
    }

    fn picture(&self) -> Picture<'_> {
        Picture::Known(Known {
            view: self.checked.view(),
            version: Version {
                epoch: 3,
                generation: self.generation,
                confirmed_at: WallTime::default(),
            },
        })
    }
}

fn address(number: u8) -> EndpointAddress {
    EndpointAddress::parse(format!("10.0.0.{number}:80").as_bytes()).unwrap()
}

fn all(count: u8, state: State) -> Vec<(u8, u32, State)> {
    (1..=count).map(|number| (number, 1, state)).collect()
}

fn small() -> TableSize {
    TableSize::try_new(1009).unwrap()
}

/// Builds the table of a scene with one tick after the other, and says how many it took.
fn build(tables: &mut Tables, scene: &Scene, steps: u32) -> usize {
    let before = tables.get(b"echo").cloned();
    for tick in 1..=10_000 {
        tables.on_tick(|_| scene.picture(), steps);
        if tables.get(b"echo") != before.as_ref() {
            return tick;
        }
    }
    0
}

fn built(scene: &Scene) -> Tables {
    let mut tables = Tables::new();
    tables.want(b"echo", small());
    assert_eq!(build(&mut tables, scene, u32::MAX), 1);
    tables
}

/// Is where many keys go.
fn places(table: Option<&Table>, picture: Picture<'_>) -> Vec<(RequestReason, Option<String>)> {
    (0_u32..2000)
        .map(|key| {
            let decision = on_key(key_hash(&key.to_be_bytes()), table, picture);
            let endpoint = decision
                .endpoint()
                .map(|address| address.as_str().to_owned());
            (decision.reason, endpoint)
        })
        .collect()
}

#[test]
fn request_without_what_it_takes_is_balanced_and_the_reason_says_what_is_missing() {
    let scene = Scene::new(1, &all(3, State::Unknown));
    let nobody = Scene::new(1, &all(3, EJECTED));
    let tables = built(&scene);
    let table = tables.get(b"echo");
    let hash = key_hash(b"ann");
    let cases = [
        (None, table, scene.picture(), RequestReason::KeyAbsent),
        (hash, table, NOTHING, RequestReason::KeyNoPicture),
        (hash, None, scene.picture(), RequestReason::KeyNoTable),
        (hash, table, nobody.picture(), RequestReason::KeyNoEndpoint),
        (hash, table, scene.picture(), RequestReason::Keyed),
    ];
    for (hash, table, picture, expected) in cases {
        let decision = on_key(hash, table, picture);
        assert_eq!(decision.reason, expected);
        assert_eq!(
            decision.endpoint().is_some(),
            expected == RequestReason::Keyed
        );
    }
}

#[test]
fn ejection_moves_the_keys_of_the_ejected_only_and_its_return_brings_them_back() {
    for state in [EJECTED, DRAINING] {
        let healthy = Scene::new(1, &all(10, State::Unknown));
        let mut endpoints = all(10, State::Unknown);
        endpoints[2].2 = state;
        let ejected = Scene::new(2, &endpoints);
        let mut tables = built(&healthy);
        let before = places(tables.get(b"echo"), healthy.picture());
        tables.on_tick(|_| ejected.picture(), u32::MAX);
        let during = places(tables.get(b"echo"), ejected.picture());
        let mut moved_to = BTreeMap::new();
        for (was, is) in before.iter().zip(&during) {
            if was.1.as_deref() == Some("10.0.0.3:80") {
                assert_eq!(is.0, RequestReason::KeyedSuccessor);
                *moved_to.entry(is.1.clone()).or_insert(0) += 1;
            } else {
                assert_eq!(was, is);
            }
        }
        assert_eq!(moved_to.len(), 9, "{moved_to:?}");
        assert_eq!(places(tables.get(b"echo"), healthy.picture()), before);
    }
}

#[test]
fn table_is_built_in_slices_while_the_former_one_serves() {
    let (four, five) = (
        Scene::new(1, &all(4, State::Unknown)),
        Scene::new(2, &all(5, State::Unknown)),
    );
    let mut tables = Tables::new();
    tables.want(b"echo", TableSize::default());
    let ticks = build(&mut tables, &four, SLICE_STEPS);
    assert!((2..=46).contains(&ticks), "{ticks}");
    let first = tables.get(b"echo").cloned().unwrap();
    for _ in 1..4 {
        tables.on_tick(|_| five.picture(), SLICE_STEPS);
        assert_eq!(tables.get(b"echo"), Some(&first));
    }
    assert!(build(&mut tables, &five, SLICE_STEPS) > 1);
    // Another VM, which never saw four, has the same one.
    let mut other = Tables::new();
    other.want(b"echo", TableSize::default());
    build(&mut other, &five, 977);
    assert_eq!(tables.get(b"echo"), other.get(b"echo"));
}

#[test]
fn table_is_built_again_only_where_addresses_or_weights_change() {
    let base = all(4, State::Unknown);
    let scene = Scene::new(1, &base);
    let tables = built(&scene);
    let first = tables.get(b"echo").cloned();
    let change = |at: usize, weight, state| {
        let mut endpoints = base.clone();
        endpoints[at].1 = weight;
        endpoints[at].2 = state;
        endpoints
    };
    let cases = [
        (change(0, 1, EJECTED), false),
        (change(0, 1, DRAINING), false),
        (change(0, 1, State::Probing), false),
        (change(0, 2, State::Unknown), true),
        (change(0, 1, VANISHED), true),
        (all(5, State::Unknown), true),
        (all(3, State::Unknown), true),
    ];
    for (endpoints, is_built) in cases {
        let mut tables = built(&scene);
        let changed = Scene::new(2, &endpoints);
        tables.on_tick(|_| changed.picture(), u32::MAX);
        let is_other = tables.get(b"echo") != first.as_ref();
        assert_eq!(is_other, is_built, "{endpoints:?}");
        // Back again before the next one is even done.
        tables.on_tick(|_| scene.picture(), u32::MAX);
        assert_eq!(tables.get(b"echo"), first.as_ref());
    }
}

#[test]
fn table_of_a_membership_that_changed_meanwhile_is_replaced_by_the_next() {
    let (four, five) = (
        Scene::new(1, &all(4, State::Unknown)),
        Scene::new(2, &all(5, State::Unknown)),
    );
    let mut tables = Tables::new();
    tables.want(b"echo", small());
    tables.on_tick(|_| four.picture(), 1);
    for _ in 0..2 {
        tables.on_tick(|_| five.picture(), u32::MAX);
    }
    let expected = built(&five);
    assert_eq!(tables.get(b"echo"), expected.get(b"echo"));
}

#[test]
fn empty_cluster_has_no_table_and_a_stale_picture_keeps_the_former_one() {
    let scene = Scene::new(1, &all(4, State::Unknown));
    let mut tables = built(&scene);
    tables.on_tick(|_| NOTHING, u32::MAX);
    assert!(tables.get(b"echo").is_some());
    let empty = Scene::new(2, &[]);
    tables.on_tick(|_| empty.picture(), u32::MAX);
    assert!(tables.get(b"echo").is_none());
    let back = Scene::new(3, &all(4, State::Unknown));
    tables.on_tick(|_| back.picture(), u32::MAX);
    assert!(tables.get(b"echo").is_some());
}

#[test]
fn cluster_that_changes_all_the_time_keeps_no_other_waiting() {
    // Each generation has weights that no other one has.
    let scenes: Vec<Scene> = (1..=40_u32)
        .map(|weight| {
            let endpoints = [(1, weight, State::Unknown), (2, 1, State::Unknown)];
            Scene::new(u64::from(weight), &endpoints)
        })
        .collect();
    let calm = Scene::new(1, &all(3, State::Unknown));
    let mut tables = Tables::new();
    for cluster in [&b"a"[..], b"b", b"c"] {
        tables.want(cluster, small());
    }
    for scene in &scenes {
        let picture = |cluster: &[u8]| {
            if cluster == b"a" {
                scene.picture()
            } else {
                calm.picture()
            }
        };
        tables.on_tick(picture, 2000);
    }
    for cluster in [&b"a"[..], b"b", b"c"] {
        assert!(tables.get(cluster).is_some(), "{cluster:?}");
    }
}

#[test]
fn clusters_beyond_the_bound_have_no_table() {
    let scene = Scene::new(1, &all(2, State::Unknown));
    let mut tables = Tables::new();
    let names: Vec<String> = (0..=MAX_TABLES)
        .map(|number| format!("{number:03}"))
        .collect();
    for name in &names {
        tables.want(name.as_bytes(), small());
    }
    for _ in &names {
        tables.on_tick(|_| scene.picture(), u32::MAX);
    }
    let has = |name: &String| tables.get(name.as_bytes()).is_some();
    assert!(names[..MAX_TABLES].iter().all(has));
    assert!(!has(&names[MAX_TABLES]));
}

proptest! {
    #[test]
    fn replicas_agree_whatever_they_saw_before(
        earlier in prop::collection::vec((1_u8..20, 1_u32..4), 0..8),
        counts in prop::collection::btree_map(1_u8..20, (1_u32..4, 0_usize..4), 1..12),
        keys in prop::collection::vec(any::<u64>(), 20),
    ) {
        let earlier: BTreeMap<u8, u32> = earlier.into_iter().collect();
        let earlier: Vec<(u8, u32, State)> =
            earlier.into_iter().map(|(number, weight)| (number, weight, State::Unknown)).collect();
        let states = [State::Unknown, EJECTED, DRAINING, State::Probing];
        let now: Vec<(u8, u32, State)> = counts
            .into_iter()
            .map(|(number, (weight, state))| (number, weight, states[state]))
            .collect();
        let (earlier, now) = (Scene::new(1, &earlier), Scene::new(2, &now));
        let mut long = Tables::new();
        long.want(b"echo", small());
        long.on_tick(|_| earlier.picture(), u32::MAX);
        for _ in 0..2 {
            long.on_tick(|_| now.picture(), u32::MAX);
        }
        let short = built(&now);
        for key in keys {
            let hash = key_hash(&key.to_be_bytes());
            prop_assert_eq!(
                on_key(hash, long.get(b"echo"), now.picture()),
                on_key(hash, short.get(b"echo"), now.picture())
            );
        }
    }
}
