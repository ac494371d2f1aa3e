//! Who the endpoints are, from one listing to the next.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use proptest::prelude::*;
use tidegate_policy::{
    membership::{
        Change, DRAIN_WINDOW, EMPTY_CONFIRMATION, FeedParser, LEARNED_IDLE, Limits, Listing,
        MAX_CLUSTERS, MAX_ENDPOINTS, Member, Membership, NotApplied, Presence, Progress,
    },
    units::WallTime,
};

const START: u64 = 1_700_000_000;
const YEAR: u64 = 31_536_000;

fn at(seconds: u64) -> WallTime {
    WallTime::from_seconds(START + seconds)
}

fn address(index: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + index), 80))
}

fn listing_of(cluster: &str, endpoints: impl IntoIterator<Item = (u32, String)>) -> Listing {
    let endpoints: Vec<_> = endpoints
        .into_iter()
        .map(|(index, more)| format!(r#"{{"address": "{}"{more}}}"#, address(index)))
        .collect();
    let text = format!(
        r#"{{"version": 1, "clusters": [{{"name": "{cluster}", "endpoints": [{}]}}]}}"#,
        endpoints.join(",")
    );
    match FeedParser::new().advance(text.as_bytes(), usize::MAX) {
        Progress::Done(mut listings) => listings.pop().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn listing(cluster: &str, endpoints: impl IntoIterator<Item = u32>) -> Listing {
    listing_of(
        cluster,
        endpoints.into_iter().map(|index| (index, String::new())),
    )
}

fn echo(endpoints: impl IntoIterator<Item = u32>) -> [Listing; 1] {
    [listing("echo", endpoints)]
}

fn new() -> Membership {
    Membership::new(Limits::default())
}

#[track_caller]
fn member(membership: &Membership, index: u32) -> Member {
    *membership
        .cluster("echo")
        .unwrap()
        .member(address(index))
        .unwrap()
}

/// Shows a cluster in one line per endpoint: presence and generation.
fn shown(membership: &Membership) -> Vec<(u32, &'static str, u64)> {
    let cluster = membership.cluster("echo").unwrap();
    let members = cluster.members().map(|(address, member)| {
        let SocketAddr::V4(address) = address else {
            panic!("an address of version 6");
        };
        let presence = match member.presence {
            Presence::Learned => "learned",
            Presence::Listed => "listed",
            Presence::Vanished { .. } => "vanished",
        };
        (
            u32::from(*address.ip()) - 0x0a00_0000,
            presence,
            member.generation,
        )
    });
    members.collect()
}

#[test]
fn first_listing_is_applied_and_nobody_was_seen_absent() {
    let mut membership = new();
    let change = membership.apply("echo", &echo([1, 2]), at(0)).unwrap();
    assert_eq!(
        change,
        Change {
            added: 2,
            ..Change::default()
        }
    );
    assert_eq!(shown(&membership), [(1, "listed", 1), (2, "listed", 1)]);
    assert_eq!(member(&membership, 1).last_absent, None);
    assert_eq!(member(&membership, 1).first_seen, at(0));
}

#[test]
fn missing_endpoint_drains_until_the_window_has_passed_and_is_forgotten() {
    let mut membership = new();
    membership.apply("echo", &echo([1, 2]), at(0)).unwrap();
    let change = membership.apply("echo", &echo([2]), at(10)).unwrap();
    assert_eq!(
        change,
        Change {
            vanished: 1,
            ..Change::default()
        }
    );
    let gone = member(&membership, 1);
    assert_eq!(gone.presence, Presence::Vanished { at: at(10) });
    assert_eq!((gone.first_seen, gone.last_seen), (at(0), at(0)));
    assert_eq!(membership.cluster("echo").unwrap().present(), 1);

    // A listing that still lacks it does not begin the window anew.
    membership.apply("echo", &echo([2]), at(40)).unwrap();
    assert_eq!(
        member(&membership, 1).presence,
        Presence::Vanished { at: at(10) }
    );
    assert_eq!(membership.on_tick(at(9 + DRAIN_WINDOW.as_secs())), 0);
    assert_eq!(shown(&membership), [(1, "vanished", 1), (2, "listed", 1)]);
    assert_eq!(membership.on_tick(at(10 + DRAIN_WINDOW.as_secs())), 1);
    assert_eq!(shown(&membership), [(2, "listed", 1)]);
}

#[test]
fn address_that_returns_is_a_new_generation_seen_absent() {
    let mut membership = new();
    membership.apply("echo", &echo([1, 2]), at(0)).unwrap();
    membership.apply("echo", &echo([2]), at(10)).unwrap();
    membership.apply("echo", &echo([2]), at(20)).unwrap();
    let change = membership.apply("echo", &echo([1, 2]), at(30)).unwrap();
    assert_eq!(
        change,
        Change {
            added: 1,
            returned: 1,
            ..Change::default()
        }
    );
    let back = member(&membership, 1);
    assert_eq!((back.generation, back.first_seen), (2, at(30)));
    assert_eq!(back.last_absent, Some(at(20)));
    assert_eq!(member(&membership, 2).generation, 1);

    // Also after it was forgotten.
    membership.apply("echo", &echo([2]), at(40)).unwrap();
    membership.on_tick(at(200));
    membership.apply("echo", &echo([1, 2]), at(210)).unwrap();
    assert_eq!(member(&membership, 1).generation, 3);
    assert_eq!(member(&membership, 1).last_absent, Some(at(40)));
}

#[test]
fn listing_with_other_weight_zone_or_health_is_an_update_in_the_same_generation() {
    let of = |more: &str| [listing_of("echo", [(1, more.to_owned())])];
    let mut membership = new();
    membership
        .apply("echo", &of(r#", "zone": "a""#), at(0))
        .unwrap();
    let updated = Change {
        updated: 1,
        ..Change::default()
    };
    for (second, more) in [
        (1, r#", "zone": "b""#),
        (2, r#", "zone": "b", "weight": 2"#),
        (3, r#", "zone": "b", "weight": 2, "health": "draining""#),
        (
            4,
            r#", "zone": "b", "weight": 2, "health": "draining", "priority": 1"#,
        ),
    ] {
        assert_eq!(
            membership.apply("echo", &of(more), at(second)),
            Ok(updated),
            "{more}"
        );
        let again = membership.apply("echo", &of(more), at(second)).unwrap();
        assert!(again.is_nothing(), "{more}");
    }
    let found = member(&membership, 1);
    assert_eq!((found.generation, found.last_seen), (1, at(4)));
    let cluster = membership.cluster("echo").unwrap();
    assert_eq!(cluster.zone(found.listed.zone), "b");
}

#[test]
fn vanished_endpoint_keeps_its_zone_when_zones_are_numbered_anew() {
    let of = |list: &[(u32, &str)]| {
        let endpoints = list
            .iter()
            .map(|(index, zone)| (*index, format!(r#", "zone": "{zone}""#)));
        [listing_of("echo", endpoints)]
    };
    let mut membership = new();
    membership
        .apply("echo", &of(&[(1, "a"), (2, "b")]), at(0))
        .unwrap();
    let change = membership
        .apply("echo", &of(&[(2, "b"), (3, "c")]), at(1))
        .unwrap();
    assert_eq!((change.updated, change.added, change.vanished), (0, 1, 1));
    let cluster = membership.cluster("echo").unwrap();
    let zones: Vec<_> = cluster
        .members()
        .map(|(_, m)| cluster.zone(m.listed.zone))
        .collect();
    assert_eq!(zones, ["a", "b", "c"]);
}

#[test]
fn answer_that_is_not_the_one_asked_for_changes_nothing_and_is_counted() {
    let mut membership = new();
    membership.apply("echo", &echo([1, 2]), at(0)).unwrap();
    let before = shown(&membership);
    let other = listing("other", [3]);
    let cases = [
        (vec![other.clone()], NotApplied::OtherCluster),
        (vec![listing("echo", [3]), other], NotApplied::OtherCluster),
        (vec![], NotApplied::Absent),
    ];
    for (answer, expected) in cases {
        assert_eq!(membership.apply("echo", &answer, at(5)), Err(expected));
        assert_eq!(shown(&membership), before);
    }
    membership.on_refused("echo", at(6));
    let cluster = membership.cluster("echo").unwrap();
    assert_eq!((cluster.refused(), membership.totals().refused), (4, 4));
    assert_eq!(cluster.age(at(9)), Some(Duration::from_secs(9)));
    assert_eq!(membership.totals().applied, 1);
}

#[test]
fn empty_listing_is_believed_at_the_second_time_after_the_window_only() {
    let window = EMPTY_CONFIRMATION.as_secs();
    let mut membership = new();
    membership.apply("echo", &echo([1]), at(0)).unwrap();
    let unconfirmed = |seconds| {
        Err(NotApplied::EmptyUnconfirmed {
            ask_again_in: Duration::from_secs(seconds),
        })
    };
    assert_eq!(
        membership.apply("echo", &echo([]), at(10)),
        unconfirmed(window)
    );
    assert_eq!(
        membership.apply("echo", &echo([]), at(10)),
        unconfirmed(window)
    );
    assert_eq!(
        membership.apply("echo", &echo([]), at(9 + window)),
        unconfirmed(1)
    );
    assert_eq!(shown(&membership), [(1, "listed", 1)]);
    // One that has endpoints denies it.
    membership
        .apply("echo", &echo([1]), at(10 + window))
        .unwrap();
    assert_eq!(
        membership.apply("echo", &echo([]), at(11 + window)),
        unconfirmed(window)
    );
    let change = membership
        .apply("echo", &echo([]), at(11 + 2 * window))
        .unwrap();
    assert_eq!(change.vanished, 1);
    assert_eq!(shown(&membership), [(1, "vanished", 1)]);
    // A cluster without endpoints stays without them at once.
    assert!(
        membership
            .apply("echo", &echo([]), at(12 + 2 * window))
            .unwrap()
            .is_nothing()
    );
    assert!(
        membership
            .apply("void", &[listing("void", [])], at(0))
            .unwrap()
            .is_nothing()
    );
}

#[test]
fn learned_endpoint_ages_and_a_listing_takes_over() {
    let idle = LEARNED_IDLE.as_secs();
    let mut membership = new();
    membership.learn("echo", address(1), at(0)).unwrap();
    membership.learn("echo", address(2), at(5)).unwrap();
    membership.learn("echo", address(1), at(9)).unwrap();
    assert_eq!(shown(&membership), [(1, "learned", 1), (2, "learned", 2)]);
    assert_eq!(membership.cluster("echo").unwrap().age(at(9)), None);
    assert_eq!(membership.on_tick(at(4 + idle)), 0);
    assert_eq!(membership.on_tick(at(5 + idle)), 1);
    assert_eq!(shown(&membership), [(1, "learned", 1)]);
    assert_eq!(membership.cluster("echo").unwrap().present(), 1);

    membership.apply("echo", &echo([3]), at(6 + idle)).unwrap();
    assert_eq!(shown(&membership), [(1, "vanished", 1), (3, "listed", 3)]);
    membership.learn("echo", address(4), at(7 + idle)).unwrap();
    assert!(
        membership
            .cluster("echo")
            .unwrap()
            .member(address(4))
            .is_none()
    );
}

#[test]
fn each_cap_is_reached_and_one_more_is_refused() {
    let mut membership = new();
    let most = u32::try_from(MAX_ENDPOINTS).unwrap();
    membership.apply("echo", &echo(0..most), at(0)).unwrap();
    let other = [listing("other", [1])];
    assert_eq!(
        membership.apply("other", &other, at(0)),
        Err(NotApplied::TooManyEndpoints)
    );
    assert_eq!(
        membership.learn("other", address(1), at(0)),
        Err(NotApplied::TooManyEndpoints)
    );
    assert_eq!(membership.clusters().len(), 1);
    membership.apply("echo", &echo(1..most), at(1)).unwrap();
    membership.apply("other", &other, at(1)).unwrap();

    let mut membership = new();
    for index in 0..MAX_CLUSTERS {
        let name = format!("c{index}");
        membership
            .apply(&name, &[listing(&name, [])], at(0))
            .unwrap();
    }
    let refused = Err(NotApplied::TooManyClusters);
    assert_eq!(membership.apply("other", &other, at(0)), refused);
    assert_eq!(
        membership.learn("other", address(1), at(0)),
        refused.map(|_| ())
    );
    membership.retain_clusters(|name| name != "c0");
    membership.apply("other", &other, at(0)).unwrap();

    let above = Limits {
        endpoints: usize::MAX,
        clusters: usize::MAX,
        ..Limits::default()
    };
    let mut membership = Membership::new(above);
    membership.apply("echo", &echo(0..most), at(0)).unwrap();
    assert!(membership.apply("other", &other, at(0)).is_err());
}

#[test]
fn learned_endpoints_at_the_cap_replace_the_one_that_served_least_recently() {
    let mut membership = Membership::new(Limits {
        endpoints: 2,
        ..Limits::default()
    });
    membership.learn("echo", address(1), at(0)).unwrap();
    membership.learn("echo", address(2), at(1)).unwrap();
    membership.learn("echo", address(1), at(2)).unwrap();
    membership.learn("echo", address(3), at(3)).unwrap();
    assert_eq!(shown(&membership), [(1, "learned", 1), (3, "learned", 3)]);
    assert_eq!(membership.totals().evicted, 1);
}

#[test]
fn vanished_endpoints_beyond_the_cap_are_forgotten_oldest_first() {
    let mut membership = Membership::new(Limits {
        endpoints: 3,
        ..Limits::default()
    });
    membership.apply("echo", &echo([1, 2]), at(0)).unwrap();
    membership.apply("echo", &echo([3, 4]), at(1)).unwrap();
    membership.apply("echo", &echo([5, 6]), at(2)).unwrap();
    let kept: Vec<_> = shown(&membership)
        .iter()
        .map(|(index, ..)| *index)
        .collect();
    assert_eq!(kept, [2, 3, 4, 5, 6]);
    assert_eq!(membership.totals().evicted, 1);
}

#[test]
fn churn_of_100_000_endpoints_leaves_the_size_where_it_began() {
    let mut membership = new();
    membership.apply("echo", &echo(0..100), at(0)).unwrap();
    // Half of them is replaced each second: 2000 rounds of 50 additions and 50 removals.
    for round in 1..=2000_u32 {
        let first = round * 50;
        membership
            .apply("echo", &echo(first..first + 100), at(round.into()))
            .unwrap();
        membership.on_tick(at(round.into()));
        let known = membership.cluster("echo").unwrap().members().len();
        assert!(known <= 100 + 60 * 50, "{known} in round {round}");
    }
    membership.on_tick(at(2000 + DRAIN_WINDOW.as_secs()));
    assert_eq!(membership.cluster("echo").unwrap().members().len(), 100);

    // The same while the clock stands still: the cap holds.
    let mut membership = Membership::new(Limits {
        endpoints: 100,
        ..Limits::default()
    });
    for round in 0..2000_u32 {
        membership
            .apply("echo", &echo(round * 50..round * 50 + 100), at(0))
            .unwrap();
        assert!(membership.cluster("echo").unwrap().members().len() <= 200);
    }
    assert_eq!(membership.totals().evicted, 2000 * 50 - 50 - 100);
}

#[test]
fn clock_that_stands_still_keeps_everybody() {
    let mut membership = new();
    membership.apply("echo", &echo([1, 2]), at(0)).unwrap();
    membership.apply("echo", &echo([2]), at(0)).unwrap();
    membership.apply("echo", &echo([1, 2]), at(0)).unwrap();
    membership.apply("echo", &echo([2]), at(0)).unwrap();
    assert_eq!(membership.on_tick(at(0)), 0);
    assert_eq!(shown(&membership), [(1, "vanished", 2), (2, "listed", 1)]);
    assert_eq!(membership.totals().clock_regressions, 0);
}

#[test]
fn clock_that_steps_back_restarts_windows_and_is_counted() {
    let window = DRAIN_WINDOW.as_secs();
    let mut membership = new();
    membership.apply("echo", &echo([1, 2]), at(YEAR)).unwrap();
    membership.apply("echo", &echo([2]), at(YEAR)).unwrap();
    assert!(membership.apply("echo", &echo([]), at(YEAR)).is_err());
    assert_eq!(membership.on_tick(at(0)), 0);
    assert_eq!(membership.totals().clock_regressions, 1);
    assert_eq!(
        member(&membership, 1).presence,
        Presence::Vanished { at: at(0) }
    );
    assert_eq!(member(&membership, 2).first_seen, at(0));
    let cluster = membership.cluster("echo").unwrap();
    assert_eq!(cluster.age(at(3)), Some(Duration::from_secs(3)));
    assert!(membership.apply("echo", &echo([]), at(1)).is_err());
    assert_eq!(membership.on_tick(at(window - 1)), 0);
    assert_eq!(membership.on_tick(at(window)), 1);
}

#[test]
fn clock_that_jumps_a_year_ends_windows_once() {
    let mut membership = new();
    membership.apply("echo", &echo([1, 2]), at(0)).unwrap();
    membership.apply("echo", &echo([2]), at(0)).unwrap();
    membership.learn("learned", address(3), at(0)).unwrap();
    assert_eq!(membership.on_tick(at(YEAR)), 2);
    assert_eq!(shown(&membership), [(2, "listed", 1)]);
    let cluster = membership.cluster("echo").unwrap();
    assert_eq!(cluster.age(at(YEAR)), Some(Duration::from_secs(YEAR)));
}

#[test]
fn restored_cluster_goes_on_where_the_former_leader_stopped() {
    let mut former = new();
    former.apply("echo", &echo([1, 2]), at(0)).unwrap();
    former.apply("echo", &echo([2, 3]), at(10)).unwrap();
    let published = former.cluster("echo").unwrap();
    let members = |cluster: &tidegate_policy::membership::Cluster| {
        let zone = |m: &Member| cluster.zone(m.listed.zone).to_owned();
        let members = cluster.members().map(|(address, m)| (address, zone(m), *m));
        members.collect::<Vec<_>>()
    };
    let (published_members, generation) = (members(published), published.generation());
    let restore = |membership: &mut Membership, generation| {
        let members = published_members.iter();
        membership.restore(
            "echo",
            generation,
            Some(at(10)),
            members.map(|(address, zone, member)| (*address, zone.as_str(), *member)),
            at(20),
        )
    };
    let mut heir = new();
    restore(&mut heir, generation).unwrap();
    assert_eq!(shown(&heir), shown(&former));
    // The second time it is known already.
    restore(&mut heir, 0).unwrap();
    assert_eq!(shown(&heir), shown(&former));
    heir.apply("echo", &echo([1, 2, 3]), at(21)).unwrap();
    former.apply("echo", &echo([1, 2, 3]), at(21)).unwrap();
    assert_eq!(
        members(heir.cluster("echo").unwrap()),
        members(former.cluster("echo").unwrap())
    );

    // A member that claims to be younger than its cluster is none.
    let mut doubtful = new();
    restore(&mut doubtful, 1).unwrap();
    assert_eq!(shown(&doubtful), [(1, "vanished", 1), (2, "listed", 1)]);

    let mut small = Membership::new(Limits {
        endpoints: 1,
        ..Limits::default()
    });
    restore(&mut small, generation).unwrap();
    assert_eq!(shown(&small).len(), 1);
    let mut none = Membership::new(Limits {
        clusters: 0,
        ..Limits::default()
    });
    assert_eq!(restore(&mut none, 2), Err(NotApplied::TooManyClusters));
}

/// Is one step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Apply(BTreeSet<u32>),
    Tick,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        proptest::collection::btree_set(0_u32..8, 1..6).prop_map(Step::Apply),
        Just(Step::Tick),
        (0_u64..50).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    /// The naive model keeps for every address its whole history and answers from that.
    #[test]
    fn membership_agrees_with_a_naive_model(steps in steps()) {
        let mut membership = new();
        let mut naive: BTreeMap<u32, (u64, Option<u64>)> = BTreeMap::new();
        let (mut now, mut generation) = (0, 0);
        for step in steps {
            match step {
                Step::Wait(seconds) => now += seconds,
                Step::Tick => {
                    membership.on_tick(at(now));
                    naive.retain(|_, (_, gone)| gone.is_none_or(|gone| now - gone < 60));
                }
                Step::Apply(set) => {
                    membership.apply("echo", &echo(set.iter().copied()), at(now)).unwrap();
                    for (index, (_, gone)) in &mut naive {
                        if !set.contains(index) && gone.is_none() {
                            *gone = Some(now);
                        }
                    }
                    let fresh: Vec<_> = set
                        .iter()
                        .filter(|index| naive.get(index).is_none_or(|(_, gone)| gone.is_some()))
                        .collect();
                    generation += u64::from(!fresh.is_empty());
                    for index in fresh {
                        naive.insert(*index, (generation, None));
                    }
                }
            }
            if membership.cluster("echo").is_none() {
                continue;
            }
            let expected: Vec<_> = naive
                .iter()
                .map(|(index, (generation, gone))| {
                    (*index, if gone.is_some() { "vanished" } else { "listed" }, *generation)
                })
                .collect();
            prop_assert_eq!(shown(&membership), expected);
        }
    }

    #[test]
    fn any_clock_keeps_the_counts_true(
        history in proptest::collection::vec((any::<u64>(), proptest::collection::btree_set(0_u32..50, 0..9), any::<bool>()), 0..30)
    ) {
        let mut membership = Membership::new(Limits { endpoints: 8, ..Limits::default() });
        for (now_ns, set, is_learned) in history {
            let now = WallTime::from_ns(now_ns);
            if is_learned {
                for index in set {
                    let _ = membership.learn("echo", address(index), now);
                }
            } else {
                let _ = membership.apply("echo", &echo(set), now);
            }
            membership.on_tick(now);
            let Some(cluster) = membership.cluster("echo") else {
                continue;
            };
            let present = cluster.members().filter(|(_, member)| {
                !matches!(member.presence, Presence::Vanished { .. })
            });
            prop_assert_eq!(cluster.present(), present.count());
            prop_assert!(cluster.members().len() <= 16);
            prop_assert!(cluster.members().all(|(_, member)| member.first_seen <= now));
        }
    }
}
