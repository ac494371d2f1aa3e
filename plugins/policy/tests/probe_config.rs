//! What a probe's configuration may say.

use proptest::prelude::*;
use tidegate_policy::{
    config::{Problems, from_json},
    probe::{Config, Initial, RawConfig},
};

fn parse(text: &str) -> Result<Config, Vec<(String, &'static str)>> {
    Config::parse(text).map_err(|problems| {
        problems
            .into_iter()
            .map(|problem| (problem.path, problem.code))
            .collect()
    })
}

fn json(config: &Config) -> String {
    let mut json = String::new();
    config.write_json(&mut json);
    json
}

#[test]
fn configuration_without_a_field_has_the_documented_defaults() {
    let config = parse("{}").unwrap();
    let expected = "{\"path\":\"/health/ready\",\"host\":null,\"interval\":\"5s\",\
                    \"timeout\":\"3s\",\"unhealthy_after\":3,\"healthy_after\":2,\
                    \"initial\":\"healthy\",\"probe_economy\":false,\"probes_per_tick\":64}";
    assert_eq!(json(&config), expected);
    assert_eq!(parse(expected).unwrap(), config);
}

#[test]
fn value_at_a_bound_is_taken_and_the_next_one_is_refused() {
    let field = |name: &str, value: &str| format!("{{\"{name}\": {value}}}");
    let path = |length: usize| field("path", &format!("\"/{}\"", "p".repeat(length)));
    let host = |length: usize| field("host", &format!("\"{}\"", "h".repeat(length)));
    let timeout = |text: &str| format!("{{\"interval\": \"5m\", \"timeout\": \"{text}\"}}");
    let interval = |text: &str| format!("{{\"interval\": \"{text}\", \"timeout\": \"1s\"}}");
    let cases = [
        (
            interval("1s"),
            interval("999ms"),
            "$.interval",
            "interval-out-of-range",
        ),
        (
            interval("300s"),
            interval("300001ms"),
            "$.interval",
            "interval-out-of-range",
        ),
        (
            timeout("100ms"),
            timeout("99ms"),
            "$.timeout",
            "timeout-out-of-range",
        ),
        (
            timeout("60s"),
            timeout("60001ms"),
            "$.timeout",
            "timeout-out-of-range",
        ),
        (
            field("timeout", "\"5000ms\""),
            field("timeout", "\"5001ms\""),
            "$.timeout",
            "timeout-above-interval",
        ),
        (
            field("unhealthy_after", "1"),
            field("unhealthy_after", "0"),
            "$.unhealthy_after",
            "threshold-out-of-range",
        ),
        (
            field("unhealthy_after", "10"),
            field("unhealthy_after", "11"),
            "$.unhealthy_after",
            "threshold-out-of-range",
        ),
        (
            field("healthy_after", "1"),
            field("healthy_after", "0"),
            "$.healthy_after",
            "threshold-out-of-range",
        ),
        (
            field("healthy_after", "10"),
            field("healthy_after", "11"),
            "$.healthy_after",
            "threshold-out-of-range",
        ),
        (
            field("probes_per_tick", "1"),
            field("probes_per_tick", "0"),
            "$.probes_per_tick",
            "probes-per-tick-out-of-range",
        ),
        (
            field("probes_per_tick", "1024"),
            field("probes_per_tick", "1025"),
            "$.probes_per_tick",
            "probes-per-tick-out-of-range",
        ),
        (path(1023), path(1024), "$.path", "probe-path-invalid"),
        (
            path(0),
            field("path", "\"\""),
            "$.path",
            "probe-path-invalid",
        ),
        (
            field("path", "\"/a?b=c\""),
            field("path", "\"/a#b\""),
            "$.path",
            "probe-path-invalid",
        ),
        (
            path(1),
            field("path", "\"ready\""),
            "$.path",
            "probe-path-invalid",
        ),
        (
            path(1),
            field("path", "\"/a b\""),
            "$.path",
            "probe-path-invalid",
        ),
        (host(259), host(260), "$.host", "probe-host-invalid"),
        (host(1), host(0), "$.host", "probe-host-invalid"),
        (
            field("host", "\"[::1]:80\""),
            field("host", "\"a/b\""),
            "$.host",
            "probe-host-invalid",
        ),
        (
            field("initial", "\"unhealthy\""),
            field("initial", "\"sick\""),
            "$.initial",
            "value-unknown",
        ),
        (
            field("interval", "\"5s\""),
            field("interval", "\"5\""),
            "$.interval",
            "duration-without-unit",
        ),
    ];
    for (last, first, path, code) in cases {
        assert!(
            parse(&last).is_ok(),
            "{code}: the last one is refused: {last}"
        );
        assert_eq!(parse(&first), Err(vec![(path.into(), code)]), "{first}");
    }
    assert_eq!(
        parse("{\"intervall\": \"5s\"}").unwrap_err()[0].1,
        "field-unknown"
    );
}

#[test]
fn problems_are_found_together_and_below_the_place_of_the_probe() {
    let raw: RawConfig = from_json(
        "{\"path\": \"\", \"interval\": \"1\", \"healthy_after\": 0, \"host\": \"\"}",
        "",
    )
    .unwrap();
    let mut problems = Problems::new();
    assert_eq!(
        Config::check(&raw, "$.clusters[3].probe", &mut problems),
        None
    );
    let paths: Vec<String> = problems.into_sorted().into_iter().map(|p| p.path).collect();
    let expected = ["healthy_after", "host", "interval", "path"];
    assert_eq!(
        paths,
        expected.map(|field| format!("$.clusters[3].probe.{field}"))
    );
}

#[test]
fn probe_asks_the_endpoint_by_its_address_or_by_the_host_that_is_set() {
    let config = parse("{}").unwrap();
    let headers = config.headers("10.0.0.1:8080");
    let expected = [
        (":method", "GET"),
        (":path", "/health/ready"),
        (":authority", "10.0.0.1:8080"),
        ("user-agent", "tidegate-probe/1"),
    ];
    assert_eq!(headers, expected);
    let config = parse("{\"host\": \"api.test\", \"path\": \"/live\"}").unwrap();
    let headers = config.headers("10.0.0.1:8080");
    assert_eq!((headers[1].1, headers[2].1), ("/live", "api.test"));
    assert_eq!(config.initial(), Initial::Healthy);
}

proptest! {
    #[test]
    fn configuration_that_is_written_is_read_back(
        interval_ms in 1000_u64..=300_000,
        timeout_ms in 100_u64..=60_000,
        thresholds in (1_u32..=10, 1_u32..=10),
        flags in any::<(bool, bool)>(),
        per_tick in 1_u32..=1024,
        host in prop::option::of("[a-z0-9.:-]{1,40}"),
    ) {
        let host = host.map_or_else(|| "null".into(), |host| format!("\"{host}\""));
        let text = format!(
            "{{\"path\":\"/a\",\"host\":{host},\"interval\":\"{interval_ms}ms\",\
             \"timeout\":\"{}ms\",\"unhealthy_after\":{},\"healthy_after\":{},\
             \"initial\":\"{}\",\"probe_economy\":{},\"probes_per_tick\":{per_tick}}}",
            timeout_ms.min(interval_ms),
            thresholds.0,
            thresholds.1,
            if flags.0 { "healthy" } else { "unhealthy" },
            flags.1,
        );
        let config = parse(&text).unwrap();
        prop_assert_eq!(parse(&json(&config)).unwrap(), config);
    }
}
