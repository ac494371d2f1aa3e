use serde_json::{Value, json};

use super::*;

/// A scenario without problems.
fn sound() -> Value {
    json!({
        "what": "a test",
        "duration": "60s",
        "traffic": [
            { "generated": { "name": "shop", "arrivals": { "steady": { "per_second": 10 } } } },
            { "requests": { "list": [{ "at": "1s" }, {}, { "at": "2s" }] } },
            { "recording": { "file": "a.har" } },
        ],
        "filters": [
            { "remove_headers": ["x-a"] },
            { "plugin": { "module": "../x/sticky-session.wasm" } },
        ],
        "routes": [
            { "prefix": "/a", "cluster": "one", "retry": { "on": ["5xx"] } },
            { "prefix": "/", "weighted_clusters": { "one": 1, "two": 0 } },
        ],
        "clusters": [
            {
                "name": "one",
                "balancer": { "least_request": {} },
                "endpoints": [
                    { "address": "10.0.0.1:80", "count": 3, "latency": { "percentiles": { "0": "1ms", "50": "2ms" } } },
                    { "address": "10.0.0.4:80", "timeline": [
                        { "from": "1s", "until": "2s", "state": { "slower": 2 } },
                        { "from": "2s", "state": { "slower": 3 } },
                        { "state": { "fails": { "ratio": 0.1 } } },
                        { "state": { "fails": { "ratio": 0.1, "with": "silence" } } },
                    ] },
                ],
            },
            { "name": "two", "kind": "admin" },
        ],
        "faults": [{ "call": "proxy_log", "plugin": "sticky-session" }],
        "baselines": [{ "name": "plain", "balancer": { "random": null } }],
        "expect": ["errors == 0 during 1s..2s", "errors <= baseline.plain.errors"],
    })
}

fn problems(scenario: &Value) -> Vec<(String, String)> {
    let scenario: Scenario = serde_json::from_value(scenario.clone()).unwrap();
    let problems = scenario.problems();
    problems
        .into_iter()
        .map(|problem| (problem.path, problem.message))
        .collect()
}

#[test]
fn a_sound_scenario_has_no_problem() {
    assert_eq!(problems(&sound()), []);
}

