//! Who the endpoints are, from each source.

use crate::world::{Fault, World, at, feed_json, healthy};
use tidegate_policy::{
    endpoints::MAX_SEEN,
    snapshot::{EdsHealth, State},
    units::WallTime,
};

const ADMIN: &str = r#"{"clusters": [{"name": "app"}], "drain_window": "10s"}"#;

#[test]
fn listing_is_published_and_a_version_names_it_behind_it() {
    let mut world = World::new(ADMIN);
    world.list("app", [healthy(1), healthy(2)]);
    world.tick();
    assert_eq!(world.shown("app"), "-");
    assert_eq!(world.written, [world.versions_key()]);
    world.run(750);
    assert_eq!(world.shown("app"), "1A 2A");
    let version = world.version("app").unwrap();
    assert_eq!((version.epoch, version.generation), (1, 1));
    let endpoint = world.endpoint("app", 1);
    assert_eq!(endpoint.state, State::Available { slow_start: None });
    assert_eq!(
        (endpoint.since.generation, endpoint.since.at),
        (1, WallTime::default())
    );
}

#[test]
fn snapshot_is_written_on_change_only_and_versions_once_a_second() {
    let mut world = World::new(ADMIN);
    world.list("app", [healthy(1)]);
    world.run(3_000);
    let (mut snapshots, mut versions) = (0, 0);
    for _ in 0..4 * 25 {
        world.tick();
        snapshots += world
            .written
            .iter()
            .filter(|key| **key == world.key("app"))
            .count();
        versions += world
            .written
            .iter()
            .filter(|key| **key == world.versions_key())
            .count();
    }
    assert_eq!((snapshots, versions), (0, 25));
    world.list("app", [healthy(1), healthy(2)]);
    world.run(3_000);
    assert_eq!(world.lead.counts().published, 2);
    assert_eq!(world.version("app").unwrap().generation, 2);
}

#[test]
fn damaged_snapshot_is_written_again_as_it_was() {
    let mut world = World::new(ADMIN);
    world.list("app", [healthy(1)]);
    world.run(3_000);
    let (key, good) = (world.key("app"), world.shared[&world.key("app")].clone());
    world.shared.insert(key.clone(), b"a neighbour's".to_vec());
    world.run(31_000);
    assert_eq!(world.shared[&key], good);
    assert_eq!(world.lead.counts().published, 1);
}

#[test]
fn endpoint_that_left_is_vanished_and_comes_back_as_another() {
    let mut world = World::new(ADMIN);
    world.list("app", [healthy(1), healthy(2)]);
    world.run(3_000);
    world.list("app", [healthy(1)]);
    world.run(3_000);
    assert_eq!(world.shown("app"), "1A 2V");
    let State::Vanished { until } = world.endpoint("app", 2).state else {
        panic!("not vanished");
    };
    assert!(until > at(12_000) && until <= at(16_000));
    world.list("app", [healthy(1), healthy(2)]);
    world.run(2_500);
    assert_eq!(world.shown("app"), "1A 2A");
    let back = world.endpoint("app", 2);
    assert_eq!(back.since.generation, 2);
    // The last listing without it is what a session must be younger than.
    assert!(back.since.at > at(3_000) && back.since.at < at(9_000));
    let State::Available { slow_start } = back.state else {
        panic!("not available");
    };
    assert!(slow_start.unwrap() >= back.since.at);
    assert_eq!(world.endpoint("app", 1).since.at, WallTime::default());
    world.list("app", [healthy(1)]);
    world.run(16_000);
    assert_eq!(world.shown("app"), "1A", "forgotten after the window");
}

#[test]
fn empty_listing_is_believed_when_it_is_confirmed() {
    let mut world = World::new(ADMIN);
    world.list("app", [healthy(1)]);
    world.run(3_000);
    world.list("app", []);
    world.run(3_000);
    assert_eq!(world.shown("app"), "1A");
    world.run(15_000);
    assert_eq!(world.shown("app"), "1V");
    world.run(12_000);
    assert_eq!(world.shown("app"), "");
}

