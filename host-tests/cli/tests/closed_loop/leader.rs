//! The lease over the host's shared data: one leader among all VMs, whatever happens to them.

use super::support::{Ran, run_with};

/// Runs the leader's guest for twenty seconds with so many workers; `requests` are more of the list, `rest` more of the
/// scenario.
fn led(workers: u32, requests: &str, rest: &str, seed: u64) -> Ran {
    run_with(
        &format!(
            "duration: 20s
workers: {workers}
traffic:
  - requests: {{ list: [ {{ at: 100ms }}{requests} ] }}
filters: [{{ plugin: {{ module: leader, on_trap: fail_open }} }}]
clusters: [{{ name: app, endpoints: [{{ address: '10.0.0.1:80' }}] }}]
{rest}"
        ),
        seed,
    )
}

/// Ticks come every 250 ms: 80 in twenty seconds.
const TICKS: f64 = 80.0;

/// Ticks of the 2 s that a takeover may take.
const TAKEOVER: f64 = 8.0;

#[test]
fn one_vm_leads_at_a_time_whatever_the_number_of_workers() {
    for workers in [1, 4, 16, 64] {
        for seed in [1, 2] {
            let ran = led(workers, "", "", seed);
            let led = ran.figure("metrics.leader_ticks_led");
            // Nobody leads at most at two ticks: of a hand-over to a VM without streams.
            assert!(
                (TICKS - 3.0..=TICKS).contains(&led),
                "{workers} workers: {led}"
            );
            assert_eq!(ran.figure("metrics.leader_errors").to_string(), "0");
        }
    }
}

#[test]
fn lease_is_taken_over_within_two_seconds_of_the_holders_death() {
    // Every worker dies: whoever held the lease, if it was one of them, is among them.
    let die = (0..24).map(|client| {
        format!(", {{ at: 5s, client: {client}, request: {{ headers: {{ x-die: 'yes' }} }} }}")
    });
    let die: String = die.collect();
    for seed in 1..=6 {
        let ran = led(4, &die, "", seed);
        assert_eq!(ran.traps.len(), 4, "{:?}", ran.traps);
        let led = ran.figure("metrics.leader_ticks_led");
        assert!(
            (TICKS - TAKEOVER - 3.0..=TICKS).contains(&led),
            "seed {seed}: {led}"
        );
    }
}

#[test]
fn host_that_refuses_shared_data_for_a_while_has_no_leader_and_then_one() {
    for call in ["proxy_get_shared_data", "proxy_set_shared_data"] {
        let rest = format!("faults: [{{ call: {call}, from: 5s, until: 10s }}]");
        let ran = led(2, "", &rest, 1);
        let led = ran.figure("metrics.leader_ticks_led");
        // Five seconds without, a second of which the last renewal still counts, and a takeover.
        assert!(
            (TICKS - 20.0 - TAKEOVER - 3.0..=TICKS - 14.0).contains(&led),
            "{call}: {led}"
        );
        assert!(ran.figure("metrics.leader_errors") > 0.0, "{call}");
        assert!(ran.traps.is_empty());
    }
}

#[test]
fn neighbours_nonsense_under_the_key_is_taken_over() {
    // The probe writes under the lease's key, of the same VM ID, every second.
    let ran = run_with(
        r#"duration: 20s
workers: 2
traffic: [ { requests: { list: [ {} ] } } ]
filters:
  - plugin: { module: leader, vm_id: shared }
  - plugin:
      module: probe
      vm_id: shared
      configuration: |
        name a
        configure:
          set_tick_period_milliseconds 1000
        tick:
          set_shared_data "tidegate.leader.lease.1" "nonsense" 0
clusters: [{ name: app, endpoints: [{ address: '10.0.0.1:80' }] }]"#,
        1,
    );
    let led = ran.figure("metrics.leader_ticks_led");
    // After each of twenty writes a holder may believe once more what another has taken over, in a newer epoch.
    assert!((TICKS / 2.0..=TICKS + 22.0).contains(&led), "{led}");
    assert!(
        ran.figure("metrics.leader_epoch") > 1_000.0,
        "its epoch is beyond any that was known"
    );
    assert!(ran.traps.is_empty());
}
