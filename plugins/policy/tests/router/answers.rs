//! What the router learns from answers.

use tidegate_policy::{
    endpoints::Attempt,
    passive::{Honoured, Outcome},
    routing::{Answered, Router},
};

use crate::cluster::{Cluster, SERVES, address, by, list, members, ms, rule, session};

fn five() -> Cluster {
    Cluster::new(&members(&[SERVES; 5]))
}

#[test]
fn first_attempt_alone_is_a_sample_and_its_endpoints_own() {
    let mut cluster = five();
    cluster.serve(0, 40, Outcome::Success);
    assert_eq!(cluster.estimate_ms(0), Some(40));
    // A failure is none, however long it took.
    cluster.serve(1, 5_000, Outcome::GatewayFailure);
    assert_eq!(cluster.estimate_ms(1), None);
    // Neither is a second attempt, whose beginning nobody saw.
    let mut routed = cluster.request(session(2));
    let second = list(&routed)[1];
    cluster.now_ms += 900;
    let concluded = cluster.answer(&mut routed, by(second, 2, Outcome::Success));
    let failed = (address(2), Attempt::GatewayFailure);
    let served = (address(second), Attempt::UntimedSuccess);
    let attempts: Vec<_> = concluded.attempts(&routed).collect();
    assert_eq!(attempts, [failed, served]);
    assert_eq!(
        (cluster.estimate_ms(2), cluster.estimate_ms(second)),
        (None, cluster.estimate_ms(second))
    );
    assert!(cluster.has_failed(2) && !cluster.has_failed(second));
    cluster.router.on_end(routed);
}

#[test]
fn request_counts_where_it_is_served_until_it_ends() {
    let mut cluster = five();
    let mut routed = cluster.request(session(0));
    let second = list(&routed)[1];
    assert_eq!((cluster.in_flight(0), cluster.in_flight(second)), (1, 0));
    let _ = cluster.answer(&mut routed, by(second, 2, Outcome::Success));
    assert_eq!((cluster.in_flight(0), cluster.in_flight(second)), (0, 1));
    // Answered twice, as a proxy does that shows a 100 first: it stays one.
    let _ = cluster.answer(&mut routed, by(second, 2, Outcome::Success));
    assert_eq!(cluster.in_flight(second), 1);
    // Somebody else whom nobody knows: it is nowhere.
    let _ = cluster.answer(&mut routed, by(99, 2, Outcome::Success));
    assert_eq!(cluster.in_flight(second), 0);
    cluster.router.on_end(routed);
    assert_eq!(cluster.router.pool().in_flight().all_requests(), 0);
}

#[test]
fn event_stream_counts_as_under_way_but_has_no_age() {
    let mut cluster = five();
    let mut routed = cluster.request(session(0));
    cluster.now_ms += 30;
    let _ = cluster.answer(&mut routed, by(0, 1, Outcome::Success));
    cluster.now_ms += 9_000;
    let pool = cluster.router.pool();
    let sight = pool.sight(pool.seat(&address(0)).unwrap(), cluster.now());
    assert!(sight.oldest_age_ns < 1.0, "{sight:?}");
    assert_eq!(sight.in_flight, 1);
    cluster.router.on_end(routed);
    assert_eq!(cluster.in_flight(0), 0);
}

#[test]
fn upgrade_is_one_sample_and_counts_apart_where_it_lives() {
    let mut cluster = five();
    for served_by in [0, 3] {
        let mut routed = cluster.request(session(0));
        cluster.now_ms += 25;
        let upgraded = Answered {
            is_upgrade: true,
            ..by(served_by, 1, Outcome::Success)
        };
        let _ = cluster.answer(&mut routed, upgraded);
        assert_eq!(cluster.estimate_ms(served_by), Some(25));
        let pool = cluster.router.pool();
        let seat = pool.seat(&address(served_by)).unwrap();
        assert_eq!(pool.in_flight().upgraded(seat), 1);
        assert_eq!(cluster.in_flight(0) + cluster.in_flight(served_by), 0);
        cluster.now_ms += 3_600_000;
        cluster.router.on_end(routed);
        let pool = cluster.router.pool();
        assert_eq!(pool.in_flight().upgraded(seat), 0);
    }
}

#[test]
fn request_that_was_given_up_without_an_answer_is_its_endpoints_failure_once_lists_are_believed() {
    let mut cluster = five();
    let given_up = |attempts| Answered {
        served_by: None,
        ..by(0, attempts, Outcome::LocalFailure)
    };
    let mut routed = cluster.request(session(0));
    let concluded = cluster.answer(&mut routed, given_up(1));
    cluster.router.on_end(routed);
    assert_eq!(
        concluded.conclusion.last, None,
        "it may have gone elsewhere"
    );
    assert!(!cluster.has_failed(0));
    cluster.serve(1, 5, Outcome::Success);
    let mut routed = cluster.request(session(0));
    let concluded = cluster.answer(&mut routed, given_up(1));
    cluster.router.on_end(routed);
    let expected = Some((address(0), Attempt::LocalFailure));
    assert_eq!(concluded.conclusion.last, expected);
    assert!(cluster.has_failed(0));
    // One that was sent to nobody shows nothing.
    let mut routed = cluster.request(session(2));
    let concluded = cluster.answer(&mut routed, given_up(0));
    cluster.router.on_end(routed);
    assert_eq!(concluded.attempts(&cluster.request(session(2))).count(), 0);
    assert!(!cluster.has_failed(2));
}

