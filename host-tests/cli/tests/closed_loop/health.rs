//! The module that routes by health: alone, behind the one that keeps sessions, in one place and in two.

use super::support::{Ran, run};

/// A key for tests: bytes 0 to 31.
const KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What both modules know endpoints by.
const BLOCK: &str = "{ clusters: [ { name: app } ] }";

/// Three endpoints that are well, and one that is quick and answers 503 from a certain time on.
const ONE_FAILS: &str = "    endpoints:
      - { address: '10.0.0.1:80', latency: { constant: 20ms }, count: 3 }
      - { address: '10.0.0.4:80', latency: { constant: 1ms }, timeline:
          [ { from: 15s, state: { fails: { ratio: 1, with: { status: 503 } } } } ] }
traffic:
  - generated: { from: 3s, until: 30s, arrivals: { steady: { per_second: 50 } }, clients: { count: 20 } }";

fn routing(fields: &str) -> String {
    format!(
        "  - plugin:
      module: health-routing
      vm_id: picture
      vm_configuration: front
      on_trap: fail_open
      configuration: {{ clusters: [ {{ name: app }} ], endpoints: {BLOCK}, reason_header: true{fields} }}\n"
    )
}

fn sessions() -> String {
    format!(
        "  - plugin:
      module: sticky-session
      vm_id: picture
      vm_configuration: front
      on_trap: fail_open
      environment: {{ TIDEGATE_STICKY_KEYS: '{KEYS}' }}
      configuration: {{ clusters: [ {{ name: app }} ], endpoints: {BLOCK}, reason_header: true }}\n"
    )
}

/// Runs two workers with these filters in front and behind the router.
fn play(front: &str, balancer: &str, behind: &str, rest: &str) -> Ran {
    run(&format!(
        "duration: 35s
workers: 2
routes: [ {{ cluster: app, timeout: 5s, retry: {{ on: [5xx], num_retries: 2 }} }} ]
filters:
{front}clusters:
  - {{ name: envoy_admin, kind: admin }}
  - name: app
    balancer: {balancer}
{behind}{rest}"
    ))
}

const OVERRIDE: &str = "{ override_host: { header: x-tidegate-endpoint } }";

/// A counter of the module.
fn count(ran: &Ran, name: &str) -> f64 {
    let figure = ran.figure(&format!("metrics.tidegate_health_routing_{name}"));
    if figure.is_nan() { 0.0 } else { figure }
}

fn reason(ran: &Ran, reason: &str) -> f64 {
    count(ran, &format!("requests_total.reason.{reason}"))
}

fn answers(ran: &Ran, honoured: &str) -> f64 {
    count(ran, &format!("answers_total.honoured.{honoured}"))
}

fn failures(ran: &Ran) -> f64 {
    count(ran, "attempts_total.outcome.gateway_failure")
}

fn ejections(ran: &Ran) -> f64 {
    ran.figure("metrics.tidegate_endpoints_ejections_total.cause.gateway_row")
}

#[track_caller]
fn assert_served(ran: &Ran) {
    assert_eq!(ran.traps, Vec::<String>::new());
    let failed = ran.rows.iter().filter(|row| row.status != Some(200));
    assert_eq!(failed.count(), 0, "{:?}", ran.figures);
    assert_eq!(ran.rows.len(), 1350);
}

#[test]
fn failing_endpoint_is_left_in_both_ways_of_observing() {
    let upstream = format!(
        "    upstream_filters:
      - plugin:
          module: health-routing
          vm_id: picture
          vm_configuration: behind
          on_trap: fail_open
          configuration: {{ clusters: [ {{ name: app }} ], endpoints: {BLOCK}, observe: attempts, role: upstream }}\n"
    );
    for (fields, behind) in [("", ""), (", observe: attempts", upstream.as_str())] {
        let ran = play(&routing(fields), OVERRIDE, behind, ONE_FAILS);
        assert_served(&ran);
        let all = answers(&ran, "yes");
        assert!((1349.0..=1350.0).contains(&all), "{fields}: {all}");
        // Before it is ejected, and a trial or two: a half of the traffic else.
        assert!((1.0..40.0).contains(&failures(&ran)), "{:?}", ran.figures);
        assert!(ejections(&ran) >= 1.0, "{fields}: {:?}", ran.figures);
        assert_eq!(count(&ran, "reentered_total").to_string(), "0");
    }
}

