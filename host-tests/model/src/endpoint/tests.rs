use super::*;

const MS: u64 = 1_000_000;

fn server(yaml: &str) -> Server {
    // YAML has a notation of its own for variants; by way of JSON they are maps.
    let value: serde_json::Value =
        serde_norway::from_str(&format!("address: 10.0.0.1:80\n{yaml}")).unwrap();
    Server::new(serde_json::from_value(value).unwrap(), 1, 0)
}

fn get(path: &str) -> Asked<'_> {
    Asked {
        path,
        upgrade: false,
        recorded_ns: None,
    }
}

fn at(begun: &Begun) -> Option<u64> {
    match begun {
        Begun::Serves(served) => Some(served.at_ns / MS),
        Begun::Waits => None,
    }
}

fn status(begun: &Begun) -> Option<u16> {
    match begun {
        Begun::Serves(Served {
            with: Serving::Answer(answer) | Serving::Socket(answer),
            ..
        }) => Some(answer.status),
        _ => None,
    }
}

#[test]
fn requests_beyond_its_places_wait_in_order_and_those_beyond_the_queue_are_refused() {
    let mut server = server("latency: { constant: 10ms }\nconcurrency: 1\nqueue: 2");
    let begun: Vec<_> = (0..4)
        .map(|number| server.begin(number, &get("/"), 0))
        .collect();
    assert_eq!(
        begun.iter().map(at).collect::<Vec<_>>(),
        [Some(10), None, None, Some(0)]
    );
    assert_eq!(begun.last().and_then(status), Some(503));
    assert_eq!(server.under_way(), 3);
    // The proxy gives one up that waits: the other is next.
    assert_eq!(server.end(1, 5 * MS), None);
    let (next, served) = server.end(0, 10 * MS).unwrap();
    assert_eq!((next, served.at_ns), (2, 20 * MS));
    assert_eq!(server.end(2, 20 * MS), None);
    assert_eq!(server.end(2, 20 * MS), None);
    assert_eq!(server.under_way(), 0);
}

#[test]
fn timeline_says_what_it_is_at_a_time() {
    let server = server(
        "timeline:
  - { from: 1s, until: 2s, state: refuses }
  - { from: 2s, until: 3s, state: unreachable }
  - { from: 3s, until: 4s, state: absent }
  - { from: 4s, state: { membership: draining } }",
    );
    let connects: Vec<_> = (0..5)
        .map(|second| server.connects(second * 1_000 * MS))
        .collect();
    use Connects::{Never, Refused, Yes};
    assert_eq!(connects, [Yes, Refused, Never, Yes, Yes]);
    let healthy = Some(Health::Healthy);
    let membership: Vec<_> = (0..5)
        .map(|second| server.membership(second * 1_000 * MS))
        .collect();
    assert_eq!(
        membership,
        [healthy, healthy, healthy, None, Some(Health::Draining)]
    );
    let mut changes: Vec<u64> = server.changes().map(|ns| ns / MS / 1_000).collect();
    changes.dedup();
    assert_eq!(changes, [1, 2, 3, 4]);
}

#[test]
fn slow_slower_and_cold_phases_stretch_the_work() {
    let mut server = server(
        "latency: { constant: 10ms }
timeline:
  - { from: 1s, until: 2s, state: { slow: { constant: 2s } } }
  - { from: 2s, until: 3s, state: { slower: 3 } }
  - { from: 4s, until: 8s, state: { cold: 11 } }",
    );
    let mut took = |now_ms: u64| {
        let begun = server.begin(now_ms, &get("/"), now_ms * MS);
        server.end(now_ms, now_ms * MS);
        at(&begun).map(|at| at - now_ms)
    };
    let times = [0, 1_000, 2_000, 3_000, 4_000, 6_000, 8_000].map(&mut took);
    assert_eq!(times, [10, 2_000, 30, 10, 110, 60, 10].map(Some));
}

#[test]
fn shares_of_errors_are_what_the_scenario_says() {
    let mut server =
        server("errors: [{ ratio: 0.1, with: { status: 500 } }, { ratio: 0.2, with: disconnect }]");
    let mut seen = [0_u32; 3];
    let n = 100_000;
    for number in 0..n {
        let begun = server.begin(number, &get("/"), 0);
        let index = match begun {
            Begun::Serves(Served {
                with: Serving::Disconnect,
                ..
            }) => 2,
            begun => usize::from(status(&begun) == Some(500)),
        };
        seen[index] += 1;
        server.end(number, 0);
    }
    // The second happens where the first did not: 0.9 · 0.2; four standard deviations.
    for (index, share) in [(1, 0.1_f64), (2, 0.18)] {
        let expected = 100_000.0 * share;
        let sigma = (expected * (1.0 - share)).sqrt();
        assert!(
            (f64::from(seen[index]) - expected).abs() < 4.0 * sigma,
            "{seen:?}"
        );
    }
}

#[test]
fn probes_and_announcements_are_part_of_the_answers() {
    let mut server = server(
        "timeline:
  - { from: 1s, state: { probe: { path: /health, answer: { status: 503 } } } }
  - { from: 1s, until: 3s, state: { announces: { x-tidegate-drain: '60' } } }
  - { from: 2s, state: hangs }",
    );
    let statuses = |server: &mut Server, now_ms: u64| {
        ["/health/ready", "/"].map(|path| {
            let begun = server.begin(0, &get(path), now_ms * MS);
            server.end(0, now_ms * MS);
            begun
        })
    };
    let before = statuses(&mut server, 0);
    assert_eq!(before.each_ref().map(status), [Some(200), Some(200)]);
    let during = statuses(&mut server, 1_000);
    assert_eq!(during.each_ref().map(status), [Some(503), Some(200)]);
    for begun in during {
        let Begun::Serves(Served {
            with: Serving::Answer(answer),
            ..
        }) = begun
        else {
            panic!("it answers");
        };
        assert_eq!(
            answer.headers.get("x-tidegate-drain").map(String::as_str),
            Some("60")
        );
    }
    let silent = statuses(&mut server, 2_000);
    assert_eq!(silent.each_ref().map(status), [None, None]);
}

#[test]
fn socket_is_taken_or_refused_and_takes_no_place() {
    let upgrade = Asked {
        path: "/ws",
        upgrade: true,
        recorded_ns: None,
    };
    let mut echo = server("concurrency: 1");
    for number in 0..3 {
        assert_eq!(status(&echo.begin(number, &upgrade, 0)), Some(101));
    }
    assert_eq!(echo.under_way(), 0);
    let mut refusing = server("sockets: refuse\nanswer: { status: 403 }");
    assert_eq!(status(&refusing.begin(0, &upgrade, 0)), Some(403));
}
