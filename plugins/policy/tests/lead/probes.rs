//! What probes make of the picture.

use crate::world::{Given, HEADER, World, at, healthy};
use tidegate_policy::snapshot::State;

const PROBED: &str = r#"{"clusters": [{"name": "app"}], "drain_window": "20s",
    "probe": {"interval": "1s", "timeout": "500ms"}}"#;

fn probed(json: &str) -> World {
    let mut world = World::new(json);
    world.list("app", [healthy(1), healthy(2)]);
    world
}

#[test]
fn endpoint_is_unknown_then_available_then_ejected_and_readmitted() {
    let mut world = probed(PROBED);
    world.run(1_000);
    assert_eq!(world.shown("app"), "1U 2U");
    world.run(4_000);
    assert_eq!(world.shown("app"), "1A 2A");
    world.readiness.insert(2, Given::status(500));
    world.run(5_000);
    assert_eq!(world.shown("app"), "1A 2E");
    // Time does not bring it back.
    world.run(600_000);
    assert_eq!(world.shown("app"), "1A 2E");
    world.readiness.remove(&2);
    world.run(4_000);
    assert_eq!(world.shown("app"), "1A 2A");
}

#[test]
fn endpoint_that_counts_unhealthy_at_first_takes_nothing_until_it_has_proven_itself() {
    let mut world = probed(
        r#"{"clusters": [{"name": "app"}],
            "probe": {"interval": "1s", "timeout": "500ms", "initial": "unhealthy"}}"#,
    );
    world.readiness.insert(2, Given::status(500));
    world.run(1_000);
    assert_eq!(world.shown("app"), "1E 2E");
    world.run(4_000);
    assert_eq!(world.shown("app"), "1A 2E");
}

#[test]
fn drain_answer_drains_until_its_deadline_and_success_ends_it() {
    let mut world = probed(PROBED);
    world.run(5_000);
    let draining = Given::status(503).with("x-tidegate-drain", "8");
    world.readiness.insert(2, draining);
    world.run(2_500);
    assert_eq!(world.shown("app"), "1A 2D");
    let State::Draining { until } = world.endpoint("app", 2).state else {
        panic!("not draining");
    };
    assert!(until > at(12_000) && until <= at(15_750));
    world.run(20_000);
    // It says so for ever, and the deadline stays.
    assert_eq!(world.endpoint("app", 2).state, State::Draining { until });
    world.readiness.remove(&2);
    world.run(5_000);
    assert_eq!(world.shown("app"), "1A 2A");
}

#[test]
fn instance_that_is_announced_is_in_the_picture_and_a_new_one_replaces_it() {
    let mut world = probed(PROBED);
    let named = |name| Given::status(200).with("x-tidegate-instance", name);
    world.readiness.insert(1, named("a"));
    world.run(5_000);
    let first = world.endpoint("app", 1).instance.unwrap();
    assert_eq!(world.endpoint("app", 2).instance, None);
    world.readiness.insert(1, named("b"));
    world.run(3_000);
    let second = world.endpoint("app", 1).instance.unwrap();
    assert_ne!(first, second);
    // An answer without the header says nothing.
    world.readiness.remove(&1);
    world.run(3_000);
    assert_eq!(world.endpoint("app", 1).instance, Some(second));
}

#[test]
fn control_plane_and_probe_both_have_to_agree_before_an_endpoint_takes_traffic() {
    let mut world = probed(PROBED);
    world.list(
        "app",
        [healthy(1), (2, r#""eds_health_status": "UNHEALTHY""#)],
    );
    world.run(6_000);
    assert_eq!(world.shown("app"), "1A 2E");
    world.readiness.insert(1, Given::status(500));
    world.run(5_000);
    assert_eq!(world.shown("app"), "1E 2E");
    world.list("app", [healthy(1), healthy(2)]);
    world.run(3_000);
    assert_eq!(world.shown("app"), "1E 2A");
}

#[test]
fn probe_is_steered_by_the_header_and_each_endpoint_has_one_per_interval() {
    let mut world = probed(PROBED);
    let mut probes = [0_u32; 3];
    for _ in 0..4 * 60 {
        world.tick();
        for call in world.calls.iter().filter(|call| call.cluster == "app") {
            let endpoint = call.headers.iter().find(|(name, _)| name == HEADER);
            let number = if endpoint.unwrap().1 == "10.0.0.1:80" {
                1
            } else {
                2
            };
            probes[number] += 1;
        }
    }
    assert!(probes[1] <= 60 && probes[1] >= 45, "{probes:?}");
    assert!(probes[2] <= 60 && probes[2] >= 45, "{probes:?}");
    assert_eq!(world.lead.counts().probes, u64::from(probes[1] + probes[2]));
}

#[test]
fn endpoint_that_left_is_not_probed_and_begins_again_when_it_comes_back() {
    let mut world = probed(PROBED);
    world.readiness.insert(2, Given::status(500));
    world.run(6_000);
    assert_eq!(world.shown("app"), "1A 2E");
    world.list("app", [healthy(1)]);
    world.run(3_000);
    assert_eq!(world.shown("app"), "1A 2V");
    for _ in 0..20 {
        world.tick();
        let to_two = |(_, value): &(String, String)| value == "10.0.0.2:80";
        assert!(
            !world
                .calls
                .iter()
                .any(|call| call.headers.iter().any(to_two))
        );
    }
    world.readiness.remove(&2);
    world.list("app", [healthy(1), healthy(2)]);
    world.run(2_000);
    assert_eq!(world.shown("app").chars().last(), Some('U'));
    world.run(3_000);
    assert_eq!(world.shown("app"), "1A 2A");
}
