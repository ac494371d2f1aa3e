//! Circuit breakers and the connections that requests wait for.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::router::{Asked, Breakers, Freed, Pool, Served};
use crate::scenario::CircuitBreakers;

fn limits(connections: u32, pending: u32, requests: u32) -> Breakers {
    Breakers::new(CircuitBreakers {
        max_connections: connections,
        max_pending_requests: pending,
        max_requests: requests,
        ..CircuitBreakers::default()
    })
}

const fn begins(id: u64) -> Served {
    Served { id, begins: true }
}

#[test]
fn the_first_request_waits_for_its_connection() {
    let mut breakers = limits(2, 2, 2);
    let mut pool = Pool::default();
    assert_eq!(pool.ask(1, &mut breakers), Asked::Waits { connects: 1 });
    assert_eq!(
        (breakers.pending, breakers.requests, breakers.connections),
        (1, 0, 1)
    );
    assert_eq!(pool.on_connected(&mut breakers), [begins(1)]);
    assert_eq!(
        (breakers.pending, breakers.requests, breakers.connections),
        (0, 1, 1)
    );
    assert_eq!(pool.on_ended(true, &mut breakers), Freed::default());
    assert_eq!(pool.ask(2, &mut breakers), Asked::Begins);
    assert_eq!(pool.connections(), 1);
}

#[test]
fn without_room_to_wait_a_cold_cluster_serves_nobody() {
    let mut breakers = limits(1, 0, 9);
    let mut pool = Pool::default();
    assert_eq!(pool.ask(1, &mut breakers), Asked::Full);
    assert_eq!(breakers.connections, 0);
}

#[test]
fn one_connection_and_one_that_waits_leave_the_third_out() {
    let mut breakers = limits(1, 1, 9);
    let mut pool = Pool::default();
    assert_eq!(pool.ask(1, &mut breakers), Asked::Waits { connects: 1 });
    assert_eq!(pool.on_connected(&mut breakers), [begins(1)]);
    assert_eq!(pool.ask(2, &mut breakers), Asked::Waits { connects: 0 });
    assert_eq!(pool.ask(3, &mut breakers), Asked::Full);
    assert_eq!(pool.on_ended(true, &mut breakers).served, [begins(2)]);
    assert_eq!(pool.ask(4, &mut breakers), Asked::Waits { connects: 0 });
}

#[test]
fn those_that_wait_are_no_requests_under_way_and_are_served_in_order() {
    let mut breakers = limits(1, 5, 1);
    let mut pool = Pool::default();
    pool.ask(1, &mut breakers);
    pool.on_connected(&mut breakers);
    for id in 2..5 {
        assert_eq!(pool.ask(id, &mut breakers), Asked::Waits { connects: 0 });
    }
    for id in 2..5 {
        assert_eq!(pool.on_ended(true, &mut breakers).served, [begins(id)]);
    }
}

#[test]
fn a_request_beyond_the_most_overflows_when_its_connection_is_there() {
    let mut breakers = limits(9, 9, 1);
    let mut pool = Pool::default();
    pool.ask(1, &mut breakers);
    pool.on_connected(&mut breakers);
    assert_eq!(pool.ask(2, &mut breakers), Asked::Waits { connects: 1 });
    let refused = Served {
        id: 2,
        begins: false,
    };
    assert_eq!(pool.on_connected(&mut breakers), [refused]);
    // The connection stays, and the next one overflows at once.
    assert_eq!(pool.ask(3, &mut breakers), Asked::Overflows);
    assert_eq!(
        (breakers.requests, breakers.pending, breakers.connections),
        (1, 0, 2)
    );
}

#[test]
fn a_pool_without_connections_makes_one_whatever_the_others_have() {
    let mut breakers = limits(0, 9, 9);
    let mut here = Pool::default();
    let mut there = Pool::default();
    assert_eq!(here.ask(1, &mut breakers), Asked::Waits { connects: 1 });
    assert_eq!(here.ask(2, &mut breakers), Asked::Waits { connects: 0 });
    assert_eq!(there.ask(3, &mut breakers), Asked::Waits { connects: 1 });
    assert_eq!(breakers.connections, 2);
    assert_eq!(here.on_connected(&mut breakers), [begins(1)]);
    assert_eq!(here.on_ended(true, &mut breakers).served, [begins(2)]);
}

/// By the source: `ConnPoolImplBase::onConnectionEvent`.
#[test]
fn a_connection_that_fails_takes_all_that_wait_with_it() {
    let mut breakers = limits(9, 9, 9);
    let mut pool = Pool::default();
    pool.ask(1, &mut breakers);
    pool.ask(2, &mut breakers);
    assert_eq!(pool.on_connect_failed(&mut breakers), [1, 2]);
    assert_eq!((breakers.pending, breakers.connections), (0, 1));
    // The second connection is still being made.
    assert_eq!(pool.ask(3, &mut breakers), Asked::Waits { connects: 0 });
    assert_eq!(pool.on_connected(&mut breakers), [begins(3)]);
}

