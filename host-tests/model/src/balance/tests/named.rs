//! Endpoints that a request names.

use std::cell::Cell;

use super::*;
use crate::balance::session;

fn override_host() -> Bench {
    let of = Of::OverrideHost {
        header: "x-endpoint".to_owned(),
        fallback: Box::new(Of::RoundRobin),
    };
    Bench::new(&of, 1)
}

/// Which of the unhealthy endpoints the attempts of a request get; `None`: what the fallback policy chose, a healthy
/// one.
fn attempts(bench: &mut Bench, hosts: &Hosts, list: &str, count: u32) -> Vec<Option<usize>> {
    let used = Cell::new(0);
    (1..=count)
        .map(|attempt| {
            let pick = Pick {
                attempt,
                wanted: Some(list),
                used: Some(&used),
                ..Pick::default()
            };
            let is_named = |host: &usize| hosts.all[*host].health == Health::Unhealthy;
            let picked = bench.pick_for(hosts, &pick).filter(is_named);
            // While the membership stays the same, reading the list anew comes to the same.
            let anew = bench.pick_for(hosts, &Pick { used: None, ..pick });
            assert_eq!(anew.filter(is_named), picked);
            picked
        })
        .collect()
}

#[test]
fn each_attempt_takes_the_next_entry_that_is_a_member() {
    // All but the last one are unhealthy, which the list doesn't mind; without panic the fallback has the last one
    // only.
    let mut hosts = hosts(&[1; 5]);
    for host in hosts.all.iter_mut().take(4) {
        host.health = Health::Unhealthy;
    }
    let mut draws = Draws::new(1, "balancer", 0);
    let of = Of::OverrideHost {
        header: "x-endpoint".to_owned(),
        fallback: Box::new(Of::RoundRobin),
    };
    let mut bench = Bench {
        balancer: balancer(&of, 0.0, &mut draws),
        draws,
    };
    let cases: [(&str, &str, [Option<usize>; 3]); 7] = [
        (
            "in order",
            "127.0.0.1:18803,127.0.0.1:18801,127.0.0.1:18802",
            [Some(2), Some(0), Some(1)],
        ),
        (
            "with spaces",
            " 127.0.0.1:18803 ,\t127.0.0.1:18801 ,, ",
            [Some(2), Some(0), None],
        ),
        (
            "with unknown ones",
            "10.0.0.1:80,127.0.0.1:18802,nonsense,127.0.0.1:18801",
            [Some(1), Some(0), None],
        ),
        (
            "the same again",
            "127.0.0.1:18802,127.0.0.1:18802",
            [Some(1), Some(1), None],
        ),
        ("used up", "127.0.0.1:18804", [Some(3), None, None]),
        ("none", "", [None, None, None]),
        ("a host without its port", "127.0.0.1", [None, None, None]),
    ];
    for (name, list, expected) in cases {
        assert_eq!(attempts(&mut bench, &hosts, list, 3), expected, "{name}");
    }
}

#[test]
fn entry_that_leaves_after_its_attempt_does_not_skip_the_next() {
    let mut bench = override_host();
    let mut hosts = hosts(&[1; 3]);
    let used = Cell::new(0);
    let pick = |attempt| Pick {
        attempt,
        wanted: Some("127.0.0.1:18801,127.0.0.1:18802"),
        used: Some(&used),
        ..Pick::default()
    };
    assert_eq!(bench.pick_for(&hosts, &pick(1)), Some(0));
    hosts.members.remove(0);
    hosts.generation = 2;
    assert_eq!(bench.pick_for(&hosts, &pick(2)), Some(1));
}

#[test]
fn request_without_a_list_is_balanced_by_the_fallback() {
    let hosts = hosts(&[1; 3]);
    let mut bench = override_host();
    let picked: Vec<usize> = (0..3).map(|_| bench.pick(&hosts).unwrap()).collect();
    assert_eq!(picked.iter().sum::<usize>(), 3, "{picked:?}");
}

#[test]
fn session_is_kept_by_its_first_attempt_and_only_at_an_endpoint_that_is_well() {
    let of = Of::StatefulSession {
        cookie: "session".to_owned(),
        fallback: Box::new(Of::RoundRobin),
    };
    let mut hosts = hosts(&[1; 3]);
    hosts.all[1].health = Health::Degraded;
    hosts.all[2].health = Health::Draining;
    let named = |attempt, wanted| Pick {
        attempt,
        wanted: Some(wanted),
        ..Pick::default()
    };
    let kept = |attempt, wanted, host: usize| {
        let mut bench = Bench::new(&of, 1);
        (0..50).all(|_| bench.pick_for(&hosts, &named(attempt, wanted)) == Some(host))
    };
    assert!(kept(1, "127.0.0.1:18802", 1));
    assert!(!kept(2, "127.0.0.1:18802", 1));
    assert!(!kept(1, "127.0.0.1:18803", 2));
    assert!(!kept(1, "127.0.0.1:18801,127.0.0.1:18802", 0));
}

#[test]
fn session_cookie_is_the_one_that_the_real_envoy_writes() {
    assert_eq!(
        session::write("session", "127.0.0.1:18801"),
        "session=\"Cg8xMjcuMC4wLjE6MTg4MDE=\"; Path=/; HttpOnly"
    );
}

#[test]
fn session_cookie_is_read_however_it_is_sent() {
    type Case = (&'static str, &'static [&'static [u8]], Option<&'static str>);
    let cases: [Case; 13] = [
        (
            "as written",
            &[b"session=\"Cg8xMjcuMC4wLjE6MTg4MDE=\""],
            Some("127.0.0.1:18801"),
        ),
        (
            "without quotes",
            &[b"session=Cg8xMjcuMC4wLjE6MTg4MDE="],
            Some("127.0.0.1:18801"),
        ),
        (
            "among others",
            &[b"a=b; session=Cg8xMjcuMC4wLjE6MTg4MDE=; c=d"],
            Some("127.0.0.1:18801"),
        ),
        (
            "in a second header",
            &[b"a=b", b"session=Cg8xMjcuMC4wLjE6MTg4MDE="],
            Some("127.0.0.1:18801"),
        ),
        (
            "twice",
            &[b"session=Cg8xMjcuMC4wLjE6MTg4MDE=; session=Cg8xMjcuMC4wLjE6MTg4MDI="],
            Some("127.0.0.1:18801"),
        ),
        (
            "with an end",
            &[b"session=Cg8xMjcuMC4wLjE6MTg4MDEQwIQ9"],
            Some("127.0.0.1:18801"),
        ),
        // No buffer: an address as it is. "127.0.0.1:18801" in base64.
        (
            "in the old form",
            &[b"session=MTI3LjAuMC4xOjE4ODAx"],
            Some("127.0.0.1:18801"),
        ),
        // "10.0.0.1:80" is a buffer by chance, with eight bytes as field 6 and a number as field 7, and has no address.
        (
            "in the old form, by chance a buffer",
            &[b"session=MTAuMC4wLjE6ODA="],
            None,
        ),
        (
            "another name",
            &[b"sessions=Cg8xMjcuMC4wLjE6MTg4MDE="],
            None,
        ),
        ("no base64", &[b"session=Cg8xMjcuMC4wLjE6MTg4MDE"], None),
        ("nothing", &[b"session="], None),
        ("bytes", &[b"session=\xff\xfe", b"\xff"], None),
        ("no cookie", &[], None),
    ];
    for (name, headers, expected) in cases {
        let read = session::read(headers.iter().copied(), "session");
        assert_eq!(read.as_deref(), expected, "{name}");
    }
}