/// Each row changes the sound scenario at a place (a JSON pointer), and is then wrong at one path, for one reason.
#[test]
fn what_is_wrong_is_found_where_it_is() {
    let endpoint = "/clusters/0/endpoints/1";
    let phases = |phases: Value| (format!("{endpoint}/timeline"), phases);
    let at = |pointer: &str, value: Value| (pointer.to_owned(), value);
    let cases = [
        (
            at("/duration", json!("0s")),
            "duration",
            "longer than nothing",
        ),
        (at("/workers", json!(0)), "workers", "from 1 to 256"),
        (at("/workers", json!(257)), "workers", "from 1 to 256"),
        (at("/seeds", json!([])), "seeds", "there is none"),
        (at("/seeds", json!([1, 2, 1])), "seeds[2]", "there already"),
        (at("/traffic", json!([])), "traffic", "no source"),
        (
            at("/traffic/1/requests/name", json!("shop")),
            "traffic[1].requests.name",
            "already",
        ),
        (
            at("/traffic/1/requests/name", json!("7")),
            "traffic[1].requests.name",
            "no number",
        ),
        (
            at("/traffic/0/generated/until", json!("0s")),
            "traffic[0].generated.until",
            "later than",
        ),
        (
            at("/traffic/0/generated/from", json!("60s")),
            "traffic[0].generated.from",
            "before the scenario's end",
        ),
        (
            at("/traffic/0/generated/arrivals/steady/per_second", json!(-1)),
            "traffic[0].generated.arrivals.steady.per_second",
            "got -1",
        ),
        (
            at(
                "/traffic/0/generated/arrivals/steady/per_second",
                json!(1e7),
            ),
            "traffic[0].generated.arrivals.steady.per_second",
            "from 0 to 1000000",
        ),
        (
            at(
                "/traffic/0/generated/arrivals",
                json!({ "burst": { "size": 0, "every": "1s" } }),
            ),
            "traffic[0].generated.arrivals.burst.size",
            "no burst",
        ),
        (
            at(
                "/traffic/0/generated/clients",
                json!({ "gives_up_after": "0s" }),
            ),
            "traffic[0].generated.clients.gives_up_after",
            "longer than nothing",
        ),
        (
            at("/traffic/0/generated/request", json!({ "path": "cart" })),
            "traffic[0].generated.request.path",
            "begin with `/`",
        ),
        (
            at("/traffic/0/generated/request", json!({ "method": "" })),
            "traffic[0].generated.request.method",
            "no method",
        ),
        (
            at(
                "/traffic/0/generated/request",
                json!({ "headers": { "a b": "c" } }),
            ),
            "traffic[0].generated.request.headers.a b",
            "no name of a header",
        ),
        (
            at(
                "/traffic/0/generated/request",
                json!({ "headers": { "a": "c\r\nd" } }),
            ),
            "traffic[0].generated.request.headers.a",
            "line end",
        ),
        (
            at(
                "/traffic/0/generated/request",
                json!({ "body_bytes": 67_108_865 }),
            ),
            "traffic[0].generated.request.body_bytes",
            "64 MiB",
        ),
        (
            at(
                "/traffic/0/generated/request",
                json!({ "method": "POST", "websocket": {} }),
            ),
            "traffic[0].generated.request.method",
            "`GET`",
        ),
        (
            at(
                "/traffic/0/generated/request",
                json!({ "websocket": { "count": 4_000_000_000_u32 } }),
            ),
            "traffic[0].generated.request.websocket.count",
            "64 MiB",
        ),
        (
            at("/traffic/1/requests/list", json!([])),
            "traffic[1].requests.list",
            "is empty",
        ),
        (
            at("/traffic/1/requests/list/2/at", json!("0s")),
            "traffic[1].requests.list[2].at",
            "before 1s",
        ),
        (
            at("/traffic/1/requests/list/2/at", json!("61s")),
            "traffic[1].requests.list[2].at",
            "before the scenario's end",
        ),
        (
            at("/traffic/1/requests/list/1/times", json!(0)),
            "traffic[1].requests.list[1].times",
            "no request",
        ),
        (
            at("/traffic/2/recording/speed", json!(0)),
            "traffic[2].recording.speed",
            "got 0",
        ),
        (
            at("/traffic/2/recording/repeat", json!(0)),
            "traffic[2].recording.repeat",
            "no traffic",
        ),
        (
            at("/traffic/2/recording/copies", json!(0)),
            "traffic[2].recording.copies",
            "no clients",
        ),
        (
            at("/traffic/2/recording/copies", json!(1_000_001)),
            "traffic[2].recording.copies",
            "write less",
        ),
        (
            at("/filters/0/remove_headers", json!([])),
            "filters[0].remove_headers",
            "names no header",
        ),
        (
            at("/filters/0/remove_headers", json!([":path"])),
            "filters[0].remove_headers[0]",
            "no name of a header",
        ),
        (
            at(
                "/filters",
                json!([{ "plugin": { "module": "a" } }, { "remove_headers": ["x-a"] }, { "plugin": { "module": "sticky-session" } }]),
            ),
            "filters[1].remove_headers",
            "between two plugins",
        ),
        (
            at("/filters/1/plugin", json!({ "module": "" })),
            "filters[1].plugin.module",
            "names no module",
        ),
        (
            at("/filters/1/plugin/fuel_per_callback", json!(0)),
            "filters[1].plugin.fuel_per_callback",
            "no callback",
        ),
        (
            at("/routes/0/prefix", json!("a")),
            "routes[0].prefix",
            "begin with `/`",
        ),
        (
            at("/routes/0/cluster", json!("three")),
            "routes[0].cluster",
            "there are `one`, `two`",
        ),
        (
            at("/routes/0/cluster", Value::Null),
            "routes[0]",
            "must have one of",
        ),
        (
            at("/routes/0/weighted_clusters", json!({ "one": 1 })),
            "routes[0]",
            "must have one of",
        ),
        (
            at("/routes/1/weighted_clusters", json!({ "one": 0 })),
            "routes[1].weighted_clusters",
            "weights of 0",
        ),
        (
            at("/routes/1/weighted_clusters", json!({ "three": 1 })),
            "routes[1].weighted_clusters.three",
            "no cluster `three`",
        ),
        (
            at("/routes/0/retry/on", json!(["retriable-status-codes"])),
            "routes[0].retry.retriable_status_codes",
            "are empty",
        ),
        (
            at("/routes/0/retry/back_off", json!({ "base": "0s" })),
            "routes[0].retry.back_off.base",
            "at least 1ms",
        ),
        (
            at(
                "/routes/0/retry/back_off",
                json!({ "base": "20ms", "max": "10ms" }),
            ),
            "routes[0].retry.back_off.max",
            "at least `base`",
        ),
        (
            at("/clusters/1/name", json!("one")),
            "clusters[1].name",
            "already",
        ),
        (
            at(
                "/clusters/1/endpoints",
                json!([{ "address": "10.1.0.1:80" }]),
            ),
            "clusters[1].endpoints",
            "the proxy itself",
        ),
        (
            at(
                "/clusters/0/balancer",
                json!({ "least_request": { "choice_count": 1 } }),
            ),
            "clusters[0].balancer.least_request.choice_count",
            "at least 2",
        ),
        (
            at(
                "/clusters/0/balancer",
                json!({ "override_host": { "header": "" } }),
            ),
            "clusters[0].balancer.override_host.header",
            "no name of a header",
        ),
        (
            at(
                "/clusters/0/balancer",
                json!({ "override_host": { "fallback": { "override_host": {} } } }),
            ),
            "clusters[0].balancer.override_host.fallback",
            "choose by itself",
        ),
        (
            at(
                "/clusters/0/balancer",
                json!({ "stateful_session": { "cookie": "" } }),
            ),
            "clusters[0].balancer.stateful_session.cookie",
            "is empty",
        ),
        (
            at(
                "/clusters/0/circuit_breakers",
                json!({ "retry_budget": { "concurrency": { "budget_percent": 101 } } }),
            ),
            "clusters[0].circuit_breakers.retry_budget.concurrency.budget_percent",
            "from 0 to 100",
        ),
        (
            at("/clusters/0/endpoints/1/address", json!("10.0.0.3:80")),
            "clusters[0].endpoints[1].address",
            "an address of `clusters[0].endpoints[0]`",
        ),
        (
            at("/clusters/0/endpoints/0/count", json!(4)),
            "clusters[0].endpoints[1].address",
            "10.0.0.4:80",
        ),
        (
            at("/clusters/0/endpoints/0/count", json!(20_001)),
            "clusters[0].endpoints",
            "at most 20000",
        ),
        (
            at("/clusters/0/endpoints/1/weight", json!(0)),
            "clusters[0].endpoints[1].weight",
            "at least 1",
        ),
        (
            at("/clusters/0/endpoints/1/concurrency", json!(0)),
            "clusters[0].endpoints[1].concurrency",
            "works on nothing",
        ),
        (
            at("/clusters/0/endpoints/1/queue", json!(1)),
            "clusters[0].endpoints[1].queue",
            "without `concurrency`",
        ),
        (
            at("/clusters/0/endpoints/1/answer", json!({ "status": 99 })),
            "clusters[0].endpoints[1].answer.status",
            "from 200 to 599",
        ),
        (
            at(
                "/clusters/0/endpoints/1/latency",
                json!({ "log_normal": { "median": "1s", "sigma": -0.1 } }),
            ),
            "clusters[0].endpoints[1].latency.log_normal.sigma",
            "got -0.1",
        ),
        (
            at(
                "/clusters/0/endpoints/0/latency",
                json!({ "percentiles": { "0": "3ms", "50": "2ms" } }),
            ),
            "clusters[0].endpoints[0].latency.percentiles.50",
            "at least that of 0",
        ),
        (
            at(
                "/clusters/0/endpoints/0/latency",
                json!({ "percentiles": { "101": "3ms" } }),
            ),
            "clusters[0].endpoints[0].latency.percentiles.101",
            "no percentile",
        ),
        (
            at(
                "/clusters/0/endpoints/0/latency",
                json!({ "percentiles": {} }),
            ),
            "clusters[0].endpoints[0].latency.percentiles",
            "are empty",
        ),
        (
            at(
                "/clusters/0/endpoints/0/answer",
                json!({ "body_bytes": 1, "body": "a" }),
            ),
            "clusters[0].endpoints[0].answer.body",
            "write one of them",
        ),
        (
            at("/clusters/0/admin_faults", json!([{ "with": "garbage" }])),
            "clusters[0].admin_faults",
            "only for the admin's cluster",
        ),
        (
            at(
                "/clusters/1/admin_faults",
                json!([{ "with": { "status": 99 } }]),
            ),
            "clusters[1].admin_faults[0].with.status",
            "99",
        ),
        (
            at(
                "/clusters/1/admin_faults",
                json!([{ "from": "2s", "until": "2s", "with": "never" }]),
            ),
            "clusters[1].admin_faults[0].until",
            "later than",
        ),
        (
            phases(json!([{ "from": "2s", "until": "2s", "state": "hangs" }])),
            "clusters[0].endpoints[1].timeline[0].until",
            "later than",
        ),
        (
            phases(json!([{ "from": "60s", "state": "hangs" }])),
            "clusters[0].endpoints[1].timeline[0].from",
            "before the scenario's end",
        ),
        (
            phases(json!([{ "state": { "slower": 0 } }])),
            "clusters[0].endpoints[1].timeline[0].state.slower",
            "got 0",
        ),
        (
            phases(json!([{ "state": { "cold": 5 } }])),
            "clusters[0].endpoints[1].timeline[0].state.cold",
            "`until`",
        ),
        (
            phases(
                json!([{ "until": "2s", "state": { "slower": 2 } }, { "from": "1s", "state": { "slower": 3 } }]),
            ),
            "clusters[0].endpoints[1].timeline[1].state",
            "of the same kind",
        ),
        (
            phases(
                json!([{ "state": { "membership": "draining" } }, { "from": "1s", "state": "absent" }]),
            ),
            "clusters[0].endpoints[1].timeline[1].state",
            "contradicts `timeline[0]`",
        ),
        (
            at("/faults/0/plugin", json!("other")),
            "faults[0].plugin",
            "there are `sticky-session`",
        ),
        (
            at("/faults/0/nth", json!(0)),
            "faults[0].nth",
            "counts from 1",
        ),
        (
            at("/baselines/0/name", json!("a.b")),
            "baselines[0].name",
            "can't stand in an expectation",
        ),
        (
            at("/expect/0", json!("errors = 0")),
            "expect[0]",
            "`=` compares nothing",
        ),
        (
            at("/expect/0", json!("errors == 0 during 1s..61s")),
            "expect[0]",
            "ends after the scenario",
        ),
        (
            at("/expect/1", json!("errors <= baseline.other.errors")),
            "expect[1]",
            "no baseline `other`",
        ),
    ];
    let mut wrong = Vec::new();
    for ((pointer, value), path, message) in cases {
        let mut scenario = sound();
        put(&mut scenario, &pointer, value.clone());
        let found = problems(&scenario);
        // What follows from it may be told as well: a name that another place refers to.
        if !found
            .iter()
            .any(|(at, said)| at == path && said.contains(message))
        {
            wrong.push(format!(
                "{pointer} = {value}: {path}: {message}, but {found:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Puts a value where a JSON pointer leads, also where there was none.
fn put(scenario: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = scenario.pointer_mut(parent).expect(pointer);
    match parent {
        Value::Array(list) => list[name.parse::<usize>().unwrap()] = value,
        Value::Object(fields) => {
            fields.insert(name.to_owned(), value);
        }
        _ => panic!("{pointer}"),
    }
}

#[test]
fn everything_is_told_at_once_by_place() {
    let mut scenario = sound();
    put(&mut scenario, "/workers", json!(0));
    put(&mut scenario, "/routes/0/cluster", json!("three"));
    put(&mut scenario, "/clusters/0/endpoints/1/weight", json!(0));
    let paths: Vec<String> = problems(&scenario).into_iter().map(|it| it.0).collect();
    assert_eq!(
        paths,
        [
            "clusters[0].endpoints[1].weight",
            "routes[0].cluster",
            "workers"
        ]
    );
}

#[test]
fn more_requests_than_anybody_waits_for_are_refused() {
    let mut scenario = sound();
    put(&mut scenario, "/duration", json!("720h"));
    put(
        &mut scenario,
        "/traffic/0/generated/arrivals/steady/per_second",
        json!(1e6),
    );
    let found = problems(&scenario);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "traffic");
    assert!(
        found[0].1.contains("comes to 2592000000003 requests"),
        "{found:?}"
    );
}

#[test]
fn a_recorded_latency_needs_a_recording() {
    let mut scenario = sound();
    put(
        &mut scenario,
        "/clusters/0/endpoints/1/latency",
        json!("recorded"),
    );
    assert_eq!(problems(&scenario), []);
    put(
        &mut scenario,
        "/traffic/2",
        json!({ "requests": { "list": [{}] } }),
    );
    let found = problems(&scenario);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "clusters[0].endpoints[1].latency");
}