#[test]
fn nobody_is_blamed_for_earlier_attempts_while_lists_are_ignored() {
    let mut cluster = five();
    let outsider = |cluster: &mut Cluster| {
        let mut routed = cluster.request(session(0));
        let concluded = cluster.answer(&mut routed, by(99, 1, Outcome::Success));
        cluster.router.on_end(routed);
        concluded
    };
    for row in 1..10 {
        let concluded = outsider(&mut cluster);
        assert_eq!(concluded.conclusion.honoured, Honoured::No);
        assert_eq!(concluded.notice, None, "{row}");
    }
    assert_eq!(
        outsider(&mut cluster).notice.map(|notice| notice.row),
        Some(10)
    );
    // The second entry serves the second attempt by chance: the first need not have failed.
    let mut routed = cluster.request(session(0));
    let second = list(&routed)[1];
    let concluded = cluster.answer(&mut routed, by(second, 2, Outcome::Success));
    cluster.router.on_end(routed);
    assert_eq!(concluded.conclusion.failed, 0);
    assert!(!cluster.has_failed(0));
    // From then on the lists are believed.
    let mut routed = cluster.request(session(0));
    let second = list(&routed)[1];
    let concluded = cluster.answer(&mut routed, by(second, 2, Outcome::Success));
    cluster.router.on_end(routed);
    assert_eq!(concluded.conclusion.failed, 1);
    assert!(cluster.has_failed(0));
}

#[test]
fn endpoint_that_says_it_drains_is_spared_for_a_second_at_a_time() {
    let mut cluster = five();
    let mut routed = cluster.request(session(0));
    cluster.now_ms += 10;
    let drains = Answered {
        says_draining: true,
        ..by(0, 1, Outcome::Success)
    };
    let _ = cluster.answer(&mut routed, drains);
    cluster.router.on_end(routed);
    assert_eq!(cluster.estimate_ms(0), Some(10));
    assert!(cluster.has_failed(0));
    // Its sessions stay: whoever keeps them knows better.
    assert_eq!(list(&cluster.request(session(0)))[0], 0);
    cluster.now_ms += 1_000;
    assert!(!cluster.has_failed(0));
}

#[test]
fn answer_of_one_that_has_anothers_seat_by_now_blames_nobody() {
    let mut cluster = five();
    cluster.serve(4, 5, Outcome::Success);
    let mut routed = cluster.request(session(0));
    let second = list(&routed)[1];
    // The second left, and another one came.
    let mut others: Vec<_> = members(&[SERVES; 5])
        .into_iter()
        .filter(|member| member.index != second)
        .collect();
    cluster.tick(&others);
    others.push(crate::cluster::member(9, SERVES));
    cluster.tick(&others);
    let _ = cluster.answer(&mut routed, by(second, 2, Outcome::LocalFailure));
    cluster.router.on_end(routed);
    assert!(cluster.has_failed(0) && !cluster.has_failed(9));
    assert_eq!(cluster.in_flight(9), 0);
}

#[test]
fn decision_and_answer_show_themselves_with_their_numbers() {
    let mut cluster = Cluster::with(r#", "attempts": 2"#, &members(&[SERVES; 2]));
    cluster.serve(0, 50, Outcome::Success);
    cluster.serve(1, 50, Outcome::Success);
    cluster.serve(1, 1, Outcome::GatewayFailure);
    let mut routed = cluster.request(None);
    // Decayed for 51 ms and for 1 ms, of τ = 10 s.
    assert_eq!(
        routed.to_string(),
        "other_failed 10.0.0.0:80 (load 49745 us, estimate 49745 us, in flight 0) over 10.0.0.1:80 \
         (load 49995 us, estimate 49995 us, in flight 0, failed lately), then 10.0.0.1:80"
    );
    cluster.now_ms += 7;
    let concluded = cluster.answer(&mut routed, by(0, 1, Outcome::Success));
    let shown = concluded.explain(&routed).to_string();
    assert_eq!(shown, "10.0.0.0:80 answered in 7000 us, by the list");
    cluster.router.on_end(routed);
    let routed = cluster.request(session(1));
    assert_eq!(routed.to_string(), "session 10.0.0.1:80, then 10.0.0.0:80");
    assert_eq!(routed.began_at(), cluster.now());
    assert_eq!(ms(7).as_millis(), 7);
}

#[test]
fn what_another_router_decided_means_nothing_here() {
    let (mut cluster, mut other) = (five(), five());
    other.router = Router::new(&rule(""), ms(60_000), 2);
    other.tick(&members(&[SERVES; 5]));
    let mut foreign = other.request(session(0));
    let own = cluster.request(session(0));
    let answered = by(0, 1, Outcome::GatewayFailure);
    let concluded = cluster.answer(&mut foreign, answered);
    assert_eq!(concluded.attempts(&foreign).count(), 0);
    assert!(!cluster.has_failed(0));
    cluster.router.on_end(foreign);
    assert_eq!(cluster.in_flight(0), 1);
    cluster.router.on_end(own);
    assert_eq!(cluster.in_flight(0), 0);
}
