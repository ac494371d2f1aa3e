//! The routers of many clusters.

use std::{num::NonZeroU32, time::Duration};

use tidegate_policy::{
    endpoints::{Picture, Unknown},
    passive::Outcome,
    routing::{Config, MAX_ROUTERS, Reason, Routed, Routers, Rules, Surroundings},
    units::WallTime,
};

use crate::cluster::{SERVES, at, by, list, members, picture, session, snapshot};

fn routers(clusters: &str, draw: u64) -> Routers {
    let text =
        format!(r#"{{"clusters": [{clusters}], "endpoints": {{"clusters": [{{"prefix": ""}}]}}}}"#);
    let config = Config::parse(&text).unwrap();
    Routers::new(Rules::new(config.rules()), Duration::from_secs(60), draw)
}

fn request(routers: &mut Routers, cluster: &str) -> Routed {
    routers.on_request(cluster.as_bytes(), session(1), at(0), &mut || 7)
}

fn surroundings(now: WallTime) -> Surroundings<'static> {
    Surroundings {
        own_zone: b"",
        workers: NonZeroU32::MIN,
        now,
    }
}

#[test]
fn named_cluster_is_known_before_its_first_request_and_one_by_prefix_after_it() {
    let checked = snapshot(&members(&[SERVES; 3]));
    let known = |cluster: &[u8]| match cluster {
        b"named" | b"pre-1" => picture(&checked, at(0)),
        _ => Picture::Unknown(Unknown::NotYet),
    };
    let mut routers = routers(r#"{"name": "named"}, {"prefix": "pre-"}"#, 3);
    routers.on_tick(known, surroundings(at(0)), &mut || 7);
    assert_eq!(request(&mut routers, "named").reason, Reason::Session);
    assert_eq!(request(&mut routers, "pre-1").reason, Reason::NotYet);
    assert_eq!(
        request(&mut routers, "other").reason,
        Reason::UnlistedCluster
    );
    routers.on_tick(known, surroundings(at(0)), &mut || 7);
    assert_eq!(request(&mut routers, "pre-1").reason, Reason::Session);
    let clusters: Vec<&[u8]> = routers.clusters().collect();
    assert_eq!(clusters, [&b"named"[..], b"pre-1"]);
    routers.on_tick(
        |_| Picture::Unknown(Unknown::Stale),
        surroundings(at(1)),
        &mut || 7,
    );
    assert_eq!(request(&mut routers, "named").reason, Reason::Stale);
}

#[test]
fn clusters_beyond_the_limit_are_left_alone() {
    let mut routers = routers(r#"{"prefix": ""}"#, 0);
    for number in 0..MAX_ROUTERS {
        let routed = request(&mut routers, &format!("cluster-{number}"));
        assert_eq!(routed.reason, Reason::NotYet);
    }
    for _ in 0..3 {
        assert_eq!(
            request(&mut routers, "one-more").reason,
            Reason::NotConfigured
        );
    }
    assert_eq!(request(&mut routers, "cluster-0").reason, Reason::NotYet);
    assert_eq!(routers.clusters().count(), MAX_ROUTERS);
}

#[test]
fn answers_and_ends_find_their_router_and_no_other() {
    let checked = snapshot(&members(&[SERVES; 3]));
    let known = |_: &[u8]| picture(&checked, at(0));
    let clusters = r#"{"name": "a"}, {"name": "b"}"#;
    let under_way = |routers: &Routers, cluster: &[u8]| {
        let pool = routers.get(cluster).unwrap().pool();
        pool.in_flight().all_requests()
    };
    let (mut before, mut after) = (routers(clusters, 11), routers(clusters, 1 << 40));
    for routers in [&mut before, &mut after] {
        routers.on_tick(known, surroundings(at(0)), &mut || 7);
    }
    let mut earlier = request(&mut before, "b");
    let mut routed = request(&mut after, "b");
    assert_eq!((under_way(&after, b"a"), under_way(&after, b"b")), (0, 1));
    // What an earlier configuration decided ends under this one.
    let concluded = after.on_answer(&mut earlier, &by(1, 1, Outcome::GatewayFailure), at(5));
    assert_eq!(concluded.attempts(&earlier).count(), 0);
    after.on_end(earlier);
    assert_eq!(under_way(&after, b"b"), 1);
    let concluded = after.on_answer(&mut routed, &by(1, 1, Outcome::Success), at(5));
    assert_eq!(concluded.attempts(&routed).count(), 1);
    assert_eq!(list(&routed)[0], 1);
    after.on_end(routed);
    assert_eq!(under_way(&after, b"b"), 0);
    // Nobody decided this.
    let alone = Routed::alone(Reason::HostError, at(0));
    after.on_end(alone);
}
