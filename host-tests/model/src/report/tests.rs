use super::*;

const SECOND_NS: u64 = 1_000_000_000;

fn scenario(expect: &[&str]) -> Scenario {
    let expect: Vec<String> = expect.iter().map(|text| (*text).to_owned()).collect();
    let value = serde_json::json!({
        "what": "a test",
        "duration": "30s",
        "traffic": [
            { "generated": { "name": "shop", "arrivals": { "steady": { "per_second": 1 } } } },
            { "requests": { "list": [{}] } },
        ],
        "clusters": [
            { "name": "a", "endpoints": [{ "address": "10.0.0.1:80", "count": 2 }] },
        ],
        "baselines": [{ "name": "plain" }],
        "expect": expect,
    });
    serde_json::from_value(value).unwrap()
}

fn row(started_s: u64, status: u16, millis: u64, endpoints: &[&str]) -> Row {
    Row {
        source: 1,
        started_ns: started_s * SECOND_NS,
        status: Some(status),
        details: "via_upstream".to_owned(),
        attempts: u32::try_from(endpoints.len()).unwrap(),
        endpoints: endpoints.iter().map(|it| Some((*it).to_owned())).collect(),
        first_byte_ns: Some(millis * 1_000_000),
        total_ns: millis * 1_000_000,
        ..Row::default()
    }
}

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";

fn report(expect: &[&str], rows: &[Row]) -> Report {
    let mut collector = Collector::new(&scenario(expect));
    for row in rows {
        collector.add(row);
    }
    collector.report(1)
}

#[test]
fn figures_are_those_of_the_rows() {
    let unanswered = Row {
        status: None,
        first_byte_ns: None,
        flags: Flags::parse("DC"),
        details: "downstream_remote_disconnect".to_owned(),
        ..row(3, 0, 2_000, &[A])
    };
    let local = Row {
        details: "no_healthy_upstream".to_owned(),
        flags: Flags::parse("UH"),
        endpoints: vec![None],
        ..row(4, 503, 0, &[A])
    };
    let report = report(
        &["slower_than.20ms <= 1", "slower_than.1500ms <= 1"],
        &[
            row(0, 200, 10, &[A]),
            row(1, 200, 30, &[A, B]),
            row(2, 404, 10, &[B]),
            unanswered,
            local,
        ],
    );
    let figures = [
        ("requests", Some(5.0)),
        ("answered", Some(4.0)),
        ("errors", Some(2.0)),
        ("error_ratio", Some(0.4)),
        ("status.200", Some(2.0)),
        ("status.500", Some(0.0)),
        ("attempts", Some(6.0)),
        ("attempts_per_request", Some(1.2)),
        ("retries", Some(1.0)),
        ("latency_ms.max", Some(30.0)),
        ("latency_ms.mean", Some(12.5)),
        ("total_ms.max", Some(2_000.0)),
        ("slower_than.20ms", Some(0.4)),
        ("slower_than.1.5s", Some(0.2)),
        ("flags.DC", Some(1.0)),
        ("flags.URX", Some(0.0)),
        ("details.via_upstream", Some(3.0)),
        ("local_replies", Some(1.0)),
        ("balance", Some(1.2)),
        ("sessions.count", Some(1.0)),
        ("sessions.moves", Some(1.0)),
        ("sources.1.requests", Some(5.0)),
        ("sources.shop.requests", Some(0.0)),
        ("sources.shop.error_ratio", None),
        ("endpoints.10.0.0.1:80.requests", Some(2.0)),
        ("endpoints.10.0.0.1:80.attempts", Some(3.0)),
        ("endpoints.10.0.0.1:80.errors", Some(1.0)),
        ("endpoints.10.0.0.2:80.share", Some(0.4)),
        ("endpoints.10.0.0.2:80.latency_ms.max", Some(30.0)),
        ("endpoints.10.0.0.2:80.max_in_flight", None),
        ("traps", None),
        ("nonsense", None),
    ];
    let found = figures.map(|(name, _)| (name, report.figure(name, None)));
    assert_eq!(found, figures);
}

