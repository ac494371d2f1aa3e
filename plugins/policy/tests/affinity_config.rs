//! What a sticky-session configuration may say, and what is said about one that may not.

use proptest::prelude::*;
use tidegate_policy::affinity::Config;

const KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn parse(text: &str) -> Result<Config, Vec<(String, &'static str)>> {
    Config::parse(text, |_| Some(KEYS.into())).map_err(|problems| {
        problems
            .into_iter()
            .map(|problem| (problem.path, problem.code))
            .collect()
    })
}

/// Puts fields into the only rule.
fn rule(fields: &str) -> String {
    format!("{{\"clusters\": [{{\"name\": \"echo\"{fields}}}]}}")
}

#[test]
fn configuration_without_more_than_a_cluster_has_the_documented_defaults() {
    let expected = "{\"clusters\":[{\"name\":\"echo\",\"cookie\":{\"name\":null,\"path\":\"/\",\
                    \"http_only\":true,\"same_site\":\"lax\",\"secure\":\"auto\"},\"ttl\":\"3h\",\
                    \"idle_timeout\":null,\"when_unreachable\":\"keep\",\
                    \"when_draining\":\"hand_over\",\"first_request\":\"balance\",\
                    \"key\":null,\"table_size\":65537}],\
                    \"keys\":{\"environment\":\"TIDEGATE_STICKY_KEYS\"},\
                    \"endpoint_header\":\"x-tidegate-endpoint\",\"reason_header\":false,\
                    \"trust\":\"none\",\"endpoints\":null,\"role\":\"listener\"}";
    assert_eq!(parse(&rule("")).unwrap().to_json(), expected);
}

#[test]
fn value_at_a_bound_is_taken_and_the_next_one_is_refused() {
    let ttl = |text: &str| rule(&format!(", \"ttl\": \"{text}\""));
    let idle = |text: &str| rule(&format!(", \"ttl\": \"1h\", \"idle_timeout\": \"{text}\""));
    let name = |length: usize| {
        rule(&format!(
            ", \"cookie\": {{\"name\": \"{}\"}}",
            "n".repeat(length)
        ))
    };
    let path = |length: usize| {
        rule(&format!(
            ", \"cookie\": {{\"path\": \"/{}\"}}",
            "p".repeat(length)
        ))
    };
    let table = |entries: u32| rule(&format!(", \"table_size\": {entries}"));
    let query = |length: usize| {
        let name = "q".repeat(length);
        format!(
            "{{\"clusters\": [{{\"name\": \"echo\", \"key\": {{\"query\": \"{name}\"}}}}], \
             \"endpoints\": {{}}}}"
        )
    };
    let many = |count: usize| {
        let clusters: Vec<String> = (0..count)
            .map(|index| format!("{{\"name\": \"c{index}\"}}"))
            .collect();
        format!("{{\"clusters\": [{}]}}", clusters.join(","))
    };
    let cases = [
        (
            ttl("1s"),
            ttl("0s"),
            "$.clusters[0].ttl",
            "ttl-out-of-range",
        ),
        (
            ttl("400d"),
            ttl("34560001s"),
            "$.clusters[0].ttl",
            "ttl-out-of-range",
        ),
        (
            ttl("2000ms"),
            ttl("2001ms"),
            "$.clusters[0].ttl",
            "duration-not-whole-seconds",
        ),
        (
            idle("10s"),
            idle("9s"),
            "$.clusters[0].idle_timeout",
            "idle-timeout-out-of-range",
        ),
        (
            idle("1h"),
            idle("3601s"),
            "$.clusters[0].idle_timeout",
            "idle-timeout-above-ttl",
        ),
        (
            name(128),
            name(129),
            "$.clusters[0].cookie.name",
            "cookie-name-invalid",
        ),
        (
            path(1023),
            path(1024),
            "$.clusters[0].cookie.path",
            "cookie-path-invalid",
        ),
        (
            table(1009),
            table(1008),
            "$.clusters[0].table_size",
            "table-size-out-of-range",
        ),
        (
            table(655_373),
            table(655_379),
            "$.clusters[0].table_size",
            "table-size-out-of-range",
        ),
        (
            table(65_537),
            table(65_536),
            "$.clusters[0].table_size",
            "table-size-not-prime",
        ),
        (
            query(1),
            query(0),
            "$.clusters[0].key.query",
            "key-query-invalid",
        ),
        (
            query(128),
            query(129),
            "$.clusters[0].key.query",
            "key-query-invalid",
        ),
        (many(1), many(0), "$.clusters", "clusters-empty"),
        (many(1024), many(1025), "$.clusters", "clusters-too-many"),
    ];
    for (last, first, path, code) in cases {
        assert!(parse(&last).is_ok(), "{code}: the last one is refused");
        assert_eq!(parse(&first), Err(vec![(path.into(), code)]));
    }
}

