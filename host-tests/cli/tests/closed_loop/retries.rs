//! Further attempts: when, where to, how many.

use super::support::{one, run};

const FAILING: &str = "
clusters:
  - name: app
    balancer: { override_host: { header: x-endpoint } }
    endpoints:
      - { address: '10.0.0.1:80', timeline: [{ state: { fails: { ratio: 1, with: { status: 503 } } } }] }
      - { address: '10.0.0.2:80', timeline: [{ state: refuses }] }
      - { address: '10.0.0.3:80' }";

fn to(endpoints: &str, route: &str) -> Vec<String> {
    let request = format!("{{ request: {{ headers: {{ x-endpoint: '{endpoints}' }} }} }}");
    one(
        &request,
        &format!("routes: [{{ cluster: app, {route} }}]{FAILING}"),
    )
    .iter()
    // Back-off is drawn.
    .map(|line| {
        line.rsplit_once(' ')
            .map_or("", |(line, _)| line)
            .to_owned()
    })
    .collect()
}

#[test]
fn attempts_follow_the_list_until_one_succeeds() {
    let list = "10.0.0.1:80, 10.0.0.2:80, 10.0.0.3:80";
    assert_eq!(
        to(list, "retry: { on: [5xx], num_retries: 2 }"),
        ["0 / 200 [1 2 3] - via_upstream"]
    );
    assert_eq!(
        to(list, "retry: { on: [5xx], num_retries: 1 }"),
        [
            "0 / 503 [1 2] URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"
        ]
    );
    assert_eq!(
        to(list, "retry: { on: [connect-failure] }"),
        ["0 / 503 [1] - via_upstream"]
    );
    assert_eq!(
        to(
            "10.0.0.2:80,10.0.0.3:80",
            "retry: { on: [connect-failure] }"
        ),
        ["0 / 200 [2 3] - via_upstream"]
    );
}

#[test]
fn attempt_that_takes_too_long_is_repeated_elsewhere() {
    let lines = one(
        "{ request: { headers: { x-endpoint: '10.0.0.1:80,10.0.0.2:80' } } }",
        "routes: [{ cluster: app, timeout: 5s, retry: { on: [5xx], per_try_timeout: 100ms, back_off: { base: 1ms } } }]
clusters:
  - name: app
    balancer: { override_host: { header: x-endpoint } }
    endpoints:
      - { address: '10.0.0.1:80', timeline: [{ state: hangs }] }
      - { address: '10.0.0.2:80', latency: { constant: 20ms } }",
    );
    assert_eq!(lines, ["0 / 200 [1 2] - via_upstream 120"]);
}

#[test]
fn all_attempts_together_take_no_longer_than_the_routes_time_out() {
    let lines = one(
        "{}",
        "routes: [{ cluster: app, timeout: 250ms, retry: { on: [5xx], num_retries: 9, per_try_timeout: 100ms, back_off: { base: 1ms } } }]
clusters: [{ name: app, endpoints: [{ address: '10.0.0.1:80', timeline: [{ state: hangs }] }] }]",
    );
    assert_eq!(lines, ["0 / 504 [1 1 1] UT response_timeout 250"]);
}

#[test]
fn circuit_breaker_bounds_the_retries_at_a_time() {
    let ran = run("duration: 1s
traffic:
  - generated: { arrivals: { burst: { size: 10, every: 10s } } }
routes: [{ cluster: app, retry: { on: [5xx], num_retries: 1 } }]
clusters:
  - name: app
    endpoints: [{ address: '10.0.0.1:80', latency: { constant: 100ms }, errors: [{ ratio: 1 }] }]");
    let attempts: usize = ran.rows.iter().map(|row| row.endpoints.len()).sum();
    assert_eq!(attempts, 13, "10 and the 3 that Envoy lets retry at a time");
    let overflows = ran
        .lines()
        .iter()
        .filter(|line| line.contains(" UO "))
        .count();
    assert_eq!(overflows, 7);
}

#[test]
fn body_of_a_request_goes_with_every_attempt() {
    let lines = one(
        "{ request: { method: POST, body_bytes: 100000, headers: { x-endpoint: '10.0.0.1:80,10.0.0.3:80' } } }",
        &format!(
            "routes: [{{ cluster: app, retry: {{ on: [5xx], back_off: {{ base: 1ms }} }} }}]{FAILING}"
        ),
    );
    assert_eq!(lines, ["0 / 200 [1 3] - via_upstream 0"]);
}
