//! Many VMs over one map: whatever the order, whoever dies, stalls or has a wrong clock, and
//! whatever a neighbour writes, there is one leader, soon again after one died, and 64 slots.
//!
//! `TIDEGATE_SIMULATION_STEPS` sets how many steps each run takes; the seeds are fixed, so that
//! more steps are the same ones and more.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "VMs are named by their index")]

mod simulation;

use simulation::{Faults, Run, World};

/// Is how many steps an ordinary run takes; a step is a read, a decision or a write of one VM.
const STEPS: u64 = 250_000;

fn steps() -> u64 {
    std::env::var("TIDEGATE_SIMULATION_STEPS").map_or(STEPS, |steps| steps.parse().unwrap())
}

/// Lets VMs go through faults and then through a calm, and checks what must be true at the end.
fn simulate(vms: usize, faults: Faults, seed: u64) -> Run {
    let mut world = World::new(vms, faults, seed);
    world.run_steps(steps());
    world.calm_down();
    world.check_the_calm();
    world.run()
}

/// Says that somebody led most of the time: a leader publishes at each of its 3.4 ticks a second.
#[track_caller]
fn assert_no_livelock(vms: usize, run: &Run) {
    assert!(
        run.publications > run.virtual_seconds * 5 / 2,
        "{vms} VMs: {run:?}"
    );
}

#[test]
fn vms_with_sane_clocks_never_believe_to_lead_at_the_same_time() {
    for vms in [1, 4, 16, 64] {
        let run = simulate(vms, Faults::DEATHS_AND_STALLS, 1);
        std::println!("{vms} VMs: {run:?}");
        assert!(run.deaths > 10 && run.takeovers > 10, "{vms} VMs: {run:?}");
        assert_eq!(run.most_believers, 1, "{vms} VMs: {run:?}");
        // LEASE + 2 × 333 ms, and what the tick itself takes.
        assert!(run.latest_takeover_us <= 1_667_000, "{vms} VMs: {run:?}");
        assert_no_livelock(vms, &run);
    }
}

#[test]
fn vms_with_wrong_clocks_and_a_neighbour_never_lead_in_the_same_epoch() {
    let (mut most_believers, mut refused_publications) = (0, 0);
    for vms in [1, 4, 16, 64] {
        let run = simulate(vms, Faults::ALL, 2);
        std::println!("{vms} VMs: {run:?}");
        assert!(
            run.garbage > 10 && run.clock_steps > 10,
            "{vms} VMs: {run:?}"
        );
        assert_no_livelock(vms, &run);
        most_believers = most_believers.max(run.most_believers);
        refused_publications += run.refused_publications;
    }
    // The faults did what they are for: two believed at once, and one was told that it is old.
    assert!(most_believers > 1 && refused_publications > 0);
}

#[test]
fn vm_too_many_has_no_slot_and_everything_else_goes_on() {
    let run = simulate(65, Faults::DEATHS_AND_STALLS, 3);
    assert_eq!(run.slots, 64);
    assert!(run.without_slot > 0);
}