#[test]
fn a_connection_that_ends_is_replaced_for_those_that_wait() {
    let mut breakers = limits(1, 9, 9);
    let mut pool = Pool::default();
    pool.ask(1, &mut breakers);
    pool.on_connected(&mut breakers);
    pool.ask(2, &mut breakers);
    let freed = pool.on_ended(false, &mut breakers);
    assert_eq!((freed.served.len(), freed.connects), (0, 1));
    assert_eq!(pool.on_connected(&mut breakers), [begins(2)]);
}

#[test]
fn who_gives_up_leaves_its_connection_to_the_next() {
    let mut breakers = limits(9, 9, 9);
    let mut pool = Pool::default();
    pool.ask(1, &mut breakers);
    pool.cancel(1, &mut breakers);
    pool.cancel(1, &mut breakers);
    assert_eq!(breakers.pending, 0);
    assert_eq!(pool.on_connected(&mut breakers), []);
    assert_eq!(pool.ask(2, &mut breakers), Asked::Begins);
    pool.on_ended(true, &mut breakers);
    pool.on_idle_closed(&mut breakers);
    assert_eq!((pool.connections(), breakers.connections), (0, 0));
}

#[test]
fn facts_about_connections_that_are_not_there_change_nothing() {
    let mut breakers = limits(9, 9, 9);
    let mut pool = Pool::default();
    assert_eq!(pool.on_connected(&mut breakers), []);
    assert_eq!(pool.on_connect_failed(&mut breakers), Vec::<u64>::new());
    assert_eq!(pool.on_ended(true, &mut breakers), Freed::default());
    pool.on_idle_closed(&mut breakers);
    pool.cancel(7, &mut breakers);
    assert_eq!(pool.ask(1, &mut breakers), Asked::Waits { connects: 1 });
}

proptest! {
    /// Two pools of a cluster, and anything that can happen, in any order.
    #[test]
    fn counts_keep_their_bounds_and_return_to_zero(
        connections in 0_u32..4,
        pending in 0_u32..4,
        requests in 0_u32..4,
        steps in prop::collection::vec((0_u8..6, 0_usize..2, 0_u64..20), 0..200),
    ) {
        let mut breakers = limits(connections, pending, requests);
        let mut pools = [Pool::default(), Pool::default()];
        let mut running = [0_u32; 2];
        let mut connecting = [0_u32; 2];
        let mut waiting = [BTreeSet::new(), BTreeSet::new()];
        for (number, (step, which, chosen)) in steps.into_iter().enumerate() {
            let pool = &mut pools[which];
            let mut served = Vec::new();
            match step {
                0 | 1 => {
                    let id = u64::try_from(number).unwrap();
                    match pool.ask(id, &mut breakers) {
                        Asked::Begins => running[which] += 1,
                        Asked::Waits { connects } => {
                            connecting[which] += connects;
                            waiting[which].insert(id);
                        }
                        Asked::Overflows | Asked::Full => {}
                    }
                }
                2 if connecting[which] > 0 => {
                    connecting[which] -= 1;
                    served = pool.on_connected(&mut breakers);
                }
                3 if connecting[which] > 0 => {
                    connecting[which] -= 1;
                    let failed = pool.on_connect_failed(&mut breakers);
                    prop_assert_eq!(failed.len(), waiting[which].len());
                    waiting[which].clear();
                }
                4 if running[which] > 0 => {
                    running[which] -= 1;
                    let freed = pool.on_ended(chosen % 2 == 0, &mut breakers);
                    connecting[which] += freed.connects;
                    served = freed.served;
                }
                5 => {
                    let id = waiting[which].iter().nth(usize::try_from(chosen).unwrap()).copied();
                    if let Some(id) = id {
                        pool.cancel(id, &mut breakers);
                        waiting[which].remove(&id);
                    }
                }
                _ => {}
            }
            for Served { id, begins } in served {
                prop_assert!(waiting[which].remove(&id));
                running[which] += u32::from(begins);
            }
            prop_assert!(breakers.requests <= requests);
            prop_assert!(breakers.pending <= pending);
            // Each pool has one of its own beyond the bound.
            prop_assert!(breakers.connections <= connections.max(1) + 1);
            prop_assert_eq!(breakers.requests, running.iter().sum::<u32>());
            let waits = waiting.iter().map(BTreeSet::len).sum::<usize>();
            prop_assert_eq!(usize::try_from(breakers.pending).unwrap(), waits);
            // Who waits has a connection coming, or one that is in use.
            for which in 0..2 {
                prop_assert!(waiting[which].is_empty() || pools[which].connections() > 0);
            }
        }
        for which in 0..2 {
            for id in std::mem::take(&mut waiting[which]) {
                pools[which].cancel(id, &mut breakers);
            }
            for _ in 0..running[which] {
                pools[which].on_ended(true, &mut breakers);
            }
            for _ in 0..connecting[which] {
                pools[which].on_connected(&mut breakers);
            }
            pools[which].on_idle_closed(&mut breakers);
        }
        prop_assert_eq!(
            (breakers.connections, breakers.requests, breakers.pending),
            (0, 0, 0)
        );
    }
}
