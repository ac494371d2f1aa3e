//! A new leader goes on where its predecessor ended.

use crate::world::{Fault, Given, World, at, healthy};
use tidegate_policy::snapshot::State;

const PROBED: &str = r#"{"clusters": [{"name": "app"}], "drain_window": "1m",
    "probe": {"interval": "1s", "timeout": "500ms"}}"#;

/// Is a world in which one endpoint of each kind is published.
fn settled() -> World {
    let mut world = World::new(PROBED);
    world.list(
        "app",
        [
            healthy(1),
            healthy(2),
            healthy(3),
            healthy(4),
            (5, r#""eds_health_status": "DRAINING""#),
            (6, r#""failed_outlier_check": true"#),
        ],
    );
    world.run(5_000);
    world.readiness.insert(2, Given::status(500));
    let draining = Given::status(503).with("x-tidegate-drain", "60");
    world.readiness.insert(3, draining);
    let hosts = world.clusters["app"].1.clone();
    let hosts = hosts.into_iter().filter(|(number, _)| *number != 4);
    let hosts: Vec<_> = hosts.collect();
    world.list("app", hosts);
    world.run(6_000);
    assert_eq!(world.shown("app"), "1A 2E 3D 4V 5D 6E");
    world
}

#[test]
fn new_leader_publishes_what_the_last_one_knew_under_its_own_epoch() {
    let mut world = settled();
    let before: Vec<_> = (1..=6)
        .map(|number| world.endpoint("app", number))
        .collect();
    let confirmed = world.confirmed_ms("app");
    world.fault = Fault::Never;
    world.take_over(&["app"]);
    world.tick();
    assert_eq!(world.shown("app"), "1A 2E 3D 4V 5D 6E");
    assert_eq!(world.version("app").unwrap().epoch, 2);
    assert_eq!(
        world.confirmed_ms("app"),
        confirmed,
        "it vouches for nothing by itself"
    );
    let after: Vec<_> = (1..=6)
        .map(|number| world.endpoint("app", number))
        .collect();
    assert_eq!(before, after);
}

#[test]
fn nobody_who_was_not_available_becomes_available_by_a_takeover() {
    let mut world = settled();
    for _ in 0..10 {
        world.take_over(&["app"]);
        for _ in 0..8 {
            world.tick();
            assert_eq!(world.shown("app"), "1A 2E 3D 4V 5D 6E");
        }
    }
    // 3's deadline is not given anew by each of them.
    let State::Draining { until } = world.endpoint("app", 3).state else {
        panic!("not draining");
    };
    assert!(until <= at(72_000), "{until:?}");
    // Then all recover: one by its probes, one by the source.
    world.readiness.clear();
    let numbers = [1, 2, 3, 5, 6].map(healthy);
    world.list("app", numbers);
    world.run(10_000);
    let shown = world.shown("app");
    assert!(shown.starts_with("1A 2A 3A"), "{shown}");
    assert!(shown.ends_with("6A"), "{shown}");
}

#[test]
fn endpoint_that_envoy_ejected_stays_so_until_the_source_says_otherwise() {
    let mut world = World::new(r#"{"clusters": [{"name": "app"}]}"#);
    world.list("app", [healthy(1), (2, r#""failed_outlier_check": true"#)]);
    world.run(3_000);
    assert_eq!(world.shown("app"), "1A 2E");
    world.fault = Fault::Never;
    world.take_over(&["app"]);
    world.run(5_000);
    assert_eq!(world.shown("app"), "1A 2E");
    world.fault = Fault::None;
    world.list("app", [healthy(1), healthy(2)]);
    world.run(10_000);
    assert_eq!(world.shown("app"), "1A 2A");
}

#[test]
fn endpoint_keeps_its_generation_and_its_age_over_a_takeover() {
    let mut world = settled();
    world.list("app", [1, 2, 3, 4].map(healthy));
    world.run(3_000);
    let back = world.endpoint("app", 4).since;
    assert_eq!(back.generation, 2);
    world.take_over(&["app"]);
    world.run(5_000);
    assert_eq!(world.endpoint("app", 4).since, back);
    assert_eq!(world.endpoint("app", 1).since.generation, 1);
    world.list("app", [1, 2, 3, 4, 7].map(healthy));
    world.run(3_000);
    assert_eq!(world.endpoint("app", 7).since.generation, 3);
}

#[test]
fn bytes_that_are_no_snapshot_of_ours_begin_nothing() {
    let mut world = settled();
    let key = world.key("app");
    let good = world.shared[&key].clone();
    let mut other = World::new(r#"{"clusters": [{"name": "shop"}]}"#);
    other.list("shop", [healthy(9)]);
    other.run(3_000);
    let foreign = other.shared[&other.key("shop")].clone();
    for bytes in [
        Vec::new(),
        b"nonsense".to_vec(),
        good[..good.len() - 1].to_vec(),
        foreign,
    ] {
        world.shared.insert(key.clone(), bytes);
        world.fault = Fault::Never;
        world.take_over(&["app"]);
        world.run(1_000);
        assert_eq!(world.shown("app"), "-");
        world.fault = Fault::None;
        world.run(5_000);
        assert!(
            world.shown("app").starts_with("1"),
            "{}",
            world.shown("app")
        );
    }
}