#[test]
fn health_of_the_control_plane_and_of_envoy_becomes_a_state() {
    let mut world = World::new(ADMIN);
    world.list(
        "app",
        [
            healthy(1),
            (2, r#""eds_health_status": "UNHEALTHY""#),
            (3, r#""eds_health_status": "DRAINING""#),
            (4, r#""eds_health_status": "DEGRADED""#),
            (5, r#""failed_outlier_check": true"#),
            (6, r#""failed_active_health_check": true"#),
            (7, r#""pending_dynamic_removal": true"#),
        ],
    );
    world.run(3_000);
    assert_eq!(world.shown("app"), "1A 2E 3D 4A 5E 6E 7D");
    assert_eq!(world.endpoint("app", 3).eds_health, EdsHealth::Draining);
    let until = |world: &World| match world.endpoint("app", 3).state {
        State::Draining { until } => until,
        state => panic!("{state:?}"),
    };
    let first = until(&world);
    // What drains on is not given a new deadline, and is not available after it.
    world.list(
        "app",
        [healthy(1), (3, r#""eds_health_status": "DRAINING""#)],
    );
    world.run(20_000);
    assert_eq!(world.shown("app"), "1A 3D");
    assert_eq!(until(&world), first);
    assert!(first < at(world.now_ms));
    world.list("app", [healthy(1), healthy(3)]);
    world.run(3_000);
    assert_eq!(world.shown("app"), "1A 3A");
    world.list(
        "app",
        [healthy(1), (3, r#""eds_health_status": "DRAINING""#)],
    );
    world.run(3_000);
    assert!(
        until(&world) > at(world.now_ms),
        "a new drain has its own window"
    );
}

#[test]
fn source_that_says_nothing_new_vouches_for_what_it_said() {
    let mut world = World::new(ADMIN);
    world.list("app", [healthy(1)]);
    world.run(20_000);
    let age = world.now_ms - world.confirmed_ms("app");
    assert!(age <= 2_500, "{age}");
}

#[test]
fn every_cluster_has_its_own_snapshot() {
    let mut world =
        World::new(r#"{"clusters": [{"name": "app"}, {"name": "shop"}, {"name": "gone"}]}"#);
    world.list("app", [healthy(1)]);
    world.list("shop", [healthy(1), healthy(2)]);
    world.run(5_000);
    assert_eq!(world.shown("app"), "1A");
    assert_eq!(world.shown("shop"), "1A 2A");
    // The admin does not have it: nothing is known of it, which is not the same as nobody there.
    assert_eq!(world.shown("gone"), "-");
}

#[test]
fn cluster_of_a_prefix_is_known_once_a_request_went_there() {
    let mut world = World::new(r#"{"clusters": [{"prefix": "app-"}]}"#);
    world.list("app-one", [healthy(1)]);
    world.list("shop", [healthy(2)]);
    world.run(3_000);
    assert_eq!(world.shown("app-one"), "-");
    assert!(world.lead.on_seen("app-one"));
    assert!(!world.lead.on_seen("app-one") && !world.lead.on_seen("shop"));
    world.run(3_000);
    assert_eq!(world.shown("app-one"), "1A");
    let taken = (0..1_000).filter(|index| world.lead.on_seen(&format!("app-{index}")));
    assert_eq!(taken.count(), MAX_SEEN - 1);
}

#[test]
fn cluster_that_leads_to_the_source_is_never_known() {
    let mut world = World::new("{}");
    assert!(!world.lead.on_seen("envoy_admin"));
    assert!(world.lead.on_seen("anything"));
}

#[test]
fn static_source_needs_no_call_and_is_always_vouched_for() {
    let mut world = World::new(
        r#"{"source": {"static": [{"cluster": "app", "endpoints":
            [{"address": "10.0.0.1:80", "weight": 3}, {"address": "10.0.0.2:80"}]}]}}"#,
    );
    world.tick();
    assert_eq!(world.shown("app"), "1A 2A");
    assert_eq!(world.endpoint("app", 1).weight.get(), 3);
    world.run(100_000);
    assert!(world.calls.is_empty());
    assert!(world.now_ms - world.confirmed_ms("app") < 1_000);
    assert_eq!(world.lead.counts().published, 1);
}

#[test]
fn feed_of_ten_thousand_is_read_in_slices_and_published_whole() {
    let mut world = World::new(r#"{"clusters": [{"name": "app"}], "source": {"feed": {}}}"#);
    let addresses = |count: u32| (0..count).map(|n| format!("10.1.{}.{}:80", n / 250, n % 250));
    world.feed = feed_json("app", addresses(10_000));
    assert!(world.feed.len() > 3 * 65_536);
    while world.lead.counts().published == 0 {
        world.tick();
        assert!(world.now_ms <= 6_000);
    }
    // It is vouched for as of when the answer came, not of when it was read.
    assert!(world.now_ms - world.confirmed_ms("app") >= 500);
    assert_eq!(world.shown("app").split(' ').count(), 10_000);
    // 9 990 vanish at once: all who are left are there.
    world.feed = feed_json("app", addresses(10));
    world.run(6_000);
    let shown = world.shown("app");
    assert_eq!(shown.matches('A').count(), 10);
    assert_eq!(world.fault, Fault::None);
    assert_eq!(world.lead.counts().source_errors, 0);
}

#[test]
fn call_to_the_source_is_a_get_with_the_configured_names() {
    let mut world = World::new(
        r#"{"clusters": [{"name": "app"}], "source": {"feed":
            {"cluster": "lists", "path": "/v1?zone=a", "host": "lists.example", "timeout": "700ms"}}}"#,
    );
    world.feed = feed_json("app", ["10.0.0.1:80".to_owned()]);
    world.tick();
    let [call] = &world.calls[..] else {
        panic!("{:?}", world.calls);
    };
    assert_eq!(
        (call.cluster.as_str(), call.timeout.as_millis()),
        ("lists", 700)
    );
    let headers: Vec<(&str, &str)> = call
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        headers[..3],
        [
            (":method", "GET"),
            (":path", "/v1?zone=a"),
            (":authority", "lists.example")
        ]
    );
}

#[test]
fn priority_that_a_source_states_is_published_and_one_beyond_all_is_the_last() {
    let feed = |priorities: [u32; 3]| {
        let endpoints: Vec<String> = (1..)
            .zip(priorities)
            .map(|(number, priority)| {
                format!(r#"{{"address": "10.0.0.{number}:80", "priority": {priority}}}"#)
            })
            .collect();
        let endpoints = endpoints.join(",");
        format!(r#"{{"version": 1, "clusters": [{{"name": "app", "endpoints": [{endpoints}]}}]}}"#)
            .into_bytes()
    };
    let mut world =
        World::new(r#"{"clusters": [{"name": "app"}], "source": {"feed": {"interval": "250ms"}}}"#);
    world.feed = feed([0, 1, 1_000]);
    world.run(2_000);
    let shown = |world: &World| [1, 2, 3].map(|number| world.endpoint("app", number).priority);
    assert_eq!(shown(&world), [0, 1, 255]);
    world.feed = feed([2, 0, 0]);
    world.run(2_000);
    assert_eq!(shown(&world), [2, 0, 0]);
    let mut world = World::new(
        r#"{"source": {"static": [{"cluster": "app", "endpoints": [
            {"address": "10.0.0.1:80"}, {"address": "10.0.0.2:80", "priority": 3}]}]}}"#,
    );
    world.run(1_000);
    assert_eq!(
        [1, 2].map(|number| world.endpoint("app", number).priority),
        [0, 3]
    );
}
