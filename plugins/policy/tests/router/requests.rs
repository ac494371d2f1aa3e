//! Whom a request goes to.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate_policy::{
    panic_mode::{Fitness, Mode},
    passive::{Outcome, TRIAL_SPREAD},
    plan::{Bond, Proposal},
    routing::Reason,
    snapshot::State,
};

use crate::cluster::{
    Cluster, Member, SERVES, UNHEALTHY, address, at, by, free, index_of, list, member, members,
    session,
};

#[test]
fn request_without_a_picture_is_left_alone() {
    let mut cluster = Cluster::new(&[]);
    let routed = cluster.request(session(1));
    assert_eq!(routed.reason, Reason::Nobody);
    assert!(list(&routed).is_empty());
    assert_eq!(cluster.router.mode(), Some(Mode::Nobody));
}

#[test]
fn list_has_one_endpoint_for_each_attempt_other_zones_first() {
    let zones = [&b"a"[..], b"b", b"c"];
    let members: Vec<Member> = (0..9)
        .map(|index| Member {
            zone: zones[index % 3],
            ..member(index, SERVES)
        })
        .collect();
    let mut cluster = Cluster::with(r#", "attempts": 4"#, &members);
    for proposal in [None, session(4), free(4)] {
        for _ in 0..200 {
            let routed = cluster.request(proposal);
            let entries = list(&routed);
            let mut zones: Vec<usize> = entries.iter().map(|entry| entry % 3).collect();
            assert_eq!(entries.len(), 4);
            zones.truncate(3);
            zones.sort_unstable();
            assert_eq!(zones, [0, 1, 2], "{entries:?}");
            cluster.router.on_end(routed);
        }
    }
}

#[test]
fn spare_is_none_that_failed_lately_while_there_are_others() {
    let mut cluster = Cluster::new(&members(&[SERVES; 5]));
    cluster.serve(0, 1, Outcome::LocalFailure);
    cluster.serve(1, 1, Outcome::GatewayFailure);
    for proposal in [None, session(0), session(3)] {
        let routed = cluster.request(proposal);
        let spares = &list(&routed)[1..];
        assert!(spares.iter().all(|spare| *spare > 1), "{spares:?}");
        cluster.router.on_end(routed);
    }
}

#[test]
fn endpoint_that_failed_is_spared_until_it_succeeds_or_a_second_has_passed() {
    let mut cluster = Cluster::new(&members(&[SERVES; 3]));
    let picked = |cluster: &mut Cluster| {
        let mut counts = BTreeMap::new();
        for _ in 0..100 {
            let routed = cluster.request(None);
            *counts.entry(list(&routed)[0]).or_insert(0) += 1;
            cluster.router.on_end(routed);
        }
        counts.contains_key(&0)
    };
    assert!(picked(&mut cluster));
    cluster.serve(0, 1, Outcome::GatewayFailure);
    assert!(!picked(&mut cluster));
    cluster.now_ms += 999;
    assert!(!picked(&mut cluster));
    cluster.now_ms += 1;
    assert!(picked(&mut cluster));
    cluster.serve(0, 1, Outcome::LocalFailure);
    cluster.serve(0, 1, Outcome::Neutral);
    assert!(!picked(&mut cluster));
    cluster.serve(0, 1, Outcome::Success);
    assert!(picked(&mut cluster));
}

#[test]
fn session_at_an_address_that_the_picture_lacks_is_kept_with_spares() {
    let mut cluster = Cluster::new(&members(&[SERVES; 3]));
    let mut routed = cluster.request(session(77));
    assert_eq!(routed.reason, Reason::Session);
    let entries = list(&routed);
    assert_eq!((entries[0], entries.len()), (77, 3));
    // The proxy does not know it either, and lets another one serve.
    let _ = cluster.answer(&mut routed, by(2, 1, Outcome::Success));
    assert_eq!(cluster.in_flight(2), 1);
    cluster.router.on_end(routed);
    assert_eq!(cluster.in_flight(2), 0);
}

#[test]
fn trial_goes_to_one_request_without_a_session_and_the_next_attempt_is_elsewhere() {
    let picture = members(&[SERVES, SERVES, SERVES, State::Probing]);
    let mut cluster = Cluster::new(&picture);
    cluster.now_ms += TRIAL_SPREAD.as_millis() as u64;
    assert_eq!(cluster.request(session(0)).reason, Reason::Session);
    let draws = cluster.draws;
    let routed = cluster.request(None);
    assert_eq!((routed.reason, list(&routed)[0]), (Reason::Trial, 3));
    assert_eq!(list(&routed).len(), 3);
    assert_eq!(cluster.draws - draws, 2, "one for each spare");
    assert_eq!(cluster.in_flight(3), 1);
    for _ in 0..100 {
        assert_ne!(list(&cluster.request(None))[0], 3);
    }
    // Nothing came of it: another one.
    cluster.now_ms += TRIAL_SPREAD.as_millis() as u64;
    assert_eq!(cluster.request(free(1)).reason, Reason::Trial);
    // It serves again.
    cluster.now_ms += TRIAL_SPREAD.as_millis() as u64;
    cluster.tick(&members(&[SERVES; 4]));
    assert_ne!(cluster.request(None).reason, Reason::Trial);
}

fn at_level(priority: u8, members: Vec<Member>) -> impl Iterator<Item = Member> {
    let members = members.into_iter();
    members.map(move |member| Member { priority, ..member })
}

#[test]
fn lower_level_serves_once_the_higher_one_is_in_panic_and_its_sessions_stay() {
    let levels = |highest: &[State]| {
        let second = (5..8).map(|index| member(index, SERVES)).collect();
        let mut all: Vec<Member> = at_level(0, members(highest)).collect();
        all.extend(at_level(1, second));
        all
    };
    let mut cluster = Cluster::new(&levels(&[SERVES, SERVES, UNHEALTHY]));
    assert_eq!(cluster.router.priority(), Some(0));
    for _ in 0..50 {
        let routed = cluster.request(None);
        // Spares are of the level, too.
        assert!(list(&routed).iter().all(|entry| *entry < 2));
        cluster.router.on_end(routed);
    }
    let on_second = cluster.request(session(6));
    assert_eq!(
        (on_second.reason, list(&on_second)[0]),
        (Reason::Session, 6)
    );
    assert_eq!(cluster.in_flight(6), 1);
    cluster.tick(&levels(&[SERVES, UNHEALTHY, UNHEALTHY]));
    assert_eq!(cluster.router.priority(), Some(1));
    assert_eq!(cluster.router.mode(), Some(Mode::Normal));
    for _ in 0..50 {
        let routed = cluster.request(None);
        assert!(list(&routed).iter().all(|entry| *entry >= 5));
        cluster.router.on_end(routed);
    }
    assert_eq!(list(&cluster.request(session(0)))[0], 0);
}

#[test]
fn trial_at_a_level_that_does_not_serve_waits_until_it_does() {
    let lower: Vec<Member> = at_level(1, vec![member(9, State::Probing)]).collect();
    let mut all = members(&[SERVES, SERVES]);
    all.extend(lower);
    let mut cluster = Cluster::new(&all);
    cluster.now_ms += TRIAL_SPREAD.as_millis() as u64;
    assert_ne!(cluster.request(None).reason, Reason::Trial);
}

#[test]
fn panic_heeds_no_zones_so_that_the_own_one_is_not_overrun() {
    let zoned = |index: usize, state| Member {
        zone: if index < 4 { b"a" } else { b"b" },
        ..member(index, state)
    };
    let picture: Vec<Member> = (0..10)
        .map(|index| zoned(index, if index < 4 { SERVES } else { UNHEALTHY }))
        .collect();
    let mut cluster = Cluster::new(&[]);
    cluster.tick_in(b"a", &picture);
    assert_eq!(cluster.router.mode(), Some(Mode::Panic));
    let mut elsewhere = 0;
    for _ in 0..3_000 {
        let routed = cluster.request(None);
        assert_eq!(routed.reason, Reason::Panic);
        elsewhere += u32::from(list(&routed)[0] >= 4);
        cluster.router.on_end(routed);
    }
    // C(6, 2) of C(10, 2) pairs are two unhealthy ones: a third, ± 4 σ of 25.8.
    assert!((897..=1_103).contains(&elsewhere), "{elsewhere}");
}

#[test]
fn of_all_that_drain_the_one_with_more_time_gets_more() {
    let draining = |ms| State::Draining { until: at(ms) };
    let mut cluster = Cluster::new(&members(&[draining(50_000), draining(5_000)]));
    assert_eq!(cluster.router.mode(), Some(Mode::NobodyAvailable));
    let routed = cluster.request(None);
    assert_eq!(routed.reason, Reason::NobodyAvailable);
    assert_eq!(list(&routed)[0], 0);
}

#[test]
fn utilisation_that_is_known_begins_panic_earlier_than_the_count() {
    let fields = r#", "panic": {"concurrency": 2}"#;
    let picture = members(&[SERVES, SERVES, SERVES, UNHEALTHY]);
    let mut cluster = Cluster::with(fields, &picture);
    assert_eq!(cluster.router.mode(), Some(Mode::Normal));
    // Seven of eight that the four serve well: three cannot.
    let under_way: Vec<_> = (0..7).map(|_| cluster.request(None)).collect();
    cluster.tick(&picture);
    assert_eq!(cluster.router.mode(), Some(Mode::Panic));
    for routed in under_way {
        cluster.router.on_end(routed);
    }
    cluster.tick(&picture);
    assert_eq!(cluster.router.mode(), Some(Mode::Normal));
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Unknown),
        Just(SERVES),
        (0_u64..120_000).prop_map(|ms| State::Available {
            slow_start: Some(at(ms))
        }),
        (0_u64..120_000).prop_map(|ms| State::Draining { until: at(ms) }),
        (0_u64..120_000).prop_map(|ms| State::Ejected { until: at(ms) }),
        (0_u64..120_000).prop_map(|ms| State::Vanished { until: at(ms) }),
        Just(State::Probing),
        Just(UNHEALTHY),
    ]
}

