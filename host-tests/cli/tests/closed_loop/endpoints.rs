//! Which endpoint serves, and what an endpoint does.

use super::support::{one, run};

#[test]
fn request_is_answered_after_the_endpoints_latency() {
    let lines = one(
        "{ request: { path: /a } }",
        "clusters: [{ name: app, endpoints: [{ address: '10.0.0.1:80', latency: { constant: 30ms } }] }]",
    );
    assert_eq!(lines, ["0 /a 200 [1] - via_upstream 30"]);
}

#[test]
fn cluster_without_endpoints_and_routes_to_nowhere_are_answered_by_the_proxy() {
    let empty = one("{}", "clusters: [{ name: app }]");
    assert_eq!(empty, ["0 / 503 [-] UH no_healthy_upstream 0"]);
    let no_route = one(
        "{ request: { path: /a } }",
        "routes: [{ prefix: /b, cluster: app }]\nclusters: [{ name: app }]",
    );
    assert_eq!(no_route, ["0 /a 404 [] NR route_not_found 0"]);
    let direct = one(
        "{ request: { path: /b } }",
        "routes: [{ prefix: /b, direct_response: 403 }]\nclusters: [{ name: app }]",
    );
    assert_eq!(direct, ["0 /b 403 [] - direct_response 0"]);
}

#[test]
fn endpoints_that_refuse_hang_or_close_the_connection_fail_as_in_envoy() {
    let cluster = |state: &str| {
        format!(
            "routes: [{{ cluster: app, timeout: 2s }}]
clusters:
  - name: app
    connect_timeout: 500ms
    endpoints: [{{ address: '10.0.0.1:80', latency: {{ constant: 10ms }}, timeline: [{{ state: {state} }}] }}]"
        )
    };
    let fail = |state: &str| one("{}", &cluster(state));
    assert_eq!(
        fail("refuses"),
        [
            "0 / 503 [1] UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} 0"
        ]
    );
    assert_eq!(
        fail("unreachable"),
        ["0 / 503 [1] UF upstream_reset_before_response_started{connection_timeout} 500"]
    );
    assert_eq!(fail("hangs"), ["0 / 504 [1] UT response_timeout 2000"]);
    assert_eq!(
        fail("{ fails: { ratio: 1, with: disconnect } }"),
        ["0 / 503 [1] UC upstream_reset_before_response_started{connection_termination} 10"]
    );
    assert_eq!(
        fail("{ fails: { ratio: 1, with: disconnect_in_body } }"),
        ["0 / 200 [1] UPE upstream_reset_after_response_started{protocol_error} 10"]
    );
    assert_eq!(
        fail("{ fails: { ratio: 1, with: { status: 500 }, after: 3ms } }"),
        ["0 / 500 [1] - via_upstream 3"]
    );
    assert_eq!(fail("absent"), ["0 / 503 [-] UH no_healthy_upstream 0"]);
}

#[test]
fn header_names_the_endpoint_and_the_rest_is_for_the_fallback() {
    let cluster = "clusters:
  - name: app
    balancer: { override_host: { header: x-endpoint } }
    endpoints: [{ address: '10.0.0.1:80', count: 3 }]";
    let lines = run(&format!(
        "traffic:
  - requests:
      list:
        - {{ times: 3, request: {{ path: /two, headers: {{ x-endpoint: '10.0.0.2:80' }} }} }}
        - {{ request: {{ path: /unknown, headers: {{ x-endpoint: '10.0.0.9:80' }} }} }}
        - {{ request: {{ path: /garbage, headers: {{ x-endpoint: ',;' }} }} }}
{cluster}"
    ))
    .lines();
    let twos: Vec<&String> = lines.iter().filter(|line| line.contains("/two")).collect();
    assert!(twos.iter().all(|line| line.contains("200 [2]")), "{twos:?}");
    assert_eq!(lines.len(), 5);
    assert!(lines.iter().all(|line| line.contains(" 200 ")), "{lines:?}");
}

#[test]
fn endpoint_that_leaves_gets_no_new_request_and_finishes_those_it_has() {
    let ran = run("duration: 4s
traffic:
  - requests:
      list:
        - { at: 900ms, request: { path: /before } }
        - { at: 1500ms, request: { path: /during } }
        - { at: 2500ms, request: { path: /after } }
clusters:
  - name: app
    endpoints:
      - { address: '10.0.0.1:80', latency: { constant: 500ms }, timeline: [{ from: 1s, until: 2s, state: absent }] }");
    assert_eq!(
        ran.lines(),
        [
            "900 /before 200 [1] - via_upstream 500",
            "1500 /during 503 [-] UH no_healthy_upstream 0",
            "2500 /after 200 [1] - via_upstream 500"
        ]
    );
}

#[test]
fn places_of_an_endpoint_bound_what_it_works_on_and_a_queue_waits() {
    let ran = run(
        "duration: 1s
traffic:
  - generated: { arrivals: { burst: { size: 4, every: 10s } } }
clusters:
  - name: app
    endpoints: [{ address: '10.0.0.1:80', latency: { constant: 10ms }, concurrency: 1, queue: 2 }]",
    );
    let mut took: Vec<(u64, Option<u16>)> = ran
        .rows
        .iter()
        .map(|row| (row.total_ns / 1_000_000, row.status))
        .collect();
    took.sort_unstable();
    assert_eq!(
        took,
        [
            (0, Some(503)),
            (10, Some(200)),
            (20, Some(200)),
            (30, Some(200))
        ]
    );
    assert_eq!(ran.in_flight_max.get("10.0.0.1:80"), Some(&4));
}