#[test]
fn rules_across_fields_name_both() {
    let cookie = |fields: &str| rule(&format!(", \"cookie\": {{{fields}}}"));
    let cases = [
        (
            cookie("\"same_site\": \"none\", \"secure\": \"never\""),
            "$.clusters[0].cookie.same_site",
            "same-site-none-not-secure",
            "$.clusters[0].cookie.secure",
        ),
        (
            cookie("\"name\": \"__Secure-a\""),
            "$.clusters[0].cookie.name",
            "cookie-name-prefix",
            "$.clusters[0].cookie.secure",
        ),
        (
            cookie("\"name\": \"__Host-a\", \"secure\": \"always\", \"path\": \"/a\""),
            "$.clusters[0].cookie.name",
            "cookie-name-prefix",
            "path of \"/\"",
        ),
        (
            "{\"clusters\": [{\"prefix\": \"a\", \"cookie\": {\"name\": \"b\"}}]}".into(),
            "$.clusters[0].cookie.name",
            "cookie-name-with-prefix",
            "`prefix`",
        ),
        (
            "{\"clusters\": [{\"name\": \"a\"}, {\"name\": \"b\", \"cookie\": \
             {\"name\": \"tidegate-a\"}}]}"
                .into(),
            "$.clusters[1].cookie.name",
            "cookie-name-duplicate",
            "$.clusters[0]",
        ),
        (
            "{\"clusters\": [{\"name\": \"a\"}, {\"prefix\": \"a\"}, {\"name\": \"a\"}]}".into(),
            "$.clusters[2]",
            "cluster-duplicate",
            "$.clusters[0]",
        ),
        (
            "{\"clusters\": [{\"name\": \"a\", \"prefix\": \"a\"}]}".into(),
            "$.clusters[0]",
            "cluster-selector",
            "both",
        ),
    ];
    for (text, path, code, other) in cases {
        let problems = Config::parse(&text, |_| Some(KEYS.into())).unwrap_err();
        let [problem] = problems.as_slice() else {
            panic!("{code}: {problems:?}")
        };
        assert_eq!((problem.path.as_str(), problem.code), (path, code));
        assert!(problem.message.contains(other), "{problem}");
    }
    let host = cookie("\"name\": \"__Host-a\", \"secure\": \"always\"");
    assert!(parse(&host).is_ok());
}

#[test]
fn header_that_is_a_key_is_one_that_clients_may_send() {
    let key = |name: &str| {
        format!(
            "{{\"clusters\": [{{\"name\": \"echo\", \"key\": {{\"header\": \"{name}\"}}}}], \
             \"endpoint_header\": \"x-route\", \"endpoints\": {{}}}}"
        )
    };
    for name in ["x-user", "cookie", "a"] {
        assert!(parse(&key(name)).is_ok(), "{name}");
    }
    for name in [
        "",
        "X-User",
        ":path",
        "x user",
        "x-tidegate-user",
        "x-envoy-retry-on",
        "x-route",
    ] {
        let expected = ("$.clusters[0].key.header".into(), "key-header-invalid");
        assert_eq!(parse(&key(name)), Err(vec![expected]), "{name}");
    }
}

