//! Whatever sources answer, whatever endpoints say, whoever leads and whatever the clock does: what
//! is published is always whole, always some listing that was served, and right in the end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidegate_policy::{
    endpoints::KEY_PLUGIN,
    snapshot::{SnapshotView, State, VersionsView, cluster_digest, snapshot_key},
};

use crate::world::{Fault, Given, Host, TICK, World, at, healthy};

const CLUSTERS: [&str; 2] = ["app", "shop"];

const JSON: &str = r#"{"clusters": [{"name": "app"}, {"name": "shop"}], "drain_window": "15s",
    "source": {"admin": {"refresh": "10s"}},
    "probe": {"interval": "1s", "timeout": "1s", "healthy_after": 1}}"#;

/// Draws numbers; the same seed draws the same.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        let index = self.below(u64::try_from(of.len()).unwrap());
        of[usize::try_from(index).unwrap()]
    }
}

/// Is what is published, as far as it must not change for no reason.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Are epoch, generation and bytes of each snapshot.
    snapshots: BTreeMap<String, (u64, u64, Vec<u8>)>,
}

impl Seen {
    /// Looks at everything that is published and compares it with the last look.
    fn look(&mut self, world: &World, listed: &BTreeMap<&str, BTreeSet<BTreeSet<u8>>>) {
        let Some(bytes) = world.shared.get(&world.versions_key()) else {
            return;
        };
        let versions = VersionsView::open(bytes).unwrap();
        for cluster in CLUSTERS {
            let key = snapshot_key(KEY_PLUGIN, world.config.digest(), cluster.as_bytes());
            let Some(bytes) = world.shared.get(&key) else {
                continue;
            };
            let view = SnapshotView::open(bytes).unwrap();
            let header = *view.header();
            if let Some((epoch, generation, before)) = self.snapshots.get(&key) {
                assert!(header.epoch >= *epoch, "an older leader wrote");
                assert!(header.generation >= *generation, "it goes back");
                if header.generation == *generation && header.epoch == *epoch {
                    assert_eq!(bytes, before, "another picture under the same version");
                }
            }
            self.snapshots
                .insert(key, (header.epoch, header.generation, bytes.clone()));
            if let Some(version) = versions.get(cluster_digest(cluster.as_bytes()))
                && version.epoch == header.epoch
            {
                // A reader whose version is older than the snapshot waits for the next tick.
                assert!(version.generation <= header.generation);
                if !(world.refuses)(&world.versions_key()) {
                    assert_eq!(version.generation, header.generation);
                }
            }
            let present: BTreeSet<u8> = view
                .iter()
                .filter(|entry| !matches!(entry.endpoint.state, State::Vanished { .. }))
                .map(|entry| match entry.address.ip {
                    std::net::IpAddr::V4(ip) => ip.octets()[3],
                    std::net::IpAddr::V6(_) => panic!("nobody listed one"),
                })
                .collect();
            assert!(
                listed[cluster].contains(&present),
                "{present:?} was never listed"
            );
        }
    }
}