#[test]
fn windows_hold_the_requests_that_began_in_them() {
    let expect = ["errors == 0 during 1s..2s", "requests == 0 during 5s..6s"];
    let report = report(
        &expect,
        &[
            row(0, 200, 1, &[A]),
            row(1, 500, 1, &[A]),
            row(2, 200, 1, &[A]),
        ],
    );
    let during = |text| Some(Window::parse(text).unwrap());
    assert_eq!(report.figure("errors", during("1s..2s")), Some(1.0));
    assert_eq!(report.figure("requests", during("1s..2s")), Some(1.0));
    assert_eq!(report.figure("requests", during("5s..6s")), Some(0.0));
    assert_eq!(report.figure("errors", during("5s..6s")), None);
    assert_eq!(report.figure("errors", during("2s..3s")), None, "unnamed");
}

#[test]
fn what_the_driver_tells_is_in_the_report() {
    let mut collector = Collector::new(&scenario(&["requests >= 0 during 0s..1s"]));
    collector.add(&row(0, 200, 1, &[A]));
    collector.in_flight(A, 5 * SECOND_NS, 7);
    collector.in_flight(A, 6 * SECOND_NS, 3);
    collector.in_flight("10.9.9.9:1", 6 * SECOND_NS, 3);
    collector.figure("traps", 2.0);
    collector.figure("metrics.x.y", 4.0);
    let report = collector.report(1);
    let peak = "endpoints.10.0.0.1:80.max_in_flight";
    assert_eq!(report.figure(peak, None), Some(7.0));
    let window = Some(Window::parse("0s..1s").unwrap());
    assert_eq!(report.figure(peak, window), None);
    assert_eq!(report.figure("traps", None), Some(2.0));
    assert_eq!(report.figure("metrics.x.y", None), Some(4.0));
}

#[test]
fn websockets_are_told_by_how_they_ended() {
    let socket = |status, close_code| Row {
        socket: Some(Socket {
            sent: 3,
            received: 2,
            close_code,
        }),
        ..row(0, status, 1, &[A])
    };
    let report = report(
        &[],
        &[
            socket(101, Some(1000)),
            socket(101, Some(1012)),
            socket(101, None),
            socket(403, None),
        ],
    );
    for (name, expected) in [
        ("opened", 3.0),
        ("refused", 1.0),
        ("sent", 9.0),
        ("received", 6.0),
        ("cut", 1.0),
        ("closes.1012", 1.0),
        ("closes.1001", 0.0),
    ] {
        let path = format!("websockets.{name}");
        assert_eq!(report.figure(&path, None), Some(expected), "{name}");
    }
}

#[test]
fn every_figure_that_is_named_is_in_a_report() {
    let mut collector = Collector::new(&scenario(&[]));
    collector.add(&row(0, 200, 1, &[A]));
    collector.add(&Row {
        source: 0,
        ..row(0, 200, 1, &[A])
    });
    collector.in_flight(A, 0, 1);
    for (name, _) in RUN_FIGURES {
        collector.figure(name, 1.0);
    }
    collector.figure("metrics.NAME", 1.0);
    let report = collector.report(1);
    for figure in figures() {
        let path = figure
            .form
            .replace("CODE", "200")
            .replace("SPAN", "1s")
            .replace("FLAG", "UF")
            .replace("DETAILS", "via_upstream")
            .replace("ADDRESS", A)
            .replace("SOURCE", "shop");
        assert!(report.figure(&path, None).is_some(), "{path}");
        let expectation = Expectation::parse(&format!("{path} >= 0")).unwrap();
        assert_eq!(
            expectation.problems(&scenario(&[])),
            Vec::<String>::new(),
            "{path}"
        );
    }
}

