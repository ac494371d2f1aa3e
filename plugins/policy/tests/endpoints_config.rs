//! What the block `endpoints` may say, and what is said about one that may not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use tidegate_policy::{
    config::{Problems, from_json},
    ejection,
    endpoints::{Config, RawEndpoints, Source},
};

fn parse(json: &str) -> Result<Config, Vec<(String, &'static str)>> {
    let raw: RawEndpoints = from_json(json, "").unwrap();
    let mut problems = Problems::new();
    let config = Config::check(&raw, "$.endpoints", &mut problems);
    let found: Vec<_> = problems
        .into_sorted()
        .into_iter()
        .map(|problem| (problem.path, problem.code))
        .collect();
    assert_eq!(config.is_none(), !found.is_empty());
    config.ok_or(found)
}

fn json(config: &Config) -> String {
    let mut json = String::new();
    config.write_json(&mut json);
    json
}

#[test]
fn empty_block_has_the_documented_defaults() {
    let expected = "{\"clusters\":[],\"source\":{\"admin\":{\"cluster\":\"envoy_admin\",\
                    \"interval\":\"1s\",\"refresh\":\"30s\"}},\"probe\":null,\
                    \"drain_window\":\"1m\",\"failure_statuses\":[500,502,503,504],\
                    \"ejection\":{\"gateway_failures_in_row\":5,\
                    \"local_failures_in_row\":5,\"excess_failure_ratio\":0.2,\
                    \"min_requests\":20,\"window\":\"10s\",\"time\":\"30s\",\
                    \"max_time\":\"5m\",\"min_available_ratio\":0.5},\"stale_after\":\"1m\",\"status_path\":null}";
    assert_eq!(json(&parse("{}").unwrap()), expected);
}

#[test]
fn block_that_is_written_and_read_again_is_equal() {
    for text in [
        "{}",
        r#"{"clusters": [{"name": "a\"b"}, {"prefix": ""}], "status_path": "/tidegate"}"#,
        r#"{"source": {"feed": {"cluster": "lists", "host": "lists:8080", "path": "/a?b=c"}},
            "probe": {"host": "app", "initial": "unhealthy"}, "drain_window": "90s"}"#,
        r#"{"source": {"learned": {}}}"#,
        r#"{"ejection": null, "failure_statuses": []}"#,
        r#"{"ejection": {"time": "10s", "excess_failure_ratio": 0.5}, "failure_statuses": [599, 500]}"#,
        r#"{"source": {"static": [
            {"cluster": "b", "endpoints": [{"address": "[::1]:80", "weight": 2, "zone": "z", "priority": 1}]},
            {"cluster": "a", "endpoints": [{"address": "10.0.0.2:80"}, {"address": "10.0.0.1:80"}]}]}}"#,
    ] {
        let config = parse(text).unwrap();
        let written = json(&config);
        let again = parse(&written).unwrap();
        assert_eq!(again, config, "{written}");
        assert_eq!(json(&again), written);
        assert_eq!(again.digest(), config.digest());
    }
}

#[test]
fn digest_is_that_of_the_picture_and_not_of_its_readers() {
    let digest = |text: &str| parse(text).unwrap().digest();
    let same = [
        "{}",
        r#"{"stale_after": "10s"}"#,
        r#"{"status_path": "/tidegate"}"#,
        r#"{"drain_window": "60s"}"#,
        r#"{"ejection": {"time": "30s"}}"#,
        r#"{"failure_statuses": [504, 500, 503, 502]}"#,
    ];
    for text in same {
        assert_eq!(digest(text), digest("{}"), "{text}");
    }
    for text in [
        r#"{"drain_window": "61s"}"#,
        r#"{"probe": {}}"#,
        r#"{"ejection": null}"#,
        r#"{"ejection": {"time": "29s"}}"#,
        r#"{"failure_statuses": [502, 503, 504]}"#,
        r#"{"clusters": [{"name": "app"}]}"#,
        r#"{"clusters": [{"prefix": "app"}]}"#,
        r#"{"source": {"admin": {"interval": "2s"}}}"#,
    ] {
        assert_ne!(digest(text), digest("{}"), "{text}");
    }
}