#[test]
fn session_stays_until_its_endpoint_is_ejected() {
    let ran = play(&(sessions() + &routing("")), OVERRIDE, "", ONE_FAILS);
    assert_served(&ran);
    assert!(reason(&ran, "session") > 1200.0, "{:?}", ran.figures);
    let first = reason(&ran, "lower_load") + reason(&ran, "equal");
    assert!(
        (20.0..60.0).contains(&first),
        "one for each new session: {first}"
    );
    let moved =
        ran.figure("metrics.tidegate_sticky_session_requests_total.reason.successor_ejected");
    assert!(moved >= 1.0, "{:?}", ran.figures);
    assert!(answers(&ran, "no").abs() < 0.5, "{:?}", ran.figures);
}

#[test]
fn cluster_that_does_not_go_by_lists_is_noticed_once() {
    // Of so many hardly any is by chance the one that the list begins with.
    let many =
        "    endpoints: [ { address: '10.0.0.1:80', latency: { constant: 20ms }, count: 200 } ]
traffic:
  - generated: { from: 5s, until: 10s, arrivals: { steady: { per_second: 50 } } }";
    let ran = play(&routing(""), "round_robin", "", many);
    assert_eq!(ran.traps, Vec::<String>::new());
    assert!(answers(&ran, "no") > 100.0, "{:?}", ran.figures);
    let lines = ran
        .logs
        .iter()
        .filter(|line| line.contains("outside of their lists"));
    // For each of two workers: at 10 answers in a row, and hardly ever at 100.
    assert!((1..=4).contains(&lines.count()), "{:?}", ran.logs);
}

#[test]
fn websockets_are_routed_and_live_on() {
    let ran = play(
        &routing(""),
        OVERRIDE,
        "",
        "    endpoints: [ { address: '10.0.0.1:80', latency: { constant: 5ms }, count: 3 } ]
traffic:
  - generated: { from: 5s, until: 6s, arrivals: { steady: { per_second: 6 } }, clients: { count: 6 },
      request: { websocket: { count: 3, every: 4s } } }
  - requests: { list: [ { at: 7s, times: 30 } ] }",
    );
    assert_eq!(ran.traps, Vec::<String>::new());
    let sockets = ran.rows.iter().filter(|row| row.status == Some(101));
    assert_eq!(sockets.count(), 6, "{:?}", ran.lines());
    let yes = answers(&ran, "yes");
    assert!((36.0 - yes).abs() < 0.5, "{:?}", ran.figures);
}

#[test]
fn endpoint_that_a_client_names_itself_is_not_obeyed() {
    let elsewhere =
        routing("").replace("{ name: app } ], endpoints", "{ name: other } ], endpoints");
    let elsewhere = elsewhere.replace(BLOCK, "{}");
    let ran = play(
        &elsewhere,
        OVERRIDE,
        "",
        "    endpoints: [ { address: '10.0.0.1:80', count: 2 } ]
traffic:
  - requests: { list: [ { at: 5s, times: 20, request: { headers: { x-tidegate-endpoint: '10.0.0.2:80' } } } ] }",
    );
    assert_eq!(ran.traps, Vec::<String>::new());
    assert_eq!(reason(&ran, "unlisted_cluster").to_string(), "20");
    let named = Some("10.0.0.2:80");
    let obeyed = ran
        .rows
        .iter()
        .filter(|row| row.endpoints.iter().any(|at| at.as_deref() == named));
    assert_eq!(obeyed.count(), 10, "in turn, as without the header");
}
