//! The clock stands still, steps back, and jumps.

use crate::world::{Given, World, at, healthy};

const PROBED: &str = r#"{"clusters": [{"name": "app"}], "drain_window": "10s",
    "probe": {"interval": "1s", "timeout": "500ms"}}"#;

fn settled() -> World {
    let mut world = World::new(PROBED);
    world.now_ms = 1_000_000;
    world.list("app", [healthy(1), healthy(2)]);
    world.run(5_000);
    assert_eq!(world.shown("app"), "1A 2A");
    world
}

#[test]
fn clock_that_stands_still_keeps_everybody_and_asks_nothing_twice() {
    let mut world = settled();
    let mut calls = 0;
    for _ in 0..1_000 {
        world.tick_now();
        calls += world.calls.len();
    }
    assert!(calls <= 4, "{calls}");
    assert_eq!(world.shown("app"), "1A 2A");
    // It goes on as if nothing had been.
    world.list("app", [healthy(1)]);
    world.run(3_000);
    assert_eq!(world.shown("app"), "1A 2V");
}

#[test]
fn clock_that_steps_back_costs_no_endpoint_and_asks_again_soon() {
    let mut world = settled();
    world.now_ms -= 900_000;
    world.list("app", [healthy(1), healthy(3)]);
    world.run(5_000);
    assert_eq!(world.shown("app"), "1A 2V 3A");
    world.readiness.insert(1, Given::status(500));
    world.run(6_000);
    assert!(world.shown("app").starts_with("1E"));
    // The window of the vanished one began before the step and ends no later than one after it.
    world.run(10_000);
    assert_eq!(world.shown("app"), "1E 3A");
    assert!(world.now_ms - world.confirmed_ms("app") < 5_000);
}

#[test]
fn session_of_today_is_not_refused_for_an_endpoint_that_joined_before_a_step_back() {
    let mut world = settled();
    world.list("app", [healthy(1), healthy(2), healthy(3)]);
    world.run(3_000);
    assert!(world.endpoint("app", 3).since.at > at(1_000_000));
    world.now_ms -= 900_000;
    world.run(2_000);
    assert!(world.endpoint("app", 3).since.at <= at(world.now_ms));
}

#[test]
fn clock_that_jumps_a_year_ejects_nobody_and_asks_once_each() {
    let mut world = settled();
    world.list("app", [healthy(1)]);
    world.run(3_000);
    assert_eq!(world.shown("app"), "1A 2V");
    world.now_ms += 31_536_000_000;
    world.tick();
    assert!(world.calls.len() <= 2, "{:?}", world.calls);
    world.run(2_000);
    assert_eq!(world.shown("app"), "1A");
    assert!(world.now_ms - world.confirmed_ms("app") < 5_000);
}