#[test]
fn value_at_a_bound_is_taken_and_the_next_one_is_refused() {
    let cases = [
        (
            r#"{"drain_window": "#,
            ["1s", "1h"],
            ["999ms", "3601s"],
            "drain-window-out-of-range",
            "}",
        ),
        (
            r#"{"stale_after": "#,
            ["5s", "1h"],
            ["4999ms", "3601s"],
            "stale-after-out-of-range",
            "}",
        ),
        (
            r#"{"source": {"admin": {"interval": "#,
            ["250ms", "1m"],
            ["249ms", "60001ms"],
            "interval-out-of-range",
            "}}}",
        ),
        (
            r#"{"source": {"admin": {"refresh": "#,
            ["5s", "1h"],
            ["4999ms", "3600001ms"],
            "refresh-out-of-range",
            "}}}",
        ),
        (
            r#"{"source": {"feed": {"timeout": "#,
            ["100ms", "1m"],
            ["99ms", "60001ms"],
            "timeout-out-of-range",
            "}}}",
        ),
    ];
    for (before, last, first, code, after) in cases {
        for text in last {
            assert!(
                parse(&format!("{before}\"{text}\"{after}")).is_ok(),
                "{code} {text}"
            );
        }
        for text in first {
            let problems = parse(&format!("{before}\"{text}\"{after}")).unwrap_err();
            let codes: Vec<_> = problems.iter().map(|(_, code)| *code).collect();
            assert_eq!(codes, [code], "{text}");
        }
    }
}

