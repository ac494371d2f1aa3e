//! What a configuration of several filters may say, and what is said about one that may not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;

use proptest::prelude::*;
use tidegate_policy::{
    affinity,
    chain::Role,
    routing::{self, Observe},
    stack::{Config, Filter},
};

const KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Both filters with a rule each.
const BOTH: &str = "\"sticky_session\": {\"clusters\": [{\"name\": \"app\"}]}, \
                    \"health_routing\": {\"clusters\": [{\"prefix\": \"\"}]}";

const STICKY: &str = "\"sticky_session\": {\"clusters\": [{\"name\": \"app\"}]}";
const HEALTH: &str = "\"health_routing\": {\"clusters\": [{\"name\": \"app\"}]}";

fn parse(text: &str) -> Result<Config, Vec<(String, &'static str)>> {
    Config::parse(text, |_| Some(KEYS.into())).map_err(|problems| {
        problems
            .into_iter()
            .map(|problem| (problem.path, problem.code))
            .collect()
    })
}

fn object(fields: &[&str]) -> String {
    format!("{{{}}}", fields.join(", "))
}

fn refused(problems: &[(&str, &'static str)]) -> Result<Config, Vec<(String, &'static str)>> {
    Err(problems
        .iter()
        .map(|(path, code)| ((*path).into(), *code))
        .collect())
}

#[test]
fn configuration_without_more_than_objects_has_the_documented_defaults() {
    let json = parse(&object(&[BOTH])).unwrap().to_json();
    let alone = affinity::Config::parse("{\"clusters\": [{\"name\": \"app\"}]}", |_| {
        Some(KEYS.into())
    });
    let alone = alone.unwrap().to_json();
    let (sticky, _) = alone.split_once(",\"endpoint_header\"").unwrap();
    let alone = routing::Config::parse("{\"clusters\": [{\"prefix\": \"\"}]}");
    let alone = alone.unwrap().to_json();
    let (health, endpoints) = alone.split_once(",\"endpoints\"").unwrap();
    let expected = format!(
        "{{\"filters\":[\"sticky_session\",\"health_routing\"],\"sticky_session\":{sticky}}},\
         \"health_routing\":{health}}},\"endpoints\"{endpoints}"
    );
    assert_eq!(json, expected);
    let end = ",\"observe\":\"requests\",\"endpoint_header\":\"x-tidegate-endpoint\",\
               \"reason_header\":false,\"trust\":\"none\",\"role\":\"listener\"}";
    assert!(json.ends_with(end), "{json}");
}

/// Nothing but this makes a filter decide the same in both forms.
#[test]
fn filter_has_the_configuration_that_it_would_have_alone() {
    let shared = "\"endpoints\": {\"stale_after\": \"30s\"}, \"endpoint_header\": \"route-to\", \
                  \"reason_header\": true, \"trust\": \"none\"";
    let sticky = "\"clusters\": [{\"name\": \"app\", \"ttl\": \"1h\", \"key\": \"client_address\"}], \
                  \"keys\": {\"environment\": \"KEYS\"}";
    let health = "\"clusters\": [{\"prefix\": \"a\", \"attempts\": 2}]";
    for role in ["\"role\": \"listener\"", "\"role\": \"upstream\""] {
        let attempts = "\"observe\": \"attempts\"";
        let stack = object(&[
            &format!("\"sticky_session\": {{{sticky}}}"),
            &format!("\"health_routing\": {{{health}}}"),
            shared,
            role,
            attempts,
        ]);
        let stack = parse(&stack).unwrap();
        let alone = object(&[sticky, shared, role]);
        let alone = affinity::Config::parse(&alone, |_| Some(KEYS.into())).unwrap();
        assert_eq!(stack.sticky_session(), Some(&alone));
        assert_eq!(stack.endpoints(), alone.endpoints());
        let alone = routing::Config::parse(&object(&[health, shared, role, attempts])).unwrap();
        assert_eq!(stack.health_routing(), Some(&alone));
        assert_eq!(stack.observe(), Observe::Attempts);
        assert_eq!(stack.endpoint_header(), "route-to");
        assert!(stack.has_reason_header());
        assert_eq!(stack.role(), alone.role());
    }
}

#[test]
fn list_says_which_filters_act_and_in_which_order() {
    use Filter::{HealthRouting, StickySession};
    let cases: [(&[&str], &[Filter]); 8] = [
        (&[BOTH], &[StickySession, HealthRouting]),
        (
            &[BOTH, "\"filters\": null"],
            &[StickySession, HealthRouting],
        ),
        (&[HEALTH, STICKY], &[StickySession, HealthRouting]),
        (
            &[
                BOTH,
                "\"filters\": [\"health_routing\", \"sticky_session\"]",
            ],
            &[HealthRouting, StickySession],
        ),
        (
            &[BOTH, "\"filters\": [\"sticky_session\"]"],
            &[StickySession],
        ),
        (
            &[BOTH, "\"filters\": [\"health_routing\"]"],
            &[HealthRouting],
        ),
        (&[STICKY, "\"health_routing\": null"], &[StickySession]),
        (&[HEALTH], &[HealthRouting]),
    ];
    for (fields, filters) in cases {
        let config = parse(&object(fields)).unwrap();
        assert_eq!(config.filters(), filters, "{fields:?}");
        assert_eq!(config.role(), Role::Listener);
    }
}

/// Are the paths of problems with their rules.
type Expected = &'static [(&'static str, &'static str)];

#[test]
fn list_of_nobody_twice_the_same_or_somebody_without_an_object_is_refused() {
    let cases: [(&[&str], Expected); 7] = [
        (&[], &[("$.filters", "filters-empty")]),
        (
            &[BOTH, "\"filters\": []"],
            &[("$.filters", "filters-empty")],
        ),
        (
            &[
                BOTH,
                "\"filters\": [\"health_routing\", \"sticky_session\", \"health_routing\"]",
            ],
            &[("$.filters[2]", "filter-duplicate")],
        ),
        (
            &[
                STICKY,
                "\"filters\": [\"sticky_session\", \"health_routing\"]",
            ],
            &[("$.filters[1]", "filter-without-object")],
        ),
        (
            &[BOTH, "\"filters\": [\"retry_budget\"]"],
            &[("$.filters[0]", "value-unknown")],
        ),
        (
            &["\"filters\": [\"health_routing\", \"health_routing\"]"],
            &[
                ("$.filters[0]", "filter-without-object"),
                ("$.filters[1]", "filter-duplicate"),
            ],
        ),
        (
            &[BOTH, "\"filters\": [\"Sticky_Session\"]"],
            &[("$.filters[0]", "value-unknown")],
        ),
    ];
    for (fields, problems) in cases {
        assert_eq!(parse(&object(fields)), refused(problems), "{fields:?}");
    }
}

#[test]
fn shared_field_in_a_filters_object_is_refused_whatever_it_says() {
    let values = [
        "null",
        "{}",
        "[1, {\"a\": [true, false]}]",
        "\"x\"",
        "-1.5e3",
        "true",
    ];
    let of_sticky = [
        "endpoints",
        "endpoint_header",
        "reason_header",
        "trust",
        "role",
    ];
    let of_health = [
        "endpoints",
        "endpoint_header",
        "observe",
        "reason_header",
        "trust",
        "role",
    ];
    for value in values {
        for (filter, fields) in [
            ("sticky_session", &of_sticky[..]),
            ("health_routing", &of_health),
        ] {
            for field in fields {
                let text = format!(
                    "{{\"{filter}\": {{\"clusters\": [{{\"name\": \"app\"}}], \"{field}\": {value}}}}}"
                );
                let path = format!("$.{filter}.{field}");
                assert_eq!(parse(&text), refused(&[(&path, "shared-field")]));
            }
        }
    }
    let text = "{\"sticky_session\": {\"clusters\": [{\"name\": \"app\"}], \"endpoints\": null, \
                \"role\": 1}, \"health_routing\": {\"clusters\": [], \"observe\": \"attempts\"}}";
    let problems = [
        ("$.health_routing.clusters", "clusters-empty"),
        ("$.health_routing.observe", "shared-field"),
        ("$.sticky_session.endpoints", "shared-field"),
        ("$.sticky_session.role", "shared-field"),
    ];
    assert_eq!(parse(text), refused(&problems));
    let shown = Config::parse(text, |_| Some(KEYS.into())).unwrap_err();
    let shown = shown.get(2).map(ToString::to_string);
    let expected = "$.sticky_session.endpoints: must not stand here: it is $.endpoints for all \
                    filters; write it once, at the top";
    assert_eq!(shown.as_deref(), Some(expected));
    // What both are asked for is JSON all the same, and what neither has is no field.
    for (field, code) in [
        ("\"role\": {]", "json-syntax"),
        ("\"observe\": 1", "field-unknown"),
    ] {
        let text = object(&[&format!(
            "\"sticky_session\": {{\"clusters\": [], {field}}}"
        )]);
        assert_eq!(
            parse(&text).unwrap_err().first().map(|(_, code)| *code),
            Some(code)
        );
    }
}

#[test]
fn problems_of_a_filter_name_their_place_in_its_object_and_what_is_shared_at_the_top() {
    let text = "{\"sticky_session\": {\"clusters\": [{\"name\": \"a\", \"ttl\": \"0s\"}, \
                {\"name\": \"a\"}, {\"name\": \"b\", \"cookie\": {\"name\": \"c\"}}, \
                {\"name\": \"d\", \"cookie\": {\"name\": \"c\"}}, {}], \
                \"keys\": {\"environment\": \"1\"}}, \
                \"health_routing\": {\"clusters\": [{\"name\": \"x\", \"panic\": \
                {\"min_available_ratio\": 0.6}}]}, \
                \"endpoints\": {\"clusters\": [{\"name\": \"a\"}]}, \"endpoint_header\": \"Host\"}";
    let problems = [
        ("$.endpoint_header", "endpoint-header-invalid"),
        ("$.health_routing.clusters[0].name", "cluster-not-known"),
        (
            "$.health_routing.clusters[0].panic.min_available_ratio",
            "panic-by-ejections",
        ),
        ("$.sticky_session.clusters[0].ttl", "ttl-out-of-range"),
        (
            "$.sticky_session.clusters[3].cookie.name",
            "cookie-name-duplicate",
        ),
        ("$.sticky_session.clusters[4]", "cluster-selector"),
        (
            "$.sticky_session.keys.environment",
            "environment-name-invalid",
        ),
    ];
    assert_eq!(parse(text), refused(&problems));
    let shown = Config::parse(text, |_| None).unwrap_err();
    let shown: Vec<String> = shown.iter().map(ToString::to_string).collect();
    assert!(
        shown
            .iter()
            .any(|line| line.contains("$.sticky_session.clusters[2] has")
                || line.contains("of $.sticky_session.clusters[2]")),
        "{shown:#?}"
    );
    let alone = "{\"health_routing\": {\"clusters\": [{\"name\": \"a\"}]}, \"endpoints\": null}";
    assert_eq!(parse(alone), refused(&[("$.endpoints", "needs-endpoints")]));
    let alone = "{\"sticky_session\": {\"clusters\": [{\"name\": \"a\", \"key\": \
                 \"client_address\"}]}, \"endpoints\": null}";
    let path = "$.sticky_session.clusters[0].key";
    assert_eq!(parse(alone), refused(&[(path, "needs-endpoints")]));
    let upstream = "{\"sticky_session\": {\"clusters\": [{\"name\": \"a\"}], \"keys\": \
                    {\"inline\": \"1:x\"}}, \"role\": \"upstream\", \"endpoints\": null}";
    let problems = [
        ("$.endpoints", "upstream-role-without-endpoints"),
        ("$.sticky_session.keys.inline", "keys-with-upstream-role"),
    ];
    assert_eq!(parse(upstream), refused(&problems));
}

#[test]
fn keys_are_asked_for_where_they_seal_and_nowhere_else() {
    let upstream = "\"role\": \"upstream\", \"observe\": \"attempts\"";
    let cases: [(&[&str], bool); 5] = [
        (&[BOTH], true),
        (&[STICKY, "\"endpoints\": null"], true),
        (&[BOTH, "\"filters\": [\"health_routing\"]"], false),
        (&[BOTH, upstream], false),
        (&[HEALTH], false),
    ];
    for (fields, is_asked) in cases {
        let asked = Cell::new(false);
        let config = Config::parse(&object(fields), |name| {
            assert_eq!(name, "TIDEGATE_STICKY_KEYS");
            asked.set(true);
            Some(KEYS.into())
        });
        assert!(config.is_ok());
        assert_eq!(asked.get(), is_asked, "{fields:?}");
    }
    let unset = Config::parse(&object(&[BOTH]), |_| None).unwrap_err();
    let unset: Vec<_> = unset
        .iter()
        .map(|problem| (problem.path.as_str(), problem.code))
        .collect();
    assert_eq!(
        unset,
        [("$.sticky_session.keys.environment", "environment-unset")]
    );
}

#[test]
fn key_is_in_no_output() {
    let secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let inline = format!(
        "{{\"sticky_session\": {{\"clusters\": [{{\"name\": \"a\"}}], \"keys\": {{\"inline\": \
         \"1:{secret}\"}}}}}}"
    );
    let config = parse(&inline).unwrap();
    assert!(!format!("{config:?}").contains("AAEC") && !config.to_json().contains("AAEC"));
    let other = inline.replace("AAEC", "BBBB");
    assert_eq!(parse(&other).unwrap().digest(), config.digest());
    for bad in [
        inline.replace("{\"inline\": ", "{\"inlined\": "),
        inline.replace("{\"inline\": ", "{\"environment\": "),
        inline.replace("1:", "1:1:"),
        inline
            .replace("{\"inline\": ", "[")
            .replace("=\"}}", "=\"]}"),
    ] {
        let problems = Config::parse(&bad, |_| Some(KEYS.into())).unwrap_err();
        assert!(
            problems
                .iter()
                .all(|problem| !problem.to_string().contains("AAEC"))
        );
    }
}

/// An outage by typo: no field is ignored, wherever it stands.
#[test]
fn field_that_nobody_knows_is_refused() {
    for text in [
        object(&[BOTH, "\"stickysession\": {}"]),
        object(&[&STICKY.replace("\"clusters\"", "\"ttl\": 1, \"clusters\"")]),
        object(&[&HEALTH.replace("\"clusters\"", "\"keys\": 1, \"clusters\"")]),
    ] {
        let problems = parse(&text).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(
            problems.first().map(|(_, code)| *code),
            Some("field-unknown")
        );
    }
}

prop_compose! {
    fn any_config()(
        filters in prop::sample::select(vec![
            "null",
            "[\"sticky_session\"]",
            "[\"health_routing\"]",
            "[\"sticky_session\", \"health_routing\"]",
            "[\"health_routing\", \"sticky_session\"]",
        ]),
        ttl in 60_u32..100_000,
        attempts in 1_u32..=8,
        stale in 5_u32..=3_600,
        header in "[a-z][a-z0-9-]{0,20}z",
        reason_header: bool,
        role in prop::sample::select(vec!["listener", "upstream"]),
        prefix in "[a-z\\\\\"/ é]{0,5}",
    ) -> String {
        let prefix = serde_json::to_string(&prefix).unwrap();
        format!(
            "{{\"filters\": {filters}, \"sticky_session\": {{\"clusters\": [{{\"prefix\": {prefix}, \
             \"ttl\": \"{ttl}s\"}}]}}, \"health_routing\": {{\"clusters\": [{{\"prefix\": {prefix}, \
             \"attempts\": {attempts}}}]}}, \"endpoints\": {{\"stale_after\": \"{stale}s\"}}, \
             \"endpoint_header\": \"{header}\", \"reason_header\": {reason_header}, \"role\": \
             \"{role}\", \"observe\": \"attempts\"}}"
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
    fn configurations_that_differ_have_different_digests(one in any_config(), two in any_config()) {
        let (one, two) = (parse(&one).unwrap(), parse(&two).unwrap());
        prop_assert_eq!(one == two, one.digest() == two.digest());
    }

    #[test]
    fn configuration_that_is_cut_or_garbled_is_refused_and_never_panics(
        text in any_config(),
        cut in any::<prop::sample::Index>(),
        garbage in "\\PC{0,4}",
    ) {
        let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let at = *cuts.get(cut.index(cuts.len())).unwrap();
        let (head, tail) = text.split_at(at);
        prop_assert!(parse(head).is_err());
        let _ = parse(&format!("{head}{garbage}{tail}"));
    }
}
