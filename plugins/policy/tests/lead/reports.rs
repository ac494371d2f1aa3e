//! What the workers report becomes part of the picture.

use tidegate_policy::{
    endpoints::{Attempt, TICK_PERIOD},
    slots::SlotIndex,
};

use crate::{
    workers::{OK, Worker, step},
    world::{Given, World, at, healthy},
};

fn settled() -> World {
    let mut world = World::new(r#"{"clusters": [{"name": "app"}]}"#);
    world.list("app", [healthy(1), healthy(2)]);
    world.run(3_000);
    world
}

#[test]
fn largest_estimate_of_all_workers_is_published() {
    let mut world = settled();
    let mut workers = [Worker::new(&world, 0), Worker::new(&world, 1)];
    step(&mut world, &mut workers);
    workers[0].saw(&world, 1, OK);
    workers[1].saw(&world, 1, Attempt::Success { latency_us: 90_000 });
    step(&mut world, &mut workers);
    step(&mut world, &mut workers);
    let latency = world.endpoint("app", 1).latency.unwrap();
    assert_eq!(latency.estimate_us.get(), 90_000);
    assert_eq!(world.endpoint("app", 2).latency, None);
}

#[test]
fn row_of_failures_is_that_of_all_workers_together() {
    let mut world = settled();
    let mut workers = [Worker::new(&world, 0), Worker::new(&world, 1)];
    step(&mut world, &mut workers);
    for _ in 0..3 {
        workers[0].saw(&world, 2, Attempt::GatewayFailure);
        workers[1].saw(&world, 2, Attempt::GatewayFailure);
        step(&mut world, &mut workers);
    }
    step(&mut world, &mut workers);
    assert_eq!(world.endpoint("app", 2).failures.gateway_in_row, 6);
    workers[0].saw(&world, 2, OK);
    step(&mut world, &mut workers);
    step(&mut world, &mut workers);
    assert_eq!(world.endpoint("app", 2).failures.gateway_in_row, 0);
}

#[test]
fn steady_load_with_single_failures_publishes_about_once_a_second() {
    let mut world = settled();
    let mut workers = [Worker::new(&world, 0)];
    step(&mut world, &mut workers);
    let before = world.lead.counts().published;
    for tick in 0..40 {
        workers[0].saw(&world, 1, OK);
        if tick % 2 == 0 {
            workers[0].saw(&world, 1, Attempt::GatewayFailure);
        }
        step(&mut world, &mut workers);
    }
    let published = world.lead.counts().published - before;
    assert!((5..=12).contains(&published), "{published} in ten seconds");
}

#[test]
fn learned_endpoints_are_those_that_served_and_are_forgotten_after_long_silence() {
    let json = r#"{"clusters": [{"name": "app"}], "source": {"learned": {}},
        "probe": {"interval": "5s"}}"#;
    let mut world = World::new(json);
    let mut workers = [Worker::new(&world, 0)];
    step(&mut world, &mut workers);
    assert_eq!(world.shown("app"), "-");
    workers[0].saw(&world, 1, OK);
    workers[0].saw(&world, 2, OK);
    for _ in 0..4 {
        step(&mut world, &mut workers);
    }
    assert_eq!(world.shown("app"), "1U 2U");
    assert_eq!(world.endpoint("app", 1).since.at.as_ns(), 0);
    world.readiness.insert(2, Given::status(500));
    for _ in 0..100 {
        step(&mut world, &mut workers);
    }
    assert_eq!(world.shown("app"), "1A 2E");
    // A takeover forgets neither of them, and learns on.
    world.take_over(&["app"]);
    step(&mut world, &mut workers);
    assert_eq!(world.shown("app"), "1A 2E");
    workers[0].saw(&world, 3, OK);
    for _ in 0..4 {
        step(&mut world, &mut workers);
    }
    assert_eq!(world.shown("app"), "1A 2E 3U");
    assert!(world.now_ms - world.confirmed_ms("app") < 1_500);
    let ticks = 620_000 / u64::try_from(TICK_PERIOD.as_millis()).unwrap();
    for tick in 0..ticks {
        if tick % 400 == 0 {
            // It serves on; the others are silent.
            workers[0].saw(&world, 1, OK);
        }
        step(&mut world, &mut workers);
    }
    assert_eq!(world.shown("app"), "1A");
}

#[test]
fn slots_with_nonsense_are_nothing() {
    let mut world = settled();
    let slots = [b"".as_slice(), b"nonsense", &[0xff; 300]];
    let read = SlotIndex::all().zip(slots.into_iter().map(Some));
    world.lead.on_reports(read, at(world.now_ms));
    world.tick();
    assert_eq!(world.shown("app"), "1A 2A");
    assert_eq!(world.lead.counts().published, 1);
}