fn hosts(random: &mut Random) -> Vec<Host> {
    let health = [
        r#""eds_health_status": "HEALTHY""#,
        r#""eds_health_status": "HEALTHY""#,
        r#""eds_health_status": "HEALTHY""#,
        r#""eds_health_status": "UNHEALTHY""#,
        r#""eds_health_status": "DRAINING""#,
        r#""failed_outlier_check": true"#,
    ];
    let numbers = (1..=6).filter(|_| random.below(3) > 0).collect::<Vec<u8>>();
    numbers
        .into_iter()
        .map(|number| (number, random.one(&health)))
        .collect()
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let mut world = World::new(JSON);
    world.now_ms = 1_000_000_000;
    let mut seen = Seen::default();
    let mut listed: BTreeMap<&str, BTreeSet<BTreeSet<u8>>> = BTreeMap::new();
    let mut list = |world: &mut World, cluster: &'static str, hosts: Vec<Host>| {
        let numbers = hosts.iter().map(|(number, _)| *number).collect();
        listed.entry(cluster).or_default().insert(numbers);
        world.list(cluster, hosts);
        listed.clone()
    };
    let mut everything = BTreeMap::new();
    for cluster in CLUSTERS {
        everything = list(&mut world, cluster, hosts(&mut random));
    }
    for _ in 0..400 {
        match random.below(24) {
            0 | 1 => {
                let (cluster, hosts) = (random.one(&CLUSTERS), hosts(&mut random));
                everything = list(&mut world, cluster, hosts);
            }
            2 => {
                world.fault = random.one(&[
                    Fault::None,
                    Fault::None,
                    Fault::None,
                    Fault::Garbage,
                    Fault::Truncated,
                    Fault::Huge,
                    Fault::OtherCluster,
                    Fault::Unavailable,
                    Fault::Never,
                    Fault::Reset,
                    Fault::NotSent,
                ]);
            }
            3 | 4 => {
                let answer = match random.below(5) {
                    0 => Given::status(500),
                    1 => Given::status(503).with("x-tidegate-drain", "7"),
                    2 => Given::default(),
                    3 => Given::status(200).with("x-tidegate-instance", "b"),
                    _ => Given::status(200),
                };
                let number = u8::try_from(random.below(6)).unwrap() + 1;
                world.readiness.insert(number, answer);
            }
            5 => take_over(&mut world),
            6 => {
                world.refuses = match random.below(4) {
                    0 => |key| key.contains(".snapshot."),
                    1 => |key| key.ends_with(".versions"),
                    _ => |_| false,
                };
            }
            7 => world.now_ms -= random.below(60_000),
            8 => world.now_ms += random.below(60_000),
            9 => world.tick_now(),
            _ => {}
        }
        world.tick();
        seen.look(&world, &everything);
    }
    // In the end everything is well, and after a while the picture says so.
    world.fault = Fault::None;
    world.refuses = |_| false;
    world.readiness.clear();
    for cluster in CLUSTERS {
        everything = list(&mut world, cluster, [1, 3].map(healthy).to_vec());
    }
    for _ in 0..120_000 / TICK {
        world.tick();
        seen.look(&world, &everything);
    }
    for cluster in CLUSTERS {
        assert_eq!(world.shown(cluster), "1A 3A", "seed {seed}");
        assert!(world.now_ms - world.confirmed_ms(cluster) < 12_000);
    }
}

/// Lets another leader take over: who was not available is not by that, and nobody changes lives.
fn take_over(world: &mut World) {
    let published = |world: &World, cluster: &str| {
        let bytes = world.shared.get(&world.key(cluster))?;
        Some(SnapshotView::open(bytes).unwrap().to_snapshot())
    };
    let before = CLUSTERS.map(|cluster| published(world, cluster));
    world.take_over(&CLUSTERS);
    world.tick_now();
    for (cluster, before) in CLUSTERS.iter().zip(before) {
        let (Some(before), Some(after)) = (before, published(world, cluster)) else {
            continue;
        };
        if after.header.epoch != world.lead.epoch() {
            // Its write was refused, or there was nothing to vouch for.
            continue;
        }
        for (address, endpoint) in &after {
            let Some(known) = before.get(&address) else {
                panic!("{address} joined by a takeover");
            };
            // What lies in the future, because the clock stepped back, is now.
            let at = known.since.at.min(at(world.now_ms));
            assert_eq!(endpoint.since.generation, known.since.generation);
            assert_eq!(
                endpoint.since.at.as_ns() / 1_000_000,
                at.as_ns() / 1_000_000
            );
            let was_available = matches!(known.state, State::Available { .. } | State::Unknown);
            let is_available = matches!(endpoint.state, State::Available { .. } | State::Unknown);
            assert!(
                was_available || !is_available,
                "{address}: {known:?} {endpoint:?}"
            );
        }
    }
}

#[test]
fn picture_is_whole_at_any_time_and_right_in_the_end() {
    for seed in 0..150 {
        run(seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_answer_to_any_call_ends_without_a_panic(
        answers in prop::collection::vec(
            (
                prop::option::of(0_u16..700),
                prop::collection::vec(any::<u8>(), 0..64),
                prop::option::of("[ -~]{0,20}"),
            ),
            1..20,
        ),
    ) {
        for json in [JSON, r#"{"clusters": [{"name": "app"}], "source": {"feed": {}}}"#] {
            let mut world = World::new(json);
            world.list("app", [healthy(1)]);
            for (status, body, header) in &answers {
                world.feed.clone_from(body);
                let mut given = Given { status: *status, ..Given::default() };
                if let Some(value) = header {
                    given = given
                        .with("x-tidegate-drain", value)
                        .with("x-tidegate-instance", value);
                }
                world.readiness.insert(1, given);
                world.run(2_000);
            }
        }
    }
}
