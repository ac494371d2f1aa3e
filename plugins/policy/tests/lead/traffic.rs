//! What an endpoint's traffic makes of the picture, from the attempts that workers see to what they
//! read.

use tidegate_policy::{
    endpoints::Attempt,
    snapshot::{EjectionCause, State},
};

use crate::{
    workers::{OK, Worker, run, step},
    world::{Fault, Given, World, at, healthy},
};

const PLAIN: &str = r#"{"clusters": [{"name": "app"}]}"#;

const PROBED: &str = r#"{"clusters": [{"name": "app"}],
    "probe": {"interval": "1s", "timeout": "500ms", "healthy_after": 1}}"#;

/// Is how long the first ejection lasts at most: a draw takes up to a tenth off.
const FIRST: u64 = 30_000;

/// Is a cluster of so many endpoints, which workers know.
fn settled(json: &str, endpoints: u8, workers: u8) -> (World, Vec<Worker>) {
    let mut world = World::new(json);
    world.list("app", (1..=endpoints).map(healthy));
    let mut workers: Vec<Worker> = (0..workers)
        .map(|number| Worker::new(&world, number))
        .collect();
    run(&mut world, &mut workers, 5_000);
    assert_eq!(
        world.shown("app").matches('A').count(),
        usize::from(endpoints)
    );
    (world, workers)
}

/// Ejects an endpoint by a row of gateway failures.
fn eject(world: &mut World, workers: &mut [Worker], number: u8) {
    for _ in 0..5 {
        workers[0].saw(world, number, Attempt::GatewayFailure);
    }
    step(world, workers);
    assert!(matches!(
        world.endpoint("app", number).state,
        State::Ejected { .. }
    ));
}

#[test]
fn five_gateway_failures_in_a_row_over_sixteen_workers_eject_once() {
    let (mut world, mut workers) = settled(PLAIN, 10, 16);
    for failures in 1..=5 {
        assert_eq!(world.ejected, []);
        workers[failures * 3].saw(&world, 3, Attempt::GatewayFailure);
        step(&mut world, &mut workers);
    }
    assert_eq!(world.ejected, [EjectionCause::GatewayRow]);
    let endpoint = world.endpoint("app", 3);
    assert_eq!(endpoint.failures.gateway_in_row, 5);
    assert_eq!(endpoint.failures.ejections, 1);
    assert_eq!(endpoint.ejected_for, EjectionCause::GatewayRow);
    // Every worker has read it, and none of the others is ejected.
    for worker in &workers {
        assert_eq!(worker.endpoint(&world, 3), Some(endpoint));
        assert_eq!(worker.follower.workers().get(), 16);
    }
    assert_eq!(world.shown("app").matches('A').count(), 9);
    // What was on its way fails as well, and ejects nobody again.
    for worker in &mut workers {
        worker.saw(&world, 3, Attempt::GatewayFailure);
    }
    run(&mut world, &mut workers, 5_000);
    assert_eq!(world.ejected.len(), 1);
}

#[test]
fn row_that_one_success_anywhere_ends_ejects_nobody() {
    let (mut world, mut workers) = settled(PLAIN, 10, 16);
    for round in 0..20 {
        let attempt = if round % 5 == 4 {
            OK
        } else {
            Attempt::LocalFailure
        };
        workers[round % 16].saw(&world, 3, attempt);
        for number in [1, 2, 4] {
            for _ in 0..3 {
                workers[round % 16].saw(&world, number, OK);
            }
        }
        step(&mut world, &mut workers);
    }
    assert!(!world.ejected.contains(&EjectionCause::LocalRow));
    for _ in 0..5 {
        workers[7].saw(&world, 4, Attempt::LocalFailure);
    }
    step(&mut world, &mut workers);
    assert_eq!(world.ejected.last(), Some(&EjectionCause::LocalRow));
}

#[test]
fn failure_that_all_share_ejects_nobody() {
    let (mut world, mut workers) = settled(PLAIN, 10, 4);
    for _ in 0..40 {
        for worker in &mut workers {
            for number in 1..=10 {
                worker.saw(&world, number, Attempt::GatewayFailure);
            }
        }
        step(&mut world, &mut workers);
    }
    assert_eq!(world.ejected, []);
    assert_eq!(world.shown("app").matches('A').count(), 10);
}