#[test]
fn field_that_does_nothing_without_endpoints_is_refused_there() {
    for (field, value) in [
        ("first_request", "\"client_address\""),
        ("key", "\"client_address\""),
        ("key", "{\"header\": \"x-user\"}"),
        ("key", "{\"query\": \"user\"}"),
        ("when_draining", "\"keep\""),
        ("when_draining", "\"move\""),
    ] {
        let fields = format!(", \"{field}\": {value}");
        let expected = (format!("$.clusters[0].{field}"), "needs-endpoints");
        assert_eq!(parse(&rule(&fields)), Err(vec![expected]));
        let with =
            format!("{{\"clusters\": [{{\"name\": \"echo\"{fields}}}], \"endpoints\": {{}}}}");
        let config = parse(&with).unwrap();
        let written = format!("\"{field}\":{}", value.replace(": ", ":"));
        assert!(config.to_json().contains(&written), "{written}");
        assert_eq!(parse(&config.to_json()), Ok(config));
    }
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_their_paths() {
    let text = "{\"clusters\": [{\"name\": \"a\", \"ttl\": \"10\"}, {\"idle_timeout\": \"1s\", \
                \"cookie\": {\"name\": \"a b\", \"path\": \"\"}}], \"endpoint_header\": \"Host\", \
                \"keys\": {\"inline\": \"1:AAAA\"}}";
    let expected = [
        ("$.clusters[0].ttl", "duration-without-unit"),
        ("$.clusters[1]", "cluster-selector"),
        ("$.clusters[1].cookie.name", "cookie-name-invalid"),
        ("$.clusters[1].cookie.path", "cookie-path-invalid"),
        ("$.clusters[1].idle_timeout", "idle-timeout-out-of-range"),
        ("$.endpoint_header", "endpoint-header-invalid"),
        ("$.keys.inline", "key-length"),
    ]
    .map(|(path, code)| (String::from(path), code));
    assert_eq!(parse(text), Err(expected.to_vec()));
}

#[test]
fn variable_that_is_not_set_is_named() {
    let text = "{\"clusters\": [{\"name\": \"a\"}], \"keys\": {\"environment\": \"NOWHERE\"}}";
    let mut asked = String::new();
    let problems = Config::parse(text, |name| {
        asked.push_str(name);
        None
    })
    .unwrap_err();
    assert_eq!(asked, "NOWHERE");
    let problem = problems.first().unwrap().to_string();
    assert!(
        problem.contains("NOWHERE") && problem.contains("host_env_keys"),
        "{problem}"
    );
}

#[test]
fn variable_whose_name_is_none_is_not_asked_for_and_not_shown() {
    for name in ["", "9KEYS", "MY KEYS", "KEYS=", KEYS] {
        let text = format!(
            "{{\"clusters\": [{{\"name\": \"a\"}}], \"keys\": {{\"environment\": \"{name}\"}}}}"
        );
        let problems = Config::parse(&text, |_| Some(KEYS.into())).unwrap_err();
        let [problem] = problems.as_slice() else {
            panic!("{name}: {problems:?}")
        };
        assert_eq!(problem.code, "environment-name-invalid", "{name}");
        assert!(
            name.is_empty() || !problem.to_string().contains(name),
            "{problem}"
        );
    }
}

#[test]
fn keys_are_in_no_output_of_a_configuration() {
    let secret = KEYS.get(2..12).unwrap();
    let text =
        format!("{{\"clusters\": [{{\"name\": \"a\"}}], \"keys\": {{\"inline\": \"{KEYS}\"}}}}");
    let config = parse(&text).unwrap();
    for output in [format!("{config:?}"), config.to_json()] {
        assert!(!output.contains(secret), "{output}");
        assert!(output.contains("[redacted]"), "{output}");
    }
    // Neither has the digest anything of them.
    let other = text.replace(secret, "BBBBBBBBBB");
    assert_ne!(other, text);
    assert_eq!(parse(&other).unwrap().digest(), config.digest());
}

#[test]
fn digest_tells_configurations_apart_and_not_their_spelling() {
    let digest = |text: &str| parse(text).unwrap().digest();
    assert_eq!(digest(&rule("")), digest(&rule(",\n \"ttl\": \"10800s\"")));
    assert_ne!(digest(&rule("")), digest(&rule(", \"ttl\": \"2h\"")));
}

/// Any rule that is legal by itself, as JSON; `number` makes its name differ from the others'.
fn any_rule(number: usize) -> impl Strategy<Value = String> {
    let pick = |names: &'static [&'static str]| prop::sample::select(names);
    (
        any::<bool>(),
        "[a-z|./:]{0,12}",
        prop::option::of("[a-z]{1,8}"),
        "/[a-z/]{0,8}",
        any::<bool>(),
        pick(&["lax", "strict", "omitted"]),
        pick(&["auto", "always", "never"]),
        1_u64..=34_560_000,
        prop::option::of(10_u64..34_560_000),
        pick(&["keep", "re_pin"]),
    )
        .prop_map(move |(exact, cluster, cookie, path, http_only, same_site, secure, ttl, idle, gone)| {
            let selector = if exact { "name" } else { "prefix" };
            let cookie = match cookie {
                Some(name) if exact => format!("\"{name}{number}\""),
                _ => "null".into(),
            };
            let ttl_seconds = ttl.max(idle.unwrap_or(0));
            let idle = idle.map_or("null".into(), |seconds| format!("\"{seconds}s\""));
            format!(
                "{{\"{selector}\": \"{cluster}{number}\", \"cookie\": {{\"name\": {cookie}, \
                 \"path\": \"{path}\", \"http_only\": {http_only}, \"same_site\": \"{same_site}\", \
                 \"secure\": \"{secure}\"}}, \"ttl\": \"{ttl_seconds}s\", \"idle_timeout\": {idle}, \
                 \"when_unreachable\": \"{gone}\"}}"
            )
        })
}

prop_compose! {
    fn any_config()(
        rules in (any_rule(0), any_rule(1), any_rule(2)),
        environment in "[A-Z_]{1,12}",
        endpoint_header in "x-[a-z-]{1,12}",
        reason_header: bool,
    ) -> String {
        let (first, second, third) = rules;
        format!(
            "{{\"clusters\": [{first}, {second}, {third}], \
             \"keys\": {{\"environment\": \"{environment}\"}}, \
             \"endpoint_header\": \"{endpoint_header}\", \"reason_header\": {reason_header}}}"
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