#[test]
fn expectations_compare_figures_with_numbers_and_with_figures() {
    let rows: Vec<Row> = (0..10).map(|at| row(at, 200, 50, &[A])).collect();
    let report = report(&["requests == 10 during 0s..5s"], &rows);
    let slow: Vec<Row> = (0..10).map(|at| row(at, 500, 100, &[A])).collect();
    let plain = self::report(&["requests == 10 during 0s..5s"], &slow);
    let baselines = BTreeMap::from([("plain".to_owned(), plain)]);
    for (text, expected) in [
        ("latency_ms.p99 <= 50", true),
        ("latency_ms.p99 < 50", false),
        ("latency_ms.p99 <= 50ms", true),
        ("latency_ms.max >= 0.05s", true),
        ("error_ratio <= 0%", true),
        ("requests == 10", true),
        ("requests != 10", false),
        ("requests > 5 during 0s..5s", false),
        ("requests == 5 during 0s..5s", true),
        (
            "latency_ms.p50 <= 0.5 * baseline.plain.latency_ms.p50",
            true,
        ),
        (
            "latency_ms.p50 < 0.5 * baseline.plain.latency_ms.p50",
            false,
        ),
        ("errors < baseline.plain.errors during 0s..5s", true),
        ("baseline.plain.errors == 10", true),
        ("attempts == requests", true),
        ("errors < baseline.other.errors", false),
        ("endpoints.10.0.0.2:80.latency_ms.p50 <= 1000", false),
        ("traps == 0", false),
    ] {
        let expectation = Expectation::parse(text).unwrap();
        let verdict = expectation.evaluate(&report, &baselines);
        assert_eq!(verdict.holds, expected, "{text}: {verdict:?}");
    }
}

#[test]
fn expectations_of_another_form_are_refused_with_what_to_write() {
    let cases = [
        ("", "no comparison"),
        ("latency_ms.p99", "no comparison"),
        ("latency_ms.p99 <=", "no bound"),
        ("latency_ms.p99 =< 50", "`=<` compares nothing"),
        ("latency_ms.p99 <= 50 60", "no bound"),
        ("latency_ms.p99 <= 5x * errors", "`5x` is no number"),
        ("latency_ms.p99 <= 50 during", "one window belongs"),
        ("latency_ms.p99 <= 50 during 1s", "no window"),
        (
            "latency_ms.p99 <= 50 during 2s..1s",
            "ends before it begins",
        ),
        ("latency_ms.p99 <= 50 during 1..2s", "missing unit"),
        ("latency_ms.p99 <= 1e999", "no number"),
        ("errors <= baseline.plain", "names no figure"),
    ];
    for (text, expected) in cases {
        let message = Expectation::parse(text).expect_err(text);
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn expectations_about_what_there_is_not_are_refused_with_what_is_near() {
    let cases = [
        (
            "latency_ms.p98 <= 1",
            "there is no figure `latency_ms.p98`; write one such as `latency_ms.p99`",
        ),
        (
            "latncy_ms.p99 <= 1",
            "there is no figure `latncy_ms.p99`; write one such as `latency_ms.p99`",
        ),
        (
            "xyz <= 1",
            "there is no figure `xyz`; write one such as `latency_ms.p99`",
        ),
        (
            "endpoints.10.0.0.3:80.share <= 1",
            "there is no endpoint `10.0.0.3:80`; write `10.0.0.2:80`",
        ),
        (
            "sources.shob.errors <= 1",
            "there is no source `shob`; write `shop`",
        ),
        (
            "status.abc == 0",
            "`abc` is no code; write a number such as 503",
        ),
        (
            "flags.XX == 0",
            "there is no response flag `XX`; write one of Envoy's, such as `URX`",
        ),
        (
            "slower_than.10 == 0",
            "missing unit in \"10\"; write \"10s\" or \"10ms\"",
        ),
        (
            "errors == baseline.envoy.errors",
            "there is no baseline `envoy`; add it to `baselines`",
        ),
        (
            "errors == 0 during 20s..31s",
            "the window `20s..31s` ends after the scenario; it lasts 30s",
        ),
        (
            "traps == 0 during 1s..2s",
            "`traps` is told of whole runs only; leave `during` out",
        ),
        (
            "errors <= 10ms",
            "`errors` is no time; write a number without a unit",
        ),
    ];
    for (text, expected) in cases {
        let problems = Expectation::parse(text)
            .expect(text)
            .problems(&scenario(&[]));
        assert_eq!(problems, [expected], "{text}");
    }
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let rows: Vec<Row> = (0..50)
        .map(|at| row(at % 20, 200, at * 3, &[if at % 3 == 0 { A } else { B }]))
        .collect();
    let write = || serde_json::to_string(&report(&[], &rows)).unwrap();
    assert_eq!(write(), write());
    assert!(
        write().contains(r#""endpoints":{"10.0.0.1:80":"#),
        "{}",
        write()
    );
}
