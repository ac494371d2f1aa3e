//! What a configuration of health routing may say, and what is said about one that may not.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tidegate_policy::routing::{Config, Rules};

/// Are all codes of rules that are this configuration's own.
const CODES: [&str; 12] = [
    "cluster-duplicate",
    "cluster-name-empty",
    "cluster-not-known",
    "cluster-selector",
    "clusters-empty",
    "clusters-too-many",
    "duration-out-of-range",
    "endpoint-header-invalid",
    "factor-out-of-range",
    "number-out-of-range",
    "panic-by-ejections",
    "upstream-role-without-attempts",
];

fn parse(text: &str) -> Result<Config, Vec<(String, &'static str)>> {
    Config::parse(text).map_err(|problems| {
        problems
            .into_iter()
            .map(|problem| (problem.path, problem.code))
            .collect()
    })
}

/// Puts fields into the only rule.
fn rule(fields: &str) -> String {
    format!("{{\"clusters\": [{{\"name\": \"app\"{fields}}}]}}")
}

fn in_rule(object: &str, field: &str, value: &str) -> String {
    rule(&format!(", \"{object}\": {{\"{field}\": {value}}}"))
}

#[test]
fn configuration_without_more_than_a_cluster_has_the_documented_defaults() {
    let json = parse(&rule("")).unwrap().to_json();
    let expected = "{\"clusters\":[{\"name\":\"app\",\"attempts\":3,\
                    \"recent_failure\":\"1s\",\
                    \"balance\":{\"latency_decay\":\"10s\",\"slow_start_window\":\"1m\",\
                    \"slow_start_aggression\":1,\"slow_start_min_ratio\":0.1,\
                    \"zone_spill_factor\":2},\"panic\":{\"min_available_ratio\":0.5,\
                    \"concurrency\":null,\"gateway_share_ratio\":1,\"max_utilisation_ratio\":1}}],\
                    \"endpoints\":{";
    let (ours, rest) = json.split_at(expected.len());
    assert_eq!(ours, expected);
    let end = ",\"observe\":\"requests\",\"endpoint_header\":\"x-tidegate-endpoint\",\
               \"reason_header\":false,\"trust\":\"none\",\"role\":\"listener\"}";
    assert!(rest.ends_with(end), "{rest}");
}

#[test]
fn value_at_a_bound_is_taken_and_the_next_one_is_refused() {
    let (number, ratio) = ("number-out-of-range", "ratio-out-of-range");
    let (factor, duration) = ("factor-out-of-range", "duration-out-of-range");
    let in_rule_cases = [
        ("balance", "latency_decay", "\"1s\"", "\"999ms\"", duration),
        ("balance", "latency_decay", "\"10m\"", "\"601s\"", duration),
        (
            "balance",
            "slow_start_window",
            "\"0ms\"",
            "\"3601s\"",
            duration,
        ),
        (
            "balance",
            "slow_start_window",
            "\"1h\"",
            "\"61m\"",
            duration,
        ),
        ("balance", "slow_start_aggression", "0.1", "0.099", factor),
        ("balance", "slow_start_aggression", "10", "10.001", factor),
        ("balance", "slow_start_aggression", "10.0", "1e300", factor),
        ("balance", "slow_start_min_ratio", "0", "-0.001", ratio),
        ("balance", "slow_start_min_ratio", "1.0", "1.0001", ratio),
        ("balance", "zone_spill_factor", "1", "0.999", factor),
        ("balance", "zone_spill_factor", "100", "-100", factor),
        ("panic", "min_available_ratio", "-0.0", "-0.1", ratio),
        ("panic", "min_available_ratio", "0.5", "50", ratio),
        ("panic", "concurrency", "1", "0", number),
        ("panic", "concurrency", "1000000", "1000001", number),
        ("panic", "gateway_share_ratio", "0.0001", "0.00009", ratio),
        ("panic", "gateway_share_ratio", "1", "1.1", ratio),
        ("panic", "max_utilisation_ratio", "0.1", "0.0999", ratio),
        ("panic", "max_utilisation_ratio", "1", "2", ratio),
    ];
    for (object, field, last, first, code) in in_rule_cases {
        assert!(
            parse(&in_rule(object, field, last)).is_ok(),
            "{field} {last}"
        );
        let path = format!("$.clusters[0].{object}.{field}");
        let refused = parse(&in_rule(object, field, first));
        assert_eq!(refused, Err(vec![(path, code)]), "{field} {first}");
    }
    for (field, last, first, code) in [
        ("attempts", "1", "0", number),
        ("attempts", "8", "9", number),
        ("recent_failure", "\"0ms\"", "\"60001ms\"", duration),
        ("recent_failure", "\"1m\"", "\"2m\"", duration),
    ] {
        assert!(parse(&rule(&format!(", \"{field}\": {last}"))).is_ok());
        let refused = parse(&rule(&format!(", \"{field}\": {first}")));
        let path = format!("$.clusters[0].{field}");
        assert_eq!(refused, Err(vec![(path, code)]));
    }
    let many = |count: usize| {
        let clusters: Vec<String> = (0..count)
            .map(|index| format!("{{\"prefix\": \"c{index}\"}}"))
            .collect();
        format!("{{\"clusters\": [{}]}}", clusters.join(","))
    };
    for (last, first, code) in [(1, 0, "clusters-empty"), (1024, 1025, "clusters-too-many")] {
        assert!(parse(&many(last)).is_ok());
        let expected = Err(vec![("$.clusters".into(), code)]);
        assert_eq!(parse(&many(first)), expected);
    }
}

