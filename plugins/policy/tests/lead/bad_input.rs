//! Answers that are not to be used: the last good picture stays, ages, and recovers.

use crate::world::{Fault, TICK, World, feed_json, healthy};
use tidegate_policy::endpoints::SourceError;

const FAULTS: [(Fault, SourceError); 8] = [
    (Fault::Garbage, SourceError::Unreadable),
    (Fault::Truncated, SourceError::Unreadable),
    (Fault::Huge, SourceError::TooLong),
    (Fault::OtherCluster, SourceError::NotApplied),
    (Fault::Unavailable, SourceError::Status),
    (Fault::Never, SourceError::NoAnswer),
    (Fault::Reset, SourceError::NoAnswer),
    (Fault::NotSent, SourceError::NotSent),
];

/// Lets a source fail for a minute, in which the endpoints change; `change` changes them.
fn fails(mut world: World, fault: Fault, error: SourceError, change: fn(&mut World)) {
    world.run(5_000);
    assert_eq!(world.shown("app"), "1A 2A");
    change(&mut world);
    world.fault = fault;
    world.failures.clear();
    let begun = world.now_ms;
    world.run(60_000);
    assert_eq!(world.shown("app"), "1A 2A", "{fault:?}");
    let confirmed = world.confirmed_ms("app");
    assert!(confirmed <= begun + 2 * TICK, "{fault:?}: it does not age");
    assert!(
        world.failures.contains(&error),
        "{fault:?}: {:?}",
        world.failures
    );
    assert!(world.failures.len() <= 40, "{fault:?}: no back-off");
    assert_eq!(
        u64::try_from(world.failures.len()).unwrap(),
        world.lead.counts().source_errors
    );
    world.fault = Fault::None;
    world.run(75_000);
    assert_eq!(
        world.shown("app"),
        "1A 2V 3A",
        "{fault:?}: it does not recover"
    );
    assert!(
        world.now_ms - world.confirmed_ms("app") <= 5_000,
        "{fault:?}"
    );
}

#[test]
fn admin_that_answers_badly_changes_nothing_and_recovers() {
    for (fault, error) in FAULTS {
        let mut world = World::new(r#"{"clusters": [{"name": "app"}], "drain_window": "5m"}"#);
        world.list("app", [healthy(1), healthy(2)]);
        fails(world, fault, error, |world| {
            world.list("app", [healthy(1), healthy(3)]);
        });
    }
}

#[test]
fn feed_that_answers_badly_changes_nothing_and_recovers() {
    for (fault, error) in FAULTS {
        let mut world = World::new(
            r#"{"clusters": [{"name": "app"}], "source": {"feed": {}}, "drain_window": "5m"}"#,
        );
        let addresses = |numbers: [u8; 2]| numbers.map(|number| format!("10.0.0.{number}:80"));
        world.feed = feed_json("app", addresses([1, 2]));
        fails(world, fault, error, |world| {
            let addresses = [1, 3].map(|number| format!("10.0.0.{number}:80"));
            world.feed = feed_json("app", addresses);
        });
    }
}

#[test]
fn feed_with_a_fault_anywhere_is_not_used_at_all() {
    let endpoints = |text: &str| {
        format!(r#"{{"version": 1, "clusters": [{{"name": "app", "endpoints": [{text}]}}]}}"#)
    };
    let many = (0..100_000_u32).map(|n| {
        let (a, b, c) = (n / 65_536, n / 256 % 256, n % 256);
        format!(r#"{{"address": "10.{a}.{b}.{c}:80"}}"#)
    });
    let cases = [
        endpoints(r#"{"address": "10.0.0.3:80"}, {"address": "10.0.0.3:80"}"#),
        endpoints(r#"{"address": "10.0.0.3:80", "weight": "heavy"}"#),
        endpoints(r#"{"address": 3}"#),
        endpoints(&many.collect::<Vec<_>>().join(",")),
        r#"{"version": 2, "clusters": []}"#.to_owned(),
        r#"{"clusters": []}"#.to_owned(),
        "[]".to_owned(),
        String::new(),
    ];
    for text in cases {
        let mut world = World::new(r#"{"clusters": [{"name": "app"}], "source": {"feed": {}}}"#);
        world.feed = feed_json("app", ["10.0.0.1:80".to_owned()]);
        world.run(3_000);
        let shown: String = text.chars().take(60).collect();
        world.feed = text.into_bytes();
        world.run(30_000);
        assert_eq!(world.shown("app"), "1A", "{shown}");
        assert!(world.failures.contains(&SourceError::Unreadable), "{shown}");
        assert!(world.now_ms - world.confirmed_ms("app") > 25_000, "{shown}");
    }
}

#[test]
fn cluster_that_a_feed_lacks_ages_while_the_others_do_not() {
    let mut world =
        World::new(r#"{"clusters": [{"name": "app"}, {"name": "shop"}], "source": {"feed": {}}}"#);
    world.feed = br#"{"version": 1, "clusters": [
        {"name": "shop", "endpoints": [{"address": "10.0.0.2:80"}]},
        {"name": "app", "endpoints": [{"address": "10.0.0.1:80"}]}]}"#
        .to_vec();
    world.run(3_000);
    world.feed = feed_json("shop", ["10.0.0.2:80".to_owned()]);
    world.run(30_000);
    assert_eq!(
        (world.shown("app"), world.shown("shop")),
        ("1A".into(), "2A".into())
    );
    assert!(world.now_ms - world.confirmed_ms("app") > 25_000);
    assert!(world.now_ms - world.confirmed_ms("shop") < 5_000);
}

#[test]
fn write_that_the_host_refuses_is_made_again_and_no_version_names_it_meanwhile() {
    let mut world = World::new(r#"{"clusters": [{"name": "app"}]}"#);
    world.list("app", [healthy(1)]);
    world.refuses = |key| key.contains(".snapshot.");
    world.run(5_000);
    assert_eq!(world.shown("app"), "-");
    world.refuses = |key| key.ends_with(".versions");
    world.run(5_000);
    assert_eq!(world.shown("app"), "-");
    world.refuses = |_| false;
    world.tick();
    assert_eq!(world.shown("app"), "1A");
    // A snapshot that cannot be replaced goes out of the versions: readers keep what they hold.
    world.list("app", [healthy(1), healthy(2)]);
    world.refuses = |key| key.contains(".snapshot.");
    world.run(5_000);
    assert_eq!(world.version("app"), None);
    world.refuses = |_| false;
    world.run(1_000);
    assert_eq!(world.shown("app"), "1A 2A");
}