#[test]
fn one_of_two_may_be_ejected_and_never_both() {
    let (mut world, mut workers) = settled(PLAIN, 2, 2);
    workers[1].saw(&world, 1, OK);
    eject(&mut world, &mut workers, 2);
    assert_eq!(world.shown("app"), "1A 2E");
    for _ in 0..10 {
        workers[1].saw(&world, 1, Attempt::LocalFailure);
    }
    step(&mut world, &mut workers);
    assert_eq!(world.shown("app"), "1A 2E");
    assert_eq!(world.ejected.len(), 1);
}

#[test]
fn endpoint_is_spared_where_too_few_others_are_available() {
    let json = r#"{"clusters": [{"name": "app"}], "ejection": {"min_available_ratio": 0.9}}"#;
    let (mut world, mut workers) = settled(json, 10, 1);
    // The others have enough traffic to say what is usual.
    for number in [1, 4, 5, 6] {
        for _ in 0..20 {
            workers[0].saw(&world, number, OK);
        }
    }
    eject(&mut world, &mut workers, 2);
    for _ in 0..5 {
        workers[0].saw(&world, 3, Attempt::GatewayFailure);
    }
    step(&mut world, &mut workers);
    assert_eq!(world.shown("app").matches('E').count(), 1);
    assert_eq!(world.lead.counts().ejections_spared, 1);
}

/// Who has left is no member of which a share may be ejected.
#[test]
fn endpoint_that_vanished_makes_no_room_for_ejections() {
    let json = r#"{"clusters": [{"name": "app"}], "ejection": {"min_available_ratio": 0.7}}"#;
    let (mut world, mut workers) = settled(json, 7, 1);
    world.list("app", (1..=4).map(healthy));
    run(&mut world, &mut workers, 3_000);
    assert_eq!(world.shown("app"), "1A 2A 3A 4A 5V 6V 7V");
    for number in [1, 4] {
        for _ in 0..20 {
            workers[0].saw(&world, number, OK);
        }
    }
    eject(&mut world, &mut workers, 2);
    for _ in 0..5 {
        workers[0].saw(&world, 3, Attempt::GatewayFailure);
    }
    step(&mut world, &mut workers);
    assert_eq!(world.shown("app"), "1A 2E 3A 4A 5V 6V 7V");
    assert_eq!(world.lead.counts().ejections_spared, 1);
}

#[test]
fn endpoint_that_fails_more_than_the_others_is_ejected_without_a_row() {
    let (mut world, mut workers) = settled(PLAIN, 4, 2);
    for round in 0..12 {
        for worker in &mut workers {
            for number in 1..=4 {
                worker.saw(&world, number, OK);
                let fails = number == 2 && round % 2 == 0;
                worker.saw(
                    &world,
                    number,
                    if fails { Attempt::GatewayFailure } else { OK },
                );
                worker.saw(
                    &world,
                    number,
                    if fails { Attempt::GatewayFailure } else { OK },
                );
                worker.saw(
                    &world,
                    number,
                    if fails { Attempt::GatewayFailure } else { OK },
                );
            }
        }
        step(&mut world, &mut workers);
    }
    assert_eq!(world.ejected, [EjectionCause::ExcessRate]);
    assert_eq!(world.shown("app"), "1A 2E 3A 4A");
}

