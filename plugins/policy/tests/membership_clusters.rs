//! What is read from Envoy's admin, in slices, whole or not at all.
//!
//! `envoy-1.40.0-*` are answers of an Envoy with a cluster `echo` (EDS health of every kind, a Unix
//! socket, an internal listener, active checks that fail) and an empty cluster `cluster.x`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;

use proptest::prelude::*;
use tidegate_policy::membership::{
    ClustersParser, Counters, Discovered, Health, Listing, MAX_ANSWER_BYTES, MAX_CLUSTERS,
    MAX_DEPTH, MAX_ENDPOINTS, MAX_NAME_BYTES, MAX_TOKEN_BYTES, MAX_ZONE_BYTES, MAX_ZONES, Progress,
    Refused, Standing, StatsParser, Why,
};

const ENVOY_CLUSTERS: &str = include_str!("membership/envoy-1.40.0-clusters.json");
const ENVOY_STATS: &str = include_str!("membership/envoy-1.40.0-stats.txt");

fn read_in_slices(bytes: &[u8], budget: usize) -> Result<Vec<Listing>, Refused> {
    let mut parser = ClustersParser::new();
    let mut before = 0;
    loop {
        match parser.advance(bytes, budget) {
            Progress::More { read } => {
                assert!(read > before, "no progress at {read}");
                assert!(read - before <= budget.max(1) + MAX_TOKEN_BYTES + 2);
                before = read;
            }
            Progress::Done(listings) => return Ok(listings),
            Progress::Refused(refused) => return Err(refused),
        }
    }
}

fn read(text: &str) -> Result<Vec<Listing>, Refused> {
    read_in_slices(text.as_bytes(), usize::MAX)
}

fn why(text: &str) -> Why {
    read(text).unwrap_err().why
}

/// Is an answer with one cluster `echo` of these endpoints.
fn echo(endpoints: &str) -> String {
    format!(r#"{{"cluster_statuses": [{{"name": "echo", "host_statuses": [{endpoints}]}}]}}"#)
}

fn endpoint(address: &str, port: usize, more: &str) -> String {
    format!(
        r#"{{"address": {{"socket_address": {{"address": "{address}", "port_value": {port}}}}}{more}}}"#
    )
}

fn shown(listing: &Listing) -> String {
    let mut text = String::new();
    for (address, listed) in listing.endpoints() {
        let zone = listing.zone(listed.zone);
        let standing = listed.health.standing();
        writeln!(
            text,
            "{address} weight {} zone {zone:?} priority {} {:?} {standing:?}",
            listed.weight, listed.priority, listed.health.discovered
        )
        .unwrap();
    }
    text
}

#[test]
fn answer_of_a_real_envoy_is_read_whole() {
    let listings = read(ENVOY_CLUSTERS).unwrap();
    let names: Vec<_> = listings.iter().map(Listing::cluster).collect();
    assert_eq!(names, ["cluster.x", "echo"]);
    assert_eq!(listings[0].endpoints().len(), 0);
    let echo = &listings[1];
    assert_eq!((echo.unusable(), echo.repeated()), (2, 0));
    assert_eq!(echo.observability_name(), "echo");
    assert_eq!(
        shown(echo),
        "127.0.0.1:9 weight 7 zone \"z1\" priority 0 Draining Draining\n\
         127.0.0.1:11 weight 1 zone \"z1\" priority 0 Degraded Unhealthy\n\
         127.0.0.1:12 weight 1 zone \"\" priority 1 Healthy Unhealthy\n\
         127.0.0.1:13 weight 1 zone \"z1\" priority 0 Unhealthy Unhealthy\n\
         [::1]:10 weight 1 zone \"z1\" priority 0 Unhealthy Unhealthy\n"
    );
    assert!(
        echo.endpoints()
            .all(|(_, e)| e.health.failed_active_health_check)
    );
}

#[test]
fn answer_in_slices_of_any_size_is_the_same() {
    let whole = read(ENVOY_CLUSTERS).unwrap();
    for budget in [0, 1, 2, 3, 7, 64, 1000, 4096] {
        let sliced = read_in_slices(ENVOY_CLUSTERS.as_bytes(), budget).unwrap();
        assert_eq!(sliced, whole, "{budget}");
    }
}

#[test]
fn answer_cut_off_anywhere_is_refused() {
    let end = ENVOY_CLUSTERS.trim_end().len();
    for length in 0..end {
        let outcome = read_in_slices(&ENVOY_CLUSTERS.as_bytes()[..length], usize::MAX);
        assert_eq!(outcome.unwrap_err().why, Why::Truncated, "{length}");
    }
}

#[test]
fn fields_in_another_order_mean_the_same() {
    let text = r#"{"later": {"a": [1, {"b": null}]}, "cluster_statuses": [
        {"host_statuses": [{"weight": "3", "locality": {"zone": "a", "region": "r"},
            "health_status": {"new_flag": true, "eds_health_status": "HEALTHY"}, "hostname": "x",
            "address": {"socket_address": {"port_value": 80, "address": "10.0.0.1"}}}],
         "added_via_api": true, "name": "e\u0063ho"}]}"#;
    let listings = read(text).unwrap();
    assert_eq!(listings[0].cluster(), "echo");
    assert_eq!(
        shown(&listings[0]),
        "10.0.0.1:80 weight 3 zone \"a\" priority 0 Healthy Available\n"
    );
}