fn anybody() -> impl Strategy<Value = Member> {
    let zone = prop::sample::select(vec![&b""[..], b"a", b"b", b"c"]);
    (0_usize..12, state(), zone, 0_u8..3).prop_map(|(index, state, zone, priority)| Member {
        index,
        state,
        zone,
        priority,
    })
}

/// Is what happens: a tick with a picture, a request, an answer to one of them, an end.
#[derive(Clone, Debug)]
enum Step {
    Tick(Vec<Member>),
    Request(Option<(usize, bool)>),
    Answer(prop::sample::Index, usize, u64, u8, bool),
    End(prop::sample::Index),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let picture = prop::collection::vec(anybody(), 0..10).prop_map(|members| {
        let members: BTreeMap<usize, Member> =
            members.into_iter().map(|one| (one.index, one)).collect();
        Step::Tick(members.into_values().collect())
    });
    let answer = (
        any::<prop::sample::Index>(),
        0_usize..14,
        0_u64..6,
        0_u8..4,
        any::<bool>(),
    );
    prop_oneof![
        2 => picture,
        6 => prop::option::of((0_usize..14, any::<bool>())).prop_map(Step::Request),
        4 => answer.prop_map(|(which, who, attempts, outcome, upgrade)| {
            Step::Answer(which, who, attempts, outcome, upgrade)
        }),
        3 => any::<prop::sample::Index>().prop_map(Step::End),
        2 => (0_u64..20_000).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever comes: nobody who is gone is listed, lists are distinct and as long as they may be,
    /// and once all have ended nothing is under way.
    #[test]
    fn lists_are_distinct_and_name_nobody_who_is_gone(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut cluster = Cluster::new(&[]);
        let mut picture: Vec<Member> = Vec::new();
        let mut ticked_at = cluster.now();
        let mut under_way = Vec::new();
        for step in steps {
            match step {
                Step::Tick(members) => {
                    cluster.tick_in(b"a", &members);
                    ticked_at = cluster.now();
                    picture = members;
                }
                Step::Request(wish) => {
                    let proposal = wish.map(|(index, is_session)| Proposal {
                        address: address(index),
                        bond: if is_session { Bond::Session } else { Bond::Free },
                    });
                    let routed = cluster.request(proposal);
                    let entries = list(&routed);
                    prop_assert!(entries.len() <= 3);
                    let mut distinct = entries.clone();
                    distinct.sort_unstable();
                    distinct.dedup();
                    prop_assert_eq!(distinct.len(), entries.len(), "{:?}", entries);
                    for (place, entry) in entries.iter().enumerate() {
                        let listed = picture.iter().find(|member| member.index == *entry);
                        let is_home = place == 0 && routed.reason == Reason::Session;
                        prop_assert!(listed.is_some() || is_home, "{routed}");
                        if let Some(listed) = listed {
                            let fitness = Fitness::of(listed.state, ticked_at);
                            prop_assert_ne!(fitness, Fitness::Gone, "{}", routed);
                        }
                    }
                    under_way.push(routed);
                }
                Step::Answer(which, who, attempts, outcome, is_upgrade) if !under_way.is_empty() => {
                    let which = which.index(under_way.len());
                    let outcome = [
                        Outcome::Success,
                        Outcome::GatewayFailure,
                        Outcome::LocalFailure,
                        Outcome::Neutral,
                    ][usize::from(outcome)];
                    let mut answered = by(who, attempts, outcome);
                    answered.is_upgrade = is_upgrade;
                    answered.served_by = answered.served_by.filter(|served| index_of(*served) < 13);
                    answered.attempts = answered.attempts.filter(|attempts| *attempts < 5);
                    let _ = cluster.answer(&mut under_way[which], answered);
                }
                Step::End(which) if !under_way.is_empty() => {
                    let routed = under_way.swap_remove(which.index(under_way.len()));
                    cluster.router.on_end(routed);
                }
                Step::Wait(ms) => cluster.now_ms += ms,
                Step::Answer(..) | Step::End(_) => {}
            }
        }
        for routed in under_way {
            cluster.router.on_end(routed);
        }
        prop_assert_eq!(cluster.router.pool().in_flight().all_requests(), 0);
        for member in &picture {
            let pool = cluster.router.pool();
            let seat = pool.seat(&address(member.index)).unwrap();
            prop_assert!(!pool.in_flight().is_busy(seat));
        }
    }
}