#[test]
fn rules_across_fields_name_both() {
    let cases = [
        (
            "{\"clusters\": [{\"name\": \"a\", \"prefix\": \"a\"}]}",
            "$.clusters[0]",
            "cluster-selector",
            "both",
        ),
        (
            "{\"clusters\": [{\"name\": \"\"}]}",
            "$.clusters[0].name",
            "cluster-name-empty",
            "Envoy cluster",
        ),
        (
            "{\"clusters\": [{\"name\": \"a\"}, {\"prefix\": \"a\"}, {\"name\": \"a\"}]}",
            "$.clusters[2]",
            "cluster-duplicate",
            "$.clusters[0]",
        ),
        (
            "{\"clusters\": [{\"name\": \"a\"}], \"endpoints\": {\"clusters\": \
             [{\"name\": \"b\"}]}}",
            "$.clusters[0].name",
            "cluster-not-known",
            "$.endpoints.clusters",
        ),
        (
            "{\"clusters\": [{\"name\": \"a\", \"panic\": {\"min_available_ratio\": 0.6}}]}",
            "$.clusters[0].panic.min_available_ratio",
            "panic-by-ejections",
            "$.endpoints.ejection.min_available_ratio (0.5)",
        ),
        (
            "{\"clusters\": [{\"name\": \"a\"}], \"endpoint_header\": \"Host\"}",
            "$.endpoint_header",
            "endpoint-header-invalid",
            "lower case",
        ),
        (
            "{\"clusters\": [{\"name\": \"a\"}], \"role\": \"upstream\"}",
            "$.role",
            "upstream-role-without-attempts",
            "$.observe",
        ),
    ];
    for (text, path, code, other) in cases {
        let problems = Config::parse(text).unwrap_err();
        let [problem] = problems.as_slice() else {
            panic!("{code}: {problems:?}")
        };
        assert_eq!((problem.path.as_str(), problem.code), (path, code));
        assert!(problem.to_string().contains(other), "{problem}");
    }
    // Without ejections they cannot begin a panic.
    let text = "{\"clusters\": [{\"name\": \"a\", \"panic\": {\"min_available_ratio\": 0.6}}], \
                \"endpoints\": {\"ejection\": null}}";
    assert!(parse(text).is_ok());
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_their_paths() {
    let text = "{\"clusters\": [{\"name\": \"a\", \"attempts\": 0, \"balance\": \
                {\"zone_spill_factor\": 0}, \"panic\": {\"concurrency\": 0}, \
                \"recent_failure\": \"10\"}, {}], \"endpoints\": {\"stale_after\": \"1s\", \
                \"ejection\": {\"time\": \"0s\", \"window\": \"1h\"}}, \
                \"endpoint_header\": \"\"}";
    let expected = [
        ("$.clusters[0].attempts", "number-out-of-range"),
        (
            "$.clusters[0].balance.zone_spill_factor",
            "factor-out-of-range",
        ),
        ("$.clusters[0].panic.concurrency", "number-out-of-range"),
        ("$.clusters[0].recent_failure", "duration-without-unit"),
        ("$.clusters[1]", "cluster-selector"),
        ("$.endpoint_header", "endpoint-header-invalid"),
        ("$.endpoints.ejection.time", "duration-out-of-range"),
        ("$.endpoints.ejection.window", "duration-out-of-range"),
        ("$.endpoints.stale_after", "stale-after-out-of-range"),
    ]
    .map(|(path, code)| (String::from(path), code));
    assert_eq!(parse(text), Err(expected.to_vec()));
}

/// A typo is an outage later: no field is ignored, wherever it stands.
#[test]
fn field_that_nobody_knows_is_refused() {
    for text in [
        "{\"clusters\": [{\"name\": \"a\"}], \"retries\": 3}".to_owned(),
        rule(", \"retries\": 3"),
        in_rule("balance", "retries", "3"),
        in_rule("panic", "retries", "3"),
        "{\"clusters\": [{\"name\": \"a\"}], \"ejection\": {}}".to_owned(),
        rule(", \"failure_statuses\": []"),
    ] {
        let problems = parse(&text).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems.first().map(|(_, code)| *code),
            Some("field-unknown")
        );
    }
}