#[test]
fn every_flag_of_envoy_is_read_and_summed_up() {
    let cases: [(&str, Health, Standing); 10] = [
        ("{}", Health::default(), Standing::Available),
        (
            r#"{"eds_health_status": "LATER"}"#,
            Health::default(),
            Standing::Available,
        ),
        (
            r#"{"eds_health_status": "TIMEOUT"}"#,
            Health {
                discovered: Discovered::Unhealthy,
                ..Health::default()
            },
            Standing::Unhealthy,
        ),
        (
            r#"{"failed_active_health_check": true}"#,
            Health {
                failed_active_health_check: true,
                ..Health::default()
            },
            Standing::Unhealthy,
        ),
        (
            r#"{"failed_outlier_check": true}"#,
            Health {
                failed_outlier_check: true,
                ..Health::default()
            },
            Standing::Ejected,
        ),
        (
            r#"{"failed_active_degraded_check": true}"#,
            Health {
                failed_active_degraded_check: true,
                ..Health::default()
            },
            Standing::Degraded,
        ),
        (
            r#"{"pending_dynamic_removal": true, "failed_outlier_check": true}"#,
            Health {
                pending_dynamic_removal: true,
                failed_outlier_check: true,
                ..Health::default()
            },
            Standing::Draining,
        ),
        (
            r#"{"pending_active_hc": true}"#,
            Health {
                pending_active_hc: true,
                ..Health::default()
            },
            Standing::Unhealthy,
        ),
        (
            r#"{"excluded_via_immediate_hc_fail": true}"#,
            Health {
                excluded_via_immediate_hc_fail: true,
                ..Health::default()
            },
            Standing::Unhealthy,
        ),
        (
            r#"{"active_hc_timeout": true}"#,
            Health {
                active_hc_timeout: true,
                ..Health::default()
            },
            Standing::Available,
        ),
    ];
    for (text, health, standing) in cases {
        let more = format!(r#", "health_status": {text}"#);
        let listings = read(&echo(&endpoint("10.0.0.1", 80, &more))).unwrap();
        let (_, listed) = listings[0].endpoints().next().unwrap();
        assert_eq!(
            (listed.health, listed.health.standing()),
            (health, standing),
            "{text}"
        );
    }
}

#[test]
fn endpoint_that_no_header_can_name_is_counted_and_left_out() {
    let endpoints = [
        endpoint("echo.local", 80, ""),
        endpoint("10.0.0.1", 0, ""),
        r#"{"address": {"pipe": {"path": "/run/x"}}}"#.into(),
        "{}".into(),
        endpoint("10.0.0.1", 80, ""),
        endpoint("10.0.0.1", 80, r#", "weight": 9, "priority": 1"#),
    ];
    let listings = read(&echo(&endpoints.join(","))).unwrap();
    let listing = &listings[0];
    assert_eq!((listing.unusable(), listing.repeated()), (4, 1));
    assert_eq!(
        shown(listing),
        "10.0.0.1:80 weight 1 zone \"\" priority 0 Healthy Available\n"
    );
}

#[test]
fn answer_that_is_no_listing_is_refused_with_its_reason() {
    let wrong = |field, wanted| Why::WrongType { field, wanted };
    let good = endpoint("10.0.0.1", 80, "");
    let weight = |weight: &str| {
        echo(&endpoint(
            "10.0.0.1",
            80,
            &format!(r#", "weight": {weight}"#),
        ))
    };
    let cases = [
        (String::new(), Why::Truncated),
        ("[]".into(), wrong("the answer", "an object")),
        ("null x".into(), Why::Syntax("something follows the end")),
        ("{} {}".into(), Why::Syntax("something follows the end")),
        ("<html>".into(), Why::Syntax("this is no value")),
        (
            r#"{"cluster_statuses": {}}"#.into(),
            wrong("cluster_statuses", "an array"),
        ),
        (
            r#"{"cluster_statuses": [1]}"#.into(),
            wrong("a cluster", "an object"),
        ),
        (
            r#"{"cluster_statuses": [{}]}"#.into(),
            Why::Missing { field: "name" },
        ),
        (
            r#"{"cluster_statuses": [{"name": "a"}, {"name": "a"}]}"#.into(),
            Why::ClusterTwice,
        ),
        (
            r#"{"cluster_statuses": [{"name": "a", "name": "b"}]}"#.into(),
            Why::FieldTwice { field: "name" },
        ),
        (
            r#"{"cluster_statuses": [{"name": "a"},]}"#.into(),
            Why::Syntax("this is no value"),
        ),
        (
            format!(
                r#"{{"cluster_statuses": [{{"name": "{}"}}]}}"#,
                "n".repeat(MAX_NAME_BYTES + 1)
            ),
            Why::TooLong { field: "name" },
        ),
        (weight("-1"), wrong("weight", "a whole number")),
        (weight("1.5"), wrong("weight", "a whole number")),
        (weight("true"), wrong("weight", "a whole number")),
        (weight("4294967296"), Why::OutOfRange { field: "weight" }),
        (
            weight("99999999999999999999"),
            Why::OutOfRange { field: "weight" },
        ),
        (weight("01"), Why::Syntax("this is no value")),
        (
            echo(&endpoint("10.0.0.1", 65_536, "")),
            Why::OutOfRange {
                field: "port_value",
            },
        ),
        (
            echo(&format!(r#"{good} {good}"#)),
            Why::Syntax("a comma or a closing bracket is missing"),
        ),
        (
            "{\"a\": \"\u{1}\"}".into(),
            Why::Syntax("a control character must be escaped"),
        ),
        (
            r#"{"\ud800": 1}"#.into(),
            Why::Syntax("this is no escape sequence"),
        ),
        (
            r#"{"\ud800\u0041": 1}"#.into(),
            Why::Syntax("this is no escape sequence"),
        ),
        (
            r#"{"\x": 1}"#.into(),
            Why::Syntax("this is no escape sequence"),
        ),
        (
            r#"{1: 1}"#.into(),
            Why::Syntax("an object needs a name, a colon and a value"),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(why(&text), expected, "{text:.200}");
    }
    let not_utf8 = read_in_slices(b"{\"\xff\": 1}", 64).unwrap_err();
    assert_eq!(not_utf8.why, Why::NotUtf8);
}

#[test]
fn refusal_names_the_place() {
    let text = echo(
        &[
            endpoint("10.0.0.1", 80, ""),
            endpoint("10.0.0.2", 80, r#", "weight": "x""#),
        ]
        .join(","),
    );
    let refused = read(&text).unwrap_err();
    assert_eq!(refused.at_endpoint, Some(1));
    assert_eq!(text.find("\"x\""), Some(refused.at_byte));
    assert_eq!(
        refused.to_string(),
        format!(
            "`weight` must be a whole number at byte {}, endpoint 1",
            refused.at_byte
        )
    );
}

#[test]
fn each_cap_is_reached_and_one_more_is_refused() {
    let many = |count: usize| {
        let list = (0..count).map(|i| endpoint(&format!("10.0.{}.{}", i / 256, i % 256), 80, ""));
        echo(&list.collect::<Vec<_>>().join(","))
    };
    let listings = read(&many(MAX_ENDPOINTS)).unwrap();
    assert_eq!(listings[0].endpoints().len(), MAX_ENDPOINTS);
    let refused = read(&many(MAX_ENDPOINTS + 1)).unwrap_err();
    assert_eq!(
        (refused.why, refused.at_endpoint),
        (Why::TooManyEndpoints, Some(MAX_ENDPOINTS))
    );

    let clusters = |count: usize| {
        let list = (0..count).map(|index| format!(r#"{{"name": "c{index}"}}"#));
        format!(
            r#"{{"cluster_statuses": [{}]}}"#,
            list.collect::<Vec<_>>().join(",")
        )
    };
    assert_eq!(read(&clusters(MAX_CLUSTERS)).unwrap().len(), MAX_CLUSTERS);
    assert_eq!(why(&clusters(MAX_CLUSTERS + 1)), Why::TooManyClusters);

    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        format!(r#"{{"x": {open}{close}}}"#)
    };
    assert_eq!(read(&nested(MAX_DEPTH)).unwrap(), []);
    assert_eq!(why(&nested(MAX_DEPTH + 1)), Why::TooDeep);

    let text = |length: usize| format!(r#"{{"x": "{}"}}"#, "x".repeat(length));
    assert_eq!(read(&text(MAX_TOKEN_BYTES)).unwrap(), []);
    assert_eq!(why(&text(MAX_TOKEN_BYTES + 1)), Why::TokenTooLong);
    let number = |length: usize| format!(r#"{{"x": {}}}"#, "1".repeat(length));
    assert_eq!(read(&number(MAX_TOKEN_BYTES)).unwrap(), []);
    assert_eq!(why(&number(MAX_TOKEN_BYTES + 1)), Why::TokenTooLong);

    let padded = |length: usize| String::from("{}") + &" ".repeat(length - 2);
    assert_eq!(read(&padded(MAX_ANSWER_BYTES)).unwrap(), []);
    assert_eq!(why(&padded(MAX_ANSWER_BYTES + 1)), Why::TooManyBytes);
}

#[test]
fn zone_beyond_the_caps_is_dropped_and_the_endpoint_stays() {
    let zone = |zone: &str| format!(r#", "locality": {{"zone": "{zone}"}}"#);
    let mut endpoints: Vec<_> = (0..=MAX_ZONES)
        .map(|i| endpoint(&format!("10.0.0.{i}"), 80, &zone(&format!("z{i}"))))
        .collect();
    endpoints.push(endpoint(
        "10.0.1.0",
        80,
        &zone(&"z".repeat(MAX_ZONE_BYTES + 1)),
    ));
    let listings = read(&echo(&endpoints.join(","))).unwrap();
    let zones: Vec<_> = listings[0]
        .endpoints()
        .map(|(_, listed)| listings[0].zone(listed.zone).to_owned())
        .collect();
    assert_eq!(zones[MAX_ZONES - 1], "z63");
    assert_eq!(zones[MAX_ZONES..], ["", ""]);
}

#[test]
fn parser_that_has_answered_is_spent() {
    let mut parser = ClustersParser::new();
    assert_eq!(parser.advance(b"{}", 9), Progress::Done(vec![]));
    let Progress::Refused(refused) = parser.advance(b"{}", 9) else {
        panic!("answered twice");
    };
    assert_eq!(refused.why, Why::Spent);
}

fn stats_in_slices(bytes: &[u8], budget: usize) -> Result<Vec<(String, Counters)>, Refused> {
    let mut parser = StatsParser::new();
    loop {
        match parser.advance(bytes, budget) {
            Progress::More { read } => assert!(read <= bytes.len()),
            Progress::Done(counters) => return Ok(counters.into_iter().collect()),
            Progress::Refused(refused) => return Err(refused),
        }
    }
}

#[test]
fn counters_of_a_real_envoy_are_read_in_slices_of_any_size() {
    let expected = [
        ("cluster.x".to_owned(), Counters::default()),
        (
            "echo".to_owned(),
            Counters {
                change: 2,
                total: 7,
                healthy: 0,
                degraded: 0,
                excluded: 1,
            },
        ),
    ];
    for budget in [0, 1, 50, usize::MAX] {
        assert_eq!(
            stats_in_slices(ENVOY_STATS.as_bytes(), budget).unwrap(),
            expected
        );
    }
}

#[test]
fn counters_that_are_none_are_refused_and_other_lines_are_not() {
    let change = |value: &str| format!("cluster.a.membership_change: {value}\n");
    assert_eq!(stats_in_slices(b"", 9).unwrap(), []);
    let others = "server.live: 1\ncluster.a.upstream_rq: 3\ncluster.a.membership_total: 1\n\
                  cluster.a.membership_new: x\ncluster..membership_change: 1\nnonsense\n\n";
    assert_eq!(stats_in_slices(others.as_bytes(), 9).unwrap(), []);
    let wrong = Why::WrongType {
        field: "membership_change",
        wanted: "a whole number",
    };
    let cases = [
        (change("x"), wrong),
        (change("-1"), wrong),
        (change(""), wrong),
        (
            change("99999999999999999999"),
            Why::OutOfRange {
                field: "membership_change",
            },
        ),
        ("cluster.a.membership_change: 1".into(), Why::Truncated),
        (
            format!("{}\n", "x".repeat(MAX_TOKEN_BYTES + 1)),
            Why::TokenTooLong,
        ),
        (
            (0..=MAX_CLUSTERS).fold(String::new(), |text, index| {
                format!("{text}cluster.c{index}.membership_change: 1\n")
            }),
            Why::TooManyClusters,
        ),
        (
            format!(
                "cluster.{}.membership_change: 1\n",
                "x".repeat(MAX_NAME_BYTES + 1)
            ),
            Why::TooLong { field: "name" },
        ),
    ];
    for (text, expected) in cases {
        let refused = stats_in_slices(text.as_bytes(), usize::MAX).unwrap_err();
        assert_eq!(refused.why, expected, "{text:.100}");
    }
    let longest = format!("{}\n", "x".repeat(MAX_TOKEN_BYTES));
    assert_eq!(stats_in_slices(longest.as_bytes(), 9).unwrap(), []);
}

proptest! {
    #[test]
    fn any_bytes_end_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), budget in 0_usize..64) {
        let _ = read_in_slices(&bytes, budget);
        let _ = stats_in_slices(&bytes, budget);
    }

    #[test]
    fn any_words_of_json_end_the_same_in_any_slices(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"name\"", "\"cluster_statuses\"", "\"host_statuses\"",
            "\"address\"", "\"weight\"", "1", "-1", "1e5", "true", "null", " ", "\"\\u0041\"", "\"",
        ]), 0..60),
        budget in 0_usize..9,
    ) {
        let text = words.concat();
        prop_assert_eq!(
            read_in_slices(text.as_bytes(), budget),
            read_in_slices(text.as_bytes(), usize::MAX)
        );
        let is_json = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        if read(&text).is_ok() {
            prop_assert!(is_json, "{}", text);
        }
    }

    #[test]
    fn mutated_answer_is_refused_or_a_listing(at in 0_usize..6000, byte in any::<u8>()) {
        let mut bytes = ENVOY_CLUSTERS.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(listings) = read_in_slices(&bytes, 333) {
            prop_assert!(listings.len() <= 2);
        }
    }

    #[test]
    fn name_of_any_characters_survives_escaping(name in "\\PC{1,40}|[\\x00-\\x20\"\\\\]{1,8}") {
        let text = serde_json::json!({"cluster_statuses": [{"name": name}]}).to_string();
        let listings = read(&text).unwrap();
        prop_assert_eq!(listings[0].cluster(), name);
    }
}