#[test]
fn number_at_a_bound_of_ejection_is_taken_and_the_next_one_is_refused() {
    let (number, ratio) = ("number-out-of-range", "ratio-out-of-range");
    let duration = "duration-out-of-range";
    let cases = [
        ("gateway_failures_in_row", "1", "0", number),
        ("gateway_failures_in_row", "100", "101", number),
        ("local_failures_in_row", "1", "0", number),
        ("local_failures_in_row", "100", "4294967295", number),
        ("excess_failure_ratio", "0.05", "0.0499", ratio),
        ("excess_failure_ratio", "1", "20.0", ratio),
        ("min_requests", "5", "4", number),
        ("min_requests", "10000", "10001", number),
        ("window", "\"1s\"", "\"999ms\"", duration),
        ("window", "\"5m\"", "\"301s\"", duration),
        ("time", "\"1s\"", "\"0s\"", duration),
        ("max_time", "\"1h\"", "\"61m\"", duration),
        ("max_time", "\"30s\"", "\"29s\"", "max-time-below-time"),
        ("min_available_ratio", "1", "1.01", ratio),
    ];
    let block = |field: &str, value: &str| format!(r#"{{"ejection": {{"{field}": {value}}}}}"#);
    for (field, last, first, code) in cases {
        assert!(parse(&block(field, last)).is_ok(), "{field} {last}");
        let path = format!("$.endpoints.ejection.{field}");
        assert_eq!(parse(&block(field, first)), Err(vec![(path, code)]));
    }
    let config = parse("{}").unwrap();
    assert_eq!(
        config.ejection(),
        Some(&ejection::Config::parse("{}").unwrap())
    );
    assert!(parse(r#"{"ejection": null}"#).unwrap().ejection().is_none());
    assert!(ejection::Config::parse("{\"time\": \"31m\"}").is_err());
}

#[test]
fn failure_status_is_of_the_servers_kind_and_there_once() {
    let statuses = |status: &str| parse(&format!(r#"{{"failure_statuses": [503, {status}]}}"#));
    for taken in ["500", "599"] {
        let taken_statuses = statuses(taken).unwrap().failure_statuses();
        assert!(taken_statuses.has(503) && taken_statuses.has(taken.parse().unwrap()));
        assert!(!taken_statuses.has(502));
    }
    for refused in ["499", "600", "429", "503", "4294967295"] {
        let path = "$.endpoints.failure_statuses[1]".into();
        let expected = Err(vec![(path, "failure-status-invalid")]);
        assert_eq!(statuses(refused), expected);
    }
}

#[test]
fn counts_at_their_caps_are_taken_and_above_are_refused() {
    let selectors = |count: usize| {
        let names = (0..count).map(|index| format!(r#"{{"name": "c{index}"}}"#));
        format!(
            r#"{{"clusters": [{}]}}"#,
            names.collect::<Vec<_>>().join(",")
        )
    };
    assert!(parse(&selectors(64)).is_ok());
    let problems = parse(&selectors(65)).unwrap_err();
    assert_eq!(
        problems,
        [("$.endpoints.clusters".into(), "clusters-too-many")]
    );
    let lists = |clusters: usize, endpoints: usize| {
        let addresses =
            (0..endpoints).map(|n| format!(r#"{{"address": "10.0.{}.{}:80"}}"#, n / 250, n % 250));
        let addresses = addresses.collect::<Vec<_>>().join(",");
        let lists = (0..clusters)
            .map(|index| format!(r#"{{"cluster": "c{index}", "endpoints": [{addresses}]}}"#));
        format!(
            r#"{{"source": {{"static": [{}]}}}}"#,
            lists.collect::<Vec<_>>().join(",")
        )
    };
    assert!(parse(&lists(64, 1)).is_ok());
    let path = String::from("$.endpoints.source.static");
    assert_eq!(
        parse(&lists(65, 1)).unwrap_err(),
        [(path.clone(), "static-clusters-count")]
    );
    assert!(parse(&lists(2, 5_000)).is_ok());
    assert_eq!(
        parse(&lists(2, 5_001)).unwrap_err(),
        [(path, "endpoints-count")]
    );
}

#[test]
fn all_problems_are_found_together_with_their_places() {
    let problems = parse(
        r#"{"clusters": [{}, {"name": ""}, {"name": "a", "prefix": "b"}, {"name": "feed"},
            {"name": "feed"}], "drain_window": "1", "stale_after": "0s", "status_path": "status",
            "source": {"feed": {"cluster": "feed", "path": "x", "host": "", "interval": "1h"}},
            "probe": {"timeout": "10s"}, "ejection": {"time": "0s", "window": "1h"},
            "failure_statuses": [404]}"#,
    )
    .unwrap_err();
    let expected = [
        ("$.endpoints.clusters[0]", "cluster-selector"),
        ("$.endpoints.clusters[1].name", "cluster-name-empty"),
        ("$.endpoints.clusters[2]", "cluster-selector"),
        ("$.endpoints.clusters[4]", "cluster-duplicate"),
        ("$.endpoints.drain_window", "duration-without-unit"),
        ("$.endpoints.ejection.time", "duration-out-of-range"),
        ("$.endpoints.ejection.window", "duration-out-of-range"),
        ("$.endpoints.failure_statuses[0]", "failure-status-invalid"),
        ("$.endpoints.probe.timeout", "timeout-above-interval"),
        ("$.endpoints.source.feed.host", "feed-host-invalid"),
        ("$.endpoints.source.feed.interval", "interval-out-of-range"),
        ("$.endpoints.source.feed.path", "feed-path-invalid"),
        ("$.endpoints.stale_after", "stale-after-out-of-range"),
        ("$.endpoints.status_path", "status-path-invalid"),
    ];
    assert_eq!(
        problems,
        expected.map(|(path, code)| (path.to_owned(), code))
    );
}

#[test]
fn rules_across_fields_name_what_they_are_about() {
    let cases = [
        (
            r#"{"clusters": [{"name": "envoy_admin"}]}"#,
            "$.endpoints.clusters[0].name",
            "source-cluster-listed",
        ),
        (
            r#"{"clusters": [{"prefix": "a"}], "source": {"static": [
                {"cluster": "a1", "endpoints": [{"address": "10.0.0.1:80"}]},
                {"cluster": "b1", "endpoints": [{"address": "10.0.0.1:80"}]}]}}"#,
            "$.endpoints.source.static[1].cluster",
            "static-cluster-unlisted",
        ),
        (
            r#"{"source": {"static": [
                {"cluster": "a", "endpoints": [{"address": "10.0.0.1:80"}]},
                {"cluster": "a", "endpoints": [{"address": "10.0.0.1:80"}]}]}}"#,
            "$.endpoints.source.static[1].cluster",
            "cluster-duplicate",
        ),
    ];
    for (text, path, code) in cases {
        assert_eq!(parse(text).unwrap_err(), [(path.to_owned(), code)]);
    }
}

#[test]
fn cluster_of_the_source_is_not_known_whatever_covers_it() {
    let config = parse(r#"{"clusters": [{"prefix": ""}]}"#).unwrap();
    assert!(config.knows(b"app") && !config.knows(b"envoy_admin"));
    let config = parse(r#"{"source": {"learned": {}}}"#).unwrap();
    assert!(config.knows(b"envoy_admin"));
    assert_eq!(config.source(), &Source::Learned);
    let config = parse(r#"{"clusters": [{"name": "a"}, {"prefix": "b-"}]}"#).unwrap();
    let known = ["a", "ab", "b", "b-", "b-1"].map(|name| config.knows(name.as_bytes()));
    assert_eq!(known, [true, false, false, true, true]);
}