#[test]
fn trial_by_a_request_readmits_with_a_slow_start_or_ejects_for_longer() {
    let (mut world, mut workers) = settled(PLAIN, 3, 2);
    eject(&mut world, &mut workers, 2);
    run(&mut world, &mut workers, FIRST * 9 / 10 - 1_000);
    assert_eq!(world.shown("app"), "1A 2E 3A");
    run(&mut world, &mut workers, FIRST / 10 + 1_000);
    assert_eq!(world.shown("app"), "1A 2P 3A");
    workers[1].saw(&world, 2, Attempt::LocalFailure);
    step(&mut world, &mut workers);
    assert_eq!(
        world.ejected,
        [EjectionCause::GatewayRow, EjectionCause::TrialFailed]
    );
    let endpoint = world.endpoint("app", 2);
    assert_eq!(endpoint.failures.ejections, 2);
    assert_eq!(endpoint.ejected_for, EjectionCause::TrialFailed);
    run(&mut world, &mut workers, FIRST);
    assert_eq!(world.shown("app"), "1A 2E 3A");
    run(&mut world, &mut workers, FIRST + 1_000);
    assert_eq!(world.shown("app"), "1A 2P 3A");
    assert_eq!(world.readmitted, 0);
    workers[0].saw(&world, 2, OK);
    step(&mut world, &mut workers);
    assert_eq!(world.readmitted, 1);
    let slow_start = Some(at(world.now_ms));
    assert_eq!(
        world.endpoint("app", 2).state,
        State::Available { slow_start }
    );
    // Two ejections are forgiven one by one, and that is published.
    run(&mut world, &mut workers, FIRST);
    assert_eq!(world.endpoint("app", 2).failures.ejections, 1);
    run(&mut world, &mut workers, FIRST);
    assert_eq!(world.endpoint("app", 2).failures.ejections, 0);
    assert_eq!(
        world.endpoint("app", 2).state,
        State::Available { slow_start }
    );
}

#[test]
fn trial_by_a_probe_readmits_and_a_failed_one_ejects_again() {
    let (mut world, mut workers) = settled(PROBED, 3, 1);
    eject(&mut world, &mut workers, 2);
    // While it is ejected its probes succeed, which readmits nobody.
    run(&mut world, &mut workers, FIRST * 9 / 10 - 1_000);
    assert_eq!(
        (world.shown("app").as_str(), world.readmitted),
        ("1A 2E 3A", 0)
    );
    run(&mut world, &mut workers, FIRST / 10 + 3_000);
    assert_eq!(
        (world.shown("app").as_str(), world.readmitted),
        ("1A 2A 3A", 1)
    );
    let State::Available { slow_start } = world.endpoint("app", 2).state else {
        panic!("not available");
    };
    assert!(slow_start.is_some());
    // Again, and this time one probe fails as the trial comes.
    eject(&mut world, &mut workers, 2);
    let mut ticks = 0;
    while world.endpoint("app", 2).state != State::Probing {
        step(&mut world, &mut workers);
        ticks += 1;
        assert!(ticks < 300, "no trial came");
    }
    world.readiness.insert(2, Given::status(500));
    while world.ejected.len() < 3 {
        step(&mut world, &mut workers);
        ticks += 1;
        assert!(ticks < 310, "the trial did not fail");
    }
    assert_eq!(world.ejected.last(), Some(&EjectionCause::TrialFailed));
    assert_eq!(world.readmitted, 1);
}

#[test]
fn who_is_not_ready_is_that_whatever_its_traffic_does() {
    let (mut world, mut workers) = settled(PROBED, 3, 1);
    eject(&mut world, &mut workers, 2);
    world.readiness.insert(2, Given::status(500));
    run(&mut world, &mut workers, 2 * FIRST);
    assert_eq!(world.shown("app"), "1A 2E 3A");
    // It is on trial and answers, though nobody should have asked it; it is not ready all the same.
    workers[0].saw(&world, 2, OK);
    run(&mut world, &mut workers, 5_000);
    assert_eq!(world.shown("app"), "1A 2E 3A");
    world.readiness.remove(&2);
    run(&mut world, &mut workers, 10_000);
    assert_eq!(world.shown("app"), "1A 2A 3A");
    // Readiness alone readmits nobody whose traffic fails.
    eject(&mut world, &mut workers, 3);
    run(&mut world, &mut workers, 10_000);
    assert_eq!(world.shown("app"), "1A 2A 3E");
}