#[test]
fn every_code_has_a_bad_example_here() {
    let source = include_str!("routing_config.rs");
    let distinct: BTreeSet<&str> = CODES.into_iter().collect();
    assert_eq!(distinct.len(), CODES.len());
    for code in CODES {
        assert!(
            source.matches(&format!("\"{code}\"")).count() >= 2,
            "{code}"
        );
    }
}

#[test]
fn exact_name_comes_before_a_prefix_and_the_first_prefix_before_the_next() {
    let text = "{\"clusters\": [{\"prefix\": \"a\"}, {\"prefix\": \"ab\"}, {\"name\": \"abc\"}]}";
    let rules = Rules::new(parse(text).unwrap().rules());
    let place = |cluster: &[u8]| rules.find(cluster).map(|(place, _)| place);
    assert_eq!(place(b"abc"), Some(2));
    assert_eq!(place(b"abcd"), Some(0));
    assert_eq!(place(b"a\xff"), Some(0));
    assert_eq!(place(b"b"), None);
    assert_eq!(place(b""), None);
    let all = Rules::new(
        parse("{\"clusters\": [{\"prefix\": \"\"}]}")
            .unwrap()
            .rules(),
    );
    assert!(all.find(b"").is_some() && all.find(b"\xff").is_some());
}

prop_compose! {
    fn any_config()(
        attempts in 1_u32..=8,
        recent_ms in 0_u64..=60_000,
        shares in (0_u32..=500_000, 100_u32..=1_000_000, 100_000_u32..=1_000_000, 0_u32..=1_000_000),
        factors in (100_000_u32..=10_000_000, 1_000_000_u32..=100_000_000),
        concurrency in prop::option::of(1_u32..=1_000_000),
        reason_header: bool,
    ) -> String {
        let ppm = |ppm: u32| f64::from(ppm) / 1e6;
        let concurrency = concurrency.map_or("null".into(), |most| most.to_string());
        format!(
            "{{\"clusters\": [{{\"name\": \"app\", \"attempts\": {attempts}, \"recent_failure\": \
             \"{recent_ms}ms\", \"balance\": {{\
             \"slow_start_aggression\": {}, \"zone_spill_factor\": {}, \"slow_start_min_ratio\": \
             {}}}, \"panic\": {{\"min_available_ratio\": {}, \"gateway_share_ratio\": {}, \
             \"max_utilisation_ratio\": {}, \"concurrency\": {concurrency}}}}}], \
             \"reason_header\": {reason_header}, \"observe\": \
             \"attempts\"}}",
            ppm(factors.0), ppm(factors.1), ppm(shares.3), ppm(shares.0), ppm(shares.1),
            ppm(shares.2),
        )
    }
}

proptest! {
    #[test]
    fn configuration_that_is_written_is_read_back_as_it_was(text in any_config()) {
        let config = parse(&text).unwrap();
        let written = config.to_json();
        let again = parse(&written).unwrap();
        prop_assert_eq!(&again, &config);
        prop_assert_eq!(again.to_json(), written);
        prop_assert_eq!(again.digest(), config.digest());
    }

    #[test]
    fn configuration_that_is_cut_or_garbled_is_refused_and_never_panics(
        text in any_config(),
        cut in any::<prop::sample::Index>(),
        garbage in "\\PC{0,4}",
    ) {
        let at = cut.index(text.len());
        prop_assert!(parse(text.get(..at).unwrap()).is_err());
        let garbled = format!("{}{garbage}{}", text.get(..at).unwrap(), text.get(at..).unwrap());
        let _ = parse(&garbled);
    }
}