#[test]
fn endpoint_that_leaves_while_it_is_ejected_comes_back_as_another() {
    let (mut world, mut workers) = settled(PLAIN, 3, 1);
    eject(&mut world, &mut workers, 2);
    world.list("app", [1, 3].map(healthy));
    run(&mut world, &mut workers, 3_000);
    assert_eq!(world.shown("app"), "1A 2V 3A");
    world.list("app", [1, 2, 3].map(healthy));
    run(&mut world, &mut workers, 3_000);
    assert_eq!(world.shown("app"), "1A 2A 3A");
    let endpoint = world.endpoint("app", 2);
    assert_eq!(
        (endpoint.failures.ejections, endpoint.since.generation),
        (0, 2)
    );
    // Its first life's ejection and row are not its own.
    for _ in 0..4 {
        workers[0].saw(&world, 2, Attempt::GatewayFailure);
    }
    step(&mut world, &mut workers);
    assert_eq!(world.shown("app"), "1A 2A 3A");
}

#[test]
fn takeover_keeps_ejections_trials_rows_and_what_is_not_forgiven() {
    let (mut world, mut workers) = settled(PROBED, 6, 1);
    eject(&mut world, &mut workers, 2);
    for _ in 0..4 {
        workers[0].saw(&world, 3, Attempt::GatewayFailure);
    }
    step(&mut world, &mut workers);
    let before = [2, 3].map(|number| world.endpoint("app", number));
    // The source says nothing that could mend what a takeover spoiled.
    world.fault = Fault::Never;
    for _ in 0..3 {
        world.take_over(&["app"]);
        run(&mut world, &mut workers, 1_000);
        let after = [2, 3].map(|number| world.endpoint("app", number));
        assert_eq!(after, before);
    }
    // Of a worker's first report a new leader cannot tell what the last one counted.
    workers[0].saw(&world, 1, OK);
    step(&mut world, &mut workers);
    // One more failure makes the row whole, in whose term whatever.
    workers[0].saw(&world, 3, Attempt::GatewayFailure);
    step(&mut world, &mut workers);
    assert_eq!(world.shown("app"), "1A 2E 3E 4A 5A 6A");
    // Its trial comes when it was to come, and its probe decides.
    run(&mut world, &mut workers, FIRST + 5_000);
    assert_eq!(world.shown("app"), "1A 2A 3A 4A 5A 6A");
    assert_eq!(world.readmitted, 2);
    world.take_over(&["app"]);
    run(&mut world, &mut workers, 1_000);
    assert_eq!(world.endpoint("app", 2).failures.ejections, 1);
    run(&mut world, &mut workers, FIRST + 1_000);
    assert_eq!(world.endpoint("app", 2).failures.ejections, 0);
}

#[test]
fn trial_that_a_predecessor_left_is_decided_by_the_next_leader() {
    let (mut world, mut workers) = settled(PLAIN, 3, 1);
    eject(&mut world, &mut workers, 2);
    run(&mut world, &mut workers, FIRST + 1_000);
    assert_eq!(world.shown("app"), "1A 2P 3A");
    world.take_over(&["app"]);
    run(&mut world, &mut workers, 1_000);
    assert_eq!(world.shown("app"), "1A 2P 3A");
    workers[0].saw(&world, 1, OK);
    step(&mut world, &mut workers);
    workers[0].saw(&world, 2, OK);
    step(&mut world, &mut workers);
    assert_eq!(world.shown("app"), "1A 2A 3A");
    assert_eq!(world.endpoint("app", 2).failures.ejections, 1);
}

#[test]
fn without_ejections_no_traffic_makes_a_difference() {
    let json = r#"{"clusters": [{"name": "app"}], "ejection": null}"#;
    let (mut world, mut workers) = settled(json, 3, 2);
    for _ in 0..20 {
        workers[0].saw(&world, 2, Attempt::GatewayFailure);
        step(&mut world, &mut workers);
    }
    assert_eq!(world.shown("app"), "1A 2A 3A");
    assert_eq!(
        (world.ejected.len(), world.lead.counts().ejections_spared),
        (0, 0)
    );
}

#[test]
fn steady_traffic_beside_an_ejection_publishes_no_more_than_without() {
    let (mut world, mut workers) = settled(PLAIN, 10, 2);
    eject(&mut world, &mut workers, 2);
    let before = world.lead.counts().published;
    for _ in 0..40 {
        for number in [1, 3, 4] {
            workers[0].saw(&world, number, OK);
        }
        step(&mut world, &mut workers);
    }
    let published = world.lead.counts().published - before;
    assert!(published <= 12, "{published} in ten seconds");
}
